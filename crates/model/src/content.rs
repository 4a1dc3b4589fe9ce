//! The bytes of files: chunks that files share, and content made of chunks.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use super::Digest;

/// Bytes that many files may share. The memory and the SHA-256 computation are shared as well.
pub struct Chunk {
    bytes: Bytes,
    sha256: OnceLock<Digest>,
    is_text: OnceLock<bool>,
}

impl Chunk {
    /// Creates a chunk. Its checksum is computed when it is first needed.
    pub fn new(bytes: impl Into<Bytes>) -> Arc<Self> {
        Arc::new(Self {
            bytes: bytes.into(),
            sha256: OnceLock::new(),
            is_text: OnceLock::new(),
        })
    }

    /// Creates a chunk whose checksum the caller already knows. It is trusted and not computed again.
    pub fn with_sha256(bytes: Bytes, sha256: Digest) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            sha256: OnceLock::from(sha256),
            is_text: OnceLock::new(),
        })
    }

    /// Returns the bytes. Cloning them copies no memory.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the SHA-256 of the bytes, computed by the first call.
    pub fn sha256(&self) -> Digest {
        *self.sha256.get_or_init(|| Digest::of(&self.bytes))
    }

    /// Returns whether the bytes are UTF-8. Only the first call checks, because thousands of files may hold the
    /// same chunk.
    pub fn is_text(&self) -> bool {
        *self
            .is_text
            .get_or_init(|| std::str::from_utf8(&self.bytes).is_ok())
    }
}

/// Prints the length only: the bytes may be secret.
impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.bytes.len())
    }
}

/// The bytes of a file: one chunk, or several of which some are shared with other files.
///
/// Contents are equal if their bytes are equal, however they are divided into chunks.
#[derive(Debug, Clone, Default)]
pub struct Content {
    chunks: Vec<Arc<Chunk>>,
}

impl Content {
    /// Creates content that is one chunk of its own.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self {
            chunks: vec![Chunk::new(bytes)],
        }
    }

    /// Creates content from chunks, in order. Empty chunks are left out.
    pub fn from_chunks(chunks: impl IntoIterator<Item = Arc<Chunk>>) -> Self {
        Self {
            chunks: chunks
                .into_iter()
                .filter(|chunk| !chunk.bytes.is_empty())
                .collect(),
        }
    }

    /// Returns the chunks in order. There are none if the content was created from empty chunks only.
    pub fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// Returns whether the content has several chunks, so that [`Content::id`] is made of their checksums.
    pub fn is_chunked(&self) -> bool {
        self.chunks.len() > 1
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// Returns whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns all bytes in one piece. This copies them if there are several chunks.
    pub fn to_bytes(&self) -> Bytes {
        match self.chunks.as_slice() {
            [] => Bytes::new(),
            [only] => only.bytes.clone(),
            several => {
                let mut joined = Vec::with_capacity(self.len());
                for chunk in several {
                    joined.extend_from_slice(&chunk.bytes);
                }
                joined.into()
            }
        }
    }

    /// Returns the SHA-256 of all bytes. With several chunks, each call hashes the whole content.
    pub fn sha256(&self) -> Digest {
        match self.chunks.as_slice() {
            [only] => only.sha256(),
            _ => Digest::of(&self.to_bytes()),
        }
    }

    /// Returns the text that represents the content in payload digests. For one chunk it is `sha256:DIGEST`. For several
    /// it is `chunks:LENGTH:DIGEST…`, with the length in bytes and the checksum of each chunk.
    pub fn id(&self) -> String {
        if !self.is_chunked() {
            return format!("sha256:{}", self.sha256());
        }
        let mut id = String::from("chunks");
        for chunk in &self.chunks {
            write!(id, ":{}:{}", chunk.bytes.len(), chunk.sha256())
                .expect("a string accepts every write");
        }
        id
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}
impl Eq for Content {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunked_content_has_equal_bytes_and_another_id() {
        let whole = Content::whole("abcd");
        let chunked = Content::from_chunks([Chunk::new("ab"), Chunk::new(""), Chunk::new("cd")]);
        assert_eq!(whole, chunked);
        assert_eq!(whole.sha256(), chunked.sha256());
        assert_ne!(whole.id(), chunked.id());
    }
}
