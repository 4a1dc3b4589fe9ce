//! The routes of nodes: register, wait, fetch, leave.

use std::time::Duration;

use hyper::body::Incoming;
use tokio::time::Instant;

use super::super::{
    ask::Ask,
    figures::Present,
    headers::{EntityTags, prefer_wait},
    read::small_body,
    reply::{self, Rejection, Reply},
    state::Server,
    waiters::Held,
};
use cfgsync_access::Standing;
use cfgsync_cluster::{AccessKind, Answer, Delivery, Refusal};
use cfgsync_model::{Digest, Identifier};
use cfgsync_wire::{read_identifier, read_leave, read_registration};

/// `POST /register`.
pub(super) async fn register(ask: &mut Ask<'_>, body: &mut Incoming) -> Result<Reply, Rejection> {
    let registration = read_registration(&small_body(ask.server, ask.peer, body).await?)?;
    let claim = match ask.acts_as(&registration.identifier)? {
        Standing::Known => None,
        Standing::Unclaimed => ask.key(),
    };
    ask.brings_facts(&registration);
    ask.begins().await?;
    let coordinator = &ask.server.coordinator;
    let accepted = coordinator.register_as(registration, claim).await?;
    if !accepted.changed {
        ask.is_nothing_new();
    }
    Ok(reply::accepted())
}

/// `POST /node` and `POST /init-with-node`.
pub(super) async fn node(ask: &mut Ask<'_>, body: &mut Incoming) -> Result<Reply, Rejection> {
    let server = ask.server;
    let identifier = read_identifier(&small_body(server, ask.peer, body).await?)?;
    let asked = prefer_wait(&ask.head.headers);
    let wait = asked
        .unwrap_or(server.config.hold)
        .min(server.config.wait_max);
    let answer = match ask.acts_as(&identifier)? {
        Standing::Known => server.coordinator.answer(identifier.as_str()),
        Standing::Unclaimed => {
            return reply_to(ask, server.coordinator.unregistered(), asked).await;
        }
    };
    if !matches!(answer, Answer::NotReady(_)) || wait.is_zero() {
        return reply_to(ask, answer, asked).await;
    }
    let Some(place) = place(server, &identifier) else {
        return reply_to(ask, answer, None).await;
    };
    let until = Instant::now() + wait;
    let answer = wait_for(ask, AccessKind::Delivery, &identifier, None, until).await?;
    drop(place);
    reply_to(ask, answer, asked).await
}

/// `GET /v1/nodes/{id}/payload`: held, if the client prefers so, until the payload is none that it has. Operators see
/// of secret files what they see elsewhere.
pub(super) async fn payload(ask: &mut Ask<'_>, identifier: Identifier) -> Result<Reply, Rejection> {
    let server = ask.server;
    let tags = EntityTags::read(&ask.head.headers);
    let mut asked = prefer_wait(&ask.head.headers);
    if ask.acts_as(&identifier)? == Standing::Unclaimed {
        return reply_to(ask, server.coordinator.unregistered(), asked).await;
    }
    let place = asked.and_then(|_| place(server, &identifier));
    if place.is_none() {
        asked = None;
    }
    let until = asked.map(|wait| Instant::now() + wait.min(server.config.wait_max));
    let purpose = ask.purpose();
    let mut known = None;
    let answer = loop {
        let answer = match until {
            Some(until) => wait_for(ask, purpose, &identifier, known, until).await?,
            None => server.coordinator.answer_for(purpose, identifier.as_str()),
        };
        match answer {
            Answer::Payload(Delivery { payload, .. }) if tags.matches(payload.digest) => {
                if until.is_none() || known == Some(payload.digest) {
                    break Err(payload.digest);
                }
                known = Some(payload.digest);
            }
            answer => break Ok(answer),
        }
    };
    drop(place);
    match answer {
        Ok(answer) => {
            let digest = match &answer {
                Answer::Payload(handed) => Some(handed.payload.digest),
                _ => None,
            };
            let mut reply = reply_to(ask, answer, asked).await?;
            if let Some(digest) = digest {
                reply::tag(&mut reply, digest);
            }
            Ok(reply)
        }
        Err(digest) => {
            let mut reply = reply::unchanged(digest);
            if asked.is_some() {
                reply::preference_applied(&mut reply);
            }
            Ok(reply)
        }
    }
}

/// `POST /v1/leave`.
pub(super) async fn leave(ask: &mut Ask<'_>, body: &mut Incoming) -> Result<Reply, Rejection> {
    let leave = read_leave(&small_body(ask.server, ask.peer, body).await?)?;
    if ask.acts_as(&leave.identifier)? == Standing::Unclaimed {
        let identifier = leave.identifier.clone();
        return Err(Refusal::NoKey(identifier).into());
    }
    ask.begins().await?;
    ask.server.coordinator.leave(leave).await?;
    Ok(reply::accepted())
}

/// A place to be held at; without one the request is answered as if it had not asked to wait.
fn place<'a>(server: &'a Server, identifier: &Identifier) -> Option<Held<'a>> {
    let max = server.config.waiters_per_node_max;
    server.waiters.hold(identifier, max)
}

/// Holds the request, see [`cfgsync_cluster::Coordinator::wait`].
async fn wait_for(
    ask: &mut Ask<'_>,
    purpose: AccessKind,
    identifier: &Identifier,
    known: Option<Digest>,
    until: Instant,
) -> Result<Answer, Rejection> {
    let coordinator = &ask.server.coordinator;
    let answer = {
        let _waiting = Present::in_gauge(&coordinator.metrics().waiting);
        let _listening = ask.peer.line.listens();
        let waiting = coordinator.wait_for(purpose, identifier.as_str(), known, until);
        waiting.await
    };
    match ask.acts_as(identifier)? {
        Standing::Known => Ok(answer),
        Standing::Unclaimed => Ok(coordinator.unregistered()),
    }
}

/// What the coordinator answers, for a client that `asked` to wait so long, or did not.
async fn reply_to(
    ask: &mut Ask<'_>,
    answer: Answer,
    asked: Option<Duration>,
) -> Result<Reply, Rejection> {
    let mut reply = match answer {
        Answer::Payload(handed) => {
            ask.hands_over(&handed).await?;
            reply::payload(ask.server, handed.payload).await
        }
        Answer::NotReady(body) => {
            let mut reply = reply::not_ready(body);
            // Who has just waited may ask again at once; who has not should not ask in a loop.
            match asked {
                Some(wait) if wait >= Duration::from_secs(1) => {
                    reply::retry_after(&mut reply, "0");
                }
                Some(_) => reply::retry_after(&mut reply, "1"),
                None => {}
            }
            reply
        }
        Answer::Missing(refusal) => {
            ask.is_refused(reply::reason_of(&refusal));
            reply::missing(&refusal)
        }
        Answer::Failed(failure) => reply::failed(&failure),
        Answer::Draining(body) => reply::draining(&body),
    };
    if asked.is_some() {
        reply::preference_applied(&mut reply);
    }
    Ok(reply)
}
