//! A client that changes servers, and sends back the newest position that it has seen.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

use crate::random::Random;

/// A bound on one request. A server waits for etcd for 2 s, and may be stopped for longer.
const REQUEST_MAX: Duration = Duration::from_secs(8);

const REVISION: &str = "cfgsync-revision";

/// A complete response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
    /// The position of the server.
    pub(crate) revision: u64,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A client of several servers.
pub(crate) struct HttpClient {
    servers: Vec<SocketAddr>,
    pub(crate) random: Random,
    /// The newest position that was seen, as a header and as a number.
    position: Option<String>,
    pub(crate) seen: u64,
}

impl HttpClient {
    pub(crate) fn new(servers: Vec<SocketAddr>, random: Random) -> Self {
        Self {
            servers,
            random,
            position: None,
            seen: 0,
        }
    }

    /// Sends a request to a random server. `None` if there was no complete response in time, so that its effect is
    /// unknown.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Option<Answer> {
        let server = self.pick();
        self.send_to(server, method, path, headers, body).await
    }

    /// Sends a request to one server.
    pub(crate) async fn send_to(
        &mut self,
        server: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(position) = &self.position {
            request = request.header(REVISION, position);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() {
            Bytes::new()
        } else {
            body.to_string().into()
        };
        let request = request.header("host", "x").body(Full::new(body)).unwrap();
        let exchange = async {
            let (response, connection) = exchange(server, request).await.ok()?;
            let (head, body) = response.into_parts();
            let body = body.collect().await;
            connection.abort();
            Some((head, body.ok()?.to_bytes()))
        };
        let (head, body) = timeout(REQUEST_MAX, exchange).await.ok()??;
        let position = head.headers.get(REVISION).map(|p| p.to_str().unwrap());
        let revision = position.map_or(0, revision_of);
        if revision > self.seen {
            self.seen = revision;
            self.position = position.map(str::to_owned);
        }
        Some(Answer {
            status: head.status.as_u16(),
            body,
            headers: head.headers,
            revision,
        })
    }

    /// Opens a stream at a random server.
    pub(crate) async fn open(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Option<(Response<Incoming>, JoinHandle<()>)> {
        let server = self.pick();
        let mut request = Request::get(path).header("host", "x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        timeout(REQUEST_MAX, exchange(server, request))
            .await
            .ok()?
            .ok()
    }

    fn pick(&mut self) -> SocketAddr {
        let at = self.random.below(self.servers.len() as u64);
        self.servers[usize::try_from(at).unwrap()]
    }
}

/// Returns the revision of a position `INSTANCE-REVISION`, which may have a part.
pub(crate) fn revision_of(position: &str) -> u64 {
    let (_, revision) = position.split_once('-').unwrap();
    revision.split('.').next().unwrap().parse().unwrap()
}

/// Sends `request` over a connection of its own. Also returns the task that drives the connection.
async fn exchange(
    server: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, JoinHandle<()>), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(async move {
        // The response tells of its failure.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await;
    if response.is_err() {
        driver.abort();
    }
    Ok((response?, driver))
}
