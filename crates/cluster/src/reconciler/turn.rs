//! The turn to render. Of several servers that share a store, one renders, and the others serve what it seals. A server
//! without the turn renders too if nothing is sealed for a while, so a server that hangs delays the others for a bounded
//! time.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// The time after which a server renders although another one has the turn.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whether this server has the turn, and since when it waits for another one.
pub(super) struct Turn {
    /// `None` if no other server writes to the store.
    is_ours: Option<watch::Receiver<bool>>,
    waits_since: Option<Instant>,
}

impl Turn {
    /// `is_ours` is what the store says, or none.
    pub(super) fn new(is_ours: Option<watch::Receiver<bool>>) -> Self {
        Self {
            is_ours,
            waits_since: None,
        }
    }

    /// Whether other servers write to the same store.
    pub(super) fn has_others(&self) -> bool {
        self.is_ours.is_some()
    }

    /// Whether a render that is due may begin.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let is_ours = self.is_ours.as_ref().is_none_or(|turn| *turn.borrow());
        if is_ours {
            self.waits_since = None;
            return true;
        }
        let since = *self.waits_since.get_or_insert(now);
        now.duration_since(since) >= PATIENCE
    }

    /// Notes that no render is due.
    pub(super) fn clear(&mut self) {
        self.waits_since = None;
    }

    /// Whether a render is due, and another server is expected to make it.
    pub(super) fn is_waiting(&self) -> bool {
        self.waits_since.is_some()
    }

    /// Returns the time at which a render begins without the turn.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        self.waits_since.map(|since| since + PATIENCE)
    }

    /// Waits until the turn changes. Never resolves without other servers.
    pub(super) async fn changed(&mut self) {
        if let Some(turn) = &mut self.is_ours
            && turn.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_without_others_always_has_the_turn() {
        let mut turn = Turn::new(None);
        assert!(turn.allows(Instant::now()));
        assert!(!turn.is_waiting());
    }

    #[test]
    fn server_without_the_turn_waits_for_a_bounded_time() {
        let (is_ours, receiver) = watch::channel(false);
        let (mut turn, now) = (Turn::new(Some(receiver)), Instant::now());
        assert!(!turn.allows(now));
        assert_eq!(turn.ends_at(), Some(now + PATIENCE));
        assert!(turn.allows(now + PATIENCE));
        turn.clear();
        assert!(!turn.allows(now + PATIENCE), "the next render waits again");
        is_ours.send_replace(true);
        assert!(turn.allows(now));
        assert!(!turn.is_waiting());
    }
}
