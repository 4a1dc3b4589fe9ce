//! The address of a server, as people write it.

use std::{fmt, str::FromStr};

use hyper::{Uri, http::uri::PathAndQuery};

/// A server's base URL: `http://host:port`, perhaps with a path in front of the routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
    host: String,
    port: u16,
}

/// A text that is not a [`ServerUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServer {
    /// Not a URL at all.
    #[error("server {0:?} is not a URL like http://boot.example:4400: {1}")]
    NotUrl(String, String),
    /// A scheme other than `http`.
    #[error("server {0:?} must start with http://")]
    Scheme(String),
    /// Credentials, which are not repeated.
    #[error("a server's URL must not hold credentials (what stands before its '@')")]
    Credentials,
    /// A query, or port 0.
    #[error("server {0:?} must not hold {1}")]
    Holds(String, &'static str),
}

impl ServerUrl {
    /// The host, brackets of an IPv6 address taken off.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 80 where none is written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The full address of `route`, which starts with `/`.
    pub(super) fn route(&self, route: &str) -> Uri {
        let full = format!("{}{route}", self.text);
        full.parse()
            .expect("a checked base and a route of valid identifiers")
    }
}

impl FromStr for ServerUrl {
    type Err = InvalidServer;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let text = given.trim().trim_end_matches('/');
        let not_url = |why: String| InvalidServer::NotUrl(given.to_owned(), why);
        let uri: Uri = text
            .parse()
            .map_err(|e: hyper::http::uri::InvalidUri| not_url(e.to_string()))?;
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(InvalidServer::Credentials);
        }
        if uri.scheme_str() != Some("http") {
            return Err(InvalidServer::Scheme(given.to_owned()));
        }
        let authority = uri
            .authority()
            .ok_or_else(|| not_url("it has no host".into()))?;
        let holds = |what| Err(InvalidServer::Holds(given.to_owned(), what));
        if uri.path_and_query().and_then(PathAndQuery::query).is_some() {
            return holds("a query");
        }
        // Everything after the host that is not a port would otherwise pass as port 80.
        let after_host = &authority.as_str()[authority.host().len()..];
        let port = match after_host.strip_prefix(':') {
            None => 80,
            Some(digits) => digits
                .parse()
                .map_err(|_| not_url(format!("{digits:?} is not a port")))?,
        };
        if port == 0 {
            return holds("port 0");
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(not_url("it has no host".into()));
        }
        Ok(Self {
            text: text.to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
        })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        for (text, host, port, node) in [
            ("http://boot:4400", "boot", 4400, "http://boot:4400/node"),
            ("http://boot/", "boot", 80, "http://boot/node"),
            ("http://[::1]:4400", "::1", 4400, "http://[::1]:4400/node"),
            (
                "http://gate:1/devnet/",
                "gate",
                1,
                "http://gate:1/devnet/node",
            ),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!((url.host(), url.port()), (host, port));
            assert_eq!(url.route("/node").to_string(), node);
        }
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for text in [
            "",
            "boot:4400",
            "https://boot",
            "ftp://boot",
            "http://",
            "http://boot:0",
            "http://boot:port",
            "http://boot:99999",
            "http://me:secret@boot",
            "http://boot/?x=1",
            "/node",
        ] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text:?}");
        }
    }
}
