//! The data types of cfgsync: registrations, snapshots, artifacts and generations.
//!
//! Every other crate of the workspace builds on these types; this crate itself only knows
//! [`cfgsync_support`]. A [`NodeRegistration`] comes in from a node. A [`RegistrationSnapshot`] has all nodes at one
//! revision, and a [`Generation`] has the files that were rendered from one snapshot.
//!
//! Invariants:
//!
//! - A value that exists is valid: an [`Identifier`] or [`ArtifactPath`] is checked when it is created or decoded.
//! - Nothing here does I/O, waits, or reads a clock. Equal inputs give equal results and equal digests.
//! - `Debug` output never contains the bytes of a file.

mod digest;
mod pin;
mod instance;
mod event_id;
mod identifier;
mod integer;
mod registration;
mod joiner;
mod value_names;
mod value;
mod value_reader;
mod snapshot;
mod unmet;
mod readiness;
mod short_name;
mod phase;
mod phase_progress;
mod run;
mod artifact_path;
mod mode;
mod content;
mod ownership;
mod artifact;
mod nested_paths;
mod sealed_reads;
mod provenance;
mod generation;
mod failure;

pub use artifact::{
    ArtifactFile, ArtifactSet, DuplicatePath, InvalidArtifacts, MaterializedArtifacts,
};
pub use artifact_path::{ArtifactPath, InvalidArtifactPath};
pub use content::{Chunk, Content};
pub use digest::{Digest, InvalidDigest};
pub use event_id::{EventId, EventPosition};
pub use failure::{Failure, FailureKind};
pub use generation::{Generation, NodeFiles, generation_digest, payload_digest};
pub use identifier::{Identifier, InvalidIdentifier};
pub use instance::{GenerationNumber, Instance, Revision, Seat};
pub use integer::{IntegerOutOfRange, check_integer_range};
pub use joiner::{JoinerId, Origin, Sender};
pub use mode::{InvalidMode, Mode, ModeNotPrivate};
pub use nested_paths::{NestedPaths, PathIndex};
pub use ownership::{Account, InvalidAccount, Ownership};
pub use phase::{PHASE_REASON_MAX_BYTES, Phase, PhaseReport};
pub use phase_progress::{FailedNode, PhaseProgress};
pub use pin::{InvalidPin, Pin};
pub use provenance::{
    CHANGES_MAX, GenerationChanges, InputChange, Provenance, RenderTime, SOURCES_MAX, SpecSources,
};
pub use readiness::{MISSING_NAMES_MAX, Progress, Readiness};
pub use registration::{
    InvalidRegistration, Metadata, NodeRegistration, UnusableAddress, check_node_address,
};
pub use run::{ClaimId, Fence, RUN_OUTPUT_MAX_BYTES, Run, RunName, RunState};
pub use sealed_reads::{SEALED_READS_MAX, SealedReads};
pub use short_name::InvalidShortName;
pub use snapshot::{RegistrationSnapshot, SharedMetadata, SnapshotNode};
pub use unmet::{GroupProblem, Unmet};
pub use value::{Alias, VALUE_MAX_BYTES, ValueType, ValueVersion, WriteMode};
pub use value_names::{Codec, InvalidValueName, Namespace, ValueKey, ValueName, ValuePattern};
pub use value_reader::{ValueReadError, ValueReader, ValueReads, ValueSource};
