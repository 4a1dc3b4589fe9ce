//! From the text of a spec to a valid [`Spec`].
//!
//! Each section is read on its own and notes its mistakes, so that as many as possible are told at once.

mod materializers;
mod metadata;
mod ready;

use std::path::Path;

use serde_json::Map;
use serde_yaml::{Mapping, Value};

use self::{materializers::read_materializers, metadata::read_metadata, ready::read_ready};
use super::{
    IdentityMode, Late, MaterializerSpec, Spec, SpecError,
    files::{Files, TEXT_MAX_BYTES, Unreadable, read_text},
    mistake::{Document, Mistake, nearest, spec_error},
    raw::{RawIdentity, RawLate, RawSpec},
    source::YamlPath,
    typed,
};
use cfgsync_model::Identifier;
use cfgsync_template::{Declarations, Expression, Scope};

/// The version of the format that this reader knows.
const VERSION: u64 = 1;

impl Spec {
    /// Reads the file at `path` and every file that it names. Files that it names lie relative to it.
    pub fn load(path: &Path) -> Result<Self, SpecError> {
        let text = read_text(path, TEXT_MAX_BYTES)
            .map_err(|unreadable| spec_error(vec![Mistake::of_file(unreadable.problem)]))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, &path.display().to_string(), directory)
    }

    /// Reads `text`; relative paths in it are relative to `directory`; `name` is for messages.
    pub fn parse(text: &str, name: &str, directory: &Path) -> Result<Self, SpecError> {
        Self::read(text, name, directory, true)
    }

    /// The same for a program that brings materializers of its own: `materializers: []` is no mistake.
    pub fn parse_rule(text: &str, name: &str, directory: &Path) -> Result<Self, SpecError> {
        Self::read(text, name, directory, false)
    }

    fn read(
        text: &str,
        name: &str,
        directory: &Path,
        needs_materializers: bool,
    ) -> Result<Self, SpecError> {
        let document = Document::new(Path::new(name), text.to_owned());
        let value = typed::parse(&document).map_err(spec_error)?;
        let mut reader = Reader {
            document,
            files: Files::beside(directory),
            declared: Declarations::default(),
            mistakes: Vec::new(),
            needs_materializers,
        };
        match reader.spec(&value) {
            Some(spec) if reader.mistakes.is_empty() => Ok(spec),
            _ => Err(spec_error(reader.mistakes)),
        }
    }
}

/// What reading a spec goes along with.
struct Reader {
    document: Document,
    files: Files,
    /// What its texts may name.
    declared: Declarations,
    mistakes: Vec<Mistake>,
    /// Whether only the spec's own materializers make files.
    needs_materializers: bool,
}

impl Reader {
    /// The spec, or `None` when a mistake leaves a hole in it.
    fn spec(&mut self, value: &Value) -> Option<Spec> {
        let root = YamlPath::default();
        if !self.is_known_version(value, &root) {
            return None;
        }
        let raw: RawSpec = self.section(value, &root)?;
        let cluster = self.cluster(&raw.cluster, &root.key("cluster"));
        let metadata = read_metadata(self, raw.metadata.as_ref(), &root.key("metadata"));
        let values = self.values(&raw, &root.key("values"));
        self.declared = declared(&raw, &values);
        let once = self.once(&raw, &root.key("once"));
        let path = root.key("materializers");
        let materializers = read_materializers(self, &raw.materializers, &path);
        let ready = if let Some(ready) = &raw.ready {
            read_ready(self, ready, &root.key("ready")).map(Some)
        } else {
            // Under a name with a slip it is no second mistake.
            if !has_like(value, "ready") {
                self.may_be_without_ready(&materializers, &root);
            }
            Some(None)
        };
        Some(Spec {
            cluster: cluster?,
            metadata: metadata?,
            ready: ready?,
            late: match raw.late {
                None | Some(RawLate::Follow) => Late::Follow,
                Some(RawLate::Refuse) => Late::Refuse,
            },
            identity: match raw.identity {
                None | Some(RawIdentity::Open) => IdentityMode::Open,
                Some(RawIdentity::FirstUse) => IdentityMode::FirstUse,
                Some(RawIdentity::Certificate) => IdentityMode::Certificate,
                Some(RawIdentity::Token) => IdentityMode::Token,
            },
            once,
            values,
            materializers,
            digest: self.files.digest(&self.document.source.text),
        })
    }

    /// The version is looked at first: of another version every other line would be a mistake.
    fn is_known_version(&mut self, value: &Value, root: &YamlPath) -> bool {
        let path = root.key("cfgsync");
        let mistake = match value {
            Value::Null => self
                .document
                .value(root, "the spec is empty")
                .help("it begins with `cfgsync: 1`, the version of the format"),
            Value::Mapping(_) => match value.get("cfgsync") {
                Some(Value::Number(number)) if number.as_u64() == Some(VERSION) => return true,
                Some(Value::Number(number)) => self.document.value(
                    &path,
                    format!(
                        "version {number} of the format is not known; this cfgsync reads version \
                         {VERSION}"
                    ),
                ),
                Some(other) => typed::wrong(
                    &self.document,
                    &path,
                    "the version of the format, `1`",
                    other,
                ),
                None => self
                    .document
                    .value(root, "missing field `cfgsync`, the version of the format")
                    .help("write `cfgsync: 1` at the top"),
            },
            other => typed::wrong(&self.document, root, "a mapping", other)
                .help("a spec begins with `cfgsync: 1`, the version of the format"),
        };
        self.mistakes.push(mistake);
        false
    }

    fn cluster(&mut self, name: &str, path: &YamlPath) -> Option<String> {
        match Identifier::new(name) {
            Ok(_) => Some(name.to_owned()),
            Err(error) => {
                let told = error.to_string();
                let told = told.replace("an identifier", "a cluster's name");
                self.note(path, told.replace("identifier ", "the cluster's name "));
                None
            }
        }
    }

    fn once(&mut self, raw: &RawSpec, path: &YamlPath) -> Vec<(String, Expression)> {
        let mapping = raw.once.as_ref();
        let texts = typed::texts(&self.document, mapping, path, &mut self.mistakes);
        let mut once = Vec::new();
        for (name, text) in texts {
            let path = path.key(name);
            if is_name(name) {
                let declared = self.declared.clone().for_once_entry(name);
                let all = std::mem::replace(&mut self.declared, declared);
                let expression = self.expression(text, Scope::Once, &path);
                self.declared = all;
                once.extend(expression.map(|expression| (name.to_owned(), expression)));
                continue;
            }
            let title = format!(
                "`{name}` is not a name that expressions can use (letters, digits and '_', not \
                 starting with a digit)"
            );
            let mistake = self.document.key(&path, title);
            self.mistakes.push(match name.replace('-', "_") {
                underlined if is_name(&underlined) => {
                    mistake.help(format!("call it `{underlined}`"))
                }
                _ => mistake,
            });
        }
        once
    }

    fn values(&mut self, raw: &RawSpec, path: &YamlPath) -> Map<String, serde_json::Value> {
        let mapping = raw.values.as_ref();
        let entries = typed::entries(&self.document, mapping, path, &mut self.mistakes);
        let mut values = Map::new();
        for (name, value) in entries {
            let path = path.key(name);
            if let Some(value) = typed::json(&self.document, value, &path, &mut self.mistakes) {
                values.insert(name.to_owned(), value);
            }
        }
        values
    }

    fn may_be_without_ready(&mut self, materializers: &[MaterializerSpec], root: &YamlPath) {
        let needs_nodes =
            |kind: &MaterializerSpec| !matches!(kind, MaterializerSpec::Precomputed(_));
        if materializers.iter().any(needs_nodes) {
            let title = "missing field `ready`: when is the set of nodes complete?";
            let mistake = self.document.value(root, title);
            self.mistakes.push(
                mistake
                    .help("write for example `ready: { nodes: 3 }`")
                    .help("only a spec whose materializers are all `precomputed` can go without"),
            );
        }
    }

    fn section<T: serde::de::DeserializeOwned>(
        &mut self,
        value: &Value,
        path: &YamlPath,
    ) -> Option<T> {
        typed::read(&self.document, value, path, &mut self.mistakes)
    }

    fn expression(&mut self, text: &str, scope: Scope, path: &YamlPath) -> Option<Expression> {
        Expression::compile_with(text, scope, &self.declared)
            .map(|expression| expression.with_origin(self.document.origin(path, text)))
            .map_err(|error| {
                let mistake = self.document.jinja(path, text, &error);
                self.mistakes.push(mistake);
            })
            .ok()
    }

    /// Notes that a file named at `path` cannot be read.
    fn note_unreadable(&mut self, path: &YamlPath, unreadable: Unreadable) {
        let mistake = self.document.value(path, unreadable.problem);
        self.mistakes.push(if unreadable.is_absent {
            mistake.help("relative paths are relative to the spec's directory")
        } else {
            mistake
        });
    }

    /// Notes a mistake about the value at `path`.
    fn note(&mut self, path: &YamlPath, title: impl Into<String>) {
        let mistake = self.document.value(path, title);
        self.mistakes.push(mistake);
    }
}

/// Whether `section` has a field whose name is nearly `name`.
fn has_like(section: &Value, name: &str) -> bool {
    let keys = section.as_mapping().into_iter().flat_map(Mapping::keys);
    let mut keys = keys.filter_map(Value::as_str);
    keys.any(|key| nearest(key, [name]).is_some())
}

/// What the texts of the spec may name. What is declared with a mistake is known: to name it is no second one.
fn declared(raw: &RawSpec, values: &Map<String, serde_json::Value>) -> Declarations {
    let names = |mapping: &Option<Mapping>| -> Vec<String> {
        let keys = mapping.iter().flat_map(Mapping::keys);
        keys.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut all = values.clone();
    for name in names(&raw.values) {
        all.entry(name).or_insert(serde_json::Value::Null);
    }
    Declarations::default()
        .with_once(names(&raw.once))
        .with_values(all)
}

/// Whether `text` is a name in an expression.
fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
