//! Who is at the other end of a connection.

use std::{fmt, net::SocketAddr, sync::Arc};

use super::line::Line;
pub(super) use cfgsync_certificate::PeerCertificate;

/// The other end of a connection, the same for all of its requests.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Where it is; a v4 address that an IPv6 socket wraps stands as what it is.
    pub(super) address: SocketAddr,
    /// What it proved to be, where client certificates are asked for: then every connection has one.
    pub(super) certificate: Option<Arc<PeerCertificate>>,
    /// Whether it is still there.
    pub(super) line: Arc<Line>,
    /// By which authorities that was judged: how often they had changed by then.
    pub(super) authorities: u64,
}

impl Peer {
    /// One that shows no certificate.
    pub(super) fn at(address: SocketAddr) -> Self {
        Self {
            address: SocketAddr::new(address.ip().to_canonical(), address.port()),
            certificate: None,
            line: Arc::default(),
            authorities: 0,
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
