//! The roll-out of a generation: which nodes already get it, and which still get the files that they were handed last.
//!
//! The decisions are pure. The caller passes the time, and what is known about each node.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use imbl::OrdMap;
use tokio::time::Instant;

use cfgsync_model::{GenerationNumber, Identifier, Phase, Revision};
use cfgsync_spec::RolloutRule;
use cfgsync_store::{State, StoppedRollout};
use cfgsync_support::duration;

/// The roll-out of one generation.
pub(crate) struct Rollout {
    /// The generation that is rolled out.
    pub(crate) generation: GenerationNumber,
    rule: RolloutRule,
    /// The nodes that still have an older generation, in the order of their seats.
    queue: VecDeque<Identifier>,
    /// The files that each of these nodes has.
    held_back: OrdMap<Identifier, Handed>,
    /// The nodes that were handed the generation and have not reported the phase, with the time at which they got it.
    in_progress: BTreeMap<Identifier, Instant>,
    /// The number of nodes that have reported the phase.
    done: usize,
    /// Nodes that were not waited for, because they do not follow changes.
    skipped: Vec<Identifier>,
    stopped: Option<Stopped>,
    /// Whether the store has recorded the stop.
    is_stop_recorded: bool,
}

/// The files that a node was handed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handed {
    /// Their generation.
    pub(crate) generation: GenerationNumber,
    /// They include registrations up to this revision.
    pub(crate) up_to: Revision,
}

/// The reason why a roll-out does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// An operator has stopped it.
    Operator,
    /// It was stopped before, for this reason: by another server, or before this one was started.
    Before(String),
    /// A node has reported that it failed.
    Failed {
        node: Identifier,
        reason: Option<String>,
    },
    /// A node has not reported the phase in time.
    TimedOut {
        node: Identifier,
        phase: Phase,
        after: Duration,
    },
    /// The lease of a node that had not reported the phase has expired.
    LeaseExpired { node: Identifier },
}

/// The effect of [`Rollout::advance`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Advanced {
    /// Whether a node was handed the generation.
    pub(crate) has_handed: bool,
    /// Whether anything has changed.
    pub(crate) has_changed: bool,
}

/// The report of a node about a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reported {
    /// Neither the phase nor a failure.
    Nothing,
    /// The phase that the roll-out waits for.
    Phase,
    /// A failure, with the reason that the node gave.
    Failure(Option<String>),
}

/// The known facts about the nodes at one moment.
pub(crate) trait Nodes {
    /// Returns whether the node is registered.
    fn is_member(&self, identifier: &Identifier) -> bool;

    /// Returns whether the files include the registration of the node.
    fn is_included(&self, identifier: &Identifier, files: Handed) -> bool;

    /// Returns whether the node follows changes. `None` if that is not known yet.
    fn follows(&self, identifier: &Identifier) -> Option<bool>;

    /// Returns what the node has reported about the generation that is rolled out.
    fn reported(&self, identifier: &Identifier) -> Reported;
}

impl Handed {
    /// Returns whether the files include the registration of the node. They do for a node that is not registered.
    pub(crate) fn includes(self, state: &State, identifier: &str) -> bool {
        let registered = state.registrations.get(identifier);
        registered.is_none_or(|registered| registered.revision <= self.up_to)
    }
}

impl Rollout {
    /// Begins the roll-out of `generation`. `older` has the nodes that have an older generation with other files, in the
    /// order of their seats, and these files. All other nodes get the new generation at once.
    pub(crate) fn new(
        generation: GenerationNumber,
        rule: RolloutRule,
        older: Vec<(Identifier, Handed)>,
    ) -> Self {
        Self {
            generation,
            rule,
            queue: older
                .iter()
                .map(|(identifier, _)| identifier.clone())
                .collect(),
            held_back: older.into_iter().collect(),
            in_progress: BTreeMap::new(),
            done: 0,
            skipped: Vec::new(),
            stopped: None,
            is_stop_recorded: false,
        }
    }

    /// Replaces `replaced`, so that no more nodes than allowed are between two generations. Its nodes that have not
    /// reported are still waited for. Those that get other files now get them first. A stop stays. A node that was not
    /// waited for is listed still if `is_behind`, which says that it has not received the newest files.
    pub(crate) fn replace(&mut self, replaced: &Self, is_behind: impl Fn(&Identifier) -> bool) {
        self.stopped.clone_from(&replaced.stopped);
        self.is_stop_recorded = replaced.is_stop_recorded;
        let skipped = replaced.skipped.iter();
        let listed = skipped.filter(|node| !self.held_back.contains_key(*node) && is_behind(node));
        self.skipped.extend(listed.cloned());
        let is_waited_for = |node: &Identifier| replaced.in_progress.contains_key(node);
        let queue = std::mem::take(&mut self.queue).into_iter();
        let (first, rest): (VecDeque<_>, VecDeque<_>) = queue.partition(is_waited_for);
        self.queue = first.into_iter().chain(rest).collect();
        for (node, handed) in &replaced.in_progress {
            if !self.held_back.contains_key(node) {
                self.in_progress.insert(node.clone(), *handed);
            }
        }
    }

    /// Returns the phase that is waited for.
    pub(crate) fn phase(&self) -> &Phase {
        &self.rule.wait_for
    }

    /// Returns the nodes that still get an older generation, in the order in which they follow.
    pub(crate) fn queue(&self) -> impl Iterator<Item = &Identifier> {
        self.queue.iter()
    }

    /// Returns the nodes that still get an older generation, with these files.
    pub(crate) fn held_back(&self) -> &OrdMap<Identifier, Handed> {
        &self.held_back
    }

    /// Returns the nodes that are waited for, in the order of their identifiers.
    pub(crate) fn in_progress(&self) -> impl Iterator<Item = &Identifier> {
        self.in_progress.keys()
    }

    /// Returns the nodes that were not waited for.
    pub(crate) fn skipped(&self) -> &[Identifier] {
        &self.skipped
    }

    /// Returns the number of nodes that have reported the phase.
    pub(crate) fn done(&self) -> usize {
        self.done
    }

    /// Returns why the roll-out does not go on.
    pub(crate) fn stopped(&self) -> Option<&Stopped> {
        self.stopped.as_ref()
    }

    /// Returns whether all nodes have been handed the generation and none is waited for.
    pub(crate) fn is_complete(&self) -> bool {
        self.queue.is_empty() && self.in_progress.is_empty()
    }

    /// Returns the time at which the next node is late.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if self.stopped.is_some() {
            return None;
        }
        let handed = self.in_progress.values().min()?;
        Some(*handed + self.rule.timeout)
    }

    /// Waits for nodes that were handed the generation before the server was restarted. Their time begins anew.
    pub(crate) fn wait_for(&mut self, handed: Vec<Identifier>, now: Instant) {
        let handed = handed.into_iter().map(|node| (node, now));
        self.in_progress.extend(handed);
    }

    /// Takes the recorded stop into account. While there is one, no further node is handed the generation. If there is none
    /// any more, an operator has resumed. Returns whether that is news.
    pub(crate) fn note_recorded_stop(
        &mut self,
        recorded: Option<&StoppedRollout>,
        nodes: &impl Nodes,
        now: Instant,
    ) -> bool {
        let Some(recorded) = recorded else {
            let is_resumed = self.is_stop_recorded;
            if is_resumed {
                self.resume(nodes, now);
            }
            return is_resumed;
        };
        self.is_stop_recorded = true;
        let is_news = self.stopped.is_none();
        self.stopped.get_or_insert_with(|| match &recorded.reason {
            Some(reason) => Stopped::Before(reason.to_string()),
            None => Stopped::Operator,
        });
        is_news
    }

    /// Returns the reason of a stop that is not recorded yet.
    pub(crate) fn unrecorded_stop(&self) -> Option<String> {
        let stopped = self.stopped.as_ref().filter(|_| !self.is_stop_recorded);
        stopped.map(ToString::to_string)
    }

    /// Notes that the lease of a node has expired, so that the node is removed. It may have failed with its new files.
    /// Returns whether that stops the roll-out.
    pub(crate) fn on_expired(&mut self, node: &Identifier) -> bool {
        let stops = self.stopped.is_none() && self.in_progress.contains_key(node);
        if stops {
            let node = node.clone();
            self.stopped = Some(Stopped::LeaseExpired { node });
        }
        stops
    }

    /// Goes on. Nodes that have failed or are late are no longer waited for.
    pub(crate) fn resume(&mut self, nodes: &impl Nodes, now: Instant) {
        self.stopped = None;
        self.is_stop_recorded = false;
        let timeout = self.rule.timeout;
        let (skipped, in_progress) =
            std::mem::take(&mut self.in_progress)
                .into_iter()
                .partition(|(node, handed)| {
                    let has_failed = matches!(nodes.reported(node), Reported::Failure(_));
                    has_failed || *handed + timeout <= now
                });
        self.in_progress = in_progress;
        let skipped: BTreeMap<Identifier, Instant> = skipped;
        self.skipped.extend(skipped.into_keys());
    }

    /// Takes the reports of the nodes into account and hands the generation to the next nodes.
    pub(crate) fn advance(&mut self, nodes: &impl Nodes, now: Instant) -> Advanced {
        let has_reports = self.take_reports(nodes, now);
        let mut has_handed = self.release_changed(nodes);
        while self.stopped.is_none() && self.in_progress.len() < self.at_once() {
            let Some(next) = self.queue.front() else {
                break;
            };
            let is_member = nodes.is_member(next);
            let follows = match nodes.follows(next) {
                Some(follows) => follows,
                None if is_member => break,
                None => false,
            };
            let Some(node) = self.queue.pop_front() else {
                break;
            };
            self.held_back.remove(&node);
            has_handed = true;
            if is_member && follows {
                self.in_progress.insert(node, now);
            } else if is_member {
                self.skipped.push(node);
            }
        }
        Advanced {
            has_handed,
            has_changed: has_handed || has_reports,
        }
    }

    /// Hands the generation to nodes that have registered with other facts. Returns whether there were any.
    fn release_changed(&mut self, nodes: &impl Nodes) -> bool {
        let before = self.held_back.len();
        let held_back = &mut self.held_back;
        self.queue.retain(|node| {
            let handed = held_back.get(node);
            let is_kept = handed.is_some_and(|handed| nodes.is_included(node, *handed));
            if !is_kept {
                held_back.remove(node);
            }
            is_kept
        });
        before != self.held_back.len()
    }

    /// Returns whether a report, a removal or a timeout has changed something.
    fn take_reports(&mut self, nodes: &impl Nodes, now: Instant) -> bool {
        let before = (self.in_progress.len(), self.stopped.is_some());
        let handed: Vec<(Identifier, Instant)> = (self.in_progress.iter())
            .map(|(node, handed)| (node.clone(), *handed))
            .collect();
        for (node, handed) in handed {
            let stopped = match nodes.reported(&node) {
                _ if !nodes.is_member(&node) => {
                    self.in_progress.remove(&node);
                    continue;
                }
                Reported::Phase => {
                    self.in_progress.remove(&node);
                    self.done += 1;
                    continue;
                }
                Reported::Failure(reason) => Stopped::Failed { node, reason },
                Reported::Nothing if handed + self.rule.timeout <= now => Stopped::TimedOut {
                    node,
                    phase: self.rule.wait_for.clone(),
                    after: self.rule.timeout,
                },
                Reported::Nothing => continue,
            };
            self.stopped.get_or_insert(stopped);
        }
        before != (self.in_progress.len(), self.stopped.is_some())
    }

    /// Returns how many nodes may be waited for at a time.
    fn at_once(&self) -> usize {
        let all = self.queue.len() + self.in_progress.len() + self.done + self.skipped.len();
        self.rule.at_once.of(all)
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("an operator has stopped it"),
            Self::Before(reason) => f.write_str(reason),
            Self::Failed { node, reason } => {
                write!(f, "{node} failed")?;
                match reason {
                    Some(reason) => write!(f, ": {reason}"),
                    None => Ok(()),
                }
            }
            Self::LeaseExpired { node } => write!(f, "the lease of {node} has expired"),
            Self::TimedOut { node, phase, after } => {
                let after = duration::text(*after);
                write!(f, "{node} has not reported {phase} within {after}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
