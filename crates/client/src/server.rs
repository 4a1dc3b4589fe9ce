//! The URL of a server: `http://`, `https://`, or the join URL that `serve` prints.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use hyper::{Uri, http::uri::PathAndQuery};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};

use cfgsync_model::Pin;

/// A server's base URL. There are two forms:
///
/// - `http://host:port` or `https://host:port`, optionally with a path in front of the routes
/// - a join URL `cfgsync://host:port/?pin=sha256-…`, optionally with `&token=…`: TLS to a server that is identified
///   by the checksum of its public key
///
/// Cloning is cheap. `Display` and `Debug` leave out pins and token.
///
/// ```
/// use cfgsync_client::ServerUrl;
///
/// let server: ServerUrl = "http://boot.example:4400".parse()?;
/// assert_eq!(server.host(), "boot.example");
/// assert!(server.is_unencrypted_remote());
/// # Ok::<(), cfgsync_client::InvalidServer>(())
/// ```
#[derive(Clone)]
pub struct ServerUrl(Arc<Parts>);

struct Parts {
    /// The URL without pins and token, for display.
    text: String,
    /// The URL to which routes are appended.
    base: String,
    host: String,
    port: u16,
    is_tls: bool,
    pins: Vec<Pin>,
    token: Option<SecretString>,
}

/// The error for a text that is not a [`ServerUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidServer {
    /// The text is not a URL; the second field says why.
    #[error("server {0:?} is not a URL like http://boot.example:4400: {1}")]
    NotUrl(String, String),
    /// The scheme is not `http`, `https` or `cfgsync`.
    #[error("server {0:?} must start with http://, https:// or cfgsync://")]
    Scheme(String),
    /// The URL contains `user:password@`. The message does not repeat it.
    #[error("a server URL must not contain credentials (the part before '@')")]
    Credentials,
    /// The URL contains a query, a fragment, port 0, or a token outside a join URL; the second field names it.
    #[error("server {0:?} must not contain {1}")]
    Forbidden(String, &'static str),
    /// The query of a join URL is wrong. The message does not repeat it, because it may contain a token.
    #[error("the join URL of {0}: {1}")]
    JoinUrl(String, String),
}

impl ServerUrl {
    /// Returns the host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// Returns the port. The default is 80 for `http`, 443 for `https` and 4400 for `cfgsync`.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Returns whether connections use TLS.
    pub fn is_tls(&self) -> bool {
        self.0.is_tls
    }

    /// Returns whether others on the network can read the requests: plain HTTP to a host other than a loopback
    /// address or `localhost`.
    pub fn is_unencrypted_remote(&self) -> bool {
        let is_local = match self.host().parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => is_localhost(self.host()),
        };
        !self.is_tls() && !is_local
    }

    /// Returns whether both URLs lead to the same host, port and path, whatever their form and pins.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        let path = |url: &Self| url.route("/").path().to_owned();
        self.host().eq_ignore_ascii_case(other.host())
            && self.port() == other.port()
            && path(self) == path(other)
    }

    /// Returns the pins of a join URL: the server must have one of these keys. Empty for other URLs.
    pub fn pins(&self) -> &[Pin] {
        &self.0.pins
    }

    /// Returns the token of a join URL, if it has one.
    pub fn token(&self) -> Option<&SecretString> {
        self.0.token.as_ref()
    }

    /// Returns the join URL with `token`, which replaces an existing one. The result is as secret as the token.
    ///
    /// # Errors
    /// [`InvalidServer::Forbidden`] if this is not a join URL: other URLs must not contain a token.
    pub fn with_token(&self, token: &SecretString) -> Result<SecretString, InvalidServer> {
        let Parts { text, pins, .. } = &*self.0;
        if pins.is_empty() {
            return Err(InvalidServer::Forbidden(text.clone(), "a token"));
        }
        let pins: Vec<String> = pins.iter().map(|pin| format!("pin={pin}")).collect();
        let token = utf8_percent_encode(token.expose_secret(), NON_ALPHANUMERIC);
        Ok(format!("{text}/?{}&token={token}", pins.join("&")).into())
    }

    /// Returns the whole URL except for its token.
    pub fn without_token(&self) -> String {
        let Parts { text, pins, .. } = &*self.0;
        if pins.is_empty() {
            return text.clone();
        }
        let pins: Vec<String> = pins.iter().map(|pin| format!("pin={pin}")).collect();
        format!("{text}/?{}", pins.join("&"))
    }

    /// Returns the full URL of `route`, which starts with `/`.
    pub(crate) fn route(&self, route: &str) -> Uri {
        let full = format!("{}{route}", self.0.base);
        full.parse()
            .expect("a checked base and a route of valid identifiers")
    }
}

impl FromStr for ServerUrl {
    type Err = InvalidServer;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let (address, query) = match given.trim().split_once('?') {
            Some((address, query)) => (address, Some(query)),
            None => (given.trim(), None),
        };
        let text = address.trim_end_matches('/');
        let not_url = |why: String| InvalidServer::NotUrl(text.to_owned(), why);
        if address.contains('@') {
            return Err(InvalidServer::Credentials);
        }
        let uri: Uri = text
            .parse()
            .map_err(|e: hyper::http::uri::InvalidUri| not_url(e.to_string()))?;
        let (is_tls, default_port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            Some("cfgsync") => (true, 4400),
            _ => return Err(InvalidServer::Scheme(text.to_owned())),
        };
        let is_join_url = uri.scheme_str() == Some("cfgsync");
        let authority = uri
            .authority()
            .ok_or_else(|| not_url("the host is missing".into()))?;
        let forbidden = |what| Err(InvalidServer::Forbidden(text.to_owned(), what));
        if address.contains('#') {
            // The HTTP client drops fragments. The route would be appended to the fragment and dropped with it.
            return forbidden("a fragment (the part after '#')");
        }
        if query.is_some() && !is_join_url {
            return forbidden("a query");
        }
        // `Uri::port` is `None` for an invalid port, which would select the default port without an error.
        let after_host = &authority.as_str()[authority.host().len()..];
        let port = match after_host.strip_prefix(':') {
            None => default_port,
            Some(digits) => digits
                .parse()
                .map_err(|_| not_url(format!("{digits:?} is not a port")))?,
        };
        if port == 0 {
            return forbidden("port 0");
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(not_url("the host is missing".into()));
        }
        let mut parts = Parts {
            text: text.to_owned(),
            base: text.to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            is_tls,
            pins: vec![],
            token: None,
        };
        if is_join_url {
            let path = uri.path_and_query().map_or("", PathAndQuery::path);
            parts.base = format!("https://{host}:{port}{}", path.trim_end_matches('/'));
            parts
                .read_query(query.unwrap_or_default())
                .map_err(|why| InvalidServer::JoinUrl(text.to_owned(), why))?;
        }
        Ok(Self(Arc::new(parts)))
    }
}

impl TryFrom<&str> for ServerUrl {
    type Error = InvalidServer;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl Parts {
    /// Reads pins and token from the query of a join URL.
    fn read_query(&mut self, query: &str) -> Result<(), String> {
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("pin", pin)) => {
                    let pin = pin.parse().map_err(|error| format!("the pin: {error}"))?;
                    self.pins.push(pin);
                }
                Some(("token", token)) if self.token.is_none() && !token.is_empty() => {
                    let token = percent_decode_str(token).decode_utf8();
                    let token = token.map_err(|_| "the token is not UTF-8".to_owned())?;
                    self.token = Some(token.into_owned().into());
                }
                Some(("token", _)) => {
                    return Err("it contains more than one token, or an empty one".to_owned());
                }
                _ => return Err("only the parameters `pin` and `token` are allowed".to_owned()),
            }
        }
        if self.pins.is_empty() {
            return Err(
                "the parameter `pin=sha256-…` is missing; quote the whole URL in a shell, or use https:// for a \
                 server whose certificate is signed by a certificate authority"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// Returns whether `name` is `localhost`, which is resolved without the system's resolver.
pub(crate) fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
}

/// Two URLs are equal if they name the same server and pins. The token does not count.
impl PartialEq for ServerUrl {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text && self.0.pins == other.0.pins
    }
}

impl Eq for ServerUrl {}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.text)
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerUrl").field(&self.0.text).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";

    #[test]
    fn parses_urls() {
        for (text, host, port, node) in [
            ("http://boot:4400", "boot", 4400, "http://boot:4400/node"),
            ("http://boot/", "boot", 80, "http://boot/node"),
            ("https://boot/", "boot", 443, "https://boot/node"),
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
            assert_eq!(url.is_tls(), text.starts_with("https:"));
        }
    }

    #[test]
    fn parses_join_urls() {
        for (text, shown, node) in [
            (
                format!("cfgsync://boot:1/?pin={PIN}"),
                "cfgsync://boot:1",
                "https://boot:1/node",
            ),
            (
                format!("cfgsync://boot?pin={PIN}&pin={PIN}"),
                "cfgsync://boot",
                "https://boot:4400/node",
            ),
            (
                format!("cfgsync://[::1]:1/devnet/?token=a%2Bb&pin={PIN}"),
                "cfgsync://[::1]:1/devnet",
                "https://[::1]:1/devnet/node",
            ),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.route("/node").to_string(), node);
            assert_eq!(url.pins().len(), text.matches("pin=").count());
            assert_eq!(url.pins()[0].to_string(), PIN);
            let token = url.token().map(|token| token.expose_secret().to_owned());
            assert_eq!(token.as_deref(), text.contains("token").then_some("a+b"));
            assert!(!format!("{url:?}").contains("a+b"));
        }
    }

    #[test]
    fn invalid_join_url_is_rejected_without_showing_its_secrets() {
        for query in [
            "",
            "?",
            "?token=hidden",
            "?pin=hidden",
            "?pin=&token=hidden",
            "?pin=PIN&token=hidden&token=hidden",
            "?pin=PIN&token=",
            "?pin=PIN&toke=hidden",
            "?pin=PIN&hidden",
            "?token=%ff&pin=PIN",
        ] {
            let text = format!("cfgsync://boot:4400/{}", query.replace("PIN", PIN));
            let error = text.parse::<ServerUrl>().unwrap_err().to_string();
            assert!(!error.contains("hidden"), "{error}");
            assert!(
                error.starts_with("the join URL of cfgsync://boot:4400: "),
                "{error}"
            );
        }
    }

    #[test]
    fn invalid_urls_are_rejected() {
        for text in [
            "",
            "boot:4400",
            "ftp://boot",
            "http://",
            "https://",
            "cfgsync://",
            "http://boot:0",
            "http://boot:port",
            "http://boot:99999",
            "http://me:secret@boot",
            "http://boot/?x=1",
            "https://boot/?pin=x",
            "/node",
        ] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_plain_http_to_another_machine_is_unencrypted_remote() {
        for (text, expected) in [
            ("http://boot:4400", true),
            ("http://10.0.0.5:4400", true),
            ("http://[fd00::5]:4400", true),
            ("http://localhost.example", true),
            ("http://127.0.0.1:4400", false),
            ("http://127.8.9.10", false),
            ("http://[::1]:4400", false),
            ("http://[::ffff:127.0.0.1]", false),
            ("http://LOCALHOST.:4400", false),
            ("https://boot:4400", false),
            (&format!("cfgsync://boot/?pin={PIN}"), false),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!(url.is_unencrypted_remote(), expected, "{text}");
        }
    }

    #[test]
    fn token_is_put_into_a_join_url() {
        for text in [
            "cfgsync://boot/devnet/?pin=PIN",
            "cfgsync://boot/devnet?token=old&pin=PIN",
        ] {
            let url: ServerUrl = text.replace("PIN", PIN).parse().unwrap();
            let with = url.with_token(&"a+b".to_owned().into()).unwrap();
            let expected = format!("cfgsync://boot/devnet/?pin={PIN}&token=a%2Bb");
            assert_eq!(with.expose_secret(), expected);
            let read: ServerUrl = expected.parse().unwrap();
            assert_eq!(read.token().unwrap().expose_secret(), "a+b");
            let without: ServerUrl = read.without_token().parse().unwrap();
            assert!(without == read && without.token().is_none());
        }
        let url: ServerUrl = "https://boot".parse().unwrap();
        assert!(url.with_token(&"t".to_owned().into()).is_err());
    }
}
