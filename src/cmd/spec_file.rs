//! Reads a spec from its file, and logs what was ignored in the files that it names.

use std::path::Path;

use cfgsync_spec::{Spec, SpecError};

/// Reads the spec at `path`, for commands that use it.
pub(crate) fn load(path: &Path) -> Result<Spec, SpecError> {
    let spec = Spec::load(path)?;
    for warning in &spec.warnings {
        tracing::warn!("{warning}");
    }
    Ok(spec)
}
