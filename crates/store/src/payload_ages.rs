//! The generation since which a node has had the same files. A phase that a node reached with these files counts for all
//! generations in which the node has them.

use std::collections::BTreeMap;

use imbl::OrdMap;

use cfgsync_model::{Generation, GenerationNumber, Identifier, Seat};

/// The age of each node's payload. It has only nodes whose payload is older than the newest generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PayloadAges {
    since: OrdMap<Identifier, GenerationNumber>,
}

/// The nodes whose payload a new generation leaves as it was: one bit for each seat, in the order of the identifiers.
///
/// It is stored with the seal, because a log is replayed without the files. Static files give no seats, so such a
/// generation counts as new for every node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UnchangedPayloads {
    pub(crate) bits: Vec<u8>,
}

impl UnchangedPayloads {
    /// Compares a generation with the one before it.
    pub(crate) fn between(before: Option<&Generation>, next: &Generation) -> Self {
        let Some(before) = before else {
            return Self::default();
        };
        let digest = |generation: &Generation, identifier: &Identifier| {
            generation.nodes.get(identifier).map(|files| files.digest)
        };
        let mut bits = vec![0; next.seats.len().div_ceil(8)];
        for (at, identifier) in next.seats.keys().enumerate() {
            let digest_before = digest(before, identifier);
            if digest_before.is_some() && digest_before == digest(next, identifier) {
                bits[at / 8] |= 1 << (at % 8);
            }
        }
        if bits.iter().all(|byte| *byte == 0) {
            bits.clear();
        }
        Self { bits }
    }

    fn nodes<'a>(
        &'a self,
        seats: &'a BTreeMap<Identifier, Seat>,
    ) -> impl Iterator<Item = &'a Identifier> {
        let is_set = |at: usize| {
            self.bits
                .get(at / 8)
                .is_some_and(|b| b >> (at % 8) & 1 == 1)
        };
        let nodes = seats.keys().enumerate();
        nodes.filter(move |(at, _)| is_set(*at)).map(|(_, id)| id)
    }
}

impl PayloadAges {
    /// Returns the generation since which a node has its payload of `newest`.
    pub(crate) fn since(&self, identifier: &str, newest: GenerationNumber) -> GenerationNumber {
        self.since.get(identifier).copied().unwrap_or(newest)
    }

    /// Advances to the generation `next`. Returns the nodes whose payload was older than the generation `before`, with its
    /// age, and ends with `before`.
    pub(crate) fn advance(
        &mut self,
        before: GenerationNumber,
        next: &Generation,
        unchanged: &UnchangedPayloads,
    ) -> Vec<(Identifier, GenerationNumber)> {
        let nodes = unchanged.nodes(&next.seats);
        let kept = nodes.map(|id| (id.clone(), self.since(id.as_str(), before)));
        let kept: OrdMap<Identifier, GenerationNumber> = kept.collect();
        let old = std::mem::replace(&mut self.since, kept);
        let ended = old.into_iter();
        ended
            .filter(|(identifier, _)| !self.since.contains_key(identifier))
            .collect()
    }

    /// Returns all nodes whose payload is older than the newest generation, with its age.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Identifier, &GenerationNumber)> {
        self.since.iter()
    }

    /// Inserts the age of a payload, as a snapshot of the state recorded it.
    pub(crate) fn insert(&mut self, identifier: Identifier, since: GenerationNumber) {
        self.since.insert(identifier, since);
    }
}
