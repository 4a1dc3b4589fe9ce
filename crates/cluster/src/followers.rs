//! Which nodes follow changes: they have their files and ask for the next ones.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use cfgsync_model::Identifier;

/// The time after which a node that asks no more no longer counts as a follower. A follower that cannot reach the server
/// asks again within half a minute.
pub(crate) const FOLLOWER_SILENCE_MAX: Duration = Duration::from_secs(90);

/// The number of entries from which old ones are dropped.
const PRUNED_FROM_ENTRIES: usize = 1_024;

/// The nodes that follow changes, with the time of their last request. It is bounded by the nodes that have asked within
/// [`FOLLOWER_SILENCE_MAX`].
#[derive(Default)]
pub(crate) struct Followers(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    nodes: HashMap<Identifier, Asked>,
    /// The number of entries at the last pruning.
    pruned_entries: usize,
}

/// When a node last asked.
#[derive(Clone, Copy)]
struct Asked {
    /// Any server.
    at: Instant,
    /// This server.
    here_at: Option<Instant>,
}

impl Followers {
    /// Notes that a node has its newest files and asks this server for the next ones.
    pub(crate) fn note(&self, identifier: &Identifier) {
        self.note_asked(identifier, true);
    }

    /// Notes that a node asks another server.
    pub(crate) fn note_elsewhere(&self, identifier: &Identifier) {
        self.note_asked(identifier, false);
    }

    fn note_asked(&self, identifier: &Identifier, is_here: bool) {
        let now = Instant::now();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.nodes.len() >= PRUNED_FROM_ENTRIES.max(seen.pruned_entries * 2) {
            seen.nodes
                .retain(|_, asked| asked.at + FOLLOWER_SILENCE_MAX > now);
            seen.pruned_entries = seen.nodes.len();
        }
        let before = seen.nodes.get(identifier).and_then(|asked| asked.here_at);
        let asked = Asked {
            at: now,
            here_at: if is_here { Some(now) } else { before },
        };
        match seen.nodes.get_mut(identifier) {
            Some(known) => *known = asked,
            None => drop(seen.nodes.insert(identifier.clone(), asked)),
        }
    }

    /// Returns the nodes that have asked this server at `since` or later.
    pub(crate) fn noted_since(&self, since: Instant) -> Vec<Identifier> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |asked: &Asked| asked.here_at.is_some_and(|at| at >= since);
        let newest = seen.nodes.iter().filter(|(_, asked)| is_new(asked));
        newest.map(|(identifier, _)| identifier.clone()).collect()
    }

    /// Returns whether a node has asked recently.
    pub(crate) fn has(&self, identifier: &Identifier, now: Instant) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = seen.nodes.get(identifier);
        asked.is_some_and(|asked| asked.at + FOLLOWER_SILENCE_MAX > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nodes_of_other_servers_are_not_told_on() {
        let followers = Followers::default();
        let [here, elsewhere]: [Identifier; 2] = ["here", "elsewhere"].map(|n| n.parse().unwrap());
        let begun = Instant::now();
        followers.note(&here);
        followers.note_elsewhere(&elsewhere);
        followers.note_elsewhere(&here);
        assert!(followers.has(&elsewhere, Instant::now()));
        assert_eq!(followers.noted_since(begun), [here]);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_nodes_are_forgotten() {
        let followers = Followers::default();
        let name = |at: usize| -> Identifier { format!("n-{at}").parse().unwrap() };
        for at in 0..PRUNED_FROM_ENTRIES {
            followers.note(&name(at));
        }
        assert!(followers.has(&name(0), Instant::now()));
        tokio::time::advance(FOLLOWER_SILENCE_MAX).await;
        assert!(!followers.has(&name(0), Instant::now()));
        followers.note(&name(PRUNED_FROM_ENTRIES));
        assert_eq!(followers.0.lock().unwrap().nodes.len(), 1);
    }
}
