//! `cfgsync token`: makes, lists and revokes tokens. `new` stands here.

mod list;
mod revoke;

pub(crate) use revoke::RevokeError;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use cfgsync_access::{Pattern, Role, Token, Tokens, check_name, hash, new_secret};
use cfgsync_client::{InvalidServer, ServerUrl};
use cfgsync_support::clock::Timestamp;
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;

use super::{error::CommandError, exit::Exit, output, parsers::duration, server::UrlParser};

/// Make tokens, which authenticate nodes and operators
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    New(NewArgs),
    List(list::ListArgs),
    Revoke(revoke::RevokeArgs),
}

/// Make a token: print the secret once, and add its hash to the tokens file of the server
///
/// The secret goes to stdout. Keep it in a file for `--token-file`. The tokens file (`serve --tokens`) needs a line with
/// name, role and hash: --append adds it, and without --append it is printed to stderr. A running server reads the file
/// again on SIGHUP.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync token new --role operator --append tokens > operator.token
  cfgsync token new --role node --identifier 'web-*' --expires 24h --append tokens > web.token
  cfgsync token new --role operator --namespace 'prod-*' --read-only --append tokens > prod.token
  cfgsync token new --role node --expires 1h --append tokens --url \"$(cat join-url)\"
  kill -HUP \"$(pidof cfgsync)\"                       # the server reads the file again
  cfgsync inspect --token-file operator.token")]
struct NewArgs {
    /// The role of the token: `node` may register, fetch its own files and leave; `viewer` may see the state of the
    /// cluster, but no contents; `operator` may do everything
    #[arg(long, env = "CFGSYNC_ROLE", value_name = "node|viewer|operator")]
    role: Role,
    /// The name of the token, which logs show [default: its role and the start of its hash]
    #[arg(long, env = "CFGSYNC_NAME", value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// The nodes that may use the token: `*` matches any text, `?` one character, as in `web-*` [default: all]
    #[arg(long, env = "CFGSYNC_IDENTIFIER", value_name = "PATTERN")]
    identifier: Option<Pattern>,
    /// The namespaces whose values an operator's token is for, as in `prod-*`; of the rest of the cluster, its holder sees
    /// what a viewer sees; repeatable [default: no limit]
    #[arg(long, env = "CFGSYNC_NAMESPACE", value_name = "PATTERN")]
    namespace: Vec<Pattern>,
    /// Limit an operator's token to reading
    #[arg(long, env = "CFGSYNC_READ_ONLY")]
    read_only: bool,
    /// How long the token is valid from now on [default: no limit]
    #[arg(long, env = "CFGSYNC_EXPIRES", value_name = "DURATION", value_parser = duration)]
    expires: Option<Duration>,
    /// Print the secret as part of this join URL, which `serve` prints, for `cfgsync join URL`
    #[arg(long, env = "CFGSYNC_URL", value_name = "URL", value_parser = UrlParser)]
    url: Option<ServerUrl>,
    /// Add the line to this tokens file; if it does not exist, it is created with mode 0600
    #[arg(long, env = "CFGSYNC_APPEND", value_name = "FILE")]
    append: Option<PathBuf>,
}

/// The reason why no token was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The line could not be added to the file.
    #[error("cannot add the token to {}: {error}", path.display())]
    Append {
        /// The tokens file.
        path: PathBuf,
        /// The operating system's error, or the mistake that the line would be (kind `Other`).
        error: io::Error,
    },
    /// The secret could not be printed, so it is lost.
    #[error("cannot write the token to standard output: {problem}; {left}")]
    NotPrinted {
        /// The operating system's error.
        problem: io::Error,
        /// The state of the line in the file.
        left: String,
    },
    /// A URL that cannot contain a token.
    #[error(transparent)]
    Url(#[from] InvalidServer),
    /// The operating system has no random numbers, or the expiry time is out of range.
    #[error("cannot make a token: {0}")]
    Make(String),
}

pub(crate) fn run(args: TokenArgs) -> Result<Exit, CommandError> {
    match args.command {
        TokenCommand::New(args) => make(args),
        TokenCommand::List(args) => list::run(args),
        TokenCommand::Revoke(args) => revoke::run(args),
    }
}

fn make(args: NewArgs) -> Result<Exit, CommandError> {
    let secret = new_secret().map_err(|error| TokenError::Make(error.to_string()))?;
    let hash = hash(&secret);
    let printed = match &args.url {
        Some(url) => url.with_token(&secret).map_err(TokenError::Url)?,
        None => secret.clone(),
    };
    let expires = match args.expires {
        Some(after) => {
            let time = Timestamp::now().checked_add(after);
            let time = time.map_err(|error| TokenError::Make(error.to_string()))?;
            // Without the fraction of a second, the line is easier to read.
            Some(Timestamp::from_second(time.as_second()).unwrap_or(time))
        }
        None => None,
    };
    let token = Token {
        name: match args.name {
            Some(name) => name,
            None => format!("{}-{}", args.role, &hash.to_string()[..6]),
        },
        role: args.role,
        hash,
        identifier: args.identifier,
        namespaces: args.namespace.into(),
        read_only: args.read_only,
        expires,
    };
    let is_limited = token.read_only || !token.namespaces.is_empty();
    if is_limited && token.role != Role::Operator {
        let message = "--namespace and --read-only limit the role operator";
        return Err(CommandError::usage(message).hint("add --role operator, or leave them out"));
    }
    let secret = format!("{}\n", printed.expose_secret());
    let Some(path) = args.append else {
        // Not a log entry, because --log-level may suppress it: without the line the secret is useless.
        let line = format!("the line for `serve --tokens`:\n{token}\n");
        let printed = output::write_to_stderr(line);
        printed.map_err(|error| TokenError::Make(error.to_string()))?;
        output::write(secret).map_err(|problem| TokenError::NotPrinted {
            problem,
            left: "do not use the line".to_owned(),
        })?;
        return Ok(Exit::Done);
    };
    let added = Added::to(&path, &token).map_err(|error| TokenError::Append {
        path: path.clone(),
        error,
    })?;
    if let Err(problem) = output::write(secret) {
        let left = match added.roll_back() {
            Ok(Rollback::Restored) => format!("{} was restored", path.display()),
            Ok(Rollback::Removed) => format!("{}, which was new, was removed", path.display()),
            Err(error) => format!(
                "its line could not be removed ({error}): remove {} from {}",
                token.name,
                path.display()
            ),
        };
        return Err(TokenError::NotPrinted { problem, left }.into());
    }
    tracing::info!("added the token {} to {}", token.name, path.display());
    Ok(Exit::Done)
}

/// How often a file is opened again that another process removed before this one had locked it.
const OPEN_TRIES: usize = 8;

/// A line that was added to a file. The file stays locked as long as the line can be rolled back.
struct Added<'a> {
    path: &'a Path,
    file: File,
    /// Whether the file was created for this line.
    is_new: bool,
    /// The length of the file before and after, in bytes.
    before: u64,
    after: u64,
}

/// The result of a rollback.
enum Rollback {
    /// The file has its former content.
    Restored,
    /// The file was new, and is removed.
    Removed,
}

impl<'a> Added<'a> {
    /// Adds all of the line, or nothing.
    fn to(path: &'a Path, token: &Token) -> io::Result<Self> {
        let (mut file, is_new) = open_locked(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let before = text.len() as u64;
        let gap = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        let line = format!("{gap}{token}\n");
        // With an invalid line, a server would refuse the whole file and keep its former tokens.
        text.push_str(&line);
        let after = text.len() as u64;
        let mut added = Self {
            path,
            file,
            is_new: is_new && before == 0,
            before,
            after,
        };
        let parsed = Tokens::parse(&text, &path.display().to_string()).map_err(io::Error::other);
        let written = parsed.and_then(|_| added.file.write_all(line.as_bytes()));
        if let Err(error) = written.and_then(|()| added.file.sync_all()) {
            // The first error is the one to report.
            let _ = added.undo();
            return Err(error);
        }
        Ok(added)
    }

    /// Removes the line again, unless another process has changed the file.
    fn roll_back(self) -> io::Result<Rollback> {
        if self.file.metadata()?.len() != self.after {
            return Err(io::Error::other("another process changed the file"));
        }
        self.undo()
    }

    fn undo(&self) -> io::Result<Rollback> {
        if self.is_new {
            fs::remove_file(self.path)?;
            return Ok(Rollback::Removed);
        }
        self.file.set_len(self.before)?;
        self.file.sync_all()?;
        Ok(Rollback::Restored)
    }
}

/// Opens and locks a file, and returns whether it was created.
fn open_locked(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    for _ in 0..OPEN_TRIES {
        let (file, is_new) = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (options.clone().create(true).open(path)?, false)
            }
            made => (made?, true),
        };
        if !file.metadata()?.is_file() {
            // Reading from a device may never end.
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a regular file",
            ));
        }
        // Some network filesystems have no locks. The line is then added without one.
        let _ = file.lock();
        if file.metadata()?.nlink() > 0 {
            return Ok((file, is_new));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "other processes keep removing it: try again later",
    ))
}

fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}
