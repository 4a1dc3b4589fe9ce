//! Checks of a request's headers that protect against intermediaries between client and server: proxies that read a
//! request differently, and browsers that send one for another site.

use std::net::IpAddr;

use hyper::{
    HeaderMap, Version,
    header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, ORIGIN, TRANSFER_ENCODING},
    http::request::Parts,
};

use super::rejection::Rejection;

/// The header in which browsers say how the page that sends a request is related to this server.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a request that a proxy may have read differently (RFC 9112, sections 3.2 and 6.1): hyper uses the first
/// `Host` and `Authorization`, and the last `Transfer-Encoding`.
pub(super) fn check_framing(head: &Parts) -> Result<(), Rejection> {
    let headers = &head.headers;
    let is_repeated = |name| headers.get_all(name).iter().nth(1).is_some();
    if is_repeated(HOST) {
        return Err(Rejection::TwoHosts);
    }
    if head.version == Version::HTTP_11 && !headers.contains_key(HOST) {
        return Err(Rejection::NoHost);
    }
    if is_repeated(AUTHORIZATION) {
        return Err(Rejection::TwoAuthorizations);
    }
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(Rejection::Encoding),
    }
}

/// Refuses a request that a browser sends for a page of another origin. The page's author may not be allowed to reach
/// this server, although the browser's user is. Browsers send `Origin` with every request that could change something;
/// other clients do not send it.
pub(super) fn check_origin(headers: &HeaderMap) -> Result<(), Rejection> {
    // `none` means that the user entered the address.
    let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return Err(Rejection::OtherOrigin);
    }
    let Some(origin) = headers.get(ORIGIN).map(HeaderValue::as_bytes) else {
        return Ok(());
    };
    let authority = origin.strip_prefix(b"http://");
    let authority = authority.or_else(|| origin.strip_prefix(b"https://"));
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    match (authority, host) {
        (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(Rejection::OtherOrigin),
    }
}

/// Refuses a request for a host name that may be another site's (DNS rebinding): the author of a page can let the name
/// of the page's own site lead to this server, and the browser then treats both as one site. Accepts IP addresses,
/// `localhost`, names without a dot, which no site in the public DNS has, and the names in `hosts`.
pub(super) fn check_host(headers: &HeaderMap, hosts: &[String]) -> Result<(), Rejection> {
    let Some(value) = headers.get(HOST) else {
        // Only a client of HTTP/1.0 sends none. Browsers do not speak it.
        return Ok(());
    };
    let host = String::from_utf8_lossy(value.as_bytes());
    let name = host_name(&host);
    let is_address = name.parse::<IpAddr>().is_ok();
    let is_local = !name.contains('.') || ends_with_ignoring_case(name, ".localhost");
    let is_given = hosts.iter().any(|given| given.eq_ignore_ascii_case(name));
    if is_address || is_local || is_given {
        return Ok(());
    }
    Err(Rejection::OtherHost(name.to_owned()))
}

/// Returns the host of a `Host` header without its port, brackets and final dot.
fn host_name(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.strip_suffix('.').unwrap_or(name)
}

fn ends_with_ignoring_case(text: &str, end: &str) -> bool {
    let start = text.len().checked_sub(end.len());
    let tail = start.and_then(|start| text.get(start..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for (lines, is_clear) in [
            (&[("host", "x")][..], true),
            (&[("host", "x"), ("host", "x")], false),
            (&[], false),
            (&[("host", "x"), ("authorization", "a")], true),
            (
                &[
                    ("host", "x"),
                    ("authorization", "a"),
                    ("authorization", "a"),
                ],
                false,
            ),
            (&[("host", "x"), ("transfer-encoding", "Chunked")], true),
            (
                &[("host", "x"), ("transfer-encoding", "gzip, chunked")],
                false,
            ),
            (
                &[
                    ("host", "x"),
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked"),
                ],
                false,
            ),
        ] {
            let (mut head, ()) = hyper::Request::new(()).into_parts();
            head.headers = headers(lines);
            assert_eq!(check_framing(&head).is_ok(), is_clear, "{lines:?}");
        }
        let (mut old, ()) = hyper::Request::new(()).into_parts();
        old.version = Version::HTTP_10;
        assert!(check_framing(&old).is_ok(), "HTTP/1.0 needs no host");
    }

    #[test]
    fn only_own_host_names_are_answered() {
        let hosts = ["config.example".to_owned()];
        for (host, is_own) in [
            ("127.0.0.1:4400", true),
            ("[::1]:4400", true),
            ("[::1]", true),
            ("localhost:4400", true),
            ("a.localhost", true),
            ("cfgsync", true),
            ("cfgsync:4400", true),
            ("Config.Example.:4400", true),
            ("evil.example", false),
            ("config.example.evil", false),
            ("localhost.evil", false),
            ("127.0.0.1.evil", false),
        ] {
            let headers = headers(&[("host", host)]);
            assert_eq!(check_host(&headers, &hosts).is_ok(), is_own, "{host}");
        }
        assert!(check_host(&headers(&[]), &hosts).is_ok());
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        for (lines, is_own) in [
            (&[("host", "a:1")][..], true),
            (&[("host", "a:1"), ("origin", "http://A:1")], true),
            (&[("host", "a:1"), ("origin", "https://a:1")], true),
            (&[("host", "a:1"), ("origin", "http://a:2")], false),
            (&[("host", "a:1"), ("origin", "null")], false),
            (&[("origin", "http://a:1")], false),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
        ] {
            assert_eq!(check_origin(&headers(lines)).is_ok(), is_own, "{lines:?}");
        }
    }
}
