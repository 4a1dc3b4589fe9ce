//! Which events a watcher receives.

use cfgsync_model::{Identifier, Namespace, ValueKey};
use cfgsync_store::EventKind;
use cfgsync_support::nearest::did_you_mean_suffix;
use cfgsync_wire::{NOTICE_EVENT, READINESS_EVENT, ValueEventType};

/// The number of names in each list of a filter.
pub const FILTER_NAMES_MAX: usize = 100;

/// The longest name in a filter, in bytes.
pub const FILTER_NAME_MAX_BYTES: usize = 256;

/// The names of all events that a watcher can select.
pub const EVENT_NAMES: [&str; 28] = [
    "node_registered",
    "joiner_changed",
    "node_removed",
    "override_set",
    "override_removed",
    "delivered",
    "name_claimed",
    "name_released",
    "cluster_failed",
    "cluster_reset",
    "set",
    "delete",
    "alias_set",
    "alias_delete",
    "generation_confirmed",
    "node_banned",
    "node_unbanned",
    "redraw_requested",
    "phase_reported",
    "run_claimed",
    "run_done",
    "run_failed",
    "run_forgotten",
    "rollout_stopped",
    "rollout_resumed",
    "generation_sealed",
    READINESS_EVENT,
    NOTICE_EVENT,
];

/// The names of the events of values and aliases.
const VALUE_EVENTS: [&str; 4] = [
    ValueEventType::Set.event(),
    ValueEventType::Delete.event(),
    ValueEventType::AliasSet.event(),
    ValueEventType::AliasDelete.event(),
];

/// The events that a watcher has selected. The default selects all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    namespaces: Vec<Namespace>,
    prefixes: Vec<String>,
    kinds: Vec<&'static str>,
    identifiers: Vec<Identifier>,
}

/// The names with which a watcher selects events. An empty list selects all.
#[derive(Debug, Clone, Default)]
pub struct FilterNames {
    /// The namespaces of values.
    pub namespaces: Vec<String>,
    /// The beginnings of keys and of the names of aliases.
    pub prefixes: Vec<String>,
    /// The names of events.
    pub kinds: Vec<String>,
    /// The nodes.
    pub identifiers: Vec<String>,
}

/// The reason why a filter is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// A list has too many names.
    #[error(
        "at most {FILTER_NAMES_MAX} {0} are allowed in one filter; open another stream for more"
    )]
    TooMany(&'static str),
    /// A name is too long.
    #[error("the names in `{0}` have at most {FILTER_NAME_MAX_BYTES} bytes")]
    TooLong(&'static str),
    /// A name is none of its kind.
    #[error("{name:?} in `{list}` is wrong: {problem}")]
    Name {
        /// The list.
        list: &'static str,
        /// The name as given.
        name: String,
        /// The problem with it.
        problem: String,
    },
    /// The filter selects both values and nodes.
    #[error(
        "`namespaces` and `prefixes` select values, and `identifiers` selects nodes; open one stream for each"
    )]
    ValuesAndNodes,
}

impl EventFilter {
    /// Checks the names of a filter.
    ///
    /// # Errors
    /// The first name that is not valid.
    pub fn new(names: FilterNames) -> Result<Self, InvalidFilter> {
        for (list, names) in [
            ("namespaces", &names.namespaces),
            ("prefixes", &names.prefixes),
            ("kinds", &names.kinds),
            ("identifiers", &names.identifiers),
        ] {
            if names.len() > FILTER_NAMES_MAX {
                return Err(InvalidFilter::TooMany(list));
            }
            if names.iter().any(|name| name.len() > FILTER_NAME_MAX_BYTES) {
                return Err(InvalidFilter::TooLong(list));
            }
        }
        let filter = Self {
            namespaces: all_of("namespaces", names.namespaces, |name| {
                name.parse::<Namespace>()
            })?,
            prefixes: names.prefixes,
            kinds: all_of("kinds", names.kinds, event_name)?,
            identifiers: all_of("identifiers", names.identifiers, |name| {
                name.parse::<Identifier>()
            })?,
        };
        if filter.selects_values() && !filter.identifiers.is_empty() {
            return Err(InvalidFilter::ValuesAndNodes);
        }
        Ok(filter)
    }

    /// Returns whether only events of values and aliases are selected.
    pub fn selects_values(&self) -> bool {
        !self.namespaces.is_empty() || !self.prefixes.is_empty()
    }

    /// Returns whether no other events than those of values and aliases are selected.
    pub fn has_only_values(&self) -> bool {
        let is_of_values = |kind: &&str| VALUE_EVENTS.contains(kind);
        self.selects_values() || (!self.kinds.is_empty() && self.kinds.iter().all(is_of_values))
    }

    /// Returns whether the events about the cluster with this name are selected.
    pub(crate) fn selects_of_cluster(&self, event: &str) -> bool {
        !self.selects_values() && self.identifiers.is_empty() && self.selects_name(event)
    }

    /// Returns whether an event of the store is selected.
    pub(crate) fn selects(&self, kind: &EventKind) -> bool {
        if !self.selects_name(name_of(kind)) {
            return false;
        }
        match Subject::of(kind) {
            Subject::Value(namespace, key) => {
                let is_listed = self.namespaces.is_empty() || self.namespaces.contains(namespace);
                self.identifiers.is_empty() && is_listed && self.has_prefix_of(key)
            }
            Subject::Alias(name) => self.identifiers.is_empty() && self.has_prefix_of(name),
            Subject::Node(identifier) => {
                let is_listed =
                    self.identifiers.is_empty() || self.identifiers.contains(identifier);
                !self.selects_values() && is_listed
            }
            Subject::Cluster => !self.selects_values() && self.identifiers.is_empty(),
        }
    }

    fn selects_name(&self, event: &str) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&event)
    }

    fn has_prefix_of(&self, key: &ValueKey) -> bool {
        let mut prefixes = self.prefixes.iter();
        self.prefixes.is_empty() || prefixes.any(|prefix| key.as_str().starts_with(prefix))
    }
}

fn all_of<T, E: ToString>(
    list: &'static str,
    names: Vec<String>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, InvalidFilter> {
    let parse = |name: String| {
        parse(&name).map_err(|error| InvalidFilter::Name {
            problem: error.to_string(),
            list,
            name,
        })
    };
    names.into_iter().map(parse).collect()
}

fn event_name(name: &str) -> Result<&'static str, String> {
    let found = EVENT_NAMES.iter().find(|known| **known == name);
    found.copied().ok_or_else(|| {
        let near = did_you_mean_suffix(name, EVENT_NAMES.iter().copied());
        format!("there is no such event{near}")
    })
}

/// The subject of an event.
enum Subject<'a> {
    Cluster,
    Node(&'a Identifier),
    Value(&'a Namespace, &'a ValueKey),
    Alias(&'a ValueKey),
}

impl<'a> Subject<'a> {
    fn of(kind: &'a EventKind) -> Self {
        match kind {
            EventKind::NodeRegistered { registration } => Self::Node(&registration.identifier),
            EventKind::JoinerChanged { identifier }
            | EventKind::NodeRemoved { identifier }
            | EventKind::OverrideSet { identifier }
            | EventKind::OverrideRemoved { identifier }
            | EventKind::Delivered { identifier, .. }
            | EventKind::PhaseReported { identifier, .. }
            | EventKind::RunClaimed { identifier, .. }
            | EventKind::RunDone { identifier, .. }
            | EventKind::RunFailed { identifier, .. }
            | EventKind::NameClaimed { identifier }
            | EventKind::NameReleased { identifier }
            | EventKind::NodeBanned { identifier }
            | EventKind::NodeUnbanned { identifier } => Self::Node(identifier),
            EventKind::ValueSet { namespace, key, .. }
            | EventKind::ValueDeleted { namespace, key } => Self::Value(namespace, key),
            EventKind::AliasSet { alias, .. } | EventKind::AliasDeleted { alias } => {
                Self::Alias(alias)
            }
            EventKind::ClusterFailed { .. }
            | EventKind::ClusterReset
            | EventKind::RunForgotten { .. }
            | EventKind::RolloutStopped { .. }
            | EventKind::RolloutResumed { .. }
            | EventKind::GenerationConfirmed { .. }
            | EventKind::RedrawRequested { .. }
            | EventKind::GenerationSealed { .. } => Self::Cluster,
        }
    }
}

/// Returns the name of an event in streams. Those of values are the names of an existing config service.
pub(crate) fn name_of(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::ValueSet { .. } => ValueEventType::Set.event(),
        EventKind::ValueDeleted { .. } => ValueEventType::Delete.event(),
        EventKind::AliasSet { .. } => ValueEventType::AliasSet.event(),
        EventKind::AliasDeleted { .. } => ValueEventType::AliasDelete.event(),
        kind => kind.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn deleted(namespace: &str, key: &str) -> EventKind {
        EventKind::ValueDeleted {
            namespace: namespace.parse().unwrap(),
            key: key.parse().unwrap(),
        }
    }

    fn alias(name: &str) -> EventKind {
        let alias = name.parse().unwrap();
        EventKind::AliasDeleted { alias }
    }

    fn removed(identifier: &str) -> EventKind {
        let identifier = identifier.parse().unwrap();
        EventKind::NodeRemoved { identifier }
    }

    fn filter(
        namespaces: &[&str],
        prefixes: &[&str],
        kinds: &[&str],
        nodes: &[&str],
    ) -> EventFilter {
        EventFilter::new(FilterNames {
            namespaces: names(namespaces),
            prefixes: names(prefixes),
            kinds: names(kinds),
            identifiers: names(nodes),
        })
        .unwrap()
    }

    #[test]
    fn filters_select_by_subject_and_name() {
        let all = [
            deleted("prod", "app/a"),
            deleted("test", "app/a"),
            deleted("prod", "db"),
            alias("app/old"),
            removed("n1"),
            removed("n2"),
            EventKind::ClusterReset,
        ];
        for (filter, selected) in [
            (filter(&[], &[], &[], &[]), &[0, 1, 2, 3, 4, 5, 6][..]),
            (filter(&["prod"], &[], &[], &[]), &[0, 2, 3]),
            (filter(&["prod", "test"], &["app/"], &[], &[]), &[0, 1, 3]),
            (filter(&["none"], &["db"], &[], &[]), &[]),
            (filter(&["prod"], &[], &["delete"], &[]), &[0, 2]),
            (
                filter(&[], &[], &["alias_delete", "node_removed"], &[]),
                &[3, 4, 5],
            ),
            (filter(&[], &[], &[], &["n2"]), &[5]),
            (filter(&[], &[], &["cluster_reset"], &["n2"]), &[]),
        ] {
            let found: Vec<usize> = (0..all.len())
                .filter(|at| filter.selects(&all[*at]))
                .collect();
            assert_eq!(found, selected, "{filter:?}");
        }
    }

    #[test]
    fn only_filters_for_the_cluster_select_its_state() {
        for (filter, is_selected) in [
            (filter(&[], &[], &[], &[]), true),
            (filter(&[], &[], &["readiness"], &[]), true),
            (filter(&[], &[], &["notice"], &[]), false),
            (filter(&["prod"], &[], &[], &[]), false),
            (filter(&[], &["a"], &["readiness"], &[]), false),
            (filter(&[], &[], &[], &["n1"]), false),
        ] {
            assert_eq!(
                filter.selects_of_cluster(READINESS_EVENT),
                is_selected,
                "{filter:?}"
            );
        }
    }

    #[test]
    fn wrong_filters_are_refused() {
        let many = |count: usize| (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>();
        let of = |names| EventFilter::new(names).map(drop);
        let base = FilterNames::default;
        assert_eq!(
            of(FilterNames {
                namespaces: many(100),
                ..base()
            }),
            Ok(())
        );
        assert_eq!(
            of(FilterNames {
                namespaces: many(101),
                ..base()
            }),
            Err(InvalidFilter::TooMany("namespaces"))
        );
        assert_eq!(
            of(FilterNames {
                prefixes: many(101),
                ..base()
            }),
            Err(InvalidFilter::TooMany("prefixes"))
        );
        assert_eq!(
            of(FilterNames {
                prefixes: vec!["x".repeat(256)],
                ..base()
            }),
            Ok(())
        );
        assert_eq!(
            of(FilterNames {
                prefixes: vec!["x".repeat(257)],
                ..base()
            }),
            Err(InvalidFilter::TooLong("prefixes"))
        );
        let wrong = of(FilterNames {
            kinds: names(&["node_registred"]),
            ..base()
        });
        assert_eq!(
            wrong.unwrap_err().to_string(),
            "\"node_registred\" in `kinds` is wrong: there is no such event; did you mean `node_registered`?"
        );
        for (namespace, node) in [("a b", "n1"), ("prod", "n 1"), ("", "n1"), ("prod", "n1")] {
            let names = FilterNames {
                namespaces: names(&[namespace]),
                identifiers: names(&[node]),
                ..base()
            };
            assert!(of(names).is_err(), "{namespace:?} {node:?}");
        }
    }
}
