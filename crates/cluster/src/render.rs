//! Turns a ready snapshot into each node's files: runs all materializers in order, then applies operators' overrides.
//!
//! Apart from the materializers, this is pure. `serve` and `plan` run the same code.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, btree_map::Entry},
    sync::Arc,
};

use serde_json::{Map, Value};

use crate::{
    readiness::{closed_list, is_listed},
    recorded_values::RecordedValues,
};
use cfgsync_materialize::{
    Audience, MaterializationResult, MaterializeError, Materializer, ReadableValues,
};
use cfgsync_model::{
    ArtifactPath, ArtifactSet, Identifier, MaterializedArtifacts, PathIndex, RegistrationSnapshot,
    Revision, ValueReads,
};
use cfgsync_spec::{Late, MaterializerSpec, Spec};
use cfgsync_store::Values;
use cfgsync_template::{Expression, NodeValue, OnceSource, RenderContext, Template};

/// A spec and its materializers, which turn snapshots into files.
pub struct Pipeline {
    /// The readiness rule and everything else in the spec file.
    pub spec: Arc<Spec>,
    materializers: Vec<Arc<dyn Materializer>>,
    /// The nodes that a materializer lists in advance.
    listed: BTreeSet<Identifier>,
    /// The listed nodes that may fetch without registering.
    open: BTreeSet<Identifier>,
    /// Whether all materializers list their nodes in advance.
    is_static: bool,
    /// The paths of the shared files that the spec declares.
    shared: HashSet<ArtifactPath>,
}

/// The result of a render.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendered {
    /// A materializer waits for a condition outside the rule. The message names the materializer.
    NotReady(String),
    /// All files. Each node that gets a payload has an entry, which may be empty.
    Ready(MaterializedArtifacts),
}

impl Pipeline {
    /// Creates a pipeline of a spec and its materializers, which run in this order.
    pub fn new(spec: Arc<Spec>, materializers: Vec<Arc<dyn Materializer>>) -> Self {
        let (mut listed, mut open) = (BTreeSet::new(), BTreeSet::new());
        let mut is_static = !materializers.is_empty();
        for materializer in &materializers {
            match materializer.audience() {
                Audience::Registered => is_static = false,
                Audience::Listed {
                    identifiers,
                    requires_registration,
                } => {
                    if !requires_registration {
                        open.extend(identifiers.iter().cloned());
                    }
                    listed.extend(identifiers);
                }
            }
        }
        Self {
            shared: shared_paths(&spec),
            spec,
            materializers,
            listed,
            open,
            is_static,
        }
    }

    /// Returns the nodes that are known before they register: those on the closed list and those that a materializer
    /// lists.
    pub fn expected(&self) -> impl Iterator<Item = &Identifier> {
        let list = closed_list(&self.spec);
        list.into_iter().flatten().chain(&self.listed)
    }

    /// Returns whether `identifier` is one of [`Pipeline::expected`].
    pub fn expects(&self, identifier: &Identifier) -> bool {
        self.listed.contains(identifier)
            || closed_list(&self.spec).is_some_and(|list| list.contains(identifier))
    }

    /// Returns whether the spec declares a shared file with this path. The shared files of programs are known only after
    /// a render.
    pub fn declares_shared(&self, path: &ArtifactPath) -> bool {
        self.shared.contains(path)
    }

    /// Returns the paths of the shared files that the spec declares.
    pub(crate) fn declared_shared(&self) -> impl Iterator<Item = &ArtifactPath> {
        self.shared.iter()
    }

    /// Returns whether the files do not depend on the registrations, because all materializers list their nodes in
    /// advance.
    pub fn is_static(&self) -> bool {
        self.is_static
    }

    /// Returns whether another render of the same snapshot gives the same files, unless files on this machine have changed.
    pub fn is_repeatable(&self) -> bool {
        self.materializers.iter().all(|one| one.is_repeatable())
    }

    /// Returns whether `identifier` may fetch without being registered.
    pub fn is_open_to(&self, identifier: &str) -> bool {
        self.open.contains(identifier)
    }

    /// Returns whether only listed nodes may register and `identifier` is not listed. Only listed nodes may register if
    /// all files are static and some may be fetched without registering.
    pub fn is_unlisted(&self, identifier: &str) -> bool {
        self.is_static && !self.open.is_empty() && !self.listed.contains(identifier)
    }

    /// Returns whether there can never be files for `identifier`, so that it may not register.
    pub fn excludes(&self, identifier: &Identifier) -> bool {
        self.is_unlisted(identifier.as_str()) || !is_listed(&self.spec, identifier)
    }

    /// Returns whether the sealed cluster refuses to add or remove `identifier` (`late: refuse`). It does not refuse if
    /// registrations have no effect: without a rule, all files are static. Nodes that may fetch without registering may
    /// register at any time as well.
    pub fn is_closed_after_seal(&self, identifier: &str) -> bool {
        let changes_nothing =
            self.is_static && (self.spec.ready.is_none() || self.is_open_to(identifier));
        self.spec.late == Late::Refuse && !changes_nothing
    }

    /// Returns whether the rule or a render may read an operator's value.
    pub fn reads_values(&self) -> bool {
        let reads = |one: &Arc<dyn Materializer>| one.reads() != ReadableValues::default();
        let rule = self.spec.ready.as_ref();
        let in_rule = rule.is_some_and(|rule| {
            let mut groups = rule.groups.iter();
            groups.any(|group| group.matching.reads_values())
                || rule.when.as_ref().is_some_and(Expression::reads_values)
                || rule.message.as_ref().is_some_and(Template::reads_values)
        });
        in_rule || !self.spec.requires.is_empty() || self.materializers.iter().any(reads)
    }

    /// Returns the newest change of an operator's value that a render may read, as far as it is known before the render.
    pub(crate) fn values_revision(&self, values: &Values, newest: Revision) -> Revision {
        let revision_of = |materializer: &Arc<dyn Materializer>| match materializer.reads() {
            ReadableValues::Declared(patterns) => values.revision_of(&patterns),
            ReadableValues::Any => newest,
        };
        let revisions = self.materializers.iter().map(revision_of);
        revisions.max().unwrap_or_default()
    }

    /// Returns the snapshot's `once` values, and evaluates the missing ones in the order of the spec.
    pub fn draw_once(
        &self,
        snapshot: &RegistrationSnapshot,
        draw: &OnceSource,
    ) -> Result<Map<String, Value>, MaterializeError> {
        let mut once = snapshot.once.clone();
        // Converting the nodes costs the most, so convert them at most once.
        let mut nodes: Option<Vec<NodeValue>> = None;
        for (name, expression) in &self.spec.once {
            if once.contains_key(name) {
                continue;
            }
            let nodes = nodes.get_or_insert_with(|| NodeValue::all_of(snapshot));
            let context = RenderContext::with_nodes(
                &snapshot.cluster,
                &snapshot.values,
                &once,
                nodes.clone(),
            );
            let value = expression.evaluate_once(&context, draw).map_err(|error| {
                let described = error.describe(expression.origin());
                MaterializeError::new(format!("once.{name}: {described}"))
            })?;
            once.insert(name.clone(), value);
        }
        Ok(once)
    }

    /// Stops all running materializers. The server calls it when it stops.
    pub fn stop(&self) {
        for materializer in &self.materializers {
            materializer.stop();
        }
    }

    /// Runs the materializers in order, then replaces the own files of nodes that have an override.
    ///
    /// `values` reads all operators' values and records each read. A materializer reads them through
    /// [`RegistrationSnapshot::operator_values`], which is set here.
    pub fn render(
        &self,
        snapshot: &mut RegistrationSnapshot,
        values: &mut RecordedValues,
        overrides: &BTreeMap<Identifier, Arc<ArtifactSet>>,
    ) -> Result<Rendered, MaterializeError> {
        let mut all = MergedArtifacts::default();
        for materializer in &self.materializers {
            snapshot.operator_values = values.reader_for(&**materializer);
            let result = materializer.materialize(snapshot);
            let reads = snapshot.operator_values.reads();
            values.add(reads.clone());
            match result? {
                MaterializationResult::NotReady { message } => {
                    let waiting = format!("{}: {message}", materializer.name());
                    return Ok(Rendered::NotReady(waiting));
                }
                MaterializationResult::Ready(artifacts) => {
                    let name = materializer.name();
                    if materializer.audience() == Audience::Registered {
                        refuse_unregistered(&name, snapshot, &artifacts)?;
                    }
                    if let ReadableValues::Declared(_) = materializer.reads() {
                        refuse_readable_secrets(&name, &reads, &artifacts)?;
                    }
                    all.add(&name, artifacts)?;
                }
            }
        }
        let registered = snapshot.nodes.iter().map(|node| &node.identifier);
        let audience: BTreeSet<&Identifier> = if self.is_static {
            // An override gives files to a node that has none.
            self.listed.iter().chain(overrides.keys()).collect()
        } else {
            registered.chain(&self.open).collect()
        };
        // Both are sorted, so one pass joins them.
        let mut made = all.nodes.into_iter().peekable();
        let files_of = |identifier: &Identifier| {
            while made.next_if(|(other, _)| other < identifier).is_some() {}
            let own = made.next_if(|(other, _)| other == identifier);
            let own = own.map(|(_, files)| files).unwrap_or_default();
            let files = match overrides.get(identifier) {
                Some(files) => keep_attributes(&own, files),
                None => own,
            };
            (identifier.clone(), files)
        };
        let nodes: BTreeMap<_, _> = audience.into_iter().map(files_of).collect();
        refuse_shared_paths(&nodes, &all.shared, overrides)?;
        refuse_nested_paths(&nodes, &all.shared, overrides)?;
        Ok(Rendered::Ready(MaterializedArtifacts {
            nodes,
            shared: all.shared,
        }))
    }
}

fn shared_paths(spec: &Spec) -> HashSet<ArtifactPath> {
    let mut paths = HashSet::new();
    for materializer in &spec.materializers {
        match materializer {
            MaterializerSpec::Template(template) => {
                let files = template.files.iter().filter(|file| file.shared);
                paths.extend(files.filter_map(|file| file.path.fixed().cloned()));
            }
            MaterializerSpec::Precomputed(precomputed) => {
                let files = precomputed.artifacts.shared.files().iter();
                paths.extend(files.map(|file| file.path.clone()));
            }
            MaterializerSpec::Exec(_) | MaterializerSpec::Embedded(_) => {}
        }
    }
    paths
}

/// Returns an operator's `files`. A file that replaces a file of the node's `own` keeps its owner and group, and becomes
/// secret if that one is.
fn keep_attributes(own: &ArtifactSet, files: &ArtifactSet) -> ArtifactSet {
    let files = files.files().iter().map(|file| {
        let mut file = file.clone();
        if let Some(own) = own.get(&file.path) {
            file.ownership.clone_from(&own.ownership);
            if own.secret {
                file = file.into_secret();
            }
        }
        file
    });
    ArtifactSet::new(files.collect()).expect("the paths of a set are distinct")
}

/// The merged files of several materializers.
#[derive(Default)]
struct MergedArtifacts {
    nodes: BTreeMap<Identifier, ArtifactSet>,
    shared: ArtifactSet,
}

impl MergedArtifacts {
    fn add(
        &mut self,
        name: &str,
        artifacts: MaterializedArtifacts,
    ) -> Result<(), MaterializeError> {
        let taken = |path: &ArtifactPath, whose: &str| {
            MaterializeError::new(format!(
                "{name}: an earlier materializer already makes {path} for {whose}; \
                 each path may occur only once per node"
            ))
        };
        if self.nodes.is_empty() && self.shared.is_empty() {
            *self = Self {
                nodes: artifacts.nodes,
                shared: artifacts.shared,
            };
            return Ok(());
        }
        for (identifier, files) in artifacts.nodes {
            match self.nodes.entry(identifier) {
                Entry::Vacant(entry) => {
                    entry.insert(files);
                }
                Entry::Occupied(mut entry) => {
                    for file in files.files() {
                        let whose = entry.key().to_string();
                        entry
                            .get_mut()
                            .push(file.clone())
                            .map_err(|e| taken(&e.0, &whose))?;
                    }
                }
            }
        }
        for file in artifacts.shared.files() {
            self.shared
                .push(file.clone())
                .map_err(|e| taken(&e.0, "all nodes"))?;
        }
        Ok(())
    }
}

/// Fails if a materializer has read a secret value and made a file that is not secret.
fn refuse_readable_secrets(
    name: &str,
    reads: &ValueReads,
    artifacts: &MaterializedArtifacts,
) -> Result<(), MaterializeError> {
    let Some(secret) = reads.secret() else {
        return Ok(());
    };
    let files = artifacts.nodes.values().flat_map(ArtifactSet::files);
    let mut files = files.chain(artifacts.shared.files());
    match files.find(|file| !file.secret) {
        None => Ok(()),
        Some(file) => Err(MaterializeError::new(format!(
            "{name}: {secret} is a secret value, and {} is not a secret file; make all files of this materializer secret, \
             or do not read the value",
            file.path
        ))),
    }
}

fn refuse_unregistered(
    name: &str,
    snapshot: &RegistrationSnapshot,
    artifacts: &MaterializedArtifacts,
) -> Result<(), MaterializeError> {
    // Both are sorted, so one pass over the snapshot finds all unregistered nodes.
    let mut registered = snapshot.nodes.iter();
    let unregistered = artifacts
        .nodes
        .keys()
        .find(|id| !registered.by_ref().any(|node| node.identifier == **id));
    match unregistered {
        None => Ok(()),
        Some(identifier) => Err(MaterializeError::new(format!(
            "{name}: the materializer made files for {identifier}, which is not registered"
        ))),
    }
}

fn refuse_shared_paths(
    nodes: &BTreeMap<Identifier, ArtifactSet>,
    shared: &ArtifactSet,
    overrides: &BTreeMap<Identifier, Arc<ArtifactSet>>,
) -> Result<(), MaterializeError> {
    let shared: HashSet<&ArtifactPath> = shared.files().iter().map(|file| &file.path).collect();
    if shared.is_empty() {
        return Ok(());
    }
    for (identifier, files) in nodes {
        if let Some(file) = files
            .files()
            .iter()
            .find(|file| shared.contains(&file.path))
        {
            let message = if overrides.contains_key(identifier) {
                format!(
                    "{}: the override of {identifier} contains this path, which is a shared file; remove the \
                     override with `cfgsync rm {identifier} --override`",
                    file.path
                )
            } else {
                format!(
                    "{}: this path is both a shared file and a file of {identifier}; each path may occur only \
                     once per node",
                    file.path
                )
            };
            return Err(MaterializeError::new(message));
        }
    }
    Ok(())
}

fn refuse_nested_paths(
    nodes: &BTreeMap<Identifier, ArtifactSet>,
    shared: &ArtifactSet,
    overrides: &BTreeMap<Identifier, Arc<ArtifactSet>>,
) -> Result<(), MaterializeError> {
    let mut of_all = PathIndex::default();
    of_all
        .add_all(shared.files())
        .map_err(|nested| MaterializeError::new(format!("shared files: {nested}")))?;
    for (identifier, files) in nodes {
        let mut own = PathIndex::default();
        for file in files.files() {
            let Err(nested) = of_all.check(&file.path).and_then(|()| own.add(&file.path)) else {
                continue;
            };
            let message = if overrides.contains_key(identifier) {
                format!(
                    "the override of {identifier}: {nested}, or remove the override with `cfgsync rm {identifier} \
                     --override`"
                )
            } else {
                format!("the files of {identifier}: {nested}")
            };
            return Err(MaterializeError::new(message));
        }
    }
    Ok(())
}
