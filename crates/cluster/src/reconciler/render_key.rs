//! The key of a render: what it reads.

use crate::attempt_failure::InputRevisions;
use cfgsync_model::{Digest, Revision};

/// The inputs of a render. Renders with equal keys give the same files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RenderKey {
    /// The inputs that the pipeline reads.
    pub(super) inputs: InputRevisions,
    /// The newest change of an operator's value that renders read.
    pub(super) values: Revision,
    /// The digest of the spec.
    pub(super) spec: Digest,
    /// The number of times that the spec was read. The files that it names may differ each time.
    pub(super) spec_reading: u32,
}

impl RenderKey {
    /// Returns the newest input.
    pub(super) fn newest_input(self) -> Revision {
        self.inputs.newest().max(self.values)
    }
}
