//! The end of the action that follows a delivery, such as a reload of the program that reads the files.

use crate::{
    DeliveryOptions, Receipt, ReceiptError, Target,
    disk::{DiskError, Transaction},
};

/// The reason why the end of an action cannot be noted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinishActionError {
    /// The receipt cannot be read.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// The receipt cannot be written.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl DeliveryOptions {
    /// Notes in the receipt that the action has been done.
    ///
    /// # Errors
    /// The receipt cannot be read or written. The next process then does the action again.
    pub fn finish_action(&self) -> Result<(), FinishActionError> {
        let Some(path) = self.receipt() else {
            return Ok(());
        };
        let target = Target::from_path(path).expect("checked when it was set");
        let mut transaction = Transaction::begin(self.owner());
        let place = transaction.open(&target)?;
        match Receipt::read(path)? {
            Some(mut receipt) if receipt.action_pending => {
                receipt.action_pending = false;
                transaction.add(&receipt.to_file(), place)?;
                transaction.commit()?.finish();
            }
            _ => {}
        }
        Ok(())
    }
}
