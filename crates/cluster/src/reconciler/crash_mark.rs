//! The crash mark: the store has it while a render runs. A server that finds the mark of one that has ended does not
//! repeat that render at once.
//!
//! A template can need more stack or memory than the machine has, and then the process is killed. Without the mark, each
//! restart would render the same inputs and end in the same way, and so would each server that shares the store.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use super::render_key::RenderKey;
use crate::render::Pipeline;
use cfgsync_store::{RenderMark, State, Store};

/// Returns the text that names the inputs of a render. It is the same on each server, after a restart, and after the
/// same spec was read again. It is not the key's revision of values, which depends on what this server has rendered.
pub(super) fn name_of(key: RenderKey, state: &State, pipeline: &Pipeline) -> String {
    let RenderKey { inputs, spec, .. } = key;
    let values = pipeline.values_revision(&state.values, state.values_revision);
    format!(
        "{} {} {} {values} {spec}",
        inputs.registrations, inputs.overrides, inputs.redraws
    )
}

/// Returns how many servers have ended while they rendered `render`.
fn crashes_of(store: &dyn Store, render: &str) -> u32 {
    let marks = store.crashed_renders().into_iter();
    let marks = marks.filter(|mark| mark.render == render);
    marks.fold(0, |crashes, mark| crashes.saturating_add(mark.starts))
}

/// Sets the mark of this server's renders.
pub(super) struct CrashMark {
    store: Arc<dyn Store>,
    /// Whether the server stops. A render that starts now is not marked.
    is_closed: Mutex<bool>,
}

impl CrashMark {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            is_closed: Mutex::new(false),
        }
    }

    /// Sets the mark until the guard is dropped. It blocks the calling thread until the store has it.
    pub(super) fn set(&self, render: String) -> impl Drop + '_ {
        let starts = crashes_of(&*self.store, &render).saturating_add(1);
        let written = {
            let is_closed = self
                .is_closed
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let mark = RenderMark { render, starts };
            (!*is_closed).then(|| self.store.set_render_mark(mark))
        };
        if let Some(written) = written
            && let Err(reason) = Handle::current().block_on(written)
        {
            // The render itself needs no store, so it goes on.
            tracing::warn!("the render is not marked: {reason}");
        }
        Guard(self)
    }

    /// Removes the mark, and sets it no more, because the server stops.
    pub(super) fn close(&self) {
        let mut is_closed = self
            .is_closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *is_closed = true;
        self.store.clear_render_mark();
    }
}

struct Guard<'a>(&'a CrashMark);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.store.clear_render_mark();
    }
}

/// Finds out that servers have ended during the render that is due.
#[derive(Default)]
pub(super) struct CrashWatch {
    /// The render during which servers have ended, and how many this server knows of.
    known: Option<(String, u32)>,
}

impl CrashWatch {
    /// Returns how many servers have ended while they rendered `key`, if that is more than before.
    pub(super) fn new_crashes(
        &mut self,
        store: &dyn Store,
        key: RenderKey,
        state: &State,
        pipeline: &Pipeline,
    ) -> Option<u32> {
        if store.crashed_renders().is_empty() {
            return None;
        }
        let render = name_of(key, state, pipeline);
        let crashes = crashes_of(store, &render);
        let known = match &self.known {
            Some((of, crashes)) if *of == render => *crashes,
            _ => 0,
        };
        if crashes <= known {
            return None;
        }
        self.known = Some((render, crashes));
        Some(crashes)
    }
}
