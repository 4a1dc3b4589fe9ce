//! Files and snapshots as parts that fit in a key of etcd. A part is named by its digest.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use cfgsync_model::Digest;

/// The largest part, in bytes. etcd refuses requests above 1.5 MiB.
pub(crate) const PART_MAX_BYTES: usize = 1 << 20;

/// The largest number of parts of a generation or a snapshot: a transaction compares all of them, and etcd refuses more
/// than 128 comparisons.
pub(crate) const PARTS_MAX: usize = 120;

/// The largest size of the parts that are kept in memory until an entry of the log names them, in bytes.
const CACHE_MAX_BYTES: usize = 160 << 20;

/// Divides `bytes` into parts.
pub(crate) fn divide(bytes: Vec<u8>) -> Vec<(Digest, Bytes)> {
    let bytes = Bytes::from(bytes);
    let starts = (0..bytes.len()).step_by(PART_MAX_BYTES);
    let parts = starts.map(|start| {
        let part = bytes.slice(start..bytes.len().min(start + PART_MAX_BYTES));
        (Digest::of(&part), part)
    });
    parts.collect()
}

/// The newest parts that were written, by their digest. Most of them are needed soon.
#[derive(Debug, Default)]
pub(crate) struct PartCache {
    parts: HashMap<Digest, Bytes>,
    /// The order in which the parts came.
    order: VecDeque<Digest>,
    bytes: usize,
}

impl PartCache {
    /// Adds a part, and forgets the oldest ones if there are too many. A part whose content does not have its digest is
    /// ignored.
    pub(crate) fn add(&mut self, digest: Digest, part: Bytes) {
        if Digest::of(&part) != digest || self.parts.contains_key(&digest) {
            return;
        }
        self.bytes += part.len();
        self.parts.insert(digest, part);
        self.order.push_back(digest);
        while self.bytes > CACHE_MAX_BYTES {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.remove(oldest);
        }
    }

    fn remove(&mut self, digest: Digest) {
        if let Some(part) = self.parts.remove(&digest) {
            self.bytes -= part.len();
        }
    }

    /// Returns those of `digests` that are not here.
    pub(crate) fn missing(&self, digests: &[Digest]) -> Vec<Digest> {
        let missing = digests
            .iter()
            .filter(|digest| !self.parts.contains_key(digest));
        missing.copied().collect()
    }

    /// Returns the bytes that these parts make together. `None` if one of them is not here.
    pub(crate) fn join(&self, digests: &[Digest]) -> Option<Vec<u8>> {
        let parts = digests.iter().map(|digest| self.parts.get(digest));
        let parts: Vec<&Bytes> = parts.collect::<Option<_>>()?;
        Some(parts.into_iter().flatten().copied().collect())
    }

    /// Forgets these parts.
    pub(crate) fn forget(&mut self, digests: &[Digest]) {
        if digests.is_empty() {
            return;
        }
        for digest in digests {
            self.remove(*digest);
        }
        self.order.retain(|digest| self.parts.contains_key(digest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_together_are_the_whole() {
        let bytes: Vec<u8> = (0..3 * PART_MAX_BYTES + 17)
            .map(|at| (at / 7).to_le_bytes()[0])
            .collect();
        let parts = divide(bytes.clone());
        assert_eq!(parts.len(), 4);
        let mut cache = PartCache::default();
        let digests: Vec<Digest> = parts.iter().map(|(digest, _)| *digest).collect();
        for (digest, part) in parts.into_iter().skip(1) {
            cache.add(digest, part);
        }
        assert_eq!(cache.missing(&digests), [digests[0]]);
        assert_eq!(cache.join(&digests), None);
        cache.add(digests[0], Bytes::from(bytes[..PART_MAX_BYTES].to_vec()));
        assert_eq!(cache.join(&digests), Some(bytes));
        cache.forget(&digests);
        assert_eq!(cache.missing(&digests), digests);
        assert_eq!(cache.bytes, 0);
    }

    #[test]
    fn the_cache_is_bounded_and_checks_digests() {
        let mut cache = PartCache::default();
        cache.add(Digest::of(b"a"), Bytes::from_static(b"b"));
        assert_eq!(cache.bytes, 0);
        for number in 0..=CACHE_MAX_BYTES / PART_MAX_BYTES {
            let mut part = vec![0; PART_MAX_BYTES];
            part[..8].copy_from_slice(&number.to_le_bytes());
            cache.add(Digest::of(&part), part.into());
        }
        assert!(cache.bytes <= CACHE_MAX_BYTES);
    }
}
