//! The event stream over raw sockets: its form, its filters, its rights and its limits.

use std::{collections::VecDeque, time::Duration};

use cfgsync_server::HttpConfig;
use cfgsync_wire::{EventStreamReader, StreamedEvent};
use serde_json::{Value, json};

use super::PAIR;
use crate::support::{
    Connection, INSTANCE, Reply, TestServer, get, node, post, with_timeout, without_body,
};

/// One open event stream.
pub(super) struct Watch {
    connection: Connection,
    reader: EventStreamReader,
    events: VecDeque<StreamedEvent>,
    /// Everything that was received.
    pub(super) text: String,
    pub(super) head: Reply,
}

impl Watch {
    /// Opens a stream. `headers` are complete lines.
    pub(super) async fn open(server: &TestServer, query: &str, headers: &str) -> Self {
        let mut connection = server.connect().await;
        let request = without_body("GET", &format!("/v1/watch{query}"), headers);
        connection.send(request).await;
        let head = connection.head().await;
        assert_eq!(head.status, 200, "{query} {headers}");
        Self {
            connection,
            reader: EventStreamReader::new(4 << 20),
            events: VecDeque::new(),
            text: String::new(),
            head,
        }
    }

    /// Opens a stream that resumes behind the event `id`.
    pub(super) async fn after(server: &TestServer, query: &str, id: &str) -> Self {
        Self::open(server, query, &format!("last-event-id: {id}\r\n")).await
    }

    /// Returns the newest id that the stream has told.
    pub(super) fn last_id(&self) -> &str {
        self.reader.last_id()
    }

    /// Reads one chunk. Returns `false` at the end of the stream.
    pub(super) async fn read(&mut self) -> bool {
        let Some(chunk) = self.connection.chunk().await else {
            return false;
        };
        self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        let mut events = vec![];
        self.reader.read(&chunk, &mut events).unwrap();
        self.events.extend(events);
        true
    }

    /// Reads until `text` was received.
    pub(super) async fn read_until(&mut self, text: &str) {
        while !self.text.contains(text) {
            assert!(self.read().await, "the stream ended after {:?}", self.text);
        }
    }

    /// Returns the next event. `None` at the end of the stream.
    pub(super) async fn next_or_end(&mut self) -> Option<StreamedEvent> {
        while self.events.is_empty() {
            if !self.read().await {
                return None;
            }
        }
        self.events.pop_front()
    }

    /// Returns the next event.
    pub(super) async fn next(&mut self) -> StreamedEvent {
        self.next_or_end().await.expect("the stream goes on")
    }

    /// Returns the next `count` events, without those about the state of the cluster.
    pub(super) async fn next_changes(&mut self, count: usize) -> Vec<StreamedEvent> {
        let mut changes = vec![];
        while changes.len() < count {
            let event = self.next().await;
            if event.event != "readiness" {
                changes.push(event);
            }
        }
        changes
    }
}

pub(super) fn data(event: &StreamedEvent) -> Value {
    serde_json::from_str(&event.data).unwrap()
}

pub(super) fn names(events: &[StreamedEvent]) -> Vec<&str> {
    events.iter().map(|event| &*event.event).collect()
}

/// Returns an id of the server under test.
pub(super) fn id(position: impl std::fmt::Display) -> String {
    format!("{INSTANCE}-{position}")
}

pub(super) async fn set(server: &TestServer, key: &str, value: &[u8]) {
    let value = data_encoding::BASE64.encode(value);
    let body = json!({ "value": value, "codec": "bytes" });
    set_with(server, &format!("prod/keys/{key}"), &body).await;
}

async fn set_with(server: &TestServer, path: &str, body: &Value) {
    let request = post(&format!("/v1/namespaces/{path}"), "", &body.to_string());
    let reply = server.request(&request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

async fn delete(server: &TestServer, path: &str) {
    let reply = server.request(&without_body("DELETE", path, "")).await;
    assert!(reply.status < 300, "{} {}", reply.status, reply.text());
}

async fn set_alias(server: &TestServer, alias: &str, target: &str) {
    let request = post(
        &format!("/v1/aliases/{alias}"),
        "",
        &json!({ "target": target }).to_string(),
    );
    let reply = server.request(&request.replace("POST", "PUT")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn stream_begins_with_the_exact_preamble_and_headers() {
    let server = TestServer::start(PAIR);
    server.register("a").await;
    let mut watch = Watch::open(&server, "?kinds=set", "").await;
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache"),
        ("x-accel-buffering", "no"),
        ("connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
    ] {
        assert_eq!(watch.head.header(name), Some(value), "{name}");
    }
    assert_eq!(
        watch.head.header("cfgsync-instance"),
        Some(&*INSTANCE.to_string())
    );
    watch.read().await;
    // The id is known before the first event, so that a stream without events can resume.
    let expected = format!("retry: 5000\n\n: connected\n\nid: {}\n\n", id(1));
    assert_eq!(watch.text, expected);
}

#[tokio::test]
async fn heartbeats_carry_the_position_of_a_stream_without_events() {
    let http = HttpConfig {
        watch_heartbeat: Duration::from_millis(20),
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, http);
    let mut watch = Watch::open(&server, "?namespaces=none", "").await;
    watch.read_until(": heartbeat\n\n: heartbeat\n\n").await;
    server.register("a").await;
    watch
        .read_until(&format!(": heartbeat\n\nid: {}\n\n: heartbeat\n\n", id(1)))
        .await;
    assert_eq!(watch.last_id(), id(1));
}

#[tokio::test]
async fn every_watcher_gets_every_event_once_and_in_order() {
    let server = TestServer::start(PAIR);
    let mut watchers = vec![];
    for _ in 0..5 {
        watchers.push(Watch::open(&server, "", "").await);
    }
    server.register("a").await;
    set(&server, "app/timeout", b"30").await;
    set_alias(&server, "old", "app/timeout").await;
    delete(&server, "/v1/aliases/old").await;
    delete(&server, "/v1/namespaces/prod/keys/app/timeout").await;
    server.register("b").await;
    server.request(&node("a", "prefer: wait=20\r\n")).await;
    delete(&server, "/v1/nodes/b").await;
    let mut all = vec![];
    for watch in &mut watchers {
        let mut changes = watch.next_changes(9).await;
        // The delivery is recorded with a delay, before or after the removal.
        changes.sort_by_key(|event| event.event != "node_registered" && event.event == "delivered");
        all.push(changes);
    }
    let expected = [
        "node_registered",
        "set",
        "alias_set",
        "alias_delete",
        "delete",
        "node_registered",
        "generation_sealed",
        "node_removed",
        "delivered",
    ];
    assert_eq!(names(&all[0]), expected);
    assert!(all.iter().all(|changes| *changes == all[0]));
    let revisions: Vec<&str> = all[0][..6].iter().map(|event| &*event.id).collect();
    assert_eq!(revisions, [1, 2, 3, 4, 5, 6].map(id));
    let at = "1970-01-01T00:00:00Z";
    assert_eq!(
        data(&all[0][0]),
        json!({"revision": 1, "part": 0, "at": at, "kind": "node_registered", "identifier": "a", "ip": "10.0.0.1"})
    );
    assert_eq!(
        data(&all[0][1]),
        json!({"type": "SET", "namespace": "prod", "key": "app/timeout", "value": "MzA=", "codec": "bytes",
            "version": 1, "created_at": at, "updated_at": at})
    );
    let alias = json!({"type": "ALIAS_SET", "namespace": "", "key": "old",
        "value": data_encoding::BASE64.encode(b"app/timeout"), "created_at": at});
    assert_eq!(data(&all[0][2]), alias);
    let deleted = json!({"type": "DELETE", "namespace": "prod", "key": "app/timeout"});
    assert_eq!(data(&all[0][4]), deleted);
    assert_eq!(data(&all[0][8])["generation"], 1);
}

#[tokio::test]
async fn state_of_the_cluster_is_told_at_first_and_after_each_change() {
    let server = TestServer::start(PAIR);
    let mut watch = Watch::open(&server, "?kinds=readiness", "").await;
    let first = watch.next().await;
    assert_eq!((&*first.event, &*first.id), ("readiness", &*id(0)));
    let first = data(&first);
    assert_eq!(
        (&first["state"], &first["message"]),
        (&json!("waiting"), &json!("waiting: 0/2"))
    );
    server.register("a").await;
    assert_eq!(data(&watch.next().await)["message"], "waiting: 1/2");
    server.register("b").await;
    loop {
        let body = data(&watch.next().await);
        if body["state"] == "ready" {
            assert_eq!(body["message"], "serving generation 1 to 2 nodes");
            assert_eq!(body["generation"], 1);
            break;
        }
    }
    let fail = post("/v1/fail", "", r#"{"reason":"quota"}"#);
    assert_eq!(server.request(&fail).await.status, 202);
    let failed = data(&watch.next().await);
    assert_eq!(
        (&failed["state"], &failed["message"]),
        (&json!("failed"), &json!("failed: quota"))
    );
    assert_eq!(failed["failure"]["reason"], "quota");
}

#[tokio::test]
async fn filters_hold_for_live_events_and_for_old_ones() {
    let server = TestServer::start(PAIR);
    let cases = [
        (
            "?namespaces=prod&namespaces=test",
            &["prod/app/a", "test/app/a", "prod/db", "/app/old"][..],
        ),
        (
            "?namespaces=prod&prefixes=app%2F",
            &["prod/app/a", "/app/old"],
        ),
        (
            "?prefixes=app/&prefixes=d",
            &["prod/app/a", "test/app/a", "prod/db", "/app/old"],
        ),
        ("?namespaces=test&kinds=set", &["test/app/a"]),
        ("?kinds=alias_set&kinds=node_removed", &["/app/old", "a"]),
        ("?identifiers=b", &["b"]),
        (
            "?identifiers=a&kinds=node_removed&kinds=node_banned",
            &["a"],
        ),
    ];
    let start = id(0);
    let mut live = vec![];
    for (query, _) in cases {
        live.push(Watch::open(&server, query, "").await);
    }
    server.register("a").await;
    let value = json!({ "value": "MQ==" });
    for path in ["prod/keys/app/a", "test/keys/app/a", "prod/keys/db"] {
        set_with(&server, path, &value).await;
    }
    set_alias(&server, "app/old", "app/a").await;
    delete(&server, "/v1/nodes/a").await;
    server.register("b").await;
    let about = |event: &StreamedEvent| {
        let data = data(event);
        match data["identifier"].as_str() {
            Some(identifier) => identifier.to_owned(),
            None => format!(
                "{}/{}",
                data["namespace"].as_str().unwrap(),
                data["key"].as_str().unwrap()
            ),
        }
    };
    for ((query, expected), mut live) in cases.into_iter().zip(live) {
        let mut replay = Watch::after(&server, query, &start).await;
        for (kind, watch) in [("live", &mut live), ("replay", &mut replay)] {
            let events = watch.next_changes(expected.len()).await;
            let found: Vec<_> = events.iter().map(about).collect();
            assert_eq!(found, expected, "{kind} {query}");
        }
    }
}

#[tokio::test]
async fn contents_cannot_break_the_frames() {
    let server = TestServer::start(PAIR);
    let mut watch = Watch::open(&server, "", "").await;
    watch.read().await;
    let hostile = "x\n\nevent: set\ndata: {}\n\nid: 9\r\rdata:\u{0}\u{2028}:";
    let metadata = json!({ "note": hostile, hostile: 1 });
    let body = json!({ "identifier": "a", "ip": "10.0.0.1", "metadata": metadata });
    assert_eq!(
        server
            .request(&post("/register", "", &body.to_string()))
            .await
            .status,
        202
    );
    set(&server, "k", hostile.as_bytes()).await;
    let text =
        json!({ "value": data_encoding::BASE64.encode(hostile.as_bytes()), "codec": "a:b:\"c\\d" });
    set_with(&server, "prod:x/keys/k", &text).await;
    let fail = post("/v1/fail", "", &json!({ "reason": hostile }).to_string());
    assert_eq!(server.request(&fail).await.status, 202);
    let events = watch.next_changes(4).await;
    assert_eq!(
        names(&events),
        ["node_registered", "set", "set", "cluster_failed"]
    );
    assert_eq!(data(&events[0])["metadata"], metadata);
    assert_eq!(
        data(&events[1])["value"],
        data_encoding::BASE64.encode(hostile.as_bytes())
    );
    assert_eq!(data(&events[2])["codec"], "a:b:\"c\\d");
    assert_eq!(data(&events[3])["failure"]["reason"], hostile);
    assert!(!watch.text.contains('\r') && !watch.text.contains('\0'));
}

#[tokio::test]
async fn secrets_are_never_shown() {
    let spec = format!("metadata: {{ password: {{ type: string, secret: true }} }}\n{PAIR}");
    let server = TestServer::start(&spec);
    let secret =
        json!({ "value": data_encoding::BASE64.encode(b"PLANTED"), "codec": "text", "type": 12 });
    set_with(&server, "prod/keys/key", &secret).await;
    let metadata = json!({ "password": "PLANTED", "port": 1 });
    let body = json!({ "identifier": "a", "ip": "10.0.0.1", "metadata": metadata });
    assert_eq!(
        server
            .request(&post("/register", "", &body.to_string()))
            .await
            .status,
        202
    );
    let mut watch = Watch::open(&server, &format!("?since={}", id(0)), "").await;
    let events = watch.next_changes(2).await;
    let set = data(&events[0]);
    assert_eq!(
        (&set["hidden"], &set["value"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(data(&events[1])["metadata"], json!({ "port": 1 }));
    let base64 = data_encoding::BASE64.encode(b"PLANTED");
    assert!(
        !watch.text.contains("PLANTED") && !watch.text.contains(&base64),
        "{}",
        watch.text
    );
}

#[tokio::test]
async fn wrong_filters_and_methods_are_refused() {
    let server = TestServer::start(PAIR);
    let many = |name: &str, count: usize| {
        let list: Vec<String> = (0..count).map(|n| format!("{name}=n{n}")).collect();
        format!("?{}", list.join("&"))
    };
    let long = |length| "x".repeat(length);
    for (query, is_accepted) in [
        (many("namespaces", 100), true),
        (many("namespaces", 101), false),
        (many("prefixes", 100), true),
        (many("prefixes", 101), false),
        (format!("?prefixes={}", long(256)), true),
        (format!("?prefixes={}", long(257)), false),
        (format!("?namespaces={}", long(257)), false),
        ("?kinds=none".to_owned(), false),
        ("?identifiers=%20".to_owned(), false),
        ("?namespaces=prod&identifiers=a".to_owned(), false),
        ("?follow=maybe".to_owned(), false),
    ] {
        if is_accepted {
            Watch::open(&server, &query, "").await;
            continue;
        }
        let reply = server.request(&get(&format!("/v1/watch{query}"))).await;
        assert_eq!(reply.status, 400, "{query}");
        assert_eq!(
            reply.json()["details"][0]["reason"],
            "WRONG_PARAMETER",
            "{query}"
        );
        assert_eq!(reply.json()["code"], 3, "{query}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let reply = server.request(&without_body(method, "/v1/watch", "")).await;
        assert_eq!(
            (reply.status, reply.header("allow")),
            (405, Some("GET, HEAD")),
            "{method}"
        );
    }
}

pub(super) async fn wait_until_watched_by(server: &TestServer, watchers: i64) {
    let watched = async {
        while server.coordinator.metrics().watchers.get() != watchers {
            tokio::task::yield_now().await;
        }
    };
    with_timeout(watched).await;
}

#[tokio::test]
async fn client_that_is_gone_is_noticed_without_a_write() {
    let server = TestServer::start(PAIR);
    let mut watch = Watch::open(&server, "", "").await;
    watch.read().await;
    assert_eq!(server.coordinator.metrics().watchers.get(), 1);
    drop(watch);
    wait_until_watched_by(&server, 0).await;
    server.wait_until_disconnected().await;
}

#[tokio::test]
async fn stream_ends_cleanly_when_the_server_stops() {
    let server = TestServer::start(PAIR);
    let mut all = Watch::open(&server, "", "").await;
    let mut values = Watch::open(&server, "?namespaces=prod", "").await;
    all.read().await;
    values.read().await;
    let stopping = server.stop();
    let mut last = None;
    while let Some(event) = all.next_or_end().await {
        last = Some(event);
    }
    let last = last.unwrap();
    assert_eq!(
        (&*last.event, &data(&last)["notice"]),
        ("notice", &json!("server_stopping"))
    );
    assert_eq!(values.next_or_end().await, None);
    let report = stopping.report().await;
    assert_eq!((report.open, report.cut), (2, 0));
}
