//! `cfgsync token revoke`: turns a token's line in the tokens file into a comment.

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use cfgsync_access::{Tokens, check_name};
use cfgsync_support::{clock::Timestamp, nearest::did_you_mean_suffix};
use clap::Args;

use crate::cmd::{error::CommandError, exit::Exit};

/// The largest tokens file, in bytes.
const FILE_MAX_BYTES: u64 = 4 << 20;

/// Revoke a token: turn its line in the tokens file of the server into a comment
///
/// A running server reads the file again on SIGHUP and `cfgsync reload`. From then on it rejects the token. A
/// request that it holds gets no files either.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync token revoke web --tokens /etc/cfgsync/tokens
  kill -HUP \"$(pidof cfgsync)\"                       # the server reads the file again")]
pub(super) struct RevokeArgs {
    /// The name of the token
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// The tokens file of the server
    #[arg(long, env = "CFGSYNC_TOKENS", value_name = "FILE")]
    tokens: PathBuf,
}

/// The reason why a token was not revoked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevokeError {
    /// The file cannot be read or written.
    #[error("cannot revoke the token in {}: {problem}", path.display())]
    File {
        /// The tokens file.
        path: PathBuf,
        /// The operating system's error, or the mistake in the file (kind `Other`).
        problem: io::Error,
    },
    /// The file has no token with this name.
    #[error("{} has no token {name}{near}", path.display())]
    Unknown {
        /// The tokens file.
        path: PathBuf,
        /// The name of the token.
        name: String,
        /// The nearest name, as `; did you mean …?`. Empty if none is near.
        near: String,
    },
}

pub(super) fn run(args: RevokeArgs) -> Result<Exit, CommandError> {
    let RevokeArgs { name, tokens: path } = args;
    revoke(&path, &name, Timestamp::now())?;
    let path = path.display();
    tracing::info!(
        "revoked {name} in {path}; run `cfgsync reload --only tokens`, or send SIGHUP to the server, so that it rejects the token"
    );
    Ok(Exit::Done)
}

/// Overwrites the line of the token in place, so that the file keeps its owner, its mode and its place.
fn revoke(path: &Path, name: &str, now: Timestamp) -> Result<(), RevokeError> {
    let failed = |problem| RevokeError::File {
        path: path.to_owned(),
        problem,
    };
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        // Reading from a device may never end.
        let problem = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
        return Err(failed(problem));
    }
    // Some network filesystems have no locks. The line is then changed without one.
    let _ = file.lock();
    let mut text = String::new();
    let mut bounded = (&file).take(FILE_MAX_BYTES);
    bounded.read_to_string(&mut text).map_err(failed)?;
    // A file with a mistake may have the line twice, and the server would not read the result.
    let tokens = Tokens::parse(&text, &path.display().to_string());
    let tokens = tokens.map_err(|mistakes| failed(io::Error::other(mistakes)))?;
    let Some(line) = line_of(&text, name) else {
        let list = tokens.list();
        let names = list.iter().map(|(token, _)| token.name.as_str());
        return Err(RevokeError::Unknown {
            path: path.to_owned(),
            name: name.to_owned(),
            near: did_you_mean_suffix(name, names),
        });
    };
    let comment = format!("# revoked {name} at {now:.0}");
    // A line has a role and a hash beside the name, so it is longer than the comment.
    let comment = format!("{comment:width$}", width = line.len());
    let written = file.write_all_at(comment.as_bytes(), line.start as u64);
    written.and_then(|()| file.sync_all()).map_err(failed)
}

/// Returns the bytes of the line of the token, without its indentation, its comment and its end.
fn line_of(text: &str, name: &str) -> Option<Range<usize>> {
    let text_begins = text.len() - text.trim_start_matches('\u{feff}').len();
    let mut at = text_begins;
    for line in text[text_begins..].split_inclusive('\n') {
        let begins = at + line.len() - line.trim_start().len();
        at += line.len();
        let code = line.split('#').next().unwrap_or_default().trim();
        if code.split_ascii_whitespace().next() == Some(name) {
            return Some(begins..begins + code.len());
        }
    }
    None
}

fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";

    #[test]
    fn only_the_line_of_the_token_becomes_a_comment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let other = HASH.replace("sha256:ca", "sha256:cb");
        let text = format!(
            "\u{feff}# all\r\n  web node {HASH} expires=2030-01-01T00:00:00Z # of é\r\nweb-2 node {other}\n"
        );
        std::fs::write(&path, &text).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let near = revoke(&path, "wbe", now).unwrap_err().to_string();
        assert!(
            near.ends_with("has no token wbe; did you mean `web`?"),
            "{near}"
        );
        revoke(&path, "web", now).unwrap();
        let changed = std::fs::read_to_string(&path).unwrap();
        assert_eq!(changed.len(), text.len());
        let lines: Vec<&str> = changed.lines().collect();
        assert!(lines[1].starts_with("  # revoked web at 1970-01-01T00:00:00Z "));
        assert!(lines[1].ends_with(" # of é"));
        assert_eq!(lines[2], format!("web-2 node {other}"));
        // The last token: the file is not empty, because comments stay.
        revoke(&path, "web-2", now).unwrap();
        assert_eq!(Tokens::load(&path).unwrap().count(), 0);
    }

    #[test]
    fn longest_name_fits_into_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let name = "x".repeat(64);
        std::fs::write(&path, format!("{name} node {HASH}")).unwrap();
        let latest = "9999-12-30T22:00:00Z".parse().unwrap();
        revoke(&path, &name, latest).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text.trim_end(),
            format!("# revoked {name} at 9999-12-30T22:00:00Z")
        );
    }
}
