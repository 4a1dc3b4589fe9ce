//! Calls about operators' values and aliases.

use hyper::Method;
use serde_json::json;

use super::{CallError, Client, Response, transport::RequestOptions};
use cfgsync_model::{Namespace, ValueKey};
use cfgsync_wire::{
    AliasAnswer, AliasesBody, DiffBody, EntriesBody, EntryAnswer, EntryBody, ImportAnswer,
    ImportBody, NamespacesBody, SetBody, ValuesSnapshotBody,
};

impl Client {
    /// Returns the current version of a value. The content of a secret is hidden unless `reveal` is set.
    pub async fn value(
        &self,
        namespace: &Namespace,
        key: &ValueKey,
        reveal: bool,
    ) -> Result<Response<EntryBody>, CallError> {
        let route = format!("{}?{}", route_of(namespace, key), reveal_query(reveal));
        Ok(entry(self.get(&route).await?))
    }

    /// Sets a value. With `if_version`, it must have this version now.
    pub async fn set_value(
        &self,
        namespace: &Namespace,
        key: &ValueKey,
        value: &SetBody,
        if_version: Option<u64>,
    ) -> Result<Response<EntryBody>, CallError> {
        let options = RequestOptions {
            if_version,
            ..RequestOptions::with_body(value.to_json())
        };
        let route = route_of(namespace, key);
        Ok(entry(self.send_json(Method::POST, &route, options).await?))
    }

    /// Deletes a value. Its history stays. With `if_version`, it must have this version now.
    pub async fn delete_value(
        &self,
        namespace: &Namespace,
        key: &ValueKey,
        if_version: Option<u64>,
    ) -> Result<Response<()>, CallError> {
        let options = RequestOptions {
            if_version,
            ..RequestOptions::default()
        };
        self.send_empty(Method::DELETE, &route_of(namespace, key), options)
            .await
    }

    /// Returns a page of the values of a namespace whose key begins with `prefix`, after `cursor`, which is the
    /// `next_cursor` of the page before or empty.
    pub async fn values(
        &self,
        namespace: &Namespace,
        prefix: &str,
        cursor: &str,
        reveal: bool,
    ) -> Result<Response<EntriesBody>, CallError> {
        let (prefix, cursor) = (encode(prefix), encode(cursor));
        let reveal = reveal_query(reveal);
        let query = format!("prefix={prefix}&cursor={cursor}&{reveal}");
        self.get(&format!("/v1/namespaces/{namespace}/keys?{query}"))
            .await
    }

    /// Returns a page of the kept versions of a value, newest first, after `cursor`.
    pub async fn value_versions(
        &self,
        namespace: &Namespace,
        key: &ValueKey,
        cursor: &str,
        reveal: bool,
    ) -> Result<Response<EntriesBody>, CallError> {
        let (cursor, reveal) = (encode(cursor), reveal_query(reveal));
        let route = route_of(namespace, key);
        self.get(&format!("{route}/versions?cursor={cursor}&{reveal}"))
            .await
    }

    /// Returns one kept version of a value, also if the value is deleted.
    pub async fn value_version(
        &self,
        namespace: &Namespace,
        key: &ValueKey,
        version: u64,
        reveal: bool,
    ) -> Result<Response<EntryBody>, CallError> {
        let (route, reveal) = (route_of(namespace, key), reveal_query(reveal));
        let route = format!("{route}/versions?version={version}&{reveal}");
        let Response { meta, value } = self.get::<EntriesBody>(&route).await?;
        match value.entries.into_iter().next() {
            Some(value) => Ok(Response { meta, value }),
            None => Err(CallError::Unusable {
                server: meta.server,
                problem: format!("it has no version {version}"),
            }),
        }
    }

    /// Compares two kept versions of a value.
    pub async fn value_diff(
        &self,
        namespace: &Namespace,
        key: &ValueKey,
        versions: (u64, u64),
    ) -> Result<Response<DiffBody>, CallError> {
        let ((v1, v2), route) = (versions, route_of(namespace, key));
        self.get(&format!("{route}/diff?v1={v1}&v2={v2}")).await
    }

    /// Returns all values of a namespace at one revision.
    pub async fn values_snapshot(
        &self,
        namespace: &Namespace,
        reveal: bool,
    ) -> Result<Response<ValuesSnapshotBody>, CallError> {
        let reveal = reveal_query(reveal);
        self.get(&format!("/v1/namespaces/{namespace}/snapshot?{reveal}"))
            .await
    }

    /// Sets and deletes values of a namespace, so that it has the contents of `import`: all at one revision or none.
    pub async fn import_values(
        &self,
        namespace: &Namespace,
        import: &ImportBody,
    ) -> Result<Response<ImportAnswer>, CallError> {
        let options = RequestOptions::with_body(json!(import));
        let route = format!("/v1/namespaces/{namespace}/import");
        self.send_json(Method::POST, &route, options).await
    }

    /// Returns a page of the namespaces that have a value and that the client may read, after `cursor`.
    pub async fn namespaces(&self, cursor: &str) -> Result<Response<NamespacesBody>, CallError> {
        let cursor = encode(cursor);
        self.get(&format!("/v1/namespaces?cursor={cursor}")).await
    }

    /// Returns all aliases.
    pub async fn aliases(&self) -> Result<Response<AliasesBody>, CallError> {
        self.get("/v1/aliases").await
    }

    /// Sets a second name for a key, in every namespace.
    pub async fn set_alias(
        &self,
        name: &ValueKey,
        target: &ValueKey,
    ) -> Result<Response<AliasAnswer>, CallError> {
        let options = RequestOptions::with_body(json!({ "target": target }));
        self.send_json(Method::PUT, &route_of_alias(name), options)
            .await
    }

    /// Deletes an alias.
    pub async fn delete_alias(&self, name: &ValueKey) -> Result<Response<()>, CallError> {
        let options = RequestOptions::default();
        self.send_empty(Method::DELETE, &route_of_alias(name), options)
            .await
    }
}

/// Returns the path of a value. The `/` in the key is encoded, because a key may end like a route, as in `a/versions`.
fn route_of(namespace: &Namespace, key: &ValueKey) -> String {
    format!("/v1/namespaces/{namespace}/keys/{}", encode(key.as_str()))
}

fn route_of_alias(name: &ValueKey) -> String {
    format!("/v1/aliases/{}", encode(name.as_str()))
}

fn encode(text: &str) -> impl std::fmt::Display + '_ {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

fn reveal_query(reveal: bool) -> &'static str {
    if reveal { "reveal=true" } else { "" }
}

fn entry(response: Response<EntryAnswer>) -> Response<EntryBody> {
    Response {
        meta: response.meta,
        value: response.value.entry,
    }
}
