//! The types of the format as it is written. The JSON Schema is made from them, and its descriptions from their doc
//! comments.
//!
//! Each section is read on its own (see `typed`), so that mistakes in several sections are reported at once. That is why
//! some fields are a plain [`Value`] here and give their type only to the schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use super::scalars::{AccountText, AtOnce, Count, DurationText, Mapped, ModeText, NodesClause};

/// A cfgsync spec. It says when a cluster's set of nodes is complete, and which files each node then gets.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Spec", title = "cfgsync spec")]
pub(super) struct RawSpec {
    /// The version of the format: always `1`.
    #[schemars(extend("const" = 1))]
    #[expect(dead_code, reason = "checked before the rest is read")]
    pub(super) cfgsync: u64,
    /// The cluster's name: 1 to 253 characters of `[A-Za-z0-9._-]`, the first a letter or a digit. Logs, payloads and
    /// metrics show it. `join --cluster` refuses a server of another cluster.
    #[schemars(extend("pattern" = "^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$"))]
    pub(super) cluster: String,
    /// The rules for the fields of a node's metadata. The server checks them when the node registers. A field without a
    /// rule is passed on unchanged.
    #[schemars(with = "Option<BTreeMap<String, RawField>>")]
    pub(super) metadata: Option<Mapping>,
    /// The rule that says when the set of nodes is complete. It may be absent only if all materializers are
    /// precomputed.
    #[schemars(with = "Option<RawReady>")]
    pub(super) ready: Option<Value>,
    /// The operators' values that must be set before the set of nodes counts as complete, as `NAMESPACE/KEY`.
    pub(super) requires: Option<Vec<String>>,
    /// The time, at least 1 s, after which a node that sends no requests is removed. A waiting or following `join` renews it. A node that
    /// has received its files and neither follows nor renews is not removed.
    pub(super) lease: Option<DurationText>,
    /// The order in which nodes that have an older generation get a new one. Without it, all get it at once.
    #[schemars(with = "Option<RawRollout>")]
    pub(super) rollout: Option<Value>,
    /// The effect of a change after the first seal. With `follow`, the default, every change makes the next generation.
    /// With `refuse`, the server refuses new nodes and removals.
    pub(super) late: Option<RawLate>,
    /// The way in which a node proves that it owns an identifier. `open`, the default, requires no proof. `first-use`
    /// requires the key that was sent with the first registration of the identifier. `certificate` requires a client
    /// certificate for the identifier. `token` requires a token for the identifier.
    pub(super) identity: Option<RawIdentity>,
    /// The effect of a registration from another machine while the registered one still waits, under `identity: open`.
    /// With `replace`, the default, the newer registration counts, and the waiting node is told so. With `refuse`, the
    /// server refuses the newer registration.
    pub(super) on_conflict: Option<RawOnConflict>,
    /// Whether a node that reports the phase `failed` fails the cluster for every node that waits (default: `false`).
    #[serde(default)]
    pub(super) fail_fast: bool,
    /// Expressions that are evaluated once, at the first seal. Their values are stored and never change. They may use
    /// `nodes`, `values`, `cluster`, the entries of `once` above them, and the functions `random_*` and `now`.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) once: Option<Mapping>,
    /// Constants for expressions and templates.
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub(super) values: Option<Mapping>,
    /// The materializers, which make the files, in the order in which they run. No path may occur twice for one node.
    #[schemars(with = "Vec<RawMaterializer>", length(min = 1))]
    pub(super) materializers: Vec<Value>,
}

/// The order in which nodes get a new generation. The first generation is handed to all nodes at once.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rollout")]
pub(super) struct RawRollout {
    /// The number of nodes that get the generation at a time, or a share of the nodes such as `25%`. The default is 1.
    pub(super) at_once: Option<AtOnce>,
    /// The phase that these nodes must report before others follow. The default is `delivered`, which the server notes by
    /// itself.
    pub(super) wait_for: Option<String>,
    /// The time in which a node must report the phase. Otherwise the roll-out stops. The default is `5m`.
    pub(super) timeout: Option<DurationText>,
}

/// A rule for one field of the nodes' metadata. The field is required unless it has a default.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MetadataField")]
pub(super) struct RawField {
    /// The type of the value.
    pub(super) r#type: Option<FieldType>,
    /// The smallest allowed number. It needs `type: integer` or `type: number`.
    #[schemars(with = "Option<serde_json::Number>")]
    pub(super) min: Option<Value>,
    /// The largest allowed number. It needs `type: integer` or `type: number`.
    #[schemars(with = "Option<serde_json::Number>")]
    pub(super) max: Option<Value>,
    /// The allowed values.
    #[schemars(with = "Option<Vec<serde_json::Value>>", length(min = 1))]
    pub(super) one_of: Option<Vec<Value>>,
    /// The value for a node whose metadata lacks the field.
    #[schemars(with = "Option<serde_json::Value>")]
    pub(super) default: Option<Value>,
    /// A regular expression that the whole string must match. It needs `type: string`.
    pub(super) pattern: Option<String>,
    /// The form of the value: `ip` and `hostname` are strings, `port` is an integer from 1 to 65535.
    pub(super) format: Option<FieldFormat>,
    /// The smallest number of characters of a string, or of items of an array.
    pub(super) min_length: Option<usize>,
    /// The largest number of characters of a string, or of items of an array.
    pub(super) max_length: Option<usize>,
    /// The type of each item. It needs `type: array`.
    pub(super) items: Option<FieldType>,
    /// Whether each node must have another value (default: `false`). The set is not ready while two nodes have the same.
    #[serde(default)]
    pub(super) unique: bool,
    /// Whether the value is secret (default: `false`). Messages about `unique` do not show it.
    #[serde(default)]
    pub(super) secret: bool,
}

/// The form of a value in metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FieldFormat {
    /// An IPv4 or IPv6 address.
    Ip,
    /// A host name: labels of letters, digits and `-`, separated by dots.
    Hostname,
    /// A port of TCP or UDP.
    Port,
}

/// The type of a value in metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FieldType {
    /// A string.
    String,
    /// A number without a fraction.
    Integer,
    /// A number, with or without a fraction.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A mapping with any keys.
    Object,
    /// A list of any values.
    Array,
}

/// The rule that says when the set of nodes is complete. All given conditions must hold.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Ready")]
pub(super) struct RawReady {
    /// The minimum number of nodes, or a closed list of identifiers. With a list, the server refuses all other nodes.
    pub(super) nodes: Option<NodesClause>,
    /// Conditions on the number of nodes that match an expression.
    pub(super) groups: Option<Vec<Mapped<RawGroup>>>,
    /// An expression on `nodes` that must be true.
    pub(super) when: Option<String>,
    /// The reason that waiting nodes get while `when` is false: a template that may use `nodes`. Without it, they get the
    /// text of `when`.
    pub(super) message: Option<String>,
    /// The time without a change that must pass before the set counts as complete, such as `2s`. The default is `0s`.
    pub(super) settle: Option<DurationText>,
    /// The time from the first registration, such as `5m`, after which the attempt fails if the set is not sealed. Every
    /// node that waits then gets the reason. Without a deadline the server waits forever.
    pub(super) deadline: Option<DurationText>,
}

/// A condition: `where` is true for at least `count` nodes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Group")]
pub(super) struct RawGroup {
    /// An expression on `node`, such as `node.metadata.role == "validator"`.
    pub(super) r#where: String,
    /// The number of nodes that must match.
    pub(super) count: Count,
}

/// The effect of a change after the first seal.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Late")]
pub(super) enum RawLate {
    /// Every change makes the next generation.
    Follow,
    /// The server refuses new nodes and removals.
    Refuse,
}

/// The effect of a registration from another machine while the registered one still waits.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "OnConflict")]
pub(super) enum RawOnConflict {
    /// The newer registration counts.
    Replace,
    /// The server refuses the newer registration.
    Refuse,
}

/// The way in which a node proves that it owns an identifier.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Identity")]
pub(super) enum RawIdentity {
    /// No proof is required.
    Open,
    /// The node has the key that was sent with the first registration of the identifier.
    FirstUse,
    /// The node has a client certificate for the identifier.
    Certificate,
    /// The node has a token for the identifier.
    Token,
}

// Only the schema is made from this type: `kind` is read by hand.
/// A materializer, which makes files.
#[derive(JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[schemars(rename = "Materializer")]
#[expect(
    dead_code,
    reason = "the type, for the schema, of a list whose items are read one by one"
)]
pub(super) enum RawMaterializer {
    /// A materializer that renders files from templates.
    Template(RawTemplate),
    /// A materializer whose files are known in advance.
    Precomputed(RawPrecomputed),
    /// A materializer that runs a program. The program reads the snapshot as JSON from its standard input and writes
    /// the files as JSON to its standard output.
    Exec(RawExec),
}

/// A materializer that renders files from templates.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Template")]
pub(super) struct RawTemplate {
    /// Texts that are rendered once per generation. A template includes one with `fragment("name")`. A fragment cannot
    /// use `node`.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) fragments: Option<Mapping>,
    /// Whether templates leave out the newline after a statement or comment. The default is `false`.
    pub(super) trim_blocks: Option<bool>,
    /// Whether templates leave out the blanks before a statement or comment that is first on its line. The default is
    /// `false`.
    pub(super) lstrip_blocks: Option<bool>,
    /// The files to render.
    #[schemars(with = "Vec<RawFile>", length(min = 1))]
    pub(super) files: Vec<Value>,
}

/// A file. Exactly one of `template`, `template_file` and `source` gives its content.
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
    /// The artifact's name, such as `/config.yaml`. The routes on the node say where it is written. It may be a template,
    /// such as `peers/{{ peer.identifier }}.conf` with `for: peer in nodes`.
    pub(super) path: String,
    /// A variable and a list, such as `peer in nodes`. There is one file for each item of the list. `path`, `where` and the
    /// content may use the variable.
    pub(super) r#for: Option<String>,
    /// The permission bits, in quotes. The default is `"0644"`, and `"0600"` for a secret file.
    pub(super) mode: Option<ModeText>,
    /// The owner of the file on the node: a name or number. Only `join` as root can give a file to another user. The flag
    /// `--owner` of `join` has priority. By default, a replaced file keeps its owner.
    pub(super) owner: Option<AccountText>,
    /// The group of the file on the node: a name or number.
    pub(super) group: Option<AccountText>,
    /// Whether the content is secret. Logs, errors and comparisons do not show it, and `inspect` shows it only with
    /// `--reveal`. The mode of a secret file must give no permission to the group or to others. The default is `false`.
    pub(super) secret: Option<bool>,
    /// Whether the file is rendered once and is the same for every node. Its template cannot use `node`. The default is
    /// `false`.
    pub(super) shared: Option<bool>,
    /// An expression on `node`. Only nodes for which it is true get the file. Without it, every node gets the file. With
    /// `for`, it is evaluated for each item.
    pub(super) r#where: Option<String>,
    /// Whether the template leaves out the newline after a statement or comment. The default is that of the materializer.
    pub(super) trim_blocks: Option<bool>,
    /// Whether the template leaves out the blanks before a statement or comment that is first on its line. The default is
    /// that of the materializer.
    pub(super) lstrip_blocks: Option<bool>,
    /// The content, as a template.
    pub(super) template: Option<String>,
    /// The path of a file with the template, relative to the spec's directory.
    pub(super) template_file: Option<String>,
    /// The path of a file whose bytes are the content, relative to the spec's directory. The path is a template.
    pub(super) source: Option<String>,
}

/// A materializer whose files are known in advance.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Precomputed")]
pub(super) struct RawPrecomputed {
    /// The path of the file with the artifacts, relative to the spec's directory.
    pub(super) artifacts: String,
    /// Whether a node must register before it may fetch its files. The default is `true`.
    pub(super) requires_registration: Option<bool>,
}

/// A materializer that runs a program. The program reads the snapshot as JSON from its standard input and writes the
/// files as JSON to its standard output.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Exec")]
pub(super) struct RawExec {
    /// The program and its arguments. If the program contains a `/`, it is a path relative to the spec's directory.
    /// Otherwise the server looks for it in `PATH`.
    #[schemars(length(min = 1))]
    pub(super) command: Vec<String>,
    /// The time after which the server kills the program and its children. The default is `30s`.
    pub(super) timeout: Option<DurationText>,
    /// The variables of the program's environment. It inherits none from the server. The default of `PATH` is
    /// `/usr/local/bin:/usr/bin:/bin`.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(super) env: Option<Mapping>,
    /// Whether all files of the program are secret. Logs and errors then show nothing that it prints. With `false`, the
    /// default, the program says for each file whether it is secret.
    pub(super) secret: Option<bool>,
    /// The operators' values that the program receives as `operator_values`: `NAMESPACE/KEY` for one value, and
    /// `NAMESPACE/PREFIX/` for all values whose keys begin with the prefix. Only a change of these causes a render.
    pub(super) reads: Option<Vec<String>>,
}
