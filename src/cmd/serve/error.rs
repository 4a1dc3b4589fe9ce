//! The reasons why `serve` ends.

use std::{io, net::SocketAddr, path::PathBuf};

use cfgsync::app::ServerError;

use super::tls::TlsSetupError;
use crate::cmd::threads::ThreadsError;

/// The reason why the server did not start, or did not continue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// Other machines could use the server without authentication, and no flag permits it.
    #[error(
        "refusing to listen on {0} without authentication, because other machines can reach it"
    )]
    Exposed(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's error.
        error: io::Error,
    },
    /// A socket of the service manager cannot be used.
    #[error("cannot listen on a socket of the service manager: {0}")]
    Inherited(io::Error),
    /// The port file cannot be written, or that of an earlier server cannot be removed.
    #[error("cannot write the port file {}: {error}", path.display())]
    PortFile {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// The file of the flight record cannot be written.
    #[error("cannot write the flight record to {}: {error}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// The process cannot have signal handlers.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// The process cannot have enough threads.
    #[error("cannot start: {0}")]
    Threads(ThreadsError),
    /// The server did not start, or could not continue.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The end of CMD cannot be waited for.
    #[error("cannot wait for the command: {0}")]
    Child(io::Error),
}
