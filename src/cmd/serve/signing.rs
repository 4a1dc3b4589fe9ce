//! `--sign-key`: the key that signs payloads. Nodes with `--verify-key` refuse payloads of any other key.

use std::{path::PathBuf, sync::Arc};

use cfgsync_wire::{ReloadOutcome, ReloadPart, ReloadedPart, SigningKey};
use clap::Args;

use super::{blocking::read_blocking, cause::Cause};
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

    /// Compares the key in the file with the one in use. A server uses one key from its start to its stop, so that
    /// signatures do not depend on when a payload was fetched.
    pub(super) async fn compare(&self, used: Option<&SigningKey>, cause: Cause) -> ReloadedPart {
        let part =
            |outcome, message: String| ReloadedPart::new(ReloadPart::SignKey, outcome, message);
        let (Some(path), Some(used)) = (self.sign_key.clone(), used) else {
            let message = "the server signs no payloads".to_owned();
            return part(ReloadOutcome::NotUsed, message);
        };
        let used = used.verify_key();
        let shown = path.display().to_string();
        let found = match read_blocking(move || read_sign_key(&path)).await {
            Ok(Ok(found)) => found.verify_key(),
            // A missing or incomplete file is no failure of the running server: only the next start needs it.
            Ok(Err(error)) => return part(ReloadOutcome::NotUsed, error.to_string()),
            Err(problem) => return part(ReloadOutcome::NotUsed, problem),
        };
        if found == used {
            let message = format!("{shown} contains the key in use");
            return part(ReloadOutcome::Reloaded, message);
        }
        let message = format!(
            "{shown} contains another key, which the server uses after a restart; until then it signs with {used}"
        );
        tracing::warn!("{cause}: {message}");
        part(ReloadOutcome::NeedsRestart, message)
    }
}
