//! One node's session with a cluster: register, wait, fetch the payload. Servers may restart, change or disappear
//! meanwhile.
//!
//! A session that ends well has a verified payload. [`DeliveryOptions`](crate::DeliveryOptions) writes it. The
//! session makes progress only while the caller waits for its events. A dropped session leaves its registration on the
//! server.

mod options;
mod error;
mod events;
mod retry;
mod attempt;
mod follow;

use std::{path::PathBuf, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use crate::{CallError, Client, UnreachableCause};
use cfgsync_model::{Digest, Instance, JoinerId, NodeRegistration};
use cfgsync_support::backoff::Backoff;
use cfgsync_wire::ReceivedPayload;
pub use error::JoinError;
pub use events::{Event, Events};
pub use options::{JoinOptions, NodeAddress};

/// The first wait that a session asks of a server is short, so that the reason for waiting is known soon.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// With less time left than this, a session does not start another attempt.
const LAST_PAUSE_MIN: Duration = Duration::from_millis(100);

/// A node's session with a cluster.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use cfgsync_client::{Client, JoinOptions, Session};
///
/// let client = Client::new(["http://boot.example:4400".parse()?]);
/// let mut session = Session::new(client, JoinOptions::new("node-1".parse()?));
/// let mut events = session.start();
/// while let Some(event) = events.next().await {
///     println!("{event:?}");
/// }
/// let payload = events.finish().await?;
/// println!("{} files", payload.files.files().len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Session {
    client: Client,
    options: JoinOptions,
    started: Instant,
    /// `None` until the address is known.
    registration: Option<NodeRegistration>,
    /// Whether a server may hold the registration, because it was sent.
    is_sent: bool,
    /// `None` if the next attempt must register first.
    accepted: Option<AcceptedRegistration>,
    /// Whether any server has accepted the registration during this session.
    was_accepted: bool,
    /// The payload that the node has. The session then waits for another one.
    held: Option<Digest>,
    /// Whether that payload was refused, and is to be tried again.
    retry: follow::Retry,
    /// The cluster whose payload was received, if its server names it.
    cluster: Option<String>,
    /// The cluster whose servers receive the node's own key.
    key_cluster: Option<String>,
    /// Whether the next registration only confirms the last one, so that it is not an event.
    is_renewal: bool,
    last_response: LastResponse,
    /// The last error, whatever came after it.
    last_error: Option<String>,
    error_backoff: Backoff,
    poll_backoff: Backoff,
    /// The wait that the next request asks of the server.
    wait: Duration,
    /// Number of connections in a row that broke after they were established.
    broken_connections: u32,
    /// Number of unusable responses in a row.
    unusable_responses: u32,
    /// Number of retries in a row without a pause.
    immediate_retries: u32,
}

/// The registration that the next request relies on.
#[derive(Debug, Clone, Copy)]
struct AcceptedRegistration {
    instance: Option<Instance>,
    at: Instant,
}

/// The last response, from which the error is made when the timeout ends the session.
#[derive(Debug)]
enum LastResponse {
    None,
    Unreachable {
        last: String,
        cause: UnreachableCause,
    },
    NotReady(String),
}

/// The reason why an attempt has no payload.
enum AttemptError {
    /// The session ends.
    Fatal(JoinError),
    /// The next attempt follows after this pause.
    RetryAfter(Duration),
}

impl Session {
    /// Prepares a session. The timeout counts from now.
    pub fn new(client: Client, options: JoinOptions) -> Self {
        let mut joiner = [0; 16];
        // Without random bytes, servers tell machines apart by their addresses.
        let client = match getrandom::fill(&mut joiner) {
            Ok(()) => client.with_joiner(JoinerId::from_bytes(joiner)),
            Err(_) => client,
        };
        Self {
            client,
            wait: FIRST_WAIT.min(options.wait_max),
            options,
            started: Instant::now(),
            registration: None,
            is_sent: false,
            accepted: None,
            was_accepted: false,
            held: None,
            retry: follow::Retry::default(),
            cluster: None,
            key_cluster: None,
            is_renewal: false,
            last_response: LastResponse::None,
            last_error: None,
            error_backoff: Backoff::default(),
            poll_backoff: Backoff::default(),
            broken_connections: 0,
            unusable_responses: 0,
            immediate_retries: 0,
        }
    }

    /// Starts the session. It makes progress while the caller waits for the next event.
    pub fn start(&mut self) -> Events<'_> {
        Events::new(self)
    }

    /// Runs the session to its end and calls `on_event` for each event. Returns the payload.
    ///
    /// The future may be dropped at any point. [`Session::withdraw`] then takes the registration back.
    pub async fn run(
        &mut self,
        mut on_event: impl FnMut(Event),
    ) -> Result<ReceivedPayload, JoinError> {
        let deadline = self.options.timeout.map(|timeout| self.started + timeout);
        loop {
            let attempt = self.attempt(&mut on_event, deadline);
            let outcome = match deadline {
                None => attempt.await,
                Some(deadline) => match tokio::time::timeout_at(deadline, attempt).await {
                    Ok(outcome) => outcome,
                    Err(_) => return Err(self.timeout_error()),
                },
            };
            let pause = match outcome {
                Ok(payload) => return Ok(payload),
                Err(AttemptError::Fatal(error)) => return Err(error),
                Err(AttemptError::RetryAfter(pause)) => pause,
            };
            let Some(deadline) = deadline else {
                sleep(pause).await;
                continue;
            };
            let left = deadline - Instant::now();
            if left < LAST_PAUSE_MIN {
                sleep_until(deadline).await;
                return Err(self.timeout_error());
            }
            // However long the pauses have become, some attempts remain for the end.
            sleep(pause.min(left / 2)).await;
        }
    }

    /// Takes the registration back if it was sent, within two seconds. After the seal, the server keeps it.
    pub async fn withdraw(&self) -> Result<(), CallError> {
        match &self.registration {
            Some(registration) if self.is_sent => self.client.leave(registration).await.map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Returns the client, which acts as this node.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the options of the session.
    pub fn options(&self) -> &JoinOptions {
        &self.options
    }

    /// Returns the registration. `None` until the node's address is known.
    pub fn registration(&self) -> Option<&NodeRegistration> {
        self.registration.as_ref()
    }

    /// Returns the cluster whose payload was received, if its server names it.
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// Returns the file with the node's own key, if a server has required it.
    pub fn key_file(&self) -> Option<PathBuf> {
        if !self.client.has_node_key() {
            return None;
        }
        let cluster = self.key_cluster.as_deref();
        let path = self.options.key.path(cluster, &self.options.identifier);
        path.ok()
    }

    fn timeout_error(&self) -> JoinError {
        let waited = self
            .options
            .timeout
            .unwrap_or_else(|| self.started.elapsed());
        match &self.last_response {
            LastResponse::NotReady(message) => JoinError::NotReady {
                waited,
                message: message.clone(),
            },
            LastResponse::Unreachable { last, cause } => JoinError::Unreachable {
                waited,
                last: last.clone(),
                cause: *cause,
            },
            LastResponse::None if self.accepted.is_some() => JoinError::NotReady {
                waited,
                message: match &self.last_error {
                    None => "the server accepted the registration and did not say what is missing"
                        .to_owned(),
                    Some(error) => format!(
                        "the server accepted the registration, but its last response could not be used: {error}"
                    ),
                },
            },
            LastResponse::None => {
                let server = self.client.server();
                let (last, cause) = if self.client.is_looking_up() {
                    let last = format!("{server}: its name is still being looked up");
                    (last, UnreachableCause::Name)
                } else {
                    let last = format!("{server} does not respond");
                    (last, UnreachableCause::Response)
                };
                JoinError::Unreachable {
                    waited,
                    last,
                    cause,
                }
            }
        }
    }
}
