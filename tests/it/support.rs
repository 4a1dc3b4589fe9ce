//! A server in this process, and a client that speaks to it byte by byte.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use cfgsync_cluster::{Config, Coordinator};
use cfgsync_model::Instance;
use cfgsync_server::{DrainReport, HttpConfig, listen, serve};
use cfgsync_spec::Spec;
use cfgsync_store::{Bounds, EventBounds, MemoryStore};
use cfgsync_support::clock::{Timestamp, WallClock};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

/// Upper bound of one wait. No operation under test takes nearly as long.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The instance ID of each server under test.
pub(crate) const INSTANCE: Instance = Instance::from_bytes([7; 16]);

/// A server with a memory store that listens on a free port.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) coordinator: Coordinator,
    stop: oneshot::Sender<()>,
    server_task: JoinHandle<DrainReport>,
    /// The coordinator runs until this is dropped.
    #[allow(dead_code, reason = "kept for its drop")]
    coordinator_stop: oneshot::Sender<()>,
}

impl TestServer {
    /// Starts a server. `rest` is the spec without its first two lines (`cfgsync` and `cluster`).
    pub(crate) fn start(rest: &str) -> Self {
        Self::with(rest, HttpConfig::default())
    }

    pub(crate) fn with(rest: &str, http: HttpConfig) -> Self {
        Self::with_clock(rest, http, WallClock::from_fn(|| Timestamp::UNIX_EPOCH))
    }

    pub(crate) fn with_clock(rest: &str, http: HttpConfig, clock: WallClock) -> Self {
        Self::with_all(rest, http, clock, Bounds::default(), EventBounds::default())
    }

    pub(crate) fn with_bounds(rest: &str, bounds: Bounds) -> Self {
        let clock = WallClock::from_fn(|| Timestamp::UNIX_EPOCH);
        let events = EventBounds::default();
        Self::with_all(rest, HttpConfig::default(), clock, bounds, events)
    }

    /// Starts a server that keeps so few events.
    pub(crate) fn with_events(rest: &str, http: HttpConfig, events: EventBounds) -> Self {
        let clock = WallClock::from_fn(|| Timestamp::UNIX_EPOCH);
        Self::with_all(rest, http, clock, Bounds::default(), events)
    }

    fn with_all(
        rest: &str,
        http: HttpConfig,
        clock: WallClock,
        bounds: Bounds,
        events: EventBounds,
    ) -> Self {
        let text = format!("cfgsync: 1\ncluster: test\n{rest}");
        let spec = Spec::parse(&text, "cluster.yaml", Path::new("."));
        let spec = spec.unwrap_or_else(|error| panic!("{error}"));
        let (coordinator_stop, coordinator_stopped) = oneshot::channel::<()>();
        let (coordinator, coordinator_task) = Coordinator::new(
            Arc::new(MemoryStore::new(INSTANCE, 8).with_event_bounds(events)),
            spec,
            vec![],
            Config {
                min_generation_interval: Duration::ZERO,
                bounds,
                ..Config::default()
            },
            clock,
            async {
                let _ = coordinator_stopped.await;
            },
        );
        tokio::spawn(coordinator_task);
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server_task = tokio::spawn(serve(vec![listener], coordinator.clone(), http, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            coordinator,
            stop,
            server_task,
            coordinator_stop,
        }
    }

    pub(crate) async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Connection {
            stream,
            read: vec![],
        }
    }

    /// Connects from another loopback address.
    pub(crate) async fn connect_from(&self, address: &str) -> Connection {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::new(address.parse().unwrap(), 0))
            .unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        Connection {
            stream,
            read: vec![],
        }
    }

    /// Sends one request on a new connection and reads the response.
    pub(crate) async fn request(&self, request: &str) -> Reply {
        let mut connection = self.connect().await;
        connection.send(request).await;
        connection.reply().await
    }

    /// Registers `identifier` at 10.0.0.1.
    pub(crate) async fn register(&self, identifier: &str) {
        let reply = self.request(&register(identifier)).await;
        assert_eq!(reply.status, 202, "{}", reply.text());
    }

    /// Waits until the server holds exactly `waiting` requests.
    pub(crate) async fn wait_until_held(&self, waiting: i64) {
        let held = async {
            while self.coordinator.metrics().waiting.get() != waiting {
                tokio::task::yield_now().await;
            }
        };
        with_timeout(held).await;
    }

    /// Waits until no connection is open.
    pub(crate) async fn wait_until_disconnected(&self) {
        let no_connections = async {
            while self.coordinator.metrics().connections.get() != 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        with_timeout(no_connections).await;
    }

    /// Tells the server to stop. [`StoppingServer::report`] waits until it has.
    pub(crate) fn stop(self) -> StoppingServer {
        let _ = self.stop.send(());
        StoppingServer {
            server_task: self.server_task,
            coordinator_stop: self.coordinator_stop,
        }
    }
}

pub(crate) struct StoppingServer {
    server_task: JoinHandle<DrainReport>,
    /// The coordinator runs until this is dropped.
    #[allow(dead_code, reason = "kept for its drop")]
    coordinator_stop: oneshot::Sender<()>,
}

impl StoppingServer {
    pub(crate) async fn report(self) -> DrainReport {
        with_timeout(self.server_task).await.unwrap()
    }
}

/// A raw connection: the test chooses each byte that is sent.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Received bytes that no reply has consumed yet.
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        with_timeout(self.stream.write_all(bytes.as_ref()))
            .await
            .unwrap();
    }

    /// Sends `bytes` without reading. Returns `false` once the server has closed the connection.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Reads until the server closes the connection.
    pub(crate) async fn read_to_end(&mut self) {
        // A connection reset counts as closed too.
        let _ = self.stream.read_to_end(&mut self.read).await;
    }

    /// Shuts down the write side of the connection.
    pub(crate) async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Like [`Self::half_close`], but returns `false` if the server has already closed the connection.
    pub(crate) async fn try_half_close(&mut self) -> bool {
        self.stream.shutdown().await.is_ok()
    }

    pub(crate) async fn reply(&mut self) -> Reply {
        let mut reply = self.head().await;
        let length = reply
            .header("content-length")
            .map_or(0, |l| l.parse().unwrap());
        while self.read.len() < length {
            self.read_more().await;
        }
        reply.body = self.read.drain(..length).collect();
        reply
    }

    /// Reads the response to a HEAD request, which has no body whatever its `content-length`.
    pub(crate) async fn head_reply(&mut self) -> Reply {
        self.head().await
    }

    /// Reads the next chunk of a response without a length. `None` for the last one.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let (size, start) = loop {
            if let Some(at) = self.read.windows(2).position(|two| two == b"\r\n") {
                let size = std::str::from_utf8(&self.read[..at]).unwrap();
                break (usize::from_str_radix(size, 16).unwrap(), at + 2);
            }
            self.read_more().await;
        };
        while self.read.len() < start + size + 2 {
            self.read_more().await;
        }
        let chunk = self.read[start..start + size].to_vec();
        self.read.drain(..start + size + 2);
        (size > 0).then_some(chunk)
    }

    /// Returns whether the server closes the connection without sending another byte.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        self.read.is_empty()
            && matches!(
                with_timeout(self.stream.read(&mut byte)).await,
                Ok(0) | Err(_)
            )
    }

    /// Reads the head of the next response, which may be an informational one.
    pub(crate) async fn head(&mut self) -> Reply {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            self.read_more().await;
        };
        let head: Vec<u8> = self.read.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        Reply {
            status: status.parse().unwrap(),
            headers: headers.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            body: vec![],
        }
    }

    async fn read_more(&mut self) {
        let read = with_timeout(self.stream.read_buf(&mut self.read)).await;
        assert!(
            matches!(read, Ok(1..)),
            "closed ({read:?}) after {:?}",
            String::from_utf8_lossy(&self.read)
        );
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// Returns code, reason and message of an error response.
    pub(crate) fn error(&self) -> (String, String, String) {
        let json = self.json();
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        (text("code"), text("reason"), text("message"))
    }
}

pub(crate) async fn with_timeout<F: Future>(future: F) -> F::Output {
    let result = tokio::time::timeout(TIMEOUT, future).await;
    result.expect("timed out")
}

/// Builds a POST request with `body`. `headers` are complete lines, each with its CRLF.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

/// Builds a request without a body.
pub(crate) fn without_body(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n")
}

pub(crate) fn get(path: &str) -> String {
    without_body("GET", path, "")
}

pub(crate) fn register(identifier: &str) -> String {
    let body = format!(r#"{{"identifier":"{identifier}","ip":"10.0.0.1"}}"#);
    post("/register", "", &body)
}

/// Builds the `POST /node` request of a legacy client.
pub(crate) fn node(identifier: &str, headers: &str) -> String {
    let body = format!(r#"{{"identifier":"{identifier}","ip":"10.0.0.1","metadata":null}}"#);
    post("/node", headers, &body)
}
