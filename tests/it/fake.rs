//! A scripted HTTP server that sends correct or broken responses, as the test chooses.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use cfgsync_client::ServerUrl;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use crate::pki::Pair;

/// One received request.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedRequest {
    /// Method and path, such as `POST /node`.
    pub(crate) line: String,
    /// Header lines in lower case.
    pub(crate) headers: String,
    /// The body.
    pub(crate) body: String,
    /// The number of requests that the server received before this one.
    pub(crate) index: usize,
}

impl ReceivedRequest {
    /// Returns the seconds of the `Prefer: wait` header.
    pub(crate) fn wait(&self) -> Option<u64> {
        let preferences = self
            .headers
            .lines()
            .find_map(|line| line.strip_prefix("prefer: wait="));
        preferences.map(|seconds| seconds.trim().parse().unwrap())
    }
}

/// How the server reacts to a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Sends a response with this status, these header lines and this body.
    Answer(u16, &'static str, String),
    /// Sends nothing and keeps the connection open.
    Hang,
    /// Announces 100 bytes, sends fewer, and closes the connection.
    Truncated,
    /// Closes the connection without a response.
    Close,
    /// Like `Answer`, after the number of seconds in `Prefer: wait`.
    Held(u16, &'static str, String),
}

/// A running scripted server. It stops with the test's runtime.
pub(crate) struct FakeServer {
    /// The URL at which the server listens.
    pub(crate) url: ServerUrl,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    connections: Arc<AtomicUsize>,
    request_arrived: Arc<Notify>,
}

impl FakeServer {
    /// Starts a server that calls `script` for each request.
    pub(crate) async fn start(
        script: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        script: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(address, None, script).await
    }

    /// Starts a server that speaks TLS with this certificate.
    pub(crate) async fn start_tls(
        pair: &Pair,
        script: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let chain = CertificateDer::from_pem_file(&pair.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::start_with("127.0.0.1:0".parse().unwrap(), Some(acceptor), script).await
    }

    async fn start_with(
        address: SocketAddr,
        acceptor: Option<TlsAcceptor>,
        script: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<ReceivedRequest>>> = Arc::default();
        let (log, script) = (requests.clone(), Arc::new(script));
        let connections: Arc<AtomicUsize> = Arc::default();
        let counter = connections.clone();
        let request_arrived: Arc<Notify> = Arc::default();
        let notify = request_arrived.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
                let (log, notify, script) = (log.clone(), notify.clone(), script.clone());
                let Some(acceptor) = acceptor.clone() else {
                    tokio::spawn(serve(stream, log, notify, script));
                    continue;
                };
                tokio::spawn(async move {
                    // A client that does not trust the certificate ends the handshake.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, log, notify, script).await;
                    }
                });
            }
        });
        let url = url.parse().unwrap();
        Self {
            url,
            requests,
            connections,
            request_arrived,
        }
    }

    /// Waits until the server has received a request with this line.
    pub(crate) async fn wait_for_request(&self, line: &str) {
        loop {
            let next_request = self.request_arrived.notified();
            if self.request_lines().iter().any(|received| received == line) {
                return;
            }
            next_request.await;
        }
    }

    /// Returns how many connections were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Returns method and path of each request so far.
    pub(crate) fn request_lines(&self) -> Vec<String> {
        self.requests()
            .into_iter()
            .map(|request| request.line)
            .collect()
    }

    /// Returns the requests so far.
    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    log: Arc<Mutex<Vec<ReceivedRequest>>>,
    notify: Arc<Notify>,
    script: Arc<impl Fn(&ReceivedRequest) -> Reply>,
) {
    while let Some(mut request) = read(&mut stream).await {
        {
            let mut log = log.lock().unwrap();
            request.index = log.len();
            log.push(request.clone());
        }
        notify.notify_waiters();
        let (status, headers, body) = match script(&request) {
            Reply::Answer(status, headers, body) => (status, headers, body),
            Reply::Held(status, headers, body) => {
                let wait = std::time::Duration::from_secs(request.wait().unwrap_or(0));
                tokio::time::sleep(wait).await;
                (status, headers, body)
            }
            Reply::Hang => std::future::pending().await,
            Reply::Truncated => {
                let partial =
                    "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"schema_version\":1,";
                let _ = stream.write_all(partial.as_bytes()).await;
                return;
            }
            Reply::Close => return,
        };
        let response = format!(
            "HTTP/1.1 {status} Whatever\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<ReceivedRequest> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let (line, headers) = head.split_once("\r\n").unwrap();
            let headers = headers.to_ascii_lowercase();
            let length = headers
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if bytes.len() >= end + 4 + length {
                let body = String::from_utf8(bytes[end + 4..].to_vec()).unwrap();
                return Some(ReceivedRequest {
                    line: line.strip_suffix(" HTTP/1.1").unwrap().to_owned(),
                    headers,
                    body,
                    index: 0,
                });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
