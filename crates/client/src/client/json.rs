//! Calls whose response is JSON.

use hyper::Method;
use serde::de::DeserializeOwned;

use super::{
    Client,
    error::CallError,
    response::Response,
    transport::{RawResponse, RequestOptions},
};
use crate::sanitize::sanitize;

impl Client {
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        route: &str,
    ) -> Result<Response<T>, CallError> {
        self.send_json(Method::GET, route, RequestOptions::default())
            .await
    }

    pub(super) async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        route: &str,
        options: RequestOptions,
    ) -> Result<Response<T>, CallError> {
        let RawResponse { meta, body, .. } = self.send(method, route, options).await?;
        match serde_json::from_slice(&body) {
            Ok(value) => Ok(Response { meta, value }),
            Err(error) => Err(CallError::Unusable {
                server: meta.server,
                problem: sanitize(&format!(
                    "unexpected JSON from {route}: {error}; check that this is the URL of a cfgsync server"
                )),
            }),
        }
    }
}
