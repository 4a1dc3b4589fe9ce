//! What a join notes of what it delivered, for the morning after: a machine that starts while the server is away
//! can tell whether what stands at its routes is still that.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    OutputMap,
    disk::{self, DiskError},
    routes::{Placed, Placement, RouteError, Target},
    words::Named,
};
use cfgsync_model::{
    ArtifactFile, ArtifactPath, ArtifactSet, Digest, DuplicatePath, GenerationNumber, Identifier,
    Instance, Mode,
};
use cfgsync_wire::ReceivedPayload;

/// The version that is written, and understood.
const VERSION: u32 = 1;
/// Largest receipt that is read, in bytes: a hundred thousand files of long names.
const RECEIPT_MAX_BYTES: u64 = 32 << 20;
/// A receipt is for its owner: it names what the node holds.
const MODE: &str = "0600";

/// What was delivered, and to whom. Holds sums, never contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The version of this format.
    #[serde(rename = "cfgsync_receipt")]
    version: u32,
    /// Whose files.
    pub identifier: Identifier,
    /// Of which cluster; absent from servers of the older protocol.
    #[serde(default)]
    pub cluster: Option<String>,
    /// The store that sealed them; absent likewise.
    pub instance: Option<Instance>,
    /// Which generation; absent likewise.
    pub generation: Option<GenerationNumber>,
    /// The payload digest; absent likewise.
    pub digest: Option<Digest>,
    /// The files, in order.
    pub files: Vec<Noted>,
}

/// One delivered file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Its name.
    pub artifact: ArtifactPath,
    /// Where it was written, for people; absent for what was printed, or used otherwise.
    pub path: Option<String>,
    /// Its mode.
    pub mode: Mode,
    /// Whether it is secret.
    #[serde(default)]
    pub secret: bool,
    /// Its length.
    pub bytes: u64,
    /// The sum of its content.
    pub sha256: Digest,
}

/// A payload that was delivered before. Within its instance nothing older comes, and nothing else by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The store that sealed it.
    pub instance: Instance,
    /// Which generation.
    pub generation: GenerationNumber,
    /// Which payload of it.
    pub digest: Digest,
}

/// A file that still stands where the routes lead, as it was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What was delivered.
    pub noted: Noted,
    /// Where it stands.
    pub path: PathBuf,
}

/// A receipt that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The operating system said no.
    #[error("cannot read the receipt {}: {problem}", path.display())]
    Io {
        /// The receipt.
        path: PathBuf,
        /// What it said.
        problem: io::Error,
    },
    /// It is no receipt, or a damaged one.
    #[error("{} is not a receipt: {problem}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Written by a later cfgsync.
    #[error("the receipt {} has version {version}; this cfgsync understands {VERSION}", path.display())]
    Version {
        /// The receipt.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
}

/// Why what stands there is not what was delivered.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// Another node's receipt.
    #[error("the receipt is {0}'s")]
    Identifier(Identifier),
    /// Another cluster's, or one that names none, where a cluster is insisted on.
    #[error("the receipt is of {}, not of the cluster {wanted:?}", Named(found))]
    Cluster {
        /// The cluster asked for.
        wanted: String,
        /// The receipt's.
        found: Option<String>,
    },
    /// The routes are not those of that time, and do not fit.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// No receipt of ours: one name stands in it twice.
    #[error("in the receipt, {0}")]
    Twice(#[from] DuplicatePath),
    /// It was not written to a file, or would not be now.
    #[error("{0} is not routed to a file")]
    NoFile(ArtifactPath),
    /// It is gone, or not a regular file.
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    /// It has other bytes.
    #[error("{} was changed since", .0.display())]
    Changed(PathBuf),
    /// It cannot be looked at.
    #[error(transparent)]
    Unreadable(#[from] DiskError),
}

impl Receipt {
    /// Of the `payload` of `cluster`, which goes where `placed` says.
    pub fn of(
        identifier: &Identifier,
        cluster: Option<&str>,
        payload: &ReceivedPayload,
        placed: &[Placed<'_>],
    ) -> Self {
        let note = |placed: &Placed<'_>| Noted {
            artifact: placed.file.path.clone(),
            path: match &placed.placement {
                Placement::File(target) => Some(target.path().display().to_string()),
                Placement::Stdout | Placement::Consumed => None,
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
            files: placed.iter().map(note).collect(),
        }
    }

    /// As a file to be written with those that it names, last: where a crash comes between, it fits neither the
    /// old files nor a part of the new ones.
    pub fn to_file(&self) -> ArtifactFile {
        let mut json = serde_json::to_vec_pretty(self).expect("numbers and texts");
        json.push(b'\n');
        let name = ArtifactPath::new("receipt").expect("a valid name");
        ArtifactFile {
            mode: MODE.parse().expect("a valid mode"),
            ..ArtifactFile::new(name, json)
        }
    }

    /// Which generation it was, if the server told.
    pub fn delivered(&self) -> Option<Delivered> {
        Some(Delivered {
            instance: self.instance?,
            generation: self.generation?,
            digest: self.digest?,
        })
    }

    /// Reads the receipt at `path`; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, ReceiptError> {
        #[derive(Deserialize)]
        struct Version {
            cfgsync_receipt: u64,
        }
        let json = match read_bounded(path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(problem) => {
                let path = path.to_owned();
                return Err(ReceiptError::Io { path, problem });
            }
        };
        let shape = |error: serde_json::Error| ReceiptError::Shape {
            path: path.to_owned(),
            problem: error.to_string(),
        };
        let Version { cfgsync_receipt } = serde_json::from_slice(&json).map_err(shape)?;
        if cfgsync_receipt != u64::from(VERSION) {
            return Err(ReceiptError::Version {
                path: path.to_owned(),
                version: cfgsync_receipt,
            });
        }
        serde_json::from_slice(&json).map(Some).map_err(shape)
    }

    /// Whether every file that was delivered to `identifier` stands, unchanged, where `outputs` leads now, and is of
    /// the cluster that is `wanted`, if one is. Modes and owners are not compared: they are the machine's to keep. The
    /// first file that differs is named.
    pub fn check(
        &self,
        identifier: &Identifier,
        wanted: Option<&str>,
        outputs: &OutputMap,
    ) -> Result<Vec<Standing>, Mismatch> {
        if self.identifier != *identifier {
            return Err(Mismatch::Identifier(self.identifier.clone()));
        }
        if let Some(wanted) = wanted
            && self.cluster.as_deref() != Some(wanted)
        {
            return Err(Mismatch::Cluster {
                wanted: wanted.to_owned(),
                found: self.cluster.clone(),
            });
        }
        let mut noted = HashMap::new();
        for file in &self.files {
            noted.insert(&file.artifact, file);
        }
        let names = self.files.iter();
        let names = names.map(|file| ArtifactFile::new(file.artifact.clone(), ""));
        let names = ArtifactSet::new(names.collect())?;
        let mut standing = Vec::with_capacity(self.files.len());
        for placed in outputs.plan(&names)? {
            let Placement::File(target) = &placed.placement else {
                return Err(Mismatch::NoFile(placed.file.path.clone()));
            };
            let noted = noted[&placed.file.path];
            stands(noted, target)?;
            standing.push(Standing {
                noted: noted.clone(),
                path: target.path(),
            });
        }
        Ok(standing)
    }
}

fn stands(noted: &Noted, target: &Target) -> Result<(), Mismatch> {
    match disk::sum(target, noted.bytes)? {
        disk::Sum::Absent => Err(Mismatch::Missing(target.path())),
        disk::Sum::Of(sum) if sum == noted.sha256 => Ok(()),
        disk::Sum::Of(_) | disk::Sum::OtherLength => Err(Mismatch::Changed(target.path())),
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // Asked before it is opened: opening a pipe would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut json = Vec::new();
    File::open(path)?
        .take(RECEIPT_MAX_BYTES + 1)
        .read_to_end(&mut json)?;
    if json.len() as u64 > RECEIPT_MAX_BYTES {
        let message = format!("it is larger than {} MiB", RECEIPT_MAX_BYTES >> 20);
        return Err(io::Error::other(message));
    }
    Ok(json)
}
