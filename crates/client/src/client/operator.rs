//! The calls with which an operator changes the cluster.

use hyper::Method;
use serde_json::json;

use super::{Client, error::CallError, response::Response, transport::RequestOptions};
use cfgsync_model::{ArtifactFile, ArtifactSet, Identifier};
use cfgsync_wire::{ReloadBody, ReloadPart, ReloadResult, RolloutBody};

impl Client {
    /// Overrides a node's own files with `files`, until [`Client::remove_override`]. Shared files still follow. The
    /// node need not be registered. After the seal, the server responds when the generation with these files is
    /// sealed.
    ///
    /// ```no_run
    /// # async fn example(client: cfgsync_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use cfgsync_model::{ArtifactFile, ArtifactSet};
    ///
    /// let config = ArtifactFile::new("config.yaml".parse()?, "replicas: 5\n");
    /// let files = ArtifactSet::new(vec![config])?;
    /// client.replace_artifacts(&"node-1".parse()?, &files).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn replace_artifacts(
        &self,
        id: &Identifier,
        files: &ArtifactSet,
    ) -> Result<Response<()>, CallError> {
        let files: Vec<serde_json::Value> = files.files().iter().map(file_json).collect();
        let body = json!({ "identifier": id, "files": files });
        let options = RequestOptions::with_body(body);
        self.send_empty(Method::POST, "/node/replace", options)
            .await
    }

    /// Removes a node from the cluster.
    pub async fn remove(&self, id: &Identifier) -> Result<Response<()>, CallError> {
        let route = format!("/v1/nodes/{id}");
        self.send_empty(Method::DELETE, &route, RequestOptions::default())
            .await
    }

    /// Ends an override of [`Client::replace_artifacts`].
    pub async fn remove_override(&self, id: &Identifier) -> Result<Response<()>, CallError> {
        let route = format!("/v1/nodes/{id}/override");
        self.send_empty(Method::DELETE, &route, RequestOptions::default())
            .await
    }

    /// Removes the key that owns a node's identifier. The next node that registers with the identifier owns it.
    pub async fn release(&self, id: &Identifier) -> Result<Response<()>, CallError> {
        let route = format!("/v1/nodes/{id}/key");
        self.send_empty(Method::DELETE, &route, RequestOptions::default())
            .await
    }

    /// Lets a node that follows changes try the generation again that it has refused.
    pub async fn retry(&self, id: &Identifier) -> Result<Response<()>, CallError> {
        let route = format!("/v1/nodes/{id}/retry");
        self.send_empty(Method::POST, &route, RequestOptions::default())
            .await
    }

    /// Removes a node, and refuses its registrations until [`Client::unban`].
    pub async fn ban(&self, id: &Identifier) -> Result<Response<()>, CallError> {
        let route = format!("/v1/nodes/{id}/ban");
        self.send_empty(Method::POST, &route, RequestOptions::default())
            .await
    }

    /// Lets a banned node register again.
    pub async fn unban(&self, id: &Identifier) -> Result<Response<()>, CallError> {
        let route = format!("/v1/nodes/{id}/ban");
        self.send_empty(Method::DELETE, &route, RequestOptions::default())
            .await
    }

    /// Declares the cluster failed. Every waiting node gets `reason`, until [`Client::reset`].
    pub async fn fail(&self, reason: &str) -> Result<Response<()>, CallError> {
        let options = RequestOptions::with_body(json!({ "reason": reason }));
        self.send_empty(Method::POST, "/v1/fail", options).await
    }

    /// Clears a failure of [`Client::fail`] or of a deadline.
    pub async fn reset(&self) -> Result<Response<()>, CallError> {
        self.send_empty(Method::POST, "/v1/reset", RequestOptions::default())
            .await
    }

    /// Returns the state of the roll-out.
    pub async fn rollout(&self) -> Result<Response<RolloutBody>, CallError> {
        self.get("/v1/rollout").await
    }

    /// Hands the generation that is rolled out to no further node.
    pub async fn stop_rollout(&self) -> Result<Response<()>, CallError> {
        self.send_empty(Method::POST, "/v1/rollout/stop", RequestOptions::default())
            .await
    }

    /// Continues a roll-out that is stopped.
    pub async fn resume_rollout(&self) -> Result<Response<()>, CallError> {
        self.send_empty(
            Method::POST,
            "/v1/rollout/resume",
            RequestOptions::default(),
        )
        .await
    }

    /// Evaluates the value `key` of `once` again, for the next generation. Returns when that generation is sealed, or
    /// after a minute.
    pub async fn redraw(&self, key: &str) -> Result<Response<()>, CallError> {
        let options = RequestOptions::with_body(json!({ "key": key }));
        self.send_empty(Method::POST, "/v1/redraw", options).await
    }

    /// Makes the server read its files again, all or `only` one part. Returns the result of each part.
    pub async fn reload(
        &self,
        only: Option<ReloadPart>,
    ) -> Result<Response<ReloadResult>, CallError> {
        let options = RequestOptions::with_body(json!(ReloadBody { only }));
        self.send_json(Method::POST, "/v1/reload", options).await
    }
}

/// Returns a file as `/node/replace` expects it. Content that is not UTF-8 is sent as base64.
fn file_json(file: &ArtifactFile) -> serde_json::Value {
    let bytes = file.content.to_bytes();
    let mut json = json!({ "path": file.path, "mode": file.mode });
    if let Ok(text) = std::str::from_utf8(&bytes) {
        json["content"] = text.into();
    } else {
        json["content"] = data_encoding::BASE64.encode(&bytes).into();
        json["encoding"] = "base64".into();
    }
    if file.secret {
        json["secret"] = true.into();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_files_are_read_back_by_the_wire_format() {
        let text = ArtifactFile::new("/a.txt".parse().unwrap(), "text\n");
        let binary = ArtifactFile::new("b.bin".parse().unwrap(), vec![0xff, 0x00]).into_secret();
        let files = [text, binary];
        let body = json!({
            "identifier": "node-1",
            "files": files.iter().map(file_json).collect::<Vec<_>>(),
        });
        let (identifier, read) =
            cfgsync_wire::read_replacement(body.to_string().as_bytes()).unwrap();
        assert_eq!(identifier.as_str(), "node-1");
        assert_eq!(read.files(), files);
    }
}
