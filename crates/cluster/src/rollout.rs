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

use cfgsync_model::{GenerationNumber, Identifier, Phase};
use cfgsync_spec::RolloutRule;
use cfgsync_support::duration;

/// The roll-out of one generation.
pub(crate) struct Rollout {
    /// The generation that is rolled out.
    pub(crate) generation: GenerationNumber,
    rule: RolloutRule,
    /// The nodes that still have an older generation, in the order of their seats.
    queue: VecDeque<Identifier>,
    /// The generation that each of these nodes has.
    held_back: OrdMap<Identifier, GenerationNumber>,
    /// The nodes that were handed the generation and have not reported the phase, with the time at which they got it.
    in_progress: BTreeMap<Identifier, Instant>,
    /// The number of nodes that have reported the phase.
    done: usize,
    /// Nodes that were not waited for, because they do not follow changes.
    skipped: Vec<Identifier>,
    stopped: Option<Stopped>,
}

/// The reason why a roll-out does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// An operator has stopped it.
    Operator,
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

    /// Returns whether the node follows changes. `None` if that is not known yet.
    fn follows(&self, identifier: &Identifier) -> Option<bool>;

    /// Returns what the node has reported about the generation that is rolled out.
    fn reported(&self, identifier: &Identifier) -> Reported;
}

impl Rollout {
    /// Begins the roll-out of `generation`. `older` has the nodes that have an older generation with other files, in the
    /// order of their seats, and its number. All other nodes get the new generation at once.
    pub(crate) fn new(
        generation: GenerationNumber,
        rule: RolloutRule,
        older: Vec<(Identifier, GenerationNumber)>,
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
        }
    }

    /// Takes the place of `replaced`, so that no more nodes than allowed are between two generations. Its nodes that have
    /// not reported are still waited for. Those that get other files now get them first.
    pub(crate) fn replace(&mut self, replaced: &Self) {
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

    /// Returns the nodes that still get an older generation, with its number.
    pub(crate) fn held_back(&self) -> &OrdMap<Identifier, GenerationNumber> {
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

    /// Notes whether an operator has stopped the roll-out. Then no further node is handed the generation. Returns whether
    /// that is news.
    pub(crate) fn set_stopped(&mut self, is_stopped: bool) -> bool {
        let before = self.stopped.clone();
        if is_stopped {
            self.stopped.get_or_insert(Stopped::Operator);
        } else if before == Some(Stopped::Operator) {
            self.stopped = None;
        }
        before != self.stopped
    }

    /// Goes on. Nodes that have failed or are late are no longer waited for.
    pub(crate) fn resume(&mut self, nodes: &impl Nodes, now: Instant) {
        self.stopped = None;
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
        let mut has_handed = false;
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
            Self::Failed { node, reason } => {
                write!(f, "{node} failed")?;
                match reason {
                    Some(reason) => write!(f, ": {reason}"),
                    None => Ok(()),
                }
            }
            Self::TimedOut { node, phase, after } => {
                let after = duration::text(*after);
                write!(f, "{node} has not reported {phase} within {after}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use cfgsync_spec::AtOnce;

    #[derive(Default)]
    struct Known {
        gone: BTreeSet<&'static str>,
        silent: BTreeSet<&'static str>,
        unknown: BTreeSet<&'static str>,
        reports: BTreeMap<&'static str, Reported>,
    }

    impl Nodes for Known {
        fn is_member(&self, identifier: &Identifier) -> bool {
            !self.gone.contains(identifier.as_str())
        }

        fn follows(&self, identifier: &Identifier) -> Option<bool> {
            let is_known = !self.unknown.contains(identifier.as_str());
            is_known.then(|| !self.silent.contains(identifier.as_str()))
        }

        fn reported(&self, identifier: &Identifier) -> Reported {
            let report = self.reports.get(identifier.as_str());
            report.cloned().unwrap_or(Reported::Nothing)
        }
    }

    fn rollout(at_once: AtOnce, nodes: &[&str]) -> Rollout {
        let rule = RolloutRule {
            at_once,
            wait_for: "healthy".parse().unwrap(),
            timeout: Duration::from_mins(5),
        };
        let older = nodes
            .iter()
            .map(|name| (name.parse().unwrap(), GenerationNumber(1)));
        Rollout::new(GenerationNumber(2), rule, older.collect())
    }

    fn waiting(rollout: &Rollout) -> Vec<&str> {
        rollout.in_progress().map(Identifier::as_str).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn next_nodes_follow_when_the_earlier_ones_have_reported() {
        let mut rollout = rollout(AtOnce::Nodes(2), &["c", "a", "b", "d"]);
        let (mut known, now) = (Known::default(), Instant::now());
        assert!(rollout.advance(&known, now).has_handed);
        assert_eq!(waiting(&rollout), ["a", "c"], "in the order of the seats");
        assert!(!rollout.advance(&known, now).has_handed);
        known.reports.insert("c", Reported::Phase);
        assert!(rollout.advance(&known, now).has_handed);
        assert_eq!(waiting(&rollout), ["a", "b"]);
        assert_eq!(
            rollout
                .held_back()
                .keys()
                .map(Identifier::as_str)
                .collect::<Vec<_>>(),
            ["d"]
        );
        for node in ["a", "b", "d"] {
            known.reports.insert(node, Reported::Phase);
        }
        assert!(rollout.advance(&known, now).has_handed);
        assert!(!rollout.advance(&known, now).has_handed);
        assert!(rollout.is_complete());
        assert_eq!(rollout.done(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn failure_stops_until_an_operator_resumes() {
        let mut rollout = rollout(AtOnce::Nodes(1), &["a", "b", "c"]);
        let (mut known, now) = (Known::default(), Instant::now());
        rollout.advance(&known, now);
        let failure = Reported::Failure(Some("port in use".to_owned()));
        known.reports.insert("a", failure);
        assert!(!rollout.advance(&known, now).has_handed);
        assert_eq!(
            rollout.stopped().unwrap().to_string(),
            "a failed: port in use"
        );
        assert_eq!(rollout.next_timeout(), None);
        rollout.resume(&known, now);
        assert!(rollout.advance(&known, now).has_handed);
        assert_eq!(waiting(&rollout), ["b"]);
        assert_eq!(rollout.skipped(), ["a".parse().unwrap()]);
    }

    #[tokio::test(start_paused = true)]
    async fn late_node_stops_the_roll_out() {
        let mut rollout = rollout(AtOnce::Nodes(1), &["a", "b"]);
        let (known, now) = (Known::default(), Instant::now());
        rollout.advance(&known, now);
        let late = rollout.next_timeout().unwrap();
        assert_eq!(late, now + Duration::from_mins(5));
        assert!(!rollout.advance(&known, late).has_handed);
        assert_eq!(
            rollout.stopped().unwrap().to_string(),
            "a has not reported healthy within 5m"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_do_not_follow_or_have_left_are_not_waited_for() {
        let mut rollout = rollout(AtOnce::Nodes(1), &["gone", "silent", "a"]);
        let known = Known {
            gone: BTreeSet::from(["gone"]),
            silent: BTreeSet::from(["silent"]),
            ..Known::default()
        };
        assert!(rollout.advance(&known, Instant::now()).has_handed);
        assert_eq!(waiting(&rollout), ["a"]);
        assert_eq!(rollout.skipped(), ["silent".parse().unwrap()]);
        let left = Known {
            gone: BTreeSet::from(["a"]),
            ..Known::default()
        };
        rollout.advance(&left, Instant::now());
        assert!(rollout.is_complete());
    }

    #[tokio::test(start_paused = true)]
    async fn node_of_which_nothing_is_known_yet_is_waited_for() {
        let mut rollout = rollout(AtOnce::Nodes(1), &["a", "b"]);
        let mut known = Known {
            unknown: BTreeSet::from(["a"]),
            ..Known::default()
        };
        assert!(!rollout.advance(&known, Instant::now()).has_handed);
        known.unknown.clear();
        assert!(rollout.advance(&known, Instant::now()).has_handed);
        assert_eq!(waiting(&rollout), ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_of_a_replaced_roll_out_come_first() {
        let (mut known, now) = (Known::default(), Instant::now());
        let mut replaced = rollout(AtOnce::Nodes(2), &["a", "b", "c", "d"]);
        replaced.advance(&known, now);
        known.reports.insert("a", Reported::Phase);
        replaced.advance(&known, now);
        assert_eq!(waiting(&replaced), ["b", "c"]);

        known.reports.clear();
        let later = now + Duration::from_mins(1);
        // The newer generation has other files for b, and the same ones for c.
        let mut newer = rollout(AtOnce::Nodes(2), &["a", "b", "d"]);
        newer.replace(&replaced);
        newer.advance(&known, later);
        assert_eq!(waiting(&newer), ["b", "c"]);
        assert_eq!(newer.next_timeout(), Some(now + Duration::from_mins(5)));
        known.reports.insert("b", Reported::Phase);
        newer.advance(&known, later);
        assert_eq!(waiting(&newer), ["a", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn newer_generation_does_not_end_the_stop_by_a_failure() {
        let (mut known, now) = (Known::default(), Instant::now());
        // a has failed, and has the same files in the newer generation.
        let mut replaced = rollout(AtOnce::Nodes(1), &["a", "b"]);
        replaced.advance(&known, now);
        known.reports.insert("a", Reported::Failure(None));
        replaced.advance(&known, now);
        let mut newer = rollout(AtOnce::Nodes(1), &["b"]);
        newer.replace(&replaced);
        assert!(!newer.advance(&known, now).has_handed);
        assert_eq!(newer.stopped().unwrap().to_string(), "a failed");
    }

    #[tokio::test(start_paused = true)]
    async fn share_of_the_nodes_is_at_least_one() {
        for (percent, count, expected) in [(25, 8, 2), (25, 3, 1), (1, 5, 1), (100, 3, 3)] {
            let names: Vec<String> = (0..count).map(|at| format!("n-{at}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut rollout = rollout(AtOnce::Percent(percent), &names);
            rollout.advance(&Known::default(), Instant::now());
            assert_eq!(waiting(&rollout).len(), expected, "{percent}% of {count}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn operator_stops_and_resumes() {
        let mut rollout = rollout(AtOnce::Nodes(1), &["a", "b"]);
        let (mut known, now) = (Known::default(), Instant::now());
        rollout.advance(&known, now);
        assert!(rollout.set_stopped(true));
        known.reports.insert("a", Reported::Phase);
        assert!(!rollout.advance(&known, now).has_handed);
        assert_eq!(rollout.stopped(), Some(&Stopped::Operator));
        rollout.resume(&known, now);
        assert!(rollout.advance(&known, now).has_handed);
        assert_eq!(waiting(&rollout), ["b"]);
    }
}
