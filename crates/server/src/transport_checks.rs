//! Checks of a request's headers that protect against intermediaries between client and server: proxies that read a
//! request differently, and browsers that send one for another site.

use hyper::{
    HeaderMap,
    header::{HOST, HeaderValue, ORIGIN, TRANSFER_ENCODING},
};

use super::rejection::Rejection;

/// Refuses a request that a proxy may have read differently (RFC 9112, sections 3.2 and 6.1): hyper uses the first
/// `Host` and the last `Transfer-Encoding`.
pub(super) fn check_framing(headers: &HeaderMap) -> Result<(), Rejection> {
    if headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(Rejection::TwoHosts);
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

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

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
            (&[("transfer-encoding", "Chunked")], true),
            (&[("transfer-encoding", "gzip, chunked")], false),
            (
                &[
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked"),
                ],
                false,
            ),
        ] {
            assert_eq!(
                check_framing(&headers(lines)).is_ok(),
                is_clear,
                "{lines:?}"
            );
        }
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
        ] {
            assert_eq!(check_origin(&headers(lines)).is_ok(), is_own, "{lines:?}");
        }
    }
}
