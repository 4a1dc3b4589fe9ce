//! SIGHUP: what a server reads again, and what stays when that has a mistake.

use cfgsync_access::{AccessControl, AuditOutcome};
use cfgsync_spec::Spec;
use cfgsync_wire::SigningKey;
use tokio::sync::mpsc;

use super::{ServeArgs, beside::read_beside};

/// What is needed to read again.
pub(super) struct Reread<'a> {
    /// Where everything stands.
    pub(super) args: &'a ServeArgs,
    pub(super) guard: &'a AccessControl,
    /// Takes the specs that are good.
    pub(super) specs: &'a mpsc::Sender<Spec>,
    /// What payloads are signed with.
    pub(super) sign_key: Option<&'a SigningKey>,
}

impl Reread<'_> {
    /// Reads all of it once more. What is good stays until there is something better.
    pub(super) async fn once(&self) {
        self.args.access.reread(self.guard).await;
        self.args.signing.look_again(self.sign_key).await;
        self.spec().await;
    }

    async fn spec(&self) {
        let (file, shown) = (self.args.spec.clone(), self.args.spec.display());
        let (line, reason, problem) = match read_beside(move || Spec::load(&file)).await {
            Ok(Ok(spec)) => match self.guard.check_identity_mode(spec.identity) {
                Ok(()) => {
                    tracing::info!("SIGHUP: {shown} is read again");
                    // A server that has ended needs no spec.
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
        tracing::error!("SIGHUP: the last good spec stays in force:{problem}");
        let refused = line.with_outcome(AuditOutcome::Refused, Some(reason));
        self.guard.record(refused);
    }
}
