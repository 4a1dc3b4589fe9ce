//! The encoding of commits in the log. The order of variants is the format: new variants go to the end.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    entry::{
        FailureEntry, FileEntry, NodeEntry, OriginEntry, ProvenanceEntry, SealEntry, revision,
    },
    error::DecodeError,
    phase_entry::ReportEntry,
    run_entry::RunChangeEntry,
    scalar_entry::{BytesEntry, TimestampEntry},
    value_entry::ValueChangeEntry,
};
use crate::{
    Bounds, Change, SealCondition, SealOutcome, State, StoppedRollout,
    payload_ages::UnchangedPayloads,
};
use cfgsync_model::{Digest, GenerationNumber, Identifier, Provenance, Revision};
use cfgsync_support::clock::Timestamp;

/// One commit in format 2.
#[derive(Serialize, Deserialize)]
pub(crate) struct CommitEntry<'a> {
    pub(crate) revision: u64,
    #[serde(borrow)]
    content: CommitContent<'a>,
}

#[derive(Serialize, Deserialize)]
enum CommitContent<'a> {
    Changes(#[serde(borrow)] Vec<ChangeEntry<'a>>),
    Seal(#[serde(borrow)] SealEntry<'a>),
    /// A seal that leaves the payload of some nodes as it was.
    SealUnchanged(
        #[serde(borrow)] SealEntry<'a>,
        #[serde(borrow)] BytesEntry<'a>,
    ),
    /// A seal, the nodes whose payload it leaves as it was, and its provenance.
    SealFrom(
        #[serde(borrow)] SealEntry<'a>,
        #[serde(borrow)] BytesEntry<'a>,
        #[serde(borrow)] ProvenanceEntry<'a>,
    ),
}

/// The encoding of one change of a batch.
#[derive(Serialize, Deserialize)]
pub(crate) enum ChangeEntry<'a> {
    Register(#[serde(borrow)] NodeEntry<'a>),
    Remove(&'a str),
    Override(&'a str, #[serde(borrow)] Vec<FileEntry<'a>>),
    RemoveOverride(&'a str),
    Deliver(&'a str, u64),
    Fail(#[serde(borrow)] FailureEntry<'a>),
    Reset,
    Claim(&'a str, [u8; 32]),
    Release(&'a str),
    RegisterFrom(#[serde(borrow)] NodeEntry<'a>, OriginEntry),
    Redraw(&'a str),
    Ban(&'a str),
    Unban(&'a str),
    Confirm(u64, u64),
    Value(#[serde(borrow)] ValueChangeEntry<'a>),
    Report(#[serde(borrow)] ReportEntry<'a>),
    Run(#[serde(borrow)] RunChangeEntry<'a>),
    /// The generation whose roll-out is stopped, and the reason.
    StopRollout(u64, Option<&'a str>),
    /// A delivery with its time.
    DeliverAt(&'a str, u64, TimestampEntry),
    /// The generation whose roll-out is continued.
    ResumeRollout(u64),
}

impl<'a> CommitEntry<'a> {
    /// Returns the entry of a batch that is applied at `revision`.
    pub(crate) fn of_changes(revision: Revision, changes: &'a [Change]) -> Self {
        Self {
            revision: revision.0,
            content: CommitContent::Changes(changes.iter().map(ChangeEntry::of).collect()),
        }
    }

    /// Returns the entry of a seal at `revision`.
    pub(crate) fn of_seal(
        revision: Revision,
        seal: SealEntry<'a>,
        unchanged: &'a UnchangedPayloads,
        provenance: Option<ProvenanceEntry<'a>>,
    ) -> Self {
        let bits = BytesEntry(&unchanged.bits);
        let content = match provenance {
            Some(provenance) => CommitContent::SealFrom(seal, bits, provenance),
            None if unchanged.bits.is_empty() => CommitContent::Seal(seal),
            None => CommitContent::SealUnchanged(seal, bits),
        };
        Self {
            revision: revision.0,
            content,
        }
    }

    /// Applies the commit to `state`. A sealed generation has no files yet.
    pub(crate) fn replay(self, state: &mut State) -> Result<(), DecodeError> {
        let revision = revision(self.revision)?;
        if revision <= state.revision {
            return Err(DecodeError::Other(format!(
                "a commit has revision {revision}, and the one before it has {}",
                state.revision
            )));
        }
        let changes = match self.content {
            CommitContent::Changes(changes) => changes,
            CommitContent::Seal(seal) => {
                let unchanged = UnchangedPayloads::default();
                let provenance = Provenance::default();
                return replay_seal(&seal, &unchanged, provenance, state, revision);
            }
            CommitContent::SealUnchanged(seal, BytesEntry(bits)) => {
                let unchanged = UnchangedPayloads {
                    bits: bits.to_vec(),
                };
                let provenance = Provenance::default();
                return replay_seal(&seal, &unchanged, provenance, state, revision);
            }
            CommitContent::SealFrom(seal, BytesEntry(bits), provenance) => {
                let unchanged = UnchangedPayloads {
                    bits: bits.to_vec(),
                };
                let provenance = provenance.provenance();
                return replay_seal(&seal, &unchanged, provenance, state, revision);
            }
        };
        let changes: Result<_, _> = changes.into_iter().map(ChangeEntry::change).collect();
        replay_changes(changes?, state, revision)
    }
}

/// Applies changes that changed something when they were written.
pub(crate) fn replay_changes(
    changes: Vec<Change>,
    state: &mut State,
    revision: Revision,
) -> Result<(), DecodeError> {
    let commit = state.apply(changes, revision);
    let commit = commit.map_err(|rejection| DecodeError::Other(rejection.to_string()))?;
    if !commit.is_changed() {
        return Err(DecodeError::Other("a commit changes nothing".to_owned()));
    }
    Ok(())
}

pub(crate) fn replay_seal(
    seal: &SealEntry,
    unchanged: &UnchangedPayloads,
    provenance: Provenance,
    state: &mut State,
    revision: Revision,
) -> Result<(), DecodeError> {
    let mut generation = seal.generation(state.generation().map(Arc::as_ref))?;
    generation.provenance = Arc::new(provenance);
    let (generation, history) = (Arc::new(generation), seal.history as usize);
    // Its condition held when it was written.
    let only_if = SealCondition::default();
    match state.seal_with(generation, only_if, unchanged, history, revision) {
        Ok(SealOutcome::Won) => Ok(()),
        Ok(SealOutcome::Outdated) => Err(DecodeError::Other(
            "a seal without a condition is outdated".to_owned(),
        )),
        Ok(SealOutcome::Lost(newest)) => Err(DecodeError::Other(format!(
            "generation {} follows generation {}",
            seal.number, newest.number
        ))),
        Err(rejection) => Err(DecodeError::Other(rejection.to_string())),
    }
}

impl<'a> ChangeEntry<'a> {
    pub(crate) fn of(change: &'a Change) -> Self {
        match change {
            // Bounds and conditions were checked before the change was accepted.
            Change::Register {
                registration,
                origin,
                ..
            } => {
                let node = NodeEntry::of(registration);
                match OriginEntry::of(origin) {
                    None => Self::Register(node),
                    Some(origin) => Self::RegisterFrom(node, origin),
                }
            }
            Change::Remove { identifier, .. } => Self::Remove(identifier.as_str()),
            Change::Override { identifier, files } => {
                Self::Override(identifier.as_str(), FileEntry::all_of(files))
            }
            Change::RemoveOverride(identifier) => Self::RemoveOverride(identifier.as_str()),
            Change::Deliver {
                identifier,
                generation,
                at,
            } => match at {
                None => Self::Deliver(identifier.as_str(), generation.0),
                Some(at) => {
                    let at = TimestampEntry::of(*at);
                    Self::DeliverAt(identifier.as_str(), generation.0, at)
                }
            },
            Change::Claim {
                identifier, key, ..
            } => Self::Claim(identifier.as_str(), *key.as_bytes()),
            Change::Release(identifier) => Self::Release(identifier.as_str()),
            Change::Fail(failure) => Self::Fail(FailureEntry::of(failure)),
            Change::Reset => Self::Reset,
            Change::Value(change) => Self::Value(ValueChangeEntry::of(change)),
            Change::Redraw { key } => Self::Redraw(key),
            Change::Ban { identifier, .. } => Self::Ban(identifier.as_str()),
            Change::Unban(identifier) => Self::Unban(identifier.as_str()),
            Change::Confirm { generation, inputs } => Self::Confirm(generation.0, inputs.0),
            Change::Report(report) => Self::Report(ReportEntry::of(report)),
            Change::Run(change) => Self::Run(RunChangeEntry::of(change)),
            Change::StopRollout(StoppedRollout { generation, reason }) => {
                Self::StopRollout(generation.0, reason.as_deref())
            }
            Change::ResumeRollout { generation } => Self::ResumeRollout(generation.0),
        }
    }

    pub(crate) fn change(self) -> Result<Change, DecodeError> {
        match self {
            Self::Register(node) => node.registration().map(Change::register),
            Self::RegisterFrom(node, origin) => Ok(Change::Register {
                registration: node.registration()?,
                origin: origin.origin()?,
                within: Bounds::NONE,
                before_seal: false,
            }),
            Self::Remove(identifier) => remove(identifier),
            Self::Override(identifier, files) => set_override(identifier, files),
            Self::RemoveOverride(identifier) => remove_override(identifier),
            Self::Deliver(identifier, number) => deliver(identifier, number, None),
            Self::DeliverAt(identifier, number, at) => {
                deliver(identifier, number, Some(at.timestamp()?))
            }
            Self::Fail(failure) => failure.failure().map(Change::Fail),
            Self::Reset => Ok(Change::Reset),
            Self::Value(change) => change.change().map(Change::Value),
            Self::Claim(identifier, key) => claim(identifier, key),
            Self::Release(identifier) => release(identifier),
            Self::Ban(identifier) => Ok(Change::Ban {
                identifier: Identifier::recorded(identifier)?,
                within: Bounds::NONE,
            }),
            Self::Unban(identifier) => Ok(Change::Unban(Identifier::recorded(identifier)?)),
            Self::Confirm(generation, inputs) => Ok(Change::Confirm {
                generation: GenerationNumber(generation),
                inputs: revision(inputs)?,
            }),
            Self::Report(report) => report.change(),
            Self::Run(change) => change.change().map(Change::Run),
            Self::StopRollout(generation, reason) => Ok(Change::StopRollout(StoppedRollout {
                generation: GenerationNumber(generation),
                reason: reason.map(Arc::from),
            })),
            Self::ResumeRollout(generation) => Ok(Change::ResumeRollout {
                generation: GenerationNumber(generation),
            }),
            Self::Redraw(key) => Ok(Change::Redraw {
                key: key.to_owned(),
            }),
        }
    }
}

pub(crate) fn remove(identifier: &str) -> Result<Change, DecodeError> {
    Ok(Change::Remove {
        identifier: Identifier::recorded(identifier)?,
        only_if: None,
        joiner: None,
    })
}

pub(crate) fn set_override(identifier: &str, files: Vec<FileEntry>) -> Result<Change, DecodeError> {
    Ok(Change::Override {
        identifier: Identifier::recorded(identifier)?,
        files: FileEntry::set(files)?,
    })
}

pub(crate) fn remove_override(identifier: &str) -> Result<Change, DecodeError> {
    Ok(Change::RemoveOverride(Identifier::recorded(identifier)?))
}

pub(crate) fn deliver(
    identifier: &str,
    number: u64,
    at: Option<Timestamp>,
) -> Result<Change, DecodeError> {
    Ok(Change::Deliver {
        identifier: Identifier::recorded(identifier)?,
        generation: GenerationNumber(number),
        at,
    })
}

pub(crate) fn claim(identifier: &str, key: [u8; 32]) -> Result<Change, DecodeError> {
    Ok(Change::Claim {
        identifier: Identifier::recorded(identifier)?,
        key: Digest::from_bytes(key),
        within: Bounds::NONE,
    })
}

pub(crate) fn release(identifier: &str) -> Result<Change, DecodeError> {
    Ok(Change::Release(Identifier::recorded(identifier)?))
}
