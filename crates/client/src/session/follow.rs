//! Following: a session that has delivered a payload waits for the next one.

use super::{AttemptError, Event, FIRST_WAIT, LastResponse, Session, retry::FetchRequest};
use crate::{CallError, DeliveredGeneration, Response, ResponseMeta};
use cfgsync_model::{Digest, Phase, Revision};
use cfgsync_wire::ReportBody;

/// The payload that the node has, if it has refused it.
#[derive(Debug, Default)]
pub(super) struct Retry {
    pub(super) is_refused: bool,
    /// The newest retry that this session knows.
    pub(super) known: Revision,
    /// Whether an operator asks for another try of the last payload.
    pub(super) is_due: bool,
}

impl Session {
    /// Makes the session wait for another payload than `held`, without a timeout. Run it again afterwards, with
    /// [`Session::start`] or [`Session::run`].
    ///
    /// The session accepts no generation that is older than `delivered`. After an error, `register_again` makes it
    /// register first.
    pub fn follow(
        &mut self,
        held: Option<Digest>,
        delivered: Option<DeliveredGeneration>,
        register_again: bool,
    ) {
        self.held = held;
        self.retry.is_due = false;
        self.options.timeout = None;
        if delivered.is_some() {
            self.options.delivered = delivered;
        }
        if register_again {
            self.accepted = None;
        }
        self.wait = self.options.wait_max;
        self.last_response = LastResponse::None;
        self.last_error = None;
        self.on_contact();
    }

    /// Notes whether the node has refused the payload that it has. It then gets the same payload again once an operator asks
    /// for a retry.
    pub fn set_refused(&mut self, is_refused: bool) {
        self.retry.is_refused = is_refused;
    }

    /// Returns whether an operator has asked that the node tries the last payload again.
    pub fn must_retry(&self) -> bool {
        self.retry.is_due
    }

    /// Reports that this node has reached a phase.
    pub async fn report(
        &self,
        phase: &Phase,
        report: &ReportBody,
    ) -> Result<Response<()>, CallError> {
        let identifier = &self.options.identifier;
        self.client.report(identifier, phase, report).await
    }

    /// Handles the response that there is no other payload.
    pub(super) fn on_up_to_date(
        &mut self,
        meta: &ResponseMeta,
        request: FetchRequest,
        on_event: &mut impl FnMut(Event),
    ) -> AttemptError {
        on_event(Event::UpToDate);
        self.on_contact();
        if self.is_another_instance(meta) || self.has_moved(meta) {
            return self.register_again();
        }
        self.wait = self.wait.max(FIRST_WAIT);
        self.ask_again(meta, request)
    }

    /// Notes that a server responds as it should.
    pub(super) fn on_contact(&mut self) {
        self.error_backoff.reset();
        self.broken_connections = 0;
        self.unusable_responses = 0;
    }
}
