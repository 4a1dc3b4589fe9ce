//! The changes from the newest generation to the one that is about to be sealed. They are stored with the seal, so that
//! they can be shown after a restart. This is pure.

use std::collections::{BTreeMap, BTreeSet};

use imbl::OrdMap;

use cfgsync_model::{
    ArtifactPath, ArtifactSet, Generation, GenerationChanges, Identifier, InputChange, NodeFiles,
    NodeRegistration, Revision, ValueReads,
};
use cfgsync_spec::{FileContent, MaterializerSpec, Spec};
use cfgsync_store::{EventKind, RegisteredNode, State};

/// The fields of a node's metadata that are listed. Further ones are counted.
const FIELDS_MAX: usize = 16;

/// The part of a field's name that is listed, in characters.
const FIELD_MAX_CHARS: usize = 64;

/// The generation before, and what the new one was made of.
pub(crate) struct ComparedGenerations<'a> {
    /// The generation before.
    pub(crate) before: &'a Generation,
    /// The registrations at the time of its seal. Those that are newer than its snapshot are ignored.
    pub(crate) registrations_before: &'a OrdMap<Identifier, RegisteredNode>,
    /// The nodes of the new generation, and their own files.
    pub(crate) nodes: &'a BTreeMap<Identifier, NodeFiles>,
    /// The files that all nodes of the new generation have.
    pub(crate) shared: &'a ArtifactSet,
    /// The state that it was rendered from.
    pub(crate) state: &'a State,
    /// The spec that it was rendered with.
    pub(crate) spec: &'a Spec,
    /// The values that the render has read.
    pub(crate) reads: &'a ValueReads,
    /// Whether the files do not depend on registrations.
    pub(crate) is_static: bool,
}

impl ComparedGenerations<'_> {
    /// Returns the changes.
    pub(crate) fn changes(&self) -> GenerationChanges {
        let mut is_partial = false;
        let mut changes = self.spec_changes(&mut is_partial);
        changes.extend(self.source_changes());
        changes.extend(self.node_changes());
        changes.extend(self.override_changes());
        match self.event_changes() {
            Some(found) => changes.extend(found),
            None => is_partial = true,
        }
        let redrawn = self.state.redraws.keys().cloned();
        changes.extend(redrawn.map(|key| InputChange::Redrawn { key }));
        GenerationChanges::new(changes, is_partial)
    }

    /// Returns the newest input that gave the files of the generation before.
    fn since(&self) -> Revision {
        let newest = self.state.generation();
        if newest.is_some_and(|newest| newest.number == self.before.number) {
            return self.state.included_inputs();
        }
        self.before.revision
    }

    fn spec_changes(&self, is_partial: &mut bool) -> Vec<InputChange> {
        if self.before.spec == self.spec.digest {
            return Vec::new();
        }
        let Some(sources) = &self.before.provenance.sources else {
            return vec![InputChange::SpecChanged];
        };
        let changes = self.spec.sources.changes_since(sources);
        // Only so many files have a digest of their own.
        *is_partial |= changes.is_empty();
        changes
    }

    /// Returns the changed files that are copied at each render. They are no part of the spec, so the copies are compared.
    fn source_changes(&self) -> impl Iterator<Item = InputChange> {
        let materializers = self.spec.materializers.iter();
        let files = materializers.flat_map(|materializer| match materializer {
            MaterializerSpec::Template(template) => template.files.as_slice(),
            _ => &[],
        });
        files.filter_map(|file| match (&file.content, file.path.fixed()) {
            (FileContent::Source { path, .. }, Some(copy)) if self.is_other_copy(copy) => {
                Some(InputChange::FileChanged {
                    file: path.source().to_owned(),
                })
            }
            _ => None,
        })
    }

    /// Returns whether a node has another content at `path` than in the generation before.
    fn is_other_copy(&self, path: &ArtifactPath) -> bool {
        let is_other =
            |before: &ArtifactSet, now: &ArtifactSet| match (before.get(path), now.get(path)) {
                (Some(before), Some(now)) => before.content != now.content,
                _ => false,
            };
        let mut nodes = self.nodes.iter();
        is_other(&self.before.shared, self.shared)
            || nodes.any(|(identifier, now)| {
                let before = self.before.nodes.get(identifier);
                let is_own = !self.state.overrides.contains_key(identifier);
                is_own && before.is_some_and(|before| is_other(&before.local, &now.local))
            })
    }

    fn node_changes(&self) -> Vec<InputChange> {
        let mut changes = Vec::new();
        for identifier in self.nodes.keys() {
            if !self.before.nodes.contains_key(identifier) {
                let identifier = identifier.clone();
                changes.push(InputChange::NodeJoined { identifier });
            } else if !self.is_static {
                changes.extend(self.changed_facts(identifier));
            }
        }
        let left = self.before.nodes.keys();
        let left = left.filter(|identifier| !self.nodes.contains_key(*identifier));
        changes.extend(
            left.cloned()
                .map(|identifier| InputChange::NodeLeft { identifier }),
        );
        changes
    }

    /// Returns the change of a node that is in both generations.
    fn changed_facts(&self, identifier: &Identifier) -> Option<InputChange> {
        let since = self.since();
        let now = self.state.registrations.get(identifier)?;
        if now.revision <= since {
            return None;
        }
        let before = self.registrations_before.get(identifier);
        let before = before.filter(|before| before.revision <= since);
        let mut fields = match before {
            None => Vec::new(),
            Some(before) => {
                let fields = differing_fields(&before.registration, &now.registration);
                if fields.is_empty() {
                    // It has left and registered again with the same facts.
                    return None;
                }
                fields
            }
        };
        let more = fields.len().saturating_sub(FIELDS_MAX);
        fields.truncate(FIELDS_MAX);
        Some(InputChange::NodeChanged {
            identifier: identifier.clone(),
            fields,
            more,
        })
    }

    fn override_changes(&self) -> impl Iterator<Item = InputChange> {
        let since = self.since();
        let set = self.state.overrides.iter();
        let set = set.filter(move |(_, known)| known.revision > since);
        set.map(|(identifier, _)| InputChange::OverrideSet {
            identifier: identifier.clone(),
        })
    }

    /// Returns the changes of values and aliases that the render has read, and the overrides that ended. Of several
    /// changes of one value, only the last one is returned. `None` if the history of events has lost some of them.
    fn event_changes(&self) -> Option<Vec<InputChange>> {
        let mut changes: Vec<(String, InputChange)> = Vec::new();
        for commit in self.state.events_after(self.since())? {
            for event in &*commit {
                let Some((subject, change)) = self.event_change(&event.kind) else {
                    continue;
                };
                changes.retain(|(other, _)| *other != subject);
                changes.push((subject, change));
            }
        }
        Some(changes.into_iter().map(|(_, change)| change).collect())
    }

    /// Returns the subject of an event, and the change that it stands for if it matters.
    fn event_change(&self, event: &EventKind) -> Option<(String, InputChange)> {
        let (subject, change) = match event {
            EventKind::OverrideRemoved { identifier }
                if !self.state.overrides.contains_key(identifier) =>
            {
                let change = InputChange::OverrideRemoved {
                    identifier: identifier.clone(),
                };
                (format!("override {identifier}"), change)
            }
            EventKind::ValueSet {
                namespace,
                key,
                content,
            } if self.has_read(namespace.as_str(), key.as_str()) => {
                let change = InputChange::ValueSet {
                    namespace: namespace.clone(),
                    key: key.clone(),
                    version: content.version,
                    is_secret: content.is_secret(),
                };
                (format!("value {namespace}/{key}"), change)
            }
            EventKind::ValueDeleted { namespace, key }
                if self.has_read(namespace.as_str(), key.as_str()) =>
            {
                let change = InputChange::ValueDeleted {
                    namespace: namespace.clone(),
                    key: key.clone(),
                };
                (format!("value {namespace}/{key}"), change)
            }
            EventKind::AliasSet { alias, target, .. } if self.has_read_alias(alias.as_str()) => {
                let change = InputChange::AliasSet {
                    alias: alias.clone(),
                    target: target.clone(),
                };
                (format!("alias {alias}"), change)
            }
            EventKind::AliasDeleted { alias } if self.has_read_alias(alias.as_str()) => {
                let change = InputChange::AliasDeleted {
                    alias: alias.clone(),
                };
                (format!("alias {alias}"), change)
            }
            _ => return None,
        };
        Some((subject, change))
    }

    fn has_read(&self, namespace: &str, key: &str) -> bool {
        let aliases = self.state.values.aliases();
        let is_it = |read: &str| {
            let target = aliases.get(read).map(|alias| alias.target.as_str());
            target.unwrap_or(read) == key
        };
        let mut names = self.reads.names();
        names.any(|name| name.namespace.as_str() == namespace && is_it(name.key.as_str()))
            || self.reads.has_prefix_of(namespace, key)
    }

    fn has_read_alias(&self, alias: &str) -> bool {
        self.reads.names().any(|name| name.key.as_str() == alias)
    }
}

/// Returns the names of the facts that differ: `ip`, and the fields of the metadata.
fn differing_fields(before: &NodeRegistration, now: &NodeRegistration) -> Vec<String> {
    let mut fields = Vec::new();
    if before.ip != now.ip {
        fields.push("ip".to_owned());
    }
    match (before.metadata.as_object(), now.metadata.as_object()) {
        (Some(before), Some(now)) => {
            let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
            let differs = |name: &&String| before.get(*name) != now.get(*name);
            let names = names.into_iter().filter(differs);
            let shown = |name: &String| name.chars().take(FIELD_MAX_CHARS).collect::<String>();
            fields.extend(names.map(|name| format!("metadata.{}", shown(name))));
        }
        _ if before.metadata != now.metadata => fields.push("metadata".to_owned()),
        _ => {}
    }
    fields
}
