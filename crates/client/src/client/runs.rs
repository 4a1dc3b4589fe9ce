//! Calls about runs.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::json;

use super::{
    Client,
    error::{CallError, error_body},
    response::Response,
    transport::RequestOptions,
};
use cfgsync_model::{Fence, Identifier, RunName};
use cfgsync_wire::{ClaimBody, RunBody, RunEntry, RunnerBody, encode_output};

impl Client {
    /// Asks to run a program for all nodes. With `wait`, asks the server to hold the request for at most so long (in whole
    /// seconds) while another node runs it. A run that has failed is no error.
    pub async fn claim_run(
        &self,
        name: &RunName,
        claim: &ClaimBody,
        wait: Option<Duration>,
    ) -> Result<Response<RunBody>, CallError> {
        let options = RequestOptions {
            wait,
            ..RequestOptions::with_body(json!(claim))
        };
        let route = format!("/v1/run-once/{name}/claim");
        let raw = self
            .send_with_failover(Method::POST, &route, &options)
            .await?;
        let is_answer = raw.status.is_success()
            || [StatusCode::TOO_EARLY, StatusCode::GONE].contains(&raw.status);
        let meta = raw.meta;
        match serde_json::from_slice(&raw.body) {
            Ok(value) if is_answer => Ok(Response { meta, value }),
            Err(error) if raw.status.is_success() => Err(CallError::Unusable {
                server: meta.server,
                problem: format!("unexpected JSON about a run: {error}"),
            }),
            _ => Err(CallError::Refused {
                status: raw.status,
                body: Box::new(error_body(raw.status, &raw.body)),
                meta: Box::new(meta),
            }),
        }
    }

    /// Renews the lease of a runner.
    pub async fn renew_run(
        &self,
        name: &RunName,
        id: &Identifier,
        fence: Fence,
    ) -> Result<Response<RunBody>, CallError> {
        let options = RequestOptions::with_body(json!(runner(id, fence)));
        let route = format!("/v1/run-once/{name}/renew");
        self.send_json(Method::POST, &route, options).await
    }

    /// Records the success of a runner, with the output of its program.
    pub async fn finish_run(
        &self,
        name: &RunName,
        id: &Identifier,
        fence: Fence,
        output: &[u8],
    ) -> Result<Response<()>, CallError> {
        let body = RunnerBody {
            output: Some(encode_output(output)),
            ..runner(id, fence)
        };
        let route = format!("/v1/run-once/{name}/done");
        let options = RequestOptions::with_body(json!(body));
        self.send_empty(Method::POST, &route, options).await
    }

    /// Records the failure of a runner.
    pub async fn fail_run(
        &self,
        name: &RunName,
        id: &Identifier,
        fence: Fence,
        reason: &str,
    ) -> Result<Response<()>, CallError> {
        let body = RunnerBody {
            reason: Some(reason.to_owned()),
            ..runner(id, fence)
        };
        let route = format!("/v1/run-once/{name}/failed");
        let options = RequestOptions::with_body(json!(body));
        self.send_empty(Method::POST, &route, options).await
    }

    /// Makes the server forget a run, so that it is done once more.
    pub async fn forget_run(&self, name: &RunName) -> Result<Response<()>, CallError> {
        let route = format!("/v1/run-once/{name}");
        self.send_empty(Method::DELETE, &route, RequestOptions::default())
            .await
    }

    /// Returns all runs.
    pub async fn runs(&self) -> Result<Response<Vec<RunEntry>>, CallError> {
        self.get("/v1/run-once").await
    }
}

fn runner(id: &Identifier, fence: Fence) -> RunnerBody {
    RunnerBody {
        identifier: id.clone(),
        fence,
        output: None,
        reason: None,
    }
}
