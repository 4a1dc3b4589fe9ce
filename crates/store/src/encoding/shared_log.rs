//! The encoding for a log that several servers share, and what its entries do.
//!
//! Each server appends *proposals* without a comparison. The order of the log is the order of the database, the same for
//! every server. Each server decides about each proposal when it reads it, by [`State::apply`] and [`State::seal`], and so
//! all servers decide alike. An entry that is not accepted stays in the log and has no effect.
//!
//! The files of a generation are outside the log, as parts that the seal names by their digests.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    commit_entry::ChangeEntry,
    condition_entry::ConditionEntry,
    entry::{self, ProvenanceEntry, SealEntry},
    error::DecodeError,
    event_file, generation_file,
    scalar_entry::BytesEntry,
    snapshot,
};
use crate::{
    Change, EventBounds, Rejection, SealCondition, SealOutcome, State,
    payload_ages::UnchangedPayloads,
};
use cfgsync_model::{Digest, Generation, GenerationNumber, Instance, Revision};

/// The reason why bytes of a shared log cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SharedLogError(String);

impl From<DecodeError> for SharedLogError {
    fn from(error: DecodeError) -> Self {
        Self(error.to_string())
    }
}

/// One entry of the log. The order of variants is the format: new variants go to the end.
#[derive(Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum ProposalEntry<'a> {
    Batches(#[serde(borrow)] Vec<Vec<(ChangeEntry<'a>, ConditionEntry<'a>)>>),
    Seal {
        #[serde(borrow)]
        seal: SealEntry<'a>,
        only_if: SealConditionEntry,
        #[serde(borrow)]
        unchanged: BytesEntry<'a>,
        /// How it came about.
        #[serde(borrow)]
        provenance: Option<ProvenanceEntry<'a>>,
        /// The digests of the parts that together are the files.
        parts: Vec<[u8; 32]>,
    },
}

/// The condition of a seal.
#[derive(Serialize, Deserialize)]
struct SealConditionEntry {
    registrations: Option<u64>,
    same_spec: bool,
}

/// A decoded entry of the log.
#[derive(Debug)]
pub enum Proposal {
    /// Batches of changes, one after the other. Of each batch all changes take effect, or none.
    Batches(Vec<Vec<Change>>),
    /// A generation.
    Seal(SealProposal),
}

/// A generation to seal, with the digests of the parts of its files.
#[derive(Debug)]
pub struct SealProposal {
    /// The number of the generation.
    pub number: GenerationNumber,
    /// The digest of the generation.
    pub digest: Digest,
    /// The digests of the parts of its files, in order.
    pub parts: Vec<Digest>,
    bytes: Vec<u8>,
}

/// The files of a proposed generation.
#[derive(Debug)]
pub enum ProposedFiles<'a> {
    /// They are not read, because the generation is not the newest one.
    Unread,
    /// Their bytes, as [`encode_files`] has returned them.
    Bytes(Vec<u8>),
    /// This program has proposed the generation itself.
    Own(&'a Generation),
}

/// Returns a batch of changes, to be joined with others in one entry.
pub fn encode_batch(changes: &[Change]) -> Vec<u8> {
    let changes = changes.iter();
    let changes = changes.map(|change| (ChangeEntry::of(change), ConditionEntry::of(change)));
    let mut bytes = Vec::new();
    entry::write(&mut bytes, &changes.collect::<Vec<_>>());
    bytes
}

/// Returns the entry that proposes these batches, which [`encode_batch`] has encoded. An entry without batches has no
/// effect.
pub fn join_batches(batches: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let empty = ProposalEntry::Batches(vec![]);
    entry::write(&mut bytes, &empty);
    // The number of batches is at the end of an empty list.
    bytes.pop();
    entry::write(&mut bytes, &batches.len());
    bytes.extend(batches.iter().flatten());
    bytes
}

/// Returns the entry that proposes `generation`, which follows `before`. `parts` are the parts of its files, and
/// `history` is the number of generations that are kept.
pub fn encode_seal(
    generation: &Generation,
    only_if: SealCondition,
    before: Option<&Generation>,
    history: usize,
    parts: &[Digest],
) -> Vec<u8> {
    let unchanged = UnchangedPayloads::between(before, generation);
    let mut bytes = Vec::new();
    let proposal = ProposalEntry::Seal {
        seal: SealEntry::of(generation, before, history),
        only_if: SealConditionEntry {
            registrations: only_if.registrations.map(|revision| revision.0),
            same_spec: only_if.same_spec,
        },
        unchanged: BytesEntry(&unchanged.bits),
        provenance: ProvenanceEntry::of(&generation.provenance),
        parts: parts.iter().map(|part| *part.as_bytes()).collect(),
    };
    entry::write(&mut bytes, &proposal);
    bytes
}

/// Decodes an entry of the log, strictly: bytes behind the entry are an error.
///
/// # Errors
/// Fails if this program does not know the form of the entry, or if a part of it is not valid.
pub fn decode(bytes: &[u8]) -> Result<Proposal, SharedLogError> {
    match decode_entry(bytes)? {
        ProposalEntry::Batches(batches) => {
            let batches = batches.into_iter().map(|changes| {
                let changes = changes.into_iter();
                let changes = changes.map(|(change, demands)| demands.added_to(change.change()?));
                changes.collect::<Result<Vec<Change>, DecodeError>>()
            });
            let batches: Result<_, DecodeError> = batches.collect();
            Ok(Proposal::Batches(batches?))
        }
        ProposalEntry::Seal { seal, parts, .. } => Ok(Proposal::Seal(SealProposal {
            number: GenerationNumber(seal.number),
            digest: seal.digest(),
            parts: parts.into_iter().map(Digest::from_bytes).collect(),
            bytes: bytes.to_owned(),
        })),
    }
}

fn decode_entry(bytes: &[u8]) -> Result<ProposalEntry<'_>, DecodeError> {
    let (proposal, rest) = entry::read(bytes)?;
    if !rest.is_empty() {
        let rest = rest.len();
        return Err(DecodeError::Other(format!("{rest} bytes follow the entry")));
    }
    Ok(proposal)
}

impl State {
    /// Seals a proposed generation, if its number follows the newest one.
    ///
    /// # Errors
    /// Fails if the proposal is not valid behind the generations of this state, or if the files are not those of the
    /// generation.
    pub fn seal_proposed(
        &mut self,
        proposal: &SealProposal,
        files: ProposedFiles<'_>,
        revision: Revision,
    ) -> Result<Result<SealOutcome, Rejection>, SharedLogError> {
        let ProposalEntry::Seal {
            seal,
            only_if,
            unchanged,
            provenance,
            ..
        } = decode_entry(&proposal.bytes)?
        else {
            return Err(SharedLogError("a seal is not a seal".to_owned()));
        };
        let mut sealed = self.generations.iter();
        let before = sealed.rfind(|sealed| sealed.number.next() == proposal.number);
        let mut generation = seal.generation(before.map(Arc::as_ref))?;
        if let Some(provenance) = provenance {
            generation.provenance = Arc::new(provenance.provenance());
        }
        match files {
            ProposedFiles::Unread => {}
            ProposedFiles::Bytes(bytes) => generation = decode_files(bytes, &generation)?,
            ProposedFiles::Own(own) => {
                generation.nodes.clone_from(&own.nodes);
                generation.shared = own.shared.clone();
            }
        }
        let unchanged = UnchangedPayloads {
            bits: unchanged.0.to_vec(),
        };
        let only_if = SealCondition {
            registrations: only_if.registrations.map(Revision),
            same_spec: only_if.same_spec,
        };
        let (generation, history) = (Arc::new(generation), seal.history as usize);
        Ok(self.seal_with(generation, only_if, &unchanged, history, revision))
    }
}

/// Returns the files of a generation as bytes. Equal files give equal bytes.
pub fn encode_files(generation: &Generation) -> Vec<u8> {
    generation_file::to_file(generation)
}

/// Returns `generation` with the files in `bytes`.
///
/// # Errors
/// Fails if the bytes are not the files of this generation.
pub fn decode_files(bytes: Vec<u8>, generation: &Generation) -> Result<Generation, SharedLogError> {
    let path = || "the files of a generation".into();
    let files = generation_file::from_file(&bytes.into(), generation.digest, path);
    let files = files.map_err(|error| SharedLogError(error.to_string()))?;
    Ok(files.complete(generation))
}

/// Returns the state as bytes, without the files of its generations.
pub fn encode_state(instance: Instance, state: &State, history: usize) -> Vec<u8> {
    let instances = snapshot::Instances {
        log: instance,
        state: instance,
    };
    snapshot::to_file(instances, state, history)
}

/// Returns the history of events as bytes.
pub fn encode_events(instance: Instance, state: &State) -> Vec<u8> {
    event_file::to_file(instance, state)
}

/// Returns the state in `bytes`, without the files of its generations. `events` are the bytes of its history of events,
/// which is empty if they cannot be used. `bounds` apply to the history from now on.
///
/// # Errors
/// Fails if the bytes are damaged, or belong to another instance.
pub fn decode_state(
    instance: Instance,
    bytes: &[u8],
    events: &[u8],
    bounds: EventBounds,
) -> Result<State, SharedLogError> {
    let path = || "the snapshot".into();
    let read = snapshot::read(bytes, instance, path);
    let (mut state, _) = read.map_err(|error| SharedLogError(error.to_string()))?;
    let path = || "the history of events".into();
    state.events = event_file::from_file(events, instance, state.revision, bounds, path);
    Ok(state)
}

/// Returns an empty state with these bounds on its history of events.
pub fn new_state(bounds: EventBounds) -> State {
    let mut state = State::default();
    state.set_event_bounds(bounds);
    state
}
