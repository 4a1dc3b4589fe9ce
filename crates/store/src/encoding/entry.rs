//! The encoding of values on disk: registrations, files, seals and so on. The order of fields and variants is the format:
//! new variants go to the end.
//!
//! The encoding is postcard: compact, and decoded without copying. Metadata and drawn values are JSON texts in it.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    error::DecodeError,
    scalar_entry::{BytesEntry, TimestampEntry},
};
use cfgsync_model::{
    ArtifactFile, ArtifactPath, ArtifactSet, Chunk, Content, Digest, Failure, FailureKind,
    Generation, GenerationNumber, Identifier, JoinerId, Metadata, Mode, NodeRegistration, Origin,
    Provenance, Revision, Seat,
};

/// The highest revision that an entry may have.
const REVISION_MAX: u64 = i64::MAX as u64;

/// The encoding of a registration.
#[derive(Serialize, Deserialize)]
pub(crate) struct NodeEntry<'a> {
    identifier: &'a str,
    ip: IpAddr,
    #[serde(borrow)]
    metadata: Cow<'a, str>,
}

/// The encoding of a registration's origin.
#[derive(Serialize, Deserialize)]
pub(crate) struct OriginEntry {
    joiner: Option<[u8; 16]>,
    at: Option<TimestampEntry>,
}

/// The encoding of one file of an override.
#[derive(Serialize, Deserialize)]
pub(crate) struct FileEntry<'a> {
    path: &'a str,
    mode: u32,
    secret: bool,
    #[serde(borrow)]
    chunks: Vec<BytesEntry<'a>>,
}

/// The encoding of a declared failure.
#[derive(Serialize, Deserialize)]
pub(crate) struct FailureEntry<'a> {
    kind: FailureKindEntry,
    reason: &'a str,
    at: TimestampEntry,
}

/// A generation without its files, which are in a file of their own, named by the digest.
#[derive(Serialize, Deserialize)]
pub(crate) struct SealEntry<'a> {
    pub(crate) number: u64,
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
    pub(crate) history: u32,
}

/// How a generation came about, as JSON.
#[derive(Serialize, Deserialize)]
pub(crate) struct ProvenanceEntry<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Serialize, Deserialize)]
enum FailureKindEntry {
    Deadline,
    Render,
    Operator,
    Node,
}

/// Appends `value` to `out`.
pub(crate) fn write(out: &mut Vec<u8>, value: &impl Serialize) {
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
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<(T, &'a [u8]), DecodeError> {
    Ok(postcard::take_from_bytes(body)?)
}

impl<'a> NodeEntry<'a> {
    pub(crate) fn of(registration: &'a NodeRegistration) -> Self {
        Self {
            identifier: registration.identifier.as_str(),
            ip: registration.ip,
            metadata: json(&registration.metadata).into(),
        }
    }

    pub(crate) fn registration(&self) -> Result<NodeRegistration, DecodeError> {
        let metadata: Metadata = serde_json::from_str(&self.metadata)?;
        Ok(
            NodeRegistration::without_metadata(Identifier::recorded(self.identifier)?, self.ip)
                .with_metadata_value(metadata),
        )
    }
}

impl OriginEntry {
    /// Returns the entry of `origin`. `None` if nothing is known of it.
    pub(crate) fn of(origin: &Origin) -> Option<Self> {
        (*origin != Origin::default()).then(|| Self {
            joiner: origin.joiner.map(|joiner| *joiner.as_bytes()),
            at: origin.at.map(TimestampEntry::of),
        })
    }

    pub(crate) fn origin(&self) -> Result<Origin, DecodeError> {
        Ok(Origin {
            joiner: self.joiner.map(JoinerId::from_bytes),
            at: self.at.map(TimestampEntry::timestamp).transpose()?,
        })
    }
}

impl<'a> FileEntry<'a> {
    pub(crate) fn all_of(files: &'a ArtifactSet) -> Vec<Self> {
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

    pub(crate) fn set(files: Vec<Self>) -> Result<ArtifactSet, DecodeError> {
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
    pub(crate) fn of(failure: &'a Failure) -> Self {
        Self {
            kind: match failure.kind {
                FailureKind::Deadline => FailureKindEntry::Deadline,
                FailureKind::Render => FailureKindEntry::Render,
                FailureKind::Operator => FailureKindEntry::Operator,
                FailureKind::Node => FailureKindEntry::Node,
            },
            reason: &failure.reason,
            at: TimestampEntry::of(failure.at),
        }
    }

    pub(crate) fn failure(&self) -> Result<Failure, DecodeError> {
        Ok(Failure {
            kind: match self.kind {
                FailureKindEntry::Deadline => FailureKind::Deadline,
                FailureKindEntry::Render => FailureKind::Render,
                FailureKindEntry::Operator => FailureKind::Operator,
                FailureKindEntry::Node => FailureKind::Node,
            },
            reason: self.reason.to_owned(),
            at: self.at.timestamp()?,
        })
    }
}

impl<'a> SealEntry<'a> {
    /// Returns the entry of `generation` after `before`, if the newest `history` generations are kept.
    pub(crate) fn of(
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

    pub(crate) fn digest(&self) -> Digest {
        Digest::from_bytes(self.digest)
    }

    /// Returns the generation that follows `before`, without its files.
    pub(crate) fn generation(
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
            provenance: Arc::default(),
        })
    }
}

impl ProvenanceEntry<'_> {
    /// Returns the entry of `provenance`. `None` if nothing is known.
    pub(crate) fn of(provenance: &Provenance) -> Option<Self> {
        (*provenance != Provenance::default()).then(|| Self(json(provenance).into()))
    }

    /// Returns the provenance. It decides nothing, so one that a newer program wrote in another form counts as unknown.
    pub(crate) fn provenance(&self) -> Provenance {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

/// Returns the revision with this number. It fails above [`REVISION_MAX`], so that later revisions do not overflow.
pub(crate) fn revision(number: u64) -> Result<Revision, DecodeError> {
    if number > REVISION_MAX {
        return Err(DecodeError::Other(format!("{number} is not a revision")));
    }
    Ok(Revision(number))
}

/// Returns the chunks of `content` without the empty ones, which are not written.
pub(crate) fn non_empty_chunks(content: &Content) -> impl Iterator<Item = &Arc<Chunk>> {
    let chunks = content.chunks().iter();
    chunks.filter(|chunk| !chunk.bytes().is_empty())
}

/// Returns the mode with these bits.
pub(crate) fn mode(bits: u32) -> Result<Mode, DecodeError> {
    Mode::from_bits(bits).ok_or_else(|| DecodeError::Other(format!("{bits:o} is not a file mode")))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("JSON values have string keys")
}
