//! The reason why a call failed, and how the body of an error response is read.

use hyper::StatusCode;

use super::response::ResponseMeta;
use crate::{
    FailureKind, HandshakeError, ServerUrl, UnreachableCause,
    sanitize::{sanitize, sanitize_json},
};
use cfgsync_certificate::CertificateError;
use cfgsync_wire::{Code, ErrorBody};

/// The error for a token or key that cannot be sent in an HTTP header. The message does not show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token or key must be one line of visible ASCII characters")]
pub struct InvalidSecret;

/// The reason why a [`Client`](crate::Client) cannot be configured as requested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// TLS options for a server that is reached over plain HTTP, where they have no effect.
    #[error(
        "{0} uses plain HTTP, where pins, certificate authorities and client certificates have no effect"
    )]
    Plain(ServerUrl),
    /// A certificate or key file cannot be used.
    #[error(transparent)]
    File(#[from] CertificateError),
    /// The token of a join URL cannot be sent.
    #[error("cannot use the token of the join URL for {0}: {1}")]
    Token(ServerUrl, InvalidSecret),
}

/// The reason why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No server could be reached, or there was no response in time.
    #[error("{server} is not reachable: {problem}")]
    Unreachable {
        /// The server that was tried last.
        server: ServerUrl,
        /// The error of the connection, such as `connection refused`.
        problem: String,
        /// The step that failed.
        cause: UnreachableCause,
    },
    /// The connection was established, and it ended before the response was complete.
    #[error("the connection to {server} broke: {problem}")]
    Broken {
        /// The server at the other end.
        server: ServerUrl,
        /// How the connection ended.
        problem: String,
    },
    /// The server responded with an error status.
    #[error("{} answered {}", meta.server, describe(*status, &body.message))]
    Refused {
        /// The status, outside 200–299.
        status: StatusCode,
        /// The reason. Made up from the status if the body is not an error of this protocol.
        body: Box<ErrorBody>,
        /// The headers of the response, which name the server.
        meta: Box<ResponseMeta>,
    },
    /// The server responded with success, but the body violates the protocol or does not match its checksums.
    #[error("cannot use the response of {server}: {problem}")]
    Unusable {
        /// The server whose response violates the protocol.
        server: ServerUrl,
        /// The fault in the body.
        problem: String,
    },
    /// The TLS handshake failed: this node does not trust the server, or the server does not trust this node.
    #[error("{server} {reason}")]
    Untrusted {
        /// The server with which the handshake failed.
        server: ServerUrl,
        /// The reason why the handshake failed.
        reason: HandshakeError,
    },
}

impl CallError {
    /// Returns whether a server, or a proxy in front of it, has said that it cannot serve requests at the moment.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if is_unavailable(*status))
    }

    /// Returns the kind of this failure.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => FailureKind::Unreachable,
            Self::Unusable { .. } => FailureKind::UnusableResponse,
            Self::Untrusted { .. } => FailureKind::NotAllowed,
            Self::Refused { status, body, .. } => match (body.code, status.as_u16()) {
                _ if body.failure.is_some() => FailureKind::ClusterFailed,
                (Code::NotReady, _) => FailureKind::NotReady,
                // A server or proxy that is overloaded has not decided anything about the request.
                (_, 408 | 425 | 429) => FailureKind::Unreachable,
                (Code::MissingConfig, _) | (_, 400..500) => FailureKind::NotAllowed,
                _ => FailureKind::ServerError,
            },
        }
    }
}

/// Returns whether a server, or a proxy in front of it, cannot serve requests at the moment.
pub(super) fn is_unavailable(status: StatusCode) -> bool {
    [
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ]
    .contains(&status)
}

/// Returns the status and `message`. Adds no status to a message that begins with it.
fn describe(status: StatusCode, message: &str) -> String {
    let status = status.to_string();
    if message.starts_with(&status) {
        message.to_owned()
    } else {
        format!("{status}: {message}")
    }
}

/// Reads the body of an error response and sanitizes its texts. Any body gives an error, if only by its status.
pub(super) fn error_body(status: StatusCode, body: &[u8]) -> ErrorBody {
    let mut json = serde_json::from_slice(body).unwrap_or(serde_json::Value::Null);
    sanitize_json(&mut json);
    let message = json["message"].as_str().map(str::to_owned);
    // The errors about values have the form of an existing service, with the reason in capital letters.
    let reason = json["details"][0]["reason"].as_str();
    let reason = reason.map(str::to_ascii_lowercase);
    let read = serde_json::from_value(json);
    read.unwrap_or_else(|_| {
        let code = match status {
            StatusCode::TOO_EARLY => Code::NotReady,
            StatusCode::NOT_FOUND => Code::MissingConfig,
            _ => Code::Internal,
        };
        // The body of a newer server may not parse here. Its message still says why.
        let message = message.or_else(|| text_of(body)).unwrap_or_else(|| {
            format!(
                "{status}, without a message of cfgsync; check that the URL is that of a cfgsync server"
            )
        });
        ErrorBody {
            reason,
            ..ErrorBody::new(code, "", message)
        }
    })
}

/// Returns a body that is plain text in one line, as servers of the existing protocol and proxies send it. JSON and web
/// pages are no text for a message.
fn text_of(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_other = words.is_empty() || text.trim_start().starts_with(['<', '{', '[']);
    (!is_other).then(|| sanitize(&words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_survives_in_an_error_body_with_unknown_fields() {
        let status = StatusCode::GONE;
        let body = br#"{"code":"internal","message":"the cluster failed: quota",
            "failure":{"kind":"quota","reason":"quota","at":"2026-01-01T00:00:00Z"}}"#;
        let message = error_body(status, body).message;
        assert_eq!(message, "the cluster failed: quota");
        assert_eq!(
            describe(status, &message),
            "410 Gone: the cluster failed: quota"
        );
        let text = b"Failed to deserialize the JSON body:\n missing field `ip`\x1b[0m\n";
        let message = error_body(status, text).message;
        let expected =
            "410 Gone: Failed to deserialize the JSON body: missing field `ip`\\u{1b}[0m";
        assert_eq!(describe(status, &message), expected);
        let body = br#"{"code":5,"message":"a has no value","details":[{"reason":"NOT_FOUND"}]}"#;
        let body = error_body(StatusCode::NOT_FOUND, body);
        assert_eq!(body.message, "a has no value");
        assert_eq!(body.reason.as_deref(), Some("not_found"));
        for body in [&b"<html>"[..], b"", b"{}", b"[]", br#"{"message":7}"#] {
            let message = error_body(status, body).message;
            let expected = "410 Gone, without a message of cfgsync; check that the URL is that of a cfgsync server";
            assert_eq!(message, expected);
            assert_eq!(describe(status, &message), expected);
        }
    }
}
