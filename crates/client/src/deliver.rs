//! Delivers a payload: routes, files and receipt in one transaction.
//!
//! A delivery has two phases, like the [disk transaction](crate::disk) below it. Content that is routed to standard
//! output is printed between them, so that a broken pipe rolls the files back.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::{
    JoinError, OutputMap, Placement, Receipt, Session, Target,
    disk::{self, CommittedTransaction, DiskError, Owner, Transaction, WrittenFile},
};
use cfgsync_model::{ArtifactFile, Identifier};
use cfgsync_wire::ReceivedPayload;

/// The places and the rules by which a node writes its payloads.
///
/// ```no_run
/// # async fn example(mut session: cfgsync_client::Session) -> Result<(), Box<dyn std::error::Error>> {
/// use cfgsync_client::{DeliveryOptions, OutputMap};
///
/// let outputs = OutputMap::new().under("/etc/app")?;
/// let options = DeliveryOptions::new(outputs).with_receipt("/var/lib/app/receipt.json")?;
///
/// let payload = session.run(|_event| {}).await?;
/// let committed = options.commit(&session, &payload)?;
/// for file in committed.finish().written {
///     println!("{}", file.path.display());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct DeliveryOptions {
    outputs: OutputMap,
    owner: Option<Owner>,
    receipt: Option<PathBuf>,
}

/// The error for a receipt whose path does not end in a file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path of a receipt must end in a file name")]
pub struct InvalidReceiptPath;

/// A delivery whose files are in place, while the old ones are kept for a rollback.
///
/// A committed delivery that is dropped rolls back.
#[must_use = "a committed delivery that is dropped rolls back"]
pub struct CommittedDelivery<'p> {
    transaction: CommittedTransaction<'static>,
    stdout: Vec<&'p ArtifactFile>,
    /// Whether the last file of the transaction is the receipt.
    has_receipt: bool,
}

/// The result of a delivery.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// The files, in the payload's order, without the receipt.
    pub written: Vec<WrittenFile>,
    /// The contents that are routed to standard output, in the payload's order. The caller prints them.
    pub stdout: Vec<Bytes>,
}

impl DeliveryOptions {
    /// Creates options that write the files as `outputs` says, keep the owners of replaced files, and write no
    /// receipt.
    pub fn new(outputs: OutputMap) -> Self {
        Self {
            outputs,
            owner: None,
            receipt: None,
        }
    }

    /// Gives the files and new directories to `owner`.
    #[must_use]
    pub fn with_owner(mut self, owner: Owner) -> Self {
        self.owner = Some(owner);
        self
    }

    /// Writes a [`Receipt`] to `path`, in the same transaction.
    pub fn with_receipt(mut self, path: impl Into<PathBuf>) -> Result<Self, InvalidReceiptPath> {
        let path = path.into();
        Target::from_path(&path).ok_or(InvalidReceiptPath)?;
        self.receipt = Some(path);
        Ok(self)
    }

    /// Returns the routes.
    pub fn outputs(&self) -> &OutputMap {
        &self.outputs
    }

    /// Returns the path of the receipt.
    pub fn receipt(&self) -> Option<&Path> {
        self.receipt.as_deref()
    }

    /// Fails if a directory of the routes or of the receipt cannot be written. Call it before the node registers: the
    /// other nodes would wait for a node that cannot start.
    pub fn check_directories(&self) -> Result<(), DiskError> {
        let of_receipt = self.receipt.as_deref().and_then(Path::parent);
        let mut all = self.outputs.directories().chain(of_receipt);
        all.try_for_each(disk::check_directory)
    }

    /// Writes the payload of `session` and the receipt. The new files are in place afterwards, and the caller decides
    /// between [`CommittedDelivery::finish`] and [`CommittedDelivery::roll_back`].
    ///
    /// # Errors
    /// [`JoinError::Route`] if the payload does not match the routes, [`JoinError::Disk`] if a file cannot be written.
    /// Nothing has changed then, unless the error is [`DiskError::RollbackFailed`].
    pub fn commit<'p>(
        &self,
        session: &Session,
        payload: &'p ReceivedPayload,
    ) -> Result<CommittedDelivery<'p>, JoinError> {
        self.commit_for(&session.options().identifier, session.cluster(), payload)
    }

    pub(crate) fn commit_for<'p>(
        &self,
        identifier: &Identifier,
        cluster: Option<&str>,
        payload: &'p ReceivedPayload,
    ) -> Result<CommittedDelivery<'p>, JoinError> {
        let placed = self.outputs.place(&payload.files)?;
        let mut files: Vec<(&ArtifactFile, &Target)> = Vec::new();
        let mut stdout = Vec::new();
        for placed in &placed {
            match &placed.placement {
                Placement::File(target) => files.push((placed.file, target)),
                Placement::Stdout => stdout.push(placed.file),
                Placement::Consumed => {}
            }
        }
        let receipt = self.receipt.as_ref().map(|path| {
            let receipt = Receipt::new(identifier, cluster, payload, &placed);
            let target = Target::from_path(path).expect("checked when it was set");
            (receipt.to_file(), target)
        });
        files.extend(receipt.as_ref().map(|(file, target)| (file, target)));
        Ok(CommittedDelivery {
            transaction: Transaction::stage(&files, self.owner)?.commit()?,
            stdout,
            has_receipt: receipt.is_some(),
        })
    }
}

impl CommittedDelivery<'_> {
    /// Returns the files, in the payload's order, without the receipt.
    pub fn written(&self) -> &[WrittenFile] {
        let written = self.transaction.written();
        &written[..written.len() - usize::from(self.has_receipt)]
    }

    /// Returns the contents that are routed to standard output, in the payload's order.
    pub fn stdout(&self) -> impl Iterator<Item = Bytes> {
        self.stdout.iter().map(|file| file.content.to_bytes())
    }

    /// Removes the old files. There is no rollback from here on.
    pub fn finish(self) -> Delivery {
        let stdout = self.stdout().collect();
        let mut written = self.transaction.finish();
        if self.has_receipt {
            written.pop();
        }
        Delivery { written, stdout }
    }

    /// Restores the old files because of `cause`. Returns `cause`, or [`DiskError::RollbackFailed`] with it if a file
    /// could not be restored.
    pub fn roll_back(self, cause: DiskError) -> DiskError {
        self.transaction.roll_back(cause)
    }
}

impl fmt::Debug for CommittedDelivery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommittedDelivery")
            .field("written", &self.written())
            .finish_non_exhaustive()
    }
}
