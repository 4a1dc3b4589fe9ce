//! Materializers turn a ready snapshot into artifacts.
//!
//! One file per kind. A Rust program that embeds cfgsync implements [`Materializer`] itself.

mod exec;
mod precomputed;
mod template;

use std::{collections::BTreeSet, sync::Arc};

pub use self::{
    exec::ExecMaterializer, precomputed::PrecomputedMaterializer, template::TemplateMaterializer,
};
use cfgsync_model::{Identifier, MaterializedArtifacts, RegistrationSnapshot};
use cfgsync_spec::{MaterializerSpec, Spec};

/// The materializers that `spec` names, in its order: the list of kinds there are.
pub fn build(spec: &Spec) -> Vec<Arc<dyn Materializer>> {
    let one = |kind: &MaterializerSpec| -> Arc<dyn Materializer> {
        match kind {
            MaterializerSpec::Template(spec) => Arc::new(TemplateMaterializer::new(spec)),
            MaterializerSpec::Precomputed(spec) => Arc::new(PrecomputedMaterializer::new(spec)),
            MaterializerSpec::Exec(spec) => Arc::new(ExecMaterializer::new(spec)),
        }
    };
    spec.materializers.iter().map(one).collect()
}

/// Makes files from a snapshot. Called on a thread of its own: it may block, and a panic in it fails the
/// render, not the server.
pub trait Materializer: Send + Sync + 'static {
    /// What messages call it, such as `template` or `exec ./make-genesis`.
    fn name(&self) -> String;

    /// The files for `snapshot`. Depends on nothing else where it can be helped: equal snapshots should give
    /// equal bytes.
    fn materialize(
        &self,
        snapshot: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError>;

    /// The server stops while this works on files that nobody will get: ends what would outlive it. Whoever
    /// does all of its work on the thread it is called on has nothing to do here.
    fn stop(&self) {}

    /// Whether it gives the same files again when it is asked again about the same snapshot, unless files on this
    /// machine have changed that it reads. A server that comes back with its state asks such a materializer again;
    /// where one may answer otherwise, what is sealed stands until an input or the spec changes.
    fn repeats(&self) -> bool {
        false
    }

    /// Whom it has files for.
    fn audience(&self) -> Audience {
        Audience::Registered
    }
}

/// Whom a materializer has files for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// The nodes of the snapshot.
    Registered,
    /// Nodes that are known beforehand.
    Listed {
        /// Who they are.
        identifiers: BTreeSet<Identifier>,
        /// Whether they must register before they may fetch.
        requires_registration: bool,
    },
}

/// A materializer's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaterializationResult {
    /// Something beyond the rule is missing still; asked again later, or when an input changes.
    NotReady {
        /// What is missing, in words for whoever waits.
        message: String,
    },
    /// The files. Identifiers outside the snapshot are an error unless the audience lists them.
    Ready(MaterializedArtifacts),
}

/// A render that failed, in words for operator and nodes: what, where (file, line, column, node) and how to
/// mend it. Never holds the contents of files or variables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MaterializeError(pub String);
