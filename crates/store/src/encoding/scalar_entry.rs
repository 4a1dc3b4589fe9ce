//! The encoding of bytes and times on disk.

use serde::{Deserialize, Serialize};

use super::error::DecodeError;
use cfgsync_support::clock::Timestamp;

/// Seconds and nanoseconds of Unix time.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) struct TimestampEntry(i64, i32);

/// Bytes, encoded in one step.
#[derive(Deserialize, Clone, Copy)]
pub(crate) struct BytesEntry<'a>(#[serde(borrow)] pub(crate) &'a [u8]);

impl Serialize for BytesEntry<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl TimestampEntry {
    pub(crate) fn of(at: Timestamp) -> Self {
        Self(at.as_second(), at.subsec_nanosecond())
    }

    pub(crate) fn timestamp(self) -> Result<Timestamp, DecodeError> {
        Timestamp::new(self.0, self.1).map_err(|error| DecodeError::Other(error.to_string()))
    }
}
