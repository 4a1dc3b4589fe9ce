//! The signals that were ignored when the process started: SIGPIPE under systemd, SIGHUP under nohup. CMD ignores them
//! as well, as it would without cfgsync.
#![allow(
    unsafe_code,
    reason = "only C functions read and set the disposition of a signal"
)]

use std::{
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

/// The highest number of a signal.
const SIGNAL_MAX: i32 = 64;

/// One bit for each signal that was ignored.
static IGNORED: AtomicU64 = AtomicU64::new(0);

/// Runs before `main`. Rust's runtime ignores SIGPIPE before it calls `main`, so a later look would come too late.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
static BEFORE_MAIN: extern "C" fn() = record;

extern "C" fn record() {
    let ignored = (1..=SIGNAL_MAX).filter(|signal| {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: without a new action, the call only fills `action`, which may also stay zeroed.
        unsafe {
            libc::sigaction(*signal, ptr::null(), action.as_mut_ptr()) == 0
                && action.assume_init().sa_sigaction == libc::SIG_IGN
        }
    });
    IGNORED.store(ignored.map(bit).sum(), Ordering::Relaxed);
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Whether this signal was ignored when the process started.
pub(crate) fn was_ignored(signal: i32) -> bool {
    IGNORED.load(Ordering::Relaxed) & bit(signal) != 0
}

/// Ignores these signals again. It is safe to call between a fork and an exec.
pub(crate) fn ignore_again() {
    for signal in (1..=SIGNAL_MAX).filter(|signal| was_ignored(*signal)) {
        // SAFETY: SIG_IGN runs no code of this process.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
