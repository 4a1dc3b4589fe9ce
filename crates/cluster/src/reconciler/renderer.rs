//! Renders beside the loop: at most one at a time, not more often than the interval allows, and never twice of the
//! same inputs without a reason.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::{JoinError, JoinHandle},
    time::Instant,
};

use super::render_job::{RenderJob, Rendering};
use crate::{attempt_failure::InputRevisions, render::Pipeline, view::ServedGeneration};
use cfgsync_materialize::MaterializeError;
use cfgsync_model::{Digest, Failure, Revision};

/// A materializer that is not ready runs again after this long, then after twice as long, …
const NOT_READY_RETRY_MIN: Duration = Duration::from_secs(1);
/// … up to this long.
const NOT_READY_RETRY_MAX: Duration = Duration::from_secs(30);

/// What a render reads. A render with an equal key gives the same files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RenderKey {
    /// The inputs that the pipeline reads.
    pub(super) inputs: InputRevisions,
    /// The digest of the spec.
    pub(super) spec: Digest,
    /// How often the spec was read. Files that the spec only names may differ each time.
    pub(super) spec_reading: u32,
}

/// The state of rendering.
#[derive(Default)]
pub(super) struct Renderer {
    running: Option<RunningRender>,
    last_started: Option<Instant>,
    /// The key and the result of the newest finished render.
    result: Option<(RenderKey, RenderResult)>,
}

/// How a render ended.
pub(super) enum RenderResult {
    /// Its generation is sealed, or its files are those of the served generation.
    Sealed,
    /// A materializer is not ready.
    NotReady {
        message: String,
        retry_at: Instant,
        pause: Duration,
    },
    /// A materializer failed.
    Failed(Arc<Failure>),
    /// The generation could not be sealed yet. It is kept for the next try, and taken out for the time of the try.
    Unsealed {
        clause: String,
        retry_at: Instant,
        generation: Option<Box<ServedGeneration>>,
    },
}

impl RenderResult {
    /// Whether the reconciler tries again without a change of the key.
    pub(super) fn is_retried(&self) -> bool {
        matches!(self, Self::NotReady { .. } | Self::Unsealed { .. })
    }

    /// For a result that is retried: why it is waited for, and until when.
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
    /// What it read.
    pub(super) key: RenderKey,
    /// The revision of its snapshot.
    pub(super) revision: Revision,
    /// How long it took.
    pub(super) took: Duration,
    /// What it made.
    pub(super) rendering: Rendering,
}

impl Renderer {
    /// Whether a render runs.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts a render on a thread of its own.
    pub(super) fn start(&mut self, key: RenderKey, job: RenderJob) {
        let now = Instant::now();
        self.last_started = Some(now);
        self.running = Some(RunningRender {
            key,
            revision: job.revision,
            started: now,
            pipeline: job.pipeline.clone(),
            task: tokio::task::spawn_blocking(move || job.run()),
        });
    }

    /// Waits until the running render ends, and takes it out. Never returns without one.
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

    /// When the next render may start, if that is after `now`.
    pub(super) fn next_start(&self, interval: Duration, now: Instant) -> Option<Instant> {
        let next = self.last_started? + interval;
        (next > now).then_some(next)
    }

    /// The result of the newest render, if it was of `key`.
    pub(super) fn result(&self, key: RenderKey) -> Option<&RenderResult> {
        let (of, result) = self.result.as_ref()?;
        (*of == key).then_some(result)
    }

    /// The newest result, with its key.
    pub(super) fn newest_result(&self) -> Option<&(RenderKey, RenderResult)> {
        self.result.as_ref()
    }

    /// Keeps the result of the newest render.
    pub(super) fn set_result(&mut self, key: RenderKey, result: RenderResult) {
        self.result = Some((key, result));
    }

    /// Forgets the newest result: what is due is rendered again.
    pub(super) fn clear_result(&mut self) {
        self.result = None;
    }

    /// Forgets a failure: the render runs again.
    pub(super) fn clear_failure(&mut self) {
        if matches!(self.result, Some((_, RenderResult::Failed(_)))) {
            self.result = None;
        }
    }

    /// Takes out the unsealed generation of `key`, if it is time for another try.
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

    /// The result of a render of `key` in which a materializer was not ready: the pauses grow with each one.
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
            tracing::info!("the readiness rule is satisfied, but {message}");
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
