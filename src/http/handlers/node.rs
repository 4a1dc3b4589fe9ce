//! The routes of nodes: register, wait, fetch, leave.

use std::time::Duration;

use hyper::{body::Incoming, http::request::Parts};
use tokio::time::Instant;

use super::super::{
    figures::Present,
    headers::{EntityTags, prefer_wait},
    read::{read_body, small_body},
    reply::{self, Rejection, Reply},
    state::Server,
};
use crate::{
    coordinator::Answer,
    model::{Digest, Identifier},
    wire::{read_identifier, read_leave, read_registration, read_replacement},
};

/// `POST /register`.
pub(super) async fn register(server: &Server, body: &mut Incoming) -> Result<Reply, Rejection> {
    let registration = read_registration(&small_body(server, body).await?)?;
    server.coordinator.register(registration).await?;
    Ok(reply::accepted())
}

/// `POST /node` and `POST /init-with-node`.
pub(super) async fn node(
    server: &Server,
    head: &Parts,
    body: &mut Incoming,
) -> Result<Reply, Rejection> {
    let identifier = read_identifier(&small_body(server, body).await?)?;
    let asked = prefer_wait(&head.headers);
    let wait = asked
        .unwrap_or(server.config.hold)
        .min(server.config.wait_max);
    let answer = match server.coordinator.answer(identifier.as_str()) {
        Answer::NotReady(_) if !wait.is_zero() => {
            wait_for(server, &identifier, None, Instant::now() + wait).await
        }
        answer => answer,
    };
    Ok(reply_to(server, answer, asked).await)
}

/// `GET /v1/nodes/{id}/payload`: held, if the client prefers so, until the payload is none that it has.
pub(super) async fn payload(
    server: &Server,
    head: &Parts,
    identifier: Identifier,
) -> Result<Reply, Rejection> {
    let tags = EntityTags::read(&head.headers);
    let asked = prefer_wait(&head.headers);
    let until = asked.map(|wait| Instant::now() + wait.min(server.config.wait_max));
    let mut known = None;
    let answer = loop {
        let answer = match until {
            Some(until) => wait_for(server, &identifier, known, until).await,
            None => server.coordinator.answer(identifier.as_str()),
        };
        match answer {
            Answer::Payload(payload) if tags.matches(payload.digest) => {
                if until.is_none() || known == Some(payload.digest) {
                    break Err(payload.digest);
                }
                known = Some(payload.digest);
            }
            answer => break Ok(answer),
        }
    };
    match answer {
        Ok(answer) => {
            let digest = match &answer {
                Answer::Payload(payload) => Some(payload.digest),
                _ => None,
            };
            let mut reply = reply_to(server, answer, asked).await;
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

/// `POST /node/replace`.
pub(super) async fn replace(server: &Server, body: &mut Incoming) -> Result<Reply, Rejection> {
    let turn = server.replace_bodies.acquire().await;
    let config = &server.config;
    let read = read_body(body, config.replace_body_max_bytes, config.body_timeout).await?;
    let (identifier, files) = read_replacement(&read)?;
    drop((read, turn));
    server.coordinator.replace(identifier, files).await?;
    Ok(reply::accepted())
}

/// `POST /v1/leave`.
pub(super) async fn leave(server: &Server, body: &mut Incoming) -> Result<Reply, Rejection> {
    let leave = read_leave(&small_body(server, body).await?)?;
    server.coordinator.leave(leave).await?;
    Ok(reply::accepted())
}

/// Holds the request, see [`crate::coordinator::Coordinator::wait`].
async fn wait_for(
    server: &Server,
    identifier: &Identifier,
    known: Option<Digest>,
    until: Instant,
) -> Answer {
    let _waiting = Present::in_gauge(&server.coordinator.metrics().waiting);
    let wait = server.coordinator.wait(identifier.as_str(), known, until);
    wait.await
}

/// What the coordinator answers, for a client that `asked` to wait so long, or did not.
async fn reply_to(server: &Server, answer: Answer, asked: Option<Duration>) -> Reply {
    let mut reply = match answer {
        Answer::Payload(payload) => reply::payload(server, payload).await,
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
        Answer::Missing(refusal) => reply::missing(&refusal),
        Answer::Failed(failure) => reply::failed(&failure),
        Answer::Draining(_) => reply::draining(),
    };
    if asked.is_some() {
        reply::preference_applied(&mut reply);
    }
    reply
}
