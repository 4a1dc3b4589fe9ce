//! From a ready snapshot to everybody's files: all materializers in order, then operators' overrides.
//!
//! Pure but for what materializers do. `serve` and `plan` run the same code.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use serde_json::{Map, Value};

use cfgsync_materialize::{Audience, MaterializationResult, MaterializeError, Materializer};
use cfgsync_model::{
    ArtifactPath, ArtifactSet, Identifier, MaterializedArtifacts, RegistrationSnapshot,
};
use cfgsync_spec::{Late, MaterializerSpec, Members, Spec};
use cfgsync_template::{OnceSource, RenderContext};

/// A spec and the materializers that it asks for: what turns snapshots into files.
pub struct Program {
    /// The rule and everything else that was read.
    pub spec: Arc<Spec>,
    materializers: Vec<Arc<dyn Materializer>>,
    /// Those that have files for nodes known beforehand.
    listed: BTreeSet<Identifier>,
    /// Those of them who may fetch without registering.
    open: BTreeSet<Identifier>,
    /// All materializers know their nodes beforehand: registration is only the gate.
    gate_only: bool,
    /// The names of shared files that the spec declares.
    shared: HashSet<ArtifactPath>,
}

/// What a render came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendered {
    /// A materializer waits for something beyond the rule.
    NotReady(String),
    /// Everybody's files: each node that gets a payload has an entry, even if it is empty.
    Ready(MaterializedArtifacts),
}

impl Program {
    /// A spec with the materializers it asks for, in order, and those of the embedding program.
    pub fn new(spec: Arc<Spec>, materializers: Vec<Arc<dyn Materializer>>) -> Self {
        let (mut listed, mut open) = (BTreeSet::new(), BTreeSet::new());
        let mut gate_only = !materializers.is_empty();
        for materializer in &materializers {
            match materializer.audience() {
                Audience::Registered => gate_only = false,
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
            shared: shared_names(&spec),
            spec,
            materializers,
            listed,
            open,
            gate_only,
        }
    }

    /// Those who are known before they come: on the spec's list, or with files of their own.
    pub fn expected(&self) -> impl Iterator<Item = &Identifier> {
        let rule = self.spec.ready.as_ref();
        let list = match rule.and_then(|rule| rule.nodes.as_ref()) {
            Some(Members::Closed(list)) => Some(list),
            _ => None,
        };
        list.into_iter().flatten().chain(&self.listed)
    }

    /// Whether `identifier` is one of them.
    pub fn expects(&self, identifier: &Identifier) -> bool {
        let rule = self.spec.ready.as_ref();
        let list = rule.and_then(|rule| rule.nodes.as_ref());
        self.listed.contains(identifier)
            || matches!(list, Some(Members::Closed(list)) if list.contains(identifier))
    }

    /// Whether the spec declares a shared file by the name of `path`. Those that programs make are known once they
    /// are made.
    pub fn declares_shared(&self, path: &ArtifactPath) -> bool {
        self.shared.contains(path)
    }

    /// Whether the files do not depend on who registers: registration is only the gate.
    pub fn gate_only(&self) -> bool {
        self.gate_only
    }

    /// Whether a render of the same snapshot gives the same files, unless files on this machine have changed.
    pub fn repeats(&self) -> bool {
        self.materializers.iter().all(|one| one.repeats())
    }

    /// Whether `identifier` may fetch without being registered.
    pub fn is_open(&self, identifier: &str) -> bool {
        self.open.contains(identifier)
    }

    /// Whether nobody registers here who is not listed, and `identifier` is not.
    pub fn is_stranger(&self, identifier: &str) -> bool {
        self.gate_only && !self.open.is_empty() && !self.listed.contains(identifier)
    }

    /// Whether the materializers have no files for `identifier`, whatever happens, and it may not even register.
    pub fn excludes(&self, identifier: &Identifier) -> bool {
        self.is_stranger(identifier.as_str())
            || !super::readiness::is_listed(&self.spec, identifier)
    }

    /// Whether the sealed cluster neither takes `identifier` in, if it does not know it, nor lets it go
    /// (`late: refuse`). Where there is no rule registration is nothing but the gate, and who may fetch without
    /// registering may register as well.
    pub fn is_closed_to(&self, identifier: &str) -> bool {
        let only_a_gate = self.gate_only && (self.spec.ready.is_none() || self.is_open(identifier));
        self.spec.late == Late::Refuse && !only_a_gate
    }

    /// What `once:` lacks in `snapshot`, drawn in the order of the spec, beside what is there.
    pub fn draw_once(
        &self,
        snapshot: &RegistrationSnapshot,
        draw: &OnceSource,
    ) -> Result<Map<String, Value>, MaterializeError> {
        let mut snapshot = snapshot.clone();
        for (name, expression) in &self.spec.once {
            if snapshot.once.contains_key(name) {
                continue;
            }
            let value = expression
                .evaluate_once(&RenderContext::new(&snapshot), draw)
                .map_err(|error| {
                    let told = error.describe(expression.origin());
                    MaterializeError(format!("once.{name}: {told}"))
                })?;
            snapshot.once.insert(name.clone(), value);
        }
        Ok(snapshot.once)
    }

    /// Ends what runs, for good: the server stops.
    pub fn stop(&self) {
        for materializer in &self.materializers {
            materializer.stop();
        }
    }

    /// Runs the materializers in order and puts `overrides` in place.
    pub fn render(
        &self,
        snapshot: &RegistrationSnapshot,
        overrides: &BTreeMap<Identifier, Arc<ArtifactSet>>,
    ) -> Result<Rendered, MaterializeError> {
        let mut all = Merged::default();
        for materializer in &self.materializers {
            match materializer.materialize(snapshot)? {
                MaterializationResult::NotReady { message } => {
                    let waiting = format!("{}: {message}", materializer.name());
                    return Ok(Rendered::NotReady(waiting));
                }
                MaterializationResult::Ready(artifacts) => {
                    let name = materializer.name();
                    if materializer.audience() == Audience::Registered {
                        refuse_strangers(&name, snapshot, &artifacts)?;
                    }
                    all.add(&name, artifacts)?;
                }
            }
        }
        let mut nodes = BTreeMap::new();
        let registered = snapshot.nodes.iter().map(|node| &node.identifier);
        let audience: BTreeSet<&Identifier> = match self.gate_only {
            // An operator's files make a node one that has files.
            true => self.listed.iter().chain(overrides.keys()).collect(),
            false => registered.chain(&self.open).collect(),
        };
        for identifier in audience {
            let own = all.nodes.remove(identifier).unwrap_or_default();
            let own = match overrides.get(identifier) {
                Some(files) => in_place_of(&own, files),
                None => own,
            };
            nodes.insert(identifier.clone(), own);
        }
        refuse_shared_names(&nodes, &all.shared, overrides)?;
        Ok(Rendered::Ready(MaterializedArtifacts {
            nodes,
            shared: all.shared,
        }))
    }
}

fn shared_names(spec: &Spec) -> HashSet<ArtifactPath> {
    let mut names = HashSet::new();
    for materializer in &spec.materializers {
        match materializer {
            MaterializerSpec::Template(template) => {
                let files = template.files.iter().filter(|file| file.shared);
                names.extend(files.map(|file| file.path.clone()));
            }
            MaterializerSpec::Precomputed(precomputed) => {
                let files = precomputed.artifacts.shared.files().iter();
                names.extend(files.map(|file| file.path.clone()));
            }
            MaterializerSpec::Exec(_) => {}
        }
    }
    names
}

/// An operator's `files` in place of a node's `own`: by the name of a secret file they are secret as well.
fn in_place_of(own: &ArtifactSet, files: &ArtifactSet) -> ArtifactSet {
    let files =
        files.files().iter().map(
            |file| match own.get(&file.path).is_some_and(|own| own.secret) {
                true => file.clone().into_secret(),
                false => file.clone(),
            },
        );
    ArtifactSet::new(files.collect()).expect("names of a set differ")
}

/// The files of several materializers.
#[derive(Default)]
struct Merged {
    nodes: BTreeMap<Identifier, ArtifactSet>,
    shared: ArtifactSet,
}

impl Merged {
    fn add(
        &mut self,
        name: &str,
        artifacts: MaterializedArtifacts,
    ) -> Result<(), MaterializeError> {
        let taken = |path: &ArtifactPath, whose: &str| {
            MaterializeError(format!(
                "{name}: {path} for {whose} is already made by an earlier materializer; \
                 no path may occur twice for one node"
            ))
        };
        for (identifier, files) in artifacts.nodes {
            match self.nodes.entry(identifier) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(files);
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
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

fn refuse_strangers(
    name: &str,
    snapshot: &RegistrationSnapshot,
    artifacts: &MaterializedArtifacts,
) -> Result<(), MaterializeError> {
    let stranger = artifacts
        .nodes
        .keys()
        .find(|id| snapshot.node(id.as_str()).is_none());
    stranger.map_or(Ok(()), |stranger| {
        Err(MaterializeError(format!(
            "{name}: has files for {stranger}, which is not registered"
        )))
    })
}

fn refuse_shared_names(
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
            let told = match overrides.contains_key(identifier) {
                true => format!(
                    "{}: the override of {identifier} has a file by the name of a shared one; \
                     an operator ends it: DELETE /v1/nodes/{identifier}/override",
                    file.path
                ),
                false => format!(
                    "{}: {identifier} has a file of its own by the name of a shared one; \
                     no path may occur twice for one node",
                    file.path
                ),
            };
            return Err(MaterializeError(told));
        }
    }
    Ok(())
}
