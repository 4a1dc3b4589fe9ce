//! Evidence that the end of the log is lost: the mark of the last clean stop, and sealed files that the log does not name.
//!
//! The evidence is collected before the log is read. A running server only ever makes the log longer than the evidence.

use std::{collections::HashSet, fmt};

use super::{clean_mark::CleanMark, disk::Disk, generation_files, place::Place};
use crate::{State, directory_error::DirectoryError};
use cfgsync_model::{Digest, GenerationNumber, Instance, Revision};

/// The evidence in a directory.
pub(super) struct Evidence {
    clean_mark: Option<CleanMark>,
    sealed: Vec<Digest>,
    has_place: bool,
}

/// The contents of a log, for comparison with the evidence.
pub(super) struct LogContents<'a> {
    pub(super) instance: Instance,
    /// Whether the head of the log promises the record of the place.
    pub(super) has_place: bool,
    pub(super) state: &'a State,
    /// The digests of all generations that the snapshot or the log names, also those that are no longer kept.
    pub(super) named: &'a HashSet<Digest>,
    /// Whether there is no snapshot, and the log has no change.
    pub(super) is_empty: bool,
}

/// The end of the log is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LostTail {
    /// The revision at which the log ends.
    revision: Revision,
    /// The mark of a later clean stop.
    clean_mark: Option<CleanMark>,
    /// Generations that the log does not name.
    sealed: Vec<Digest>,
}

impl Evidence {
    /// Collects the evidence on `disk`.
    pub(super) fn read(disk: &dyn Disk) -> Result<Self, DirectoryError> {
        Ok(Self {
            clean_mark: CleanMark::read(disk)?,
            sealed: generation_files::sealed(disk),
            has_place: Place::recorded(disk)?.is_some(),
        })
    }

    /// Whether the directory has been used: it has a mark, a record, or a sealed file.
    pub(super) fn is_of_a_used_directory(&self) -> bool {
        self.clean_mark.is_some() || self.has_place || !self.sealed.is_empty()
    }

    /// Compares the evidence with the log.
    pub(super) fn lost_tail(self, disk: &dyn Disk, log: &LogContents<'_>) -> Option<LostTail> {
        let revision = log.state.revision;
        let is_later = |mark: &CleanMark| mark.instance == log.instance && mark.revision > revision;
        let clean_mark = self.clean_mark.filter(is_later);
        // The final name of a file shows that the log has named it. Programs that did not write the record of the place
        // gave the final name before the seal.
        let are_names_conclusive = self.has_place || log.has_place || log.is_empty;
        let mut sealed = self.sealed;
        sealed.retain(|digest| {
            are_names_conclusive
                && !log.named.contains(digest)
                && generation_files::may_be_sealed_by(disk, log.instance, *digest)
        });
        (clean_mark.is_some() || !sealed.is_empty()).then_some(LostTail {
            revision,
            clean_mark,
            sealed,
        })
    }
}

impl fmt::Display for LostTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the end of the log is lost: the log ends at revision {}",
            self.revision
        )?;
        if let Some(mark) = &self.clean_mark {
            write!(
                f,
                ", but the last server stopped at revision {}",
                mark.revision
            )?;
            if let Some(GenerationNumber(number)) = mark.generation {
                write!(f, " with generation {number}")?;
            }
        }
        if let Some((first, more)) = self.sealed.split_first() {
            let name = generation_files::name_of(*first);
            write!(f, ", and the log does not name the sealed file {name}")?;
            if !more.is_empty() {
                write!(f, " and {} more", more.len())?;
            }
        }
        f.write_str(
            "; registrations, overrides, claims, bans and generations after that revision may be missing",
        )
    }
}
