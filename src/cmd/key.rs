//! `cfgsync key`: a pair of keys, for the server to sign payloads with and for nodes to verify them.

use std::path::PathBuf;

use cfgsync::ArtifactFile;
use cfgsync_client::{
    Target,
    disk::{self, DiskError},
};
use cfgsync_model::ArtifactPath;
use cfgsync_wire::SigningKey;
use clap::{Args, Subcommand};

use super::{exit::Exit, output::print};

/// What the server gets; for its owner alone.
const PRIVATE: (&str, &str) = ("sign-key.pem", "0600");
/// What nodes get.
const PUBLIC: (&str, &str) = ("verify-key.pem", "0644");

/// Make keys for signed payloads
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync key new --out-dir /etc/cfgsync
  cfgsync serve cluster.yaml --sign-key /etc/cfgsync/sign-key.pem
  cfgsync join --verify-key verify-key.pem --server http://boot:4400 --out-dir /etc/app")]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a pair: sign-key.pem for `serve --sign-key`, verify-key.pem for `join --verify-key`
    New {
        /// Where to write them; keys that are there already are not overwritten
        #[arg(long, env = "CFGSYNC_OUT_DIR", value_name = "DIR", default_value = ".")]
        out_dir: PathBuf,
    },
}

/// A pair that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{} is there already, and nodes may rely on it: remove it, or choose another --out-dir", .0.display())]
pub(crate) struct KeyExists(PathBuf);

pub(crate) fn run(args: &KeyArgs) -> anyhow::Result<Exit> {
    let What::New { out_dir } = &args.what;
    for (name, _) in [PRIVATE, PUBLIC] {
        let path = out_dir.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(KeyExists(path).into());
        }
    }
    let (key, private) = SigningKey::generate()?;
    let public = key.verify_key();
    write(out_dir, &[(PRIVATE, private), (PUBLIC, public.to_pem())])?;
    let told = |(name, _)| out_dir.join(name).display().to_string();
    print(format!(
        "{}  for `serve --sign-key`; keep it to the server\n{}  for `join --verify-key`\n{public}\n",
        told(PRIVATE),
        told(PUBLIC)
    ))?;
    Ok(Exit::Done)
}

/// Both or none.
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
