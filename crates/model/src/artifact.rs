//! Files as they are made and sealed: a path (a name), a mode, and content in pieces that may be shared.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    convert::Infallible,
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Digest, Identifier, InvalidIdentifier};

/// Longest artifact path, in bytes.
const PATH_MAX_BYTES: usize = 1024;

/// The name of an artifact: relative, with `/` between its parts. `/a` and `a` are the same name, and are
/// equal here; the written form keeps the leading slash, as clients in the field expect it back.
///
/// Empty paths and parts, `.` and `..` as parts, NUL and other control characters, and `=` are refused.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArtifactPath(Arc<str>);

/// Why a text is not an [`ArtifactPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArtifactPath {
    /// Nothing there, or only `/`.
    #[error("an artifact path must not be empty")]
    Empty,
    /// Longer than 1024 bytes.
    #[error("an artifact path has at most {PATH_MAX_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// Something in it that could lead elsewhere, or that routes cannot name.
    #[error("artifact path {path:?} holds {what}")]
    Holds {
        /// The path as given.
        path: String,
        /// The offending part, in words.
        what: &'static str,
    },
}

impl ArtifactPath {
    /// Checks `text` and keeps it.
    pub fn new(text: &str) -> Result<Self, InvalidArtifactPath> {
        let name = text.strip_prefix('/').unwrap_or(text);
        if name.is_empty() {
            return Err(InvalidArtifactPath::Empty);
        }
        if text.len() > PATH_MAX_BYTES {
            return Err(InvalidArtifactPath::TooLong(text.len()));
        }
        let holds = |what| {
            Err(InvalidArtifactPath::Holds {
                path: text.to_owned(),
                what,
            })
        };
        if name.contains('\0') {
            return holds("a NUL byte");
        }
        if name.chars().any(char::is_control) {
            return holds("a control character");
        }
        if name.contains('=') {
            return holds("'=', which routes (ARTIFACT=PATH) could not tell from their own");
        }
        for part in name.split('/') {
            match part {
                "" => return holds("an empty part (\"//\" or a '/' at its end)"),
                "." => return holds("a part \".\""),
                ".." => return holds("a part \"..\""),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// The path as it was written, perhaps with a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name: the path without a leading slash.
    pub fn name(&self) -> &str {
        self.0.strip_prefix('/').unwrap_or(&self.0)
    }
}

impl PartialEq for ArtifactPath {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}
impl Eq for ArtifactPath {}
impl PartialOrd for ArtifactPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ArtifactPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name().cmp(other.name())
    }
}
impl std::hash::Hash for ArtifactPath {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}
impl fmt::Display for ArtifactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for ArtifactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
impl std::str::FromStr for ArtifactPath {
    type Err = InvalidArtifactPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}
impl TryFrom<String> for ArtifactPath {
    type Error = InvalidArtifactPath;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}
impl From<ArtifactPath> for String {
    fn from(path: ArtifactPath) -> Self {
        path.0.as_ref().to_owned()
    }
}

/// The permission bits of a file, written as four octal digits: `"0644"`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(u32);

/// A text that is not an octal mode of at most `0777`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mode {0:?} is not octal permission bits like \"0644\" (at most \"0777\")")]
pub struct InvalidMode(String);

impl Mode {
    /// The mode with these bits; `None` above `0777`.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits <= 0o777 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The mode of a file with nothing to hide (`0644`) or of a secret one (`0600`), or `given` instead: for a
    /// secret file it must keep out everybody but the owner.
    pub fn of_file(given: Option<Self>, secret: bool) -> Result<Self, NotSecret> {
        match (given, secret) {
            (None, false) => Ok(Self::default()),
            (None, true) => Ok(Self(0o600)),
            (Some(mode), true) if !mode.is_private() => Err(NotSecret(mode)),
            (Some(mode), _) => Ok(mode),
        }
    }

    /// Whether it keeps out everybody but the owner.
    pub const fn is_private(self) -> bool {
        (self.0 & 0o077).count_ones() == 0
    }
}

/// A mode that lets others in, for a file that is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret file is for its owner alone, and mode {0} lets others in")]
pub struct NotSecret(pub Mode);

/// `0644`.
impl Default for Mode {
    fn default() -> Self {
        Self(0o644)
    }
}

impl std::str::FromStr for Mode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let octal =
            (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        match u32::from_str_radix(text, 8) {
            Ok(bits) if octal && bits <= 0o777 => Ok(Self(bits)),
            _ => Err(InvalidMode(text.to_owned())),
        }
    }
}
impl TryFrom<String> for Mode {
    type Error = InvalidMode;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}
impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bytes that many files may share: held once, hashed once.
pub struct Chunk {
    bytes: Bytes,
    sha256: OnceLock<Digest>,
    is_text: OnceLock<bool>,
}

impl Chunk {
    /// A chunk of `bytes`.
    pub fn new(bytes: impl Into<Bytes>) -> Arc<Self> {
        Arc::new(Self {
            bytes: bytes.into(),
            sha256: OnceLock::new(),
            is_text: OnceLock::new(),
        })
    }

    /// A chunk of `bytes` whose sum is known to be `sha256`: it is not worked out again.
    pub fn with_sha256(bytes: Bytes, sha256: Digest) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            sha256: OnceLock::from(sha256),
            is_text: OnceLock::new(),
        })
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Their sum, worked out at the first call.
    pub fn sha256(&self) -> Digest {
        *self.sha256.get_or_init(|| Digest::of(&self.bytes))
    }

    /// Whether they are UTF-8, looked at in the first call: thousands of files may hold the same chunk.
    pub fn is_text(&self) -> bool {
        *self
            .is_text
            .get_or_init(|| std::str::from_utf8(&self.bytes).is_ok())
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the bytes: they may be keys.
        write!(f, "Chunk({} bytes)", self.bytes.len())
    }
}

/// A file's bytes: one chunk, or several of which some are shared with other files.
#[derive(Debug, Clone, Default)]
pub struct Content {
    chunks: Vec<Arc<Chunk>>,
}

impl Content {
    /// Content in one piece.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self {
            chunks: vec![Chunk::new(bytes)],
        }
    }

    /// Content in pieces, in order. Empty pieces are left out.
    pub fn from_chunks(chunks: impl IntoIterator<Item = Arc<Chunk>>) -> Self {
        Self {
            chunks: chunks
                .into_iter()
                .filter(|chunk| !chunk.bytes.is_empty())
                .collect(),
        }
    }

    /// The pieces; none for an empty file that was made of pieces.
    pub fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// Whether it is made of several pieces, so that its identity is theirs.
    pub fn is_chunked(&self) -> bool {
        self.chunks.len() > 1
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes in one piece; copies when there are several.
    pub fn to_bytes(&self) -> Bytes {
        match self.chunks.as_slice() {
            [] => Bytes::new(),
            [only] => only.bytes.clone(),
            several => {
                let mut joined = Vec::with_capacity(self.len());
                for chunk in several {
                    joined.extend_from_slice(&chunk.bytes);
                }
                joined.into()
            }
        }
    }

    /// The sum of the whole content. Costs its length when it is made of several pieces.
    pub fn sha256(&self) -> Digest {
        match self.chunks.as_slice() {
            [only] => only.sha256(),
            _ => Digest::of(&self.to_bytes()),
        }
    }

    /// What stands for the content in digests: its sum, or the lengths and sums of its pieces.
    pub fn id(&self) -> String {
        if !self.is_chunked() {
            return format!("sha256:{}", self.sha256());
        }
        let mut id = String::from("chunks");
        for chunk in &self.chunks {
            id.push_str(&format!(":{}:{}", chunk.bytes.len(), chunk.sha256()));
        }
        id
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}
impl Eq for Content {}

/// One file: path, mode, content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactFile {
    /// Its name, which the node's routes turn into a place.
    pub path: ArtifactPath,
    /// Its permission bits on the node.
    pub mode: Mode,
    /// Whether its bytes are shown to nobody but the node: not in logs, errors and comparisons, and to operators
    /// only when they ask for them.
    pub secret: bool,
    /// Its bytes.
    pub content: Content,
}

impl ArtifactFile {
    /// A file of mode 0644.
    pub fn new(path: ArtifactPath, content: impl Into<Bytes>) -> Self {
        Self {
            path,
            mode: Mode::default(),
            secret: false,
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

    /// The same file, secret, with as much of its mode as is the owner's.
    #[must_use]
    pub fn kept_secret(self) -> Self {
        Self {
            mode: Mode(self.mode.0 & 0o700),
            secret: true,
            ..self
        }
    }
}

/// From so many files on a set looks a name up instead of going through all.
const INDEXED_FROM: usize = 32;

/// Files with distinct paths, in the order in which they were made.
#[derive(Debug, Clone, Default)]
pub struct ArtifactSet {
    files: Vec<ArtifactFile>,
    /// Where in `files` each is, in a set of many.
    #[expect(
        clippy::box_collection,
        reason = "thousands of sets have none: a pointer each, not a map"
    )]
    places: Option<Box<HashMap<ArtifactPath, usize>>>,
}

impl PartialEq for ArtifactSet {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}
impl Eq for ArtifactSet {}

/// Two files of one node share a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two files are called {0}")]
pub struct DuplicatePath(pub ArtifactPath);

impl ArtifactSet {
    /// A set of `files`; refused when two share a path.
    pub fn new(files: Vec<ArtifactFile>) -> Result<Self, DuplicatePath> {
        let mut set = Self::with_capacity(files.len());
        files.into_iter().try_for_each(|file| set.push(file))?;
        Ok(set)
    }

    /// An empty set with memory for so many files. Thousands of nodes have a set of few files each, and a set that
    /// grows takes memory for four at once.
    pub fn with_capacity(files: usize) -> Self {
        Self {
            files: Vec::with_capacity(files),
            places: None,
        }
    }

    /// Adds `file`; refused when its path is taken.
    pub fn push(&mut self, file: ArtifactFile) -> Result<(), DuplicatePath> {
        if self.get(&file.path).is_some() {
            return Err(DuplicatePath(file.path));
        }
        let at = self.files.len();
        if let Some(places) = &mut self.places {
            places.insert(file.path.clone(), at);
        }
        self.files.push(file);
        if self.files.len() == INDEXED_FROM {
            let paths = self.files.iter().map(|file| file.path.clone());
            self.places = Some(Box::new(paths.zip(0..).collect()));
        }
        Ok(())
    }

    /// The file called `path`.
    pub fn get(&self, path: &ArtifactPath) -> Option<&ArtifactFile> {
        match &self.places {
            Some(places) => places.get(path).map(|&at| &self.files[at]),
            None => self.files.iter().find(|file| file.path == *path),
        }
    }

    /// The files, in the order in which they were made.
    pub fn files(&self) -> &[ArtifactFile] {
        &self.files
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

impl From<ArtifactFile> for ArtifactSet {
    fn from(file: ArtifactFile) -> Self {
        Self {
            files: vec![file],
            places: None,
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

/// What materializers make of a ready snapshot: each node's own files, and those that all share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MaterializedArtifacts {
    /// Files by node.
    pub nodes: BTreeMap<Identifier, ArtifactSet>,
    /// Files that every node gets after its own.
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
    /// See [`InvalidArtifacts`].
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
    /// See [`InvalidArtifacts::SharedFiles`].
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
    fn a_leading_slash_does_not_make_another_name() {
        let slashed = ArtifactPath::new("/etc/a.conf").unwrap();
        assert_eq!(slashed, ArtifactPath::new("etc/a.conf").unwrap());
        assert_eq!(slashed.to_string(), "/etc/a.conf");
    }

    #[test]
    fn paths_that_could_lead_elsewhere_are_refused() {
        for path in [
            "", "/", "..", "a/../b", "a//b", "//a", "a/", "./a", "a\0b", "a=b", "a\nb",
        ] {
            assert!(ArtifactPath::new(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn modes_are_octal_digits() {
        assert_eq!("0640".parse::<Mode>().unwrap().bits(), 0o640);
        assert_eq!("600".parse::<Mode>().unwrap().to_string(), "0600");
        for text in ["", "640640", "0888", "+644", "1777", "rw"] {
            assert!(text.parse::<Mode>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn chunked_content_is_the_same_bytes_under_another_id() {
        let whole = Content::whole("abcd");
        let pieces = Content::from_chunks([Chunk::new("ab"), Chunk::new(""), Chunk::new("cd")]);
        assert_eq!(whole, pieces);
        assert_eq!(whole.sha256(), pieces.sha256());
        assert_ne!(whole.id(), pieces.id());
    }

    #[test]
    fn a_set_refuses_a_second_file_of_one_name() {
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

    /// Each name was compared with all before it: a program that printed 300,000 files held a render for minutes.
    #[test]
    fn a_set_of_many_files_knows_where_each_is() {
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
