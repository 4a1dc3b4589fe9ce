//! `--sign-key`: nodes that verify write nothing that this key did not sign.

use std::{path::PathBuf, sync::Arc};

use cfgsync::wire::SigningKey;
use clap::Args;

use crate::cmd::keys::{KeyError, read_sign_key};

#[derive(Debug, Args)]
pub(crate) struct SigningArgs {
    /// Sign every payload with the Ed25519 key in this PEM file; `cfgsync key new` makes one
    #[arg(long, env = "CFGSYNC_SIGN_KEY", value_name = "FILE")]
    sign_key: Option<PathBuf>,
}

impl SigningArgs {
    /// The key, if there is one.
    pub(super) fn read(&self) -> Result<Option<Arc<SigningKey>>, KeyError> {
        let Some(path) = &self.sign_key else {
            return Ok(None);
        };
        let key = read_sign_key(path)?;
        tracing::info!("payloads are signed; the key is {}", key.verify_key());
        Ok(Some(Arc::new(key)))
    }
}
