//! A state that continues as a new instance, after a part of it may have been lost.

use std::{collections::VecDeque, sync::Arc};

use imbl::OrdMap;

use crate::{Phases, State, event_history::EventHistory, payload_ages::PayloadAges};
use cfgsync_model::{Generation, GenerationNumber, Instance, generation_digest};

/// Returns `state` as the state of `instance`.
///
/// All inputs, the claims, the bans and a declared failure stay. The newest generation becomes generation 1 of the new instance,
/// so that nodes still get files, and seats and the values of `once` stay. Its digests are new, because they depend on
/// the instance. Older generations, all deliveries, phases and runs are dropped.
/// Fences go on from where they were. The history of events begins anew.
pub(super) fn continued(state: &State, instance: Instance) -> State {
    let newest = state.generation();
    let generations = newest.map(|newest| Arc::new(sealed_again(newest, instance)));
    State {
        generations: Arc::new(VecDeque::from_iter(generations)),
        deliveries: OrdMap::new(),
        delivery_times: OrdMap::new(),
        phases: Phases::default(),
        runs: state.runs.forgotten(),
        payload_ages: PayloadAges::default(),
        events: EventHistory::starting_after(state.revision, state.events.bounds()),
        ..state.clone()
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
