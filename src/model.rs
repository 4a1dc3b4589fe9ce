//! Nouns and pure decisions: no I/O, no async, no clock.

mod artifact;
mod digest;
mod failure;
mod generation;
mod identifier;
mod instance;
mod readiness;
mod registration;
mod snapshot;

pub use artifact::{
    ArtifactFile, ArtifactPath, ArtifactSet, Chunk, Content, DuplicatePath, InvalidArtifactPath,
    InvalidMode, MaterializedArtifacts, Mode,
};
pub use digest::{Digest, InvalidDigest};
pub use failure::{Failure, FailureKind};
pub use generation::{Generation, NodeFiles, generation_digest, payload_digest};
pub use identifier::{Identifier, InvalidIdentifier};
pub use instance::{GenerationNumber, Instance, Revision, Seat};
pub use readiness::{MISSING_NAMES_MAX, NODES_CLAUSE, Progress, Readiness};
pub use registration::{Metadata, NodeRegistration};
pub use snapshot::{RegistrationSnapshot, SnapshotNode};
