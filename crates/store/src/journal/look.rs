//! A look at a state directory from outside, also while a server is at work in it.

use std::path::{Path, PathBuf};

use super::{
    artifacts,
    directory::Directory,
    disk::Disk,
    error::JournalError,
    recover::{Recovered, recover},
};
use crate::State;
use cfgsync_model::{Instance, Revision};

/// What a server is about to replace may be read half; it is read again so many times.
const TRIES: u32 = 5;

/// What a state directory holds, read without holding it.
#[derive(Debug)]
pub struct JournalContents {
    /// Where it was read.
    pub directory: PathBuf,
    /// Whose revisions and generation numbers these are.
    pub instance: Instance,
    /// The cluster's name.
    pub cluster: String,
    /// The newest state.
    pub state: State,
    /// How many batches the log holds.
    pub log_batches: u64,
    /// How many bytes they have.
    pub log_bytes: u64,
    /// Whether an unfinished batch follows them: one that is being written, or that a crash left.
    pub is_torn: bool,
    /// The snapshot's revision and length in bytes.
    pub snapshot: Option<(Revision, u64)>,
}

impl JournalContents {
    /// Reads all of `directory`. Every frame's checksum is looked at.
    pub fn read(directory: &Path) -> Result<Self, JournalError> {
        let disk = Directory::look(directory);
        let mut tries = 1;
        let recovered = loop {
            match recover(&disk) {
                Err(JournalError::Damaged { .. }) if tries < TRIES => tries += 1,
                found => break found?,
            }
        };
        let Some(recovered) = recovered else {
            return Err(JournalError::NoState {
                directory: directory.to_owned(),
            });
        };
        let Recovered {
            head,
            version: _,
            state,
            log,
            last_frame: _,
            snapshot,
        } = recovered;
        Ok(Self {
            directory: directory.to_owned(),
            instance: head.instance,
            cluster: head.cluster,
            state,
            log_batches: log.batches,
            log_bytes: log.end - log.start,
            is_torn: log.is_torn,
            snapshot,
        })
    }

    /// Works out the digests of all generations again: whether every byte is the sealed one.
    pub fn verify(&self) -> Result<(), JournalError> {
        let disk = Directory::look(&self.directory);
        for generation in self.state.generations.iter() {
            artifacts::check(self.instance, generation).map_err(|what| JournalError::Damaged {
                file: disk.path(&artifacts::name_of(generation.digest)),
                offset: 0,
                what,
            })?;
        }
        Ok(())
    }
}
