//! Responses that hyper does not send for us, to requests that never reach a handler. Such a request is not HTTP/1.1,
//! has a head that is too long or incomplete, or exceeds its connection quota.

use super::{HttpConfig, rejection::Rejection, state::ServerState};
use cfgsync_wire::{CLUSTER_HEADER, INSTANCE_HEADER};

/// The longest path that hyper accepts, in bytes.
const PATH_MAX_BYTES: usize = u16::MAX as usize - 1;

/// Returns the rejection that explains why hyper ended a connection with `error`. Returns `None` if the client was not
/// in the middle of a request and gets no response. `unparsed` is what hyper has read and not parsed.
pub(super) fn rejection_of(
    error: &hyper::Error,
    unparsed: &[u8],
    config: &HttpConfig,
) -> Option<Rejection> {
    if error.is_parse_too_large() {
        if path_length(unparsed) > PATH_MAX_BYTES {
            return Some(Rejection::LongPath);
        }
        return Some(Rejection::LongHead);
    }
    // The preface of HTTP/2 is a parse error as well.
    if error.is_parse() {
        return Some(Rejection::NotHttp);
    }
    // Line ends before a head are ignored (RFC 9112, section 2.2), so they do not begin a request.
    if unparsed.trim_ascii_start().is_empty() {
        return None;
    }
    if error.is_timeout() {
        let limit = config.header_timeout;
        return Some(Rejection::SlowHead { limit });
    }
    error.is_incomplete_message().then_some(Rejection::NotHttp)
}

/// Returns the length of the path in a request's first line, of which the end may be missing.
fn path_length(head: &[u8]) -> usize {
    let line = head.split(|&byte| byte == b'\r' || byte == b'\n').next();
    let path = line.and_then(|line| line.split(|&byte| byte == b' ').nth(1));
    path.map_or(0, <[u8]>::len)
}

/// Counts `rejection` and returns it as the bytes of a whole response, after which the connection is closed.
pub(super) fn raw_response(rejection: &Rejection, server: &ServerState) -> Vec<u8> {
    let metrics = server.coordinator.metrics();
    metrics.count_refusal(rejection.reason());
    let (reply, body) = (rejection.reply(), rejection.to_json());
    let mut response = format!(
        "HTTP/1.1 {}\r\ncontent-length: {}\r\n",
        reply.status(),
        body.len()
    )
    .into_bytes();
    let own = [
        (INSTANCE_HEADER, &server.instance),
        (CLUSTER_HEADER, &server.cluster),
    ];
    let headers = reply.headers().iter();
    for (name, value) in headers
        .map(|(name, value)| (name.as_str(), value))
        .chain(own)
    {
        let line = [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"];
        response.extend(line.concat());
    }
    response.extend(b"\r\n");
    response.extend(body);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_measured_even_if_its_line_has_no_end() {
        for (head, length) in [
            ("GET /livez HTTP/1.1\r\nx: y", 6),
            ("GET /liv", 4),
            ("GET /x\r\n\r\n", 2),
            ("GET", 0),
            ("", 0),
        ] {
            assert_eq!(path_length(head.as_bytes()), length, "{head:?}");
        }
    }
}
