//! The types of a valid spec, which the other crates use.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value};

use super::{materializer::Materializer, metadata::MetadataRules, scalars::AtOnce};
use cfgsync_model::{
    ArtifactPath, Digest, Identifier, MaterializedArtifacts, Mode, Ownership, Phase, SpecSources,
    ValueName, ValuePattern,
};
use cfgsync_template::{Expression, Iteration, Origin, Template};

/// A readiness rule and the materializers that make the files.
///
/// [`Spec::load`] and [`Spec::parse`] read it from YAML. [`Spec::rule`] builds it in a Rust program.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The name of the cluster.
    pub cluster: String,
    /// The rules for the nodes' metadata.
    pub metadata: MetadataRules,
    /// The readiness rule. It is absent only if all materializers are precomputed: then generation 1 is sealed at
    /// startup.
    pub ready: Option<ReadyRule>,
    /// The operators' values that must be set before the set of nodes counts as complete.
    pub requires: BTreeSet<ValueName>,
    /// The time after which a node that sends no requests is removed. Without it, such a node stays.
    pub lease: Option<Duration>,
    /// The order in which nodes get a new generation. Without it, all nodes get it at once.
    pub rollout: Option<RolloutRule>,
    /// The effect of a change after the first seal.
    pub late: Late,
    /// The way in which a node proves that it owns an identifier.
    pub identity: IdentityMode,
    /// The effect of a registration with the identifier of another machine that still waits.
    pub on_conflict: OnConflict,
    /// Whether a node that reports the phase `failed` fails the cluster.
    pub fail_fast: bool,
    /// The values that are evaluated once, at the first seal, in this order.
    pub once: Vec<(String, Expression)>,
    /// The constants for expressions and templates.
    pub values: Map<String, Value>,
    /// The materializers, in the order in which they run.
    pub materializers: Vec<MaterializerSpec>,
    /// The digest of the YAML and of every file that was read with it. Specs with equal digests render equal files.
    pub digest: Digest,
    /// The digests of its parts, so that a change of the digest can be explained.
    pub sources: SpecSources,
    /// The digest of each field of the YAML that is given, as far as this file has it: a file that a field names has a
    /// digest in [`Spec::sources`]. Empty for a spec that was built.
    pub fields: BTreeMap<String, Digest>,
    /// A warning for each part of a file that was ignored, such as a field that cfgsync does not know.
    pub warnings: Vec<String>,
}

/// The readiness rule. The set of nodes is complete if all given conditions hold.
#[derive(Debug, Clone, Default)]
pub struct ReadyRule {
    /// The number of nodes, or the closed list of nodes.
    pub nodes: Option<Members>,
    /// The numbers of nodes that match an expression.
    pub groups: Vec<Group>,
    /// A condition on the whole set.
    pub when: Option<Expression>,
    /// The reason that waiting nodes get while `when` is false. If it is absent, they get the text of `when`.
    pub message: Option<Template>,
    /// The time without a change of the inputs that must pass before the set counts as complete.
    pub settle: Duration,
    /// The time from an attempt's first registration to the first seal, after which the attempt fails.
    pub deadline: Option<Duration>,
}

/// The nodes that make the set complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members {
    /// At least this number of nodes.
    AtLeast(usize),
    /// All of these nodes. The server refuses any other.
    Closed(BTreeSet<Identifier>),
}

/// A condition of the rule: at least `count` nodes match an expression.
#[derive(Debug, Clone)]
pub struct Group {
    /// The expression on `node`.
    pub matching: Expression,
    /// The number of nodes that must match, at least 1.
    pub count: usize,
}

impl Group {
    /// Returns whether the group can be counted node by node, because its expression reads only the node and constants.
    pub fn is_counted_alone(&self) -> bool {
        let uses = |name| self.matching.uses_variable(name);
        !uses("nodes") && !uses("once") && !self.matching.reads_values()
    }
}

/// The order in which a new generation is handed to the nodes that have an older one. The first generation is handed to
/// all nodes at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRule {
    /// The number of nodes that get the generation at a time.
    pub at_once: AtOnce,
    /// The phase that these nodes must report before others follow.
    pub wait_for: Phase,
    /// The time in which a node must report the phase. Otherwise the roll-out stops.
    pub timeout: Duration,
}

/// The effect of a change after the first seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Late {
    /// It makes the next generation.
    #[default]
    Follow,
    /// The server refuses new identifiers and removals. Changed facts of a sealed node make the next generation.
    Refuse,
}

/// The way in which a node proves that it owns an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdentityMode {
    /// No proof is required.
    #[default]
    Open,
    /// The node has the key that was sent with the first registration of the identifier.
    FirstUse,
    /// The node has a client certificate for the identifier.
    Certificate,
    /// The node has a token for the identifier.
    Token,
}

/// The effect of a registration with other facts, from another machine, while the registered machine still waits. It
/// matters under [`IdentityMode::Open`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// The newer registration counts. The machine that waits is told so.
    #[default]
    Replace,
    /// The server refuses the newer registration.
    Refuse,
}

impl fmt::Display for IdentityMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::FirstUse => "first-use",
            Self::Certificate => "certificate",
            Self::Token => "token",
        })
    }
}

/// One materializer of a spec.
#[derive(Debug, Clone)]
pub enum MaterializerSpec {
    /// A materializer that renders files from templates.
    Template(TemplateSpec),
    /// A materializer whose files are known in advance.
    Precomputed(PrecomputedSpec),
    /// A materializer that runs a program.
    Exec(ExecSpec),
    /// A materializer of the embedding Rust program. YAML cannot name this kind.
    Embedded(EmbeddedMaterializer),
}

/// A materializer of the embedding program. Clones share it.
#[derive(Clone)]
pub struct EmbeddedMaterializer(pub Arc<dyn Materializer>);

impl fmt::Debug for EmbeddedMaterializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmbeddedMaterializer({:?})", self.0.name())
    }
}

/// A materializer of `kind: template`.
#[derive(Debug, Clone)]
pub struct TemplateSpec {
    /// The texts that are rendered once per generation.
    pub fragments: Vec<FragmentSpec>,
    /// The files, in the order of the spec.
    pub files: Vec<FileSpec>,
}

/// A text that is rendered once per generation and included by many files.
#[derive(Debug, Clone)]
pub struct FragmentSpec {
    /// The argument of `fragment(name)`.
    pub name: String,
    /// The template of the text.
    pub template: Template,
}

/// A file of a `template` materializer.
#[derive(Debug, Clone)]
pub struct FileSpec {
    /// The path of the artifact.
    pub path: FilePath,
    /// The list that gives one file for each of its items. If it is absent, there is one file.
    pub iteration: Option<Iteration>,
    /// The permission bits of the file on the node.
    pub mode: Mode,
    /// The owner and group of the file on the node.
    pub ownership: Option<Arc<Ownership>>,
    /// Whether the content is shown to the node only, and not in logs, errors and comparisons.
    pub secret: bool,
    /// Whether the file is rendered once and is the same for every node.
    pub shared: bool,
    /// The expression that selects the nodes that get the file, and with an iteration also the items. If it is absent,
    /// every node gets it.
    pub matching: Option<Expression>,
    /// The source of the content.
    pub content: FileContent,
}

/// The path of a [`FileSpec`]. `Display` gives the text in the spec.
#[derive(Debug, Clone)]
pub enum FilePath {
    /// The same path for all nodes and items.
    Fixed(ArtifactPath),
    /// The path is the output of a template.
    Template(Template),
}

impl FilePath {
    /// Returns the path if it is the same for all nodes and items.
    pub fn fixed(&self) -> Option<&ArtifactPath> {
        match self {
            Self::Fixed(path) => Some(path),
            Self::Template(_) => None,
        }
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed(path) => path.as_str(),
            Self::Template(template) => template.source(),
        })
    }
}

/// The source of the content of a [`FileSpec`].
#[derive(Debug, Clone)]
pub enum FileContent {
    /// The content is the output of a template.
    Template(Template),
    /// The content is that of a file that is read at each render.
    Source {
        /// The template of the path, relative to `directory`. It may use `node`.
        path: Template,
        /// The directory of the spec.
        directory: PathBuf,
    },
}

impl FileContent {
    /// Returns the position of the template in the spec, if it is known.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Template(template) | Self::Source { path: template, .. } => template.origin(),
        }
    }
}

/// A materializer of `kind: precomputed`.
#[derive(Debug, Clone)]
pub struct PrecomputedSpec {
    /// The path of the file that was read, for messages.
    pub file: PathBuf,
    /// The artifacts in the file.
    pub artifacts: Arc<MaterializedArtifacts>,
    /// Whether a node must register before it may fetch its files.
    pub requires_registration: bool,
}

/// A materializer of `kind: exec`.
#[derive(Debug, Clone)]
pub struct ExecSpec {
    /// The program and its arguments, as the spec has them.
    pub command: Vec<String>,
    /// The absolute path of the program.
    pub program: PathBuf,
    /// The spec's directory as an absolute path. It is the program's working directory.
    pub directory: PathBuf,
    /// All variables of the program's environment.
    pub env: Vec<(String, String)>,
    /// The time after which the program and its children are killed.
    pub timeout: Duration,
    /// Whether all files of the program are secret, so that nothing that it prints is shown.
    pub secret: bool,
    /// The operators' values that the program receives.
    pub reads: Vec<ValuePattern>,
}
