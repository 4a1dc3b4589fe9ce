//! `--receipt` and `--fallback`: what was delivered is noted, and is enough to start with when the server is away.

use std::{path::PathBuf, time::Duration};

use cfgsync::{Identifier, OutputMap};
use cfgsync_client::{Delivered, JoinError, JoinOptions, Receipt, Standing, Target};
use clap::Args;
use tracing::{info, warn};

use super::{JoinFailure, amount};
use crate::cmd::values;

#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct ReceiptArgs {
    /// Note here what was delivered: instance, generation, digest, and the sum of each file
    #[arg(long, env = "CFGSYNC_RECEIPT", value_name = "FILE", value_parser = file)]
    receipt: Option<PathBuf>,
    /// When nothing was delivered after so long, or a token or certificate has expired, go on with the files that are
    /// there, if they are those of the receipt, unchanged
    #[arg(
        long,
        env = "CFGSYNC_FALLBACK",
        value_name = "existing=DURATION",
        value_parser = fallback
    )]
    fallback: Option<Duration>,
}

/// Where the receipt is kept, and from when on it is enough.
#[derive(Debug, Clone)]
pub(super) struct Keeping {
    pub(super) path: PathBuf,
    fallback: Option<Duration>,
}

/// Files of an earlier delivery that are gone on with.
pub(super) struct Existing {
    pub(super) receipt: Receipt,
    pub(super) standing: Vec<Standing>,
}

impl ReceiptArgs {
    /// What is kept, if anything. `timeout` is the whole join's, `None` without end; `all_to_files` says whether
    /// every artifact becomes a file.
    pub(super) fn resolve(
        self,
        timeout: Option<Duration>,
        all_to_files: bool,
    ) -> Result<Option<Keeping>, JoinFailure> {
        let usage = |problem: &str| Err(JoinFailure::Usage(problem.to_owned()));
        let Some(path) = self.receipt else {
            return match self.fallback {
                Some(_) => {
                    usage("--fallback needs --receipt FILE, to know which files were delivered")
                }
                None => Ok(None),
            };
        };
        let fallback = self.fallback;
        if fallback.is_some() && !all_to_files {
            return usage(
                "--fallback goes on with files, and what --env or a route to '-' takes is none: leave one of \
                 them out",
            );
        }
        if let (Some(fallback), Some(timeout)) = (fallback, timeout)
            && fallback >= timeout
        {
            // A warning, for the one may be a unit file's and the other its user's.
            warn!(
                "--fallback after {fallback:?} never comes: --timeout ends the join after {timeout:?}"
            );
        }
        Ok(Some(Keeping { path, fallback }))
    }
}

impl Keeping {
    /// Where the receipt is written.
    pub(super) fn target(&self) -> Target {
        Target::of_file(&self.path).expect("checked when it was read")
    }

    /// What was delivered to `identifier` before, as far as it is known: nothing older is taken. A receipt that cannot be read is
    /// told, and written anew.
    pub(super) fn delivered(&self, identifier: &Identifier) -> Option<Delivered> {
        match Receipt::read(&self.path) {
            Ok(receipt) => {
                let receipt = receipt.filter(|receipt| receipt.identifier == *identifier);
                receipt?.delivered()
            }
            Err(error) => {
                warn!("{error}; it is written anew with the next delivery");
                None
            }
        }
    }

    /// Waits until it is time, and completes if the files are those of the receipt. If they are not, says so and
    /// never completes.
    pub(super) async fn existing(
        &self,
        options: &JoinOptions,
        outputs: &OutputMap,
        say: impl Fn(&dyn Fn()),
    ) -> Existing {
        let Some(after) = self.fallback else {
            return std::future::pending().await;
        };
        tokio::time::sleep(after).await;
        match self.look(options, outputs).await {
            Ok(existing) => {
                let kept = amount(existing.standing.len(), existing.receipt.generation);
                say(&|| {
                    warn!(
                        "nothing was delivered within {after:?}: going on with {kept}, delivered before and unchanged \
                         since"
                    );
                });
                return existing;
            }
            Err(Refused::NothingYet) => say(&|| {
                info!(
                    "nothing was delivered within {after:?}, nor ever before: there is no receipt {}",
                    self.path.display()
                );
            }),
            Err(Refused::Differs(problem)) => say(&|| {
                warn!(
                    "nothing was delivered within {after:?}, and the files that are there are not those of the \
                     receipt: {problem}; waiting on"
                );
            }),
        }
        std::future::pending().await
    }

    /// The same at once, when nothing will be delivered because a credential's time is over: nobody has refused this
    /// node.
    pub(super) async fn instead(
        &self,
        of: &JoinError,
        options: &JoinOptions,
        outputs: &OutputMap,
    ) -> Option<Existing> {
        self.fallback?;
        match self.look(options, outputs).await {
            Ok(existing) => {
                let kept = amount(existing.standing.len(), existing.receipt.generation);
                warn!("{of}");
                warn!(
                    "nothing is delivered here until that is renewed: going on with {kept}, delivered before and \
                     unchanged since"
                );
                Some(existing)
            }
            Err(Refused::NothingYet) => None,
            Err(Refused::Differs(problem)) => {
                warn!("the files that are there are not those of the receipt: {problem}");
                None
            }
        }
    }

    /// The files, if they are those of the receipt.
    async fn look(&self, options: &JoinOptions, outputs: &OutputMap) -> Result<Existing, Refused> {
        let (path, outputs) = (self.path.clone(), outputs.clone());
        let (identifier, cluster) = (options.identifier.clone(), options.cluster.clone());
        // Files may be long: signals are heard while they are read.
        let look = move || look(&path, &identifier, cluster.as_deref(), &outputs);
        let looked = tokio::task::spawn_blocking(look).await;
        looked.unwrap_or_else(|panic| Err(Refused::Differs(panic.to_string())))
    }
}

/// Why the files that are there are not gone on with.
enum Refused {
    NothingYet,
    Differs(String),
}

fn look(
    path: &std::path::Path,
    identifier: &Identifier,
    cluster: Option<&str>,
    outputs: &OutputMap,
) -> Result<Existing, Refused> {
    let receipt = match Receipt::read(path) {
        Ok(Some(receipt)) => receipt,
        Ok(None) => return Err(Refused::NothingYet),
        Err(error) => return Err(Refused::Differs(error.to_string())),
    };
    match receipt.check(identifier, cluster, outputs) {
        Ok(standing) => Ok(Existing { receipt, standing }),
        Err(mismatch) => Err(Refused::Differs(mismatch.to_string())),
    }
}

fn file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match Target::of_file(&path) {
        Some(_) if !text.ends_with('/') => Ok(path),
        _ => Err("expected the path of a file".to_owned()),
    }
}

fn fallback(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected `existing=` and a duration, such as `existing=10s`";
    let text = text.strip_prefix("existing=").ok_or(EXPECTED)?;
    let after = values::duration(text)?;
    match after.is_zero() {
        true => Err("a fallback after no time at all would never ask the server".to_owned()),
        false => Ok(after),
    }
}
