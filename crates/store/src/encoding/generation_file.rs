//! The encoding of the files of a generation. Each chunk is stored once.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    entry::{self, mode, non_empty_chunks},
    error::DecodeError,
    header::{self, FileKind},
    scalar_entry::BytesEntry,
};
use crate::directory_error::DirectoryError;
use cfgsync_model::{
    Account, ArtifactFile, ArtifactPath, ArtifactSet, Chunk, Content, Digest, Generation,
    Identifier, NodeFiles, Ownership,
};

/// The content of the file. Each path and chunk is stored once, and files refer to it by its index.
#[derive(Serialize, Deserialize)]
struct GenerationEntry<'a> {
    digest: [u8; 32],
    paths: Vec<&'a str>,
    /// Chunks with their SHA-256.
    #[serde(borrow)]
    chunks: Vec<([u8; 32], BytesEntry<'a>)>,
    shared: Vec<FileRef>,
    /// Nodes with their payload digest and their own files.
    nodes: Vec<(&'a str, [u8; 32], Vec<FileRef>)>,
}

/// A file, with the indexes of its path and its chunks.
#[derive(Serialize, Deserialize)]
struct FileRef {
    path: u32,
    mode: u32,
    secret: bool,
    chunks: Vec<u32>,
}

/// The ownership of files, as a second value after the entry. It is absent if no file has any, as in files of earlier
/// versions.
#[derive(Serialize, Deserialize)]
struct OwnershipEntry<'a> {
    /// The distinct pairs of owner and group.
    #[serde(borrow)]
    ownerships: Vec<(Option<&'a str>, Option<&'a str>)>,
    /// Files with the index of their ownership. Files are counted in the order of the entry: the shared ones, then those
    /// of each node.
    files: Vec<(u32, u32)>,
}

/// The files of one generation, as read.
pub(crate) struct GenerationFiles {
    pub(crate) nodes: BTreeMap<Identifier, NodeFiles>,
    pub(crate) shared: Arc<ArtifactSet>,
}

impl GenerationFiles {
    /// Returns `generation` with these files.
    pub(crate) fn complete(self, generation: &Generation) -> Generation {
        Generation {
            nodes: self.nodes,
            shared: self.shared,
            ..generation.clone()
        }
    }
}

/// Returns the files of `generation` as a file. Equal files give equal bytes.
pub(crate) fn to_file(generation: &Generation) -> Vec<u8> {
    let mut interner = Interner::default();
    let shared = interner.files(&generation.shared);
    let nodes = generation.nodes.iter();
    let nodes = nodes
        .map(|(identifier, files)| {
            (
                identifier.as_str(),
                *files.digest.as_bytes(),
                interner.files(&files.local),
            )
        })
        .collect();
    let entry = GenerationEntry {
        digest: *generation.digest.as_bytes(),
        paths: interner.paths,
        chunks: interner.chunks,
        shared,
        nodes,
    };
    let ownership = ownership_of(generation);
    header::new_file(FileKind::Generation, |body| {
        entry::write(body, &entry);
        if !ownership.files.is_empty() {
            entry::write(body, &ownership);
        }
    })
}

fn ownership_of(generation: &Generation) -> OwnershipEntry<'_> {
    let mut indexes = HashMap::new();
    let mut entry = OwnershipEntry {
        ownerships: vec![],
        files: vec![],
    };
    let own = generation.nodes.values().map(|files| &files.local);
    let all = std::iter::once(&*generation.shared).chain(own);
    for (at, file) in (0..).zip(all.flat_map(ArtifactSet::files)) {
        let Some(ownership) = file.ownership.as_deref() else {
            continue;
        };
        let index = *indexes.entry(ownership).or_insert_with(|| {
            let owner = ownership.owner.as_ref().map(Account::as_str);
            let group = ownership.group.as_ref().map(Account::as_str);
            entry.ownerships.push((owner, group));
            last_index(&entry.ownerships)
        });
        entry.files.push((at, index));
    }
    entry
}

/// Returns the ownership of files by their number in the entry.
fn read_ownership(rest: &[u8]) -> Result<HashMap<u32, Arc<Ownership>>, DecodeError> {
    if rest.is_empty() {
        return Ok(HashMap::new());
    }
    let (entry, _): (OwnershipEntry<'_>, _) = entry::read(rest)?;
    let invalid = || DecodeError::Other("the owner of a file is not valid".to_owned());
    let account = |text: Option<&str>| match text {
        Some(text) => Account::new(text).map(Some).map_err(|_| invalid()),
        None => Ok(None),
    };
    let ownerships = entry
        .ownerships
        .into_iter()
        .map(|(owner, group)| Ownership::of(account(owner)?, account(group)?).ok_or_else(invalid));
    let ownerships: Vec<_> = ownerships.collect::<Result<_, DecodeError>>()?;
    let files = entry.files.into_iter().map(|(file, index)| {
        let ownership = ownerships.get(index as usize).ok_or_else(invalid)?;
        Ok((file, Arc::clone(ownership)))
    });
    files.collect()
}

/// Assigns indexes to paths and chunks, so that each is stored once.
#[derive(Default)]
struct Interner<'a> {
    paths: Vec<&'a str>,
    path_indexes: HashMap<&'a str, u32>,
    chunks: Vec<([u8; 32], BytesEntry<'a>)>,
    chunk_indexes: HashMap<Digest, u32>,
}

impl<'a> Interner<'a> {
    fn files(&mut self, set: &'a ArtifactSet) -> Vec<FileRef> {
        set.files().iter().map(|file| self.file(file)).collect()
    }

    fn file(&mut self, file: &'a ArtifactFile) -> FileRef {
        let path = file.path.as_str();
        let path = *self.path_indexes.entry(path).or_insert_with(|| {
            self.paths.push(path);
            last_index(&self.paths)
        });
        let chunks = non_empty_chunks(&file.content).map(|chunk| {
            let sum = chunk.sha256();
            *self.chunk_indexes.entry(sum).or_insert_with(|| {
                let bytes = BytesEntry(chunk.bytes());
                self.chunks.push((*sum.as_bytes(), bytes));
                last_index(&self.chunks)
            })
        });
        FileRef {
            path,
            mode: file.mode.bits(),
            secret: file.secret,
            chunks: chunks.collect(),
        }
    }
}

fn last_index<T>(items: &[T]) -> u32 {
    u32::try_from(items.len() - 1).expect("four billion chunks do not fit in memory")
}

/// Reads the files of the generation with this digest. `path` is for error messages.
pub(crate) fn from_file(
    file: &Bytes,
    digest: Digest,
    path: impl Fn() -> PathBuf,
) -> Result<GenerationFiles, DirectoryError> {
    header::read_file(file, FileKind::Generation, path, |frame| {
        if frame.end != file.len() {
            let what = format!("unexpected bytes follow from byte {} on", frame.end);
            return Err(DecodeError::Other(what));
        }
        from_body(file, frame.body, digest)
    })
}

fn from_body(file: &Bytes, body: &[u8], digest: Digest) -> Result<GenerationFiles, DecodeError> {
    let (entry, rest): (GenerationEntry, _) = entry::read(body)?;
    let ownership = read_ownership(rest)?;
    let mut next_file = 0..;
    if entry.digest != *digest.as_bytes() {
        return Err(DecodeError::Other(
            "it holds another generation than the one that names it".to_owned(),
        ));
    }
    let paths: Result<Vec<_>, _> = entry
        .paths
        .iter()
        .map(|path| ArtifactPath::new(path))
        .collect();
    let (paths, all_chunks) = (paths?, entry.chunks.iter());
    // The chunks borrow the bytes that were read, without copying.
    let all_chunks: Vec<Arc<Chunk>> = all_chunks
        .map(|(sum, BytesEntry(bytes))| {
            Chunk::with_sha256(file.slice_ref(bytes), Digest::from_bytes(*sum))
        })
        .collect();
    let mut set = |files: Vec<FileRef>| -> Result<ArtifactSet, DecodeError> {
        let bad_index =
            || DecodeError::Other("a file refers to a path or chunk that is not there".to_owned());
        let files = files.into_iter().map(|file| {
            let chunks: Option<Vec<_>> = file
                .chunks
                .iter()
                .map(|at| all_chunks.get(*at as usize).cloned())
                .collect();
            let path = paths.get(file.path as usize).ok_or_else(bad_index)?;
            Ok(ArtifactFile {
                path: path.clone(),
                mode: mode(file.mode)?,
                content: Content::from_chunks(chunks.ok_or_else(bad_index)?),
                secret: file.secret,
                ownership: (next_file.next()).and_then(|at: u32| ownership.get(&at).cloned()),
            })
        });
        let files: Result<Vec<_>, DecodeError> = files.collect();
        ArtifactSet::new(files?).map_err(|error| DecodeError::Other(error.to_string()))
    };
    let shared = Arc::new(set(entry.shared)?);
    let mut nodes = BTreeMap::new();
    for (identifier, digest, files) in entry.nodes {
        let files = NodeFiles {
            local: set(files)?,
            digest: Digest::from_bytes(digest),
        };
        nodes.insert(Identifier::recorded(identifier)?, files);
    }
    Ok(GenerationFiles { nodes, shared })
}
