//! The client at the other end of a connection.

use std::{fmt, net::SocketAddr, sync::Arc};

use super::peer_liveness::PeerLiveness;
pub(super) use cfgsync_certificate::PeerCertificate;

/// The other end of a connection. It is the same for all requests of the connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Its address. An IPv4 address that an IPv6 socket maps is written as IPv4.
    pub(super) address: SocketAddr,
    /// Its verified certificate. Every connection has one if the server verifies client certificates.
    pub(super) certificate: Option<Arc<PeerCertificate>>,
    /// The current activity of the connection.
    pub(super) liveness: Arc<PeerLiveness>,
    /// How often the trusted authorities had changed when the certificate was verified.
    pub(super) authorities_version: u64,
}

impl Peer {
    /// Creates a client without a certificate.
    pub(super) fn at(address: SocketAddr) -> Self {
        Self {
            address: SocketAddr::new(address.ip().to_canonical(), address.port()),
            certificate: None,
            liveness: Arc::default(),
            authorities_version: 0,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_address_and_first_certificate_name() {
        let mut peer = Peer::at("[::ffff:10.0.0.3]:9".parse().unwrap());
        assert_eq!(peer.to_string(), "10.0.0.3:9");
        let mut certificate = PeerCertificate::default();
        for (name, shown) in [
            (None, "10.0.0.3:9 (a certificate without a name)"),
            (Some("node-1\u{1b}"), "10.0.0.3:9 (\"node-1\\u{1b}\")"),
        ] {
            certificate.common_name = name.map(str::to_owned);
            peer.certificate = Some(Arc::new(certificate.clone()));
            assert_eq!(peer.to_string(), shown);
        }
        certificate.dns_names.push("node-1.example".to_owned());
        peer.certificate = Some(Arc::new(certificate));
        assert_eq!(peer.to_string(), "10.0.0.3:9 (\"node-1.example\")");
    }
}
