//! The readiness rule, kept incrementally: what a registration changes is worked out when it comes, the
//! answer is a comparison of counts. `when` is asked only once they hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value};

use cfgsync_model::{
    Identifier, MISSING_NAMES_MAX, Metadata, NODES_CLAUSE_PREFIX, NodeRegistration, Progress,
    Readiness, RegistrationSnapshot, Revision, Seat, SnapshotNode,
};
use cfgsync_spec::{Group, Members, MetadataError, Spec};
use cfgsync_template::{Expression, JinjaError, NodeValue, RenderContext};

/// The registrations as one spec judges them.
#[derive(Debug)]
pub struct Tally {
    spec: Arc<Spec>,
    members: BTreeMap<Identifier, Member>,
    /// Members whose facts the spec does not accept; it may have changed since they registered.
    flawed: BTreeMap<Identifier, MetadataError>,
    /// For each group of the rule, how many members match.
    matching: Vec<usize>,
    /// What groups see when they are counted node by node.
    context: RenderContext,
}

#[derive(Debug)]
struct Member {
    registration: Arc<NodeRegistration>,
    metadata: Metadata,
    /// For each group, whether it matches, or why that cannot be said.
    matches: Vec<Result<bool, JinjaError>>,
}

impl Tally {
    /// No registrations yet.
    pub fn new(spec: Arc<Spec>) -> Self {
        let groups = spec.ready.as_ref().map_or(0, |rule| rule.groups.len());
        Self {
            members: BTreeMap::new(),
            flawed: BTreeMap::new(),
            matching: vec![0; groups],
            context: RenderContext::without_nodes(&spec.cluster, &spec.values),
            spec,
        }
    }

    /// Counts `registration`, in place of an earlier one of the same identifier. One that a closed list does
    /// not hold is no member.
    pub fn insert(&mut self, registration: Arc<NodeRegistration>) {
        let identifier = registration.identifier.clone();
        self.remove(identifier.as_str());
        if !is_listed(&self.spec, &identifier) {
            return;
        }
        let metadata = match self.spec.metadata.complete(&registration.metadata) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.flawed.insert(identifier.clone(), error);
                registration.metadata.clone()
            }
        };
        let groups = self
            .spec
            .ready
            .as_ref()
            .map_or(&[][..], |rule| &rule.groups);
        let matches: Vec<_> = if groups.is_empty() {
            vec![]
        } else {
            let node = NodeValue::without_seat(&registration, &metadata);
            groups
                .iter()
                .map(|group| match counted_alone(group) {
                    true => group.matching.matches(&self.context, &node),
                    false => Ok(false),
                })
                .collect()
        };
        for (count, matched) in self.matching.iter_mut().zip(&matches) {
            *count += usize::from(*matched == Ok(true));
        }
        self.members.insert(
            identifier,
            Member {
                registration,
                metadata,
                matches,
            },
        );
    }

    /// Takes `identifier` out.
    pub fn remove(&mut self, identifier: &str) {
        self.flawed.remove(identifier);
        let Some(member) = self.members.remove(identifier) else {
            return;
        };
        for (count, matched) in self.matching.iter_mut().zip(&member.matches) {
            *count -= usize::from(*matched == Ok(true));
        }
    }

    /// How many are counted.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The rule's answer; `once` is what was drawn up to now. Without a rule the set is ready as it is.
    pub fn readiness(&self, once: &Map<String, Value>) -> Readiness {
        let mut progress = Progress {
            registered: self.members.len(),
            ..Progress::default()
        };
        let Some(rule) = &self.spec.ready else {
            return Readiness::Ready(progress);
        };
        match &rule.nodes {
            None => progress.needed = rule.groups.iter().map(|group| group.count).sum(),
            Some(Members::AtLeast(count)) => {
                progress.needed = *count;
                if progress.registered < *count {
                    let clause = format!(
                        "{NODES_CLAUSE_PREFIX}{} of {count} are registered",
                        progress.registered
                    );
                    progress.unmet.push(clause);
                }
            }
            Some(Members::Closed(list)) => {
                progress.needed = list.len();
                progress.missing_count = list.len() - self.members.len();
                if progress.missing_count > 0 {
                    progress.missing = self.missing(list);
                    let clause = format!(
                        "{NODES_CLAUSE_PREFIX}{} of {} are missing",
                        progress.missing_count,
                        list.len()
                    );
                    progress.unmet.push(clause);
                }
            }
        }
        for (at, group) in rule.groups.iter().enumerate() {
            if counted_alone(group) {
                self.judge_counted(at, group, &mut progress);
            }
        }
        self.judge_facts(&mut progress);
        if progress.unmet.is_empty() {
            self.judge_whole_set(once, &mut progress);
        }
        match progress.unmet.is_empty() {
            true => Readiness::Ready(progress),
            false => Readiness::Waiting(progress),
        }
    }

    fn missing(&self, list: &BTreeSet<Identifier>) -> Vec<Identifier> {
        let missing = list
            .iter()
            .filter(|identifier| !self.members.contains_key(*identifier));
        missing.take(MISSING_NAMES_MAX).cloned().collect()
    }

    fn judge_counted(&self, at: usize, group: &Group, progress: &mut Progress) {
        if self.matching[at] >= group.count {
            return;
        }
        let error = self.members.iter().find_map(|(identifier, member)| {
            member.matches[at]
                .as_ref()
                .err()
                .map(|error| (identifier, error))
        });
        progress
            .unmet
            .push(unmet_group(group, self.matching[at], error));
    }

    fn judge_facts(&self, progress: &mut Progress) {
        for (identifier, error) in self.flawed.iter().take(MISSING_NAMES_MAX) {
            progress.unmet.push(format!("{identifier}: {error}"));
        }
        let more = self.flawed.len().saturating_sub(MISSING_NAMES_MAX);
        if more > 0 {
            progress.unmet.push(format!(
                "{more} more nodes whose facts the spec does not accept"
            ));
        }
    }

    /// What looks at all nodes at once, and so is asked only when everything else holds.
    fn judge_whole_set(&self, once: &Map<String, Value>, progress: &mut Progress) {
        let Some(rule) = &self.spec.ready else { return };
        let groups: Vec<&Group> = rule.groups.iter().filter(|g| !counted_alone(g)).collect();
        if rule.when.is_none() && groups.is_empty() {
            return;
        }
        let nodes = self.members.values();
        let nodes = nodes
            .map(|m| NodeValue::without_seat(&m.registration, &m.metadata))
            .collect();
        let context = RenderContext::with_nodes(&self.spec.cluster, &self.spec.values, once, nodes);
        for group in groups {
            let mut count = 0;
            let mut error = None;
            for (identifier, node) in self.members.keys().zip(context.nodes()) {
                match group.matching.matches(&context, node) {
                    Ok(matched) => count += usize::from(matched),
                    Err(e) => error = error.or(Some((identifier, e))),
                }
            }
            if count < group.count {
                let error = error
                    .as_ref()
                    .map(|(identifier, error)| (*identifier, error));
                progress.unmet.push(unmet_group(group, count, error));
            }
        }
        if let Some(when) = &rule.when {
            match when.holds(&context) {
                Ok(true) => {}
                Ok(false) => progress
                    .unmet
                    .push(format!("when: {} is false", when.source())),
                Err(error) => progress
                    .unmet
                    .push(format!("when: {}: {error}", when.source())),
            }
        }
    }

    /// All members at `revision`, in identifier order; those without a seat in `seats` get the next ones.
    pub fn snapshot(
        &self,
        revision: Revision,
        seats: &BTreeMap<Identifier, Seat>,
        once: Map<String, Value>,
    ) -> RegistrationSnapshot {
        let mut free = u32::try_from(seats.len()).expect("fewer than 2^32 nodes");
        let nodes = self.members.iter().map(|(identifier, member)| {
            let seat = seats.get(identifier).copied().unwrap_or_else(|| {
                free += 1;
                Seat(free - 1)
            });
            SnapshotNode {
                identifier: identifier.clone(),
                ip: member.registration.ip,
                metadata: member.metadata.clone(),
                seat,
            }
        });
        RegistrationSnapshot {
            cluster: self.spec.cluster.clone(),
            revision,
            nodes: nodes.collect(),
            values: self.spec.values.clone(),
            once,
        }
    }
}

/// Whether the spec's list, if it has one, holds `identifier`.
pub fn is_listed(spec: &Spec, identifier: &Identifier) -> bool {
    match spec.ready.as_ref().and_then(|rule| rule.nodes.as_ref()) {
        Some(Members::Closed(list)) => list.contains(identifier),
        _ => true,
    }
}

/// Whether a group can be counted node by node: it looks at nothing but the node and constants.
fn counted_alone(group: &Group) -> bool {
    let depends_on_others = |expression: &Expression| {
        expression.uses_variable("nodes") || expression.uses_variable("once")
    };
    !depends_on_others(&group.matching)
}

fn unmet_group(group: &Group, count: usize, error: Option<(&Identifier, &JinjaError)>) -> String {
    let source = group.matching.source();
    let mut clause = format!("group {source}: {count} of {} match", group.count);
    if let Some((identifier, error)) = error {
        clause.push_str(&format!(" ({identifier}: {error})"));
    } else if source.contains("node.seat") || group.matching.uses_variable("once") {
        clause.push_str("; seats and `once` come with the first seal, which awaits this");
    }
    clause
}

#[cfg(test)]
mod tests {
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
        let node = NodeRegistration::new(name.parse().unwrap(), "10.0.0.1".parse().unwrap());
        Arc::new(node.with_metadata(metadata))
    }

    fn unmet(tally: &Tally) -> Vec<String> {
        tally.readiness(&Map::new()).progress().unmet.clone()
    }

    /// They were "0 of 1 match" for good, without a word of why.
    #[test]
    fn a_group_by_what_only_a_seal_gives_says_so() {
        for rule in ["node.seat == 0", "once.k == node.identifier"] {
            let spec = spec(&format!(
                "once: {{k: random_hex(2)}}\nready:\n  groups:\n    - {{ where: '{rule}', count: 1 }}"
            ));
            let mut tally = Tally::new(spec);
            tally.insert(node("a", serde_json::json!({})));
            let why = "seats and `once` come with the first seal, which awaits this";
            assert_eq!(
                unmet(&tally),
                [format!("group {rule}: 0 of 1 match; {why}")]
            );
        }
    }

    #[test]
    fn every_clause_says_what_it_lacks() {
        let spec = spec(
            "ready:\n  nodes: 2\n  groups:\n    - { where: 'node.metadata.role == \"v\"', count: 2 }\n    \
             - { where: 'nodes | length > 2', count: 1 }\n  when: '(nodes | first).identifier == \"b\"'",
        );
        let mut tally = Tally::new(spec);
        let validator = serde_json::json!({"role": "v"});
        tally.insert(node("a", validator.clone()));
        tally.insert(node("c", serde_json::json!({})));
        assert_eq!(
            unmet(&tally),
            [r#"group node.metadata.role == "v": 1 of 2 match"#]
        );
        tally.insert(node("c", validator.clone()));
        assert_eq!(
            unmet(&tally),
            [
                "group nodes | length > 2: 0 of 1 match",
                r#"when: (nodes | first).identifier == "b" is false"#
            ]
        );
        tally.remove("a");
        tally.insert(node("b", validator.clone()));
        tally.insert(node("d", validator));
        assert!(tally.readiness(&Map::new()).is_ready());
        tally.remove("d");
        assert!(
            !tally.readiness(&Map::new()).is_ready(),
            "counts follow removals"
        );
    }

    #[test]
    fn a_when_that_fails_is_unmet_with_its_error() {
        let mut tally = Tally::new(spec(
            "ready: {nodes: 1, when: 'nodes[0].metadata.zone == 1'}",
        ));
        tally.insert(node("a", serde_json::json!({})));
        let clauses = unmet(&tally);
        assert!(
            clauses[0].starts_with("when: nodes[0].metadata.zone == 1: "),
            "{clauses:?}"
        );
    }

    #[test]
    fn facts_that_a_changed_spec_does_not_accept_keep_the_set_waiting() {
        let mut tally = Tally::new(spec("metadata: {port: {type: integer}}\nready: {nodes: 1}"));
        tally.insert(node("a", serde_json::json!({"port": "x"})));
        let clauses = unmet(&tally);
        assert!(clauses[0].starts_with("a: metadata.port"), "{clauses:?}");
        tally.insert(node("a", serde_json::json!({"port": 1})));
        assert!(unmet(&tally).is_empty());
    }

    #[test]
    fn of_many_missing_twenty_are_named() {
        let list: Vec<String> = (100..130).map(|at| format!("n{at}")).collect();
        let tally = Tally::new(spec(&format!("ready: {{nodes: [{}]}}", list.join(", "))));
        let readiness = tally.readiness(&Map::new());
        let progress = readiness.progress();
        assert_eq!((progress.missing.len(), progress.missing_count), (20, 30));
        assert!(
            progress.to_string().ends_with("n119 and 10 more"),
            "{progress}"
        );
    }

    proptest! {
        /// Whatever the order of arrival, re-registration and removal: equal sets are equal snapshots.
        #[test]
        fn equal_sets_are_equal_snapshots(
            steps in proptest::collection::vec((0..8_u8, 0..3_u8), 1..40),
            shuffled in any::<prop::sample::Index>(),
        ) {
            let spec = spec("ready: {nodes: 1, groups: [{where: 'node.metadata.n == 1', count: 1}]}");
            let mut walked = Tally::new(spec.clone());
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
            let mut direct = Tally::new(spec);
            for node in facts {
                direct.insert(node);
            }
            let snapshot = |tally: &Tally| tally.snapshot(Revision(1), &BTreeMap::new(), Map::new());
            prop_assert_eq!(snapshot(&walked), snapshot(&direct));
            let answer = |tally: &Tally| tally.readiness(&Map::new());
            prop_assert_eq!(answer(&walked), answer(&direct));
        }
    }
}
