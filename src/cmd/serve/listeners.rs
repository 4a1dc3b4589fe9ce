//! Opens the listeners: on the addresses of `--listen`, or on sockets that a service manager passes.

use std::net::SocketAddr;

use cfgsync_server::{adopt, listen};
use listenfd::ListenFd;
use tokio::net::TcpListener;

use super::ServeError;

/// Listens on `wanted`, or on the sockets that a service manager passed, if there are any.
pub(super) fn open(
    wanted: &[SocketAddr],
    may_be_exposed: bool,
) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), ServeError> {
    let listeners = match inherited()? {
        sockets if sockets.is_empty() => bind(wanted)?,
        sockets => sockets,
    };
    let addresses = listeners.iter().map(TcpListener::local_addr);
    let addresses: Vec<SocketAddr> = addresses
        .collect::<Result<_, _>>()
        .map_err(ServeError::Inherited)?;
    refuse_exposure(&addresses, may_be_exposed)?;
    Ok((listeners, addresses))
}

/// Refuses an address that other machines can reach, unless the server authenticates clients or the flags permit it.
pub(super) fn refuse_exposure(
    addresses: &[SocketAddr],
    may_be_exposed: bool,
) -> Result<(), ServeError> {
    if may_be_exposed {
        return Ok(());
    }
    let exposed = addresses
        .iter()
        .find(|address| !cfgsync_server::is_loopback_only(&[**address]));
    exposed.map_or(Ok(()), |address| Err(ServeError::Exposed(*address)))
}

fn bind(wanted: &[SocketAddr]) -> Result<Vec<TcpListener>, ServeError> {
    let bind = |&address| listen(address).map_err(|error| ServeError::Listen { address, error });
    wanted.iter().map(bind).collect()
}

/// Returns the sockets of `$LISTEN_FDS`.
fn inherited() -> Result<Vec<TcpListener>, ServeError> {
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for at in 0..passed.len() {
        let socket = passed
            .take_tcp_listener(at)
            .map_err(ServeError::Inherited)?;
        let listener = socket.map(adopt).transpose();
        listeners.extend(listener.map_err(ServeError::Inherited)?);
    }
    if !listeners.is_empty() {
        tracing::info!("listening on the sockets of the service manager, not on --listen");
    }
    Ok(listeners)
}
