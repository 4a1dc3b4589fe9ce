//! The previous delivery: files on disk that a receipt describes, and that are still as they were delivered.

use crate::{
    DeliveryOptions, JoinOptions, Receipt, ReceiptError, ReceiptMismatch, VerifiedFile,
    disk::DirectoryLocks,
};

/// A delivery of an earlier session whose files are all on disk, unchanged.
#[derive(Debug)]
#[non_exhaustive]
pub struct PreviousDelivery {
    /// The receipt of the delivery.
    pub receipt: Receipt,
    /// The files, in the receipt's order.
    pub files: Vec<VerifiedFile>,
    /// The locks of the directories. Keep them until the program that reads the files has started.
    pub locks: DirectoryLocks,
}

/// The reason why the files on disk cannot be used in place of a delivery.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreviousDeliveryError {
    /// The receipt cannot be read.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// The files are not those of the receipt.
    #[error(transparent)]
    Mismatch(#[from] ReceiptMismatch),
}

impl DeliveryOptions {
    /// Verifies the files of the previous delivery with its receipt, for the node and the cluster of `options`. Reads
    /// every file, so it may take long. Returns `None` if there is no receipt.
    ///
    /// A node can continue with these files while the server is unreachable.
    pub fn verify_previous(
        &self,
        options: &JoinOptions,
    ) -> Result<Option<PreviousDelivery>, PreviousDeliveryError> {
        let Some(path) = self.receipt() else {
            return Ok(None);
        };
        let Some(receipt) = Receipt::read(path)? else {
            return Ok(None);
        };
        let cluster = options.cluster.as_deref();
        let (files, locks) = receipt.verify(&options.identifier, cluster, self.outputs())?;
        Ok(Some(PreviousDelivery {
            receipt,
            files,
            locks,
        }))
    }
}
