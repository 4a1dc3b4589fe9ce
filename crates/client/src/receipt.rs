//! The receipt of a delivery: which generation and which files a node received, with checksums and without contents.
//!
//! With it, a node that starts while the server is unreachable can verify the files at its routes: they must still be
//! those of the last delivery. A later delivery reads from it which generation was delivered before.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    OutputMap, PlacedArtifact, Placement, RouteError, Target,
    disk::{self, DirectoryLocks, DiskError},
    sanitize::ClusterName,
};
use cfgsync_model::{
    ArtifactFile, ArtifactPath, ArtifactSet, Digest, DuplicatePath, GenerationNumber, Identifier,
    Instance, Mode, Seat,
};
use cfgsync_support::bounded_file::{self, ReadError};
use cfgsync_wire::ReceivedPayload;

/// The version of the format that is written and read.
const VERSION: u32 = 1;
/// Largest receipt that is read, in bytes: a hundred thousand files with long names.
const RECEIPT_MAX_BYTES: u64 = 32 << 20;
/// Mode of the file. Only its owner can read it, because it lists what the node holds.
const MODE: &str = "0600";

/// The receipt of a delivery to one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Receipt {
    /// The version of this format.
    #[serde(rename = "cfgsync_receipt")]
    version: u32,
    /// The node whose files these are.
    pub identifier: Identifier,
    /// The cluster. `None` from servers of the older protocol.
    #[serde(default)]
    pub cluster: Option<String>,
    /// The identity of the store that sealed the generation. `None` from servers of the older protocol.
    pub instance: Option<Instance>,
    /// The generation. `None` from servers of the older protocol.
    pub generation: Option<GenerationNumber>,
    /// The payload digest. `None` from servers of the older protocol.
    pub digest: Option<Digest>,
    /// The node's seat. `None` if the server gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<Seat>,
    /// The files, in the payload's order.
    pub files: Vec<ReceiptEntry>,
    /// The artifacts whose files this delivery removed. The next delivery looks for their leftovers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<ArtifactPath>,
    /// The files of earlier deliveries that are not part of the payload and were not removed. The next delivery looks at
    /// them again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remaining: Vec<RemainingFile>,
    /// Whether an action must follow the delivery, such as a reload, and was not done yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub action_pending: bool,
}

/// A file of an earlier delivery that was not removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RemainingFile {
    /// The file, as it was delivered.
    #[serde(flatten)]
    pub entry: ReceiptEntry,
    /// The node to which it was delivered.
    pub identifier: Identifier,
    /// The cluster that delivered it. `None` from servers of the older protocol.
    pub cluster: Option<String>,
}

/// One file of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReceiptEntry {
    /// The name of the artifact in the payload.
    pub artifact: ArtifactPath,
    /// The file's path, for people. `None` if the content was printed or consumed.
    pub path: Option<String>,
    /// The mode with which the file was written.
    pub mode: Mode,
    /// Whether the spec declares the file secret.
    #[serde(default)]
    pub secret: bool,
    /// The length of the content in bytes.
    pub bytes: u64,
    /// The SHA-256 checksum of the content.
    pub sha256: Digest,
}

/// Identifies a payload that was delivered before. A session accepts no older generation of the same instance, and
/// no other payload with the same generation number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveredGeneration {
    /// The name of the cluster, if its server sent it.
    pub cluster: Option<String>,
    /// The identity of the store that sealed the generation.
    pub instance: Instance,
    /// The number of the generation within that instance.
    pub generation: GenerationNumber,
    /// The digest of this node's payload of that generation.
    pub digest: Digest,
}

/// A file of a receipt that was verified on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedFile {
    /// The entry of the receipt.
    pub entry: ReceiptEntry,
    /// The path where the current routes place the file.
    pub path: PathBuf,
}

/// The reason why a receipt cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The operating system reports an error.
    #[error("cannot read the receipt {}: {problem}", path.display())]
    Io {
        /// The path of the receipt.
        path: PathBuf,
        /// The error of the operating system, or the reason why such a file is not read.
        problem: io::Error,
    },
    /// The file is not a receipt, or it is damaged.
    #[error("{} is not a receipt: {problem}", path.display())]
    Invalid {
        /// The path of the file that is not a receipt.
        path: PathBuf,
        /// The fault in its JSON.
        problem: String,
    },
    /// A newer cfgsync wrote the receipt.
    #[error("the receipt {} has version {version}; this cfgsync supports version {VERSION}", path.display())]
    Version {
        /// The path of the receipt.
        path: PathBuf,
        /// The version that the file has.
        version: u64,
    },
}

/// The reason why the files on disk are not those of a receipt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptMismatch {
    /// The receipt is for another node.
    #[error("the receipt is for {0}")]
    Identifier(Identifier),
    /// The receipt is for another cluster than the one requested, or names none.
    #[error(
        "the receipt is for {}, not for the cluster {wanted:?}",
        ClusterName(found)
    )]
    Cluster {
        /// The cluster that the node must belong to.
        wanted: String,
        /// The cluster that the receipt names.
        found: Option<String>,
    },
    /// The current routes do not match the artifacts of the receipt.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The receipt lists an artifact twice.
    #[error("invalid receipt: {0}")]
    Duplicate(#[from] DuplicatePath),
    /// The artifact is not routed to a file, or was not when it was delivered.
    #[error("{0} is not routed to a file")]
    NotAFile(ArtifactPath),
    /// The file does not exist, or it is not a regular file.
    #[error("{} does not exist or is not a regular file", .0.display())]
    Missing(PathBuf),
    /// The content of the file differs.
    #[error("{} has changed since its delivery", .0.display())]
    Changed(PathBuf),
    /// The file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] DiskError),
}

impl Receipt {
    /// Creates the receipt of a `payload` of `cluster` that is written as `placed` says.
    pub(crate) fn new(
        identifier: &Identifier,
        cluster: Option<&str>,
        payload: &ReceivedPayload,
        placed: &[PlacedArtifact<'_>],
    ) -> Self {
        let entry = |placed: &PlacedArtifact<'_>| ReceiptEntry {
            artifact: placed.file.path.clone(),
            path: match &placed.placement {
                Placement::File(target) => Some(target.path().display().to_string()),
                Placement::Stdout | Placement::Consumed | Placement::Discarded => None,
            },
            mode: placed.file.mode,
            secret: placed.file.secret,
            bytes: placed.file.content.len() as u64,
            sha256: placed.file.content.sha256(),
        };
        Self {
            version: VERSION,
            identifier: identifier.clone(),
            cluster: cluster.map(str::to_owned),
            instance: payload.instance,
            generation: payload.generation,
            digest: payload.digest,
            seat: payload.seat,
            files: placed.iter().map(entry).collect(),
            removed: Vec::new(),
            remaining: Vec::new(),
            action_pending: false,
        }
    }

    /// Returns the file to write. It must be the last file of a transaction. After a crash in between, the receipt then
    /// matches neither the old files nor the incomplete set of new ones.
    pub(crate) fn to_file(&self) -> ArtifactFile {
        let mut json = serde_json::to_vec_pretty(self).expect("numbers and texts");
        json.push(b'\n');
        let name = ArtifactPath::new("receipt").expect("a valid name");
        ArtifactFile {
            mode: MODE.parse().expect("a valid mode"),
            ..ArtifactFile::new(name, json)
        }
    }

    /// Returns all files that this delivery and earlier ones left on disk.
    pub(crate) fn all_delivered(&self) -> impl Iterator<Item = RemainingFile> {
        let files = self.files.iter().map(|entry| RemainingFile {
            entry: entry.clone(),
            identifier: self.identifier.clone(),
            cluster: self.cluster.clone(),
        });
        files.chain(self.remaining.iter().cloned())
    }

    /// Returns what identifies the delivered payload. `None` if the server was of the older protocol.
    pub fn delivered(&self) -> Option<DeliveredGeneration> {
        Some(DeliveredGeneration {
            cluster: self.cluster.clone(),
            instance: self.instance?,
            generation: self.generation?,
            digest: self.digest?,
        })
    }

    /// Reads the receipt at `path`. Returns `None` if there is no file.
    ///
    /// ```
    /// use cfgsync_client::Receipt;
    ///
    /// if let Some(receipt) = Receipt::read("/var/lib/app/receipt.json".as_ref())? {
    ///     println!("{} files for {}", receipt.files.len(), receipt.identifier);
    /// }
    /// # Ok::<(), cfgsync_client::ReceiptError>(())
    /// ```
    pub fn read(path: &Path) -> Result<Option<Self>, ReceiptError> {
        #[derive(Deserialize)]
        struct Version {
            cfgsync_receipt: u64,
        }
        let json = match bounded_file::read_regular(path, RECEIPT_MAX_BYTES) {
            Ok(json) => json,
            Err(ReadError::Missing) => return Ok(None),
            Err(error) => {
                return Err(ReceiptError::Io {
                    path: path.to_owned(),
                    problem: error.into(),
                });
            }
        };
        let invalid = |error: serde_json::Error| ReceiptError::Invalid {
            path: path.to_owned(),
            problem: error.to_string(),
        };
        let Version { cfgsync_receipt } = serde_json::from_slice(&json).map_err(invalid)?;
        if cfgsync_receipt != u64::from(VERSION) {
            return Err(ReceiptError::Version {
                path: path.to_owned(),
                version: cfgsync_receipt,
            });
        }
        serde_json::from_slice(&json).map(Some).map_err(invalid)
    }

    /// Verifies that every file of the receipt is on disk, unchanged, at the place where `outputs` routes it now. Also
    /// verifies that the receipt is for `identifier`, and for `cluster` if one is given. Returns the files, and the locks
    /// of their directories: no delivery changes the files until the locks are dropped. Modes and owners are not
    /// compared, because an operator may change them.
    ///
    /// # Errors
    /// The first difference that was found.
    pub fn verify(
        &self,
        identifier: &Identifier,
        cluster: Option<&str>,
        outputs: &OutputMap,
    ) -> Result<(Vec<VerifiedFile>, DirectoryLocks), ReceiptMismatch> {
        if self.identifier != *identifier {
            return Err(ReceiptMismatch::Identifier(self.identifier.clone()));
        }
        if let Some(wanted) = cluster
            && self.cluster.as_deref() != Some(wanted)
        {
            return Err(ReceiptMismatch::Cluster {
                wanted: wanted.to_owned(),
                found: self.cluster.clone(),
            });
        }
        let entries: HashMap<&ArtifactPath, &ReceiptEntry> = self
            .files
            .iter()
            .map(|entry| (&entry.artifact, entry))
            .collect();
        let names = self.files.iter();
        let names = names.map(|entry| ArtifactFile::new(entry.artifact.clone(), ""));
        let names = ArtifactSet::new(names.collect())?;
        let all_placed = outputs.place(&names)?;
        let locks = DirectoryLocks::of(all_placed.iter().filter_map(
            |placed| match &placed.placement {
                Placement::File(target) => Some(target),
                Placement::Stdout | Placement::Consumed | Placement::Discarded => None,
            },
        ))?;
        let mut verified = Vec::with_capacity(self.files.len());
        for placed in all_placed {
            let target = match &placed.placement {
                Placement::File(target) => target,
                Placement::Discarded => continue,
                Placement::Stdout | Placement::Consumed => {
                    return Err(ReceiptMismatch::NotAFile(placed.file.path.clone()));
                }
            };
            let entry = entries[&placed.file.path];
            entry.verify(target)?;
            verified.push(VerifiedFile {
                entry: entry.clone(),
                path: target.path(),
            });
        }
        Ok((verified, locks))
    }
}

impl ReceiptEntry {
    fn verify(&self, target: &Target) -> Result<(), ReceiptMismatch> {
        match disk::checksum(target, self.bytes)? {
            disk::Checksum::Absent => Err(ReceiptMismatch::Missing(target.path())),
            disk::Checksum::Sha256(digest) if digest == self.sha256 => Ok(()),
            disk::Checksum::Sha256(_) | disk::Checksum::OtherLength => {
                Err(ReceiptMismatch::Changed(target.path()))
            }
        }
    }
}
