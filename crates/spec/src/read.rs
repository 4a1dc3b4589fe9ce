//! Reads the text of a spec.
//!
//! Each section is read on its own and adds its mistakes to a list, so that as many as possible are reported at once.

mod materializers;
mod metadata;
mod ready;
mod rollout;

use std::{collections::BTreeMap, path::Path, str::FromStr};

use serde_json::Map;
use serde_yaml::{Mapping, Value};

use self::{
    materializers::read_materializers, metadata::read_metadata, ready::read_ready,
    rollout::read_rollout,
};
use super::{
    IdentityMode, Late, MaterializerSpec, OnConflict, Spec, SpecError,
    files::{SpecFiles, TEXT_MAX_BYTES, UnreadableFile, read_text},
    mistake::{Document, Mistake, spec_error},
    once_name,
    raw::{RawIdentity, RawLate, RawOnConflict, RawSpec},
    ready_rule::{LEASE_MIN, LEASE_TOO_SHORT, NO_CONDITION, NO_CONDITION_HELP},
    server_settings::ServerSettings,
    source::YamlPath,
    syntax, typed,
};
use cfgsync_model::{Digest, Identifier, InvalidValueName};
use cfgsync_support::nearest::nearest;
use cfgsync_template::{Declarations, Expression, JinjaError, Scope, Template, Whitespace};

/// The version of the format that is read here.
const VERSION: u64 = 1;

impl Spec {
    /// Reads the file at `path` and every file that it names. The paths in it are relative to its directory.
    ///
    /// # Errors
    /// Fails with all mistakes in these files, or if one of them cannot be read.
    pub fn load(path: &Path) -> Result<Self, SpecError> {
        let text = read_text(path, TEXT_MAX_BYTES)
            .map_err(|unreadable| spec_error(vec![Mistake::without_text(unreadable.message)]))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, &path.display().to_string(), directory)
    }

    /// Reads `text` and every file that it names. The paths in it are relative to `directory`. Messages call the text
    /// `name`.
    ///
    /// # Errors
    /// Fails with all mistakes in the text and these files, or if one of them cannot be read.
    pub fn parse(text: &str, name: &str, directory: &Path) -> Result<Self, SpecError> {
        Self::read(text, name, directory, true)
    }

    /// Reads the same, but accepts `materializers: []`, for a program that adds its own materializers at the server.
    ///
    /// # Errors
    /// Fails as [`Spec::parse`] does.
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
        let value = syntax::parse(&document).map_err(spec_error)?;
        let mut reader = Reader {
            document,
            files: SpecFiles::new(directory),
            declared: Declarations::default(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
            needs_materializers,
        };
        match reader.spec(&value) {
            Some(spec) if reader.mistakes.is_empty() => Ok(spec),
            _ => Err(spec_error(reader.mistakes)),
        }
    }
}

/// Returns the digest of each field. Comments and the form of the YAML do not change it, the order of entries does.
fn field_digests(value: &Value) -> BTreeMap<String, Digest> {
    let fields = value.as_mapping().into_iter().flatten();
    let digests = fields.filter_map(|(name, field)| {
        let text = serde_yaml::to_string(field).ok()?;
        Some((name.as_str()?.to_owned(), Digest::of(text.as_bytes())))
    });
    digests.collect()
}

/// The state of reading a spec.
struct Reader {
    document: Document,
    files: SpecFiles,
    /// The names that its expressions and templates may use.
    declared: Declarations,
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
    /// Whether an empty list of materializers is a mistake.
    needs_materializers: bool,
}

impl Reader {
    /// Returns the spec, or `None` if a mistake leaves out a part of it.
    fn spec(&mut self, value: &Value) -> Option<Spec> {
        let root = YamlPath::default();
        if !self.is_known_version(value, &root) {
            return None;
        }
        let raw: RawSpec = self.section(value, &root)?;
        let has_unknown_fields = !self.mistakes.is_empty();
        let cluster = self.cluster(&raw.cluster, &root.key("cluster"));
        let metadata = read_metadata(self, raw.metadata.as_ref(), &root.key("metadata"));
        let values = self.values(&raw, &root.key("values"));
        self.declared = declared(&raw, &values);
        let once = self.once(&raw, &root.key("once"));
        let lease = raw.lease.map(|lease| lease.0);
        if lease.is_some_and(|lease| lease < LEASE_MIN) {
            self.report(&root.key("lease"), LEASE_TOO_SHORT);
        }
        let rollout = raw.rollout.as_ref();
        let rollout = rollout.and_then(|rollout| read_rollout(self, rollout, &root.key("rollout")));
        let requires = self.value_names(raw.requires.as_deref(), &root.key("requires"));
        let path = root.key("materializers");
        let materializers = read_materializers(self, &raw.materializers, &path);
        let ready = if let Some(ready) = &raw.ready {
            read_ready(self, ready, &root.key("ready")).map(Some)
        } else {
            // A misspelt `ready` is reported already, and so are its fields if they are beside it.
            let is_empty = value.get("ready").is_some_and(Value::is_null);
            if is_empty && !has_unknown_fields {
                let path = root.key("ready");
                let mistake = self.document.key(&path, NO_CONDITION);
                let mistake = mistake.help(NO_CONDITION_HELP);
                self.mistakes
                    .push(mistake.help("write, for example, `ready: { nodes: 3 }`"));
            } else if !is_empty && !has_misspelt(value, "ready") {
                self.require_ready(&materializers, &root);
            }
            Some(None)
        };
        Some(Spec {
            cluster: cluster?,
            metadata: metadata?,
            ready: ready?,
            requires: requires.into_iter().collect(),
            lease,
            rollout,
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
            on_conflict: match raw.on_conflict {
                None | Some(RawOnConflict::Replace) => OnConflict::Replace,
                Some(RawOnConflict::Refuse) => OnConflict::Refuse,
            },
            fail_fast: raw.fail_fast,
            once,
            values,
            materializers,
            digest: self.files.digest(&self.document.source.text),
            sources: self.files.sources(&self.document.source.text),
            fields: field_digests(value),
            warnings: std::mem::take(&mut self.warnings),
        })
    }

    /// Checks the version. It comes first, because in another version every other line could be a mistake.
    fn is_known_version(&mut self, value: &Value, root: &YamlPath) -> bool {
        let path = root.key("cfgsync");
        let mistake = match value {
            Value::Null => self
                .document
                .value(root, "the spec is empty")
                .help("begin with `cfgsync: 1`, the version of the format"),
            Value::Mapping(_) => match value.get("cfgsync") {
                Some(Value::Number(number)) if number.as_u64() == Some(VERSION) => return true,
                Some(Value::Number(number)) => {
                    let title = format!("unknown version {number} of the format");
                    let help = format!("this cfgsync reads version {VERSION}");
                    self.document.value(&path, title).help(help)
                }
                Some(other) => typed::wrong_type(
                    &self.document,
                    &path,
                    "the version of the format, `1`",
                    other,
                ),
                None => match ServerSettings::of(value) {
                    Some(settings) => self
                        .document
                        .value(
                            root,
                            "these are settings of the server `cfgsync-server`, not a spec",
                        )
                        .help(settings.as_spec())
                        .help(settings.as_command()),
                    None => self
                        .document
                        .value(root, "missing field `cfgsync`, the version of the format")
                        .help("write `cfgsync: 1` at the top"),
                },
            },
            other => typed::wrong_type(&self.document, root, "a mapping", other)
                .help("begin with `cfgsync: 1`, the version of the format"),
        };
        self.mistakes.push(mistake);
        false
    }

    fn cluster(&mut self, name: &str, path: &YamlPath) -> Option<String> {
        match Identifier::new(name) {
            Ok(_) => Some(name.to_owned()),
            Err(error) => {
                let message = error.to_string();
                let message = message.replace("an identifier", "a cluster's name");
                self.report(path, message.replace("identifier ", "the cluster's name "));
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
            if once_name::is_valid(name) {
                let declared = self.declared.clone().for_once_entry(name);
                let all = std::mem::replace(&mut self.declared, declared);
                let expression = self.expression(text, Scope::Once, &path);
                self.declared = all;
                once.extend(expression.map(|expression| (name.to_owned(), expression)));
                continue;
            }
            let mistake = self.document.key(&path, once_name::invalid(name));
            self.mistakes.push(match once_name::suggestion(name) {
                Some(valid) => mistake.help(format!("rename it to `{valid}`")),
                None => mistake,
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

    /// Returns names or patterns of operators' values, without those that are reported.
    fn value_names<T: FromStr<Err = InvalidValueName>>(
        &mut self,
        texts: Option<&[String]>,
        path: &YamlPath,
    ) -> Vec<T> {
        let mut names = Vec::new();
        for (at, text) in texts.into_iter().flatten().enumerate() {
            match text.parse::<T>() {
                Ok(name) => names.push(name),
                Err(error) => self.report(&path.index(at), error.to_string()),
            }
        }
        names
    }

    fn require_ready(&mut self, materializers: &[MaterializerSpec], root: &YamlPath) {
        let needs_nodes =
            |kind: &MaterializerSpec| !matches!(kind, MaterializerSpec::Precomputed(_));
        if materializers.iter().any(needs_nodes) {
            let title = "missing field `ready`, which says when the set of nodes is complete";
            let mistake = self.document.value(root, title);
            self.mistakes.push(
                mistake
                    .help("write, for example, `ready: { nodes: 3 }`")
                    .help("`ready` may be absent only if all materializers are `precomputed`"),
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
        let compiled = Expression::compile_with(text, scope, &self.declared)
            .map(|expression| expression.with_origin(self.document.origin(path, text)));
        self.check(compiled, text, path)
    }

    /// Compiles a template in the spec without fragments.
    fn template(&mut self, text: &str, scope: Scope, path: &YamlPath) -> Option<Template> {
        let (name, whitespace) = (path.to_string(), Whitespace::default());
        let compiled = Template::compile_with(&name, text, scope, &[], &self.declared, whitespace)
            .map(|template| template.with_origin(self.document.origin(path, text)));
        self.check(compiled, text, path)
    }

    /// Reports the error of the expression or template `text` at `path`, if there is one.
    fn check<T>(
        &mut self,
        compiled: Result<T, JinjaError>,
        text: &str,
        path: &YamlPath,
    ) -> Option<T> {
        let reported = compiled.map_err(|error| {
            let mistake = self.document.jinja(path, text, &error);
            self.mistakes.push(mistake);
        });
        reported.ok()
    }

    /// Reports that the file named at `path` cannot be read.
    fn report_unreadable(&mut self, path: &YamlPath, unreadable: UnreadableFile) {
        let mistake = self.document.value(path, unreadable.message);
        self.mistakes.push(if unreadable.is_missing {
            mistake.help("the path is relative to the spec's directory")
        } else {
            mistake
        });
    }

    /// Reports a mistake about the value at `path`.
    fn report(&mut self, path: &YamlPath, title: impl Into<String>) {
        let mistake = self.document.value(path, title);
        self.mistakes.push(mistake);
    }
}

/// Returns whether `section` has a field with a misspelt `name`.
fn has_misspelt(section: &Value, name: &str) -> bool {
    let keys = section.as_mapping().into_iter().flat_map(Mapping::keys);
    let mut keys = keys.filter_map(Value::as_str);
    keys.any(|key| nearest(key, [name]).is_some())
}

/// Returns the names that expressions and templates may use. An entry with a mistake counts as declared, so that its
/// uses are not reported as well.
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
