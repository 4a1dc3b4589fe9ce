//! SIGHUP: reloads tokens, audit log and spec. Files with a mistake leave the former state in force.

use cfgsync_access::{AccessControl, AuditOutcome};
use cfgsync_spec::Spec;
use cfgsync_wire::SigningKey;
use tokio::sync::mpsc;

use super::{ServeArgs, blocking::read_blocking};
use crate::cmd::spec_file;

/// The inputs of a reload.
pub(super) struct Reload<'a> {
    /// The flags, which name the files.
    pub(super) args: &'a ServeArgs,
    pub(super) guard: &'a AccessControl,
    /// Receives each valid spec.
    pub(super) specs: &'a mpsc::Sender<Spec>,
    /// The key that signs payloads.
    pub(super) sign_key: Option<&'a SigningKey>,
}

impl Reload<'_> {
    /// Reloads everything once.
    pub(super) async fn run(&self) {
        self.args.access.reload(self.guard).await;
        self.args.signing.warn_of_another_key(self.sign_key).await;
        self.spec().await;
    }

    async fn spec(&self) {
        let (file, shown) = (self.args.spec.clone(), self.args.spec.display());
        let (line, reason, problem) = match read_blocking(move || spec_file::load(&file)).await {
            Ok(Ok(spec)) => match self.guard.check_identity_mode(spec.identity) {
                Ok(()) => {
                    tracing::info!("SIGHUP: read {shown} again");
                    // The receiver is gone if the server has stopped.
                    let _ = self.specs.send(spec).await;
                    return;
                }
                Err(error) => {
                    let line = self
                        .guard
                        .server_line("spec")
                        .with_hash("spec", spec.digest);
                    (line, "cannot_tell", format!(" {error}"))
                }
            },
            Ok(Err(error)) => (
                self.guard.server_line("spec"),
                "mistake",
                format!("\n{error}"),
            ),
            Err(problem) => (
                self.guard.server_line("spec"),
                "mistake",
                format!(" {problem}"),
            ),
        };
        tracing::error!(
            "SIGHUP: the spec was not reloaded, and the last good one stays in force:{problem}"
        );
        let refused = line.with_outcome(AuditOutcome::Refused, Some(reason));
        self.guard.record(refused);
    }
}
