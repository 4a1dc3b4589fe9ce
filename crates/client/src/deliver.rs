//! Delivers a payload: routes, files and receipt in one transaction.
//!
//! A delivery has two phases, like the [disk transaction](crate::disk) below it. Content that is routed to standard
//! output is printed between them, so that a broken pipe rolls the files back.

use std::{
    fmt,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    JoinError, OutputMap, Placement, Receipt, Session, Target,
    disk::{
        self, CommittedTransaction, DirectoryLocks, DiskError, Owner, TargetPlace, Transaction,
        WrittenFile,
    },
    lock_wait::LockWait,
    receipt::ReceiptError,
    stale::{self, StaleFile},
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
/// let committed = options.commit_when_unlocked(&session, &payload, |_directory| {}).await?;
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
    keep_stale: bool,
    notes_action: bool,
}

/// The error for a receipt whose path does not end in a file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path of a receipt must end in a file name")]
pub struct InvalidReceiptPath;

/// A delivery whose files are staged beside their targets. Nothing is replaced yet, and the directories are locked.
///
/// A staged delivery that is dropped rolls back.
#[must_use = "a staged delivery that is dropped rolls back"]
pub struct StagedDelivery<'p> {
    transaction: Transaction<'static>,
    stdout: Vec<&'p ArtifactFile>,
    stale: Vec<StaleFile>,
    unread_receipt: Option<ReceiptError>,
    has_receipt: bool,
    has_changes: bool,
    is_action_pending: bool,
}

/// A delivery whose files are in place, while the old ones are kept for a rollback.
///
/// A committed delivery that is dropped rolls back.
#[must_use = "a committed delivery that is dropped rolls back"]
pub struct CommittedDelivery<'p> {
    transaction: CommittedTransaction<'static>,
    stdout: Vec<&'p ArtifactFile>,
    stale: Vec<StaleFile>,
    unread_receipt: Option<ReceiptError>,
    /// Whether the last file of the transaction is the receipt.
    has_receipt: bool,
    has_changes: bool,
    is_action_pending: bool,
}

/// The result of a delivery.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// The files, in the payload's order, without the receipt.
    pub written: Vec<WrittenFile>,
    /// The contents that are routed to standard output, in the payload's order. The caller prints them.
    pub stdout: Vec<Bytes>,
    /// The files of the previous delivery that are no longer part of the payload.
    pub stale: Vec<StaleFile>,
    /// Why the receipt of the previous delivery was not read. Files of earlier deliveries may then remain.
    pub unread_receipt: Option<Arc<ReceiptError>>,
    /// Whether a file was created, changed or removed.
    pub has_changes: bool,
    /// Whether the receipt says that the action for these files, or for those of an earlier delivery, is still to be done.
    pub is_action_pending: bool,
}

impl DeliveryOptions {
    /// Creates options that write the files as `outputs` says, keep the owners of replaced files, and write no
    /// receipt.
    pub fn new(outputs: OutputMap) -> Self {
        Self {
            outputs,
            owner: None,
            receipt: None,
            keep_stale: false,
            notes_action: false,
        }
    }

    /// Gives the files and new directories to `owner`. It has priority over the owner that the spec gives to a file.
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

    /// Keeps the files of the previous delivery that are no longer part of the payload. By default, a delivery with a
    /// receipt removes them in the same transaction.
    #[must_use]
    pub fn with_stale_files_kept(mut self) -> Self {
        self.keep_stale = true;
        self
    }

    /// Notes in the receipt of a delivery with changes that an action must follow, such as a reload of the program that
    /// reads the files, until [`DeliveryOptions::finish_action`]. A process that is started after a crash in between
    /// reads it there.
    #[must_use]
    pub fn with_action(mut self) -> Self {
        self.notes_action = true;
        self
    }

    /// Returns the routes.
    pub fn outputs(&self) -> &OutputMap {
        &self.outputs
    }

    /// Returns the owner of the files and of new directories.
    pub(crate) fn owner(&self) -> Option<Owner> {
        self.owner
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
    /// Nothing has changed then, unless the error is [`DiskError::RollbackFailed`]. While another delivery to one of the
    /// directories is in progress, the error is [`DiskError::Locked`] at once.
    pub fn commit<'p>(
        &self,
        session: &Session,
        payload: &'p ReceivedPayload,
    ) -> Result<CommittedDelivery<'p>, JoinError> {
        self.commit_for(&session.options().identifier, session.cluster(), payload)
    }

    /// Writes the payload as [`DeliveryOptions::commit`] does, after other deliveries to the same directories. Calls
    /// `on_wait` with the locked directory when a wait begins. Dropping the future is safe: it stops between attempts.
    ///
    /// # Errors
    /// As for `commit`. [`DiskError::Locked`] if a directory stays locked for 30 s.
    pub async fn commit_when_unlocked<'p>(
        &self,
        session: &Session,
        payload: &'p ReceivedPayload,
        on_wait: impl FnMut(&Path),
    ) -> Result<CommittedDelivery<'p>, JoinError> {
        let staged = self.stage_when_unlocked(session, payload, on_wait);
        staged.await?.commit()
    }

    /// Stages the payload as [`DeliveryOptions::commit_when_unlocked`] does, and leaves the commit to the caller.
    ///
    /// # Errors
    /// As for `commit_when_unlocked`. Nothing has changed then.
    pub async fn stage_when_unlocked<'p>(
        &self,
        session: &Session,
        payload: &'p ReceivedPayload,
        mut on_wait: impl FnMut(&Path),
    ) -> Result<StagedDelivery<'p>, JoinError> {
        let identifier = &session.options().identifier;
        let mut wait = LockWait::new();
        loop {
            let attempt = self.stage_for(identifier, session.cluster(), payload);
            if let Some(result) = wait.after(attempt, &mut on_wait).await {
                return result;
            }
        }
    }

    pub(crate) fn commit_for<'p>(
        &self,
        identifier: &Identifier,
        cluster: Option<&str>,
        payload: &'p ReceivedPayload,
    ) -> Result<CommittedDelivery<'p>, JoinError> {
        self.stage_for(identifier, cluster, payload)?.commit()
    }

    fn stage_for<'p>(
        &self,
        identifier: &Identifier,
        cluster: Option<&str>,
        payload: &'p ReceivedPayload,
    ) -> Result<StagedDelivery<'p>, JoinError> {
        let placed = self.outputs.place(&payload.files)?;
        let mut files: Vec<(&ArtifactFile, &Target)> = Vec::new();
        let mut stdout = Vec::new();
        for placed in &placed {
            match &placed.placement {
                Placement::File(target) => files.push((placed.file, target)),
                Placement::Stdout => stdout.push(placed.file),
                Placement::Consumed | Placement::Discarded => {}
            }
        }
        let mut transaction = Transaction::begin(self.owner);
        let receipt = Receipt::new(identifier, cluster, payload, &placed);
        match self.stage(&mut transaction, &files, receipt) {
            Ok(staged) => Ok(StagedDelivery {
                transaction,
                stdout,
                stale: staged.stale,
                unread_receipt: staged.unread_receipt,
                has_receipt: self.receipt.is_some(),
                has_changes: staged.has_changes,
                is_action_pending: staged.is_action_pending,
            }),
            Err(cause) => Err(transaction.roll_back(self.explain(cause)).into()),
        }
    }

    /// Stages the files, the removal of stale files, and the receipt, which comes last.
    fn stage(
        &self,
        transaction: &mut Transaction<'static>,
        files: &[(&ArtifactFile, &Target)],
        mut receipt: Receipt,
    ) -> Result<StagedFiles, DiskError> {
        // A file of an earlier delivery may be in the way. It is known only after the receipt was read.
        let open = |target: &Target| match transaction.open(target) {
            Err(error) if error.is_not_a_directory() && self.receipt.is_some() => Ok(None),
            opened => opened.map(Some),
        };
        let opened = files.iter().map(|(_, target)| *target).map(open);
        let places: Vec<Option<TargetPlace>> = opened.collect::<Result<_, _>>()?;
        let mut stale = Vec::new();
        let mut unread_receipt = None;
        let mut receipt_place = None;
        // Without an earlier receipt, nothing says whether an earlier process has done the action.
        let mut was_pending = true;
        if let Some(path) = &self.receipt {
            let target = Target::from_path(path).expect("checked when it was set");
            let place = transaction.open(&target)?;
            // Only now, because no other delivery can replace it from here on. The new receipt replaces an unreadable
            // one.
            match Receipt::read(path) {
                Ok(None) => {}
                Ok(Some(previous)) => {
                    was_pending = previous.action_pending;
                    let targets: Vec<&Target> = files.iter().map(|(_, target)| *target).collect();
                    stale = stale::find(
                        transaction,
                        &previous,
                        &mut receipt,
                        &self.outputs,
                        &targets,
                        self.keep_stale,
                    )?;
                }
                Err(error) => unread_receipt = Some(error),
            }
            receipt_place = Some(place);
        }
        for ((file, target), place) in files.iter().zip(places) {
            let place = match place {
                Some(place) => place,
                None => transaction.open(target)?,
            };
            transaction.add(file, place)?;
        }
        let has_changes = transaction.has_changes();
        receipt.action_pending = self.notes_action && (has_changes || was_pending);
        let is_action_pending = receipt.action_pending;
        if let Some(place) = receipt_place {
            transaction.add(&receipt.to_file(), place)?;
        }
        Ok(StagedFiles {
            stale,
            unread_receipt,
            has_changes,
            is_action_pending,
        })
    }

    /// Returns the error for a path that is a directory of the previous delivery and a file of this one, or the reverse.
    /// Returns any other error as it is.
    fn explain(&self, cause: DiskError) -> DiskError {
        let is_delivered = |is_it: &dyn Fn(&Path) -> bool| {
            let receipt = self.receipt.as_deref().map(Receipt::read);
            let Some(Ok(Some(receipt))) = receipt else {
                return false;
            };
            let mut files = receipt.all_delivered();
            files.any(|file| file.entry.path.is_some_and(|path| is_it(Path::new(&path))))
        };
        match cause {
            DiskError::Io { path, problem, .. }
                if problem.kind() == ErrorKind::NotADirectory
                    && is_delivered(&|file| file == path) =>
            {
                DiskError::DeliveredFile { path }
            }
            DiskError::IsDirectory { path }
                if is_delivered(&|file| file != path && file.starts_with(&path)) =>
            {
                DiskError::DeliveredDirectory { path }
            }
            cause => cause,
        }
    }
}

/// The result of staging a delivery.
struct StagedFiles {
    stale: Vec<StaleFile>,
    unread_receipt: Option<ReceiptError>,
    has_changes: bool,
    is_action_pending: bool,
}

impl<'p> StagedDelivery<'p> {
    /// Returns whether the commit creates, changes or removes a file. The receipt does not count.
    pub fn has_changes(&self) -> bool {
        self.has_changes
    }

    /// Moves the files to their targets. The caller then decides between [`CommittedDelivery::finish`] and
    /// [`CommittedDelivery::roll_back`].
    ///
    /// # Errors
    /// A file cannot be written. Nothing has changed then, unless the error is [`DiskError::RollbackFailed`].
    pub fn commit(self) -> Result<CommittedDelivery<'p>, JoinError> {
        Ok(CommittedDelivery {
            transaction: self.transaction.commit()?,
            stdout: self.stdout,
            stale: self.stale,
            unread_receipt: self.unread_receipt,
            has_receipt: self.has_receipt,
            has_changes: self.has_changes,
            is_action_pending: self.is_action_pending,
        })
    }
}

impl fmt::Debug for StagedDelivery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedDelivery")
            .field("transaction", &self.transaction)
            .finish_non_exhaustive()
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

    /// Returns the files of the previous delivery that are no longer part of the payload.
    pub fn stale(&self) -> &[StaleFile] {
        &self.stale
    }

    /// Removes the old files. There is no rollback from here on.
    pub fn finish(self) -> Delivery {
        self.finish_locked().0
    }

    /// Removes the old files as [`CommittedDelivery::finish`] does, and keeps the directories locked. Keep the locks
    /// until the program that reads the files has started: until then, no other delivery changes the files.
    pub fn finish_locked(self) -> (Delivery, DirectoryLocks) {
        let stdout = self.stdout().collect();
        let (mut written, locks) = self.transaction.finish_locked();
        if self.has_receipt {
            written.pop();
        }
        let delivery = Delivery {
            written,
            stdout,
            stale: self.stale,
            unread_receipt: self.unread_receipt.map(Arc::new),
            has_changes: self.has_changes,
            is_action_pending: self.is_action_pending,
        };
        (delivery, locks)
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
