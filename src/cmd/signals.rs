//! Installs signal handlers before a runtime starts.

use std::{io, os::unix::net::UnixStream};

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Handles these signals from now on, until the process exits.
///
/// Call it before a runtime runs. Otherwise a thread of the runtime could take a signal that has a handler but no
/// receiver yet, and the signal would be lost. PID 1 also needs its handlers early, because the kernel drops signals to
/// PID 1 without a handler.
pub(crate) fn catch<const N: usize>(kinds: [SignalKind; N]) -> io::Result<[Signal; N]> {
    let caught = catch_all(&kinds)?;
    Ok(caught.try_into().expect("one receiver for each kind"))
}

/// Does what [`catch`] does, for any number of signals.
pub(crate) fn catch_all(kinds: &[SignalKind]) -> io::Result<Vec<Signal>> {
    // tokio creates the pipe for its handlers with the first runtime, and panics if there are no descriptors left.
    // This returns an error instead.
    drop([
        UnixStream::pair()?,
        UnixStream::pair()?,
        UnixStream::pair()?,
    ]);
    // Handlers need a runtime. This one never runs, so signals stay in the pipe until another runtime reads them.
    let idle = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let _within = idle.enter();
    let caught = kinds.iter().map(|kind| signal(*kind));
    let caught = caught.collect::<io::Result<_>>()?;
    // With this handler, a file at its size limit (`ulimit -f`) is a write error and does not kill the process. The
    // signal is not ignored instead, because CMD would inherit that.
    let _unused = signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?;
    Ok(caught)
}
