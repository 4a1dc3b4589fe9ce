//! Adopts generations that another server sealed. Their payloads are encoded on another thread before they are served.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::task::JoinHandle;

use crate::view::ServedGeneration;
use cfgsync_model::{Generation, Instance};
use cfgsync_wire::PayloadSigner;

/// The generation that is being encoded, if any.
#[derive(Default)]
pub(super) struct Adopter {
    running: Option<JoinHandle<ServedGeneration>>,
}

impl Adopter {
    /// Returns whether a generation is being encoded.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts to encode `generation` on a thread of its own.
    pub(super) fn start(
        &mut self,
        instance: Instance,
        generation: Arc<Generation>,
        signer: Option<Arc<PayloadSigner>>,
    ) {
        tracing::info!(
            event = "generation_adopted",
            "adopting generation {}, which another server sealed",
            generation.number
        );
        let encode = move || ServedGeneration::new(instance, generation, signer.as_ref());
        // The runtime panics if it cannot start a thread. Then the work runs on a thread that it has.
        let on_new_thread = AssertUnwindSafe(|| tokio::task::spawn_blocking(encode.clone()));
        let running = catch_unwind(on_new_thread);
        self.running = Some(running.unwrap_or_else(|_| tokio::spawn(async move { encode() })));
    }

    /// Waits for the encoded generation and returns it. Never resolves if none is being encoded.
    pub(super) async fn finished(&mut self) -> ServedGeneration {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let encoded = running.await;
        self.running = None;
        match encoded {
            Ok(served) => served,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The task was cancelled, so the runtime is ending, and this task as well.
                Err(_) => std::future::pending().await,
            },
        }
    }
}
