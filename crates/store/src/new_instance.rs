//! A state that continues as a new instance, after a part of it may have been lost.

use std::{collections::VecDeque, sync::Arc};

use imbl::OrdMap;

use crate::{Phases, State, event_history::EventHistory, payload_ages::PayloadAges};
use cfgsync_model::{Generation, GenerationNumber, Instance, generation_digest};

impl State {
    /// Returns this state as the state of `instance`.
    ///
    /// All inputs, the claims, the bans and a declared failure stay. The newest generation becomes generation 1 of the new
    /// instance, so that nodes still get files, and seats and the values of `once` stay. Its digests are new, because they
    /// depend on the instance. Older generations, all deliveries, phases and runs are dropped. Fences go on from where they
    /// were. The history of events begins anew.
    #[must_use]
    pub fn continued(&self, instance: Instance) -> Self {
        let newest = self.generation();
        let generations = newest.map(|newest| Arc::new(sealed_again(newest, instance)));
        Self {
            generations: Arc::new(VecDeque::from_iter(generations)),
            deliveries: OrdMap::new(),
            delivery_times: OrdMap::new(),
            phases: Phases::default(),
            runs: self.runs.forgotten(),
            payload_ages: PayloadAges::default(),
            events: EventHistory::starting_after(self.revision, self.events.bounds()),
            ..self.clone()
        }
    }
}

fn sealed_again(generation: &Generation, instance: Instance) -> Generation {
    let artifacts = generation.nodes.iter();
    let artifacts = artifacts.map(|(name, files)| (name.clone(), files.local.clone()));
    let (nodes, digest) = generation_digest(instance, artifacts.collect(), &generation.shared);
    Generation {
        number: GenerationNumber(1),
        digest,
        nodes,
        ..generation.clone()
    }
}
