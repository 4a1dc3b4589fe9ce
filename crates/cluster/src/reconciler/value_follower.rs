//! Follows operators' values: which of their changes matter to the next render, and which to the readiness rule.
//!
//! The newest render and the newest evaluation say what they have read. A change counts if one of these reads would now
//! give another content.

use cfgsync_model::{Revision, ValueReads};
use cfgsync_store::State;

/// The reads of the newest render and of the rule, and the newest change that matters to a render.
pub(super) struct ValueFollower {
    /// The newest change that was compared with the reads.
    seen: Revision,
    /// The newest change of what renders read.
    changed: Revision,
    render: ValueReads,
    rule: ValueReads,
}

impl ValueFollower {
    /// Returns a follower that has seen `state`. `changed` is the newest change that matters to the next render.
    pub(super) fn new(state: &State, changed: Revision) -> Self {
        Self {
            seen: state.values_revision,
            changed,
            render: ValueReads::default(),
            rule: ValueReads::default(),
        }
    }

    /// Returns the newest change of a value that renders read.
    pub(super) fn changed(&self) -> Revision {
        self.changed
    }

    /// Compares the values of `state` with the reads. Returns whether a value has changed that the rule reads.
    pub(super) fn follow(&mut self, state: &State) -> bool {
        if self.seen == state.values_revision {
            return false;
        }
        self.seen = state.values_revision;
        if self.render.refresh(&state.values) {
            self.changed = state.values_revision;
        }
        self.rule.refresh(&state.values)
    }

    /// Keeps the reads of a render that has ended. If a value has changed since the render began, the next one is due.
    pub(super) fn on_rendered(&mut self, reads: ValueReads, state: &State) {
        self.render = reads;
        if self.render.refresh(&state.values) {
            self.changed = state.values_revision;
        }
    }

    /// Keeps the reads of an evaluation of the rule, by the values that [`ValueFollower::follow`] has seen.
    pub(super) fn on_evaluated(&mut self, reads: ValueReads) {
        self.rule = reads;
    }
}
