//! The token in the headers of a request.

use hyper::{HeaderMap, header::AUTHORIZATION};

use cfgsync_access::PresentedToken;

/// Returns the token in `Authorization: Bearer TOKEN`. The password of `Basic` counts as a token too, for clients that
/// support only credentials in a URL. A malformed header counts as an unknown token.
pub(super) fn presented_token(headers: &HeaderMap) -> Option<PresentedToken> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let token = token_in(value);
    Some(token.unwrap_or_else(|| PresentedToken::from_text(b"")))
}

fn token_in(authorization: &[u8]) -> Option<PresentedToken> {
    let space = authorization.iter().position(|&byte| byte == b' ')?;
    let (scheme, rest) = authorization.split_at(space);
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(PresentedToken::from_text(rest));
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let decoded = data_encoding::BASE64.decode(rest).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    Some(PresentedToken::from_text(&decoded[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn token_is_read_from_bearer_and_basic() {
        let token = |text: &str| Some(PresentedToken::from_text(text.as_bytes()));
        for (value, expected) in [
            ("Bearer abc", token("abc")),
            ("bearer   abc ", token("abc")),
            // user:abc and :a:b
            ("Basic dXNlcjphYmM=", token("abc")),
            ("basic OmE6Yg==", token("a:b")),
            ("Basic ???", token("")),
            ("Digest abc", token("")),
            ("abc", token("")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            assert_eq!(presented_token(&headers), expected, "{value}");
        }
        assert_eq!(presented_token(&HeaderMap::new()), None);
    }
}
