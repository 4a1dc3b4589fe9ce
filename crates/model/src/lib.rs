//! Nouns and pure decisions: no I/O, no async, no clock.

mod identifier;
mod digest;
mod pin;
mod instance;
mod integer;
mod artifact;
mod registration;
mod snapshot;
mod readiness;
mod generation;
mod failure;

pub use artifact::{
    ArtifactFile, ArtifactPath, ArtifactSet, Chunk, Content, DuplicatePath, InvalidArtifactPath,
    InvalidArtifacts, InvalidMode, MaterializedArtifacts, Mode, NotSecret,
};
pub use digest::{Digest, InvalidDigest};
pub use failure::{Failure, FailureKind};
pub use generation::{Generation, NodeFiles, generation_digest, payload_digest};
pub use identifier::{Identifier, InvalidIdentifier};
pub use instance::{GenerationNumber, Instance, Revision, Seat};
pub use integer::{RoundedInteger, refuse_rounded};
pub use pin::{InvalidPin, Pin};
pub use readiness::{MISSING_NAMES_MAX, NODES_CLAUSE, Progress, Readiness};
pub use registration::{
    InvalidRegistration, Metadata, NobodysAddress, NodeRegistration, refuse_nobodys,
};
pub use snapshot::{RegistrationSnapshot, SnapshotNode};
