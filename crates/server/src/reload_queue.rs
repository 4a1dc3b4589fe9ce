//! The queue through which `POST /v1/reload` reaches the program, which reads its files again.

use tokio::sync::{mpsc, oneshot};

use cfgsync_wire::{ReloadPart, ReloadResult};

/// The largest number of requests that wait for the reload in progress. Further requests wait for a place.
const QUEUED_MAX: usize = 8;

/// The end of the queue for the routes.
#[derive(Debug, Clone)]
pub struct ReloadQueue(mpsc::Sender<ReloadRequest>);

/// A request to read the files again.
#[derive(Debug)]
pub struct ReloadRequest {
    /// The only part to reload; `None` means all parts.
    pub only: Option<ReloadPart>,
    /// Takes the result. The client may have gone.
    pub answer: oneshot::Sender<ReloadResult>,
}

/// Returns a queue: the end for [`crate::HttpConfig::reload`], and the end for the program.
pub fn reload_queue() -> (ReloadQueue, mpsc::Receiver<ReloadRequest>) {
    let (sender, receiver) = mpsc::channel(QUEUED_MAX);
    (ReloadQueue(sender), receiver)
}

impl ReloadQueue {
    /// Requests a reload, and waits for its result. `None` if the program no longer reloads, because it stops.
    pub(super) async fn reload(&self, only: Option<ReloadPart>) -> Option<ReloadResult> {
        let (answer, answered) = oneshot::channel();
        let request = ReloadRequest { only, answer };
        self.0.send(request).await.ok()?;
        answered.await.ok()
    }
}
