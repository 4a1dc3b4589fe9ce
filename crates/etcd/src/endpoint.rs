//! The address of one member of etcd.

use std::{fmt, str::FromStr};

/// The port of etcd's clients.
const DEFAULT_PORT: u16 = 2379;

/// The address of one member of etcd: `http://HOST:PORT` or `https://HOST:PORT`. Without a port it is 2379.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether the connection uses TLS.
    pub is_tls: bool,
    /// A host name or an address. An IPv6 address has no brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A text is not the address of an etcd member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address of etcd; write http://HOST:PORT or https://HOST:PORT")]
pub struct EndpointError(String);

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let invalid = || EndpointError(text.to_owned());
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let is_tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(invalid()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or_else(invalid)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| invalid())?;
            match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if port.is_empty() => (host, None),
                None => return Err(invalid()),
            }
        } else {
            match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            }
        };
        let is_host = |char: char| char.is_ascii_alphanumeric() || "-._:".contains(char);
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(invalid());
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0),
            None => Some(DEFAULT_PORT),
        };
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port: port.ok_or_else(invalid)?,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_a_host_and_a_port() {
        for (text, shown) in [
            ("http://etcd-0:2379", "http://etcd-0:2379"),
            ("https://etcd.example/", "https://etcd.example:2379"),
            ("127.0.0.1:4001", "http://127.0.0.1:4001"),
            ("http://[::1]:2379", "http://[::1]:2379"),
            ("[fd00::1]", "http://[fd00::1]:2379"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "http://",
            "ftp://a",
            "http://a:0",
            "http://a:70000",
            "http://a/path",
            "http://[::1",
            "http://[::1]2379",
            "http://user@a",
            "a b",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
