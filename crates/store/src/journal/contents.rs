//! Reads a state directory without locking it, also while a server uses it.

use std::path::{Path, PathBuf};

use super::{
    NOTES,
    directory::Directory,
    disk::Disk,
    generation_files,
    recover::{Recovered, recover},
};
use crate::{State, StoreError, directory_error::DirectoryError};
use cfgsync_model::{Instance, Revision};

/// The number of reads after which damage is reported. Before that, a running server may be replacing a file.
const READS_MAX: u32 = 5;

/// The content of a state directory.
#[derive(Debug)]
pub struct DirectoryContents {
    /// The path that was read.
    pub directory: PathBuf,
    /// The instance of the state.
    pub instance: Instance,
    /// The name of the cluster.
    pub cluster: String,
    /// The newest state, with all files.
    pub state: State,
    /// The number of frames in the log. One frame holds the batches that were synced together.
    pub log_frames: u64,
    /// The length of these frames, in bytes.
    pub log_bytes: u64,
    /// Whether an unfinished frame follows: a server is writing it, or a crash left it.
    pub is_torn: bool,
    /// The revision of the snapshot, and its length in bytes.
    pub snapshot: Option<(Revision, u64)>,
    /// The evidence that the end of the log is lost, and the changes that may be missing. `None` without evidence.
    pub lost_tail: Option<String>,
}

impl DirectoryContents {
    /// Reads all of `directory`, and checks the checksum of each frame.
    ///
    /// # Errors
    /// [`StoreErrorKind`](crate::StoreErrorKind) lists the reasons.
    pub fn read(directory: &Path) -> Result<Self, StoreError> {
        let disk = Directory::open_unlocked(directory);
        let mut reads = 1;
        let recovered = loop {
            match recover(&disk) {
                Err(DirectoryError::Damaged { .. }) if reads < READS_MAX => reads += 1,
                Ok(Some(found)) if found.lost_tail.is_some() && reads < READS_MAX => reads += 1,
                result => break result?,
            }
        };
        let Some(recovered) = recovered else {
            let directory = directory.to_owned();
            return Err(DirectoryError::NoState { directory }.into());
        };
        let Recovered {
            head,
            instance,
            format: _,
            state,
            log,
            last_frame: _,
            snapshot,
            lost_tail,
        } = recovered;
        Ok(Self {
            directory: directory.to_owned(),
            instance,
            cluster: head.cluster,
            state,
            log_frames: log.frames,
            log_bytes: log.end - log.start,
            is_torn: log.is_torn,
            snapshot,
            lost_tail: lost_tail.map(|lost| lost.to_string()),
        })
    }

    /// Returns the file with the notes of servers. It may not exist.
    pub fn notes_file(&self) -> PathBuf {
        self.directory.join(NOTES)
    }

    /// Computes the digests of all generations again, to check that no byte has changed since the seal. Checks that the
    /// end of the log is there, as far as the directory shows.
    ///
    /// # Errors
    /// Fails with [`StoreErrorKind::Damaged`](crate::StoreErrorKind::Damaged) and the file that differs, or with
    /// [`StoreErrorKind::LostTail`](crate::StoreErrorKind::LostTail).
    pub fn verify(&self) -> Result<(), StoreError> {
        let disk = Directory::open_unlocked(&self.directory);
        for generation in self.state.generations.iter() {
            let verified = generation_files::verify_digests(self.instance, generation);
            verified.map_err(|what| DirectoryError::Damaged {
                file: disk.path(&generation_files::name_of(generation.digest)),
                offset: 0,
                what,
            })?;
        }
        match &self.lost_tail {
            None => Ok(()),
            Some(what) => Err(DirectoryError::LostTail {
                directory: self.directory.clone(),
                what: what.clone(),
            }
            .into()),
        }
    }
}
