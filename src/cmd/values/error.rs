//! The reasons why a command about values failed, and the names that the user may have meant.

use std::{io, path::PathBuf};

use cfgsync_client::{CallError, Client};
use cfgsync_model::{Namespace, ValueName};
use cfgsync_support::{bounded_file::ReadError, nearest::did_you_mean_suffix};

use crate::cmd::{error::CommandError, exit::Exit};

/// The reason why a value was not shown or not set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ValuesError {
    /// The value is a secret, and `--reveal` is missing.
    #[error("{name} is a secret; add --reveal to print it")]
    Secret {
        /// The namespace and the key.
        name: String,
    },
    /// The value has no such version, so there is nothing to compare.
    #[error("{name} has one version only, so there is nothing to compare")]
    OneVersion {
        /// The namespace and the key.
        name: String,
    },
    /// The server's answer has content that is no base64.
    #[error("the server sent content for {name} that is not base64")]
    NotBase64 {
        /// The namespace and the key.
        name: String,
    },
    /// The content cannot be read.
    #[error("cannot read {}: {problem}", path.display())]
    Read {
        /// The file with the content.
        path: PathBuf,
        /// The reason.
        problem: ReadError,
    },
    /// A file of values has a mistake.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The mistake.
        problem: String,
    },
    /// A file of values cannot be written.
    #[error("cannot write {}: {problem}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        problem: io::Error,
    },
}

/// Returns the error of reading a value. A missing value is the answer "no", and the message has the nearest name.
pub(super) async fn of_read(
    client: &Client,
    address: &ValueName,
    error: CallError,
) -> CommandError {
    let CallError::Refused { body, .. } = &error else {
        return error.into();
    };
    match body.reason.as_deref() {
        Some("not_found") => {
            let hint = hint(client, address, &body.message).await;
            CommandError::new(Exit::No, &body.message).hint(hint)
        }
        Some("version_not_found") => {
            let hint = format!("`cfgsync values history {address}` lists the versions");
            CommandError::new(Exit::No, &body.message).hint(hint)
        }
        _ => error.into(),
    }
}

/// Returns the error of changing a value, which has the nearest name if there is no such value.
pub(super) async fn of_change(
    client: &Client,
    address: &ValueName,
    error: CallError,
) -> CommandError {
    let CallError::Refused { body, .. } = &error else {
        return error.into();
    };
    let hint = match body.reason.as_deref() {
        Some("not_found") => hint(client, address, &body.message).await,
        Some("key_exists") => "leave --create out to replace the value".to_owned(),
        Some("other_version") => format!(
            "`cfgsync values get {address}` shows the value; another operator may have changed it"
        ),
        Some("invalid_value") if body.message.starts_with("the value is not JSON") => {
            "in JSON, a text has quotes, as in '\"a b\"'; with --codec text, the content is the text itself"
                .to_owned()
        }
        _ => return error.into(),
    };
    CommandError::from(error).hint(hint)
}

/// Returns the error of changing an alias.
pub(super) fn of_alias(error: CallError) -> CommandError {
    let hint = match &error {
        CallError::Refused { body, .. } => match body.reason.as_deref() {
            Some("alias_exists") => {
                "choose another name, or delete the alias or the value first; `cfgsync values alias ls` lists the aliases"
            }
            Some("not_found" | "alias_chain") => "`cfgsync values alias ls` lists the aliases",
            _ => return error.into(),
        },
        _ => return error.into(),
    };
    CommandError::from(error).hint(hint)
}

/// Returns what to do about a value that does not exist.
async fn hint(client: &Client, address: &ValueName, message: &str) -> String {
    let namespace = &address.namespace;
    let list = format!("`cfgsync values ls {namespace}` lists the values of the namespace");
    // The server compares only the keys of this namespace.
    if message.contains("did you mean") {
        return list;
    }
    empty_namespace(client, namespace).await.unwrap_or(list)
}

/// Returns the sentence that a namespace has no values, with the nearest namespace. `None` if it has some, or if the list
/// of namespaces cannot be read: the message is complete without it.
pub(super) async fn empty_namespace(client: &Client, namespace: &Namespace) -> Option<String> {
    let names = client.namespaces("").await.ok()?.value.namespaces;
    if names.contains(namespace) {
        return None;
    }
    let near = did_you_mean_suffix(namespace.as_str(), names.iter().map(Namespace::as_str));
    Some(format!("the namespace {namespace} has no values{near}"))
}
