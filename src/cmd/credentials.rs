//! The token with which a command comes: from a file, the environment, or systemd's credentials; never from the
//! command line.

use std::{
    env,
    ffi::OsStr,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use cfgsync_client::Client;
use clap::Args;
use secrecy::SecretString;

/// The variable that may hold the token itself. It is read here alone: no help and no message shows its value.
pub(crate) const TOKEN_VARIABLE: &str = "CFGSYNC_TOKEN";

/// The variable that may hold a join URL, and a token in it.
const SERVER_VARIABLE: &str = "CFGSYNC_SERVER";
/// What the token is called among systemd's credentials.
const CREDENTIAL: &str = "cfgsync-token";
/// Longest token, in bytes.
const TOKEN_MAX_BYTES: u64 = 4_096;

/// Where the token is.
#[derive(Debug, Args)]
pub(crate) struct TokenSource {
    /// A file with the token that opens the server [default: what CFGSYNC_TOKEN holds, or systemd's credential
    /// cfgsync-token]
    #[arg(
        long,
        env = "CFGSYNC_TOKEN_FILE",
        value_name = "FILE",
        global = true,
        help_heading = "Access"
    )]
    token_file: Option<PathBuf>,
}

/// The variables of this process that hold a token: nobody whom it starts needs them.
pub(crate) fn with_a_token() -> impl Iterator<Item = &'static str> {
    let holds = |name: &str| env::var_os(name).is_some_and(|value| holds_a_token(&value));
    [TOKEN_VARIABLE, SERVER_VARIABLE]
        .into_iter()
        .filter(move |name| *name == TOKEN_VARIABLE || holds(name))
}

/// Says that `secret` can be stolen on its way to `servers`, and the way out.
pub(crate) fn warn_of_the_clear(secret: &str, servers: &str) {
    tracing::warn!(
        "{secret} goes to {servers} in the clear: whoever is on the way can read and use it; have the server speak \
         TLS (`serve --tls self-signed`) and take its join URL (cfgsync://…), or https://"
    );
}

/// Whether a join URL with a token is among these.
fn holds_a_token(servers: &OsStr) -> bool {
    servers.to_string_lossy().contains("token=")
}

/// A token that cannot be had. What was read is never shown.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the token in {place}: {problem}")]
pub(crate) struct CredentialError {
    place: String,
    problem: String,
}

impl TokenSource {
    /// The same client, which comes with the token, if there is any.
    pub(crate) fn take_to(&self, client: Client) -> Result<Client, CredentialError> {
        let Some(token) = self.token()? else {
            return Ok(client);
        };
        let servers: Vec<String> = client.in_the_clear().map(ToString::to_string).collect();
        if !servers.is_empty() {
            warn_of_the_clear("the token", &servers.join(", "));
        }
        client.with_token(&token).map_err(|error| CredentialError {
            place: "a header".to_owned(),
            problem: error.to_string(),
        })
    }

    /// The token, if there is any.
    fn token(&self) -> Result<Option<SecretString>, CredentialError> {
        if let Some(path) = &self.token_file {
            return read(path).map(Some);
        }
        if let Some(value) = env::var_os(TOKEN_VARIABLE).filter(|value| !value.is_empty()) {
            let text = value.into_string().unwrap_or_default();
            return check(text, TOKEN_VARIABLE).map(Some);
        }
        let Some(directory) = env::var_os("CREDENTIALS_DIRECTORY") else {
            return Ok(None);
        };
        let path = Path::new(&directory).join(CREDENTIAL);
        match path.exists() {
            true => read(&path).map(Some),
            false => Ok(None),
        }
    }
}

fn read(path: &Path) -> Result<SecretString, CredentialError> {
    let place = path.display().to_string();
    let read = || -> io::Result<String> {
        let mut text = String::new();
        let mut file = File::open(path)?.take(TOKEN_MAX_BYTES + 1);
        file.read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) => check(text, &place),
        Err(error) => Err(CredentialError {
            place,
            problem: error.to_string(),
        }),
    }
}

/// Whatever it is, it goes into a header: one word of visible characters.
fn check(text: String, place: &str) -> Result<SecretString, CredentialError> {
    let secret = SecretString::from(text.trim().to_owned());
    drop(SecretString::from(text));
    let word = secrecy::ExposeSecret::expose_secret(&secret);
    let problem = if word.is_empty() {
        "it is empty"
    } else if word.len() as u64 > TOKEN_MAX_BYTES {
        "it is too long for a token"
    } else if !word.bytes().all(|byte| byte.is_ascii_graphic()) {
        "a token is one word of letters, digits and signs"
    } else {
        return Ok(secret);
    };
    Err(CredentialError {
        place: place.to_owned(),
        problem: problem.to_owned(),
    })
}
