//! The operators' values that one render reads, and the record of all its reads.

use std::sync::Arc;

use cfgsync_materialize::{Materializer, ReadableValues};
use cfgsync_model::{ValueReader, ValueReads, ValueSource};

/// Operators' values at one revision. It records the reads of all materializers.
#[derive(Default)]
pub struct RecordedValues {
    all: ValueReader,
    reads: ValueReads,
}

impl RecordedValues {
    /// Returns the values of `source`, with an empty record.
    pub fn new(source: Arc<dyn ValueSource>) -> Self {
        Self {
            all: ValueReader::new(source),
            reads: ValueReads::default(),
        }
    }

    /// Returns a reader of the values that `materializer` may read.
    pub(crate) fn reader_for(&self, materializer: &dyn Materializer) -> ValueReader {
        match materializer.reads() {
            ReadableValues::Declared(patterns) => self.all.limited_to(&patterns),
            ReadableValues::Any => self.all.with_own_record(),
        }
    }

    /// Adds the reads of one materializer.
    pub(crate) fn add(&mut self, reads: ValueReads) {
        self.reads.add(reads);
    }

    /// Returns all reads so far.
    pub(crate) fn reads(&self) -> &ValueReads {
        &self.reads
    }

    /// Returns all reads so far.
    pub fn into_reads(self) -> ValueReads {
        self.reads
    }
}
