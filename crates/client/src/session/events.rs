//! The events of a session, as a stream.

use std::{
    future::{Future, poll_fn},
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{JoinError, Session};
use crate::ServerUrl;
use cfgsync_wire::{ProgressBody, ReceivedPayload};

/// Something that happened during a session.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The node's own address was determined.
    Address(IpAddr),
    /// No server can be reached. The session tries again.
    Unreachable {
        /// The server that was tried last.
        server: ServerUrl,
        /// The error of the connection, such as `connection refused`.
        problem: String,
    },
    /// A server responded with an error or an invalid response. The session tries again.
    ServerFault {
        /// A sentence that begins with the server and says what it answered.
        problem: String,
    },
    /// The server accepted the registration.
    Registered {
        /// The server that accepted it.
        server: ServerUrl,
        /// The address that was registered for the node.
        ip: IpAddr,
        /// Whether this server, or the previous one, had accepted the registration before.
        again: bool,
    },
    /// A server requires the node's own key, and others on the network can read the requests to that server.
    KeySentUnencrypted {
        /// The server that requires the key and uses plain HTTP.
        server: ServerUrl,
    },
    /// The cluster is not ready. This event follows every such response, also if nothing has changed.
    Waiting {
        /// The server's reason: how many nodes are missing, and which conditions are unmet.
        message: String,
        /// The reason in numbers and names. `None` from servers of the older protocol.
        progress: Option<ProgressBody>,
    },
    /// The payload that was received is not the newest one: the server could not render the newest inputs. The event
    /// [`Event::Received`] follows.
    Outdated {
        /// The reason that the server gave.
        reason: String,
    },
    /// The server has no other payload than the node. This event follows every such response.
    UpToDate,
    /// The payload was received and verified.
    Received {
        /// The number of files.
        files: usize,
        /// The total length of their contents in bytes.
        bytes: usize,
    },
}

/// The events of a running session. Created by [`Session::start`].
///
/// Dropping the events stops the session. [`Session::withdraw`] then takes the registration back.
pub struct Events<'s> {
    run: Pin<Box<dyn Future<Output = Result<ReceivedPayload, JoinError>> + Send + 's>>,
    queue: UnboundedReceiver<Event>,
    outcome: Option<Result<ReceivedPayload, JoinError>>,
}

impl<'s> Events<'s> {
    pub(super) fn new(session: &'s mut Session) -> Self {
        // Bounded by the polling below: the session runs only while the queue is empty.
        let (sender, queue) = unbounded_channel();
        let run = session.run(move |event| {
            // The receiver lives as long as this future.
            let _ = sender.send(event);
        });
        Self {
            run: Box::pin(run),
            queue,
            outcome: None,
        }
    }

    /// Waits for the next event. Returns `None` when the session has ended; [`Events::finish`] then returns its
    /// outcome. Dropping the future loses no event and does not interrupt the session.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Waits for the end of the session, without the remaining events. Returns the payload.
    pub async fn finish(mut self) -> Result<ReceivedPayload, JoinError> {
        while self.next().await.is_some() {}
        self.outcome
            .expect("a session without further events has an outcome")
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Ok(event) = self.queue.try_recv() {
            return Poll::Ready(Some(event));
        }
        if self.outcome.is_none()
            && let Poll::Ready(outcome) = self.run.as_mut().poll(context)
        {
            self.outcome = Some(outcome);
        }
        match self.queue.try_recv() {
            Ok(event) => Poll::Ready(Some(event)),
            Err(_) if self.outcome.is_some() => Poll::Ready(None),
            Err(_) => Poll::Pending,
        }
    }
}

impl std::fmt::Debug for Events<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}
