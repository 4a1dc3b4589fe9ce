//! A server in this process, and a client that speaks to it byte by byte.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use cfgsync_cluster::{Config, Coordinator};
use cfgsync_model::Instance;
use cfgsync_server::{DrainReport, HttpConfig, listen, serve};
use cfgsync_spec::Spec;
use cfgsync_store::{Bounds, MemoryStore};
use cfgsync_support::clock::{Timestamp, WallClock};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

/// Nothing here takes long; what takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// The instance of every server under test.
pub(crate) const INSTANCE: Instance = Instance::from_bytes([7; 16]);

/// A server on a port of its own, with a memory store.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) coordinator: Coordinator,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<DrainReport>,
    /// The coordinator runs until this is dropped.
    #[allow(dead_code, reason = "held, not read")]
    route: oneshot::Sender<()>,
}

impl TestServer {
    /// Serves the spec `rest`, which lacks only its first two lines.
    pub(crate) fn start(rest: &str) -> Self {
        Self::with(rest, HttpConfig::default())
    }

    pub(crate) fn with(rest: &str, http: HttpConfig) -> Self {
        Self::with_clock(rest, http, WallClock::from_fn(|| Timestamp::UNIX_EPOCH))
    }

    pub(crate) fn with_clock(rest: &str, http: HttpConfig, clock: WallClock) -> Self {
        Self::with_all(rest, http, clock, Bounds::default())
    }

    pub(crate) fn with_bounds(rest: &str, bounds: Bounds) -> Self {
        let clock = WallClock::from_fn(|| Timestamp::UNIX_EPOCH);
        Self::with_all(rest, HttpConfig::default(), clock, bounds)
    }

    fn with_all(rest: &str, http: HttpConfig, clock: WallClock, bounds: Bounds) -> Self {
        let text = format!("cfgsync: 1\ncluster: test\n{rest}");
        let spec = Spec::parse(&text, "cluster.yaml", Path::new("."));
        let spec = spec.unwrap_or_else(|error| panic!("{error}"));
        let (route, ended) = oneshot::channel::<()>();
        let (coordinator, follow) = Coordinator::new(
            Arc::new(MemoryStore::new(INSTANCE, 8)),
            spec,
            vec![],
            Config {
                min_generation_interval: Duration::ZERO,
                bounds,
                ..Config::default()
            },
            clock,
            async {
                let _ = ended.await;
            },
        );
        tokio::spawn(follow);
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(vec![listener], coordinator.clone(), http, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            coordinator,
            stop,
            serving,
            route,
        }
    }

    pub(crate) async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Connection {
            stream,
            read: vec![],
        }
    }

    /// From another address of this machine.
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

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> Reply {
        let mut connection = self.connect().await;
        connection.send(request).await;
        connection.reply().await
    }

    /// Registers `identifier` at 10.0.0.1.
    pub(crate) async fn register(&self, identifier: &str) {
        let reply = self.ask(&register(identifier)).await;
        assert_eq!(reply.status, 202, "{}", reply.text());
    }

    /// Waits until so many requests are held.
    pub(crate) async fn holds(&self, waiting: i64) {
        let held = async {
            while self.coordinator.metrics().waiting.get() != waiting {
                tokio::task::yield_now().await;
            }
        };
        within(held).await;
    }

    /// Waits until no connection is open.
    pub(crate) async fn is_left(&self) {
        let left = async {
            while self.coordinator.metrics().connections.get() != 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        within(left).await;
    }

    /// Tells the server to stop; [`Stopping::report`] says how it went.
    pub(crate) fn stop(self) -> Stopping {
        let _ = self.stop.send(());
        Stopping {
            serving: self.serving,
            route: self.route,
        }
    }
}

pub(crate) struct Stopping {
    serving: JoinHandle<DrainReport>,
    /// The coordinator runs until this is dropped.
    #[allow(dead_code, reason = "held, not read")]
    route: oneshot::Sender<()>,
}

impl Stopping {
    pub(crate) async fn report(self) -> DrainReport {
        within(self.serving).await.unwrap()
    }
}

/// A connection on which every byte is the test's own.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Received and not yet taken.
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends, until the server has closed; whether it still takes bytes. Nothing is read.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Reads whatever comes until the server closes.
    pub(crate) async fn read_to_end(&mut self) {
        // A reset is an end as well.
        let _ = self.stream.read_to_end(&mut self.read).await;
    }

    /// Sends no more, and still reads.
    pub(crate) async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The same, where the server may have closed already.
    pub(crate) async fn try_half_close(&mut self) -> bool {
        self.stream.shutdown().await.is_ok()
    }

    pub(crate) async fn reply(&mut self) -> Reply {
        let mut reply = self.head().await;
        let length = reply
            .header("content-length")
            .map_or(0, |l| l.parse().unwrap());
        while self.read.len() < length {
            self.more().await;
        }
        reply.body = self.read.drain(..length).collect();
        reply
    }

    /// The answer to a HEAD request, which has no body whatever its length says.
    pub(crate) async fn head_reply(&mut self) -> Reply {
        self.head().await
    }

    /// Whether the server closes without a further byte.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        self.read.is_empty() && matches!(within(self.stream.read(&mut byte)).await, Ok(0) | Err(_))
    }

    /// The head of the next answer, whatever it is.
    pub(crate) async fn head(&mut self) -> Reply {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            self.more().await;
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

    async fn more(&mut self) {
        let read = within(self.stream.read_buf(&mut self.read)).await;
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

    /// Code, reason and message of an error.
    pub(crate) fn error(&self) -> (String, String, String) {
        let json = self.json();
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        (text("code"), text("reason"), text("message"))
    }
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    let result = tokio::time::timeout(PATIENCE, future).await;
    result.expect("it hangs")
}

/// A POST of `body`; `headers` are whole lines.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

/// A request without a body.
pub(crate) fn plain(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n")
}

pub(crate) fn get(path: &str) -> String {
    plain("GET", path, "")
}

pub(crate) fn register(identifier: &str) -> String {
    let body = format!(r#"{{"identifier":"{identifier}","ip":"10.0.0.1"}}"#);
    post("/register", "", &body)
}

/// What a node of the existing protocol asks.
pub(crate) fn node(identifier: &str, headers: &str) -> String {
    let body = format!(r#"{{"identifier":"{identifier}","ip":"10.0.0.1","metadata":null}}"#);
    post("/node", headers, &body)
}
