//! The last refusal of each node that may not register, for the people who look for the node that is missing.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use cfgsync_model::{Identifier, Unmet};
use cfgsync_wire::RefusedEntry;
use tokio::sync::Notify;

/// The number of nodes whose refusal is kept. Then the oldest refusal is dropped.
const REFUSED_MAX: usize = 256;

/// The longest message that is kept, in bytes.
const MESSAGE_MAX_BYTES: usize = 512;

/// The number of refused nodes that the answer to waiting nodes names.
const NAMED_MAX: usize = 3;

/// The refused nodes. They are kept in memory only. All of them together take at most a few hundred kilobytes.
#[derive(Default)]
pub(crate) struct RefusedNodes {
    /// The last refusal of each node, oldest first.
    entries: Mutex<VecDeque<RefusedEntry>>,
    /// The number of entries. Each registration reads it, and usually there are none.
    count: AtomicUsize,
    changed: Notify,
}

impl RefusedNodes {
    /// Keeps `entry` in place of an earlier one of the same node. Returns whether it says something new.
    pub(crate) fn note(&self, mut entry: RefusedEntry) -> bool {
        truncate(&mut entry.message, MESSAGE_MAX_BYTES);
        let mut entries = self.lock();
        let before = position(&entries, &entry.identifier).and_then(|at| entries.remove(at));
        let is_new = before.is_none_or(|before| before.message != entry.message);
        if entries.len() >= REFUSED_MAX {
            entries.pop_front();
        }
        entries.push_back(entry);
        self.count.store(entries.len(), Ordering::Relaxed);
        drop(entries);
        if is_new {
            self.changed.notify_one();
        }
        is_new
    }

    /// Drops the refusal of a node that has registered.
    pub(crate) fn clear(&self, identifier: &Identifier) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut entries = self.lock();
        if let Some(at) = position(&entries, identifier) {
            entries.remove(at);
            self.count.store(entries.len(), Ordering::Relaxed);
            drop(entries);
            self.changed.notify_one();
        }
    }

    /// Completes after a change that no earlier call has seen.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns all refusals, newest first.
    pub(crate) fn list(&self) -> Vec<RefusedEntry> {
        self.lock().iter().rev().cloned().collect()
    }

    /// Returns the refusal of `identifier`.
    pub(crate) fn get(&self, identifier: &str) -> Option<RefusedEntry> {
        let entries = self.lock();
        let found = entries
            .iter()
            .find(|entry| entry.identifier.as_str() == identifier);
        found.cloned()
    }

    /// Returns a clause for each of the newest refusals, and one that counts the others. Registered nodes are left out:
    /// another machine tried to use their name.
    pub(crate) fn clauses(&self, is_registered: impl Fn(&Identifier) -> bool) -> Vec<Unmet> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return vec![];
        }
        let entries = self.lock();
        let refused = entries.iter().rev();
        let mut refused = refused.filter(|entry| !is_registered(&entry.identifier));
        let named = refused.by_ref().take(NAMED_MAX);
        let mut clauses: Vec<Unmet> = named
            .map(|entry| Unmet::Refused {
                node: entry.identifier.clone(),
                message: entry.message.clone(),
            })
            .collect();
        match refused.count() {
            0 => {}
            more => clauses.push(Unmet::MoreRefused(more)),
        }
        clauses
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<RefusedEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn position(entries: &VecDeque<RefusedEntry>, identifier: &Identifier) -> Option<usize> {
    let mut entries = entries.iter();
    entries.position(|entry| entry.identifier == *identifier)
}

fn truncate(text: &mut String, max_bytes: usize) {
    if text.len() > max_bytes {
        text.truncate(text.floor_char_boundary(max_bytes));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use cfgsync_support::clock::Timestamp;

    use super::*;

    fn refused(name: &str, message: &str) -> RefusedEntry {
        RefusedEntry {
            identifier: name.parse().unwrap(),
            ip: [10, 0, 0, 1].into(),
            at: Timestamp::UNIX_EPOCH,
            reason: "wrong_metadata".to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn last_refusal_of_each_node_is_kept_until_it_registers() {
        let nodes = RefusedNodes::default();
        assert!(nodes.note(refused("a", "one")));
        assert!(nodes.note(refused("b", "one")));
        assert!(nodes.note(refused("a", "two")), "another message is news");
        assert!(!nodes.note(refused("a", "two")));
        assert_eq!(nodes.list(), [refused("a", "two"), refused("b", "one")]);
        assert_eq!(nodes.get("b"), Some(refused("b", "one")));
        nodes.clear(&"a".parse().unwrap());
        assert_eq!(nodes.list(), [refused("b", "one")]);
    }

    #[test]
    fn number_and_length_are_bounded() {
        let nodes = RefusedNodes::default();
        let long = "é".repeat(1000);
        for at in 0..1000 {
            nodes.note(refused(&format!("n-{at}"), &long));
        }
        let list = nodes.list();
        assert_eq!(list.len(), REFUSED_MAX);
        assert_eq!(list[0].identifier.as_str(), "n-999");
        assert!(
            list.iter()
                .all(|entry| entry.message.len() <= MESSAGE_MAX_BYTES + 3)
        );
    }

    #[test]
    fn clauses_name_the_newest_nodes_that_are_not_registered() {
        let nodes = RefusedNodes::default();
        for name in ["a", "b", "c", "d", "e"] {
            nodes.note(refused(name, "why"));
        }
        let clauses = |registered: &[&str]| -> Vec<String> {
            let clauses = nodes.clauses(|name| registered.contains(&name.as_str()));
            clauses.iter().map(Unmet::to_string).collect()
        };
        assert_eq!(
            clauses(&["e"]),
            [
                "d was refused: why",
                "c was refused: why",
                "b was refused: why",
                "1 more node was refused"
            ]
        );
        assert_eq!(clauses(&["b", "c", "d", "e"]), ["a was refused: why"]);
        assert_eq!(clauses(&["a", "b", "c", "d", "e"]), [""; 0]);
    }
}
