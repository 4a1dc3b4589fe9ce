//! The kind `precomputed`: artifacts that are known in advance.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use cfgsync_model::{Identifier, MaterializedArtifacts, RegistrationSnapshot};
use cfgsync_spec::{
    Audience, MaterializationResult, MaterializeError, Materializer, PrecomputedSpec,
};

/// A materializer that returns the artifacts of a file. They do not depend on the registered nodes.
pub(super) struct PrecomputedMaterializer {
    file: PathBuf,
    artifacts: Arc<MaterializedArtifacts>,
    identifiers: BTreeSet<Identifier>,
    requires_registration: bool,
}

impl PrecomputedMaterializer {
    /// Returns a materializer of the artifacts in `spec`.
    pub(super) fn new(spec: &PrecomputedSpec) -> Self {
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

    fn is_repeatable(&self) -> bool {
        true
    }

    fn materialize(
        &self,
        _: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        // The clone shares the contents. It copies only names.
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
