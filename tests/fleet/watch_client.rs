//! A client of the event stream that resumes at another server after each end.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::http::HttpClient;

/// An event that is a change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: String,
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// Follows the events until `until`. Returns those that it received.
pub(crate) async fn watch(mut http: HttpClient, until: Instant) -> Vec<Event> {
    let mut events = Vec::<Event>::new();
    let mut last = None::<String>;
    while Instant::now() < until {
        let length = Duration::from_millis(300 + http.random.below(2_000));
        let resumed = last.as_deref().map(|id| ("last-event-id", id));
        let path = "/v1/watch?since=oldest";
        if let Some((response, connection)) = http.open(path, resumed.as_slice()).await {
            if response.status().is_success() {
                let mut body = response.into_body();
                let mut reader = EventReader::default();
                let read = async {
                    while let Some(Ok(frame)) = body.frame().await {
                        let Ok(bytes) = frame.into_data() else { break };
                        last = reader.read(&bytes, &mut events).or(last.take());
                    }
                };
                let _ = timeout(length, read).await;
            }
            connection.abort();
        }
        sleep(Duration::from_millis(50)).await;
    }
    events
}

/// Reads the stream.
#[derive(Default)]
pub(crate) struct EventReader {
    pending: String,
}

impl EventReader {
    /// Adds complete events of the store to `events`. Returns the last id.
    pub(crate) fn read(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Option<String> {
        self.pending.push_str(std::str::from_utf8(bytes).unwrap());
        let mut last = None;
        while let Some((block, rest)) = self.pending.split_once("\n\n") {
            let field = |name: &str| {
                let mut lines = block.lines();
                let value = lines.find_map(|line| line.strip_prefix(name));
                value.map(str::to_owned)
            };
            let (id, name, data) = (field("id: "), field("event: "), field("data: "));
            assert_ne!(name.as_deref(), Some("reset"), "{data:?}");
            if let (Some(id), Some(name), Some(data)) = (&id, name, data) {
                let id = id.clone();
                events.push(Event { id, name, data });
            }
            last = id.or(last);
            self.pending = rest.to_owned();
        }
        last
    }
}
