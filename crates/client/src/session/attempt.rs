//! One attempt of a session: find the node's address, register, fetch the payload and verify it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    AcceptedRegistration, AttemptError, Event, JoinOptions, LastResponse, NodeAddress, Session,
    retry::{FetchRequest, is_final, refused},
};
use crate::{CallError, ResponseMeta, UnreachableCause, connect::ConnectionPath};
use cfgsync_model::NodeRegistration;
use cfgsync_wire::ReceivedPayload;

/// The last wait that a session asks of a server ends so long before the timeout, so that the last response says what
/// is missing.
const LAST_RESPONSE_BEFORE_TIMEOUT: Duration = Duration::from_millis(500);

impl Session {
    pub(super) async fn attempt(
        &mut self,
        on_event: &mut impl FnMut(Event),
        deadline: Option<Instant>,
    ) -> Result<ReceivedPayload, AttemptError> {
        let registration = match &self.registration {
            Some(registration) if self.accepted.is_some() => registration.clone(),
            _ => self.register(on_event).await?,
        };
        self.fetch(&registration, on_event, deadline).await
    }

    /// Registers the node with its address of this moment.
    async fn register(
        &mut self,
        on_event: &mut impl FnMut(Event),
    ) -> Result<NodeRegistration, AttemptError> {
        let registration = self.prepare_registration(on_event).await?;
        self.is_sent = true;
        let response = match self.client.register(&registration).await {
            Ok(response) => response,
            Err(CallError::Refused { status, body, meta }) if is_final(status) => {
                self.is_sent = self.was_accepted;
                if self.must_send_key(&body, &meta) {
                    return Err(self.send_key_from_now_on(&meta, on_event));
                }
                return Err(AttemptError::Fatal(refused(
                    meta.server,
                    &registration,
                    *body,
                )));
            }
            Err(error) => return Err(self.on_call_error(error, on_event)),
        };
        if let Err(wrong_cluster) = self.check_cluster(&response.meta) {
            // Another cluster's server took the address since the check. Withdraw; a failure changes nothing.
            let _ = self.client.leave(&registration).await;
            return Err(wrong_cluster);
        }
        if self.has_moved(&response.meta) {
            // The connection broke since the address was found, and this one begins at another address.
            return Err(self.register_again());
        }
        if !std::mem::take(&mut self.is_renewal) {
            on_event(Event::Registered {
                server: response.meta.server,
                ip: registration.ip,
                again: self.was_accepted,
            });
        }
        self.accepted = Some(AcceptedRegistration {
            instance: response.meta.instance,
            at: Instant::now(),
        });
        self.was_accepted = true;
        if matches!(self.last_response, LastResponse::Unreachable { .. }) {
            self.last_response = LastResponse::None;
        }
        Ok(registration)
    }

    /// Returns the registration with the node's address of this moment. Checks the cluster before any server counts the
    /// node even for a moment.
    async fn prepare_registration(
        &mut self,
        on_event: &mut impl FnMut(Event),
    ) -> Result<NodeRegistration, AttemptError> {
        let ip = match self.options.address {
            NodeAddress::Fixed(ip) if self.options.cluster.is_none() => ip,
            address => {
                let meta = match self.client.livez().await {
                    Ok(response) => response.meta,
                    // A server of the older protocol does not have this route.
                    Err(CallError::Refused { meta, status, .. }) if status.is_client_error() => {
                        *meta
                    }
                    Err(error) => return Err(self.on_call_error(error, on_event)),
                };
                self.check_cluster(&meta)?;
                match address {
                    NodeAddress::Fixed(ip) => ip,
                    NodeAddress::TowardsServer => {
                        let found = meta.path.map(ConnectionPath::node_address);
                        let found = found.expect("every response came over a TCP connection");
                        found.map_err(|problem| {
                            self.client.avoid(&meta.server, meta.path);
                            let server = meta.server;
                            let cause = UnreachableCause::Connection;
                            let unreachable = CallError::Unreachable {
                                server,
                                problem,
                                cause,
                            };
                            self.on_call_error(unreachable, on_event)
                        })?
                    }
                }
            }
        };
        if let Some(registration) = &self.registration
            && registration.ip == ip
        {
            return Ok(registration.clone());
        }
        if self.options.address == NodeAddress::TowardsServer {
            on_event(Event::Address(ip));
        }
        let registration = NodeRegistration::without_metadata(self.options.identifier.clone(), ip)
            .with_metadata_value(self.options.metadata.clone());
        self.registration = Some(registration.clone());
        Ok(registration)
    }

    async fn fetch(
        &mut self,
        registration: &NodeRegistration,
        on_event: &mut impl FnMut(Event),
        deadline: Option<Instant>,
    ) -> Result<ReceivedPayload, AttemptError> {
        let at = Instant::now();
        let left = deadline.map_or(Duration::MAX, |deadline| deadline - at);
        let whole_seconds = left.saturating_sub(LAST_RESPONSE_BEFORE_TIMEOUT).as_secs();
        let wait = self.wait.min(Duration::from_secs(whole_seconds));
        let request = FetchRequest { at, wait };
        let fetched = match self.held {
            Some(held) => {
                let identifier = &registration.identifier;
                let retry = self.retry.is_refused.then_some(self.retry.known);
                self.client.fetch_other(identifier, held, retry, wait).await
            }
            None => self.client.fetch(registration, Some(wait)).await,
        };
        let response = match fetched {
            Ok(response) => response,
            Err(CallError::Refused { status, body, meta }) => {
                return Err(self.on_refusal(registration, status, *body, &meta, request, on_event));
            }
            Err(error) => return Err(self.on_call_error(error, on_event)),
        };
        self.check_cluster(&response.meta)?;
        if self.is_another_instance(&response.meta) {
            return Err(self.register_again());
        }
        let claimed = response.meta.cluster.as_deref();
        if let Err(problem) = verify(&self.options, claimed, &response.value) {
            let server = response.meta.server;
            return Err(self.on_call_error(CallError::Unusable { server, problem }, on_event));
        }
        if let Some(retry) = response.meta.retry
            && retry > self.retry.known
        {
            self.retry.known = retry;
            self.retry.is_due = response.value.digest == self.held;
        }
        if let Some(reason) = response.meta.outdated {
            on_event(Event::Outdated { reason });
        }
        let files = response.value.files.files();
        on_event(Event::Received {
            files: files.len(),
            bytes: files.iter().map(|file| file.content.len()).sum(),
        });
        self.cluster = response.value.cluster.clone().or(response.meta.cluster);
        Ok(response.value)
    }

    /// Returns whether the connection of this response begins at another address than the one that is registered.
    pub(super) fn has_moved(&self, meta: &ResponseMeta) -> bool {
        let (Some(registration), Some(path)) = (&self.registration, meta.path) else {
            return false;
        };
        self.options.address == NodeAddress::TowardsServer
            && path
                .node_address()
                .is_ok_and(|found| found != registration.ip)
    }

    pub(super) fn is_another_instance(&self, meta: &ResponseMeta) -> bool {
        match (
            self.accepted.and_then(|accepted| accepted.instance),
            meta.instance,
        ) {
            (Some(registered), Some(responded)) => registered != responded,
            _ => false,
        }
    }
}

/// Verifies that this node may write the payload: its signature, and that it is not older than what was delivered.
/// `claimed` is the name of the cluster in the header of the response.
fn verify(
    options: &JoinOptions,
    claimed: Option<&str>,
    payload: &ReceivedPayload,
) -> Result<(), String> {
    let must_be_signed = !options.verify_keys.is_empty();
    if must_be_signed {
        verify_signature(options, claimed, payload)
            .map_err(|problem| format!("the payload is not trusted: {problem}"))?;
    }
    let (Some(before), Some(generation)) = (&options.delivered, payload.generation) else {
        return Ok(());
    };
    let remedy = "if the server's state was restored from a backup on purpose, remove the receipt";
    if payload.instance != Some(before.instance) {
        if must_be_signed {
            return Err(
                "the payload is of another instance than the last delivery, so it may be older; if the server's state \
                 was created anew on purpose, remove the receipt and start `join` again"
                    .to_owned(),
            );
        }
        return Ok(());
    }
    if generation > before.generation {
        return Ok(());
    }
    if generation < before.generation {
        return Err(format!(
            "generation {generation} is older than generation {}, which was delivered before; {remedy}",
            before.generation
        ));
    }
    if payload.digest != Some(before.digest) {
        return Err(format!(
            "generation {generation} differs from the generation {generation} that was delivered before; {remedy}"
        ));
    }
    Ok(())
}

/// Verifies that a trusted key signed the payload, for this node and for the cluster that the node belongs to as far as
/// it knows.
fn verify_signature(
    options: &JoinOptions,
    claimed: Option<&str>,
    payload: &ReceivedPayload,
) -> Result<(), String> {
    let (keys, accept_v1) = (&options.verify_keys, options.accept_signature_v1);
    let verified = payload.verify(&options.identifier, keys, accept_v1);
    verified.map_err(|error| error.to_string())?;
    let Some(signed) = payload.cluster.as_deref() else {
        return Ok(());
    };
    let delivered = options.delivered.as_ref();
    let delivered = delivered.and_then(|delivered| delivered.cluster.as_deref());
    let known = [
        (options.cluster.as_deref(), ""),
        (delivered, " as the receipt says"),
        (claimed, " as the server says"),
    ];
    for (name, source) in known {
        if let Some(name) = name
            && name != signed
        {
            return Err(format!(
                "it is signed for the cluster {signed:?}, not for {name:?}{source}"
            ));
        }
    }
    Ok(())
}
