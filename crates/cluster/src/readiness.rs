//! The readiness rule, evaluated incrementally. Each registration updates counts, and the rule compares these counts.
//! `when` and groups that depend on the whole set are evaluated only if all other conditions hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imbl::OrdMap;
use serde_json::{Map, Value};

use crate::unique_values::UniqueValues;
use cfgsync_model::{
    GroupProblem, Identifier, MISSING_NAMES_MAX, NodeRegistration, Progress, Readiness,
    RegistrationSnapshot, Revision, Seat, SharedMetadata, SnapshotNode, Unmet, ValueName,
    ValueReader,
};
use cfgsync_spec::{Group, Members as RuleMembers, MetadataError, Spec};
use cfgsync_template::{Expression, JinjaError, NodeValue, RenderContext, Template};

/// The longest text of `message` that nodes get, in characters.
const MESSAGE_MAX_CHARS: usize = 1_000;

/// The registrations that one spec counts as members, and the counts that its rule needs.
#[derive(Debug)]
pub struct ReadinessTracker {
    spec: Arc<Spec>,
    members: Members,
    /// The identifiers of the closed list that are not registered. Empty without such a list.
    missing: BTreeSet<Identifier>,
    /// Members whose metadata the spec does not accept. They registered under another spec.
    invalid: BTreeMap<Identifier, MetadataError>,
    /// The members by the values that must be unique.
    unique: UniqueValues,
    /// The number of matching members for each group of the rule.
    matching: Vec<usize>,
    /// The context for groups that are counted node by node.
    context: RenderContext,
}

/// The members at one moment. Cloning is cheap, so that a render can use them on its own thread.
#[derive(Debug, Clone)]
pub struct Members {
    spec: Arc<Spec>,
    nodes: OrdMap<Identifier, Arc<Member>>,
}

#[derive(Debug)]
struct Member {
    registration: Arc<NodeRegistration>,
    /// The metadata with the spec's defaults.
    metadata: SharedMetadata,
    /// For each group, whether the member matches, or the error of the expression.
    matches: Box<[Result<bool, JinjaError>]>,
}

impl ReadinessTracker {
    /// Returns a tracker without registrations.
    pub fn new(spec: Arc<Spec>) -> Self {
        let groups = spec.ready.as_ref().map_or(0, |rule| rule.groups.len());
        Self {
            members: Members {
                spec: spec.clone(),
                nodes: OrdMap::new(),
            },
            missing: closed_list(&spec).cloned().unwrap_or_default(),
            invalid: BTreeMap::new(),
            unique: UniqueValues::new(&spec.metadata),
            matching: vec![0; groups],
            context: RenderContext::without_nodes(&spec.cluster, &spec.values),
            spec,
        }
    }

    /// Counts `registration` and replaces an earlier one with the same identifier. An identifier that is not on the
    /// closed list is not counted.
    pub fn insert(&mut self, registration: Arc<NodeRegistration>) {
        let identifier = registration.identifier.clone();
        self.remove(identifier.as_str());
        if !is_listed(&self.spec, &identifier) {
            return;
        }
        self.missing.remove(&identifier);
        let metadata = match self.spec.metadata.complete(&registration.metadata) {
            Ok(metadata) if metadata != registration.metadata => metadata.into(),
            Ok(_) => registration.clone().into(),
            Err(error) => {
                self.invalid.insert(identifier.clone(), error);
                registration.clone().into()
            }
        };
        let mut member = Member {
            registration,
            metadata,
            matches: Box::default(),
        };
        member.matches = self.matches(&member);
        for (count, matched) in self.matching.iter_mut().zip(&member.matches) {
            *count += usize::from(*matched == Ok(true));
        }
        self.unique.insert(&identifier, &member.metadata);
        self.members.nodes.insert(identifier, Arc::new(member));
    }

    /// Returns for each group that is counted node by node whether `member` matches.
    fn matches(&self, member: &Member) -> Box<[Result<bool, JinjaError>]> {
        let Some(rule) = &self.spec.ready else {
            return Box::default();
        };
        if rule.groups.is_empty() {
            return Box::default();
        }
        let node = NodeValue::without_seat(&member.registration, &member.metadata);
        let matches = |group: &Group| {
            if group.is_counted_alone() {
                group.matching.matches(&self.context, &node)
            } else {
                Ok(false)
            }
        };
        rule.groups.iter().map(matches).collect()
    }

    /// Removes the registration of `identifier` from the counts.
    pub fn remove(&mut self, identifier: &str) {
        self.invalid.remove(identifier);
        let Some((identifier, member)) = self.members.nodes.remove_with_key(identifier) else {
            return;
        };
        self.unique.remove(&identifier, &member.metadata);
        if closed_list(&self.spec).is_some() {
            self.missing.insert(identifier);
        }
        for (count, matched) in self.matching.iter_mut().zip(&member.matches) {
            *count -= usize::from(*matched == Ok(true));
        }
    }

    /// Returns the members, from which a render takes its snapshot.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Returns whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.members.nodes.is_empty()
    }

    /// Evaluates the rule. `once` holds the values from the first seal, and `values` reads operators' values. Without a
    /// rule the set is ready as soon as the required values are set.
    pub fn readiness(&self, once: &Map<String, Value>, values: &ValueReader) -> Readiness {
        let mut progress = Progress {
            registered: self.members.nodes.len(),
            ..Progress::default()
        };
        progress
            .unmet
            .extend(missing_values(&self.spec.requires, values));
        let Some(rule) = &self.spec.ready else {
            return answer(progress);
        };
        match &rule.nodes {
            None => progress.needed = rule.groups.iter().map(|group| group.count).sum(),
            Some(RuleMembers::AtLeast(count)) => {
                progress.needed = *count;
                if progress.registered < *count {
                    progress.unmet.push(Unmet::TooFewNodes {
                        registered: progress.registered,
                        needed: *count,
                    });
                }
            }
            Some(RuleMembers::Closed(list)) => {
                progress.needed = list.len();
                progress.missing_count = self.missing.len();
                if progress.missing_count > 0 {
                    let missing = self.missing.iter().take(MISSING_NAMES_MAX);
                    progress.missing = missing.cloned().collect();
                    progress.unmet.push(Unmet::MissingNodes {
                        missing: progress.missing_count,
                        listed: list.len(),
                    });
                }
            }
        }
        for (at, group) in rule.groups.iter().enumerate() {
            if group.is_counted_alone() {
                self.check_counted_group(at, group, &mut progress);
            }
        }
        self.check_metadata(&mut progress);
        let repeated = self.unique.repeated().take(MISSING_NAMES_MAX);
        progress.unmet.extend(repeated);
        if progress.unmet.is_empty() {
            self.check_whole_set(once, values, &mut progress);
        }
        answer(progress)
    }

    fn check_counted_group(&self, at: usize, group: &Group, progress: &mut Progress) {
        if self.matching[at] >= group.count {
            return;
        }
        let error = self.members.nodes.iter().find_map(|(identifier, member)| {
            member.matches[at]
                .as_ref()
                .err()
                .map(|error| (identifier, error))
        });
        progress
            .unmet
            .push(unmet_group(group, self.matching[at], error));
    }

    fn check_metadata(&self, progress: &mut Progress) {
        for (identifier, error) in self.invalid.iter().take(MISSING_NAMES_MAX) {
            progress.unmet.push(Unmet::Metadata {
                node: identifier.clone(),
                problem: error.to_string(),
            });
        }
        let more = self.invalid.len().saturating_sub(MISSING_NAMES_MAX);
        if more > 0 {
            progress.unmet.push(Unmet::MoreMetadata(more));
        }
    }

    /// Evaluates the expressions that depend on all nodes. They cost the most, so they come last.
    fn check_whole_set(
        &self,
        once: &Map<String, Value>,
        values: &ValueReader,
        progress: &mut Progress,
    ) {
        let Some(rule) = &self.spec.ready else { return };
        let groups: Vec<&Group> = rule
            .groups
            .iter()
            .filter(|g| !g.is_counted_alone())
            .collect();
        if rule.when.is_none() && groups.is_empty() {
            return;
        }
        let nodes = self.members.nodes.values();
        let nodes = nodes
            .map(|member| NodeValue::without_seat(&member.registration, &member.metadata))
            .collect();
        let context = RenderContext::with_nodes(&self.spec.cluster, &self.spec.values, once, nodes)
            .with_operator_values(values.clone());
        for group in groups {
            let mut count = 0;
            let mut error = None;
            for (identifier, node) in self.members.nodes.keys().zip(context.nodes()) {
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
            progress
                .unmet
                .extend(unmet_when(when, rule.message.as_ref(), &context));
        }
    }
}

fn answer(progress: Progress) -> Readiness {
    if progress.unmet.is_empty() {
        Readiness::Ready(progress)
    } else {
        Readiness::Waiting(progress)
    }
}

/// Returns the reason to wait if a value of `required` is not set.
fn missing_values(required: &BTreeSet<ValueName>, values: &ValueReader) -> Option<Unmet> {
    let is_missing = |name: &&ValueName| {
        let version = values.get(name.namespace.as_str(), name.key.as_str());
        matches!(version, Ok(None))
    };
    let mut missing: Vec<ValueName> = required.iter().filter(is_missing).cloned().collect();
    let more = missing.len().saturating_sub(MISSING_NAMES_MAX);
    missing.truncate(MISSING_NAMES_MAX);
    (!missing.is_empty()).then_some(Unmet::MissingValues { missing, more })
}

/// Returns the reason why `when` does not hold, or `None` if it does.
fn unmet_when(
    when: &Expression,
    message: Option<&Template>,
    context: &RenderContext,
) -> Option<Unmet> {
    let expression = when.source().to_owned();
    let failed = |error: String| Unmet::WhenError {
        expression: when.source().to_owned(),
        error,
    };
    match (when.holds(context), message) {
        (Ok(true), _) => None,
        (Ok(false), None) => Some(Unmet::WhenFalse { expression }),
        (Ok(false), Some(message)) => Some(match message.render(context, None) {
            Ok(text) => Unmet::WhenMessage(one_line(&text.to_bytes())),
            Err(error) => failed(format!("it is false, and `message` fails: {error}")),
        }),
        (Err(error), _) => Some(failed(error.to_string())),
    }
}

/// Returns `text` in one line of at most [`MESSAGE_MAX_CHARS`].
fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut line = words.join(" ");
    if let Some((end, _)) = line.char_indices().nth(MESSAGE_MAX_CHARS) {
        line.truncate(end);
        line.push('…');
    }
    line
}

impl Members {
    /// Returns all members at `revision`, in identifier order. Members without a seat in `seats` get the next free
    /// ones.
    pub fn snapshot(
        &self,
        revision: Revision,
        seats: &BTreeMap<Identifier, Seat>,
        once: Map<String, Value>,
    ) -> RegistrationSnapshot {
        let mut free = u32::try_from(seats.len()).expect("fewer than 2^32 nodes");
        let nodes = self.nodes.iter().map(|(identifier, member)| {
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
            operator_values: ValueReader::default(),
        }
    }
}

/// Returns the spec's closed list of nodes, if it has one.
pub(crate) fn closed_list(spec: &Spec) -> Option<&BTreeSet<Identifier>> {
    match spec.ready.as_ref()?.nodes.as_ref()? {
        RuleMembers::Closed(list) => Some(list),
        RuleMembers::AtLeast(_) => None,
    }
}

/// Returns whether the spec has no closed list of nodes, or `identifier` is on it.
pub(crate) fn is_listed(spec: &Spec, identifier: &Identifier) -> bool {
    closed_list(spec).is_none_or(|list| list.contains(identifier))
}

fn unmet_group(group: &Group, count: usize, error: Option<(&Identifier, &JinjaError)>) -> Unmet {
    let source = group.matching.source();
    let problem = match error {
        Some((node, error)) => Some(GroupProblem::Error {
            node: node.clone(),
            error: error.to_string(),
        }),
        None if source.contains("node.seat") || group.matching.uses_variable("once") => {
            Some(GroupProblem::NeedsSeal)
        }
        None => None,
    };
    Unmet::Group {
        expression: source.to_owned(),
        matching: count,
        needed: group.count,
        problem,
    }
}

#[cfg(test)]
mod tests;
