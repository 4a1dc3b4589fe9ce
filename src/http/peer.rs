//! Who is at the other end of a connection.

use std::{fmt, net::SocketAddr, sync::Arc};

/// The other end of a connection, the same for all of its requests.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Where it is; a v4 address that an IPv6 socket wraps stands as what it is.
    pub(super) address: SocketAddr,
    /// What it proved to be, where client certificates are asked for: then every connection has one.
    pub(super) certificate: Option<Arc<PeerCertificate>>,
}

/// The names in a client certificate that was verified, and whose key its holder has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PeerCertificate {
    /// The DNS names among its alternative names, as they are written, wildcards too.
    pub(super) dns_names: Vec<String>,
    /// The common name of its subject.
    pub(super) common_name: Option<String>,
}

impl Peer {
    /// One that shows no certificate.
    pub(super) fn at(address: SocketAddr) -> Self {
        Self {
            address: SocketAddr::new(address.ip().to_canonical(), address.port()),
            certificate: None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match &self.certificate {
            Some(certificate) => write!(f, " ({certificate})"),
            None => Ok(()),
        }
    }
}

/// Its first name, quoted: a certificate's text is its owner's.
impl fmt::Display for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dns_names.first().or(self.common_name.as_ref()) {
            Some(name) => write!(f, "{name:?}"),
            None => f.write_str("a certificate without a name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_told_by_its_address_and_its_first_name() {
        let mut peer = Peer::at("[::ffff:10.0.0.3]:9".parse().unwrap());
        assert_eq!(peer.to_string(), "10.0.0.3:9");
        let mut certificate = PeerCertificate::default();
        for (name, told) in [
            (None, "10.0.0.3:9 (a certificate without a name)"),
            (Some("node-1\u{1b}"), "10.0.0.3:9 (\"node-1\\u{1b}\")"),
        ] {
            certificate.common_name = name.map(str::to_owned);
            peer.certificate = Some(Arc::new(certificate.clone()));
            assert_eq!(peer.to_string(), told);
        }
        certificate.dns_names.push("node-1.example".to_owned());
        peer.certificate = Some(Arc::new(certificate));
        assert_eq!(peer.to_string(), "10.0.0.3:9 (\"node-1.example\")");
    }
}
