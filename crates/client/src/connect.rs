//! Opens connections: name look-up, timeouts, keepalive.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use cfgsync_support::duration;
use hyper::Uri;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{HttpConnector, HttpInfo, dns::Name};
use rustls::ClientConfig;
use tokio::{sync::watch, time::timeout};
use tower_service::Service;

use crate::{addresses::Addresses, early_response::EarlyResponse, server::is_localhost, tls};

/// Longest time to establish a TCP connection. The addresses of a name share it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The same if there are other servers. It allows for the loss of one packet.
const CONNECT_TIMEOUT_OF_SEVERAL: Duration = Duration::from_secs(2);
/// Longest time for the TCP and the TLS handshake together, after the name look-up.
const READY_TIMEOUT: Duration = Duration::from_secs(15);
/// The same if there are other servers.
const READY_TIMEOUT_OF_SEVERAL: Duration = Duration::from_secs(5);
/// Longest time that one attempt to connect waits for a name look-up. The look-up itself may take longer.
const LOOKUP_WAIT_MAX: Duration = Duration::from_secs(5);
/// The time for which a connection may be idle until it is probed, so that a node notices a vanished server while it waits.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(3);
/// The time from one probe to the next.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// The number of probes in a row that may remain without an acknowledgement.
const KEEPALIVE_PROBES: u32 = 3;
/// The time for which sent bytes may remain without an acknowledgement. With the probes, a vanished server is noticed
/// within this time.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(6);
/// How many of the addresses that were tried a message lists.
const LISTED_ADDRESSES_MAX: usize = 4;

/// The connector that [`connector`] builds.
pub(crate) type Connector = Bounded<HttpsConnector<HttpConnector<Resolver>>>;

/// Returns a connector over TCP to one server, whose name `lookup` resolves. URLs that begin with `https` use TLS with
/// the configuration `tls`. If there are other servers, it gives up sooner.
pub(crate) fn connector(tls: ClientConfig, lookup: NameLookup, has_others: bool) -> Connector {
    let (connect_timeout, ready_timeout) = if has_others {
        (CONNECT_TIMEOUT_OF_SEVERAL, READY_TIMEOUT_OF_SEVERAL)
    } else {
        (CONNECT_TIMEOUT, READY_TIMEOUT)
    };
    let mut connector = HttpConnector::new_with_resolver(Resolver(lookup.clone()));
    connector.set_connect_timeout(Some(connect_timeout));
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE_IDLE));
    connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    connector.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
    connector.enforce_http(false);
    Bounded {
        inner: HttpsConnector::from((connector, tls)),
        lookup,
        ready_timeout,
    }
}

/// A connector with timeouts for the whole of connecting. The inner connector bounds only TCP.
#[derive(Debug, Clone)]
pub(crate) struct Bounded<C> {
    inner: C,
    lookup: NameLookup,
    ready_timeout: Duration,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl<C> Service<Uri> for Bounded<C>
where
    C: Service<Uri, Error = Failure, Future: Send + 'static> + Clone + Send + 'static,
{
    type Response = EarlyResponse<C::Response>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let Self {
            mut inner,
            lookup,
            ready_timeout,
        } = self.clone();
        Box::pin(async move {
            let host = server.host().unwrap_or_default();
            let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
            let mut tried = vec![];
            if !is_address {
                let found = timeout(LOOKUP_WAIT_MAX, lookup.addresses(host)).await;
                let found = found.map_err(|_| {
                    LookupError(format!("the name {host} is still being looked up"))
                })?;
                tried = found.inspect_err(|_| lookup.forget())?;
            }
            let port = server.port_u16();
            let connected = timeout(ready_timeout, inner.call(server)).await;
            let connected = connected.unwrap_or_else(|_| {
                Err(format!("no connection within {}", duration::text(ready_timeout)).into())
            });
            connected
                .map(EarlyResponse::new)
                .map_err(|error| with_addresses(error, &tried, port))
        })
    }
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionPath {
    local: IpAddr,
    remote: SocketAddr,
}

impl ConnectionPath {
    pub(crate) fn of(info: &HttpInfo) -> Self {
        Self {
            // An IPv6 socket reports an IPv4 address as `::ffff:a.b.c.d`.
            local: info.local_addr().ip().to_canonical(),
            remote: info.remote_addr(),
        }
    }

    /// Returns the address of the server.
    pub(crate) fn remote_address(self) -> IpAddr {
        self.remote.ip().to_canonical()
    }

    /// Returns the local address, at which other nodes reach this one.
    ///
    /// # Errors
    /// The connection begins at a loopback address although the server is on another machine.
    pub(crate) fn node_address(self) -> Result<IpAddr, String> {
        let Self { local, remote } = self;
        if local.is_loopback() && !remote.ip().to_canonical().is_loopback() {
            return Err(format!(
                "the connection to {remote} begins at {local}, which other nodes cannot reach"
            ));
        }
        Ok(local)
    }
}

/// Adds the addresses that were tried to an error of TCP. An error of TLS stays as it is.
fn with_addresses(error: Failure, tried: &[IpAddr], port: Option<u16>) -> Failure {
    if tried.is_empty() || tls::failure(&*error).is_some() {
        return error;
    }
    let mut innermost: &dyn std::error::Error = &*error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let shown = tried.iter().take(LISTED_ADDRESSES_MAX);
    let shown = shown.map(|address| match port {
        Some(port) => SocketAddr::new(*address, port).to_string(),
        None => address.to_string(),
    });
    let mut list = shown.collect::<Vec<_>>().join(", ");
    if tried.len() > LISTED_ADDRESSES_MAX {
        let more = tried.len() - LISTED_ADDRESSES_MAX;
        list.push_str(&format!(" and {more} more"));
    }
    format!("{innermost}; tried {list}").into()
}

/// The reason why a name has no addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LookupError(String);

/// The addresses of a name, or the reason why there are none.
pub(crate) type LookupResult = Result<Vec<IpAddr>, LookupError>;

/// The name look-up for one server.
///
/// A look-up goes on when nobody waits for it any more, and its result is kept for the next connection. A slow name
/// server can therefore not prevent a connection for ever.
#[derive(Debug, Clone, Default)]
pub(crate) struct NameLookup(Arc<Mutex<LookupState>>);

#[derive(Debug, Default)]
struct LookupState {
    /// The latest look-up, until its result was used.
    latest: Option<watch::Receiver<Option<LookupResult>>>,
    addresses: Addresses,
}

impl NameLookup {
    /// Returns whether a look-up has begun and not ended yet.
    pub(crate) fn is_running(&self) -> bool {
        let lookup = self.lock();
        lookup
            .latest
            .as_ref()
            .is_some_and(|lookup| lookup.borrow().is_none())
    }

    /// Waits for the result of the latest look-up. Begins one if there is none.
    pub(crate) async fn addresses(&self, host: &str) -> LookupResult {
        let host = host.to_owned();
        self.join(move || look_up(host)).await
    }

    /// Waits for the result of the latest look-up. If there is none, `begin` gives a new one.
    async fn join<F>(&self, begin: impl FnOnce() -> F) -> LookupResult
    where
        F: Future<Output = LookupResult> + Send + 'static,
    {
        let mut lookup = {
            let mut state = self.lock();
            let running = state.latest.get_or_insert_with(|| {
                let (sender, receiver) = watch::channel(None);
                let lookup = begin();
                tokio::spawn(async move { sender.send_replace(Some(lookup.await)) });
                receiver
            });
            running.clone()
        };
        match lookup.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(found)) => found.clone(),
            _ => Err(LookupError("the name look-up was aborted".to_owned())),
        }
    }

    /// Drops the result of the latest look-up, so that the next connection begins a new one.
    pub(crate) fn forget(&self) {
        self.lock().latest = None;
    }

    /// Reads or notes the state of the addresses.
    pub(crate) fn with_addresses<T>(&self, work: impl FnOnce(&mut Addresses) -> T) -> T {
        work(&mut self.lock().addresses)
    }

    fn lock(&self) -> MutexGuard<'_, LookupState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the system's resolver, except for `localhost`: a container image without /etc/hosts cannot resolve it.
async fn look_up(host: String) -> LookupResult {
    if is_localhost(&host) {
        let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return Ok(addresses.into());
    }
    match tokio::net::lookup_host((host.as_str(), 0)).await {
        Ok(addresses) => Ok(addresses.map(|address| address.ip()).collect()),
        Err(error) => {
            let text = error.to_string();
            let reason = text.trim_start_matches("failed to lookup address information: ");
            let problem = format!("cannot look up the name {host}: {reason}");
            Err(LookupError(problem))
        }
    }
}

/// Gives the result of a [`NameLookup`] to the inner connector.
#[derive(Debug, Clone)]
pub(crate) struct Resolver(NameLookup);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let lookup = self.0.clone();
        Box::pin(async move {
            let found = lookup.addresses(name.as_str()).await;
            // The next connection may be made much later, when the addresses have changed.
            lookup.forget();
            let found: Vec<IpAddr> = found.map_err(io::Error::other)?;
            let order = lookup.with_addresses(|addresses| addresses.draw_order(&found));
            let order: Vec<SocketAddr> =
                order.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(order.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn localhost_needs_no_hosts_file() {
        let found = look_up("LOCALHOST".to_owned()).await.unwrap();
        assert_eq!(found[0], IpAddr::from(Ipv4Addr::LOCALHOST));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_lookup_is_kept_for_the_next_connection() {
        let lookup = NameLookup::default();
        let address: IpAddr = "10.0.0.5".parse().unwrap();
        let (name_server, asked) = oneshot::channel::<()>();
        let slow = move || async move {
            asked.await.unwrap();
            Ok(vec![address])
        };
        assert!(timeout(LOOKUP_WAIT_MAX, lookup.join(slow)).await.is_err());
        assert!(lookup.is_running());
        name_server.send(()).unwrap();
        let again = || async { Err(LookupError("a second look-up began".to_owned())) };
        assert_eq!(lookup.join(again).await, Ok(vec![address]));
        assert!(!lookup.is_running());
        lookup.forget();
        assert!(lookup.join(again).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn lookup_does_not_shorten_the_time_to_connect() {
        #[derive(Clone)]
        struct Slow;
        impl Service<Uri> for Slow {
            type Response = ();
            type Error = Failure;
            type Future = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;
            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
                Poll::Ready(Ok(()))
            }
            fn call(&mut self, _: Uri) -> Self::Future {
                Box::pin(async {
                    tokio::time::sleep(READY_TIMEOUT * 9 / 10).await;
                    Ok(())
                })
            }
        }
        let lookup = NameLookup::default();
        let address: IpAddr = "10.0.0.5".parse().unwrap();
        let slow = || async move {
            tokio::time::sleep(LOOKUP_WAIT_MAX * 3).await;
            Ok(vec![address])
        };
        let mut connector = Bounded {
            inner: Slow,
            lookup: lookup.clone(),
            ready_timeout: READY_TIMEOUT,
        };
        let server = Uri::from_static("http://boot.example:4400");
        let early = timeout(Duration::from_millis(1), lookup.join(slow)).await;
        assert!(early.is_err());
        for _ in 0..2 {
            let error = connector.call(server.clone()).await.unwrap_err();
            let expected = "the name boot.example is still being looked up";
            assert_eq!(error.to_string(), expected);
        }
        connector.call(server).await.unwrap();
    }

    #[test]
    fn loopback_is_no_node_address_towards_another_machine() {
        for (local, remote, expected) in [
            ("10.0.0.1", "10.0.0.5:4400", true),
            ("127.0.0.1", "127.0.0.1:4400", true),
            ("127.0.0.1", "10.0.0.5:4400", false),
            ("::1", "[fd00::5]:4400", false),
        ] {
            let path = ConnectionPath {
                local: local.parse().unwrap(),
                remote: remote.parse().unwrap(),
            };
            assert_eq!(path.node_address().is_ok(), expected, "{local} {remote}");
        }
    }

    #[test]
    fn refused_connection_names_the_addresses_that_were_tried() {
        let tried: Vec<IpAddr> = (1..=6).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        for (count, expected) in [
            (0, "connection refused"),
            (1, "connection refused; tried 10.0.0.1:4400"),
            (
                6,
                "connection refused; tried 10.0.0.1:4400, 10.0.0.2:4400, 10.0.0.3:4400, 10.0.0.4:4400 and 2 more",
            ),
        ] {
            let error = io::Error::from(io::ErrorKind::ConnectionRefused).into();
            let error = with_addresses(error, &tried[..count], Some(4400));
            assert_eq!(error.to_string(), expected);
        }
    }
}
