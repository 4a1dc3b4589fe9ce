//! Whether there is room for another node, and that the log says when there is none.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{answer::Refusal, render::Program};
use cfgsync_model::{Identifier, NodeRegistration};
use cfgsync_store::{Bounds, Full, State};

/// How long nothing more is said of nodes for whom there is no room.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// The bounds of a server, and when it was last said that one is reached.
pub(super) struct Room {
    bounds: Bounds,
    told: Mutex<Option<Instant>>,
}

impl Room {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            told: Mutex::default(),
        }
    }

    /// What the registration of `identifier` must find room in. Whom the spec names is not one too many.
    pub(super) fn for_node(&self, program: &Program, identifier: &Identifier) -> Bounds {
        match program.expects(identifier) {
            true => Bounds {
                nodes_max: usize::MAX,
                ..self.bounds
            },
            false => self.bounds,
        }
    }

    /// The refusal of a node for whom there is no room.
    pub(super) fn refuse(&self, full: Full) -> Refusal {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| now - told >= TOLD_EVERY) {
            *told = Some(now);
            tracing::warn!("registrations are refused: {full}");
        }
        Refusal::Full(full)
    }
}

/// Whether one more key may have a name in `state`, for this registration. A name has its owner before the node is
/// registered, and may keep it longer. Of those that come at the same moment more may get a name than there is room for;
/// they do not add up, since the next one counts them.
pub(super) fn for_name(
    state: &State,
    registration: &NodeRegistration,
    within: Bounds,
) -> Result<(), Full> {
    let max = within.nodes_max;
    let is_registered = state.registrations.contains_key(&registration.identifier);
    if !is_registered && state.keys.len() >= max {
        return Err(Full::Names { max });
    }
    state.room_for(registration, within).map(drop)
}
