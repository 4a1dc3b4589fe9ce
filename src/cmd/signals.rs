//! Signals, caught before anybody can know that there is a process to send one to.

use std::{io, os::unix::net::UnixStream};

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Catches these from now on, for as long as the process lives. To be called before a runtime is at work: its thread
/// could take note of a signal whose handler stands and that nobody listens for yet, and then it is lost. PID 1 needs
/// handlers from the start: without one, the kernel drops what is sent to it.
pub(crate) fn catch<const N: usize>(kinds: [SignalKind; N]) -> io::Result<[Signal; N]> {
    // tokio makes the handlers' pipe with its first runtime, and panics where there are no descriptors left for it.
    drop([
        UnixStream::pair()?,
        UnixStream::pair()?,
        UnixStream::pair()?,
    ]);
    // Handlers want a runtime. It is never run, so what comes stays in their pipe until another runtime reads that.
    let idle = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let _within = idle.enter();
    let mut caught = Vec::with_capacity(N);
    for kind in kinds {
        caught.push(signal(kind)?);
    }
    // A file that is as large as it may be (`ulimit -f`) is an error of the write, not the end of the process. Caught and
    // not ignored: programs that are started would inherit that.
    let _heeded_by_nobody = signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?;
    Ok(caught.try_into().expect("one for each"))
}
