//! `cfgsync replace`: overrides the files of one node.

use std::{path::PathBuf, str::FromStr};

use cfgsync::{ArtifactFile, ArtifactSet, Identifier};
use cfgsync_model::{ArtifactPath, DuplicatePath, Mode, ModeNotPrivate, PathIndex};
use cfgsync_support::bounded_file::{self, ReadError};
use clap::Args;

use super::{
    error::CommandError,
    exit::Exit,
    progress::counted,
    server::{ServerArgs, block_on},
};

/// The largest sum of the files, in bytes. By default, a server accepts much less (`serve --replace-body-max`).
const FILES_MAX_BYTES: u64 = 256 << 20;

/// Override the files of one node
///
/// From the next generation on, the node gets these files instead of its own files. It still gets the shared files.
/// `cfgsync rm ID --override` ends the override.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync replace node-3 --file config.yaml=fixed.yaml
  cfgsync replace node-3 --file config.yaml=fixed.yaml --secret-file tls/key.pem=node-3.key
  cfgsync replace node-3 --file run.sh=run.sh --mode run.sh=0755
  cfgsync rm node-3 --override   # end the override")]
pub(crate) struct ReplaceArgs {
    /// The identifier of the node
    #[arg(value_name = "ID")]
    identifier: Identifier,
    /// A file for the node: the artifact path, and the local file with its content; repeatable
    #[arg(
        long,
        env = "CFGSYNC_FILE",
        value_name = "ARTIFACT=PATH",
        required_unless_present = "secret_file"
    )]
    file: Vec<Assignment<PathBuf>>,
    /// Like --file, for a file with secret content: its default mode is 0600; repeatable
    #[arg(long, env = "CFGSYNC_SECRET_FILE", value_name = "ARTIFACT=PATH")]
    secret_file: Vec<Assignment<PathBuf>>,
    /// The mode of one of these files [default: 0644, or 0600 for a secret file]; repeatable
    #[arg(long, env = "CFGSYNC_MODE", value_name = "ARTIFACT=MODE")]
    mode: Vec<Assignment<Mode>>,
    #[command(flatten)]
    server: ServerArgs,
}

/// `ARTIFACT=VALUE`, split at the first `=`, which no artifact path contains.
#[derive(Debug, Clone)]
struct Assignment<T> {
    artifact: ArtifactPath,
    value: T,
}

impl<T: FromStr<Err: std::fmt::Display>> FromStr for Assignment<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (artifact, value) = text
            .split_once('=')
            .filter(|(_, value)| !value.is_empty())
            .ok_or("expected an artifact path, `=` and a value")?;
        Ok(Self {
            artifact: artifact.parse().map_err(|error| format!("{error}"))?,
            value: value.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

/// The reason why the files cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplaceError {
    /// A local file cannot be read.
    #[error("cannot read {} for {artifact}: {error}", path.display())]
    Read {
        /// The artifact that it is for.
        artifact: ArtifactPath,
        /// The local file.
        path: PathBuf,
        /// The cause.
        error: ReadError,
    },
    /// The files together exceed the limit.
    #[error("the files exceed 256 MiB in total with {}", path.display())]
    TooLarge {
        /// The file that exceeds the limit.
        path: PathBuf,
    },
    /// The flags contradict each other.
    #[error("{0}")]
    Artifacts(String),
}

impl From<DuplicatePath> for ReplaceError {
    fn from(error: DuplicatePath) -> Self {
        Self::Artifacts(error.to_string())
    }
}

pub(crate) fn run(args: ReplaceArgs) -> Result<Exit, CommandError> {
    let identifier = args.identifier;
    let files = read(&args.file, &args.secret_file, &args.mode)?;
    let client = args.server.client()?;
    block_on(async move {
        client.replace_artifacts(&identifier, &files).await?;
        let count = counted(files.files().len(), "file");
        tracing::info!("{identifier} is overridden with {count}");
        Ok(Exit::Done)
    })
}

fn read(
    plain: &[Assignment<PathBuf>],
    secret: &[Assignment<PathBuf>],
    modes: &[Assignment<Mode>],
) -> Result<ArtifactSet, ReplaceError> {
    let mut files = ArtifactSet::default();
    let mut left_bytes = FILES_MAX_BYTES;
    let plain = plain.iter().map(|file| (file, false));
    let secret = secret.iter().map(|file| (file, true));
    for (Assignment { artifact, value }, secret) in plain.chain(secret) {
        let mut given = modes.iter().filter(|mode| mode.artifact == *artifact);
        let mode = given.next().map(|mode| mode.value);
        if given.next().is_some() {
            let message = format!("--mode gives {artifact} two modes");
            return Err(ReplaceError::Artifacts(message));
        }
        let content =
            bounded_file::read_without_waiting(value, left_bytes).map_err(|error| match error {
                ReadError::TooLarge(_) => ReplaceError::TooLarge {
                    path: value.clone(),
                },
                error => ReplaceError::Read {
                    artifact: artifact.clone(),
                    path: value.clone(),
                    error,
                },
            })?;
        left_bytes -= content.len() as u64;
        let refused =
            |error: ModeNotPrivate| ReplaceError::Artifacts(format!("{artifact}: {error}"));
        files.push(ArtifactFile {
            mode: Mode::for_file(mode, secret).map_err(refused)?,
            secret,
            ..ArtifactFile::new(artifact.clone(), content)
        })?;
    }
    if let Some(unused) = modes
        .iter()
        .find(|mode| files.get(&mode.artifact).is_none())
    {
        let message = format!(
            "--mode names {}, but --file and --secret-file do not",
            unused.artifact
        );
        return Err(ReplaceError::Artifacts(message));
    }
    let mut paths = PathIndex::default();
    paths
        .add_all(files.files())
        .map_err(|error| ReplaceError::Artifacts(error.to_string()))?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(
        plain: &[&str],
        secret: &[&str],
        modes: &[&str],
    ) -> Result<Vec<(String, String, bool)>, String> {
        let paths = |texts: &[&str]| -> Vec<Assignment<PathBuf>> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let modes: Vec<_> = modes.iter().map(|text| text.parse().unwrap()).collect();
        let set = read(&paths(plain), &paths(secret), &modes).map_err(|error| error.to_string())?;
        let described = |file: &ArtifactFile| {
            let path = file.path.to_string();
            (path, file.mode.to_string(), file.secret)
        };
        Ok(set.files().iter().map(described).collect())
    }

    #[test]
    fn files_get_the_modes_that_are_given_or_usual() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x=y");
        std::fs::write(&path, "text").unwrap();
        let of = |artifact: &str| format!("{artifact}={}", path.display());
        let (a, b, c, below_a) = (of("a"), of("b"), of("c"), of("a/b"));
        let file = |path: &str, mode: &str, secret| (path.to_owned(), mode.to_owned(), secret);
        assert_eq!(
            files(&[&a, &b], &[&c], &["b=0755"]),
            Ok(vec![
                file("a", "0644", false),
                file("b", "0755", false),
                file("c", "0600", true),
            ])
        );
        for (plain, secret, modes, message) in [
            (vec![&*a, &a], vec![], vec![], "a"),
            (vec![&*a], vec![], vec!["b=0600"], "--mode names b"),
            (vec![&*a], vec![], vec!["a=0600", "a=0644"], "two modes"),
            (
                vec![],
                vec![&*c],
                vec!["c=0644"],
                "gives other users access",
            ),
            (
                vec![&*a],
                vec![&*below_a],
                vec![],
                "a is a file, but a/b needs a directory of that name",
            ),
            (vec!["a=/nowhere/at/all"], vec![], vec![], "cannot read"),
            (
                vec![&*a, "b=/dev/zero"],
                vec![],
                vec![],
                "the files exceed 256 MiB in total with /dev/zero",
            ),
        ] {
            let error = files(&plain, &secret, &modes).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
