//! Changes the metadata of invented nodes so that enough of them match each group of the rule.

use cfgsync_model::NodeRegistration;
use cfgsync_spec::{Group, Spec};
use cfgsync_template::{Mentions, NodeValue, RenderContext};
use serde_json::{Map, Value};

/// The largest number of changes that are tried for one group.
const TRIES_MAX: usize = 20_000;
/// The largest number of changes of one node that are tried.
const CHANGES_MAX: usize = 256;

/// Values for some fields of the metadata.
type Change = Map<String, Value>;

/// Changes nodes until enough of them match each group, as far as a change can be found. Groups whose expression reads
/// other nodes are left as they are.
pub(super) fn satisfy(spec: &Spec, nodes: &mut [NodeRegistration]) {
    let groups = spec.ready.iter().flat_map(|rule| &rule.groups);
    let groups: Vec<&Group> = groups.filter(|group| group.is_counted_alone()).collect();
    if groups.is_empty() {
        return;
    }
    let mut matching = Matching::new(spec, groups, nodes);
    for at in 0..matching.groups.len() {
        matching.satisfy(at, nodes);
    }
}

/// The groups that each node matches.
struct Matching<'a> {
    spec: &'a Spec,
    context: RenderContext,
    groups: Vec<&'a Group>,
    /// For each node, whether it matches each group.
    matches: Vec<Vec<bool>>,
    /// For each group, the number of nodes that match.
    counts: Vec<usize>,
}

impl<'a> Matching<'a> {
    fn new(spec: &'a Spec, groups: Vec<&'a Group>, nodes: &[NodeRegistration]) -> Self {
        let mut matching = Self {
            spec,
            context: RenderContext::without_nodes(&spec.cluster, &spec.values),
            counts: vec![0; groups.len()],
            groups,
            matches: Vec::with_capacity(nodes.len()),
        };
        for node in nodes {
            let matches = matching.matches_of(node);
            for (count, matched) in matching.counts.iter_mut().zip(&matches) {
                *count += usize::from(*matched);
            }
            matching.matches.push(matches);
        }
        matching
    }

    fn matches_of(&self, node: &NodeRegistration) -> Vec<bool> {
        let completed = self.spec.metadata.complete(&node.metadata);
        let metadata = completed.unwrap_or_else(|_| node.metadata.clone());
        let value = NodeValue::without_seat(node, &metadata);
        let matches = |group: &&Group| group.matching.matches(&self.context, &value);
        let groups = self.groups.iter();
        groups.map(|group| matches(group) == Ok(true)).collect()
    }

    /// Changes nodes until enough of them match the group at `at`. The last nodes are changed first.
    fn satisfy(&mut self, at: usize, nodes: &mut [NodeRegistration]) {
        let group = self.groups[at];
        let changes = changes(self.spec, &group.matching.mentions());
        let mut tries = TRIES_MAX;
        for (number, node) in nodes.iter_mut().enumerate().rev() {
            if self.counts[at] >= group.count || tries == 0 {
                return;
            }
            if self.matches[number][at] {
                continue;
            }
            for change in &changes {
                tries = tries.saturating_sub(1);
                let candidate = with_change(node, change);
                let matches = self.matches_of(&candidate);
                if matches[at] && self.keeps_other_groups(number, &matches) {
                    self.replace(number, matches);
                    *node = candidate;
                    break;
                }
            }
        }
    }

    /// Returns whether no group that has enough nodes loses one that it needs.
    fn keeps_other_groups(&self, number: usize, matches: &[bool]) -> bool {
        let old = &self.matches[number];
        (0..self.groups.len()).all(|at| {
            let is_lost = old[at] && !matches[at];
            !is_lost || self.counts[at] != self.groups[at].count
        })
    }

    fn replace(&mut self, number: usize, matches: Vec<bool>) {
        let old = std::mem::replace(&mut self.matches[number], matches);
        for (at, count) in self.counts.iter_mut().enumerate() {
            *count -= usize::from(old[at]);
            *count += usize::from(self.matches[number][at]);
        }
    }
}

/// Returns changes of the fields that an expression mentions: of single fields first, then of all of them.
fn changes(spec: &Spec, mentions: &Mentions) -> Vec<Change> {
    let mut all: Vec<Change> = vec![Change::new()];
    let mut single: Vec<Change> = Vec::new();
    for name in &mentions.fields {
        let values = spec.metadata.fake_alternatives(name, &mentions.constants);
        let with_field = |change: &Change, value: &Value| {
            let mut change = change.clone();
            change.insert(name.clone(), value.clone());
            change
        };
        single.extend(values.iter().map(|value| with_field(&Change::new(), value)));
        if !values.is_empty() {
            let combined = all
                .iter()
                .flat_map(|change| values.iter().map(move |value| with_field(change, value)));
            all = combined.take(CHANGES_MAX).collect();
        }
    }
    single.extend(all);
    single.truncate(CHANGES_MAX);
    single
}

fn with_change(node: &NodeRegistration, change: &Change) -> NodeRegistration {
    let mut metadata = node.metadata.as_object().cloned().unwrap_or_default();
    metadata.extend(change.clone());
    NodeRegistration::without_metadata(node.identifier.clone(), node.ip)
        .with_metadata_value(Value::Object(metadata))
}
