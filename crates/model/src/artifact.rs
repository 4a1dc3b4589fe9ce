//! Artifacts: files, sets of files with distinct paths, and all files that a render makes.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    convert::Infallible,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    ArtifactPath, Content, Identifier, InvalidArtifactPath, InvalidIdentifier, Mode, Ownership,
};

/// One file as a materializer makes it: path, mode and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactFile {
    /// The file's name. The node's routes decide where it is written.
    pub path: ArtifactPath,
    /// The file's permission bits on the node.
    pub mode: Mode,
    /// Whether the content is secret. Logs, errors and comparisons never show it, and operators see it only if they
    /// request it explicitly.
    pub secret: bool,
    /// The owner and group on the node, if the spec gives them.
    pub ownership: Option<Arc<Ownership>>,
    /// The bytes of the file.
    pub content: Content,
}

impl ArtifactFile {
    /// Creates a file of mode 0644 that is not secret.
    pub fn new(path: ArtifactPath, content: impl Into<Bytes>) -> Self {
        Self {
            path,
            mode: Mode::default(),
            secret: false,
            ownership: None,
            content: Content::whole(content),
        }
    }

    /// Returns a file of mode 0644 with the name `path` and the content `text`.
    ///
    /// ```
    /// use cfgsync_model::ArtifactFile;
    ///
    /// let file = ArtifactFile::text("/config.yaml", "port: 9000\n")?;
    /// assert_eq!(file.path.name(), "config.yaml");
    /// assert!(ArtifactFile::text("../config.yaml", "").is_err());
    /// # Ok::<(), cfgsync_model::InvalidArtifactPath>(())
    /// ```
    ///
    /// # Errors
    /// Fails if `path` is not an [`ArtifactPath`].
    pub fn text(path: &str, text: impl Into<String>) -> Result<Self, InvalidArtifactPath> {
        Ok(Self::new(ArtifactPath::new(path)?, text.into()))
    }

    /// Returns the same file with the permission bits `mode`.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
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
        let mut set = Self::with_capacity(files.len());
        files.into_iter().try_for_each(|file| set.push(file))?;
        Ok(set)
    }

    /// Creates an empty set with memory for `files` files. Thousands of nodes have a set of few files each, and a set
    /// that grows takes memory for four at once.
    pub fn with_capacity(files: usize) -> Self {
        Self {
            files: Vec::with_capacity(files),
            index: None,
        }
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

impl From<ArtifactFile> for ArtifactSet {
    fn from(file: ArtifactFile) -> Self {
        Self {
            files: vec![file],
            index: None,
        }
    }
}

impl TryFrom<Vec<ArtifactFile>> for ArtifactSet {
    type Error = DuplicatePath;

    fn try_from(files: Vec<ArtifactFile>) -> Result<Self, Self::Error> {
        Self::new(files)
    }
}

impl<const N: usize> TryFrom<[ArtifactFile; N]> for ArtifactSet {
    type Error = DuplicatePath;

    fn try_from(files: [ArtifactFile; N]) -> Result<Self, Self::Error> {
        Self::new(files.into())
    }
}

/// A conversion that cannot fail, so that an [`ArtifactSet`] is accepted wherever files are.
impl From<Infallible> for DuplicatePath {
    fn from(never: Infallible) -> Self {
        match never {}
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

impl MaterializedArtifacts {
    /// Returns artifacts with each node's own files and no shared ones. A node's files are an [`ArtifactSet`], one
    /// [`ArtifactFile`], or a list of them.
    ///
    /// ```
    /// use cfgsync_model::{ArtifactFile, MaterializedArtifacts};
    ///
    /// let artifacts = MaterializedArtifacts::from_nodes([
    ///     ("node-1", ArtifactFile::text("id", "1\n")?),
    ///     ("node-2", ArtifactFile::text("id", "2\n")?),
    /// ])?
    /// .with_shared([ArtifactFile::text("genesis.json", "{}\n")?])?;
    /// assert_eq!(artifacts.nodes.len(), 2);
    /// assert_eq!(artifacts.shared.files().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails with [`InvalidArtifacts`], which names the node.
    pub fn from_nodes<I, F>(
        nodes: impl IntoIterator<Item = (I, F)>,
    ) -> Result<Self, InvalidArtifacts>
    where
        I: TryInto<Identifier, Error: Into<InvalidIdentifier>>,
        F: TryInto<ArtifactSet, Error: Into<DuplicatePath>>,
    {
        let mut artifacts = Self::default();
        for (identifier, files) in nodes {
            let identifier = identifier
                .try_into()
                .map_err(|error| InvalidArtifacts::Identifier(error.into()))?;
            let files = files
                .try_into()
                .map_err(|error| InvalidArtifacts::NodeFiles(identifier.clone(), error.into()))?;
            match artifacts.nodes.entry(identifier) {
                Entry::Vacant(entry) => drop(entry.insert(files)),
                Entry::Occupied(entry) => {
                    return Err(InvalidArtifacts::DuplicateNode(entry.key().clone()));
                }
            }
        }
        Ok(artifacts)
    }

    /// Returns the same artifacts with these files for every node. [`Self::from_nodes`] has an example.
    ///
    /// # Errors
    /// Fails with [`InvalidArtifacts::SharedFiles`] if two of the files have the same path.
    pub fn with_shared<F>(self, files: F) -> Result<Self, InvalidArtifacts>
    where
        F: TryInto<ArtifactSet, Error: Into<DuplicatePath>>,
    {
        let shared = files
            .try_into()
            .map_err(|error| InvalidArtifacts::SharedFiles(error.into()))?;
        Ok(Self { shared, ..self })
    }
}

/// The reason why files are not [`MaterializedArtifacts`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidArtifacts {
    /// A node's identifier is not valid.
    #[error(transparent)]
    Identifier(InvalidIdentifier),
    /// The same node occurs twice.
    #[error("node {0} occurs twice")]
    DuplicateNode(Identifier),
    /// Two files of one node share a path.
    #[error("node {0}: {1}")]
    NodeFiles(Identifier, #[source] DuplicatePath),
    /// Two shared files share a path.
    #[error("shared files: {0}")]
    SharedFiles(#[source] DuplicatePath),
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

    #[test]
    fn artifacts_refuse_duplicate_nodes_and_files() {
        let file = |path: &str| ArtifactFile::text(path, "x").unwrap();
        let error = |nodes: Vec<(&str, Vec<ArtifactFile>)>| {
            let refused = MaterializedArtifacts::from_nodes(nodes).unwrap_err();
            refused.to_string()
        };
        assert_eq!(
            error(vec![("a", vec![file("x")]), ("a", vec![])]),
            "node a occurs twice"
        );
        assert_eq!(
            error(vec![("a", vec![file("x"), file("/x")])]),
            "node a: two files are called /x"
        );
        assert!(error(vec![("a/b", vec![])]).starts_with("identifier \"a/b\""));
        let shared = MaterializedArtifacts::default().with_shared([file("x"), file("x")]);
        assert_eq!(
            shared.unwrap_err().to_string(),
            "shared files: two files are called x"
        );
        let identifier: Identifier = "a".parse().unwrap();
        let artifacts = MaterializedArtifacts::from_nodes([(identifier, file("x"))]).unwrap();
        assert_eq!(artifacts.nodes["a"].files().len(), 1);
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
