//! Opens connections: name resolution, timeouts, keepalive. Also finds the local address that reaches a server.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use cfgsync_support::duration;
use hyper::Uri;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{
    HttpConnector,
    dns::{GaiResolver, Name},
};
use rustls::ClientConfig;
use tokio::time::timeout;
use tower_service::Service;

use crate::server::{ServerUrl, is_localhost};

/// Longest time to establish a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for name resolution, TCP and TLS handshake together.
const READY_TIMEOUT: Duration = Duration::from_secs(15);
/// How often an idle connection is probed, so that a node notices a vanished server while it waits.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The connector that [`connector`] builds.
pub(crate) type Connector = Bounded<HttpsConnector<HttpConnector<Resolver>>>;

/// Returns a connector over TCP. URLs that begin with `https` use TLS with the configuration `tls`.
pub(crate) fn connector(tls: ClientConfig) -> Connector {
    let mut connector = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE_INTERVAL));
    connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    connector.set_keepalive_retries(Some(3));
    connector.enforce_http(false);
    Bounded(HttpsConnector::from((connector, tls)))
}

/// A connector with a timeout for the whole of connecting. The inner connector bounds only TCP.
#[derive(Debug, Clone)]
pub(crate) struct Bounded<C>(C);

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl<C> Service<Uri> for Bounded<C>
where
    C: Service<Uri, Error = Failure, Future: Send + 'static>,
{
    type Response = C::Response;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connecting = self.0.call(address);
        Box::pin(async move {
            let connected = timeout(READY_TIMEOUT, connecting).await;
            connected.unwrap_or_else(|_| {
                Err(format!("no connection within {}", duration::text(READY_TIMEOUT)).into())
            })
        })
    }
}

/// The system's resolver, except for `localhost`: a container image without /etc/hosts cannot resolve it.
#[derive(Debug, Clone)]
pub(crate) struct Resolver(GaiResolver);

/// The addresses that a name resolves to.
pub(crate) type Addresses = std::vec::IntoIter<SocketAddr>;

impl Service<Name> for Resolver {
    type Response = Addresses;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Addresses>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if let Some(addresses) = localhost(name.as_str(), 0) {
            return Box::pin(std::future::ready(Ok(Vec::from(addresses).into_iter())));
        }
        let found = self.0.call(name);
        Box::pin(async move { Ok(found.await?.collect::<Vec<_>>().into_iter()) })
    }
}

fn localhost(name: &str, port: u16) -> Option<[SocketAddr; 2]> {
    is_localhost(name).then(|| {
        [
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
        ]
    })
}

/// Returns the local address from which the routing table would send packets to `server`. Sends nothing.
///
/// # Errors
/// The name does not resolve, there is no route to it, or the route starts at a loopback address although the
/// server is on another machine.
pub(crate) async fn local_address(server: &ServerUrl) -> io::Result<IpAddr> {
    let (host, port) = (server.host(), server.port());
    let addresses: Vec<SocketAddr> = match localhost(host, port) {
        Some(addresses) => addresses.to_vec(),
        None => tokio::net::lookup_host((host, port)).await?.collect(),
    };
    let mut problem = io::Error::other(format!("{host} has no address"));
    for remote in addresses {
        match local_address_towards(remote) {
            Ok(local) if local.is_loopback() && !remote.ip().is_loopback() => {
                problem = io::Error::other(format!(
                    "the route to {remote} starts at {local}, which other nodes cannot reach"
                ));
            }
            Ok(local) => return Ok(local),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

fn local_address_towards(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect(remote)?;
    // An IPv6 socket reports an IPv4 address as `::ffff:a.b.c.d`.
    Ok(socket.local_addr()?.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_needs_no_hosts_file() {
        let mut resolver = connector_resolver();
        let name: Name = "LOCALHOST".parse().unwrap();
        let found: Vec<_> = resolver.call(name).await.unwrap().collect();
        assert_eq!(found[0].ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
    }

    #[tokio::test]
    async fn local_server_is_reached_from_loopback() {
        let server = "http://localhost:4400".parse().unwrap();
        let local = local_address(&server).await.unwrap();
        assert_eq!(local, IpAddr::from(Ipv4Addr::LOCALHOST));
    }

    fn connector_resolver() -> Resolver {
        Resolver(GaiResolver::new())
    }
}
