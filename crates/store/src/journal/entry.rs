//! What a change looks like on disk, and back. The order of fields and variants is the format.
//!
//! Bodies are postcard: compact, and read without copying. Metadata and what was drawn once are JSON texts within.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::Unreadable;
use crate::{Bounds, Change, RejectionReason, SealOutcome, State};
use cfgsync_model::{
    ArtifactFile, ArtifactPath, ArtifactSet, Chunk, Content, Digest, Failure, FailureKind,
    Generation, GenerationNumber, Identifier, Metadata, Mode, NodeRegistration, Revision, Seat,
};
use cfgsync_support::clock::Timestamp;

/// One commit of format 2: a batch of changes, or a seal, at one revision.
#[derive(Serialize, Deserialize)]
pub(super) struct CommitEntry<'a> {
    pub(super) revision: u64,
    #[serde(borrow)]
    changes: Vec<ChangeEntry<'a>>,
}

/// One change of a commit. A seal is the only change of its commit.
#[derive(Serialize, Deserialize)]
enum ChangeEntry<'a> {
    Register(#[serde(borrow)] NodeEntry<'a>),
    Remove(&'a str),
    Override(&'a str, #[serde(borrow)] Vec<FileEntry<'a>>),
    RemoveOverride(&'a str),
    Seal(#[serde(borrow)] SealEntry<'a>),
    Deliver(&'a str, u64),
    Fail(#[serde(borrow)] FailureEntry<'a>),
    Reset,
    Claim(&'a str, [u8; 32]),
    Release(&'a str),
}

/// One accepted change of format 1, which raised the revision by one. Only read.
#[derive(Deserialize)]
pub(super) enum EntryV1<'a> {
    Register(#[serde(borrow)] NodeEntry<'a>),
    Remove(&'a str),
    Override(&'a str, #[serde(borrow)] Vec<FileEntry<'a>>),
    RemoveOverride(&'a str),
    Note(#[serde(borrow)] Vec<NoteEntryV1<'a>>),
    Seal(#[serde(borrow)] SealEntry<'a>),
}

/// A node's facts.
#[derive(Serialize, Deserialize)]
pub(super) struct NodeEntry<'a> {
    identifier: &'a str,
    ip: IpAddr,
    #[serde(borrow)]
    metadata: Cow<'a, str>,
}

/// A file of an override.
#[derive(Serialize, Deserialize)]
pub(super) struct FileEntry<'a> {
    path: &'a str,
    mode: u32,
    secret: bool,
    #[serde(borrow)]
    chunks: Vec<Raw<'a>>,
}

/// A record of format 1. Only read.
#[derive(Deserialize)]
pub(super) enum NoteEntryV1<'a> {
    Delivered(&'a str, u64),
    Failed(#[serde(borrow)] FailureEntry<'a>),
    Reset,
    Claimed(&'a str, [u8; 32]),
    Released(&'a str),
}

/// A failure.
#[derive(Serialize, Deserialize)]
pub(super) struct FailureEntry<'a> {
    kind: FailureWord,
    reason: &'a str,
    at: Moment,
}

/// A generation without its files: those stand in a file of their own, named by the digest.
#[derive(Serialize, Deserialize)]
pub(super) struct SealEntry<'a> {
    number: u64,
    digest: [u8; 32],
    revision: u64,
    spec: [u8; 32],
    sealed_at: Moment,
    #[serde(borrow)]
    once: Cow<'a, str>,
    /// Seats that the generation before has not; all, if `all_seats`.
    seats: Vec<(&'a str, u32)>,
    all_seats: bool,
    /// How many generations were kept then: files of older ones may be gone.
    pub(super) history: u32,
}

/// Seconds and nanoseconds of Unix time.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(super) struct Moment(i64, i32);

#[derive(Serialize, Deserialize)]
enum FailureWord {
    Deadline,
    Render,
    Operator,
}

/// Bytes, written at once.
#[derive(Deserialize, Clone, Copy)]
pub(super) struct Raw<'a>(#[serde(borrow)] pub(super) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Appends `value` to `out`.
pub(super) fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    postcard::serialize_with_flavor(value, Tail(out))
        .expect("lengths are known, and memory takes all");
}

/// The end of a buffer, for postcard.
struct Tail<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Tail<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Reads one value; answers what follows it as well.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<(T, &'a [u8]), Unreadable> {
    Ok(postcard::take_from_bytes(body)?)
}

impl<'a> CommitEntry<'a> {
    /// The entry of a batch that is applied at `revision`.
    pub(super) fn of_changes(revision: Revision, changes: &'a [Change]) -> Self {
        Self {
            revision: revision.0,
            changes: changes.iter().map(ChangeEntry::of).collect(),
        }
    }

    /// The entry of a seal at `revision`.
    pub(super) fn of_seal(revision: Revision, seal: SealEntry<'a>) -> Self {
        Self {
            revision: revision.0,
            changes: vec![ChangeEntry::Seal(seal)],
        }
    }

    /// Applies the commit to `state`, by the rules of every store. A sealed generation has no files yet.
    pub(super) fn replay(self, state: &mut State) -> Result<(), Unreadable> {
        let revision = Revision(self.revision);
        if revision <= state.revision {
            return Err(Unreadable::Other(format!(
                "a commit has revision {revision}, and the one before it has {}",
                state.revision
            )));
        }
        let mut changes = Vec::with_capacity(self.changes.len());
        for entry in self.changes {
            match entry.change() {
                Ok(change) => changes.push(change?),
                Err(seal) => replay_seal(&seal, state, revision)?,
            }
        }
        let applied = state.apply(changes, revision);
        applied.map_err(|rejection| Unreadable::Other(rejection.to_string()))?;
        match state.revision == revision {
            true => Ok(()),
            false => Err(Unreadable::Other("a commit changes nothing".to_owned())),
        }
    }
}

fn replay_seal(seal: &SealEntry, state: &mut State, revision: Revision) -> Result<(), Unreadable> {
    let generation = seal.generation(state.generation().map(Arc::as_ref))?;
    match state.seal(Arc::new(generation), seal.history as usize, revision) {
        Ok(SealOutcome::Won) => Ok(()),
        Ok(SealOutcome::Lost(newest)) => Err(Unreadable::Other(format!(
            "generation {} follows generation {}",
            seal.number, newest.number
        ))),
        Err(rejection) => Err(Unreadable::Other(rejection.to_string())),
    }
}

impl<'a> ChangeEntry<'a> {
    fn of(change: &'a Change) -> Self {
        match change {
            // Bounds and conditions were checked before the change was accepted.
            Change::Register { registration, .. } => Self::Register(NodeEntry::of(registration)),
            Change::Remove { identifier, .. } => Self::Remove(identifier.as_str()),
            Change::Override { identifier, files } => {
                Self::Override(identifier.as_str(), FileEntry::all_of(files))
            }
            Change::RemoveOverride(identifier) => Self::RemoveOverride(identifier.as_str()),
            Change::Deliver {
                identifier,
                generation,
            } => Self::Deliver(identifier.as_str(), generation.0),
            Change::Claim {
                identifier, key, ..
            } => Self::Claim(identifier.as_str(), *key.as_bytes()),
            Change::Release(identifier) => Self::Release(identifier.as_str()),
            Change::Fail(failure) => Self::Fail(FailureEntry::of(failure)),
            Change::Reset => Self::Reset,
        }
    }

    /// The change, or the seal that this is.
    fn change(self) -> Result<Result<Change, Unreadable>, SealEntry<'a>> {
        Ok(match self {
            Self::Seal(seal) => return Err(seal),
            Self::Register(node) => node.registration().map(Change::register),
            Self::Remove(identifier) => remove(identifier),
            Self::Override(identifier, files) => set_override(identifier, files),
            Self::RemoveOverride(identifier) => remove_override(identifier),
            Self::Deliver(identifier, number) => deliver(identifier, number),
            Self::Fail(failure) => failure.failure().map(Change::Fail),
            Self::Reset => Ok(Change::Reset),
            Self::Claim(identifier, key) => claim(identifier, key),
            Self::Release(identifier) => release(identifier),
        })
    }
}

impl EntryV1<'_> {
    /// Applies the entry to `state` at `revision`. Format 1 gave a revision also to records that changed nothing.
    pub(super) fn replay(self, state: &mut State, revision: Revision) -> Result<(), Unreadable> {
        let change = match self {
            Self::Register(node) => Change::register(node.registration()?),
            Self::Remove(identifier) => remove(identifier)?,
            Self::Override(identifier, files) => set_override(identifier, files)?,
            Self::RemoveOverride(identifier) => remove_override(identifier)?,
            Self::Seal(seal) => return replay_seal(&seal, state, revision),
            Self::Note(notes) => {
                for note in notes {
                    match state
                        .apply(vec![note.change()?], revision)
                        .map_err(|e| e.reason)
                    {
                        // Format 1 wrote also the claims of keys that came second.
                        Ok(_) | Err(RejectionReason::DifferentKey(_)) => {}
                        Err(reason) => return Err(Unreadable::Other(reason.to_string())),
                    }
                }
                state.revision = revision;
                return Ok(());
            }
        };
        let applied = state.apply(vec![change], revision);
        applied.map_err(|rejection| Unreadable::Other(rejection.to_string()))?;
        match state.revision == revision {
            true => Ok(()),
            false => Err(Unreadable::Other("a change changes nothing".to_owned())),
        }
    }
}

impl NoteEntryV1<'_> {
    fn change(self) -> Result<Change, Unreadable> {
        match self {
            Self::Delivered(identifier, number) => deliver(identifier, number),
            Self::Failed(failure) => failure.failure().map(Change::Fail),
            Self::Reset => Ok(Change::Reset),
            Self::Claimed(identifier, key) => claim(identifier, key),
            Self::Released(identifier) => release(identifier),
        }
    }
}

fn remove(identifier: &str) -> Result<Change, Unreadable> {
    Ok(Change::Remove {
        identifier: identifier.parse()?,
        only_if: None,
    })
}

fn set_override(identifier: &str, files: Vec<FileEntry>) -> Result<Change, Unreadable> {
    Ok(Change::Override {
        identifier: identifier.parse()?,
        files: FileEntry::set(files)?,
    })
}

fn remove_override(identifier: &str) -> Result<Change, Unreadable> {
    Ok(Change::RemoveOverride(identifier.parse()?))
}

fn deliver(identifier: &str, number: u64) -> Result<Change, Unreadable> {
    Ok(Change::Deliver {
        identifier: identifier.parse()?,
        generation: GenerationNumber(number),
    })
}

fn claim(identifier: &str, key: [u8; 32]) -> Result<Change, Unreadable> {
    Ok(Change::Claim {
        identifier: identifier.parse()?,
        key: Digest::from_bytes(key),
        within: Bounds::NONE,
    })
}

fn release(identifier: &str) -> Result<Change, Unreadable> {
    Ok(Change::Release(identifier.parse()?))
}

impl<'a> NodeEntry<'a> {
    pub(super) fn of(registration: &'a NodeRegistration) -> Self {
        Self {
            identifier: registration.identifier.as_str(),
            ip: registration.ip,
            metadata: json(&registration.metadata).into(),
        }
    }

    pub(super) fn registration(&self) -> Result<NodeRegistration, Unreadable> {
        let metadata: Metadata = serde_json::from_str(&self.metadata)?;
        Ok(NodeRegistration::new(self.identifier.parse()?, self.ip).with_metadata(metadata))
    }
}

impl<'a> FileEntry<'a> {
    pub(super) fn all_of(files: &'a ArtifactSet) -> Vec<Self> {
        let one = |file: &'a ArtifactFile| Self {
            path: file.path.as_str(),
            mode: file.mode.bits(),
            secret: file.secret,
            chunks: written(&file.content)
                .map(|chunk| Raw(chunk.bytes()))
                .collect(),
        };
        files.files().iter().map(one).collect()
    }

    pub(super) fn set(files: Vec<Self>) -> Result<ArtifactSet, Unreadable> {
        let mut set = ArtifactSet::default();
        for file in files {
            let chunks = file.chunks.iter();
            set.push(ArtifactFile {
                path: ArtifactPath::new(file.path)?,
                mode: mode(file.mode)?,
                content: Content::from_chunks(chunks.map(|Raw(bytes)| Chunk::new(bytes.to_vec()))),
                secret: file.secret,
            })
            .map_err(|error| Unreadable::Other(error.to_string()))?;
        }
        Ok(set)
    }
}

impl<'a> FailureEntry<'a> {
    pub(super) fn of(failure: &'a Failure) -> Self {
        Self {
            kind: match failure.kind {
                FailureKind::Deadline => FailureWord::Deadline,
                FailureKind::Render => FailureWord::Render,
                FailureKind::Operator => FailureWord::Operator,
            },
            reason: &failure.reason,
            at: Moment::of(failure.at),
        }
    }

    pub(super) fn failure(&self) -> Result<Failure, Unreadable> {
        Ok(Failure {
            kind: match self.kind {
                FailureWord::Deadline => FailureKind::Deadline,
                FailureWord::Render => FailureKind::Render,
                FailureWord::Operator => FailureKind::Operator,
            },
            reason: self.reason.to_owned(),
            at: self.at.timestamp()?,
        })
    }
}

impl<'a> SealEntry<'a> {
    /// How `generation` is written after `before`, where the newest `history` generations are kept.
    pub(super) fn of(
        generation: &'a Generation,
        before: Option<&Generation>,
        history: usize,
    ) -> Self {
        let old = before.map(|before| &before.seats);
        let is_kept = |(name, seat)| generation.seats.get(name) == Some(seat);
        let all_seats = !old.is_some_and(|old| old.iter().all(is_kept));
        let is_new = |name| all_seats || old.is_none_or(|old| !old.contains_key(name));
        let seats = generation.seats.iter().filter(|(name, _)| is_new(*name));
        Self {
            number: generation.number.0,
            digest: *generation.digest.as_bytes(),
            revision: generation.revision.0,
            spec: *generation.spec.as_bytes(),
            sealed_at: Moment::of(generation.sealed_at),
            once: json(&*generation.once).into(),
            seats: seats.map(|(name, seat)| (name.as_str(), seat.0)).collect(),
            all_seats,
            history: u32::try_from(history).unwrap_or(u32::MAX),
        }
    }

    /// The generation, still without its files.
    pub(super) fn generation(&self, before: Option<&Generation>) -> Result<Generation, Unreadable> {
        let mut seats = match before {
            Some(before) if !self.all_seats => before.seats.clone(),
            _ => Arc::default(),
        };
        if !self.seats.is_empty() {
            let all: &mut BTreeMap<Identifier, Seat> = Arc::make_mut(&mut seats);
            for (identifier, seat) in &self.seats {
                all.insert(identifier.parse()?, Seat(*seat));
            }
        }
        let once: Map<String, Value> = serde_json::from_str(&self.once)?;
        Ok(Generation {
            number: GenerationNumber(self.number),
            digest: Digest::from_bytes(self.digest),
            revision: Revision(self.revision),
            spec: Digest::from_bytes(self.spec),
            sealed_at: self.sealed_at.timestamp()?,
            nodes: BTreeMap::new(),
            shared: Arc::default(),
            seats,
            once: Arc::new(once),
        })
    }
}

impl Moment {
    fn of(at: Timestamp) -> Self {
        Self(at.as_second(), at.subsec_nanosecond())
    }

    fn timestamp(self) -> Result<Timestamp, Unreadable> {
        Timestamp::new(self.0, self.1).map_err(|error| Unreadable::Other(error.to_string()))
    }
}

/// The pieces of `content` that are written: an empty one says nothing.
pub(super) fn written(content: &Content) -> impl Iterator<Item = &Arc<Chunk>> {
    let chunks = content.chunks().iter();
    chunks.filter(|chunk| !chunk.bytes().is_empty())
}

/// The mode with these bits.
pub(super) fn mode(bits: u32) -> Result<Mode, Unreadable> {
    Mode::from_bits(bits).ok_or_else(|| Unreadable::Other(format!("mode {bits:o} is none")))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("JSON values have string keys")
}
