//! Copies of a state directory to another store, and from another store into a new directory.
//!
//! At each moment of a copy at most one of the two stores can be used. The steps are: mark the target as incomplete, write
//! it, read it back, mark the source as moved, and remove the mark of the target. A copy that was interrupted is run again.

use std::{path::Path, sync::Arc};

use super::{
    commit::{empty_frame, start_failed},
    directory::Directory,
    disk::{Disk, WriteError},
    generation_files::GenerationWriter,
    log::{LOG, Log},
    new_head,
    place::Place,
    recover::{Recovered, recover_within},
    state_files::{self, SNAPSHOT},
    transfer_mark::TransferMark,
};
use crate::{
    EventBounds, StateCopy, StoreError, directory_error::DirectoryError,
    encoding::snapshot::Instances,
};
use cfgsync_model::Instance;

/// A copy leaves no event out.
const ALL_EVENTS: EventBounds = EventBounds {
    events_max: usize::MAX,
    contents_max_bytes: usize::MAX,
};

/// A state directory to copy, locked against servers until this is dropped.
pub struct DirectorySource {
    disk: Arc<dyn Disk>,
    moved_to: Option<String>,
    copy: StateCopy,
}

/// A directory to copy a state into, locked against servers until this is dropped.
pub struct DirectoryTarget {
    disk: Arc<dyn Disk>,
    incoming: Option<Instance>,
}

impl DirectorySource {
    /// Locks and reads the directory.
    ///
    /// # Errors
    /// Fails if it has no state, or one that a server would not open.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        if !directory.join(LOG).exists() {
            let directory = directory.to_owned();
            return Err(DirectoryError::NoState { directory }.into());
        }
        Ok(Self::open_on(Arc::new(Directory::open_locked(directory)?))?)
    }

    fn open_on(disk: Arc<dyn Disk>) -> Result<Self, DirectoryError> {
        let directory = || disk.path("");
        let moved_to = match TransferMark::read(&*disk)? {
            None => None,
            Some(TransferMark::Moved { to }) => Some(to),
            Some(mark @ TransferMark::Incoming { .. }) => return Err(mark.refusal(&*disk)),
        };
        let recovered = read(&*disk)?;
        let recorded = Place::recorded(&*disk)?;
        if recorded.is_some_and(|recorded| Place::now(&*disk).differs_from(&recorded)) {
            return Err(DirectoryError::Copied {
                directory: directory(),
            });
        }
        if let Some(lost) = recovered.lost_tail {
            return Err(DirectoryError::LostTail {
                directory: directory(),
                what: lost.to_string(),
            });
        }
        let copy = StateCopy {
            cluster: recovered.head.cluster,
            instance: recovered.instance,
            state: recovered.state,
        };
        Ok(Self {
            disk,
            moved_to,
            copy,
        })
    }

    /// Returns the content of the directory.
    pub fn copy(&self) -> &StateCopy {
        &self.copy
    }

    /// Returns the place that an earlier copy has moved the state to.
    pub fn moved_to(&self) -> Option<&str> {
        self.moved_to.as_deref()
    }

    /// Marks the directory as moved. From then on, no server uses it.
    ///
    /// # Errors
    /// Fails if the mark cannot be written. It may then exist nevertheless.
    pub fn mark_moved(&self, to: &str) -> Result<(), StoreError> {
        let mark = TransferMark::Moved { to: to.to_owned() };
        mark.write(&*self.disk).map_err(failed)
    }
}

impl DirectoryTarget {
    /// Locks the directory, and creates it if it does not exist.
    ///
    /// # Errors
    /// Fails if the directory has data, unless they are those of a copy that was interrupted.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Ok(Self::open_on(Arc::new(Directory::open_locked(directory)?))?)
    }

    fn open_on(disk: Arc<dyn Disk>) -> Result<Self, DirectoryError> {
        let mark = TransferMark::read(&*disk)?;
        let incoming = match mark {
            Some(TransferMark::Incoming { instance, .. }) => Some(Instance::from_bytes(instance)),
            Some(mark @ TransferMark::Moved { .. }) => return Err(mark.refusal(&*disk)),
            None => None,
        };
        for name in [LOG, SNAPSHOT] {
            let found = disk.read(name).map_err(|error| DirectoryError::Io {
                action: "read",
                path: disk.path(name),
                error,
            })?;
            if incoming.is_none() && found.is_some() {
                let directory = disk.path("");
                return Err(DirectoryError::NotEmpty { directory });
            }
        }
        Ok(Self { disk, incoming })
    }

    /// Returns the instance that an interrupted copy has begun to write.
    pub fn incoming(&self) -> Option<Instance> {
        self.incoming
    }

    /// Writes `copy`, which comes from the place `from`. The directory stays marked as incomplete. It blocks the calling
    /// thread.
    ///
    /// # Errors
    /// Fails if a file cannot be written. The copy can be started again.
    pub fn write(&self, copy: &StateCopy, from: &str) -> Result<(), StoreError> {
        Ok(self.write_all(copy, from).map_err(start_failed)?)
    }

    fn write_all(&self, copy: &StateCopy, from: &str) -> Result<(), WriteError> {
        let disk = &*self.disk;
        let state = &copy.state;
        TransferMark::incoming(copy.instance, from).write(disk)?;
        let mut head = new_head(&copy.cluster).map_err(|error| WriteError::NotWritten {
            path: disk.path(LOG),
            error,
        })?;
        head.instance = copy.instance;
        let generations = Arc::new(GenerationWriter::new(self.disk.clone()));
        // An earlier try may have left files of generations that the source no longer has.
        generations.tidy(state);
        for generation in state.generations.iter() {
            drop(generations.clone().write(generation)?);
        }
        let instances = Instances {
            log: copy.instance,
            state: copy.instance,
        };
        state_files::write_events(disk, copy.instance, state)?;
        state_files::write_snapshot(disk, instances, state, copy.history())?;
        Log::create(disk, &head, &empty_frame(state, head.marker))?;
        generations.tidy(state);
        generations.sync_names()?;
        Place::now(disk).write(disk)
    }

    /// Reads the whole directory.
    ///
    /// # Errors
    /// Fails if a server would not open it.
    pub fn read_back(&self) -> Result<StateCopy, StoreError> {
        let recovered = read(&*self.disk)?;
        Ok(StateCopy {
            cluster: recovered.head.cluster,
            instance: recovered.instance,
            state: recovered.state,
        })
    }

    /// Removes the mark, so that servers can use the directory.
    ///
    /// # Errors
    /// Fails if the mark cannot be removed. The copy can be started again.
    pub fn complete(self) -> Result<(), StoreError> {
        TransferMark::remove(&*self.disk).map_err(failed)
    }
}

fn read(disk: &dyn Disk) -> Result<Recovered, DirectoryError> {
    let recovered = recover_within(disk, ALL_EVENTS)?;
    recovered.ok_or_else(|| DirectoryError::NoState {
        directory: disk.path(""),
    })
}

fn failed(error: WriteError) -> StoreError {
    start_failed(error).into()
}
