//! The reasons why bytes cannot be decoded.

use cfgsync_model::{
    Instance, InvalidArtifactPath, InvalidIdentifier, InvalidShortName, InvalidValueName,
};

/// The reason why the body of an intact frame cannot be decoded. The cause is a bug, or a file that was edited by hand.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("a frame cannot be decoded")]
    Body(#[from] postcard::Error),
    #[error("a frame contains invalid JSON")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Identifier(#[from] InvalidIdentifier),
    #[error(transparent)]
    Path(#[from] InvalidArtifactPath),
    #[error(transparent)]
    ValueName(#[from] InvalidValueName),
    #[error(transparent)]
    Phase(#[from] InvalidShortName),
    #[error("it belongs to instance {0}")]
    Instance(Instance),
    #[error("{0}")]
    Other(String),
}
