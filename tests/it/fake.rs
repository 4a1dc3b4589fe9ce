//! A server that answers what a test tells it to, well or badly.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use cfgsync_client::ServerUrl;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `POST /node`.
    pub(crate) line: String,
    /// Header lines in lower case.
    pub(crate) headers: String,
    /// The body.
    pub(crate) body: String,
    /// How many requests came before it.
    pub(crate) before: usize,
}

impl Asked {
    /// The seconds of `Prefer: wait`.
    pub(crate) fn wait(&self) -> Option<u64> {
        let preferences = self
            .headers
            .lines()
            .find_map(|line| line.strip_prefix("prefer: wait="));
        preferences.map(|seconds| seconds.trim().parse().unwrap())
    }
}

/// What the server does.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answers with status, header lines and body.
    Answer(u16, &'static str, String),
    /// Says nothing, and keeps the connection.
    Hang,
    /// Promises a hundred bytes, sends some, and closes.
    Half,
    /// Closes.
    Close,
    /// Answers after as many seconds as `Prefer: wait` says.
    Held(u16, &'static str, String),
}

/// A running server. It ends with the test's runtime.
pub(crate) struct Fake {
    /// Where.
    pub(crate) url: ServerUrl,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
    asked_again: Arc<Notify>,
}

impl Fake {
    /// Starts a server that asks `script` what to do.
    pub(crate) async fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, script) = (asked.clone(), Arc::new(script));
        let connections: Arc<AtomicUsize> = Arc::default();
        let counter = connections.clone();
        let asked_again: Arc<Notify> = Arc::default();
        let notify = asked_again.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, log.clone(), notify.clone(), script.clone()));
            }
        });
        let url = url.parse().unwrap();
        Self {
            url,
            asked,
            connections,
            asked_again,
        }
    }

    /// Waits until a request with this line has come.
    pub(crate) async fn was_asked(&self, line: &str) {
        loop {
            let again = self.asked_again.notified();
            if self.lines().iter().any(|asked| asked == line) {
                return;
            }
            again.await;
        }
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The request lines up to now.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }

    /// The requests up to now.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    log: Arc<Mutex<Vec<Asked>>>,
    notify: Arc<Notify>,
    script: Arc<impl Fn(&Asked) -> Reply>,
) {
    while let Some(mut asked) = read(&mut stream).await {
        {
            let mut log = log.lock().unwrap();
            asked.before = log.len();
            log.push(asked.clone());
        }
        notify.notify_waiters();
        let (status, headers, body) = match script(&asked) {
            Reply::Answer(status, headers, body) => (status, headers, body),
            Reply::Held(status, headers, body) => {
                let wait = std::time::Duration::from_secs(asked.wait().unwrap_or(0));
                tokio::time::sleep(wait).await;
                (status, headers, body)
            }
            Reply::Hang => std::future::pending().await,
            Reply::Half => {
                let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"schema_version\":1,";
                let _ = stream.write_all(half.as_bytes()).await;
                return;
            }
            Reply::Close => return,
        };
        let answer = format!(
            "HTTP/1.1 {status} Whatever\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
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
                return Some(Asked {
                    line: line.strip_suffix(" HTTP/1.1").unwrap().to_owned(),
                    headers,
                    body,
                    before: 0,
                });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
