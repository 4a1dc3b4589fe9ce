//! Tests of the readiness rule.

use std::path::Path;

use proptest::prelude::*;

use super::*;

fn spec(rest: &str) -> Arc<Spec> {
    let text = format!(
        "cfgsync: 1\ncluster: test\n{rest}\nmaterializers:\n  - kind: template\n    files: \
         [{{path: p, shared: true, template: x}}]\n"
    );
    Arc::new(Spec::parse(&text, "cluster.yaml", Path::new(".")).unwrap())
}

fn node(name: &str, metadata: Value) -> Arc<NodeRegistration> {
    let node =
        NodeRegistration::without_metadata(name.parse().unwrap(), "10.0.0.1".parse().unwrap());
    Arc::new(node.with_metadata_value(metadata))
}

fn unmet(tracker: &ReadinessTracker) -> Vec<String> {
    let readiness = tracker.readiness(&Map::new(), &ValueReader::default());
    let unmet = readiness.progress().unmet.iter();
    unmet.map(ToString::to_string).collect()
}

#[test]
fn group_that_needs_a_seat_or_once_explains_why_it_never_matches() {
    for rule in ["node.seat == 0", "once.k == node.identifier"] {
        let spec = spec(&format!(
            "once: {{k: random_hex(2)}}\nready:\n  groups:\n    - {{ where: '{rule}', count: 1 }}"
        ));
        let mut tracker = ReadinessTracker::new(spec);
        tracker.insert(node("a", serde_json::json!({})));
        let why = "seats and `once` exist only after the first seal, which this group prevents: \
                   use metadata instead";
        assert_eq!(
            unmet(&tracker),
            [format!("group {rule}: 0 of 1 match; {why}")]
        );
    }
}

#[test]
fn each_unmet_clause_gives_its_reason() {
    let spec = spec(
        "ready:\n  nodes: 2\n  groups:\n    - { where: 'node.metadata.role == \"v\"', count: 2 }\n    \
         - { where: 'nodes | length > 2', count: 1 }\n  when: '(nodes | first).identifier == \"b\"'",
    );
    let mut tracker = ReadinessTracker::new(spec);
    let validator = serde_json::json!({"role": "v"});
    tracker.insert(node("a", validator.clone()));
    tracker.insert(node("c", serde_json::json!({})));
    assert_eq!(
        unmet(&tracker),
        [r#"group node.metadata.role == "v": 1 of 2 match"#]
    );
    tracker.insert(node("c", validator.clone()));
    assert_eq!(
        unmet(&tracker),
        [
            "group nodes | length > 2: 0 of 1 match",
            r#"when: (nodes | first).identifier == "b" is false"#
        ]
    );
    tracker.remove("a");
    tracker.insert(node("b", validator.clone()));
    tracker.insert(node("d", validator));
    assert!(
        tracker
            .readiness(&Map::new(), &ValueReader::default())
            .is_ready()
    );
    tracker.remove("d");
    assert!(
        !tracker
            .readiness(&Map::new(), &ValueReader::default())
            .is_ready(),
        "counts follow removals"
    );
}

#[test]
fn failing_when_shows_the_message_of_the_spec() {
    let rule = |message: &str| {
        spec(&format!(
            "ready:\n  when: 'nodes | map(attribute=\"metadata.zone\") | unique | length == 2'\n  message: \
             '{message}'"
        ))
    };
    let unmet_with = |message: &str| {
        let mut tracker = ReadinessTracker::new(rule(message));
        for name in ["a", "b"] {
            tracker.insert(node(name, serde_json::json!({"zone": "x"})));
        }
        unmet(&tracker)
    };
    assert_eq!(
        unmet_with(
            "all in one zone: {{ nodes | map(attribute=\"identifier\")\n\n  | join(\", \") }}\n\n"
        ),
        ["when: all in one zone: a, b"]
    );
    let long = unmet_with("{{ \"x\" * 2000 }}");
    assert_eq!(long, [format!("when: {}…", "x".repeat(1000))]);
    let failed = unmet_with("{{ nodes[0].metadata.zoen }}");
    let expected = "it is false, and `message` fails: `nodes[0].metadata.zoen` is undefined";
    assert!(failed[0].contains(expected), "{failed:?}");
}

#[test]
fn failing_when_is_unmet_and_shows_its_error() {
    let mut tracker = ReadinessTracker::new(spec(
        "ready: {nodes: 1, when: 'nodes[0].metadata.zone == 1'}",
    ));
    tracker.insert(node("a", serde_json::json!({})));
    let clauses = unmet(&tracker);
    assert!(
        clauses[0].starts_with("when: nodes[0].metadata.zone == 1: "),
        "{clauses:?}"
    );
}

#[test]
fn metadata_that_a_changed_spec_rejects_keeps_the_set_waiting() {
    let mut tracker =
        ReadinessTracker::new(spec("metadata: {port: {type: integer}}\nready: {nodes: 1}"));
    tracker.insert(node("a", serde_json::json!({"port": "x"})));
    let clauses = unmet(&tracker);
    assert!(clauses[0].starts_with("a: metadata.port"), "{clauses:?}");
    tracker.insert(node("a", serde_json::json!({"port": 1})));
    assert!(unmet(&tracker).is_empty());
}

#[test]
fn names_at_most_twenty_missing_nodes() {
    let list: Vec<String> = (100..130).map(|at| format!("n{at}")).collect();
    let tracker = ReadinessTracker::new(spec(&format!("ready: {{nodes: [{}]}}", list.join(", "))));
    let readiness = tracker.readiness(&Map::new(), &ValueReader::default());
    let progress = readiness.progress();
    assert_eq!((progress.missing.len(), progress.missing_count), (20, 30));
    assert!(
        progress.to_string().ends_with("n119 and 10 more"),
        "{progress}"
    );
}

proptest! {
    /// Snapshots do not depend on the order of registrations, on repeated registrations or on removals.
    #[test]
    fn equal_sets_give_equal_snapshots(
        steps in proptest::collection::vec((0..8_u8, 0..3_u8), 1..40),
        shuffled in any::<prop::sample::Index>(),
    ) {
        let spec = spec("ready: {nodes: 1, groups: [{where: 'node.metadata.n == 1', count: 1}]}");
        let mut walked = ReadinessTracker::new(spec.clone());
        let mut last = BTreeMap::new();
        for (who, what) in &steps {
            let name = format!("n{who}");
            if *what == 0 {
                walked.remove(&name);
                last.remove(&name);
            } else {
                let facts = node(&name, serde_json::json!({"n": what}));
                walked.insert(facts.clone());
                last.insert(name, facts);
            }
        }
        let mut facts: Vec<_> = last.into_values().collect();
        let middle = if facts.is_empty() { 0 } else { shuffled.index(facts.len()) };
        facts.rotate_left(middle);
        let mut direct = ReadinessTracker::new(spec);
        for node in facts {
            direct.insert(node);
        }
        let snapshot = |tracker: &ReadinessTracker| tracker.members().snapshot(Revision(1), &BTreeMap::new(), Map::new());
        prop_assert_eq!(snapshot(&walked), snapshot(&direct));
        let answer = |tracker: &ReadinessTracker| tracker.readiness(&Map::new(), &ValueReader::default());
        prop_assert_eq!(answer(&walked), answer(&direct));
    }
}
