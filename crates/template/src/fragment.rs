//! Fragments: texts rendered once and included by many files, as shared chunks where they stand alone.
//!
//! A fragment is an ordinary text value, so filters, captures and macros see its bytes. The printer (`output`)
//! knows it again by the address of its text. Whether the output is being captured at that moment the engine
//! does not tell; so the printer announces the fragment and writes nothing at all: an empty write reaches the
//! sink only where nothing captures the output. The sink then takes the shared chunk. Everywhere else the
//! announcement is withdrawn and the text is written as it is.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use minijinja::{Error, Value};

use super::error::undefined;
use cfgsync_model::Chunk;
use cfgsync_support::nearest::did_you_mean;

/// Shorter fragments are inlined: a chunk of their own would cost more than it saves.
pub(super) const CHUNK_MIN_BYTES: usize = 256;

/// The fragments of one generation.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    by_name: BTreeMap<String, Value>,
    by_address: BTreeMap<usize, Arc<Chunk>>,
}

impl Fragments {
    pub(super) fn new(chunks: BTreeMap<String, Arc<Chunk>>) -> Self {
        let mut fragments = Self::default();
        for (name, chunk) in chunks {
            // Rendered from templates, so they are UTF-8.
            let value = Value::from(Arc::<str>::from(String::from_utf8_lossy(chunk.bytes())));
            if let Some(text) = value.as_str().filter(|text| text.len() >= CHUNK_MIN_BYTES) {
                fragments.by_address.insert(text.as_ptr().addr(), chunk);
            }
            fragments.by_name.insert(name, value);
        }
        fragments
    }

    /// What `fragment(name)` gives.
    pub(super) fn get(&self, name: &str) -> Result<Value, Error> {
        self.by_name.get(name).cloned().ok_or_else(|| {
            undefined(
                "there is no fragment of this name",
                did_you_mean(name, self.by_name.keys().map(String::as_str)),
            )
        })
    }

    pub(super) fn chunk_at(&self, address: usize) -> Option<&Arc<Chunk>> {
        self.by_address.get(&address)
    }
}

/// A fragment that the printer wants to hand to the sink, by its address; 0 for none.
#[derive(Debug, Default)]
pub(super) struct Announcement(AtomicUsize);

impl Announcement {
    // One thread renders; the atomic only makes the value shareable as the engine asks it to be.
    pub(super) fn make(&self, address: usize) {
        self.0.store(address, Ordering::Relaxed);
    }

    pub(super) fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}
