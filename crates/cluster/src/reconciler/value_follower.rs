//! Follows operators' values: which of their changes matter to the next render, and which to the readiness rule.
//!
//! The newest render and the newest evaluation say what they have read. A change counts if one of these reads would now
//! give another content.

use crate::render::Pipeline;
use cfgsync_model::{Revision, ValueReads};
use cfgsync_store::State;

/// The reads of the newest render and of the rule, and the newest change that matters to a render.
pub(super) struct ValueFollower {
    /// The newest change that was compared with the reads.
    seen: Revision,
    /// The newest change of what renders read.
    changed: Revision,
    /// `None` if the reads of the served generation are not known. Then each value counts that the materializers may read.
    render: Option<ValueReads>,
    rule: ValueReads,
}

impl ValueFollower {
    /// Returns a follower for the newest generation of `state`, which this server has not rendered.
    pub(super) fn new(state: &State, pipeline: &Pipeline) -> Self {
        let mut follower = Self {
            seen: Revision::default(),
            changed: Revision::default(),
            render: None,
            rule: ValueReads::default(),
        };
        follower.on_adopted(state, pipeline);
        follower
    }

    /// Takes the reads that were sealed with the newest generation of `state`. If one of the values has changed since, or
    /// if the reads are not known, a render is due.
    pub(super) fn on_adopted(&mut self, state: &State, pipeline: &Pipeline) {
        let newest = state.generation();
        let sealed = newest.and_then(|newest| newest.provenance.reads.as_ref());
        self.render = sealed.and_then(|reads| reads.read_again(&state.values));
        self.seen = state.values_revision;
        self.changed = match &self.render {
            Some(_) => Revision::default(),
            None => pipeline.values_revision(&state.values, state.values_revision),
        };
    }

    /// Returns the newest change that was compared with the reads.
    pub(super) fn seen(&self) -> Revision {
        self.seen
    }

    /// Returns the newest change of a value that renders read.
    pub(super) fn changed(&self) -> Revision {
        self.changed
    }

    /// Compares the values of `state` with the reads. Returns whether a value has changed that the rule reads.
    pub(super) fn follow(&mut self, state: &State, pipeline: &Pipeline) -> bool {
        if self.seen == state.values_revision {
            return false;
        }
        self.seen = state.values_revision;
        match &mut self.render {
            Some(reads) => {
                if reads.refresh(&state.values) {
                    self.changed = state.values_revision;
                }
            }
            None => {
                self.changed = pipeline.values_revision(&state.values, state.values_revision);
            }
        }
        self.rule.refresh(&state.values)
    }

    /// Keeps the reads of a render that has ended. If a value has changed since the render began, the next one is due.
    pub(super) fn on_rendered(&mut self, mut reads: ValueReads, state: &State) {
        if reads.refresh(&state.values) {
            self.changed = state.values_revision;
        }
        self.render = Some(reads);
    }

    /// Keeps the reads of an evaluation of the rule, by the values that [`ValueFollower::follow`] has seen.
    pub(super) fn on_evaluated(&mut self, reads: ValueReads) {
        self.rule = reads;
    }
}
