//! The request headers: `Prefer: wait`, `If-None-Match`, `If-Match`, `Cfgsync-Retry` and the joiner id.

use std::time::Duration;

use hyper::{
    HeaderMap,
    header::{HeaderName, IF_MATCH, IF_NONE_MATCH},
};

use cfgsync_model::{Digest, JoinerId, Revision};
use cfgsync_wire::{JOINER_HEADER, RETRY_HEADER};

pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Returns the identity of the process that registers a node. A value that is not one counts as absent.
pub(super) fn joiner_id(headers: &HeaderMap) -> Option<JoinerId> {
    JoinerId::parse(headers.get(JOINER_HEADER)?.to_str().ok()?)
}

/// Returns the newest retry that a node knows, if it has refused its payload. A value that is no revision counts as absent.
pub(super) fn known_retry(headers: &HeaderMap) -> Option<Revision> {
    let text = headers.get(RETRY_HEADER)?.to_str().ok()?;
    text.parse().ok().map(Revision)
}

/// Returns how long the client is willing to wait: the first `wait` preference, in seconds (RFC 7240). Unknown
/// preferences are ignored, as the RFC demands.
pub(super) fn prefer_wait(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| split_unquoted(value, b','))
        .find_map(wait_seconds)
        .map(Duration::from_secs)
}

/// Parses `wait=60` or `Wait = "60"; anything`.
fn wait_seconds(preference: &str) -> Option<u64> {
    let token = split_unquoted(preference, b';').next()?;
    let (name, value) = token.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("wait") {
        return None;
    }
    let value = value.trim();
    let digits = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // A number that does not fit is a very long wait, not a missing one.
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// Splits `text` at each `separator` outside of quotes.
fn split_unquoted(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |c: char| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match c {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        !quoted && c == char::from(separator)
    })
}

/// Returns the version in `If-Match`. `None` if the header is absent.
///
/// # Errors
/// Another condition is refused, because a write must not ignore it.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<u64>, WrongIfMatch> {
    if headers.contains_key(IF_NONE_MATCH) {
        return Err(WrongIfMatch);
    }
    let mut values = headers.get_all(IF_MATCH).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return if headers.contains_key(IF_MATCH) {
            Err(WrongIfMatch)
        } else {
            Ok(None)
        };
    };
    match value.to_str().map(str::trim) {
        Ok(tag) => {
            let version = opaque(tag).and_then(|version| version.parse().ok());
            version.map(Some).ok_or(WrongIfMatch)
        }
        Err(_) => Err(WrongIfMatch),
    }
}

/// `If-Match` is not the version of a value, or the request has another condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a write takes one condition, the header `If-Match` with the version of the value in quotes, such as `\"3\"`; for a \
     value that must exist or must not exist, use `writeMode`"
)]
pub(super) struct WrongIfMatch;

/// Returns the text of a weak or strong entity tag. `None` if `tag` is none.
fn opaque(tag: &str) -> Option<&str> {
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    tag.strip_prefix('"')?.strip_suffix('"')
}

/// The entity tags of `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum EntityTags {
    /// The header is absent.
    #[default]
    None,
    /// `*`, which matches every payload.
    Any,
    /// The digests in the tags. Tags that contain no digest match nothing, and are left out.
    Listed(Vec<Digest>),
}

impl EntityTags {
    /// Parses the header, weak and strong tags alike.
    pub(super) fn parse(headers: &HeaderMap) -> Self {
        let mut listed = Vec::new();
        let mut present = false;
        for value in headers.get_all(IF_NONE_MATCH) {
            present = true;
            let Ok(value) = value.to_str() else { continue };
            for tag in split_unquoted(value, b',').map(str::trim) {
                if tag == "*" {
                    return Self::Any;
                }
                let digest = opaque(tag).and_then(|opaque| opaque.parse().ok());
                listed.extend::<Option<Digest>>(digest);
            }
        }
        if present {
            Self::Listed(listed)
        } else {
            Self::None
        }
    }

    /// Returns whether `If-None-Match` has the entity tag `etag`, or `*`.
    pub(super) fn contains(headers: &HeaderMap, etag: &str) -> bool {
        let values = headers.get_all(IF_NONE_MATCH).iter();
        let values = values.filter_map(|value| value.to_str().ok());
        let mut tags = values.flat_map(|value| split_unquoted(value, b',').map(str::trim));
        tags.any(|tag| tag == "*" || opaque(tag) == Some(etag))
    }

    /// Returns whether the client has the payload with this digest already.
    pub(super) fn matches(&self, digest: Digest) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::Listed(digests) => digests.contains(&digest),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn parses_the_wait_preference() {
        for (values, seconds) in [
            (&["wait=60"][..], Some(60)),
            (&["Wait=0"], Some(0)),
            (&["respond-async, WAIT = 10"], Some(10)),
            (&["respond-async; x=\"a, wait=9\"; y, wait=\"5\""], Some(5)),
            (&["return=minimal", "handling=lenient, wait=7;why"], Some(7)),
            (&["wait=1, wait=2"], Some(1)),
            (&["wait=99999999999999999999999"], Some(u64::MAX)),
            (&["wait"], None),
            (&["wait="], None),
            (&["wait=-1"], None),
            (&["wait=+1"], None),
            (&["wait=1.5"], None),
            (&["wait=soon"], None),
            (&["waiting=5"], None),
            (&["x=\"wait=5"], None),
            (&[""], None),
            (&[], None),
        ] {
            let read = prefer_wait(&headers(&PREFER, values));
            assert_eq!(read, seconds.map(Duration::from_secs), "{values:?}");
        }
    }

    #[test]
    fn write_refuses_conditions_that_it_does_not_check() {
        let read = |name, values: &[&str]| if_match(&headers(&name, values));
        assert_eq!(read(IF_MATCH, &[]), Ok(None));
        assert_eq!(read(IF_MATCH, &["\"3\""]), Ok(Some(3)));
        for values in [&["*"][..], &["3"], &["\"3\", \"4\""], &["\"3\"", "\"4\""]] {
            assert_eq!(read(IF_MATCH, values), Err(WrongIfMatch), "{values:?}");
        }
        assert_eq!(read(IF_NONE_MATCH, &["*"]), Err(WrongIfMatch));
    }

    #[test]
    fn parses_weak_and_strong_entity_tags() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let read = |values: &[&str]| EntityTags::parse(&headers(&IF_NONE_MATCH, values));
        assert_eq!(read(&[]), EntityTags::None);
        assert_eq!(read(&["*"]), EntityTags::Any);
        assert_eq!(read(&[&format!("\"{a}\"")]), EntityTags::Listed(vec![a]));
        assert_eq!(
            read(&[&format!("\"x,y\" , W/\"{a}\""), &format!("\"{b}\"")]),
            EntityTags::Listed(vec![a, b])
        );
        // An entity tag has quotes.
        assert_eq!(read(&[&a.to_string()]), EntityTags::Listed(vec![]));
        assert!(!read(&["\"x\""]).matches(a));
        assert!(read(&["*"]).matches(a));
    }
}
