//! A YAML text and the paths that name the values in it.

use std::fmt;

/// One step from a value to a value inside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// The value of this key of a mapping.
    Key(String),
    /// The item of a list at this index, from 0.
    Index(usize),
}

/// The steps from the document's root to a value. It displays as `materializers[0].files[1].path`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct YamlPath(Vec<Step>);

impl YamlPath {
    pub(super) fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    pub(super) fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    pub(super) fn parent(&self) -> Option<Self> {
        let (_, before) = self.0.split_last()?;
        Some(Self(before.to_vec()))
    }

    pub(super) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for YamlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A text in which mistakes are found, and its name.
#[derive(Debug)]
pub(super) struct Source {
    /// The file's path as the operator gave it.
    pub(super) name: String,
    /// The text of the file.
    pub(super) text: String,
}
