//! Runs renders on their own thread: at most one at a time, and not more often than the interval allows. The same
//! inputs are rendered again only for a retry.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::{JoinError, JoinHandle},
    time::Instant,
};

use super::{
    crash_mark::CrashMark,
    render_job::{RenderJob, RenderOutcome, RenderedGeneration, Rendering},
    render_key::RenderKey,
};
use crate::{render::Pipeline, view::ServedGeneration};
use cfgsync_materialize::MaterializeError;
use cfgsync_model::{Failure, FailureKind, Revision, Unmet, ValueReads};
use cfgsync_support::clock::WallClock;

/// The first pause before a materializer that was not ready runs again. Each further pause is twice as long.
const NOT_READY_RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause before a materializer that was not ready runs again.
const NOT_READY_RETRY_MAX: Duration = Duration::from_secs(30);

/// The pause before a render during which the server before has ended.
const CRASHED_RENDER_RETRY: Duration = Duration::from_secs(10);

/// The running render, and the result of the newest finished one.
#[derive(Default)]
pub(super) struct Renderer {
    running: Option<RunningRender>,
    last_started: Option<Instant>,
    /// Whether the next render may start before the interval is over.
    is_urgent: bool,
    /// The key and the result of the newest finished render.
    result: Option<(RenderKey, RenderResult)>,
}

/// The result of a finished render.
pub(super) enum RenderResult {
    /// Its generation is sealed, or its files are those of the served generation.
    Sealed,
    /// A materializer is not ready, or the render could not run.
    NotReady {
        unmet: Unmet,
        retry_at: Instant,
        pause: Duration,
    },
    /// A materializer failed, with this reason.
    Failed(Arc<Failure>),
    /// Other servers ended during this render. An operator or another input ends the pause.
    Paused(Arc<Failure>),
    /// The generation could not be sealed yet. It is kept for a retry. During a retry it is `None`.
    Unsealed {
        unmet: Unmet,
        retry_at: Instant,
        generation: Option<Box<ServedGeneration>>,
    },
}

impl RenderResult {
    /// Returns the result of a render during which so many servers in a row have ended, or `None` if none has. The first may
    /// have been killed for another reason, so the render is repeated once.
    pub(super) fn after_crash(crashes: u32, clock: &WallClock) -> Option<Self> {
        match crashes {
            0 => None,
            1 => {
                let unmet = Unmet::RenderCrashed(CRASHED_RENDER_RETRY);
                tracing::warn!(event = "render_crashed", "{unmet}");
                Some(Self::NotReady {
                    unmet,
                    retry_at: Instant::now() + CRASHED_RENDER_RETRY,
                    pause: CRASHED_RENDER_RETRY,
                })
            }
            _ => {
                let reason = format!(
                    "rendering is paused, because {crashes} servers in a row ended while they rendered these files (out of \
                     memory, or a value that is nested too deeply); correct the spec or the node that registered last, or \
                     try again with SIGHUP or `cfgsync reset`"
                );
                tracing::error!(event = "rendering_paused", "{reason}");
                Some(Self::Paused(Arc::new(Failure {
                    kind: FailureKind::Render,
                    reason,
                    at: clock.now(),
                })))
            }
        }
    }

    /// Returns whether the reconciler retries without a change of the key.
    pub(super) fn is_retried(&self) -> bool {
        matches!(self, Self::NotReady { .. } | Self::Unsealed { .. })
    }

    /// Returns whether the render failed, so that it has released the waiting nodes.
    pub(super) fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Paused(_))
    }

    /// Returns the reason and the time of the retry, for a result that is retried.
    pub(super) fn retry(&self) -> Option<(&Unmet, Instant)> {
        match self {
            Self::NotReady {
                unmet, retry_at, ..
            }
            | Self::Unsealed {
                unmet, retry_at, ..
            } => Some((unmet, *retry_at)),
            Self::Sealed | Self::Failed(_) | Self::Paused(_) => None,
        }
    }
}

struct RunningRender {
    key: RenderKey,
    revision: Revision,
    started: Instant,
    pipeline: Arc<Pipeline>,
    crash_mark: Arc<CrashMark>,
    /// `None` if the runtime could not start a thread.
    task: Option<JoinHandle<RenderOutcome>>,
}

impl Drop for RunningRender {
    /// Stops materializers that still run when the server stops.
    fn drop(&mut self) {
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            self.pipeline.stop();
            self.crash_mark.close();
        }
    }
}

/// A render that has ended.
pub(super) struct FinishedRender {
    /// The inputs that it read.
    pub(super) key: RenderKey,
    /// The revision of the snapshot.
    pub(super) revision: Revision,
    /// The duration of the render.
    pub(super) took: Duration,
    /// The files, or the reason for the failure.
    pub(super) rendering: Rendering,
    /// The operators' values that it read. `None` if nothing was rendered.
    pub(super) reads: Option<ValueReads>,
}

impl Renderer {
    /// Returns whether a render is running.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts a render on a thread of its own.
    pub(super) fn start(&mut self, key: RenderKey, job: RenderJob) {
        let now = Instant::now();
        self.last_started = Some(now);
        self.is_urgent = false;
        self.running = Some(RunningRender {
            key,
            revision: job.revision,
            started: now,
            pipeline: job.pipeline.clone(),
            crash_mark: job.crash_mark.clone(),
            task: spawn(job),
        });
    }

    /// Waits until the running render ends and returns it. Never resolves if none is running.
    pub(super) async fn finished(&mut self) -> FinishedRender {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let RenderOutcome { rendering, reads } = match &mut running.task {
            Some(task) => task
                .await
                .unwrap_or_else(|error| Err(panicked(&error)).into()),
            None => Ok(RenderedGeneration::NoThread(
                io::ErrorKind::WouldBlock.into(),
            ))
            .into(),
        };
        let running = self.running.take().expect("it is awaited");
        FinishedRender {
            key: running.key,
            revision: running.revision,
            took: running.started.elapsed(),
            rendering,
            reads,
        }
    }

    /// Lets the next render start at once, because a node that no generation includes waits for it. After a failed
    /// render the interval stays: each such node would otherwise cause another failure.
    pub(super) fn hurry(&mut self) {
        self.is_urgent = !matches!(self.result, Some((_, RenderResult::Failed(_))));
    }

    /// Returns the time at which the next render may start, if that is after `now`.
    pub(super) fn next_start(&self, interval: Duration, now: Instant) -> Option<Instant> {
        if self.is_urgent {
            return None;
        }
        let next = self.last_started? + interval;
        (next > now).then_some(next)
    }

    /// Returns the result of the newest render, if it had this key.
    pub(super) fn result(&self, key: RenderKey) -> Option<&RenderResult> {
        let (of, result) = self.result.as_ref()?;
        (*of == key).then_some(result)
    }

    /// Returns the newest result and its key.
    pub(super) fn newest_result(&self) -> Option<&(RenderKey, RenderResult)> {
        self.result.as_ref()
    }

    /// Keeps the result of the newest render.
    pub(super) fn set_result(&mut self, key: RenderKey, result: RenderResult) {
        self.result = Some((key, result));
    }

    /// Forgets the newest result, so that its inputs are rendered again.
    pub(super) fn clear_result(&mut self) {
        self.result = None;
    }

    /// Forgets a failure, so that the render runs again.
    pub(super) fn clear_failure(&mut self) {
        if matches!(self.result, Some((_, RenderResult::Failed(_)))) {
            self.result = None;
        }
    }

    /// Ends the pause after servers that ended during this render.
    pub(super) fn clear_pause(&mut self) {
        if matches!(self.result, Some((_, RenderResult::Paused(_)))) {
            self.result = None;
        }
    }

    /// Takes the unsealed generation of `key`, if its retry is due.
    pub(super) fn take_unsealed(
        &mut self,
        key: RenderKey,
        now: Instant,
    ) -> Option<Box<ServedGeneration>> {
        match &mut self.result {
            Some((
                of,
                RenderResult::Unsealed {
                    retry_at,
                    generation,
                    ..
                },
            )) if *of == key && *retry_at <= now => generation.take(),
            _ => None,
        }
    }

    /// Returns the result of a render of `key` in which a materializer was not ready. Each pause is longer than the one
    /// before.
    pub(super) fn not_ready(&self, key: RenderKey, message: String) -> RenderResult {
        let unmet = Unmet::Materializer(message);
        let before = match &self.result {
            Some((_, RenderResult::NotReady { unmet, .. })) => Some(unmet),
            _ => None,
        };
        if before != Some(&unmet) {
            tracing::info!(
                event = "materializer_not_ready",
                reason = %unmet,
                "the readiness rule is satisfied, but a materializer is not ready: {unmet}"
            );
        }
        self.retried(key, unmet)
    }

    /// Returns the result of a render of `key` for which the operating system refused a thread.
    pub(super) fn without_thread(&self, key: RenderKey, error: &io::Error) -> RenderResult {
        let unmet = Unmet::NoThread(error.to_string());
        tracing::warn!("{unmet}");
        self.retried(key, unmet)
    }

    fn retried(&self, key: RenderKey, unmet: Unmet) -> RenderResult {
        let pause = match self.result(key) {
            Some(RenderResult::NotReady { pause, .. }) => (*pause * 2).min(NOT_READY_RETRY_MAX),
            _ => NOT_READY_RETRY_MIN,
        };
        RenderResult::NotReady {
            unmet,
            retry_at: Instant::now() + pause,
            pause,
        }
    }
}

/// Runs `job` on a thread of the runtime. Returns `None` if the operating system refuses to start one.
fn spawn(job: RenderJob) -> Option<JoinHandle<RenderOutcome>> {
    let job = Arc::new(Mutex::new(Some(job)));
    let take =
        |job: &Mutex<Option<RenderJob>>| job.lock().unwrap_or_else(PoisonError::into_inner).take();
    let queued = job.clone();
    let run = move || match take(&queued) {
        Some(job) => job.run(),
        None => Ok(RenderedGeneration::Unchanged).into(),
    };
    // The runtime panics if it has no thread at all and cannot start one. It then keeps the work in its queue, so the
    // job is taken away from it.
    let spawned = catch_unwind(AssertUnwindSafe(|| tokio::task::spawn_blocking(run)));
    if spawned.is_err() {
        drop(take(&job));
    }
    spawned.ok()
}

fn panicked(error: &JoinError) -> MaterializeError {
    MaterializeError::new(format!("a materializer panicked: {error}"))
}
