//! Makes a runtime with as many threads as the system grants.
//!
//! tokio panics if it can start no thread. If it can start some, the others wait for a thread for ever, and with them
//! the work that they were meant for.

use std::{
    io,
    num::NonZero,
    sync::Mutex,
    thread::{self, Builder},
    time::Duration,
};

use tokio::runtime::Runtime;

/// Threads for work that blocks: reading files, writing generations, rendering, and an `exec` program.
const BLOCKING_MIN: usize = 4;
/// The server's threads outside of the runtime: the writer of the state directory, the audit log, and a render.
const OTHERS: usize = 3;
/// The fewest threads with which the server works: one serves requests.
const THREADS_MIN: usize = 1 + BLOCKING_MIN + OTHERS;
/// How long an idle thread is kept if the system grants too few. It might not grant the thread another time.
const KEEP_ALIVE: Duration = Duration::from_hours(24 * 365);

/// The reason why there is no runtime.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ThreadsError {
    /// The process may have fewer threads than it needs.
    #[error(
        "the system grants this process {granted} more threads, and the server needs {THREADS_MIN}: {error}"
    )]
    TooFew {
        /// How many were started.
        granted: usize,
        /// Why the next one was not.
        error: io::Error,
    },
    /// Another error of the operating system.
    #[error(transparent)]
    Other(#[from] io::Error),
}

/// Returns a runtime with one worker thread for each core, or with fewer under a limit for threads.
pub(crate) fn runtime() -> Result<Runtime, ThreadsError> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all();
    match start_at_once(cores + BLOCKING_MIN + OTHERS) {
        (_, None) => {}
        (granted, Some(error)) if granted < THREADS_MIN => {
            return Err(ThreadsError::TooFew { granted, error });
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
            keep_blocking_threads(&runtime);
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
    thread::scope(|scope| {
        let mut granted = 0;
        let mut refused = None;
        while granted < wanted && refused.is_none() {
            match Builder::new().spawn_scoped(scope, || drop(gate.lock())) {
                Ok(_) => granted += 1,
                Err(error) => refused = Some(error),
            }
        }
        drop(closed);
        (granted, refused)
    })
}

/// Makes the runtime start its threads for blocking work now, while the system grants them.
fn keep_blocking_threads(runtime: &Runtime) {
    let gate = std::sync::Arc::new(Mutex::new(()));
    let closed = gate.lock();
    for _ in 0..BLOCKING_MIN {
        let gate = gate.clone();
        runtime.spawn_blocking(move || drop(gate.lock()));
    }
    drop(closed);
}
