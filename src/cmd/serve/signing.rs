//! `--sign-key`: the key that signs payloads. Nodes with `--verify-key` refuse payloads of any other key.

use std::{path::PathBuf, sync::Arc};

use cfgsync_wire::SigningKey;
use clap::Args;

use super::blocking::read_blocking;
use crate::cmd::keys::{KeyError, read_sign_key};

#[derive(Debug, Args)]
pub(crate) struct SigningArgs {
    /// Sign every payload with the Ed25519 key in this PEM file (see `cfgsync key new`); read at startup only
    #[arg(long, env = "CFGSYNC_SIGN_KEY", value_name = "FILE")]
    sign_key: Option<PathBuf>,
}

impl SigningArgs {
    /// Reads the key, if one is configured.
    pub(super) fn read(&self) -> Result<Option<Arc<SigningKey>>, KeyError> {
        let Some(path) = &self.sign_key else {
            return Ok(None);
        };
        let key = read_sign_key(path)?;
        tracing::info!("payloads are signed with the key {}", key.verify_key());
        Ok(Some(Arc::new(key)))
    }

    /// Warns if the file now contains another key. A server uses one key from its start to its stop, so that signatures
    /// do not depend on when a payload was fetched.
    pub(super) async fn warn_of_another_key(&self, used: Option<&SigningKey>) {
        let (Some(path), Some(used)) = (self.sign_key.clone(), used) else {
            return;
        };
        let shown = path.display().to_string();
        let read = read_blocking(move || read_sign_key(&path)).await;
        // A missing or incomplete file does not matter: it is needed at startup only.
        if let Ok(Ok(found)) = read
            && found.verify_key() != used.verify_key()
        {
            tracing::warn!(
                "SIGHUP: {shown} contains another key, which the server uses after a restart; until then it signs with {}",
                used.verify_key()
            );
        }
    }
}
