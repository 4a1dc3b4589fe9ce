//! A client that reads values, and writes them if they have not changed since.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    history::{History, Observation},
    http::HttpClient,
    node_client::effect_of,
};

/// A writer of values, whose values no other writer writes.
pub(crate) struct ValueClient {
    pub(crate) number: u64,
    pub(crate) http: HttpClient,
    pub(crate) history: History,
}

impl ValueClient {
    /// Runs until `until`.
    pub(crate) async fn run(mut self, until: Instant) {
        let mut versions = BTreeMap::<String, u64>::new();
        let mut count = 0;
        while Instant::now() < until {
            let pause = 50 + self.http.random.below(150);
            sleep(Duration::from_millis(pause)).await;
            count += 1;
            let key = format!("k{}", self.http.random.below(2));
            let read = self.read(&key).await;
            let Some(version) = read else { continue };
            let newest = versions.entry(key.clone()).or_default();
            assert!(version >= *newest, "{key} went from {newest} to {version}");
            *newest = version;
            let value = format!("{}-{count}", self.number);
            self.write(key, version, value).await;
        }
    }

    /// Returns the version of a value, or 0. `None` if no server says it.
    async fn read(&mut self, key: &str) -> Option<u64> {
        let path = format!("/v1/namespaces/fleet/keys/{key}");
        let answer = self.http.send("GET", &path, &[], &Value::Null).await?;
        match answer.status {
            200 => {
                let version = answer.json()["entry"]["version"].clone();
                Some(version.as_str().unwrap().parse().unwrap())
            }
            404 => Some(0),
            status => {
                assert!(status >= 500, "{answer:?}");
                None
            }
        }
    }

    async fn write(&mut self, key: String, version: u64, value: String) {
        let path = format!("/v1/namespaces/fleet/keys/{key}");
        let mode = if version == 0 { "CREATE" } else { "UPDATE" };
        let content = BASE64.encode(value.as_bytes());
        let body = json!({ "value": content, "codec": "text", "writeMode": mode });
        let condition = format!("\"{version}\"");
        let headers = [("if-match", &*condition)];
        let headers = if version == 0 { &[][..] } else { &headers };
        let answer = self.http.send("POST", &path, headers, &body).await;
        let result = effect_of(answer.as_ref());
        self.history.add(Observation::Wrote {
            key,
            value,
            version,
            result,
        });
    }
}
