//! Decodes a payload and checks all its digests.

use std::fmt;

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};

use crate::{
    cluster::ArtifactEntry,
    signature::{Signature, SignedFacts, VerifyError, VerifyKey},
};
use cfgsync_model::{
    Account, ArtifactFile, ArtifactPath, ArtifactSet, Chunk, Content, Digest, GenerationNumber,
    Identifier, Instance, Mode, Ownership, Seat, payload_digest,
};

/// A payload that a client received, with all its digests checked.
#[derive(Debug, Clone)]
pub struct ReceivedPayload {
    /// The store's instance. Servers of the older protocol do not send it.
    pub instance: Option<Instance>,
    /// The number of the generation. Servers of the older protocol do not send it.
    pub generation: Option<GenerationNumber>,
    /// The payload digest, which matches the files. Servers of the older protocol do not send it.
    pub digest: Option<Digest>,
    /// The node's seat. Static files give none. The signature does not cover it.
    pub seat: Option<Seat>,
    /// The name of the cluster, which the signature covers. Only signed payloads contain it.
    pub cluster: Option<String>,
    /// The signature, if the server signs payloads. [`Self::verify`] checks it.
    pub signature: Option<Signature>,
    /// The files, in order.
    pub files: ArtifactSet,
    /// The secret files whose content the server did not send to an operator.
    pub withheld: Vec<ArtifactEntry>,
}

/// The limits within which a node accepts a payload.
///
/// ```
/// use cfgsync_wire::PayloadLimits;
///
/// let limits = PayloadLimits::default().with_payload_max_bytes(1 << 20).with_files_max(10);
/// assert_eq!(limits.path_max_bytes, 1024);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PayloadLimits {
    /// The largest payload on the wire, in bytes. The default is 512 MiB.
    pub payload_max_bytes: usize,
    /// The largest number of files, up to [`PayloadLimits::FILES_MAX`]. The default is 10,000.
    pub files_max: usize,
    /// The longest artifact path, in bytes. The default is 1024, the maximum of every artifact path.
    pub path_max_bytes: usize,
}

impl PayloadLimits {
    /// The number of files that no payload may exceed, whatever the limit.
    pub const FILES_MAX: usize = 100_000;

    /// The limits of a node that sets no others.
    pub const DEFAULT: Self = Self {
        payload_max_bytes: 512 << 20,
        files_max: 10_000,
        path_max_bytes: 1024,
    };

    /// Returns the same limits with another size of the payload, in bytes.
    #[must_use]
    pub const fn with_payload_max_bytes(mut self, bytes: usize) -> Self {
        self.payload_max_bytes = bytes;
        self
    }

    /// Returns the same limits with another number of files.
    #[must_use]
    pub const fn with_files_max(mut self, files: usize) -> Self {
        self.files_max = files;
        self
    }

    /// Returns the same limits with another length of paths, in bytes.
    #[must_use]
    pub const fn with_path_max_bytes(mut self, bytes: usize) -> Self {
        self.path_max_bytes = bytes;
        self
    }
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The reason why a payload must not be written. It is the server's mistake, or the connection is not trustworthy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnusablePayload {
    /// The body is not the JSON of a payload.
    #[error("the body is not a payload: {0}")]
    Shape(String),
    /// The payload has an unknown schema version.
    #[error(
        "the payload has schema version {0}, but this cfgsync supports only 1 and 2: update cfgsync"
    )]
    SchemaVersion(u64),
    /// The content of a file does not match its digest.
    #[error("the content of {path} does not match its digest")]
    File {
        /// The path of the file.
        path: ArtifactPath,
    },
    /// The files do not match the payload digest.
    #[error("the files do not match the payload's digest")]
    Payload,
    /// The payload exceeds a limit of this node.
    #[error("{0}")]
    TooMuch(String),
    /// Two files have the same name, or a file has an invalid mode or encoding.
    #[error("{0}")]
    Files(String),
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    instance: Option<Instance>,
    #[serde(default)]
    generation: Option<GenerationNumber>,
    #[serde(default)]
    digest: Option<Digest>,
    #[serde(default)]
    seat: Option<Seat>,
    #[serde(default)]
    cluster: Option<String>,
    #[serde(default)]
    signature: Option<String>,
    files: Files,
    #[serde(default)]
    withheld: Vec<ArtifactEntry>,
}

/// A list of files that are counted while they are read, so that an endless list is refused early.
struct Files(Vec<FileBody>);

#[derive(Deserialize, Serialize)]
struct FileBody {
    path: ArtifactPath,
    content: String,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    secret: bool,
    #[serde(default)]
    owner: Option<Account>,
    #[serde(default)]
    group: Option<Account>,
    #[serde(default)]
    sha256: Option<Digest>,
    #[serde(default)]
    chunks: Option<Vec<(usize, Digest)>>,
    #[serde(default)]
    encoding: Option<String>,
}

impl ReceivedPayload {
    /// Decodes and checks `body` within the default limits.
    ///
    /// # Errors
    /// Fails with [`UnusablePayload`], which says what is wrong.
    pub fn decode(body: &[u8]) -> Result<Self, UnusablePayload> {
        Self::decode_within(body, PayloadLimits::default())
    }

    /// Decodes `body` and checks its limits and digests. It does not check the size of `body` itself: the client does,
    /// while it reads.
    ///
    /// # Errors
    /// Fails with [`UnusablePayload`], which says what is wrong.
    pub fn decode_within(body: &[u8], limits: PayloadLimits) -> Result<Self, UnusablePayload> {
        #[derive(Deserialize)]
        struct Version {
            schema_version: u64,
        }
        let shape = |e: serde_json::Error| UnusablePayload::Shape(e.to_string());
        let Version { schema_version } = serde_json::from_slice(body).map_err(shape)?;
        if !(1..=2).contains(&schema_version) {
            return Err(UnusablePayload::SchemaVersion(schema_version));
        }
        let body: Body = serde_json::from_slice(body).map_err(shape)?;
        let Files(files) = body.files;
        if files.len() > limits.files_max {
            let (count, most) = (files.len(), limits.files_max);
            let message = format!("the payload has {count} files; the limit is {most}");
            return Err(UnusablePayload::TooMuch(message));
        }
        let files = files.into_iter().map(|file| {
            let (length, most) = (file.path.as_str().len(), limits.path_max_bytes);
            if length > most {
                let message = format!("an artifact's path has {length} bytes; the limit is {most}");
                return Err(UnusablePayload::TooMuch(message));
            }
            file.decode()
        });
        let files = ArtifactSet::new(files.collect::<Result<_, _>>()?)
            .map_err(|e| UnusablePayload::Files(e.to_string()))?;
        if let (Some(instance), Some(digest)) = (body.instance, body.digest)
            && payload_digest(instance, files.files()) != digest
        {
            return Err(UnusablePayload::Payload);
        }
        Ok(Self {
            instance: body.instance,
            generation: body.generation,
            digest: body.digest,
            seat: body.seat,
            cluster: body.cluster,
            // An invalid signature counts as absent. `verify` then refuses the payload.
            signature: body.signature.and_then(|text| text.parse().ok()),
            files,
            withheld: body.withheld,
        })
    }

    /// Checks that one of `keys` signed this payload of this generation and of [`Self::cluster`] for `identifier`. With
    /// `accept_v1`, the signature may be of the first version, which does not cover the cluster.
    ///
    /// # Errors
    /// Fails with [`VerifyError`] if no key matches.
    pub fn verify(
        &self,
        identifier: &Identifier,
        keys: &[VerifyKey],
        accept_v1: bool,
    ) -> Result<(), VerifyError> {
        let (Some(instance), Some(generation), Some(digest)) =
            (self.instance, self.generation, self.digest)
        else {
            return Err(VerifyError::NotSignable);
        };
        let signature = self.signature.ok_or(VerifyError::Unsigned)?;
        let facts = SignedFacts {
            cluster: self.cluster.as_deref(),
            instance,
            generation,
            identifier,
            digest,
        };
        let verified = facts.verify(&signature, keys);
        if facts.cluster.is_none() && !accept_v1 {
            return verified.and(Err(VerifyError::OldVersion));
        }
        verified
    }
}

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FilesVisitor;
        impl<'de> Visitor<'de> for FilesVisitor {
            type Value = Files;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of files")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Files, A::Error> {
                let mut files = Vec::new();
                while let Some(file) = list.next_element()? {
                    if files.len() == PayloadLimits::FILES_MAX {
                        let most = PayloadLimits::FILES_MAX;
                        return Err(A::Error::custom(format!("more than {most} files")));
                    }
                    files.push(file);
                }
                Ok(Files(files))
            }
        }
        deserializer.deserialize_seq(FilesVisitor)
    }
}

impl FileBody {
    fn decode(self) -> Result<ArtifactFile, UnusablePayload> {
        let path = self.path;
        let bytes: Bytes = match self.encoding.as_deref() {
            None => self.content.into(),
            Some("base64") => data_encoding::BASE64
                .decode(self.content.as_bytes())
                .map_err(|e| UnusablePayload::Files(format!("{path} is not base64: {e}")))?
                .into(),
            Some(other) => {
                let message = format!("{path} has the unknown encoding {other:?}");
                return Err(UnusablePayload::Files(message));
            }
        };
        let content = match &self.chunks {
            None => Content::whole(bytes),
            Some(lengths) => {
                let mut rest = bytes;
                let mut chunks = Vec::with_capacity(lengths.len());
                for (length, _) in lengths {
                    if *length > rest.len() {
                        return Err(UnusablePayload::File { path });
                    }
                    chunks.push(Chunk::new(rest.split_to(*length)));
                }
                if !rest.is_empty() {
                    return Err(UnusablePayload::File { path });
                }
                Content::from_chunks(chunks)
            }
        };
        let matches_digest = match (&self.chunks, self.sha256) {
            (Some(sums), _) => {
                let expected = sums.iter().map(|(_, sum)| *sum);
                content
                    .chunks()
                    .iter()
                    .map(|chunk| chunk.sha256())
                    .eq(expected)
            }
            (None, Some(sum)) => content.sha256() == sum,
            (None, None) => true,
        };
        if !matches_digest {
            return Err(UnusablePayload::File { path });
        }
        let mode = Mode::for_file(self.mode, self.secret)
            .map_err(|error| UnusablePayload::Files(format!("{path}: {error}")))?;
        Ok(ArtifactFile {
            path,
            mode,
            secret: self.secret,
            ownership: Ownership::of(self.owner, self.group),
            content,
        })
    }
}
