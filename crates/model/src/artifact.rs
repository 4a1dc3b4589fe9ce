//! Artifacts: files, sets of files with distinct paths, and all files that a render makes.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::{ArtifactPath, Content, Identifier, Mode};

/// One file as a materializer makes it: path, mode and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactFile {
    /// The file's name. The node's routes decide where it is written.
    pub path: ArtifactPath,
    /// The file's permission bits on the node.
    pub mode: Mode,
    /// Whether only the node may see the content. Logs, errors and comparisons never show it, and operators see it
    /// only if they ask for it.
    pub secret: bool,
    /// The file's bytes.
    pub content: Content,
}

impl ArtifactFile {
    /// Creates a file of mode 0644 that is not secret.
    pub fn new(path: ArtifactPath, content: impl Into<Bytes>) -> Self {
        Self {
            path,
            mode: Mode::default(),
            secret: false,
            content: Content::whole(content),
        }
    }

    /// Marks the file as secret and removes the permissions of group and others from its mode.
    #[must_use]
    pub fn into_secret(self) -> Self {
        Self {
            mode: self.mode.owner_only(),
            secret: true,
            ..self
        }
    }
}

/// Number of files from which a set keeps an index. A smaller set is searched from its beginning.
const INDEXED_FROM: usize = 32;

/// Files with distinct paths, in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct ArtifactSet {
    files: Vec<ArtifactFile>,
    /// Positions in `files` by path; only in a set of at least [`INDEXED_FROM`] files.
    #[expect(
        clippy::box_collection,
        reason = "a cluster has thousands of small sets: without an index each pays for a pointer, not for a map"
    )]
    index: Option<Box<HashMap<ArtifactPath, usize>>>,
}

impl PartialEq for ArtifactSet {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}
impl Eq for ArtifactSet {}

/// Two files of one set have the same path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two files are called {0}")]
pub struct DuplicatePath(pub ArtifactPath);

impl ArtifactSet {
    /// Creates a set of `files`.
    ///
    /// # Errors
    ///
    /// Fails if two files have the same path.
    pub fn new(files: Vec<ArtifactFile>) -> Result<Self, DuplicatePath> {
        let mut set = Self {
            files: Vec::with_capacity(files.len()),
            index: None,
        };
        files.into_iter().try_for_each(|file| set.push(file))?;
        Ok(set)
    }

    /// Adds `file` at the end.
    ///
    /// # Errors
    ///
    /// Fails if the set already has a file with this path. The set does not change then.
    pub fn push(&mut self, file: ArtifactFile) -> Result<(), DuplicatePath> {
        if self.get(&file.path).is_some() {
            return Err(DuplicatePath(file.path));
        }
        let position = self.files.len();
        if let Some(index) = &mut self.index {
            index.insert(file.path.clone(), position);
        }
        self.files.push(file);
        if self.files.len() == INDEXED_FROM {
            let paths = self.files.iter().map(|file| file.path.clone());
            self.index = Some(Box::new(paths.zip(0..).collect()));
        }
        Ok(())
    }

    /// Returns the file with this path.
    pub fn get(&self, path: &ArtifactPath) -> Option<&ArtifactFile> {
        match &self.index {
            Some(index) => index.get(path).map(|&position| &self.files[position]),
            None => self.files.iter().find(|file| file.path == *path),
        }
    }

    /// Returns the files in the order in which they were added.
    pub fn files(&self) -> &[ArtifactFile] {
        &self.files
    }

    /// Returns whether the set has no files.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

/// All files that materializers make from one ready snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MaterializedArtifacts {
    /// Each node's own files.
    pub nodes: BTreeMap<Identifier, ArtifactSet>,
    /// Files that every node receives after its own.
    pub shared: ArtifactSet,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_second_file_with_the_same_path() {
        let file = |path: &str| ArtifactFile::new(path.parse().unwrap(), "x");
        assert!(ArtifactSet::new(vec![file("a"), file("b")]).is_ok());
        assert!(ArtifactSet::new(vec![file("a"), file("/a")]).is_err());
    }

    /// Without the index, each path was compared with all paths before it. A program that printed 300,000 files
    /// blocked a render for minutes.
    #[test]
    fn large_set_finds_each_file() {
        let file = |at: usize| ArtifactFile::new(format!("f{at}").parse().unwrap(), "x");
        let many = 200_000;
        let mut set = ArtifactSet::new((0..many).map(file).collect()).unwrap();
        for at in 0..many {
            assert_eq!(set.get(&file(at).path), Some(&set.files()[at]));
        }
        assert_eq!(set.push(file(5)), Err(DuplicatePath(file(5).path)));
        assert_eq!(set.get(&file(many).path), None);
    }
}
