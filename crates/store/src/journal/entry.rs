//! The encoding of changes on disk. The order of fields and variants is the format: new variants go to the end.
//!
//! The encoding is postcard: compact, and decoded without copying. Metadata and drawn values are JSON texts in it.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::DecodeError;
use crate::{Bounds, Change, RejectionReason, SealOutcome, State};
use cfgsync_model::{
    ArtifactFile, ArtifactPath, ArtifactSet, Chunk, Content, Digest, Failure, FailureKind,
    Generation, GenerationNumber, Identifier, Metadata, Mode, NodeRegistration, Revision, Seat,
};
use cfgsync_support::clock::Timestamp;

/// The highest revision that is read.
const REVISION_MAX: u64 = i64::MAX as u64;

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

/// One file of an override.
#[derive(Serialize, Deserialize)]
pub(super) struct FileEntry<'a> {
    path: &'a str,
    mode: u32,
    secret: bool,
    #[serde(borrow)]
    chunks: Vec<BytesEntry<'a>>,
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

/// A declared failure.
#[derive(Serialize, Deserialize)]
pub(super) struct FailureEntry<'a> {
    kind: FailureKindEntry,
    reason: &'a str,
    at: TimestampEntry,
}

/// A generation without its files, which are in a file of their own, named by the digest.
#[derive(Serialize, Deserialize)]
pub(super) struct SealEntry<'a> {
    number: u64,
    digest: [u8; 32],
    revision: u64,
    spec: [u8; 32],
    sealed_at: TimestampEntry,
    #[serde(borrow)]
    once: Cow<'a, str>,
    /// The seats that the previous generation does not have, or all seats if `all_seats`.
    seats: Vec<(&'a str, u32)>,
    all_seats: bool,
    /// How many generations were kept at that time. The files of older ones may have been removed.
    pub(super) history: u32,
}

/// Seconds and nanoseconds of Unix time.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(super) struct TimestampEntry(i64, i32);

#[derive(Serialize, Deserialize)]
enum FailureKindEntry {
    Deadline,
    Render,
    Operator,
}

/// Bytes, encoded in one step.
#[derive(Deserialize, Clone, Copy)]
pub(super) struct BytesEntry<'a>(#[serde(borrow)] pub(super) &'a [u8]);

impl Serialize for BytesEntry<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Appends `value` to `out`.
pub(super) fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    postcard::serialize_with_flavor(value, AppendFlavor(out))
        .expect("lengths are known, and a vector takes all bytes");
}

/// Lets postcard append to a vector.
struct AppendFlavor<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for AppendFlavor<'_> {
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

/// Decodes one value; returns the rest of `body` as well.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<(T, &'a [u8]), DecodeError> {
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
    pub(super) fn replay(self, state: &mut State) -> Result<(), DecodeError> {
        let revision = revision(self.revision)?;
        if revision <= state.revision {
            return Err(DecodeError::Other(format!(
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
        applied.map_err(|rejection| DecodeError::Other(rejection.to_string()))?;
        match state.revision == revision {
            true => Ok(()),
            false => Err(DecodeError::Other("a commit changes nothing".to_owned())),
        }
    }
}

fn replay_seal(seal: &SealEntry, state: &mut State, revision: Revision) -> Result<(), DecodeError> {
    let generation = seal.generation(state.generation().map(Arc::as_ref))?;
    match state.seal(Arc::new(generation), seal.history as usize, revision) {
        Ok(SealOutcome::Won) => Ok(()),
        Ok(SealOutcome::Lost(newest)) => Err(DecodeError::Other(format!(
            "generation {} follows generation {}",
            seal.number, newest.number
        ))),
        Err(rejection) => Err(DecodeError::Other(rejection.to_string())),
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
    fn change(self) -> Result<Result<Change, DecodeError>, SealEntry<'a>> {
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
    /// Applies the entry to `state` at `revision`.
    pub(super) fn replay(self, state: &mut State, revision: Revision) -> Result<(), DecodeError> {
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
                        Err(reason) => return Err(DecodeError::Other(reason.to_string())),
                    }
                }
                // Format 1 gave a revision also to records that changed nothing.
                state.revision = revision;
                return Ok(());
            }
        };
        let applied = state.apply(vec![change], revision);
        applied.map_err(|rejection| DecodeError::Other(rejection.to_string()))?;
        match state.revision == revision {
            true => Ok(()),
            false => Err(DecodeError::Other("a change changes nothing".to_owned())),
        }
    }
}

impl NoteEntryV1<'_> {
    fn change(self) -> Result<Change, DecodeError> {
        match self {
            Self::Delivered(identifier, number) => deliver(identifier, number),
            Self::Failed(failure) => failure.failure().map(Change::Fail),
            Self::Reset => Ok(Change::Reset),
            Self::Claimed(identifier, key) => claim(identifier, key),
            Self::Released(identifier) => release(identifier),
        }
    }
}

fn remove(identifier: &str) -> Result<Change, DecodeError> {
    Ok(Change::Remove {
        identifier: identifier.parse()?,
        only_if: None,
    })
}

fn set_override(identifier: &str, files: Vec<FileEntry>) -> Result<Change, DecodeError> {
    Ok(Change::Override {
        identifier: identifier.parse()?,
        files: FileEntry::set(files)?,
    })
}

fn remove_override(identifier: &str) -> Result<Change, DecodeError> {
    Ok(Change::RemoveOverride(identifier.parse()?))
}

fn deliver(identifier: &str, number: u64) -> Result<Change, DecodeError> {
    Ok(Change::Deliver {
        identifier: identifier.parse()?,
        generation: GenerationNumber(number),
    })
}

fn claim(identifier: &str, key: [u8; 32]) -> Result<Change, DecodeError> {
    Ok(Change::Claim {
        identifier: identifier.parse()?,
        key: Digest::from_bytes(key),
        within: Bounds::NONE,
    })
}

fn release(identifier: &str) -> Result<Change, DecodeError> {
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

    pub(super) fn registration(&self) -> Result<NodeRegistration, DecodeError> {
        let metadata: Metadata = serde_json::from_str(&self.metadata)?;
        Ok(
            NodeRegistration::without_metadata(self.identifier.parse()?, self.ip)
                .with_metadata_value(metadata),
        )
    }
}

impl<'a> FileEntry<'a> {
    pub(super) fn all_of(files: &'a ArtifactSet) -> Vec<Self> {
        let one = |file: &'a ArtifactFile| Self {
            path: file.path.as_str(),
            mode: file.mode.bits(),
            secret: file.secret,
            chunks: non_empty_chunks(&file.content)
                .map(|chunk| BytesEntry(chunk.bytes()))
                .collect(),
        };
        files.files().iter().map(one).collect()
    }

    pub(super) fn set(files: Vec<Self>) -> Result<ArtifactSet, DecodeError> {
        let mut set = ArtifactSet::default();
        for file in files {
            let chunks = file.chunks.iter();
            set.push(ArtifactFile {
                path: ArtifactPath::new(file.path)?,
                mode: mode(file.mode)?,
                content: Content::from_chunks(
                    chunks.map(|BytesEntry(bytes)| Chunk::new(bytes.to_vec())),
                ),
                secret: file.secret,
            })
            .map_err(|error| DecodeError::Other(error.to_string()))?;
        }
        Ok(set)
    }
}

impl<'a> FailureEntry<'a> {
    pub(super) fn of(failure: &'a Failure) -> Self {
        Self {
            kind: match failure.kind {
                FailureKind::Deadline => FailureKindEntry::Deadline,
                FailureKind::Render => FailureKindEntry::Render,
                FailureKind::Operator => FailureKindEntry::Operator,
            },
            reason: &failure.reason,
            at: TimestampEntry::of(failure.at),
        }
    }

    pub(super) fn failure(&self) -> Result<Failure, DecodeError> {
        Ok(Failure {
            kind: match self.kind {
                FailureKindEntry::Deadline => FailureKind::Deadline,
                FailureKindEntry::Render => FailureKind::Render,
                FailureKindEntry::Operator => FailureKind::Operator,
            },
            reason: self.reason.to_owned(),
            at: self.at.timestamp()?,
        })
    }
}

impl<'a> SealEntry<'a> {
    /// The entry of `generation` after `before`, if the newest `history` generations are kept.
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
            sealed_at: TimestampEntry::of(generation.sealed_at),
            once: json(&*generation.once).into(),
            seats: seats.map(|(name, seat)| (name.as_str(), seat.0)).collect(),
            all_seats,
            history: u32::try_from(history).unwrap_or(u32::MAX),
        }
    }

    /// The generation that follows `before`, without its files.
    pub(super) fn generation(
        &self,
        before: Option<&Generation>,
    ) -> Result<Generation, DecodeError> {
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

impl TimestampEntry {
    fn of(at: Timestamp) -> Self {
        Self(at.as_second(), at.subsec_nanosecond())
    }

    fn timestamp(self) -> Result<Timestamp, DecodeError> {
        Timestamp::new(self.0, self.1).map_err(|error| DecodeError::Other(error.to_string()))
    }
}

/// The revision with this number. The next numbers must not overflow.
pub(super) fn revision(number: u64) -> Result<Revision, DecodeError> {
    match number <= REVISION_MAX {
        true => Ok(Revision(number)),
        false => Err(DecodeError::Other(format!("{number} is not a revision"))),
    }
}

/// The chunks of `content` that are written: empty ones are left out.
pub(super) fn non_empty_chunks(content: &Content) -> impl Iterator<Item = &Arc<Chunk>> {
    let chunks = content.chunks().iter();
    chunks.filter(|chunk| !chunk.bytes().is_empty())
}

/// The mode with these bits.
pub(super) fn mode(bits: u32) -> Result<Mode, DecodeError> {
    Mode::from_bits(bits).ok_or_else(|| DecodeError::Other(format!("{bits:o} is not a file mode")))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("JSON values have string keys")
}
