//! `--receipt` and `--fallback`: `join` writes a receipt of each delivery, and can continue with those files later,
//! when the server is unreachable.

use std::{path::PathBuf, time::Duration};

use cfgsync::Identifier;
use cfgsync_client::{
    DeliveredGeneration, DeliveryOptions, JoinOptions, PreviousDelivery, PreviousDeliveryError,
    Receipt, Target,
};
use cfgsync_support::duration;
use clap::Args;
use tracing::warn;

use super::JoinFailure;
use crate::cmd::parsers;

#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct ReceiptArgs {
    /// Write a receipt of the delivery to this file: instance, generation, digest, and the checksum of each file
    #[arg(long, env = "CFGSYNC_RECEIPT", value_name = "FILE", value_parser = file)]
    receipt: Option<PathBuf>,
    /// Continue with the unchanged files of the receipt, if nothing is delivered within this time or if a token or
    /// certificate has expired
    #[arg(
        long,
        env = "CFGSYNC_FALLBACK",
        value_name = "existing=DURATION",
        value_parser = fallback
    )]
    fallback: Option<Duration>,
    /// Keep and list the files of the receipt that are no longer part of the payload, instead of removing them
    #[arg(long, env = "CFGSYNC_KEEP_STALE")]
    keep_stale: bool,
}

/// The checked flags.
#[derive(Debug, Clone)]
pub(super) struct ReceiptSettings {
    pub(super) path: PathBuf,
    /// Whether files that are no longer part of the payload stay.
    pub(super) keep_stale: bool,
    /// When `join` continues with the files of the receipt. `None`: never.
    pub(super) fallback: Option<Duration>,
}

impl ReceiptArgs {
    /// Checks the flags. `timeout` is that of the join; `all_to_files` says whether every artifact becomes a file.
    pub(super) fn resolve(
        self,
        timeout: Option<Duration>,
        all_to_files: bool,
    ) -> Result<Option<ReceiptSettings>, JoinFailure> {
        let usage = |problem: &str| Err(JoinFailure::Usage(problem.to_owned()));
        let Some(path) = self.receipt else {
            return match self.fallback {
                Some(_) => {
                    usage("--fallback needs --receipt FILE, which lists the delivered files")
                }
                None if self.keep_stale => {
                    usage("--keep-stale needs --receipt FILE, which lists the delivered files")
                }
                None => Ok(None),
            };
        };
        let fallback = self.fallback;
        if fallback.is_some() && !all_to_files {
            return usage(
                "--fallback needs every artifact in a file: it cannot be combined with --env or a route to '-'",
            );
        }
        if let (Some(fallback), Some(timeout)) = (fallback, timeout)
            && fallback >= timeout
        {
            // Only a warning: one may be set in a unit file and the other by its user.
            warn!(
                "--fallback has no effect: --timeout ends the join after {}, before {} have passed",
                duration::text(timeout),
                duration::text(fallback)
            );
        }
        Ok(Some(ReceiptSettings {
            path,
            keep_stale: self.keep_stale,
            fallback,
        }))
    }
}

impl ReceiptSettings {
    /// Returns the generation that was delivered to `identifier` before, so that no older one is accepted. The delivery
    /// replaces a receipt that cannot be read, and reports it.
    pub(super) fn delivered(&self, identifier: &Identifier) -> Option<DeliveredGeneration> {
        let receipt = Receipt::read(&self.path).ok()??;
        let is_of_this = receipt.identifier == *identifier;
        is_of_this.then(|| receipt.delivered())?
    }
}

/// The result of [`verify`].
pub(super) enum Verified {
    /// The files of the previous delivery are unchanged.
    Files(Box<PreviousDelivery>),
    /// There is no receipt.
    NoReceipt,
    /// The files are not those of the receipt, for this reason.
    Different(String),
}

/// Verifies the files of the previous delivery on another thread, because reading them may take long and signals must
/// be handled meanwhile.
pub(super) async fn verify(delivery: &DeliveryOptions, options: &JoinOptions) -> Verified {
    let (delivery, options) = (delivery.clone(), options.clone());
    let verifying = tokio::task::spawn_blocking(move || delivery.verify_previous(&options));
    match verifying.await {
        Ok(Ok(Some(previous))) => Verified::Files(Box::new(previous)),
        Ok(Ok(None)) => Verified::NoReceipt,
        Ok(Err(error @ PreviousDeliveryError::Receipt(_))) => {
            Verified::Different(error.to_string())
        }
        Ok(Err(error)) => Verified::Different(format!(
            "the existing files are not those of the receipt: {error}"
        )),
        Err(panic) => Verified::Different(panic.to_string()),
    }
}

fn file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match Target::from_path(&path) {
        Some(_) if !text.ends_with('/') => Ok(path),
        _ => Err("expected the path of a file".to_owned()),
    }
}

fn fallback(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected `existing=` and a duration, such as `existing=10s`";
    let text = text.strip_prefix("existing=").ok_or(EXPECTED)?;
    let after = parsers::duration(text)?;
    if after.is_zero() {
        return Err(
            "the duration must not be zero, because `join` would never ask the server".to_owned(),
        );
    }
    Ok(after)
}
