//! Calls about phases.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::json;

use super::{
    Client,
    error::{CallError, error_body},
    response::Response,
    transport::RequestOptions,
};
use cfgsync_model::{GenerationNumber, Identifier, Phase};
use cfgsync_wire::{PhaseBody, ReportBody};

/// A question about a phase, for [`Client::phase`].
#[derive(Debug, Clone)]
pub struct PhaseQuestion {
    /// The phase.
    pub phase: Phase,
    /// The generation. If it is absent, the newest one.
    pub generation: Option<GenerationNumber>,
    /// The nodes that must have reached it.
    pub nodes: PhaseNodes,
}

/// The nodes that must have reached a phase.
#[derive(Debug, Clone)]
pub enum PhaseNodes {
    /// All registered nodes of the generation.
    All,
    /// At least so many of them.
    Count(usize),
    /// These nodes.
    Named(Vec<Identifier>),
}

impl Client {
    /// Reports that a node has reached a phase.
    pub async fn report(
        &self,
        id: &Identifier,
        phase: &Phase,
        report: &ReportBody,
    ) -> Result<Response<()>, CallError> {
        let route = format!("/v1/nodes/{id}/phases/{phase}");
        let options = RequestOptions::with_body(json!(report));
        self.send_empty(Method::PUT, &route, options).await
    }

    /// Returns whether the nodes have reached a phase. With `wait`, asks the server to hold the request for at most so
    /// long (in whole seconds) while nodes are missing. A phase that is not reached is no error.
    pub async fn phase(
        &self,
        question: &PhaseQuestion,
        wait: Option<Duration>,
    ) -> Result<Response<PhaseBody>, CallError> {
        let options = RequestOptions {
            wait,
            ..RequestOptions::default()
        };
        let raw = self
            .send_with_failover(Method::GET, &question.route(), &options)
            .await?;
        let is_answer = raw.status.is_success()
            || [StatusCode::TOO_EARLY, StatusCode::GONE].contains(&raw.status);
        let meta = raw.meta;
        match serde_json::from_slice(&raw.body) {
            Ok(value) if is_answer => Ok(Response { meta, value }),
            Err(error) if raw.status.is_success() => Err(CallError::Unusable {
                server: meta.server,
                problem: format!("unexpected JSON about a phase: {error}"),
            }),
            _ => Err(CallError::Refused {
                status: raw.status,
                body: Box::new(error_body(raw.status, &raw.body)),
                meta: Box::new(meta),
            }),
        }
    }
}

impl PhaseQuestion {
    fn route(&self) -> String {
        let mut parameters = vec![];
        if let Some(number) = self.generation {
            parameters.push(format!("generation={number}"));
        }
        match &self.nodes {
            PhaseNodes::All => {}
            PhaseNodes::Count(count) => parameters.push(format!("count={count}")),
            PhaseNodes::Named(nodes) => {
                let names: Vec<&str> = nodes.iter().map(Identifier::as_str).collect();
                parameters.push(format!("nodes={}", names.join(",")));
            }
        }
        let parameters = parameters.join("&");
        format!("/v1/phases/{}?{parameters}", self.phase)
    }
}
