//! The reason why waiting nodes were released before the first seal, and which inputs end that failure.

use std::sync::Arc;

use cfgsync_model::{Failure, Revision};
use cfgsync_store::State;

/// A failure before the first seal.
#[derive(Clone)]
pub(crate) struct AttemptFailure {
    /// The reason.
    pub(crate) failure: Arc<Failure>,
    /// The inputs of a failed render: newer ones end the failure. `None`: the deadline passed.
    pub(crate) inputs: Option<InputRevisions>,
}

/// The newest change of each kind of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct InputRevisions {
    /// The newest registration or removal of a node.
    pub(crate) registrations: Revision,
    /// The newest change of an override.
    pub(crate) overrides: Revision,
    /// The newest request for another value of `once`.
    pub(crate) redraws: Revision,
}

impl InputRevisions {
    /// Returns the newest changes in `state`.
    pub(crate) fn of(state: &State) -> Self {
        Self {
            registrations: state.registrations_revision,
            overrides: state.overrides_revision,
            redraws: state.redraws_revision,
        }
    }

    /// Returns the newest of these revisions.
    pub(crate) fn newest(self) -> Revision {
        self.registrations.max(self.overrides).max(self.redraws)
    }
}
