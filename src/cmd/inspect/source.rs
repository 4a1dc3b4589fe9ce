//! The sources of `inspect`: a server or a state directory.

use cfgsync_client::{CallError, Client};
use cfgsync_model::{ArtifactSet, GenerationNumber, Identifier};
use cfgsync_store::DirectoryContents;
use cfgsync_wire::{
    ArtifactEntry, ClusterBody, GenerationBody, GenerationEntry, NO_FILES, NO_SUCH_GENERATION,
    NO_SUCH_NODE, NodeBody, RecordBody,
};

use super::{InspectError, offline};
use crate::cmd::error::CommandError;

/// The source of the answers. A state directory has no spec, so it cannot say what the rule still needs.
pub(super) enum Source {
    Server(Box<Client>),
    Directory(Box<DirectoryContents>),
}

/// The files of a node, for an operator.
pub(super) struct Shown {
    pub(super) files: ArtifactSet,
    /// The entries of secret files, which are not in `files`.
    pub(super) withheld: Vec<ArtifactEntry>,
}

impl Source {
    pub(super) async fn cluster(&self) -> Result<ClusterBody, CommandError> {
        Ok(match self {
            Self::Server(client) => client.snapshot().await?.value,
            Self::Directory(contents) => offline::cluster(contents),
        })
    }

    pub(super) async fn node(&self, identifier: &Identifier) -> Result<NodeBody, CommandError> {
        Ok(match self {
            Self::Server(client) => {
                let answer = client.node(identifier).await;
                let absent = |_: &str, message| InspectError::NoNode(message);
                answer.map_err(|error| or_absent(error, absent))?.value
            }
            Self::Directory(contents) => offline::node(contents, identifier)?,
        })
    }

    /// Returns all generations that are kept, newest first.
    pub(super) async fn generations(&self) -> Result<Vec<GenerationEntry>, CommandError> {
        Ok(match self {
            Self::Server(client) => client.generations().await?.value,
            Self::Directory(contents) => {
                let kept = contents.state.generations.iter().rev();
                kept.map(|kept| GenerationEntry::of(kept)).collect()
            }
        })
    }

    pub(super) async fn generation(
        &self,
        number: GenerationNumber,
    ) -> Result<GenerationBody, CommandError> {
        Ok(match self {
            Self::Server(client) => {
                let answer = client.generation(number).await;
                let absent = |_: &str, _| InspectError::NoGeneration(number);
                answer.map_err(|error| or_absent(error, absent))?.value
            }
            Self::Directory(contents) => GenerationBody::of(offline::generation(contents, number)?),
        })
    }

    /// Returns the flight record of a generation, or of the newest one.
    pub(super) async fn record(
        &self,
        number: Option<GenerationNumber>,
    ) -> Result<RecordBody, CommandError> {
        let number_of_refusal = number.unwrap_or_default();
        Ok(match self {
            Self::Server(client) => {
                let answer = client.record(number).await;
                let absent = |_: &str, _| InspectError::NoGeneration(number_of_refusal);
                answer.map_err(|error| or_absent(error, absent))?.value
            }
            Self::Directory(contents) => offline::record(contents, number)?,
        })
    }

    /// Returns the files that `identifier` gets in a generation: its own files, then the shared ones. Without `reveal`,
    /// secret files are entries without content.
    pub(super) async fn payload_of(
        &self,
        number: GenerationNumber,
        identifier: &Identifier,
        reveal: bool,
    ) -> Result<Shown, CommandError> {
        match self {
            Self::Server(client) => {
                let answer = client.payload_of(number, identifier, reveal).await;
                let absent = |what: &str, reason| match what {
                    NO_FILES => InspectError::NoPayload {
                        identifier: identifier.clone(),
                        reason,
                    },
                    _ => InspectError::NoGeneration(number),
                };
                let payload = answer.map_err(|error| or_absent(error, absent))?.value;
                Ok(Shown {
                    files: payload.files,
                    withheld: payload.withheld,
                })
            }
            Self::Directory(contents) => {
                let generation = offline::generation(contents, number)?;
                let files = generation.payload(identifier.as_str()).ok_or_else(|| {
                    InspectError::NoPayload {
                        identifier: identifier.clone(),
                        reason: format!("generation {number} has no files for it"),
                    }
                })?;
                let (withheld, shown): (Vec<_>, Vec<_>) =
                    files.partition(|file| file.secret && !reveal);
                let files = ArtifactSet::new(shown.into_iter().cloned().collect());
                let is_shared = |path| generation.shared.get(path).is_some();
                let withheld = withheld.into_iter();
                Ok(Shown {
                    files: files.expect("own and shared names are distinct in a sealed generation"),
                    withheld: withheld
                        .map(|file| ArtifactEntry::of(file, is_shared(&file.path)))
                        .collect(),
                })
            }
        }
    }
}

/// Turns a refusal because something does not exist into the error that `absent` makes of it.
fn or_absent(error: CallError, absent: impl FnOnce(&str, String) -> InspectError) -> CommandError {
    if let CallError::Refused { body, .. } = &error
        && let Some(what @ (NO_SUCH_NODE | NO_SUCH_GENERATION | NO_FILES)) = body.reason.as_deref()
    {
        return absent(what, body.message.clone()).into();
    }
    error.into()
}
