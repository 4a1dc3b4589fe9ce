//! One connection, from the socket to its end: TLS, the protocol, and the last response.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tower::Service as _;

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
/// HTTP/1.1 is the only one today. Over TLS, the server offers no other by ALPN. The preface of HTTP/2 gets an error
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
    // The service is called as soon as the head has arrived. hyper-util's adapter would call it when the response is
    // polled. Until then hyper may read the end of the stream, and would drop the request of a client that shut down its
    // write side.
    let service = request_service(Arc::clone(&connection));
    let service = service_fn(move |request| service.clone().call(request));
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

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        path::Path,
        sync::{Mutex, PoisonError},
        task::{Context, Poll},
    };

    use axum::{
        body::Body,
        extract::Request,
        response::Response,
        routing::{MethodRouter, get},
    };
    use bytes::Bytes;
    use hyper::{StatusCode, body::Frame, header::UPGRADE};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
        sync::{Semaphore, mpsc},
        task::JoinHandle,
    };
    use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

    use super::*;
    use crate::{
        HttpConfig, connection_quota::ConnectionQuota, context::Context as RoutedContext,
        request_metrics::GaugeGuard, router::path_of, routes::ROUTES,
    };
    use cfgsync_cluster::{Config, Coordinator};
    use cfgsync_model::Instance;
    use cfgsync_spec::Spec;
    use cfgsync_store::MemoryStore;
    use cfgsync_support::clock::WallClock;

    const SPEC: &str = "cfgsync: 1\ncluster: test\nready: { nodes: 1 }\n\
                        materializers: [{ kind: template, files: [{ path: x, template: x }] }]\n";

    /// A server whose `/readyz` is served by `handler`.
    fn server_with(handler: MethodRouter) -> ServerState {
        let spec = Spec::parse(SPEC, "cluster.yaml", Path::new("."));
        let spec = spec.unwrap_or_else(|error| panic!("{error}"));
        let (coordinator, _evaluation) = Coordinator::new(
            Arc::new(MemoryStore::new(Instance::from_bytes([7; 16]), 1)),
            spec,
            vec![],
            Config::default(),
            WallClock::system(),
            std::future::pending(),
        );
        let path = path_of(ROUTES.find("/readyz").index);
        let mut server = ServerState::new(coordinator, HttpConfig::default(), &ROUTES);
        server.router = axum::Router::new().route(&path, handler);
        server
    }

    /// Serves one connection in a task. Returns the client's end.
    fn connect(
        server: &Arc<ServerState>,
        quota: &Arc<ConnectionQuota>,
    ) -> (DuplexStream, JoinHandle<()>) {
        let peer = Peer::at("127.0.0.1:9".parse().unwrap());
        let permits = Arc::new(Semaphore::new(1));
        let slot = ConnectionSlot {
            _quota: quota.take(peer.address.ip()).ok().unwrap(),
            _permit: permits.try_acquire_owned().unwrap(),
            _open: GaugeGuard::increment(&server.coordinator.metrics().connections),
        };
        let (client, stream) = tokio::io::duplex(4096);
        let connection = Connection::new(Arc::clone(server), peer, slot);
        let serving = tokio::spawn(serve_requests(stream, connection));
        (client, serving)
    }

    /// Reads from `client` until `end` was read.
    async fn read_until(client: &mut DuplexStream, end: &str) -> String {
        let mut read = String::new();
        while !read.contains(end) {
            let mut bytes = [0; 512];
            let count = client.read(&mut bytes).await.unwrap();
            assert_ne!(count, 0, "the server closed after {read:?}");
            read.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        read
    }

    #[tokio::test]
    async fn upgraded_connection_keeps_its_slot_until_it_ends() {
        let (echoes, mut started) = mpsc::unbounded_channel();
        let handler = get(|request: Request| async move {
            let echo = tokio::spawn(async move {
                let upgraded = hyper::upgrade::on(request).await.unwrap();
                let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
                tokio::io::copy(&mut read, &mut write).await.unwrap();
            });
            echoes.send(echo).unwrap();
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response
                .headers_mut()
                .insert(UPGRADE, "echo".parse().unwrap());
            response
        });
        let server = Arc::new(server_with(handler));
        let quota = ConnectionQuota::new(1, Some(1));
        let (mut client, serving) = connect(&server, &quota);
        let request =
            "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();
        let head = read_until(&mut client, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client.write_all(b"ping").await.unwrap();
        assert_eq!(read_until(&mut client, "ping").await, "ping");

        // hyper is done with the connection, and its slot is still taken.
        serving.await.unwrap();
        let open = &server.coordinator.metrics().connections;
        assert_eq!(open.get(), 1);
        assert!(quota.take("127.0.0.1".parse().unwrap()).is_err());
        drop(client);
        started.recv().await.unwrap().await.unwrap();
        assert_eq!(open.get(), 0);
        assert!(quota.take("127.0.0.1".parse().unwrap()).is_ok());
    }

    /// The end of the stream arrives together with the request.
    #[tokio::test]
    async fn half_closed_request_gets_its_response() {
        let server = Arc::new(server_with(get(|| async { "yes" })));
        let (mut client, serving) = connect(&server, &ConnectionQuota::new(1, Some(1)));
        let request = b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n";
        client.write_all(request).await.unwrap();
        client.shutdown().await.unwrap();
        let mut response = String::new();
        client.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response:?}");
        assert!(response.ends_with("yes"), "{response:?}");
        serving.await.unwrap();
    }

    /// A body whose frames a test sends.
    struct ChannelBody(mpsc::UnboundedReceiver<&'static str>);

    impl hyper::body::Body for ChannelBody {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let next = self.0.poll_recv(cx);
            next.map(|text| text.map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
        }
    }

    #[tokio::test]
    async fn streamed_frames_arrive_as_they_are_produced() {
        let (frames, received) = mpsc::unbounded_channel();
        let received = Arc::new(Mutex::new(Some(received)));
        let handler = get(move |context: RoutedContext| async move {
            assert_eq!(context.pattern(), "/readyz");
            let received = received.lock().unwrap().take().unwrap();
            Response::new(Body::new(ChannelBody(received)))
        });
        let server = Arc::new(server_with(handler));
        let (mut client, serving) = connect(&server, &ConnectionQuota::new(1, Some(1)));
        client
            .write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let head = read_until(&mut client, "\r\n\r\n").await;
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        assert!(head.contains("cfgsync-instance: 0707"), "{head}");
        for text in ["one", "two"] {
            frames.send(text).unwrap();
            read_until(&mut client, text).await;
        }
        drop(frames);
        read_until(&mut client, "0\r\n\r\n").await;
        drop(client);
        serving.await.unwrap();
    }

    /// Collects what the subscriber writes.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            log.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Log {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[tokio::test]
    async fn request_span_names_method_route_and_node() {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_span_events(FmtSpan::CLOSE)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        // For all threads: a subscriber of one thread misses spans that another test's thread reaches first.
        tracing::subscriber::set_global_default(subscriber).unwrap();
        tracing::callsite::rebuild_interest_cache();
        let server = Arc::new(server_with(get(|| async {})));
        let (mut client, serving) = connect(&server, &ConnectionQuota::new(1, Some(1)));
        let body = r#"{"identifier":"node-1","ip":"10.0.0.1"}"#;
        let length = body.len();
        let request = format!(
            "POST /register HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        let head = read_until(&mut client, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 202 "), "{head}");
        drop(client);
        serving.await.unwrap();
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let span = r#"request{method=POST route="/register" node="node-1"}"#;
        assert!(log.contains(span), "{log}");
    }
}
