//! The routes of nodes: register, wait, fetch, leave.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    super::{
        context::{Context, RequestContext},
        peer_liveness::PendingDelivery,
        rejection::{Rejection, missing, reason_of_refusal},
        reply::{self, Reply, RoutedReply},
        request_headers::{EntityTags, joiner_id, known_retry, prefer_wait},
        request_metrics::GaugeGuard,
        state::ServerState,
    },
    small_body,
};
use cfgsync_access::Denial;
use cfgsync_cluster::{AccessKind, Answer, Delivery, Held, HeldSlot};
use cfgsync_model::{Identifier, JoinerId, NodeRegistration, Sender};
use cfgsync_wire::{LeaseBody, read_identifier, read_leave, read_registration};

/// `POST /register`.
pub(in super::super) async fn register(
    context: &mut RequestContext,
    body: &mut Incoming,
) -> Result<Reply, Rejection> {
    let registration = read_registration(&small_body(context, body).await?)?;
    let (identifier, ip) = (registration.identifier.clone(), registration.ip);
    let registered = register_node(context, registration).await;
    if let Err(rejection) = &registered {
        context.note_refused(identifier, ip, rejection);
    }
    registered
}

async fn register_node(
    context: &mut RequestContext,
    registration: NodeRegistration,
) -> Result<Reply, Rejection> {
    let claim = context.authorize_registration(&registration.identifier)?;
    let joiner = joiner_id(&context.head.headers);
    context.attach_registration(&registration);
    let coordinator = &context.server().coordinator;
    context
        .announce_checked(|| coordinator.check_register(&registration, claim, joiner))
        .await?;
    let accepted = coordinator.register_as(registration, claim, joiner).await?;
    if !accepted.changed {
        context.set_unchanged();
    }
    Ok(reply::accepted())
}

/// `POST /node` and `POST /init-with-node`.
pub(in super::super) async fn fetch(
    context: &mut RequestContext,
    body: &mut Incoming,
) -> Result<Reply, Rejection> {
    let body = small_body(context, body).await?;
    let identifier = read_identifier(&body)?;
    let preferred = prefer_wait(&context.head.headers);
    let config = &context.server().config;
    let wait = preferred.unwrap_or(config.hold);
    let wait = wait.min(hold_max(context.server(), AccessKind::Delivery));
    // Clients of the older protocol ask for about a second only, so a render must not answer "not ready".
    let render = preferred.map_or(config.hold_render, |_| Duration::ZERO);
    if let Err(rejection) = context.authorize_identifier(&identifier) {
        let answer = unregistered_or(context, rejection)?;
        return reply_to(context, &identifier, answer, preferred).await;
    }
    let connection = context.connection().clone();
    let server = &*connection.server;
    let coordinator = &server.coordinator;
    let joiner = joiner_id(&context.head.headers);
    let own = joiner.and_then(|joiner| {
        let known = coordinator.registration(&identifier);
        match known {
            Some(known) if known.origin.joiner == Some(joiner) => Some(known.registration),
            _ => read_registration(&body).ok().map(Arc::new),
        }
    });
    drop(body);
    let answer = match joiner {
        Some(_) => coordinator.answer_as(sender_of(joiner, own.as_ref()), identifier.as_str()),
        None => coordinator.answer(identifier.as_str()),
    };
    if !matches!(answer, Answer::NotReady(_)) || wait.max(render).is_zero() {
        return reply_to(context, &identifier, answer, preferred).await;
    }
    let Some(slot) = hold_slot(server, AccessKind::Delivery, &identifier) else {
        return reply_to(context, &identifier, answer, None).await;
    };
    let answer = fetch_held(context, &identifier, (joiner, own), wait, render).await?;
    drop(slot);
    reply_to(context, &identifier, answer, preferred).await
}

/// Returns the longest time for which a request is held. A lease shortens it for nodes.
fn hold_max(server: &ServerState, kind: AccessKind) -> Duration {
    let wait_max = server.config.wait_max;
    let of_lease = match kind {
        AccessKind::Delivery => server.coordinator.hold_max(),
        AccessKind::Look { .. } => None,
    };
    of_lease.map_or(wait_max, |of_lease| of_lease.min(wait_max))
}

fn sender_of(joiner: Option<JoinerId>, facts: Option<&Arc<NodeRegistration>>) -> Sender<'_> {
    match facts {
        Some(facts) => Sender::new(joiner, facts),
        None => Sender::Address(None),
    }
}

/// Holds a fetch for up to `wait`, and then for up to `render` while the files of a complete set are sealed. It ends
/// early if another machine registers under the identifier. `own` is the joiner id and the facts of the sender.
async fn fetch_held(
    context: &mut RequestContext,
    identifier: &Identifier,
    own: (Option<JoinerId>, Option<Arc<NodeRegistration>>),
    wait: Duration,
    render: Duration,
) -> Result<Answer, Rejection> {
    let connection = context.connection().clone();
    let coordinator = &connection.server.coordinator;
    let (joiner, mut facts) = own;
    if joiner.is_none() {
        // A client without a joiner id need not send its address with a fetch. It has the one that is registered now.
        let known = coordinator.registration(identifier);
        facts = known.map(|known| known.registration);
    }
    let sender = sender_of(joiner, facts.as_ref());
    let name = identifier.as_str();
    let waiting = pin!(async {
        let until = Instant::now() + wait;
        let answer = coordinator.wait_as(sender, name, until).await;
        if matches!(answer, Answer::NotReady(_)) && !render.is_zero() {
            let until = Instant::now() + render;
            coordinator.wait_for_seal(sender, name, until).await
        } else {
            answer
        }
    });
    let answer = hold(context, waiting).await;
    authorize_again(context, identifier, answer)
}

/// `GET /v1/nodes/{id}/payload`. With `Prefer: wait` it is held until there is a payload that the client does not have.
/// For operators without a joiner id it is a look, which shows secret files as the other routes of operators do.
pub(in super::super) async fn fetch_tagged(
    context: &mut RequestContext,
) -> Result<Reply, Rejection> {
    let identifier = context.path_identifier()?;
    let tags = EntityTags::parse(&context.head.headers);
    let mut preferred = prefer_wait(&context.head.headers);
    if let Err(rejection) = context.authorize_identifier(&identifier) {
        let answer = unregistered_or(context, rejection)?;
        return reply_to(context, &identifier, answer, preferred).await;
    }
    let connection = context.connection().clone();
    let server = &*connection.server;
    let coordinator = &server.coordinator;
    // A process that joins as a node follows its own payload, also with the rights of an operator, as with `POST /node`.
    let joiner = joiner_id(&context.head.headers);
    let kind = match joiner {
        Some(_) => AccessKind::Delivery,
        None => context.access_kind(),
    };
    // The registration of the process, so that it learns if another machine takes its place.
    let own = joiner.and_then(|joiner| {
        let known = coordinator.registration(&identifier)?;
        (known.origin.joiner == Some(joiner)).then_some(known.registration)
    });
    let sender = own
        .as_ref()
        .map(|registered| Sender::new(joiner, registered));
    let slot = preferred.and_then(|_| hold_slot(server, kind, &identifier));
    if slot.is_none() {
        preferred = None;
    }
    let until = preferred.map(|wait| Instant::now() + wait.min(hold_max(server, kind)));
    // Only the node itself follows a retry.
    let retry = known_retry(&context.head.headers).filter(|_| kind == AccessKind::Delivery);
    let mut held = Held {
        payload: None,
        retry,
    };
    let answer = loop {
        let answer = match until {
            Some(until) => wait_for(context, kind, sender, &identifier, held, until).await?,
            None => match sender {
                Some(sender) => coordinator.answer_as(sender, identifier.as_str()),
                None => coordinator.answer_for(kind, identifier.as_str()),
            },
        };
        match answer {
            Answer::Payload(Delivery { payload, .. })
                if tags.matches(payload.digest)
                    && !coordinator.must_retry(identifier.as_str(), retry) =>
            {
                // The client has it. Wait once more for another one, unless that was done or is not wanted.
                if until.is_none() || held.payload == Some(payload.digest) {
                    break Err(payload.digest);
                }
                held.payload = Some(payload.digest);
                if kind == AccessKind::Delivery {
                    coordinator.note_follower(&identifier);
                }
            }
            answer => break Ok(answer),
        }
    };
    drop(slot);
    match answer {
        Ok(answer) => {
            let digest = match &answer {
                Answer::Payload(delivery) => Some(delivery.payload.digest),
                _ => None,
            };
            // Before the payload is sent: a later retry then releases the next request.
            let newest_retry = retry.and_then(|_| coordinator.newest_retry(identifier.as_str()));
            let mut reply = reply_to(context, &identifier, answer, preferred).await?;
            if let Some(digest) = digest {
                reply::set_etag(&mut reply, digest);
                if let Some(newest) = newest_retry {
                    reply::set_retry(&mut reply, newest);
                }
            }
            Ok(reply)
        }
        Err(digest) => {
            let mut reply = reply::unchanged(digest);
            if preferred.is_some() {
                reply::preference_applied(&mut reply);
            }
            Ok(reply)
        }
    }
}

/// `POST /v1/leave`.
pub(in super::super) async fn leave(
    mut context: Context,
    mut body: axum::body::Body,
) -> Result<RoutedReply, Rejection> {
    let leave = read_leave(&small_body(&context, &mut body).await?)?;
    context.authorize_identifier(&leave.identifier)?;
    let joiner = joiner_id(&context.head.headers);
    let coordinator = &context.server().coordinator;
    context
        .announce_checked(|| coordinator.check_leave(&leave, joiner))
        .await?;
    coordinator.leave(leave, joiner).await?;
    Ok(reply::accepted().into())
}

/// `PUT /v1/nodes/{id}/lease`.
pub(in super::super) async fn renew_lease(mut context: Context) -> Result<RoutedReply, Rejection> {
    let identifier = context.path_identifier()?;
    context.authorize_identifier(&identifier)?;
    let lease = context.server().coordinator.renew(&identifier)?;
    let lease_seconds = lease.map(|lease| lease.as_secs());
    Ok(reply::json(&LeaseBody { lease_seconds }).into())
}

/// Takes a slot to hold a request of `identifier`. Without one the request is answered as if it had not asked to wait.
fn hold_slot<'a>(
    server: &'a ServerState,
    kind: AccessKind,
    identifier: &Identifier,
) -> Option<HeldSlot<'a>> {
    let max = server.config.waiters_per_node_max;
    server.coordinator.hold(kind, identifier, max)
}

/// Holds the request until there is an answer other than `held`, or until `until`.
async fn wait_for(
    context: &mut RequestContext,
    kind: AccessKind,
    sender: Option<Sender<'_>>,
    identifier: &Identifier,
    held: Held,
    until: Instant,
) -> Result<Answer, Rejection> {
    let connection = context.connection().clone();
    let coordinator = &connection.server.coordinator;
    let name = identifier.as_str();
    let answer = if let Some(sender) = sender {
        let waiting = pin!(coordinator.follow_as(sender, name, held, until));
        hold(context, waiting).await
    } else {
        let waiting = pin!(coordinator.wait_for(kind, name, held, until));
        hold(context, waiting).await
    };
    authorize_again(context, identifier, answer)
}

/// Holds the request until `waiting` is complete. It is pinned by the caller, because an argument takes its memory
/// twice, for each of the waiting nodes.
pub(super) async fn hold<T>(
    context: &RequestContext,
    waiting: Pin<&mut impl Future<Output = T>>,
) -> T {
    let _waiting = GaugeGuard::increment(&context.server().coordinator.metrics().waiting);
    let _held = context.peer().liveness.hold();
    waiting.await
}

/// Returns the answer to a request that was held, if its sender is still authorized.
fn authorize_again(
    context: &mut RequestContext,
    identifier: &Identifier,
    answer: Answer,
) -> Result<Answer, Rejection> {
    match context.authorize_identifier(identifier) {
        Ok(()) => Ok(answer),
        Err(rejection) => unregistered_or(context, rejection),
    }
}

/// Returns the answer to a fetch of a node whose name no key owns: it must register first. Any other `rejection` stays.
fn unregistered_or(context: &RequestContext, rejection: Rejection) -> Result<Answer, Rejection> {
    match rejection {
        Rejection::Denied(Denial::Unclaimed(_)) => Ok(context.server().coordinator.unregistered()),
        rejection => Err(rejection),
    }
}

/// Builds the response for `answer`. `preferred` is how long the client asked to wait, if that was honoured.
async fn reply_to(
    context: &mut RequestContext,
    identifier: &Identifier,
    answer: Answer,
    preferred: Option<Duration>,
) -> Result<Reply, Rejection> {
    let mut reply = match answer {
        Answer::Payload(delivery) => {
            let is_news = context.begin_delivery(identifier, &delivery).await?;
            let generation = delivery.generation;
            let mut reply = reply::payload(context.server(), delivery.payload).await;
            if let Some(failure) = &delivery.render_failure {
                reply::outdated(&mut reply, failure);
            }
            if is_news {
                let identifier = identifier.clone();
                reply.body_mut().deliver(PendingDelivery {
                    identifier,
                    generation,
                });
            }
            reply
        }
        Answer::NotReady(body) => {
            let mut reply = reply::not_ready(body);
            if let Some(waited) = preferred {
                reply::retry_after_wait(&mut reply, waited);
            }
            reply
        }
        Answer::Missing(refusal) => {
            context.set_refusal(reason_of_refusal(&refusal));
            missing(&refusal)
        }
        Answer::Failed(failure) => reply::failed(&failure),
        Answer::Draining(body) => reply::draining(&body),
        Answer::Refused(refusal) => return Err(refusal.into()),
    };
    if preferred.is_some() {
        reply::preference_applied(&mut reply);
    }
    Ok(reply)
}
