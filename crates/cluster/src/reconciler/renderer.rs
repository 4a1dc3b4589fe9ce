//! Runs renders on their own thread: at most one at a time, and not more often than the interval allows. The same
//! inputs are rendered again only for a retry.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::{JoinError, JoinHandle},
    time::Instant,
};

use super::render_job::{RenderJob, Rendering};
use crate::{attempt_failure::InputRevisions, render::Pipeline, view::ServedGeneration};
use cfgsync_materialize::MaterializeError;
use cfgsync_model::{Digest, Failure, Revision};

/// The first pause before a materializer that was not ready runs again. Each further pause is twice as long.
const NOT_READY_RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause before a materializer that was not ready runs again.
const NOT_READY_RETRY_MAX: Duration = Duration::from_secs(30);

/// The inputs of a render. Renders with equal keys give the same files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RenderKey {
    /// The inputs that the pipeline reads.
    pub(super) inputs: InputRevisions,
    /// The digest of the spec.
    pub(super) spec: Digest,
    /// The number of times that the spec was read. The files that it names may differ each time.
    pub(super) spec_reading: u32,
}

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
    /// A materializer is not ready.
    NotReady {
        message: String,
        retry_at: Instant,
        pause: Duration,
    },
    /// A materializer failed, with this reason.
    Failed(Arc<Failure>),
    /// The generation could not be sealed yet. It is kept for a retry. During a retry it is `None`.
    Unsealed {
        clause: String,
        retry_at: Instant,
        generation: Option<Box<ServedGeneration>>,
    },
}

impl RenderResult {
    /// Returns whether the reconciler retries without a change of the key.
    pub(super) fn is_retried(&self) -> bool {
        matches!(self, Self::NotReady { .. } | Self::Unsealed { .. })
    }

    /// Returns the reason and the time of the retry, for a result that is retried.
    pub(super) fn retry(&self) -> Option<(&str, Instant)> {
        match self {
            Self::NotReady {
                message: clause,
                retry_at,
                ..
            }
            | Self::Unsealed {
                clause, retry_at, ..
            } => Some((clause, *retry_at)),
            Self::Sealed | Self::Failed(_) => None,
        }
    }
}

struct RunningRender {
    key: RenderKey,
    revision: Revision,
    started: Instant,
    pipeline: Arc<Pipeline>,
    task: JoinHandle<Rendering>,
}

impl Drop for RunningRender {
    /// Stops materializers that still run when the server stops.
    fn drop(&mut self) {
        if !self.task.is_finished() {
            self.pipeline.stop();
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
            task: tokio::task::spawn_blocking(move || job.run()),
        });
    }

    /// Waits until the running render ends and returns it. Never resolves if none is running.
    pub(super) async fn finished(&mut self) -> FinishedRender {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let ended = (&mut running.task).await;
        let running = self.running.take().expect("it is awaited");
        FinishedRender {
            key: running.key,
            revision: running.revision,
            took: running.started.elapsed(),
            rendering: ended.unwrap_or_else(|error| Err(panicked(&error))),
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
        let pause = match self.result(key) {
            Some(RenderResult::NotReady { pause, .. }) => (*pause * 2).min(NOT_READY_RETRY_MAX),
            _ => NOT_READY_RETRY_MIN,
        };
        let before = match &self.result {
            Some((_, RenderResult::NotReady { message, .. })) => Some(message),
            _ => None,
        };
        if before != Some(&message) {
            tracing::info!(
                "the readiness rule is satisfied, but a materializer is not ready: {message}"
            );
        }
        RenderResult::NotReady {
            message,
            retry_at: Instant::now() + pause,
            pause,
        }
    }
}

fn panicked(error: &JoinError) -> MaterializeError {
    MaterializeError::new(format!("a materializer panicked: {error}"))
}
