//! Whether there is room for another node, and that the log says when there is none.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{answer::Refusal, render::Program};
use cfgsync_model::Identifier;
use cfgsync_store::{Bounds, CapacityExceeded};

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
    pub(super) fn refuse(&self, full: CapacityExceeded) -> Refusal {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| now - told >= TOLD_EVERY) {
            *told = Some(now);
            tracing::warn!("registrations are refused: {full}");
        }
        Refusal::Full(full)
    }
}
