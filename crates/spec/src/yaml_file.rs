//! Reads other YAML files that people write: settings, and the nodes of `plan`. Mistakes in them are located like those
//! in a spec.

use std::path::Path;

use serde_json::Value;

use super::{
    SpecError,
    files::{TEXT_MAX_BYTES, read_text_without_waiting},
    mistake::{Document, Mistake, spec_error},
    source::{Step, YamlPath},
    syntax, typed,
};

/// A YAML or JSON file of at most 16 MiB, and the locations of its values for messages.
pub struct YamlFile {
    document: Document,
    value: Value,
}

impl YamlFile {
    /// Reads the file at `path`. A named pipe is refused, unless it is a descriptor below /dev or /proc.
    ///
    /// # Errors
    /// Fails if the file cannot be read, is not YAML, or contains something that JSON cannot represent.
    pub fn load(path: &Path) -> Result<Self, SpecError> {
        let text = read_text_without_waiting(path, TEXT_MAX_BYTES)
            .map_err(|unreadable| spec_error(vec![Mistake::without_text(unreadable.message)]))?;
        Self::parse(text, path)
    }

    /// Reads `text`. Messages call the file `name`.
    ///
    /// # Errors
    /// Fails if the text is not YAML, or contains something that JSON cannot represent.
    pub fn parse(text: String, name: &Path) -> Result<Self, SpecError> {
        let document = Document::new(name, text);
        let yaml = syntax::parse(&document).map_err(spec_error)?;
        let mut mistakes = Vec::new();
        match typed::json(&document, &yaml, &YamlPath::default(), &mut mistakes) {
            Some(value) if mistakes.is_empty() => Ok(Self { document, value }),
            _ => Err(spec_error(mistakes)),
        }
    }

    /// Returns the file's content as JSON.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns the line, from 1, of the key at `path`, or of the value if it is an item of a list.
    pub fn line(&self, path: &[Step]) -> usize {
        let range = self.document.locations().key(&yaml_path(path));
        self.document.source.text[..range.start]
            .matches('\n')
            .count()
            + 1
    }

    /// Returns a mistake about the key at `path`. `help` says what to do, or is empty.
    pub fn wrong_key(&self, path: &[Step], what: &str, help: &str) -> SpecError {
        let mistake = self.document.key(&yaml_path(path), what);
        spec_error(vec![with_help(mistake, help)])
    }

    /// Returns a mistake about the value at `path`. `help` says what to do, or is empty.
    pub fn wrong_value(&self, path: &[Step], what: &str, help: &str) -> SpecError {
        let mistake = self.document.value(&yaml_path(path), what);
        spec_error(vec![with_help(mistake, help)])
    }
}

fn with_help(mistake: Mistake, help: &str) -> Mistake {
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
