//! cfgsync turns "who showed up" into "the files they need".
//!
//! The modules stand in the order in which data travels through them: a registration is a noun of
//! [`model`], the [`spec`] says when the set is complete, a [`materialize`] plugin makes files of it, the
//! [`store`] keeps what was acknowledged, the [`coordinator`] seals generations, [`http`] hands them out and
//! the [`client`] writes them. A module imports only modules that stand above it.

pub mod app;

pub use app::{Server, serve};
pub use cfgsync_client::{Client, OutputMap, fetch_and_write};
pub use cfgsync_materialize::{MaterializationResult, Materializer};
pub use cfgsync_model::{
    ArtifactFile, ArtifactSet, Identifier, MaterializedArtifacts, NodeRegistration,
    RegistrationSnapshot,
};
