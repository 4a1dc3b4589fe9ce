//! A valid spec, as the rest of cfgsync sees it.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use serde_json::{Map, Value};

use super::MetadataRules;
use cfgsync_model::{ArtifactPath, Digest, Identifier, Mode};
use cfgsync_template::{Expression, Origin, Template};

/// The YAML file: readiness rule and materializers.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The cluster's name.
    pub cluster: String,
    /// What a node must bring.
    pub metadata: MetadataRules,
    /// When the set is complete. Absent only where all materializers are precomputed: then the files are
    /// known from the start and generation 1 is sealed at once.
    pub ready: Option<ReadyRule>,
    /// What happens after the first seal.
    pub late: Late,
    /// How a node shows that an identifier is its own.
    pub identity: IdentityMode,
    /// What is drawn at the first seal, in the order of the file.
    pub once: Vec<(String, Expression)>,
    /// Constants for expressions and templates.
    pub values: Map<String, Value>,
    /// What makes the files, in order.
    pub materializers: Vec<MaterializerSpec>,
    /// Over the YAML and every file read with it: specs with equal digests render alike.
    pub digest: Digest,
}

/// All clauses that are given must hold.
#[derive(Debug, Clone)]
pub struct ReadyRule {
    /// How many, or who.
    pub nodes: Option<Members>,
    /// Quorums among those that match.
    pub groups: Vec<Group>,
    /// A condition on the whole set.
    pub when: Option<Expression>,
    /// No input may have changed for this long.
    pub settle: Duration,
    /// The attempt fails when it takes longer than this, from its first registration to the first seal.
    pub deadline: Option<Duration>,
}

/// How many nodes make the set complete, or exactly which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members {
    /// At least so many.
    AtLeast(usize),
    /// These and no others.
    Closed(BTreeSet<Identifier>),
}

/// At least `count` nodes that match.
#[derive(Debug, Clone)]
pub struct Group {
    /// Which nodes count.
    pub matching: Expression,
    /// How many of them are needed.
    pub count: usize,
}

/// What a change after the first seal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Late {
    /// It makes the next generation.
    #[default]
    Follow,
    /// New identifiers and removals are refused.
    Refuse,
}

/// How a node shows that an identifier is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdentityMode {
    /// It says so.
    #[default]
    Open,
    /// It has the key that came with the identifier's first registration.
    FirstUse,
    /// Its client certificate has that name.
    Certificate,
    /// Its token is for nodes of that name.
    Token,
}

impl std::fmt::Display for IdentityMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::FirstUse => "first-use",
            Self::Certificate => "certificate",
            Self::Token => "token",
        })
    }
}

/// One materializer.
#[derive(Debug, Clone)]
pub enum MaterializerSpec {
    /// Files from templates.
    Template(TemplateSpec),
    /// Files known beforehand.
    Precomputed(PrecomputedSpec),
    /// Files that a program makes.
    Exec(ExecSpec),
}

/// `kind: template`.
#[derive(Debug, Clone)]
pub struct TemplateSpec {
    /// Texts rendered once per generation.
    pub fragments: Vec<FragmentSpec>,
    /// The files.
    pub files: Vec<FileSpec>,
}

/// A text rendered once per generation and included by many files.
#[derive(Debug, Clone)]
pub struct FragmentSpec {
    /// What `fragment(name)` calls it.
    pub name: String,
    /// Its text.
    pub template: Template,
}

/// A file of a `template` materializer.
#[derive(Debug, Clone)]
pub struct FileSpec {
    /// Its name.
    pub path: ArtifactPath,
    /// Its mode on the node.
    pub mode: Mode,
    /// Whether its contents are shown to nobody but the node.
    pub secret: bool,
    /// Rendered once, the same for every node.
    pub shared: bool,
    /// Only for the nodes that match.
    pub matching: Option<Expression>,
    /// Where its bytes come from.
    pub content: FileContent,
}

/// Where the bytes of a [`FileSpec`] come from.
#[derive(Debug, Clone)]
pub enum FileContent {
    /// A template.
    Template(Template),
    /// A file beside the spec, read at the render: its path as a template, relative to `directory`.
    Source {
        /// The path, which may use `node`.
        path: Template,
        /// The spec's directory.
        directory: PathBuf,
    },
}

impl FileContent {
    /// Returns the position of the template in the spec, where it is known.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Template(template) | Self::Source { path: template, .. } => template.origin(),
        }
    }
}

/// `kind: precomputed`.
#[derive(Debug, Clone)]
pub struct PrecomputedSpec {
    /// The file that was read, for messages.
    pub file: PathBuf,
    /// The artifacts in it.
    pub artifacts: std::sync::Arc<cfgsync_model::MaterializedArtifacts>,
    /// Whether a node must register before it may fetch.
    pub requires_registration: bool,
}

/// `kind: exec`.
#[derive(Debug, Clone)]
pub struct ExecSpec {
    /// Program and arguments, as the spec writes them.
    pub command: Vec<String>,
    /// Where the program was found, absolute.
    pub program: PathBuf,
    /// The spec's directory, absolute: the program's working directory.
    pub directory: PathBuf,
    /// The whole environment of the program.
    pub env: Vec<(String, String)>,
    /// The program and its children are killed after this long.
    pub timeout: Duration,
    /// Whether all its files are secret, and nothing that it prints is shown.
    pub secret: bool,
}
