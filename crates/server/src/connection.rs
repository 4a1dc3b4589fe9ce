//! One connection, from the socket to its end: TLS, the protocol, and the last response.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
};

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    connection_io::ConnectionIo,
    connection_timer::ConnectionTimer,
    error_pages::{raw_response, rejection_of},
    linger::respond_and_linger,
    peer::Peer,
    reply_body::FRAME_MAX_BYTES,
    service::request_service,
    socket::StallGuard,
    state::{Connection, ConnectionSlot, ServerState},
    tls::Tls,
};

/// Serves a connection without TLS until it ends.
pub(super) async fn serve_plain(
    stream: TcpStream,
    peer: Peer,
    server: Arc<ServerState>,
    slot: ConnectionSlot,
) {
    // Responses are small and written whole, so no segment should wait for another.
    let _ = stream.set_nodelay(true);
    let stream = StallGuard::new(stream, server.config.write_stall_timeout);
    serve_requests(stream, Connection::new(server, peer, slot)).await;
}

/// Serves a connection with TLS until it ends.
pub(super) async fn serve_tls(
    tls: Tls,
    stream: TcpStream,
    mut peer: Peer,
    server: Arc<ServerState>,
    slot: ConnectionSlot,
) {
    let _ = stream.set_nodelay(true);
    // Boxed, so that the memory of the handshake is released when it is over.
    let accepted = Box::pin(async {
        let mut stopped = pin!(server.stopped());
        stopped.as_mut().enable();
        if server.is_stopping() {
            return None;
        }
        tokio::select! {
            // A connection that is still in its handshake has sent no request.
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
        serve_requests(stream, Connection::new(server, peer, slot)).await;
    }
}

/// Serves the requests that arrive over `stream`, in the protocol that the client speaks.
///
/// HTTP/1.1 is the only one today: over TLS the server offers no other by ALPN, and the preface of HTTP/2 gets an error
/// that says so. Another protocol gets its branch here.
async fn serve_requests<S>(stream: S, connection: Arc<Connection>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve_http1(stream, connection).await;
}

async fn serve_http1<S>(stream: S, connection: Arc<Connection>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let server = &*connection.server;
    let service = TowerToHyperService::new(request_service(Arc::clone(&connection)));
    let stream = ConnectionIo::new(stream, Arc::clone(&connection));
    let mut serving = http1::Builder::new()
        .timer(ConnectionTimer::default())
        .header_read_timeout(server.config.header_timeout)
        // More than this of a payload stays in its body, so that its write slot is held until it is nearly sent.
        .max_buf_size(FRAME_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut stopped = pin!(server.stopped());
    let mut is_registered = false;
    let mut is_draining = false;
    let ended = poll_fn(|cx| {
        // Polled once: the waker of a task stays the same, and each poll takes a lock that all connections share.
        if !is_registered {
            is_registered = true;
            let _ = stopped.as_mut().poll(cx);
        }
        if !is_draining && server.is_stopping() {
            is_draining = true;
            Pin::new(&mut serving).graceful_shutdown();
        }
        Pin::new(&mut serving).poll(cx)
    })
    .await;
    let Err(error) = ended else { return };
    tracing::debug!(peer = %connection.peer, %error, "connection ended");
    let Some(parts) = serving.into_parts() else {
        return;
    };
    if let Some(rejection) = rejection_of(&error, &parts.read_buf, &server.config) {
        let response = raw_response(&rejection, server);
        let stream = parts.io.into_inner().into_inner();
        // Boxed, so that connections do not reserve memory for their end.
        Box::pin(async move { respond_and_linger(stream, &response).await }).await;
    }
}
