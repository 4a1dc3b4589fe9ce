//! Finds the token that a command authenticates with: in a file, in the environment or in systemd's credentials.
//!
//! There is no flag for the token itself, because every user of a machine can read the command lines of processes.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use cfgsync_client::Client;
use cfgsync_support::bounded_file;
use clap::Args;
use secrecy::SecretString;

use super::parsers::absolute;

/// The variable that may contain the token itself. It is no flag's variable, so no help text shows its value.
pub(crate) const TOKEN_VARIABLE: &str = "CFGSYNC_TOKEN";

/// The variable that may contain a join URL with a token in it.
const SERVER_VARIABLE: &str = "CFGSYNC_SERVER";
/// The name of the token among systemd's credentials.
const CREDENTIAL: &str = "cfgsync-token";
/// Longest token, in bytes: it must fit into a header.
const TOKEN_MAX_BYTES: usize = 4_096;
/// Largest token file, in bytes: a token and the blank space around it.
const FILE_MAX_BYTES: u64 = 2 * TOKEN_MAX_BYTES as u64;

/// The place where the token is found.
#[derive(Debug, Args)]
pub(crate) struct TokenSource {
    /// The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd's credential
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

/// Returns the names of this process's variables that contain a token, to remove them from the environment of CMD.
pub(crate) fn variables_with_token() -> impl Iterator<Item = &'static str> {
    let holds = |name: &str| env::var_os(name).is_some_and(|value| contains_token(&value));
    [TOKEN_VARIABLE, SERVER_VARIABLE]
        .into_iter()
        .filter(move |name| *name == TOKEN_VARIABLE || holds(name))
}

/// Warns that `secret` goes to `servers` unencrypted.
pub(crate) fn warn_unencrypted(secret: &str, servers: &str) {
    tracing::warn!(
        "{secret} goes to {servers} unencrypted, so it can be read on the network; start the server with TLS \
         (`serve --tls self-signed`) and use its join URL (cfgsync://…), or an https:// URL"
    );
}

/// Whether one of these URLs contains a token.
fn contains_token(servers: &OsStr) -> bool {
    servers.to_string_lossy().contains("token=")
}

/// The reason why the token cannot be used. The message never shows the token.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the token in {place}: {problem}")]
pub(crate) struct CredentialError {
    place: String,
    problem: String,
}

impl TokenSource {
    /// Returns the variable that names the file of the token, if it is in a file of its own.
    pub(crate) fn variable(&self) -> Option<(&'static str, OsString)> {
        let path = self.token_file.as_ref()?;
        Some(("CFGSYNC_TOKEN_FILE", absolute(path).into()))
    }

    /// Returns `client` with the token, if one is configured.
    pub(crate) fn add_to(&self, client: Client) -> Result<Client, CredentialError> {
        let Some(token) = self.token()? else {
            return Ok(client);
        };
        let servers: Vec<String> = client
            .unencrypted_servers()
            .map(ToString::to_string)
            .collect();
        if !servers.is_empty() {
            warn_unencrypted("the token", &servers.join(", "));
        }
        client.with_token(&token).map_err(|error| CredentialError {
            place: "a header".to_owned(),
            problem: error.to_string(),
        })
    }

    /// Returns the token, if one is configured.
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
        if path.exists() {
            read(&path).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// Reads a password from a file. Line breaks at its end do not belong to it.
#[cfg(feature = "etcd")]
pub(crate) fn read_password(path: &Path) -> Result<SecretString, CredentialError> {
    let failed = |problem: String| CredentialError {
        place: path.display().to_string(),
        problem,
    };
    let text = bounded_file::read_text_without_waiting(path, FILE_MAX_BYTES)
        .map_err(|error| failed(error.to_string()))?;
    let password = SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned());
    drop(SecretString::from(text));
    if secrecy::ExposeSecret::expose_secret(&password).is_empty() {
        return Err(failed("the password is empty".to_owned()));
    }
    Ok(password)
}

fn read(path: &Path) -> Result<SecretString, CredentialError> {
    let place = path.display().to_string();
    match bounded_file::read_text_without_waiting(path, FILE_MAX_BYTES) {
        Ok(text) => check(text, &place),
        Err(error) => Err(CredentialError {
            place,
            problem: error.to_string(),
        }),
    }
}

/// The token goes into a header, so it must be one word of visible ASCII characters.
fn check(text: String, place: &str) -> Result<SecretString, CredentialError> {
    let secret = SecretString::from(text.trim().to_owned());
    drop(SecretString::from(text));
    let word = secrecy::ExposeSecret::expose_secret(&secret);
    let problem = if word.is_empty() {
        "the token is empty"
    } else if word.len() > TOKEN_MAX_BYTES {
        "the token is longer than 4096 bytes"
    } else if !word.bytes().all(|byte| byte.is_ascii_graphic()) {
        "a token is one word of visible ASCII characters"
    } else {
        return Ok(secret);
    };
    Err(CredentialError {
        place: place.to_owned(),
        problem: problem.to_owned(),
    })
}
