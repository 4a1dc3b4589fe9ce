//! The files of generations: one file on disk for each generation, named by its digest.
//!
//! Before the seal, the file has the suffix [`PENDING_SUFFIX`]. It is renamed after the seal is in the log. A file
//! without the suffix therefore shows that the log has named it.

use std::{
    collections::{HashMap, HashSet},
    io::ErrorKind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    directory::GENERATIONS,
    disk::{Disk, STAGED_SUFFIX, WriteError, replace_file},
};
use crate::{
    State,
    directory_error::DirectoryError,
    encoding::generation_file::{GenerationFiles, from_file, to_file},
};
use cfgsync_model::{
    ArtifactFile, ArtifactSet, Chunk, Content, Digest, Generation, Instance, generation_digest,
};

/// The suffix of a file whose seal may not be in the log.
const PENDING_SUFFIX: &str = ".pending";

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
