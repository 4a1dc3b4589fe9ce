//! The files of generations: one file on disk for each generation, named by its digest. Each chunk is stored once in
//! it.
//!
//! Before the seal, the file has the suffix [`PENDING_SUFFIX`]. It is renamed after the seal is in the log. A file
//! without the suffix therefore shows that the log has named it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::ErrorKind,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    directory::GENERATIONS,
    disk::{Disk, STAGED_SUFFIX, WriteError, replace_file},
    entry::{self, mode, non_empty_chunks},
    error::{DecodeError, DirectoryError},
    header::{self, FileKind},
    scalar_entry::BytesEntry,
};
use crate::State;
use cfgsync_model::{
    Account, ArtifactFile, ArtifactPath, ArtifactSet, Chunk, Content, Digest, Generation,
    Identifier, Instance, NodeFiles, Ownership, generation_digest,
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

/// The suffix of a file whose seal may not be in the log.
const PENDING_SUFFIX: &str = ".pending";

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

/// The files of one generation, read from disk.
pub(super) struct GenerationFiles {
    nodes: BTreeMap<Identifier, NodeFiles>,
    shared: Arc<ArtifactSet>,
}

/// Writes the files of generations, and removes files without references.
pub(super) struct GenerationWriter {
    disk: Arc<dyn Disk>,
    /// Generations that are being sealed, with the number of their pending seals. Their files are not removed.
    pending: Mutex<HashMap<Digest, usize>>,
    /// Held while a file is written, so that only one is written at a time.
    writing: Mutex<()>,
}

/// Keeps the file of a generation while its seal is pending.
pub(super) struct PendingSeal {
    writer: Arc<GenerationWriter>,
    digest: Digest,
}

impl Drop for PendingSeal {
    fn drop(&mut self) {
        let mut pending = self.writer.pending();
        if let Some(count) = pending.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&self.digest);
            }
        }
    }
}

impl GenerationWriter {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            pending: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    /// Makes the files of `generation` durable. It blocks the calling thread.
    pub(super) fn write(
        self: Arc<Self>,
        generation: &Generation,
    ) -> Result<PendingSeal, WriteError> {
        *self.pending().entry(generation.digest).or_default() += 1;
        let pending = PendingSeal {
            writer: self.clone(),
            digest: generation.digest,
        };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let file = to_file(generation);
        replace_file(&*self.disk, &pending_name_of(generation.digest), &[&file])?;
        Ok(pending)
    }

    /// Gives the file of a sealed generation its final name. The seal must be durable in the log. If this fails, readers
    /// find the file by its pending name, and [`GenerationWriter::tidy`] tries again.
    pub(super) fn promote(&self, digest: Digest) {
        let renamed = self.disk.rename(&pending_name_of(digest), &name_of(digest));
        match renamed {
            // Another seal with the same files has renamed it.
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let path = self.disk.path(&pending_name_of(digest));
                tracing::warn!("cannot rename {}: {error}", path.display());
            }
            _ => {}
        }
    }

    /// Gives the files of `state` their final names, and removes the files that neither `state` nor a pending seal refers
    /// to. Returns whether no sealed file remains that `state` does not name. If not, the next call tries again.
    pub(super) fn tidy(&self, state: &State) -> bool {
        let kept = state.generations.iter();
        let kept: HashSet<Digest> = kept.map(|generation| generation.digest).collect();
        // The lock is held to the end, so that a seal that begins in the meantime waits.
        let pending = self.pending();
        let names = match self.disk.list(GENERATIONS) {
            Ok(names) => names,
            Err(error) => {
                let directory = self.disk.path(GENERATIONS);
                tracing::warn!("cannot list {}: {error}", directory.display());
                return false;
            }
        };
        let sealed: HashSet<Digest> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let mut is_tidy = true;
        for name in names {
            let unstaged = name.strip_suffix(STAGED_SUFFIX).unwrap_or(&name);
            let digest = unstaged.strip_suffix(PENDING_SUFFIX).unwrap_or(unstaged);
            let digest: Option<Digest> = digest.parse().ok();
            let is_sealed = name.parse::<Digest>().is_ok();
            if let Some(digest) = digest {
                if is_sealed && kept.contains(&digest) {
                    continue;
                }
                if pending.contains_key(&digest) {
                    is_tidy &= !is_sealed;
                    continue;
                }
                let is_missing = kept.contains(&digest) && !sealed.contains(&digest);
                if is_missing && name == format!("{digest}{PENDING_SUFFIX}") {
                    self.promote(digest);
                    continue;
                }
            }
            let name = format!("{GENERATIONS}/{name}");
            if let Err(error) = self.disk.remove(&name) {
                tracing::warn!("cannot remove {}: {error}", self.disk.path(&name).display());
                is_tidy &= !is_sealed;
            }
        }
        is_tidy
    }

    /// Makes the removed and the final names durable.
    pub(super) fn sync_names(&self) -> Result<(), WriteError> {
        let synced = self.disk.sync_directory(GENERATIONS);
        synced.map_err(|error| WriteError::NotSynced {
            path: self.disk.path(GENERATIONS),
            error,
        })
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the name of the file of the generation with this digest.
pub(super) fn name_of(digest: Digest) -> String {
    format!("{GENERATIONS}/{digest}")
}

fn pending_name_of(digest: Digest) -> String {
    format!("{GENERATIONS}/{digest}{PENDING_SUFFIX}")
}

/// Returns the digests of the sealed files, which are those with a final name.
pub(super) fn sealed(disk: &dyn Disk) -> Vec<Digest> {
    // Without the directory, there is none.
    let names = disk.list(GENERATIONS).unwrap_or_default();
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// Reads the files of a generation that the log names. After a crash they may still have their pending name.
pub(super) fn read(disk: &dyn Disk, digest: Digest) -> Result<GenerationFiles, DirectoryError> {
    for name in [name_of(digest), pending_name_of(digest)] {
        if let Some(files) = read_named(disk, &name, digest)? {
            return Ok(files);
        }
    }
    Err(DirectoryError::Damaged {
        file: disk.path(&name_of(digest)),
        offset: 0,
        what: "it is missing, and the log refers to it".to_owned(),
    })
}

fn read_named(
    disk: &dyn Disk,
    name: &str,
    digest: Digest,
) -> Result<Option<GenerationFiles>, DirectoryError> {
    let path = || disk.path(name);
    let file = disk.read(name).map_err(|error| DirectoryError::Io {
        action: "read",
        path: path(),
        error,
    })?;
    let file = file.map(|file| from_file(&file.into(), digest, path));
    file.transpose()
}

/// Whether `instance` has sealed the file of `digest`, as far as the file shows. A file that cannot be read may have been
/// sealed. A file that is no longer there counts as not sealed: a running server has removed it.
pub(super) fn may_be_sealed_by(disk: &dyn Disk, instance: Instance, digest: Digest) -> bool {
    match read_named(disk, &name_of(digest), digest) {
        Ok(None) => false,
        Ok(Some(GenerationFiles { nodes, shared })) => {
            let nodes = nodes.into_iter().map(|(name, files)| (name, files.local));
            generation_digest(instance, nodes.collect(), &shared).1 == digest
        }
        Err(_) => true,
    }
}

impl GenerationFiles {
    /// Returns `generation` with these files.
    pub(super) fn complete(self, generation: &Generation) -> Generation {
        Generation {
            nodes: self.nodes,
            shared: self.shared,
            ..generation.clone()
        }
    }
}

/// Computes all digests of `generation` again, and compares them with the sealed ones.
pub(super) fn verify_digests(instance: Instance, generation: &Generation) -> Result<(), String> {
    let mut chunks = RehashedChunks::default();
    let shared = chunks.rehash(&generation.shared);
    let nodes = generation.nodes.iter();
    let nodes = nodes.map(|(identifier, files)| (identifier.clone(), chunks.rehash(&files.local)));
    let (nodes, digest) = generation_digest(instance, nodes.collect(), &shared);
    for (identifier, files) in &nodes {
        if generation.nodes[identifier].digest != files.digest {
            return Err(format!("the files of {identifier} are not the sealed ones"));
        }
    }
    if digest != generation.digest {
        return Err("the files do not have the digest that names this file".to_owned());
    }
    Ok(())
}

/// New chunks, with computed checksums, for chunks whose checksums were read from disk.
#[derive(Default)]
struct RehashedChunks {
    chunks: HashMap<*const Chunk, Arc<Chunk>>,
}

impl RehashedChunks {
    fn rehash(&mut self, set: &ArtifactSet) -> ArtifactSet {
        let files = set.files().iter().map(|file| {
            let chunks = file.content.chunks().iter();
            let chunks = chunks.map(|chunk| {
                let new = || Chunk::new(chunk.bytes().clone());
                let known = self.chunks.entry(Arc::as_ptr(chunk));
                known.or_insert_with(new).clone()
            });
            ArtifactFile {
                content: Content::from_chunks(chunks),
                ..file.clone()
            }
        });
        ArtifactSet::new(files.collect()).expect("the paths were distinct")
    }
}

pub(super) fn to_file(generation: &Generation) -> Vec<u8> {
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

pub(super) fn from_file(
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
