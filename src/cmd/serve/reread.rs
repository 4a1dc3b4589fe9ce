//! SIGHUP: what a server reads again, and what stays when that has a mistake.

use cfgsync::{guard::Guard, spec::Spec, wire::SigningKey};
use tokio::sync::mpsc;

use super::ServeArgs;

/// What is needed to read again.
pub(super) struct Reread<'a> {
    /// Where everything stands.
    pub(super) args: &'a ServeArgs,
    pub(super) guard: &'a Guard,
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
        match tokio::task::spawn_blocking(move || Spec::load(&file)).await {
            Ok(Ok(spec)) => {
                if let Err(error) = self.guard.can_tell(spec.identity) {
                    tracing::error!("SIGHUP: the last good spec stays in force: {error}");
                    return;
                }
                tracing::info!("SIGHUP: {shown} is read again");
                // A server that has ended needs no spec.
                let _ = self.specs.send(spec).await;
            }
            Ok(Err(error)) => {
                tracing::error!("SIGHUP: the last good spec stays in force:\n{error}");
            }
            Err(panic) => tracing::error!("SIGHUP: the last good spec stays in force: {panic}"),
        }
    }
}
