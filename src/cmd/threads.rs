//! Makes the runtimes of the program, with as many threads as the system grants.
//!
//! tokio panics if it can start no thread. If it can start some, the others wait for a thread for ever, and with them
//! the work that they were meant for.

use std::{
    io,
    num::NonZero,
    sync::Mutex,
    thread::{self, Builder},
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, test_kill_process},
    thread::gettid,
};
use tokio::runtime::Runtime;

/// Threads for work that blocks: reading files, writing generations, rendering, and an `exec` program.
const BLOCKING_MIN: usize = 4;
/// The server's threads outside of the runtime: the writer of the state directory, the audit log, and a render.
const OTHERS: usize = 3;
/// The fewest threads with which the server works: one serves requests.
const THREADS_MIN: usize = 1 + BLOCKING_MIN + OTHERS;
/// The fewest threads for work that blocks with which a client works.
const CLIENT_BLOCKING_MIN: usize = 1;
/// The time for which an idle thread is kept, because the system may refuse another one.
const KEEP_ALIVE: Duration = Duration::from_hours(24 * 365);
/// The time that the kernel has to remove threads that have ended.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(1);

/// The reason why there is no runtime.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ThreadsError {
    /// The process may have fewer threads than it needs.
    #[error(
        "the system grants this process {granted} more threads, and at least {needed} {} needed: {error}",
        if *.needed == 1 { "is" } else { "are" }
    )]
    TooFew {
        /// How many were started.
        granted: usize,
        /// The fewest with which the program works.
        needed: usize,
        /// Why the next one was not.
        error: io::Error,
    },
    /// Another error of the operating system.
    #[error(transparent)]
    Other(#[from] io::Error),
}

/// Returns the runtime of a client. It works on the calling thread, and keeps one more for reading files and looking up
/// names.
pub(crate) fn client_runtime() -> Result<Runtime, ThreadsError> {
    if let (granted, Some(error)) = start_at_once(CLIENT_BLOCKING_MIN) {
        return Err(ThreadsError::TooFew {
            granted,
            needed: CLIENT_BLOCKING_MIN,
            error,
        });
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(KEEP_ALIVE)
        .build()?;
    keep_blocking_threads(&runtime, CLIENT_BLOCKING_MIN);
    Ok(runtime)
}

/// Returns the runtime of the server, with one worker thread for each core, or with fewer under a limit for threads.
pub(crate) fn server_runtime() -> Result<Runtime, ThreadsError> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all();
    match start_at_once(cores + BLOCKING_MIN + OTHERS) {
        (_, None) => {}
        (granted, Some(error)) if granted < THREADS_MIN => {
            return Err(ThreadsError::TooFew {
                granted,
                needed: THREADS_MIN,
                error,
            });
        }
        (granted, Some(error)) => {
            let workers = granted - BLOCKING_MIN - OTHERS;
            tracing::warn!(
                "the system grants this process only {granted} more threads, so the server may be slow: {error}"
            );
            builder
                .worker_threads(workers)
                .thread_keep_alive(KEEP_ALIVE);
            let runtime = builder.build()?;
            keep_blocking_threads(&runtime, BLOCKING_MIN);
            return Ok(runtime);
        }
    }
    Ok(builder.build()?)
}

/// Starts up to `wanted` threads that run at the same time, and ends them. Returns how many were started, and the error
/// that the next one met.
fn start_at_once(wanted: usize) -> (usize, Option<io::Error>) {
    let gate = Mutex::new(());
    let closed = gate.lock();
    let (ids, refused) = thread::scope(|scope| {
        let mut started = vec![];
        let mut refused = None;
        while started.len() < wanted && refused.is_none() {
            let thread = Builder::new().spawn_scoped(scope, || {
                drop(gate.lock());
                gettid()
            });
            match thread {
                Ok(thread) => started.push(thread),
                Err(error) => refused = Some(error),
            }
        }
        drop(closed);
        let ids = started.into_iter().filter_map(|thread| thread.join().ok());
        (ids.collect::<Vec<Pid>>(), refused)
    });
    // A thread that has ended still counts until the kernel has removed it.
    let deadline = Instant::now() + REMOVAL_TIMEOUT;
    for id in &ids {
        while test_kill_process(*id).is_ok() && Instant::now() < deadline {
            thread::yield_now();
        }
    }
    (ids.len(), refused)
}

/// Makes the runtime start its threads for blocking work now, while the system grants them.
fn keep_blocking_threads(runtime: &Runtime, count: usize) {
    let gate = std::sync::Arc::new(Mutex::new(()));
    let closed = gate.lock();
    for _ in 0..count {
        let gate = gate.clone();
        runtime.spawn_blocking(move || drop(gate.lock()));
    }
    drop(closed);
}
