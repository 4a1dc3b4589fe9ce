//! The format as it is written: the typed shape of each section. The JSON Schema comes from these types.
//!
//! What stands in a section is read section by section (see `typed`), so that mistakes in several sections
//! are told at once; that is why some fields hold a plain [`Value`] here and only name their shape.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use super::scalars::{Count, DurationText, Mapped, ModeText, NodesClause};

/// A cfgsync spec: when a cluster's set of nodes is complete, and which files each node then gets.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Spec", title = "cfgsync spec")]
pub(super) struct RawSpec {
    /// The version of this format.
    #[schemars(extend("const" = 1))]
    #[expect(dead_code, reason = "looked at before the rest is read")]
    pub(super) cfgsync: u64,
    /// The cluster's name: 1 to 253 of `[A-Za-z0-9._-]`, starting with a letter or digit. It is shown in
    /// logs, payloads and metrics, and `join --cluster` insists on it.
    #[schemars(extend("pattern" = "^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$"))]
    pub(super) cluster: String,
    /// What a node must bring: a rule for each field of its metadata. Checked at registration; fields that
    /// are not named here are passed on as they are.
    #[schemars(with = "Option<BTreeMap<String, RawField>>")]
    pub(super) metadata: Option<Mapping>,
    /// When the set of nodes is complete. Absent only where all materializers are precomputed.
    #[schemars(with = "Option<RawReady>")]
    pub(super) ready: Option<Value>,
    /// What happens after the first seal: `follow` makes another generation of every change, `refuse`
    /// refuses new nodes and removals.
    pub(super) late: Option<RawLate>,
    /// How a node shows that an identifier is its own: `open` believes it; `first-use` wants the key that came
    /// with the identifier's first registration; `certificate` a client certificate of that name; `token` a
    /// token for nodes of that name. `open` if absent.
    pub(super) identity: Option<RawIdentity>,
    /// Expressions drawn at the first seal, stored, and the same ever after. They see `nodes`, `values`,
    /// `cluster`, what was drawn before them, and the functions `random_*` and `now`.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) once: Option<Mapping>,
    /// Constants for expressions and templates.
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub(super) values: Option<Mapping>,
    /// What makes the files, in order. No path may occur twice for one node.
    #[schemars(with = "Vec<RawMaterializer>", length(min = 1))]
    pub(super) materializers: Vec<Value>,
}

/// A rule for one field of the nodes' metadata. The field is required unless it has a default.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MetadataField")]
pub(super) struct RawField {
    /// What kind of value it is.
    pub(super) r#type: Option<FieldType>,
    /// The least number allowed; needs `type: integer` or `type: number`.
    #[schemars(with = "Option<serde_json::Number>")]
    pub(super) min: Option<Value>,
    /// The greatest number allowed; needs `type: integer` or `type: number`.
    #[schemars(with = "Option<serde_json::Number>")]
    pub(super) max: Option<Value>,
    /// The values allowed.
    #[schemars(with = "Option<Vec<serde_json::Value>>", length(min = 1))]
    pub(super) one_of: Option<Vec<Value>>,
    /// The value for a node that brings none.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(super) default: Option<Value>,
}

/// The kinds of values that metadata can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FieldType {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A mapping.
    Object,
    /// A list.
    Array,
}

/// When the set of nodes is complete: all clauses given must hold.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Ready")]
pub(super) struct RawReady {
    /// At least so many nodes; or a closed list of identifiers, which refuses all others.
    pub(super) nodes: Option<NodesClause>,
    /// Quorums among the nodes that match.
    pub(super) groups: Option<Vec<Mapped<RawGroup>>>,
    /// An expression on `nodes` that must be true.
    pub(super) when: Option<String>,
    /// And no change for this long, such as `2s`.
    pub(super) settle: Option<DurationText>,
    /// Not ready this long after the first registration: every waiter is told why. Such as `5m`.
    pub(super) deadline: Option<DurationText>,
}

/// At least `count` nodes for which `where` is true.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Group")]
pub(super) struct RawGroup {
    /// An expression on `node`, such as `node.metadata.role == "validator"`.
    pub(super) r#where: String,
    /// How many must match.
    pub(super) count: Count,
}

/// What happens after the first seal.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Late")]
pub(super) enum RawLate {
    /// Every change makes another generation.
    Follow,
    /// New nodes and removals are refused.
    Refuse,
}

/// How a node shows that an identifier is its own.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Identity")]
pub(super) enum RawIdentity {
    /// It says so.
    Open,
    /// It has the key that came with the identifier's first registration.
    FirstUse,
    /// Its client certificate has that name.
    Certificate,
    /// Its token is for nodes of that name.
    Token,
}

// Only the schema is made of this: `kind` is read by hand.
/// One materializer, by its kind.
#[derive(JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[schemars(rename = "Materializer")]
#[expect(
    dead_code,
    reason = "the shape of a list whose entries are read one by one"
)]
pub(super) enum RawMaterializer {
    /// Files from templates.
    Template(RawTemplate),
    /// Files that are known beforehand.
    Precomputed(RawPrecomputed),
    /// Files that a program makes: JSON in, JSON out.
    Exec(RawExec),
}

/// Files from templates.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Template")]
pub(super) struct RawTemplate {
    /// Texts rendered once per generation, which files include with `fragment("name")`. `node` is not
    /// defined in them.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) fragments: Option<Mapping>,
    /// The files.
    #[schemars(with = "Vec<RawFile>", length(min = 1))]
    pub(super) files: Vec<Value>,
}

/// One file. Exactly one of `template`, `template_file` and `source` says what stands in it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    rename = "File",
    extend("oneOf" = [
        { "required": ["template"] },
        { "required": ["template_file"] },
        { "required": ["source"] },
    ])
)]
pub(super) struct RawFile {
    /// The artifact's name, such as `/config.yaml`. The node's own routes say where it is written.
    pub(super) path: String,
    /// Permission bits in quotes; `"0644"` if absent, `"0600"` for a secret file.
    pub(super) mode: Option<ModeText>,
    /// Its contents are shown to nobody but the node: not in logs, errors and comparisons, and in `inspect` only
    /// with `--reveal`. Its mode must keep out everybody but the owner.
    pub(super) secret: Option<bool>,
    /// Rendered once, the same for every node; `node` is not defined in it.
    pub(super) shared: Option<bool>,
    /// Only for the nodes for which this expression is true.
    pub(super) r#where: Option<String>,
    /// The text, as a template.
    pub(super) template: Option<String>,
    /// A file that holds the template, relative to the spec.
    pub(super) template_file: Option<String>,
    /// A file whose bytes are taken as they are, relative to the spec. The path is a template.
    pub(super) source: Option<String>,
}

/// Files that are known beforehand.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Precomputed")]
pub(super) struct RawPrecomputed {
    /// The file that holds the artifacts, relative to the spec.
    pub(super) artifacts: String,
    /// Whether a node must register before it may fetch; `true` if absent.
    pub(super) requires_registration: Option<bool>,
}

/// Files that a program makes: the snapshot as JSON on its standard input, the files as JSON on its
/// standard output.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Exec")]
pub(super) struct RawExec {
    /// The program and its arguments. A program with a `/` in it is relative to the spec, any other is
    /// looked for in `PATH`.
    #[schemars(length(min = 1))]
    pub(super) command: Vec<String>,
    /// The program and its children are killed after this long; `30s` if absent.
    pub(super) timeout: Option<DurationText>,
    /// The program's whole environment; `PATH` is `/usr/local/bin:/usr/bin:/bin` unless given.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) env: Option<Mapping>,
    /// All its files are secret, and nothing that it prints is shown. Without it, the program says of each file
    /// whether it is.
    pub(super) secret: Option<bool>,
}
