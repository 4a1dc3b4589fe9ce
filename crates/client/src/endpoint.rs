//! A TCP or HTTP endpoint of the node's own service, and one check of it.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Uri,
    body::Incoming,
    client::conn::http1,
    header::{CONNECTION, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::{client::cause::cause, connect::NameLookup};

/// The most of a body that is read, in bytes. The status alone decides.
const BODY_MAX_BYTES: usize = 64 << 10;
/// How long to read a body.
const BODY_TIMEOUT: Duration = Duration::from_millis(200);
/// The most that the status line and the headers of a response may have, in bytes.
const HEAD_MAX_BYTES: usize = 64 << 10;
/// The port of a URL without one.
const HTTP_PORT: u16 = 80;

/// An endpoint `http://HOST[:PORT]/PATH` or `tcp://HOST:PORT`.
#[derive(Debug, Clone)]
pub struct Endpoint {
    host: String,
    port: u16,
    /// The path and the query of the request. `None` if a connection is enough.
    target: Option<String>,
    lookup: NameLookup,
}

/// The reason why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// The URL has another scheme.
    #[error("expected http://HOST:PORT/PATH or tcp://HOST:PORT")]
    Scheme,
    /// The URL begins with `https://`.
    #[error("https:// is not supported: use a command in its place, such as 'curl -fsS https://…'")]
    Tls,
    /// The URL has no host, or no port that a connection needs.
    #[error("expected tcp://HOST:PORT, without a path")]
    Tcp,
    /// The URL has a user or a password.
    #[error("a URL with a user or a password is not supported: use a command in its place")]
    Credentials,
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let url: Uri = text.parse().map_err(|_| InvalidEndpoint::Scheme)?;
        let authority = url.authority().ok_or(InvalidEndpoint::Scheme)?;
        if authority.as_str().contains('@') {
            return Err(InvalidEndpoint::Credentials);
        }
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let (port, target) = match (url.scheme_str(), url.port_u16()) {
            (Some("http"), port) => (port.unwrap_or(HTTP_PORT), Some(path.to_owned())),
            (Some("tcp"), Some(port)) if path == "/" => (port, None),
            (Some("tcp"), _) => return Err(InvalidEndpoint::Tcp),
            (Some("https"), _) => return Err(InvalidEndpoint::Tls),
            _ => return Err(InvalidEndpoint::Scheme),
        };
        // A port that is not a number from 1 to 65535 must not become the default one.
        let has_port = !authority.as_str().ends_with(authority.host());
        if port == 0 || has_port != url.port_u16().is_some() {
            return Err(InvalidEndpoint::Scheme);
        }
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port,
            target,
            lookup: NameLookup::default(),
        })
    }
}

impl Endpoint {
    /// Connects, and for HTTP sends a GET request, whose response must have a status from 200 to 399. Redirects are not
    /// followed. The caller limits the time.
    ///
    /// # Errors
    /// The reason in words, such as `HTTP status 503 Service Unavailable`.
    pub async fn check(&self) -> Result<(), String> {
        let stream = self.connect().await?;
        match &self.target {
            Some(target) => self.get(stream, target).await,
            None => Ok(()),
        }
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let addresses = if let Ok(ip) = self.host.parse::<IpAddr>() {
            vec![ip]
        } else {
            let found = self.lookup.addresses(&self.host).await;
            self.lookup.forget();
            found.map_err(|error| error.to_string())?
        };
        let mut problem = format!("{} has no address", self.host);
        for address in addresses {
            let address = SocketAddr::new(address, self.port);
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => problem = format!("cannot connect to {address}: {error}"),
            }
        }
        Err(problem)
    }

    async fn get(&self, stream: TcpStream, target: &str) -> Result<(), String> {
        let host = if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        };
        let request = Request::get(target)
            .header(HOST, host)
            .header(USER_AGENT, "cfgsync")
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_MAX_BYTES);
        let opened = builder.handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = opened.map_err(|error| cause(&error))?;
        let exchange = async {
            let response = sender.send_request(request).await;
            let response = response.map_err(|error| cause(&error))?;
            let status = response.status();
            // A server may report an error of its own if the connection ends within the body.
            let _ = timeout(BODY_TIMEOUT, skip(response.into_body())).await;
            if status.is_success() || status.is_redirection() {
                Ok(())
            } else {
                Err(format!("HTTP status {status}"))
            }
        };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            biased;
            done = &mut exchange => done,
            // The exchange still has what was received.
            _ = connection => exchange.await,
        }
    }
}

/// Reads the beginning of a body.
async fn skip(mut body: Incoming) {
    let mut bytes = 0;
    while bytes <= BODY_MAX_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn forms_are_checked_when_they_are_read() {
        for (text, host, port, target) in [
            ("http://localhost", "localhost", 80, Some("/")),
            (
                "http://[::1]:8080/health?a=b",
                "::1",
                8080,
                Some("/health?a=b"),
            ),
            ("tcp://127.0.0.1:6379", "127.0.0.1", 6379, None),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((&*endpoint.host, endpoint.port), (host, port), "{text}");
            assert_eq!(endpoint.target.as_deref(), target, "{text}");
        }
        for (text, expected) in [
            ("https://localhost/", InvalidEndpoint::Tls),
            ("tcp://localhost", InvalidEndpoint::Tcp),
            ("tcp://localhost:80/path", InvalidEndpoint::Tcp),
            ("http://me:secret@localhost/", InvalidEndpoint::Credentials),
            ("http://localhost:99999/", InvalidEndpoint::Scheme),
            ("http://localhost:0/", InvalidEndpoint::Scheme),
            ("tcp://localhost:0", InvalidEndpoint::Scheme),
            ("http://", InvalidEndpoint::Scheme),
            ("unix:///run/app", InvalidEndpoint::Scheme),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap_err(), expected, "{text}");
        }
    }

    /// Checks a server that answers each request with `response`, and then closes the connection.
    async fn answer(response: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint: Endpoint = format!("http://{address}/health").parse().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let _ = stream.write_all(response.as_bytes()).await;
            request
        };
        let (checked, request) = tokio::join!(endpoint.check(), serve);
        assert!(request.starts_with("GET /health HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains(&format!("host: {address}\r\n")),
            "{request}"
        );
        checked
    }

    #[tokio::test]
    async fn status_decides() {
        for (response, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Ok(())),
            ("HTTP/1.1 204 No Content\r\n\r\n", Ok(())),
            ("HTTP/1.1 302 Found\r\nlocation: http://x/\r\n\r\n", Ok(())),
            // The body is cut.
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", Ok(())),
            (
                "HTTP/1.1 503 Service Unavailable\r\n\r\n",
                Err("HTTP status 503 Service Unavailable"),
            ),
            ("hello\r\n", Err("the server does not speak HTTP/1.1")),
            (
                "",
                Err("the server closed the connection before its response was complete"),
            ),
        ] {
            let checked = answer(response).await;
            assert_eq!(checked, expected.map_err(str::to_owned), "{response}");
        }
    }

    #[tokio::test]
    async fn connection_is_enough_for_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint: Endpoint = format!("tcp://{address}").parse().unwrap();
        assert_eq!(endpoint.check().await, Ok(()));
        drop(listener);
        let refused = endpoint.check().await.unwrap_err();
        let expected = format!("cannot connect to {address}: Connection refused");
        assert!(refused.starts_with(&expected), "{refused}");
    }
}
