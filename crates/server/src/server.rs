//! Accepts connections within a bound, serves them, and drains them when the server stops.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};

use super::{
    HttpConfig,
    body::FRAME_MAX_BYTES,
    farewell::farewell,
    figures::Present,
    peer::Peer,
    refused::{Explained, last_words, unread},
    reply::Rejection,
    service::respond,
    shares::{Share, Shares},
    socket::StallGuard,
    state::Server,
    timer::ConnectionTimer,
    tls::Tls,
};
use cfgsync_cluster::Coordinator;

/// How long accepting pauses when the system has no more descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections that are turned away are told why at a time; more are closed without a word. They have no
/// places among the others, and descriptors beside those of the others.
const TURNED_AWAY_AT_ONCE_MAX: usize = 16;

/// How long a connection that is turned away may take to ask something.
const TURNED_AWAY_ASKS_WITHIN: Duration = Duration::from_secs(1);

/// How the drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that were open when the server stopped.
    pub open: usize,
    /// Those of them that were cut because `drain_timeout` had passed.
    pub cut: usize,
    /// How long the drain took.
    pub took: Duration,
}

/// Serves `coordinator` on all `listeners` until `shutdown` is done, then drains: nothing new is accepted,
/// waiters are told to ask again, requests in flight end within `drain_timeout`.
///
/// Dropping the future cuts all connections.
pub async fn serve(
    listeners: Vec<TcpListener>,
    coordinator: Coordinator,
    config: HttpConfig,
    shutdown: impl Future<Output = ()>,
) -> DrainReport {
    let places = Arc::new(Semaphore::new(config.connections_max));
    let shares = Shares::new(config.connections_max, config.connections_per_address_max);
    let farewells = Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE_MAX));
    let drain_timeout = config.drain_timeout;
    let server = Arc::new(Server::new(coordinator, config));
    let mut connections = JoinSet::new();
    // A server that stops waits for none of them.
    let mut turned_away = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut turn = 0;
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            let place = place.expect("the semaphore is never closed");
            (place, accept(&listeners, &mut turn).await)
        };
        tokio::select! {
            // At the bound as well, a server must hear that it shall stop.
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            Some(_) = turned_away.join_next() => {}
            (place, (stream, peer)) = next => {
                let Some(share) = share_of(&peer, &shares, &server) else {
                    // Over TLS there is no word for it.
                    if server.config.tls.is_none()
                        && let Ok(telling) = Arc::clone(&farewells).try_acquire_owned()
                    {
                        let why = Rejection::TooManyOpen { max: shares.max() };
                        let words = unread(&why, &server);
                        turned_away.spawn(turn_away(stream, words, telling));
                    }
                    continue;
                };
                let place = Place { _share: share, _place: place };
                let server = Arc::clone(&server);
                // Apart, so that a connection without TLS is not as large as one with it.
                match server.config.tls.clone() {
                    None => connections.spawn(plain(stream, peer, server, place)),
                    Some(tls) => connections.spawn(encrypted(tls, stream, peer, server, place)),
                };
            }
        }
    }
    drop(listeners);
    drain(&server, connections, drain_timeout).await
}

/// The next connection of any listener; they take turns, so that none starves another.
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
            // That connection's own trouble.
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// What a connection has until it ends.
struct Place {
    _share: Share,
    _place: OwnedSemaphorePermit,
}

/// One more connection of the peer's address, if it may have one.
fn share_of(peer: &Peer, shares: &Arc<Shares>, server: &Server) -> Option<Share> {
    let exhausted = match shares.take(peer.address.ip()) {
        Ok(share) => return Some(share),
        Err(exhausted) => exhausted,
    };
    server.coordinator.metrics().connections_refused.inc();
    if exhausted.is_news {
        tracing::warn!(
            "{} has as many connections open as an address may ({}), and more are closed: the rest are for others. If \
             most nodes come from there, raise --connections-per-address-max",
            exhausted.address,
            shares.max()
        );
    }
    None
}

/// Tells a connection that is not served why, once it asks something.
async fn turn_away(stream: TcpStream, words: Vec<u8>, _telling: OwnedSemaphorePermit) {
    // Who is told before it asks may not take that for an answer. Looked at, since a new stream calls itself readable.
    let _ = timeout(TURNED_AWAY_ASKS_WITHIN, stream.peek(&mut [0])).await;
    farewell(stream, &words).await;
}

/// Serves one connection until it ends.
async fn plain(stream: TcpStream, peer: Peer, server: Arc<Server>, _place: Place) {
    let _open = Present::in_gauge(&server.coordinator.metrics().connections);
    // Answers are small and complete: none should wait for another.
    let _ = stream.set_nodelay(true);
    let stream = StallGuard::new(stream, server.config.write_stall_timeout);
    exchange(stream, &peer, &server).await;
}

/// The same over TLS.
async fn encrypted(
    tls: Tls,
    stream: TcpStream,
    mut peer: Peer,
    server: Arc<Server>,
    _place: Place,
) {
    let _open = Present::in_gauge(&server.coordinator.metrics().connections);
    let _ = stream.set_nodelay(true);
    // Boxed, so that what a handshake needs is gone once it is over.
    let accepted = Box::pin(async {
        let mut stopped = pin!(server.stopped());
        stopped.as_mut().enable();
        if server.is_stopping() {
            return None;
        }
        tokio::select! {
            // Who has not yet shaken hands has asked nothing.
            () = stopped => None,
            accepted = tls.accept(stream, &mut peer, &server.config) => {
                if accepted.is_none() {
                    server.coordinator.metrics().tls_failures.inc();
                }
                accepted
            }
        }
    })
    .await;
    drop(tls);
    if let Some(stream) = accepted {
        exchange(stream, &peer, &server).await;
    }
}

/// Answers the requests that come over `stream` until it ends.
async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, peer: &Peer, server: &Arc<Server>) {
    let stream = Explained::new(stream, Arc::clone(server), Arc::clone(&peer.line));
    let service = service_fn(|request| respond(server, peer, request));
    let mut serving = http1::Builder::new()
        .timer(ConnectionTimer::default())
        .header_read_timeout(server.config.header_timeout)
        // Beyond this a payload stays with its body, so that its turn ends when it is nearly sent.
        .max_buf_size(FRAME_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut stopped = pin!(server.stopped());
    let mut told = false;
    let mut draining = false;
    let ended = poll_fn(|cx| {
        // Polled once: a task's waker stays the same, and each poll would take a lock that all share.
        if !told {
            told = true;
            let _ = stopped.as_mut().poll(cx);
        }
        if !draining && server.is_stopping() {
            draining = true;
            Pin::new(&mut serving).graceful_shutdown();
        }
        Pin::new(&mut serving).poll(cx)
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
        let left = serving.into_parts();
        if !left.read_buf.is_empty() {
            let words = last_words(&error, &left.read_buf, server);
            // Boxed, so that a connection is not as large as its end.
            let end = async move { farewell(left.io.into_inner(), &words).await };
            Box::pin(end).await;
        }
    }
}

async fn drain(server: &Server, mut connections: JoinSet<()>, limit: Duration) -> DrainReport {
    let start = Instant::now();
    let open = connections.len();
    server.stop();
    let all = async { while connections.join_next().await.is_some() {} };
    // What is left then is counted and cut.
    let _ = timeout(limit, all).await;
    let cut = connections.len();
    connections.shutdown().await;
    DrainReport {
        open,
        cut,
        took: start.elapsed(),
    }
}
