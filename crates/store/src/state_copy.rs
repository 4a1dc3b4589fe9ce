//! The content of a store, to be copied to another one.

use std::sync::Arc;

use crate::{State, encoding::shared_log};
use cfgsync_model::Instance;

/// The content of a store, with the files of its generations and its history of events.
#[derive(Debug)]
pub struct StateCopy {
    /// The name of the cluster.
    pub cluster: String,
    /// The instance, which the copy keeps.
    pub instance: Instance,
    /// The state.
    pub state: State,
}

impl StateCopy {
    /// Returns the number of generations that the state keeps, at least one.
    pub fn history(&self) -> usize {
        self.state.generations.len().max(1)
    }

    /// Returns the part in which `other` differs, if any: the cluster, the state, the events or the files.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let history = self.history();
        let encoded = |of: &Self| shared_log::encode_state(self.instance, &of.state, history);
        let events = |of: &Self| shared_log::encode_events(self.instance, &of.state);
        let files = |of: &Self| {
            let generations = of.state.generations.iter();
            let files = generations.map(Arc::as_ref).map(shared_log::encode_files);
            files.collect::<Vec<_>>()
        };
        if (&self.cluster, self.instance) != (&other.cluster, other.instance) {
            Some("the cluster or its instance")
        } else if encoded(self) != encoded(other) {
            Some("the state")
        } else if events(self) != events(other) {
            Some("the history of events")
        } else if files(self) != files(other) {
            Some("the files of a generation")
        } else {
            None
        }
    }
}
