//! `cfgsync key`: makes a key pair: the server signs payloads with one key, and nodes verify them with the other.

use std::path::PathBuf;

use cfgsync::ArtifactFile;
use cfgsync_client::{
    Target,
    disk::{self, DiskError},
};
use cfgsync_model::ArtifactPath;
use cfgsync_wire::{InvalidKey, SigningKey};
use clap::{Args, Subcommand};

use super::{error::CommandError, exit::Exit, output::print};

/// File name and mode of the server's private key.
const PRIVATE: (&str, &str) = ("sign-key.pem", "0600");
/// File name and mode of the public key for nodes.
const PUBLIC: (&str, &str) = ("verify-key.pem", "0644");

/// Make a key pair for signed payloads
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync key new --out-dir /etc/cfgsync
  cfgsync serve cluster.yaml --sign-key /etc/cfgsync/sign-key.pem
  cfgsync join --verify-key verify-key.pem --server http://boot:4400 --out-dir /etc/app")]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a key pair: sign-key.pem for `serve --sign-key`, and verify-key.pem for `join --verify-key`
    New {
        /// The directory for the two files; existing files are never overwritten
        #[arg(long, value_name = "DIR", default_value = ".")]
        out_dir: PathBuf,
    },
}

/// The reason why no key pair was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyPairError {
    /// One of the two files exists.
    #[error("cannot write {}: it already exists", .0.display())]
    Exists(PathBuf),
    /// The operating system has no random numbers for a key.
    #[error("cannot make a key: {0}")]
    Generate(InvalidKey),
}

pub(crate) fn run(args: &KeyArgs) -> Result<Exit, CommandError> {
    let KeyCommand::New { out_dir } = &args.command;
    for (name, _) in [PRIVATE, PUBLIC] {
        let path = out_dir.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(KeyPairError::Exists(path).into());
        }
    }
    let (key, private) = SigningKey::generate().map_err(KeyPairError::Generate)?;
    let public = key.verify_key();
    write(out_dir, &[(PRIVATE, private), (PUBLIC, public.to_pem())])?;
    let shown = |(name, _)| out_dir.join(name).display().to_string();
    print(format!(
        "{}  for `serve --sign-key`; only the server may have it\n{}  for `join --verify-key`\n{public}\n",
        shown(PRIVATE),
        shown(PUBLIC)
    ))?;
    Ok(Exit::Done)
}

/// Writes both files, or none of them.
fn write(directory: &std::path::Path, pair: &[((&str, &str), String); 2]) -> Result<(), DiskError> {
    let file = |((name, mode), pem): &((&str, &str), String)| {
        let artifact = ArtifactFile {
            mode: mode.parse().expect("a valid mode"),
            ..ArtifactFile::new(ArtifactPath::new(name).expect("a valid name"), pem.clone())
        };
        let target = Target {
            root: directory.to_owned(),
            below: vec![(*name).to_owned()],
        };
        (artifact, target)
    };
    let files = pair.each_ref().map(file);
    let files = files.each_ref().map(|(file, target)| (file, target));
    disk::write(&files, None).map(|_| ())
}
