//! `--sign-key`: nodes that verify write nothing that this key did not sign.

use std::{path::PathBuf, sync::Arc};

use cfgsync_wire::SigningKey;
use clap::Args;

use super::beside::read_beside;
use crate::cmd::keys::{KeyError, read_sign_key};

#[derive(Debug, Args)]
pub(crate) struct SigningArgs {
    /// Sign every payload with the Ed25519 key in this PEM file; `cfgsync key new` makes one. Read at the start only
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

    /// Says so if the file holds another key by now. What was handed out is signed and kept: all of a server's life is
    /// under one key, so that whoever looks at a payload need not ask when it was fetched.
    pub(super) async fn look_again(&self, used: Option<&SigningKey>) {
        let (Some(path), Some(used)) = (self.sign_key.clone(), used) else {
            return;
        };
        let shown = path.display().to_string();
        let read = read_beside(move || read_sign_key(&path)).await;
        // A file that is gone, or half written, changes nothing: it is needed at the start alone.
        if let Ok(Ok(found)) = read
            && found.verify_key() != used.verify_key()
        {
            tracing::warn!(
                "SIGHUP: {shown} holds another key, which signs once the server has started again; until then it is {}",
                used.verify_key()
            );
        }
    }
}
