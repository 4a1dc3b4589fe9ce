//! `cfgsync token new`: makes a token.

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

use super::{exit::Exit, output, server::UrlParser, values::duration};

/// Make tokens, which open a server
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    New(NewArgs),
}

/// Make a token: print the secret, once, and give its hash to the server's file
///
/// The secret goes to stdout; whoever has it keeps it in a file (`--token-file`). The server's file (`serve
/// --tokens`) gets a line with its name, role and hash: with --append it is added there, and a running server reads
/// it with SIGHUP; without, the line is shown on stderr.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync token new --role operator --append tokens > operator.token
  cfgsync token new --role node --identifier 'web-*' --expires 24h --append tokens > web.token
  cfgsync token new --role node --expires 1h --append tokens --url \"$(cat join-url)\"
  kill -HUP \"$(pidof cfgsync)\"                       # the server reads its tokens again
  cfgsync inspect --token-file operator.token")]
struct NewArgs {
    /// What its holder may do: a node registers, fetches its own files and leaves; an operator does everything
    #[arg(long, env = "CFGSYNC_ROLE", value_name = "node|operator")]
    role: Role,
    /// What logs call it [default: its role and the beginning of its hash]
    #[arg(long, env = "CFGSYNC_NAME", value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// For which nodes it is good: `web-*`, `?` is one character [default: all]
    #[arg(long, env = "CFGSYNC_IDENTIFIER", value_name = "PATTERN")]
    identifier: Option<Pattern>,
    /// How long it is good from now on [default: for ever]
    #[arg(long, env = "CFGSYNC_EXPIRES", value_name = "DURATION", value_parser = duration)]
    expires: Option<Duration>,
    /// Print a join URL that holds the secret, made of this one, which `serve` told: `cfgsync join URL` needs no more
    #[arg(long, env = "CFGSYNC_URL", value_name = "URL", value_parser = UrlParser)]
    url: Option<ServerUrl>,
    /// Add its line to this file, which is made with mode 0600 if it is not there
    #[arg(long, env = "CFGSYNC_APPEND", value_name = "FILE")]
    append: Option<PathBuf>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The line could not be added.
    #[error("cannot add the token to {}: {error}", path.display())]
    Append {
        /// To which file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The secret did not arrive, so nobody has it.
    #[error("cannot write the token to standard output: {problem}; {left}")]
    Untold {
        /// What the operating system said.
        problem: io::Error,
        /// What became of its line.
        left: String,
    },
    /// A URL that cannot hold it (2).
    #[error(transparent)]
    Url(#[from] InvalidServer),
    /// The system gives no randomness, or the time is out of range.
    #[error("cannot make a token: {0}")]
    Make(String),
}

pub(crate) fn run(args: TokenArgs) -> anyhow::Result<Exit> {
    let TokenCommand::New(args) = args.command;
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
            // Nobody needs the fractions.
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
        expires,
    };
    let secret = format!("{}\n", printed.expose_secret());
    let Some(path) = args.append else {
        // Not in the log, of which somebody may want nothing: without it the secret is good for nothing.
        let told = writeln!(io::stderr(), "the line for `serve --tokens`:\n{token}");
        told.map_err(|error| TokenError::Make(error.to_string()))?;
        output::write(secret).map_err(|problem| TokenError::Untold {
            problem,
            left: "the line is of no use".to_owned(),
        })?;
        return Ok(Exit::Done);
    };
    let added = Added::to(&path, &token).map_err(|error| TokenError::Append {
        path: path.clone(),
        error,
    })?;
    if let Err(problem) = output::write(secret) {
        let left = match added.take_back() {
            Ok(Left::AsItWas) => format!("{} is as it was", path.display()),
            Ok(Left::Nothing) => format!("{} was made for it, and is gone again", path.display()),
            Err(error) => format!(
                "its line could not be taken back ({error}): remove {} from {}",
                token.name,
                path.display()
            ),
        };
        return Err(TokenError::Untold { problem, left }.into());
    }
    tracing::info!("{} is added to {}", token.name, path.display());
    Ok(Exit::Done)
}

/// How often a file is opened that is gone once it is locked: who made it has taken it back.
const OPEN_TRIES: usize = 8;

/// A line that was added to a file, which is locked for as long as it can be taken back.
struct Added<'a> {
    path: &'a Path,
    file: File,
    /// Whether it was made for this.
    is_new: bool,
    /// How long the file was, in bytes, and is.
    before: u64,
    after: u64,
}

/// What is left where a line was taken back.
enum Left {
    /// The file of before.
    AsItWas,
    /// There was none.
    Nothing,
}

impl<'a> Added<'a> {
    /// All of the line or nothing, on a line of its own.
    fn to(path: &'a Path, token: &Token) -> io::Result<Self> {
        let (mut file, is_new) = opened(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let before = text.len() as u64;
        let gap = match text.is_empty() || text.ends_with('\n') {
            true => "",
            false => "\n",
        };
        let line = format!("{gap}{token}\n");
        // A server would refuse the whole file, and keep the tokens of before.
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
            // The error that is told is the first one.
            let _ = added.undo();
            return Err(error);
        }
        Ok(added)
    }

    /// Makes the file what it was, unless somebody else has written to it as well.
    fn take_back(self) -> io::Result<Left> {
        if self.file.metadata()?.len() != self.after {
            return Err(io::Error::other("it was changed meanwhile"));
        }
        self.undo()
    }

    fn undo(&self) -> io::Result<Left> {
        if self.is_new {
            fs::remove_file(self.path)?;
            return Ok(Left::Nothing);
        }
        self.file.set_len(self.before)?;
        self.file.sync_all()?;
        Ok(Left::AsItWas)
    }
}

/// Opens a file and locks it, and says whether it was made for this.
fn opened(path: &Path) -> io::Result<(File, bool)> {
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
            // A device may be read without end.
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        // Some network filesystems have no locks.
        let _ = file.lock();
        if file.metadata()?.nlink() > 0 {
            return Ok((file, is_new));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "it is removed again and again: try later",
    ))
}

fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}
