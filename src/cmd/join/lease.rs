//! Renews the lease of a node while it does work without a request that waits at the server.

use std::{convert::Infallible, future::Future, pin::pin, time::Duration};

use cfgsync_client::{Client, Session};
use cfgsync_model::Identifier;
use tokio::time::sleep;
use tracing::debug;

use crate::cmd::node_client::may_succeed_later;

/// The time before the first renewal, and the shortest time from one renewal to the next. The shortest lease is 1 s.
const INTERVAL_MIN: Duration = Duration::from_millis(300);
/// The pause after a renewal that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Does the work. Meanwhile renews the lease of the node, three times as often as necessary.
pub(super) async fn renew_meanwhile<T>(session: &Session, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let identifier = &session.options().identifier;
    tokio::select! {
        biased;
        done = &mut work => done,
        never = renew(session.client(), identifier) => match never {},
    }
}

async fn renew(client: &Client, identifier: &Identifier) -> Infallible {
    let mut pause = INTERVAL_MIN;
    loop {
        sleep(pause).await;
        let lease = match client.renew(identifier).await {
            Ok(response) => response.value.lease_seconds,
            Err(error) if may_succeed_later(&error) => {
                debug!("cannot renew the lease: {error}");
                pause = RETRY_PAUSE;
                continue;
            }
            Err(_) => None,
        };
        // The spec has no lease, or the server does not know the node or the route.
        let Some(seconds) = lease else {
            return std::future::pending().await;
        };
        pause = (Duration::from_secs(seconds) / 3).max(INTERVAL_MIN);
    }
}
