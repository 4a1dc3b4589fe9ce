//! `kind: precomputed`: the artifacts are already known.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use super::{Audience, MaterializationResult, MaterializeError, Materializer};
use cfgsync_model::{Identifier, MaterializedArtifacts, RegistrationSnapshot};
use cfgsync_spec::PrecomputedSpec;

/// Gives the listed nodes' files and the shared ones, whoever is registered.
pub struct PrecomputedMaterializer {
    file: PathBuf,
    artifacts: Arc<MaterializedArtifacts>,
    identifiers: BTreeSet<Identifier>,
    requires_registration: bool,
}

impl PrecomputedMaterializer {
    /// The artifacts that `spec` read.
    pub fn new(spec: &PrecomputedSpec) -> Self {
        Self {
            file: spec.file.clone(),
            artifacts: Arc::clone(&spec.artifacts),
            identifiers: spec.artifacts.nodes.keys().cloned().collect(),
            requires_registration: spec.requires_registration,
        }
    }
}

impl Materializer for PrecomputedMaterializer {
    fn name(&self) -> String {
        format!("precomputed {}", self.file.display())
    }

    fn repeats(&self) -> bool {
        true
    }

    fn materialize(
        &self,
        _: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        // The contents are shared: this copies names and counts references.
        let artifacts = MaterializedArtifacts::clone(&self.artifacts);
        Ok(MaterializationResult::Ready(artifacts))
    }

    fn audience(&self) -> Audience {
        Audience::Listed {
            identifiers: self.identifiers.clone(),
            requires_registration: self.requires_registration,
        }
    }
}
