//! Connections to one member of etcd: TCP, TLS, HTTP/2.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Uri};

use crate::{
    Endpoint, EtcdConfig, EtcdError, EtcdErrorKind,
    observed_stream::{Observed, ObservedStream, kind_of},
};

/// The time for the TCP connection and the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The time after which a connection counts as lost if sent data are not acknowledged.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(5);

/// The interval between HTTP/2 pings. etcd closes connections that ping more often than every 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// The time for the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Returns the TLS settings of `config`.
pub(crate) fn tls(config: &EtcdConfig) -> Result<Arc<ClientConfig>, EtcdError> {
    let unusable = |error: &dyn std::fmt::Display| {
        EtcdError::new(EtcdErrorKind::NotTrusted, error.to_string())
    };
    let authorities = match &config.authorities {
        Some(path) => cfgsync_certificate::read_authorities(path).map_err(|e| unusable(&e))?,
        None => RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        },
    };
    let builder = ClientConfig::builder_with_provider(cfgsync_certificate::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .with_root_certificates(authorities);
    let mut tls = match &config.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let pair = cfgsync_certificate::read_pair(certificate, key);
            let pair = pair.map_err(|error| unusable(&error))?;
            let resolver = rustls::sign::SingleCertAndKey::from(pair);
            builder.with_client_cert_resolver(Arc::new(resolver))
        }
    };
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(tls))
}

/// Connects to `endpoint`. The connection tells later why it failed.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    tls: Arc<ClientConfig>,
) -> Result<(Channel, Observed), EtcdError> {
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, open(endpoint, tls)).await;
    let stream = stream.map_err(|_| {
        let reason = format!(
            "{endpoint}: no connection within {} s",
            CONNECT_TIMEOUT.as_secs()
        );
        EtcdError::new(EtcdErrorKind::Unreachable, reason)
    })??;
    // The channel takes the connection that is open, and never makes another one.
    let observed = Observed::default();
    let stream = ObservedStream::new(stream, observed.clone());
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.take();
        async { stream.ok_or_else(|| io::Error::other("the connection is lost")) }
    });
    let authority = Uri::from_static("http://etcd");
    Channel::builder(authority)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .connect_with_connector(connector)
        .await
        .map(|channel| (channel, observed))
        .map_err(|error| {
            let reason = format!("{endpoint} does not speak HTTP/2: {}", cause_of(&error));
            EtcdError::new(EtcdErrorKind::NotEtcd, reason)
        })
}

async fn open(endpoint: &Endpoint, tls: Arc<ClientConfig>) -> Result<Box<dyn Stream>, EtcdError> {
    let failed =
        |kind, error: &dyn std::fmt::Display| EtcdError::new(kind, format!("{endpoint}: {error}"));
    let connected = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
    let stream = connected.map_err(|error| failed(EtcdErrorKind::Unreachable, &error))?;
    // Both only improve latency and detection.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT));
    if !endpoint.is_tls {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(endpoint.host.clone())
        .map_err(|error| failed(EtcdErrorKind::NotTrusted, &error))?;
    let handshake = TlsConnector::from(tls).connect(name, stream).await;
    let stream = handshake.map_err(|error| {
        let kind = kind_of(&error);
        failed(kind, &error)
    })?;
    Ok(Box::new(stream))
}

/// Returns the innermost cause of `error`, which is the most exact one.
fn cause_of(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
