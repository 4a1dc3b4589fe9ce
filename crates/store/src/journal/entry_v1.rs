//! The entries of format 1, which this program reads but does not write.

use serde::Deserialize;

use crate::{
    Change, RejectionReason, State,
    encoding::{
        commit_entry::{
            claim, deliver, release, remove, remove_override, replay_changes, replay_seal,
            set_override,
        },
        entry::{FailureEntry, FileEntry, NodeEntry, SealEntry},
        error::DecodeError,
    },
    payload_ages::UnchangedPayloads,
};
use cfgsync_model::{Provenance, Revision};

/// One accepted change of format 1, which raised the revision by one.
#[derive(Deserialize)]
pub(super) enum EntryV1<'a> {
    Register(#[serde(borrow)] NodeEntry<'a>),
    Remove(&'a str),
    Override(&'a str, #[serde(borrow)] Vec<FileEntry<'a>>),
    RemoveOverride(&'a str),
    Note(#[serde(borrow)] Vec<NoteEntryV1<'a>>),
    Seal(#[serde(borrow)] SealEntry<'a>),
}

/// The encoding of a record in format 1.
#[derive(Deserialize)]
pub(super) enum NoteEntryV1<'a> {
    Delivered(&'a str, u64),
    Failed(#[serde(borrow)] FailureEntry<'a>),
    Reset,
    Claimed(&'a str, [u8; 32]),
    Released(&'a str),
}

impl EntryV1<'_> {
    /// Applies the entry to `state` at `revision`.
    pub(super) fn replay(self, state: &mut State, revision: Revision) -> Result<(), DecodeError> {
        let change = match self {
            Self::Register(node) => Change::register(node.registration()?),
            Self::Remove(identifier) => remove(identifier)?,
            Self::Override(identifier, files) => set_override(identifier, files)?,
            Self::RemoveOverride(identifier) => remove_override(identifier)?,
            Self::Seal(seal) => {
                let unchanged = UnchangedPayloads::default();
                let provenance = Provenance::default();
                return replay_seal(&seal, &unchanged, provenance, state, revision);
            }
            Self::Note(notes) => {
                for note in notes {
                    match state
                        .apply(vec![note.change()?], revision)
                        .map_err(|e| e.reason)
                    {
                        // Format 1 also wrote claims that were rejected because another key owned the identifier.
                        Ok(_) | Err(RejectionReason::DifferentKey(_)) => {}
                        Err(reason) => return Err(DecodeError::Other(reason.to_string())),
                    }
                }
                // Format 1 also gave a revision to records that changed nothing.
                state.revision = revision;
                return Ok(());
            }
        };
        replay_changes(vec![change], state, revision)
    }
}

impl NoteEntryV1<'_> {
    fn change(self) -> Result<Change, DecodeError> {
        match self {
            Self::Delivered(identifier, number) => deliver(identifier, number, None),
            Self::Failed(failure) => failure.failure().map(Change::Fail),
            Self::Reset => Ok(Change::Reset),
            Self::Claimed(identifier, key) => claim(identifier, key),
            Self::Released(identifier) => release(identifier),
        }
    }
}
