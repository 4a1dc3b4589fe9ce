//! The TLS handshake of an accepted connection.
//!
//! The first byte of a connection tells whether the client speaks TLS, before anything is allocated for it. The
//! handshake runs in the connection's own task, within a time limit, and its buffers are released when it is over.

mod refusal;

use std::{io, sync::Arc};

use rustls::ServerConnection;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::server::TlsStream;

use super::{
    HttpConfig,
    linger::respond_and_linger,
    peer::{Peer, PeerCertificate},
    socket::StallGuard,
    tls::Tls,
};
use cfgsync_support::duration;
use cfgsync_wire::{Code, ErrorBody, TLS_REQUIRED};

/// The first byte of every TLS handshake.
const HANDSHAKE_BYTE: u8 = 0x16;

/// How much of a response a connection buffers encrypted, in bytes.
const ENCRYPTED_MAX_BYTES: usize = 64 << 10;

/// A connection over TLS. Boxed, because its state takes more than a kilobyte, and a task reserves memory for each value
/// that it moves.
pub(super) type TlsConnection = Box<TlsStream<StallGuard<TcpStream>>>;

/// How a handshake failed.
enum Failure {
    /// The client closed the connection, or it broke.
    Closed,
    /// The client's address exceeded its rate. TLS has no alert for that, so the connection is just closed.
    RateExceeded,
    /// The client does not speak TLS.
    NotTls {
        is_http: bool,
        stream: StallGuard<TcpStream>,
    },
    /// The handshake was refused by one side. An alert has told the client.
    Handshake {
        error: io::Error,
        stream: StallGuard<TcpStream>,
    },
}

impl Tls {
    /// Does the handshake with `peer`, and notes its certificate in it. `None` if the handshake failed: then the
    /// connection is closed, and the log says why.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        peer: &mut Peer,
        config: &HttpConfig,
    ) -> Option<TlsConnection> {
        let limit = config.handshake_timeout;
        match timeout(limit, self.handshake(stream, peer, config)).await {
            Ok(Ok((stream, certificate, authorities_version))) => {
                peer.certificate = certificate.map(Arc::new);
                peer.authorities_version = authorities_version;
                return Some(stream);
            }
            Ok(Err(Failure::Closed)) => {
                tracing::debug!(%peer, "closed before the TLS handshake");
            }
            Ok(Err(Failure::RateExceeded)) => {
                tracing::debug!(%peer, "too many TLS handshakes from this address");
            }
            Ok(Err(Failure::NotTls { is_http, stream })) => {
                tracing::debug!(%peer, is_http, "the client does not speak TLS");
                let response = if is_http {
                    tls_required_response()
                } else {
                    vec![]
                };
                respond_and_linger(stream, &response).await;
            }
            Ok(Err(Failure::Handshake { error, stream })) => {
                tracing::debug!(%peer, "the TLS handshake failed: {error}");
                if let Some(reason) = refusal::reason(&error) {
                    refusal::report(&config.access, peer, reason, &error);
                }
                respond_and_linger(stream, &[]).await;
            }
            Err(_) => {
                tracing::debug!(%peer, "the TLS handshake took longer than {}", duration::text(limit));
            }
        }
        None
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        peer: &Peer,
        config: &HttpConfig,
    ) -> Result<(TlsConnection, Option<PeerCertificate>, u64), Failure> {
        // The first byte is checked before anything is allocated for the connection.
        let mut first = [0];
        let peeked = stream.peek(&mut first).await;
        let stream = StallGuard::new(stream, config.write_stall_timeout);
        // A handshake costs as much as a request, so it counts as one, before any cryptography is done for it.
        let has_byte = matches!(peeked, Ok(1..));
        if has_byte && config.access.check_rate(peer.address.ip()).is_err() {
            return Err(Failure::RateExceeded);
        }
        match peeked {
            Ok(1..) if first[0] == HANDSHAKE_BYTE => {}
            Ok(1..) => {
                let is_http = first[0].is_ascii_uppercase();
                return Err(Failure::NotTls { is_http, stream });
            }
            _ => return Err(Failure::Closed),
        }
        let acceptor = self.acceptor();
        let set_limits = |session: &mut ServerConnection| {
            session.set_buffer_limit(Some(ENCRYPTED_MAX_BYTES));
        };
        let accepted = acceptor
            .tls
            .accept_with(stream, set_limits)
            .into_fallible()
            .await;
        let stream = accepted.map_err(|(error, stream)| Failure::Handshake { error, stream })?;
        let stream = Box::new(stream);
        let chain = stream.get_ref().1.peer_certificates();
        let certificate = acceptor.names(chain);
        Ok((stream, certificate, acceptor.authorities_version))
    }
}

/// Returns the response for a client that speaks plain HTTP to a TLS port.
fn tls_required_response() -> Vec<u8> {
    let message = "this port speaks TLS: use https://, or the join URL that `serve` printed";
    let body = ErrorBody::new(Code::Internal, TLS_REQUIRED, message);
    let body = serde_json::to_string(&body).expect("text");
    let length = body.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
