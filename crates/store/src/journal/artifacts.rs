//! Sealed files: each generation's in a file of its own, named by its digest, with every chunk once.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    directory::GENERATIONS,
    disk::{Disk, STAGED, Trouble, put},
    entry::{self, Raw, mode, written},
    error::{JournalError, Unreadable},
    frame::{self, Kind},
    log::read_first,
};
use crate::State;
use cfgsync_model::{
    ArtifactFile, ArtifactPath, ArtifactSet, Chunk, Content, Digest, Generation, Identifier,
    Instance, NodeFiles, generation_digest,
};

/// What a generation's file holds. Paths and chunks are written once, and named by their places.
#[derive(Serialize, Deserialize)]
struct ArtifactsEntry<'a> {
    digest: [u8; 32],
    paths: Vec<&'a str>,
    #[serde(borrow)]
    chunks: Vec<([u8; 32], Raw<'a>)>,
    shared: Vec<PlacedFile>,
    nodes: Vec<(&'a str, [u8; 32], Vec<PlacedFile>)>,
}

#[derive(Serialize, Deserialize)]
struct PlacedFile {
    path: u32,
    mode: u32,
    secret: bool,
    chunks: Vec<u32>,
}

/// The files of one generation, as they were read.
pub(super) struct Artifacts {
    nodes: BTreeMap<Identifier, NodeFiles>,
    shared: Arc<ArtifactSet>,
}

/// Where generations' files are put, and taken away once nobody needs them.
pub(super) struct Shelf {
    disk: Arc<dyn Disk>,
    /// Generations on their way into the log, and how many seals each: their files stay.
    pending: Mutex<HashMap<Digest, usize>>,
    /// One file is written at a time.
    writing: Mutex<()>,
}

/// Keeps a generation's file from being taken away while its seal is on its way.
pub(super) struct Ticket {
    shelf: Arc<Shelf>,
    digest: Digest,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut pending = self.shelf.pending();
        if let Some(count) = pending.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&self.digest);
            }
        }
    }
}

impl Shelf {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            pending: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    /// Makes the files of `generation` durable, on this thread.
    pub(super) fn put(self: Arc<Self>, generation: &Generation) -> Result<Ticket, Trouble> {
        *self.pending().entry(generation.digest).or_default() += 1;
        let ticket = Ticket {
            shelf: self.clone(),
            digest: generation.digest,
        };
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let file = to_file(generation);
        put(&*self.disk, &name_of(generation.digest), &[&file])?;
        Ok(ticket)
    }

    /// Removes the files that neither `state` nor a seal on its way names. What cannot be removed stays until the
    /// next time.
    pub(super) fn tidy(&self, state: &State) {
        let kept: HashSet<String> = state
            .generations
            .iter()
            .map(|generation| generation.digest.to_string())
            .collect();
        // Held until the end: a seal that begins meanwhile waits.
        let pending = self.pending();
        let names = match self.disk.list(GENERATIONS) {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(
                    "cannot list {}: {error}",
                    self.disk.path(GENERATIONS).display()
                );
                return;
            }
        };
        for name in names {
            let digest = name.strip_suffix(STAGED).unwrap_or(&name);
            let is_pending = digest
                .parse()
                .is_ok_and(|digest| pending.contains_key(&digest));
            if is_pending || kept.contains(&name) {
                continue;
            }
            let name = format!("{GENERATIONS}/{name}");
            if let Err(error) = self.disk.remove(&name) {
                tracing::warn!("cannot remove {}: {error}", self.disk.path(&name).display());
            }
        }
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the files of the generation with this digest stand.
pub(super) fn name_of(digest: Digest) -> String {
    format!("{GENERATIONS}/{digest}")
}

/// Reads the files of the generation with `digest`.
pub(super) fn read(disk: &dyn Disk, digest: Digest) -> Result<Artifacts, JournalError> {
    let name = name_of(digest);
    let path = || disk.path(&name);
    let file = disk.read(&name).map_err(|error| JournalError::Io {
        action: "read",
        path: path(),
        error,
    })?;
    let Some(file) = file else {
        return Err(JournalError::Damaged {
            file: path(),
            offset: 0,
            what: "it is missing, and the log names it".to_owned(),
        });
    };
    from_file(&file.into(), digest, path)
}

impl Artifacts {
    /// `generation`, which has no files yet, with these.
    pub(super) fn complete(self, generation: &Generation) -> Generation {
        Generation {
            nodes: self.nodes,
            shared: self.shared,
            ..generation.clone()
        }
    }
}

/// Works out all digests of `generation` again: whether every byte is the sealed one.
pub(super) fn check(instance: Instance, generation: &Generation) -> Result<(), String> {
    let mut sums = Unsummed::default();
    let shared = sums.set(&generation.shared);
    let nodes = generation.nodes.iter();
    let nodes = nodes.map(|(identifier, files)| (identifier.clone(), sums.set(&files.local)));
    let (nodes, digest) = generation_digest(instance, nodes.collect(), &shared);
    for (identifier, files) in &nodes {
        if generation.nodes[identifier].digest != files.digest {
            return Err(format!("the files of {identifier} are not the sealed ones"));
        }
    }
    match digest == generation.digest {
        true => Ok(()),
        false => Err("the files are not those that its name stands for".to_owned()),
    }
}

/// Chunks of which no sum is known, in place of those whose sums were read.
#[derive(Default)]
struct Unsummed {
    chunks: HashMap<*const Chunk, Arc<Chunk>>,
}

impl Unsummed {
    fn set(&mut self, set: &ArtifactSet) -> ArtifactSet {
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
        ArtifactSet::new(files.collect()).expect("its paths were distinct")
    }
}

pub(super) fn to_file(generation: &Generation) -> Vec<u8> {
    let mut places = Places::default();
    let shared = places.all(&generation.shared);
    let nodes = generation.nodes.iter();
    let nodes = nodes
        .map(|(id, files)| {
            (
                id.as_str(),
                *files.digest.as_bytes(),
                places.all(&files.local),
            )
        })
        .collect();
    let entry = ArtifactsEntry {
        digest: *generation.digest.as_bytes(),
        paths: places.paths,
        chunks: places.chunks,
        shared,
        nodes,
    };
    frame::whole_file(Kind::Generation, |body| entry::write(body, &entry))
}

/// Gives paths and chunks their places: each stands once.
#[derive(Default)]
struct Places<'a> {
    paths: Vec<&'a str>,
    by_path: HashMap<&'a str, u32>,
    chunks: Vec<([u8; 32], Raw<'a>)>,
    by_sum: HashMap<Digest, u32>,
}

impl<'a> Places<'a> {
    fn all(&mut self, set: &'a ArtifactSet) -> Vec<PlacedFile> {
        set.files().iter().map(|file| self.one(file)).collect()
    }

    fn one(&mut self, file: &'a ArtifactFile) -> PlacedFile {
        let path = file.path.as_str();
        let path = *self.by_path.entry(path).or_insert_with(|| {
            self.paths.push(path);
            place(self.paths.len() - 1)
        });
        let chunks = written(&file.content).map(|chunk| {
            let sum = chunk.sha256();
            *self.by_sum.entry(sum).or_insert_with(|| {
                self.chunks.push((*sum.as_bytes(), Raw(chunk.bytes())));
                place(self.chunks.len() - 1)
            })
        });
        PlacedFile {
            path,
            mode: file.mode.bits(),
            secret: file.secret,
            chunks: chunks.collect(),
        }
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).expect("four billion chunks do not fit in memory")
}

pub(super) fn from_file(
    file: &Bytes,
    digest: Digest,
    path: impl Fn() -> PathBuf,
) -> Result<Artifacts, JournalError> {
    read_first(file, Kind::Generation, path, |_, body, end| {
        match end == file.len() {
            true => from_body(file, body, digest),
            false => Err(Unreadable::Other(format!(
                "something follows it from byte {end} on"
            ))),
        }
    })
}

fn from_body(file: &Bytes, body: &[u8], digest: Digest) -> Result<Artifacts, Unreadable> {
    let (entry, _): (ArtifactsEntry, _) = entry::read(body)?;
    if entry.digest != *digest.as_bytes() {
        return Err(Unreadable::Other(
            "it holds another generation than its name says".to_owned(),
        ));
    }
    let paths: Result<Vec<_>, _> = entry
        .paths
        .iter()
        .map(|path| ArtifactPath::new(path))
        .collect();
    let (paths, chunks) = (paths?, entry.chunks.iter());
    // The bytes stay where they were read.
    let chunks: Vec<Arc<Chunk>> = chunks
        .map(|(sum, Raw(bytes))| {
            Chunk::with_sha256(file.slice_ref(bytes), Digest::from_bytes(*sum))
        })
        .collect();
    let set = |files: Vec<PlacedFile>| -> Result<ArtifactSet, Unreadable> {
        let nowhere = || Unreadable::Other("a file names a place that is not there".to_owned());
        let placed = files.into_iter().map(|file| {
            let pieces: Option<Vec<_>> = file
                .chunks
                .iter()
                .map(|at| chunks.get(*at as usize).cloned())
                .collect();
            let path = paths.get(file.path as usize).ok_or_else(nowhere)?;
            Ok(ArtifactFile {
                path: path.clone(),
                mode: mode(file.mode)?,
                content: Content::from_chunks(pieces.ok_or_else(nowhere)?),
                secret: file.secret,
            })
        });
        let files: Result<Vec<_>, Unreadable> = placed.collect();
        ArtifactSet::new(files?).map_err(|error| Unreadable::Other(error.to_string()))
    };
    let shared = Arc::new(set(entry.shared)?);
    let mut nodes = BTreeMap::new();
    for (identifier, digest, files) in entry.nodes {
        let files = NodeFiles {
            local: set(files)?,
            digest: Digest::from_bytes(digest),
        };
        nodes.insert(identifier.parse()?, files);
    }
    Ok(Artifacts { nodes, shared })
}
