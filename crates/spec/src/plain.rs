//! Other YAML files that people write, read with the same care as specs: settings, the nodes of `plan`.

use std::path::Path;

use serde_json::Value;

use super::{
    SpecError,
    files::{TEXT_MAX_BYTES, read_text},
    mistake::{Document, Mistake, spec_error},
    source::{Step, YamlPath},
    typed,
};

/// A YAML or JSON file that was read, and the places in it for messages.
pub struct PlainFile {
    document: Document,
    value: Value,
}

impl PlainFile {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self, SpecError> {
        let text = read_text(path, TEXT_MAX_BYTES)
            .map_err(|unreadable| spec_error(vec![Mistake::of_file(unreadable.problem)]))?;
        Self::parse(text, path)
    }

    /// Reads `text`; `name` is for messages.
    pub fn parse(text: String, name: &Path) -> Result<Self, SpecError> {
        let document = Document::new(name, text);
        let yaml = typed::parse(&document).map_err(spec_error)?;
        let mut mistakes = Vec::new();
        match typed::json(&document, &yaml, &YamlPath::default(), &mut mistakes) {
            Some(value) if mistakes.is_empty() => Ok(Self { document, value }),
            _ => Err(spec_error(mistakes)),
        }
    }

    /// What stands in it.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The 1-based line of the key at `path`, or of the value where it has none.
    pub fn line(&self, path: &[Step]) -> usize {
        let range = self.document.places().key(&yaml_path(path));
        self.document.source.text[..range.start]
            .matches('\n')
            .count()
            + 1
    }

    /// A mistake about the key at `path`, and the way out (may be empty).
    pub fn wrong_key(&self, path: &[Step], what: &str, help: &str) -> SpecError {
        spec_error(vec![helped(
            self.document.key(&yaml_path(path), what),
            help,
        )])
    }

    /// A mistake about the value at `path`, and the way out (may be empty).
    pub fn wrong_value(&self, path: &[Step], what: &str, help: &str) -> SpecError {
        spec_error(vec![helped(
            self.document.value(&yaml_path(path), what),
            help,
        )])
    }
}

fn helped(mistake: Mistake, help: &str) -> Mistake {
    match help {
        "" => mistake,
        help => mistake.help(help),
    }
}

fn yaml_path(steps: &[Step]) -> YamlPath {
    let root = YamlPath::default();
    steps
        .iter()
        .fold(root, |path, step| path.then(step.clone()))
}
