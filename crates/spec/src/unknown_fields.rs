//! Removes the fields of an artifacts file that cfgsync does not know, with a warning for each.

use serde_yaml::{Mapping, Value};

use super::{mistake::Document, source::YamlPath};
use cfgsync_support::nearest::nearest;

/// The fields of a file.
const FILE_FIELDS: &[&str] = &["path", "content", "mode", "owner", "group", "secret"];
/// The number of warnings that are given. The rest is only counted.
const WARNINGS_MAX: usize = 5;

/// Removes unknown fields from the artifacts in `value`, and returns the warnings. A field that may be a misspelt one
/// stays, so that it is reported as a mistake. A node without `files` has a warning as well.
pub(super) fn take_unknown_fields(document: &Document, value: &mut Value) -> Vec<String> {
    let mut search = Search {
        document,
        warnings: Vec::new(),
        more: 0,
    };
    search.root(value);
    if search.more > 0 {
        let warning = format!(
            "{}: and {} more such fields",
            document.source.name, search.more
        );
        search.warnings.push(warning);
    }
    search.warnings
}

struct Search<'a> {
    document: &'a Document,
    warnings: Vec<String>,
    more: usize,
}

impl Search<'_> {
    fn root(&mut self, root: &mut Value) {
        let Value::Mapping(root) = root else { return };
        let path = YamlPath::default();
        let known: &[&str] = match root.get("nodes") {
            Some(Value::Sequence(_)) => &["nodes", "shared_files"],
            _ => &["nodes", "shared"],
        };
        self.take(root, known, &path);
        match root.get_mut("nodes") {
            Some(Value::Sequence(nodes)) => {
                for (at, node) in nodes.iter_mut().enumerate() {
                    self.node(node, &["identifier", "files"], &path.key("nodes").index(at));
                }
            }
            Some(Value::Mapping(nodes)) => {
                for (name, node) in nodes.iter_mut() {
                    if let Value::String(name) = name {
                        self.node(node, &["files"], &path.key("nodes").key(name));
                    }
                }
            }
            _ => {}
        }
        if let Some(shared) = root.get_mut("shared_files") {
            self.files(shared, &path.key("shared_files"));
        }
        if let Some(shared) = root.get_mut("shared") {
            self.node(shared, &["files"], &path.key("shared"));
        }
    }

    fn node(&mut self, node: &mut Value, known: &[&str], path: &YamlPath) {
        let Value::Mapping(node) = node else { return };
        self.take(node, known, path);
        // The field may have a misspelt name, which is then a mistake.
        if !node.contains_key("files") && node.len() < known.len() {
            self.warn(path, "there is no `files`, which means no files");
        }
        if let Some(files) = node.get_mut("files") {
            self.files(files, &path.key("files"));
        }
    }

    fn files(&mut self, files: &mut Value, path: &YamlPath) {
        let Value::Sequence(files) = files else {
            return;
        };
        for (at, file) in files.iter_mut().enumerate() {
            if let Value::Mapping(file) = file {
                self.take(file, FILE_FIELDS, &path.index(at));
            }
        }
    }

    /// Removes the fields of `mapping` that are not `known` and not misspelt.
    fn take(&mut self, mapping: &mut Mapping, known: &[&str], path: &YamlPath) {
        let names = mapping.keys().filter_map(Value::as_str);
        let unknown = names
            .filter(|name| !known.contains(name) && nearest(name, known.iter().copied()).is_none());
        let unknown: Vec<String> = unknown.map(str::to_owned).collect();
        for name in unknown {
            mapping.remove(name.as_str());
            self.warn(
                &path.key(&name),
                &format!("the unknown field `{name}` is ignored"),
            );
        }
    }

    fn warn(&mut self, path: &YamlPath, what: &str) {
        if self.warnings.len() == WARNINGS_MAX {
            self.more += 1;
            return;
        }
        let locations = self.document.locations();
        let line = locations.line(locations.key(path).start);
        let name = &self.document.source.name;
        self.warnings.push(format!("{name}:{line}: {what}"));
    }
}
