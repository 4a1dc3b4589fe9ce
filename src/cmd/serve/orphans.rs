//! Collects the exit statuses of orphans: processes whose parent has ended, and which the kernel gives to PID 1.
//!
//! A call for any child of the process would also take the status of a program that an `exec` materializer waits for.
//! Here, the call is limited to the children of the calling thread. The kernel gives orphans to the main thread, and the
//! materializers start their programs on other threads. CMD is the only child that the main thread starts. It is left
//! to the supervisor.
#![allow(
    unsafe_code,
    reason = "only the C function returns the process id and takes `__WNOTHREAD`"
)]

use std::{convert::Infallible, io, mem::MaybeUninit};

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::signal::unix::{SignalKind, signal};

/// Collects orphans until the future is dropped. `command` is the process id of CMD.
///
/// Poll it on the main thread, which must have started CMD and no other process.
pub(super) async fn collect(command: Option<Pid>) -> io::Result<Infallible> {
    let mut children = signal(SignalKind::child())?;
    loop {
        // At the end of CMD the server stops, and the orphans end with it.
        while let Some(orphan) = ended_child().filter(|ended| Some(*ended) != command) {
            tracing::debug!("collected the orphan {orphan}");
            // It has ended, so this does not block.
            if waitpid(Some(orphan), WaitOptions::NOHANG).is_err() {
                break;
            }
            // Signals are handled meanwhile, however many orphans there are.
            tokio::task::yield_now().await;
        }
        children.recv().await;
    }
}

/// Returns a child of this thread that has ended, and leaves its exit status where it is.
fn ended_child() -> Option<Pid> {
    let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WNOTHREAD;
    let mut child = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the call only fills `child`, which may also stay zeroed. The process id of a zeroed one is 0.
    let pid = unsafe {
        match libc::waitid(libc::P_ALL, 0, child.as_mut_ptr(), how) {
            0 => child.assume_init().si_pid(),
            _ => return None,
        }
    };
    Pid::from_raw(pid)
}
