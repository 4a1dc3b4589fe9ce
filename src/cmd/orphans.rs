//! Collects the exit statuses of orphans: processes whose parent has ended, and which the kernel gives to PID 1.
//!
//! A call for any child of the process would also take the status of a program that an `exec` materializer waits for.
//! Here, the call is limited to the children of the calling thread. The kernel gives orphans to the main thread, and the
//! materializers start their programs on other threads. The main thread notes the children that it starts itself, and
//! leaves them to their supervisors.
#![allow(
    unsafe_code,
    reason = "only the C function returns the process id and takes `__WNOTHREAD`"
)]

use std::{cell::RefCell, convert::Infallible, io, mem::MaybeUninit};

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};

/// The children that the main thread has started, and whose exit statuses belong to their supervisors.
#[derive(Debug, Default)]
pub(crate) struct OwnChildren {
    ids: RefCell<Vec<Pid>>,
    forgotten: Notify,
}

impl OwnChildren {
    /// Notes a child that was just started.
    pub(crate) fn note(&self, child: Option<Pid>) {
        self.ids.borrow_mut().extend(child);
    }

    /// Forgets a child whose exit status was collected.
    pub(crate) fn forget(&self, child: Option<Pid>) {
        self.ids.borrow_mut().retain(|id| Some(*id) != child);
        self.forgotten.notify_one();
    }

    fn has(&self, child: Pid) -> bool {
        self.ids.borrow().contains(&child)
    }
}

/// Collects orphans until the future is dropped. `own` has all processes that the main thread has started.
///
/// Poll it on the main thread.
pub(crate) async fn collect(own: &OwnChildren) -> io::Result<Infallible> {
    let mut children = signal(SignalKind::child())?;
    loop {
        // An own child that has ended hides the orphans until its supervisor has collected it.
        while let Some(orphan) = ended_child().filter(|ended| !own.has(*ended)) {
            tracing::debug!("collected the orphan {orphan}");
            // It has ended, so this does not block.
            if waitpid(Some(orphan), WaitOptions::NOHANG).is_err() {
                break;
            }
            // Signals are handled meanwhile, however many orphans there are.
            tokio::task::yield_now().await;
        }
        tokio::select! {
            _ = children.recv() => {}
            () = own.forgotten.notified() => {}
        }
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
