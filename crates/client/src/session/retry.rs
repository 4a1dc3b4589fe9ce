//! Decides how a session continues after a response without a payload, or after no response.

use std::time::Duration;

use hyper::StatusCode;
use tokio::time::Instant;

use super::{AttemptError, Event, JoinError, LastResponse, Session};
use crate::{CallError, ResponseMeta, ServerUrl, UnreachableCause};
use cfgsync_model::NodeRegistration;
use cfgsync_wire::{Code, DRAINING, ErrorBody, NO_KEY};

/// The session ends after this number of unusable responses in a row.
const UNUSABLE_RESPONSES_MAX: u32 = 3;
/// Least pause after an unusable response: a server that is being replaced works again a little later.
const UNUSABLE_RESPONSE_PAUSE: Duration = Duration::from_secs(2);
/// Most retries in a row without a pause, whatever a server asks for.
const IMMEDIATE_RETRIES_MAX: u32 = 5;
/// Longest `Retry-After` that a session follows.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// The shortest time for which a server that stops is tried after the others.
const DRAINING_PAUSE: Duration = Duration::from_secs(5);
/// How often a session registers again with a server that does not say whether it still knows the node.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(15);

/// A request for the payload that was sent.
#[derive(Clone, Copy)]
pub(super) struct FetchRequest {
    /// When it was sent.
    pub(super) at: Instant,
    /// How long the server was asked to hold it.
    pub(super) wait: Duration,
}

impl Session {
    /// Handles an error response to a fetch.
    pub(super) fn on_refusal(
        &mut self,
        registration: &NodeRegistration,
        status: StatusCode,
        body: ErrorBody,
        meta: &ResponseMeta,
        request: FetchRequest,
        on_event: &mut impl FnMut(Event),
    ) -> AttemptError {
        if let Err(wrong_cluster) = self.check_cluster(meta) {
            return wrong_cluster;
        }
        match status {
            StatusCode::GONE => {
                let kind = body.failure.as_ref().map(|failure| failure.kind);
                let reason = body.failure.map_or(body.message, |failure| {
                    format!("the cluster failed ({}): {}", failure.kind, failure.reason)
                });
                AttemptError::Fatal(JoinError::Failed { reason, kind })
            }
            StatusCode::NOT_MODIFIED => self.on_up_to_date(meta, request, on_event),
            StatusCode::TOO_EARLY => self.on_not_ready(body, meta, request, on_event),
            _ if body.code == Code::NotReady && !is_final(status) => {
                self.on_not_ready(body, meta, request, on_event)
            }
            _ if self.must_send_key(&body, meta) => self.send_key_from_now_on(meta, on_event),
            _ if is_final(status) => {
                AttemptError::Fatal(refused(meta.server.clone(), registration, body))
            }
            _ => {
                let refused = CallError::Refused {
                    status,
                    body: Box::new(body),
                    meta: Box::new(meta.clone()),
                };
                self.on_call_error(refused, on_event)
            }
        }
    }

    fn on_not_ready(
        &mut self,
        body: ErrorBody,
        meta: &ResponseMeta,
        request: FetchRequest,
        on_event: &mut impl FnMut(Event),
    ) -> AttemptError {
        let is_registered = body
            .progress
            .as_ref()
            .map(|progress| progress.self_registered);
        let is_draining = body.reason.as_deref() == Some(DRAINING);
        let message = not_ready_message(&body);
        self.last_response = LastResponse::NotReady(message.clone());
        on_event(Event::Waiting {
            message,
            progress: body.progress,
        });
        self.on_contact();
        if is_registered == Some(false) || self.is_another_instance(meta) || self.has_moved(meta) {
            return self.register_again();
        }
        if is_registered.is_none() && meta.instance.is_none() {
            // A server of the older protocol sends the same response whether or not it has lost its state.
            let is_due = self
                .accepted
                .is_some_and(|accepted| accepted.at.elapsed() >= RENEWAL_INTERVAL);
            if is_due {
                self.accepted = None;
                self.is_renewal = true;
            }
        }
        if is_draining
            && self.client.has_other_servers()
            && self.immediate_retries < IMMEDIATE_RETRIES_MAX
        {
            self.immediate_retries += 1;
            self.client
                .pause(meta, retry_after(meta).max(DRAINING_PAUSE));
            return AttemptError::RetryAfter(Duration::ZERO);
        }
        self.ask_again(meta, request)
    }

    /// Returns when to ask again, after a response that did not have what the session waits for.
    pub(super) fn ask_again(&mut self, meta: &ResponseMeta, request: FetchRequest) -> AttemptError {
        // Not trusted alone: a server that says it has waited and has not would be polled without a pause.
        let was_held =
            meta.waited && !request.wait.is_zero() && request.at.elapsed() >= request.wait / 2;
        if was_held {
            self.immediate_retries = 0;
            self.poll_backoff.reset();
            self.wait = (self.wait * 2).min(self.options.wait_max);
            return AttemptError::RetryAfter(Duration::ZERO);
        }
        if meta.retry_after == Some(Duration::ZERO)
            && self.immediate_retries < IMMEDIATE_RETRIES_MAX
        {
            self.immediate_retries += 1;
            return AttemptError::RetryAfter(Duration::ZERO);
        }
        AttemptError::RetryAfter(self.poll_backoff.next_wait() + retry_after(meta))
    }

    /// Returns whether the server requires the node's own key, and does not receive it yet.
    pub(super) fn must_send_key(&self, body: &ErrorBody, meta: &ResponseMeta) -> bool {
        body.reason.as_deref() == Some(NO_KEY) && !self.client.sends_node_key_to(&meta.server)
    }

    /// Adds the node's own key to all further requests to this server. Other servers receive it only if they require
    /// it themselves.
    pub(super) fn send_key_from_now_on(
        &mut self,
        meta: &ResponseMeta,
        on_event: &mut impl FnMut(Event),
    ) -> AttemptError {
        if let Err(wrong_cluster) = self.check_cluster(meta) {
            return wrong_cluster;
        }
        // All servers of a client belong to one cluster. One that gives another name is misconfigured, or an attack.
        if let Some(wanted) = &self.key_cluster
            && meta.cluster.as_ref() != Some(wanted)
        {
            return AttemptError::Fatal(wrong_cluster(meta, wanted));
        }
        // A server that another one has named may know what that one knows, and no more.
        if let Some(named_by) = self.client.named_by(&meta.server)
            && !self.client.sends_node_key_to(&named_by)
        {
            self.client.forget(&meta.server);
            return AttemptError::RetryAfter(Duration::ZERO);
        }
        // Over plain HTTP the server proves no identity, even if the client knows those of other servers.
        let identities: Vec<String> = if meta.server.is_tls() {
            self.client.server_identities().map(str::to_owned).collect()
        } else {
            vec![]
        };
        let location = &self.options.key;
        let identifier = &self.options.identifier;
        let key = match location.key(meta.cluster.as_deref(), identifier, &identities) {
            Ok(key) => key,
            Err(error) => return AttemptError::Fatal(error.into()),
        };
        match self.client.clone().with_node_key(&key, &meta.server) {
            Ok(client) => self.client = client,
            Err(error) => return AttemptError::Fatal(JoinError::Unusable(error.to_string())),
        }
        self.key_cluster.clone_from(&meta.cluster);
        if meta.server.is_unencrypted_remote() {
            let server = meta.server.clone();
            on_event(Event::KeySentUnencrypted { server });
        }
        AttemptError::RetryAfter(Duration::ZERO)
    }

    /// Registers again, because the server has lost its state or is another one. The first time without a pause.
    pub(super) fn register_again(&mut self) -> AttemptError {
        self.accepted = None;
        if self.poll_backoff.waits() == 0 {
            self.poll_backoff.next_wait();
            return AttemptError::RetryAfter(Duration::ZERO);
        }
        AttemptError::RetryAfter(self.poll_backoff.next_wait())
    }

    /// Handles a server that cannot be reached, reports an error of its own, or sends an unusable response.
    pub(super) fn on_call_error(
        &mut self,
        error: CallError,
        on_event: &mut impl FnMut(Event),
    ) -> AttemptError {
        let problem = error.to_string();
        // After a status that says that a server is unavailable, the client has tried the others already.
        let must_avoid = !error.is_unavailable();
        self.broken_connections = match error {
            CallError::Broken { .. } => self.broken_connections + 1,
            _ => 0,
        };
        let repeated = match self.broken_connections {
            0 | 1 => problem.clone(),
            times => format!("{problem} ({times} times in a row)"),
        };
        self.last_error = Some(repeated.clone());
        let least_pause = match error {
            CallError::Unreachable {
                server,
                problem,
                cause,
            } => {
                // The server may come back without its state, and not say so.
                self.accepted = None;
                self.is_renewal = false;
                self.last_response = LastResponse::Unreachable {
                    last: format!("{server}: {problem}"),
                    cause,
                };
                on_event(Event::Unreachable { server, problem });
                Duration::ZERO
            }
            CallError::Broken { .. } => {
                self.accepted = None;
                self.is_renewal = false;
                self.last_response = LastResponse::Unreachable {
                    last: repeated,
                    cause: UnreachableCause::Broken,
                };
                on_event(Event::ServerFault { problem });
                Duration::ZERO
            }
            CallError::Refused { meta, .. } => {
                if must_avoid {
                    self.client.avoid(&meta.server, meta.path);
                }
                self.on_server_fault(problem, on_event);
                retry_after(&meta)
            }
            CallError::Untrusted { server, reason } => {
                return AttemptError::Fatal(JoinError::Untrusted { server, reason });
            }
            CallError::Unusable { server, .. } => {
                self.client.avoid(&server, None);
                self.unusable_responses += 1;
                if self.unusable_responses >= UNUSABLE_RESPONSES_MAX {
                    return AttemptError::Fatal(JoinError::Unusable(problem));
                }
                self.on_server_fault(problem, on_event);
                UNUSABLE_RESPONSE_PAUSE
            }
        };
        AttemptError::RetryAfter(self.error_backoff.next_wait() + least_pause)
    }

    fn on_server_fault(&mut self, problem: String, on_event: &mut impl FnMut(Event)) {
        self.last_response = LastResponse::Unreachable {
            last: problem.clone(),
            cause: UnreachableCause::Fault,
        };
        on_event(Event::ServerFault { problem });
    }

    pub(super) fn check_cluster(&self, meta: &ResponseMeta) -> Result<(), AttemptError> {
        match &self.options.cluster {
            Some(wanted) if meta.cluster.as_ref() != Some(wanted) => {
                Err(AttemptError::Fatal(wrong_cluster(meta, wanted)))
            }
            _ => Ok(()),
        }
    }
}

/// Returns whether the same request would be rejected again.
pub(super) fn is_final(status: StatusCode) -> bool {
    let temporary = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::GONE,
    ];
    status.is_client_error() && !temporary.contains(&status)
}

pub(super) fn refused(
    server: ServerUrl,
    registration: &NodeRegistration,
    body: ErrorBody,
) -> JoinError {
    JoinError::Refused {
        server,
        identifier: registration.identifier.clone(),
        message: body.message,
        reason: body.reason,
    }
}

fn wrong_cluster(meta: &ResponseMeta, wanted: &str) -> JoinError {
    JoinError::WrongCluster {
        server: meta.server.clone(),
        wanted: wanted.to_owned(),
        found: meta.cluster.clone(),
    }
}

/// Returns why the cluster is not ready, without the words "not ready", which every caller adds.
fn not_ready_message(body: &ErrorBody) -> String {
    match &body.progress {
        Some(progress) => progress.progress.to_string(),
        None => body.message.clone(),
    }
}

fn retry_after(meta: &ResponseMeta) -> Duration {
    meta.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX)
}
