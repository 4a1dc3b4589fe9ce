//! The credentials that a client presents to prove its identity. Secrets arrive as text and are hashed here.

use cfgsync_model::Digest;

/// Shorter node keys could be guessed, so they count as none. In bytes.
const NODE_KEY_MIN_BYTES: usize = 16;

/// The credentials of one request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The token, if one was presented. An unknown token is an error even if a valid certificate stands beside it.
    pub token: Option<&'a PresentedToken>,
    /// The text of the node's own key, if one was presented.
    pub node_key: Option<&'a [u8]>,
    /// The names in the verified client certificate; `None` if the connection has no certificate.
    pub certificate: Option<CertificateNames<'a>>,
}

/// A token as a client presented it. Keeps the hash alone, so that the text is hashed once for each request and
/// cannot end up in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresentedToken(Digest);

impl PresentedToken {
    /// Reads the token's text, which may be anything.
    pub fn from_text(text: &[u8]) -> Self {
        Self(Digest::of(text))
    }

    /// The hash under which the server may know the token.
    pub(super) fn hash(&self) -> &Digest {
        &self.0
    }
}

impl Credentials<'_> {
    /// The hash of the node's own key; `None` if there is no key or it is too short to be one.
    pub(super) fn node_key_hash(&self) -> Option<Digest> {
        let text = self.node_key?;
        (text.len() >= NODE_KEY_MIN_BYTES).then(|| Digest::of(text))
    }
}

/// The names in a verified client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateNames<'a> {
    /// The DNS names among its subject alternative names.
    pub alternative: &'a [String],
    /// The common name of its subject.
    pub common: Option<&'a str>,
}

impl<'a> CertificateNames<'a> {
    /// All names: the alternative ones first, then the common name.
    pub fn all(self) -> impl Iterator<Item = &'a str> {
        let alternative = self.alternative.iter().map(String::as_str);
        alternative.chain(self.common)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_node_keys_count_as_none() {
        for (text, is_key) in [
            (&b"0123456789abcde"[..], false),
            (b"0123456789abcdef", true),
        ] {
            let credentials = Credentials {
                node_key: Some(text),
                ..Credentials::default()
            };
            let expected = is_key.then(|| Digest::of(text));
            assert_eq!(credentials.node_key_hash(), expected);
        }
    }
}
