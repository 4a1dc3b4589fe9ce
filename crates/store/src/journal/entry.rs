//! The encoding of changes on disk. The order of fields and variants is the format: new variants go to the end.
//!
//! The encoding is postcard: compact, and decoded without copying. Metadata and drawn values are JSON texts in it.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::DecodeError;
use crate::{Bounds, Change, SealOutcome, State};
use cfgsync_model::{
    ArtifactFile, ArtifactPath, ArtifactSet, Chunk, Content, Digest, Failure, FailureKind,
    Generation, GenerationNumber, Identifier, JoinerId, Metadata, Mode, NodeRegistration, Origin,
    Revision, Seat,
};
use cfgsync_support::clock::Timestamp;

/// The highest revision that an entry may have.
const REVISION_MAX: u64 = i64::MAX as u64;

/// One commit in format 2.
#[derive(Serialize, Deserialize)]
pub(super) struct CommitEntry<'a> {
    pub(super) revision: u64,
    #[serde(borrow)]
    content: CommitContent<'a>,
}

#[derive(Serialize, Deserialize)]
enum CommitContent<'a> {
    Changes(#[serde(borrow)] Vec<ChangeEntry<'a>>),
    Seal(#[serde(borrow)] SealEntry<'a>),
}

/// The encoding of one change of a batch.
#[derive(Serialize, Deserialize)]
enum ChangeEntry<'a> {
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
}

/// The encoding of a registration.
#[derive(Serialize, Deserialize)]
pub(super) struct NodeEntry<'a> {
    identifier: &'a str,
    ip: IpAddr,
    #[serde(borrow)]
    metadata: Cow<'a, str>,
}

/// The encoding of a registration's origin.
#[derive(Serialize, Deserialize)]
pub(super) struct OriginEntry {
    joiner: Option<[u8; 16]>,
    at: Option<TimestampEntry>,
}

/// The encoding of one file of an override.
#[derive(Serialize, Deserialize)]
pub(super) struct FileEntry<'a> {
    path: &'a str,
    mode: u32,
    secret: bool,
    #[serde(borrow)]
    chunks: Vec<BytesEntry<'a>>,
}

/// The encoding of a declared failure.
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
    /// The number of generations that were kept at that time. The files of older ones may have been removed.
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

/// Makes postcard append to an existing vector.
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

/// Decodes one value. Returns it and the rest of `body`.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<(T, &'a [u8]), DecodeError> {
    Ok(postcard::take_from_bytes(body)?)
}

impl<'a> CommitEntry<'a> {
    /// Returns the entry of a batch that is applied at `revision`.
    pub(super) fn of_changes(revision: Revision, changes: &'a [Change]) -> Self {
        Self {
            revision: revision.0,
            content: CommitContent::Changes(changes.iter().map(ChangeEntry::of).collect()),
        }
    }

    /// Returns the entry of a seal at `revision`.
    pub(super) fn of_seal(revision: Revision, seal: SealEntry<'a>) -> Self {
        Self {
            revision: revision.0,
            content: CommitContent::Seal(seal),
        }
    }

    /// Applies the commit to `state`. A sealed generation has no files yet.
    pub(super) fn replay(self, state: &mut State) -> Result<(), DecodeError> {
        let revision = revision(self.revision)?;
        if revision <= state.revision {
            return Err(DecodeError::Other(format!(
                "a commit has revision {revision}, and the one before it has {}",
                state.revision
            )));
        }
        let changes = match self.content {
            CommitContent::Changes(changes) => changes,
            CommitContent::Seal(seal) => return replay_seal(&seal, state, revision),
        };
        let changes: Result<_, _> = changes.into_iter().map(ChangeEntry::change).collect();
        replay_changes(changes?, state, revision)
    }
}

/// Applies changes that changed something when they were written.
pub(super) fn replay_changes(
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

pub(super) fn replay_seal(
    seal: &SealEntry,
    state: &mut State,
    revision: Revision,
) -> Result<(), DecodeError> {
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
            } => Self::Deliver(identifier.as_str(), generation.0),
            Change::Claim {
                identifier, key, ..
            } => Self::Claim(identifier.as_str(), *key.as_bytes()),
            Change::Release(identifier) => Self::Release(identifier.as_str()),
            Change::Fail(failure) => Self::Fail(FailureEntry::of(failure)),
            Change::Reset => Self::Reset,
        }
    }

    fn change(self) -> Result<Change, DecodeError> {
        match self {
            Self::Register(node) => node.registration().map(Change::register),
            Self::RegisterFrom(node, origin) => Ok(Change::Register {
                registration: node.registration()?,
                origin: origin.origin()?,
                within: Bounds::NONE,
            }),
            Self::Remove(identifier) => remove(identifier),
            Self::Override(identifier, files) => set_override(identifier, files),
            Self::RemoveOverride(identifier) => remove_override(identifier),
            Self::Deliver(identifier, number) => deliver(identifier, number),
            Self::Fail(failure) => failure.failure().map(Change::Fail),
            Self::Reset => Ok(Change::Reset),
            Self::Claim(identifier, key) => claim(identifier, key),
            Self::Release(identifier) => release(identifier),
        }
    }
}

pub(super) fn remove(identifier: &str) -> Result<Change, DecodeError> {
    Ok(Change::Remove {
        identifier: Identifier::recorded(identifier)?,
        only_if: None,
        joiner: None,
    })
}

pub(super) fn set_override(identifier: &str, files: Vec<FileEntry>) -> Result<Change, DecodeError> {
    Ok(Change::Override {
        identifier: Identifier::recorded(identifier)?,
        files: FileEntry::set(files)?,
    })
}

pub(super) fn remove_override(identifier: &str) -> Result<Change, DecodeError> {
    Ok(Change::RemoveOverride(Identifier::recorded(identifier)?))
}

pub(super) fn deliver(identifier: &str, number: u64) -> Result<Change, DecodeError> {
    Ok(Change::Deliver {
        identifier: Identifier::recorded(identifier)?,
        generation: GenerationNumber(number),
    })
}

pub(super) fn claim(identifier: &str, key: [u8; 32]) -> Result<Change, DecodeError> {
    Ok(Change::Claim {
        identifier: Identifier::recorded(identifier)?,
        key: Digest::from_bytes(key),
        within: Bounds::NONE,
    })
}

pub(super) fn release(identifier: &str) -> Result<Change, DecodeError> {
    Ok(Change::Release(Identifier::recorded(identifier)?))
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
            NodeRegistration::without_metadata(Identifier::recorded(self.identifier)?, self.ip)
                .with_metadata_value(metadata),
        )
    }
}

impl OriginEntry {
    /// Returns the entry of `origin`. `None` if nothing is known of it.
    pub(super) fn of(origin: &Origin) -> Option<Self> {
        (*origin != Origin::default()).then(|| Self {
            joiner: origin.joiner.map(|joiner| *joiner.as_bytes()),
            at: origin.at.map(TimestampEntry::of),
        })
    }

    pub(super) fn origin(&self) -> Result<Origin, DecodeError> {
        Ok(Origin {
            joiner: self.joiner.map(JoinerId::from_bytes),
            at: self.at.map(TimestampEntry::timestamp).transpose()?,
        })
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
                // An override has the ownership of the node's own file.
                ownership: None,
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
    /// Returns the entry of `generation` after `before`, if the newest `history` generations are kept.
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

    /// Returns the generation that follows `before`, without its files.
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
                all.insert(Identifier::recorded(identifier)?, Seat(*seat));
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

/// Returns the revision with this number. It fails above [`REVISION_MAX`], so that later revisions do not overflow.
pub(super) fn revision(number: u64) -> Result<Revision, DecodeError> {
    if number > REVISION_MAX {
        return Err(DecodeError::Other(format!("{number} is not a revision")));
    }
    Ok(Revision(number))
}

/// Returns the chunks of `content` without the empty ones, which are not written.
pub(super) fn non_empty_chunks(content: &Content) -> impl Iterator<Item = &Arc<Chunk>> {
    let chunks = content.chunks().iter();
    chunks.filter(|chunk| !chunk.bytes().is_empty())
}

/// Returns the mode with these bits.
pub(super) fn mode(bits: u32) -> Result<Mode, DecodeError> {
    Mode::from_bits(bits).ok_or_else(|| DecodeError::Other(format!("{bits:o} is not a file mode")))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("JSON values have string keys")
}
