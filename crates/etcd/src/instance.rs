//! The identity of new data.

use crate::{EtcdError, EtcdErrorKind};
use cfgsync_model::Instance;

/// Returns the identity of a new instance.
pub(crate) fn random() -> Result<Instance, EtcdError> {
    let mut instance = [0; 16];
    getrandom::fill(&mut instance).map_err(|error| {
        let reason = format!("cannot get random numbers for the identity of the store: {error}");
        EtcdError::new(EtcdErrorKind::Unreachable, reason)
    })?;
    Ok(Instance::from_bytes(instance))
}
