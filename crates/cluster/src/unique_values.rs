//! Counts the values of metadata fields that must differ from node to node (`unique: true`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cfgsync_model::{Identifier, Metadata, Unmet};
use cfgsync_spec::MetadataRules;

/// The number of nodes that are named for each value. The others are counted.
const NAMES_MAX: usize = 5;

/// The members by the values of their unique fields.
#[derive(Debug)]
pub(crate) struct UniqueValues {
    fields: Vec<UniqueField>,
}

#[derive(Debug)]
struct UniqueField {
    name: String,
    /// Whether messages must not show the value.
    is_secret: bool,
    /// The members by the JSON of their value.
    holders: HashMap<String, BTreeSet<Identifier>>,
    /// The first members of those that have the same value, with that value. The order is that of the identifiers, so
    /// that equal sets give equal clauses.
    repeated: BTreeMap<Identifier, String>,
}

impl UniqueValues {
    /// Returns the counts of no members.
    pub(crate) fn new(rules: &MetadataRules) -> Self {
        let secret: BTreeSet<&str> = rules.secret_fields().collect();
        let fields = rules.unique_fields().map(|name| UniqueField {
            name: name.to_owned(),
            is_secret: secret.contains(name),
            holders: HashMap::new(),
            repeated: BTreeMap::new(),
        });
        Self {
            fields: fields.collect(),
        }
    }

    /// Counts the values of a member.
    pub(crate) fn insert(&mut self, identifier: &Identifier, metadata: &Metadata) {
        self.change(metadata, |holders| {
            holders.insert(identifier.clone());
        });
    }

    /// Takes the values of a member out of the counts.
    pub(crate) fn remove(&mut self, identifier: &Identifier, metadata: &Metadata) {
        self.change(metadata, |holders| {
            holders.remove(identifier);
        });
    }

    fn change(&mut self, metadata: &Metadata, change: impl Fn(&mut BTreeSet<Identifier>)) {
        for field in &mut self.fields {
            let Some(value) = metadata.get(&field.name) else {
                continue;
            };
            let value = value.to_string();
            let holders = field.holders.entry(value.clone()).or_default();
            if holders.len() > 1
                && let Some(first) = holders.first()
            {
                field.repeated.remove(first);
            }
            change(holders);
            match holders.first() {
                Some(first) if holders.len() > 1 => {
                    field.repeated.insert(first.clone(), value);
                }
                Some(_) => {}
                None => {
                    field.holders.remove(&value);
                }
            }
        }
    }

    /// Returns each value that several members have.
    pub(crate) fn repeated(&self) -> impl Iterator<Item = Unmet> {
        self.fields.iter().flat_map(|field| {
            let values = field.repeated.values();
            values.map(|value| repeated(field, value))
        })
    }
}

fn repeated(field: &UniqueField, value: &str) -> Unmet {
    let holders = &field.holders[value];
    Unmet::Repeated {
        field: field.name.clone(),
        nodes: holders.iter().take(NAMES_MAX).cloned().collect(),
        more: holders.len().saturating_sub(NAMES_MAX),
        value: (!field.is_secret).then(|| value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cfgsync_spec::Spec;
    use serde_json::json;

    use super::*;

    const SPEC: &str = "cfgsync: 1\ncluster: c\nready: { nodes: 1 }\nmetadata:\n  port: { format: port, unique: true }\n  \
                        key: { type: string, unique: true, secret: true }\nmaterializers:\n  - kind: template\n    \
                        files: [{ path: a, template: x }]\n";

    fn values() -> UniqueValues {
        UniqueValues::new(&Spec::parse(SPEC, "c.yaml", Path::new("")).unwrap().metadata)
    }

    fn texts(values: &UniqueValues) -> Vec<String> {
        values.repeated().map(|unmet| unmet.to_string()).collect()
    }

    fn id(name: &str) -> Identifier {
        name.parse().unwrap()
    }

    #[test]
    fn clauses_name_the_nodes_with_the_same_value() {
        let mut values = values();
        for (name, port, key) in [("n-2", 1, "a"), ("n-1", 2, "b"), ("n-3", 1, "b")] {
            values.insert(&id(name), &json!({ "port": port, "key": key }));
        }
        let clauses = texts(&values);
        assert_eq!(
            clauses,
            [
                "metadata.key: n-1 and n-3 have the same value",
                "metadata.port: n-2 and n-3 have the same value (1)",
            ]
        );
        values.remove(&id("n-3"), &json!({ "port": 1, "key": "b" }));
        assert_eq!(values.repeated().count(), 0);
    }

    #[test]
    fn clauses_count_the_nodes_that_they_do_not_name() {
        let mut values = values();
        for at in 0..8 {
            values.insert(&id(&format!("n-{at}")), &json!({ "port": 7 }));
        }
        let clauses = texts(&values);
        let expected = "metadata.port: n-0, n-1, n-2, n-3, n-4 and 3 more have the same value (7)";
        assert_eq!(clauses, [expected]);
        // The first of them leaves.
        values.remove(&id("n-0"), &json!({ "port": 7 }));
        assert!(texts(&values)[0].contains("n-1, n-2, n-3, n-4, n-5 and 2 more"));
    }
}
