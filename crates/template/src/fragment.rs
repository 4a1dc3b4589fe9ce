//! Fragments: texts that are rendered once and included by many files.
//!
//! A fragment is an ordinary string value, so filters, captures and macros see its bytes. If an expression of a file is
//! only the fragment, all files share its bytes as one [`Chunk`].
//!
//! Sharing needs to know whether the engine captures the output at that moment (`{% set %}`, a macro, a filter block),
//! and the engine does not tell. The formatter (`output`) finds out as follows:
//!
//! 1. It recognizes the fragment by the address of its text and stores that address in [`PendingFragment`].
//! 2. It writes an empty text. The writer receives it only if nothing captures the output.
//! 3. The writer takes the pending address and appends the shared chunk.
//! 4. If the address is still pending, the output is captured. The formatter then writes the text itself.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use minijinja::{Error, Value};

use super::engine_error::undefined_value;
use cfgsync_model::Chunk;
use cfgsync_support::nearest::did_you_mean;

/// Length in bytes from which a fragment is shared. A chunk for a shorter text would cost more than it saves.
pub(super) const CHUNK_MIN_BYTES: usize = 256;

/// The rendered fragments of one materializer in one generation.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    by_name: BTreeMap<String, Value>,
    /// The shared fragments by the address of their text in `by_name`.
    by_address: BTreeMap<usize, Arc<Chunk>>,
}

impl Fragments {
    pub(super) fn new(chunks: BTreeMap<String, Arc<Chunk>>) -> Self {
        let mut fragments = Self::default();
        for (name, chunk) in chunks {
            // Templates only give UTF-8, so this replaces nothing.
            let value = Value::from(Arc::<str>::from(String::from_utf8_lossy(chunk.bytes())));
            if let Some(text) = value.as_str().filter(|text| text.len() >= CHUNK_MIN_BYTES) {
                fragments.by_address.insert(text.as_ptr().addr(), chunk);
            }
            fragments.by_name.insert(name, value);
        }
        fragments
    }

    /// Returns the text of a fragment: the function `fragment(NAME)`.
    pub(super) fn get(&self, name: &str) -> Result<Value, Error> {
        self.by_name.get(name).cloned().ok_or_else(|| {
            undefined_value(
                "there is no fragment with this name",
                did_you_mean(name, self.by_name.keys().map(String::as_str)),
            )
        })
    }

    pub(super) fn chunk_at(&self, address: usize) -> Option<&Arc<Chunk>> {
        self.by_address.get(&address)
    }
}

/// The address of the fragment that the formatter passes to the writer, or 0 for none.
#[derive(Debug, Default)]
pub(super) struct PendingFragment(AtomicUsize);

impl PendingFragment {
    // Only one thread renders with it. It is atomic because the engine requires variables to be shareable.
    pub(super) fn set(&self, address: usize) {
        self.0.store(address, Ordering::Relaxed);
    }

    pub(super) fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}
