//! A whole join in one call, for programs that need nothing in between.

use std::sync::Arc;

use crate::{
    Client, Delivery, DeliveryOptions, JoinError, JoinOptions, OutputMap, ServerUrl, Session,
    Trust, lock_wait::LockWait,
};
use cfgsync_model::NodeRegistration;

/// Registers a node with `server`, waits without a limit until its payload is ready, and writes the payload as
/// `outputs` says. Returns what was written.
///
/// `server` is a [`ServerUrl`] or its text. The call retries while the server is unreachable or the cluster is not
/// ready. Dropping the future stops it. Use a [`Session`] for a timeout, progress, a receipt, or more servers.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use cfgsync_client::{OutputMap, fetch_and_write};
/// use cfgsync_model::NodeRegistration;
///
/// let registration = NodeRegistration::new("node-1", [10, 0, 0, 1])?;
/// let outputs = OutputMap::new()
///     .route("config.yaml", "/etc/app/config.yaml")?
///     .under("/var/lib/app")?;
/// let delivery = fetch_and_write(&registration, "http://boot.example:4400", &outputs).await?;
/// println!("{} files", delivery.written.len());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The URL is invalid, the server rejects the node, the cluster failed, the payload does not match the routes, or a
/// file cannot be written. No file has changed then.
///
/// # Panics
/// Outside a Tokio runtime.
pub async fn fetch_and_write<S>(
    registration: &NodeRegistration,
    server: S,
    outputs: &OutputMap,
) -> Result<Delivery, JoinError>
where
    S: TryInto<ServerUrl>,
    JoinError: From<S::Error>,
{
    let client = Client::with_trust([server.try_into()?], &Trust::new())?;
    let mut session = Session::new(client, JoinOptions::for_registration(registration));
    let payload = session.run(|_| {}).await?;
    let options = DeliveryOptions::new(outputs.clone());
    let identifier = registration.identifier.clone();
    let cluster = session.cluster().map(str::to_owned);
    let delivery = Arc::new((options, identifier, cluster, payload));
    let mut wait = LockWait::new();
    loop {
        let delivery = delivery.clone();
        // Files may be large, and syncing them takes time: not on the runtime's threads.
        let attempt = tokio::task::spawn_blocking(move || {
            let (options, identifier, cluster, payload) = &*delivery;
            options
                .commit_for(identifier, cluster.as_deref(), payload)
                .map(super::CommittedDelivery::finish)
        });
        let attempt = match attempt.await {
            Ok(attempt) => attempt,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        if let Some(result) = wait.after(attempt, |_| {}).await {
            return result;
        }
    }
}
