//! Accepts connections within the limits, and drains them when the server stops.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};

use super::{
    HttpConfig,
    connection::{serve_plain, serve_tls},
    connection_quota::{ConnectionQuota, QuotaSlot},
    error_pages::raw_response,
    linger::respond_and_linger,
    peer::Peer,
    rejection::Rejection,
    request_metrics::GaugeGuard,
    routes::ROUTES,
    state::{ConnectionSlot, ServerState},
};
use cfgsync_cluster::Coordinator;

/// How long accepting pauses when the operating system has no more descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections over their quota get an error response at a time. Further ones are closed without a response.
/// They are not counted among the open connections, and their descriptors are reserved beside those.
const REFUSALS_AT_ONCE_MAX: usize = 16;

/// How long such a connection may take to send a request.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// The result of the drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainReport {
    /// How many connections were open when the server stopped.
    pub open: usize,
    /// How many of them were cut, because `drain_timeout` had passed.
    pub cut: usize,
    /// How long the drain took.
    pub took: Duration,
}

/// Serves `coordinator` on all `listeners` until `shutdown` completes, then drains. While it drains, the server accepts
/// no connections and answers held requests with a request to retry. Requests in progress may end within
/// `drain_timeout`.
///
/// Dropping the future cuts all connections.
pub async fn serve(
    listeners: Vec<TcpListener>,
    coordinator: Coordinator,
    config: HttpConfig,
    shutdown: impl Future<Output = ()>,
) -> DrainReport {
    let permits = Arc::new(Semaphore::new(config.connections_max));
    let quota = ConnectionQuota::new(config.connections_max, config.connections_per_address_max);
    let refusal_permits = Arc::new(Semaphore::new(REFUSALS_AT_ONCE_MAX));
    let drain_timeout = config.drain_timeout;
    let server = Arc::new(ServerState::new(coordinator, config, &ROUTES));
    let mut connections = JoinSet::new();
    // A server that stops does not wait for these.
    let mut refusals = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut turn = 0;
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            (permit, accept(&listeners, &mut turn).await)
        };
        tokio::select! {
            // In the same `select!` as the permit: a server with all its connections open must still stop.
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            Some(_) = refusals.join_next() => {}
            (permit, (stream, peer)) = next => {
                let Some(quota_slot) = take_quota(&peer, &quota, &server) else {
                    // Over TLS a refusal would cost a handshake, so the connection is closed without one.
                    if server.config.tls.is_none()
                        && let Ok(permit) = Arc::clone(&refusal_permits).try_acquire_owned()
                    {
                        let rejection = Rejection::TooManyConnections { max: quota.max() };
                        let response = raw_response(&rejection, &server);
                        refusals.spawn(refuse(stream, response, permit));
                    }
                    continue;
                };
                let slot = ConnectionSlot {
                    _quota: quota_slot,
                    _permit: permit,
                    _open: GaugeGuard::increment(&server.coordinator.metrics().connections),
                };
                let server = Arc::clone(&server);
                // Two kinds of tasks, so that a connection without TLS is not as large as one with it.
                match server.config.tls.clone() {
                    None => connections.spawn(serve_plain(stream, peer, server, slot)),
                    Some(tls) => connections.spawn(serve_tls(tls, stream, peer, server, slot)),
                };
            }
        }
    }
    drop(listeners);
    drain(&server, connections, drain_timeout).await
}

/// Returns the next connection of any listener. The listeners take turns, so that none starves another.
async fn accept(listeners: &[TcpListener], turn: &mut usize) -> (TcpStream, Peer) {
    loop {
        let accepted = poll_fn(|cx| {
            for _ in 0..listeners.len() {
                *turn = (*turn + 1) % listeners.len();
                if let Poll::Ready(accepted) = listeners[*turn].poll_accept(cx) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await;
        match accepted {
            Ok((stream, address)) => return (stream, Peer::at(address)),
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether only the connection that was being accepted has failed.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// Takes a slot for one more connection of the client's network, if its quota allows it.
fn take_quota(
    peer: &Peer,
    quota: &Arc<ConnectionQuota>,
    server: &ServerState,
) -> Option<QuotaSlot> {
    let exceeded = match quota.take(peer.address.ip()) {
        Ok(slot) => return Some(slot),
        Err(exceeded) => exceeded,
    };
    server.coordinator.metrics().connections_refused.inc();
    if exceeded.should_warn {
        tracing::warn!(
            event = "connections_refused",
            peer = %exceeded.network,
            "{} has reached the limit of open connections for one address ({}), so the server closes further ones; if \
             most nodes connect from there, raise --connections-per-address-max",
            exceeded.network,
            quota.max()
        );
    }
    None
}

/// Tells a client over its quota why it is not served, once it has sent a request.
async fn refuse(stream: TcpStream, response: Vec<u8>, _permit: OwnedSemaphorePermit) {
    // A client may ignore a response that arrives before its request. `peek` waits for bytes, whereas a new stream
    // counts as readable.
    let _ = timeout(REFUSAL_TIMEOUT, stream.peek(&mut [0])).await;
    respond_and_linger(stream, &response).await;
}

async fn drain(server: &ServerState, mut connections: JoinSet<()>, limit: Duration) -> DrainReport {
    let start = Instant::now();
    let open = connections.len();
    server.stop();
    let all = async { while connections.join_next().await.is_some() {} };
    // The connections that are left then are counted and cut.
    let _ = timeout(limit, all).await;
    let cut = connections.len();
    connections.shutdown().await;
    DrainReport {
        open,
        cut,
        took: start.elapsed(),
    }
}
