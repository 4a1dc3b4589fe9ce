//! Tests of the decisions about a roll-out.

use std::collections::BTreeSet;

use super::*;
use cfgsync_spec::AtOnce;

#[derive(Default)]
struct Known {
    gone: BTreeSet<&'static str>,
    changed: BTreeSet<&'static str>,
    silent: BTreeSet<&'static str>,
    unknown: BTreeSet<&'static str>,
    reports: BTreeMap<&'static str, Reported>,
}

impl Nodes for Known {
    fn is_member(&self, identifier: &Identifier) -> bool {
        !self.gone.contains(identifier.as_str())
    }

    fn is_included(&self, identifier: &Identifier, _: Handed) -> bool {
        !self.changed.contains(identifier.as_str())
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
    let handed = Handed {
        generation: GenerationNumber(1),
        up_to: Revision(1),
    };
    let older = nodes.iter().map(|name| (name.parse().unwrap(), handed));
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
    newer.replace(&replaced, |_| true);
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
    newer.replace(&replaced, |_| true);
    assert!(!newer.advance(&known, now).has_handed);
    assert_eq!(newer.stopped().unwrap().to_string(), "a failed");
}

#[tokio::test(start_paused = true)]
async fn node_whose_lease_has_expired_stops_the_roll_out() {
    let mut first = rollout(AtOnce::Nodes(1), &["a", "b"]);
    let (mut known, now) = (Known::default(), Instant::now());
    first.advance(&known, now);
    assert!(!first.on_expired(&"b".parse().unwrap()));
    assert_eq!(first.stopped(), None, "b has the older files");
    assert!(first.on_expired(&"a".parse().unwrap()));
    known.gone.insert("a");
    assert!(!first.advance(&known, now).has_handed);
    assert_eq!(
        first.stopped().unwrap().to_string(),
        "the lease of a has expired"
    );
    // The removal makes a newer generation.
    let mut newer = rollout(AtOnce::Nodes(1), &["b"]);
    newer.replace(&first, |_| true);
    assert!(!newer.advance(&known, now).has_handed);
    newer.resume(&known, now);
    assert!(newer.advance(&known, now).has_handed);
    assert_eq!(waiting(&newer), ["b"]);
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
async fn stop_stays_after_the_failed_node_has_left() {
    let (mut known, now) = (Known::default(), Instant::now());
    let mut replaced = rollout(AtOnce::Nodes(1), &["a", "b"]);
    replaced.advance(&known, now);
    known.reports.insert("a", Reported::Failure(None));
    replaced.advance(&known, now);
    known.gone.insert("a");
    let mut newer = rollout(AtOnce::Nodes(1), &["b"]);
    newer.replace(&replaced, |_| true);
    assert!(!newer.advance(&known, now).has_handed);
    assert_eq!(newer.stopped().unwrap().to_string(), "a failed");
    assert!(!newer.note_recorded_stop(None, &known, now), "not recorded");
    newer.resume(&known, now);
    assert!(newer.advance(&known, now).has_handed);
}

#[tokio::test(start_paused = true)]
async fn node_with_a_changed_registration_does_not_wait_for_its_turn() {
    let mut rollout = rollout(AtOnce::Nodes(1), &["a", "b", "c"]);
    let (mut known, now) = (Known::default(), Instant::now());
    rollout.advance(&known, now);
    known.changed.insert("c");
    assert!(rollout.advance(&known, now).has_handed);
    assert_eq!(waiting(&rollout), ["a"]);
    let queue: Vec<&str> = rollout.queue().map(Identifier::as_str).collect();
    assert_eq!(queue, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_do_not_follow_are_listed_by_later_roll_outs_as_well() {
    let silent = Known {
        silent: BTreeSet::from(["a", "b"]),
        ..Known::default()
    };
    let mut replaced = rollout(AtOnce::Nodes(1), &["a", "b"]);
    replaced.advance(&silent, Instant::now());
    // The files of both are the same in the newer generation. b has fetched them.
    let mut newer = rollout(AtOnce::Nodes(1), &[]);
    newer.replace(&replaced, |node| node.as_str() == "a");
    assert_eq!(newer.skipped(), ["a".parse().unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn operator_stops_and_resumes() {
    let mut rollout = rollout(AtOnce::Nodes(1), &["a", "b"]);
    let (mut known, now) = (Known::default(), Instant::now());
    rollout.advance(&known, now);
    let stop = StoppedRollout {
        generation: GenerationNumber(2),
        reason: None,
    };
    assert!(rollout.note_recorded_stop(Some(&stop), &known, now));
    assert!(!rollout.note_recorded_stop(Some(&stop), &known, now));
    known.reports.insert("a", Reported::Phase);
    assert!(!rollout.advance(&known, now).has_handed);
    assert_eq!(rollout.stopped(), Some(&Stopped::Operator));
    assert!(rollout.note_recorded_stop(None, &known, now));
    assert!(rollout.advance(&known, now).has_handed);
    assert_eq!(waiting(&rollout), ["b"]);
}
