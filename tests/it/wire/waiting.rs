//! Held requests: no wake-up is lost, and the requested wait is applied.

use std::time::Duration;

use cfgsync_server::HttpConfig;

use super::PAIR;
use crate::support::{TestServer, node, post, register, without_body};

const HOLD: &str = "prefer: wait=3600\r\n";

/// Limits each wait to 10 ms, so that tests can wait until it is over.
fn short_wait() -> HttpConfig {
    HttpConfig {
        wait_max: Duration::from_millis(10),
        ..HttpConfig::default()
    }
}

fn payload(identifier: &str, headers: &str) -> String {
    without_body("GET", &format!("/v1/nodes/{identifier}/payload"), headers)
}

#[tokio::test]
async fn held_request_is_answered_once_the_set_is_complete() {
    let server = TestServer::start(PAIR);
    let mut early = server.connect().await;
    early.send(node("a", HOLD)).await;
    server.wait_until_held(1).await;
    server.register("a").await;
    server.register("b").await;
    let reply = early.reply().await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("preference-applied"), Some("wait"));
    assert_eq!(reply.header("retry-after"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_waiters_lose_no_wake_up() {
    for _ in 0..50 {
        let server = TestServer::start(PAIR);
        server.register("a").await;
        let mut waiters = Vec::new();
        for at in 0..8 {
            let mut waiter = server.connect().await;
            waiter.send(node("a", HOLD)).await;
            waiters.push(waiter);
            if at == 4 {
                let mut last = server.connect().await;
                last.send(register("b")).await;
                waiters.push(last);
            }
        }
        for mut waiter in waiters {
            assert!(matches!(waiter.reply().await.status, 200 | 202));
        }
    }
}

#[tokio::test]
async fn expired_wait_sends_retry_after() {
    let server = TestServer::with(PAIR, short_wait());
    let mut connection = server.connect().await;
    for (prefer, retry_after) in [
        ("prefer: wait=0\r\n", "1"),
        ("Prefer: respond-async, WAIT=\"0\"\r\n", "1"),
        ("prefer: wait=1\r\n", "0"),
        ("prefer: wait=99999999999999999999\r\n", "0"),
    ] {
        for request in [node("a", prefer), payload("a", prefer)] {
            connection.send(request).await;
            let reply = connection.reply().await;
            assert_eq!(reply.status, 425, "{prefer}");
            assert_eq!(reply.header("preference-applied"), Some("wait"), "{prefer}");
            assert_eq!(reply.header("retry-after"), Some(retry_after), "{prefer}");
        }
    }
    for prefer in ["", "prefer: wait=soon\r\n", "prefer: respond-async\r\n"] {
        connection.send(node("a", prefer)).await;
        let reply = connection.reply().await;
        assert_eq!(reply.status, 425, "{prefer}");
        assert_eq!(reply.header("preference-applied"), None, "{prefer}");
        assert_eq!(reply.header("retry-after"), None, "{prefer}");
    }
}

#[tokio::test]
async fn hold_applies_to_clients_without_prefer() {
    let config = HttpConfig {
        hold: Duration::from_hours(1),
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    server.register("a").await;
    let mut legacy = server.connect().await;
    legacy.send(node("a", "")).await;
    server.wait_until_held(1).await;
    // An explicit `Prefer: wait` overrides the server's `hold`.
    let mut other = server.connect().await;
    other.send(node("a", "prefer: wait=0\r\n")).await;
    assert_eq!(other.reply().await.status, 425);
    server.register("b").await;
    let reply = legacy.reply().await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("preference-applied"), None);
}

/// Existing clients fetch right after they registered, and give up after about a second.
#[tokio::test]
async fn complete_set_is_served_to_clients_without_prefer_although_it_settles_and_renders() {
    let spec = PAIR.replace("nodes: 2", "nodes: 2, settle: 300ms");
    assert_ne!(spec, PAIR);
    let server = TestServer::start(&spec);
    server.register("a").await;
    let waiting = server.request(&node("a", "")).await;
    assert_eq!(waiting.status, 425, "it does not wait for nodes");
    server.register("b").await;
    let brief = server.request(&node("a", "prefer: wait=0\r\n")).await;
    assert_eq!(brief.status, 425, "an explicit wait is obeyed");
    for name in ["a", "b"] {
        assert_eq!(server.request(&node(name, "")).await.status, 200);
    }
}

#[tokio::test]
async fn failure_releases_waiters() {
    let server = TestServer::start(PAIR);
    let mut waiter = server.connect().await;
    waiter.send(node("a", HOLD)).await;
    server.wait_until_held(1).await;
    server
        .request(&post("/v1/fail", "", r#"{"reason":"enough"}"#))
        .await;
    let reply = waiter.reply().await;
    assert_eq!(reply.status, 410);
    let (code, reason, message) = reply.error();
    assert_eq!((&*code, &*reason), ("internal", "operator"));
    assert_eq!(message, "the cluster failed: enough");
}

#[tokio::test]
async fn etag_is_the_payload_digest() {
    let server = TestServer::start(PAIR);
    server.register("a").await;
    server.register("b").await;
    let mut connection = server.connect().await;
    connection.send(payload("a", HOLD)).await;
    let first = connection.reply().await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("preference-applied"), Some("wait"));
    let tag = first.header("etag").unwrap().to_owned();
    assert_eq!(
        tag,
        format!("\"{}\"", first.json()["digest"].as_str().unwrap())
    );

    for (held, status) in [
        (tag.clone(), 304),
        (format!("W/{tag}"), 304),
        (format!("\"x\", {tag}"), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
        (tag.replace('"', ""), 200),
    ] {
        connection
            .send(payload("a", &format!("if-none-match: {held}\r\n")))
            .await;
        let reply = connection.reply().await;
        assert_eq!(reply.status, status, "{held}");
        assert_eq!(reply.header("etag"), Some(&*tag), "{held}");
        assert!(reply.header("cfgsync-instance").is_some(), "{held}");
        assert_eq!(reply.body.is_empty(), status == 304, "{held}");
    }
    // Another node's payload has another ETag.
    connection
        .send(payload("b", &format!("if-none-match: {tag}\r\n")))
        .await;
    assert_eq!(connection.reply().await.status, 200);
}

#[tokio::test]
async fn unchanged_payload_gives_304_after_the_wait() {
    let server = TestServer::with(PAIR, short_wait());
    server.register("a").await;
    server.register("b").await;
    let (mut follower, tag) = loop {
        let mut follower = server.connect().await;
        follower.send(payload("a", HOLD)).await;
        let reply = follower.reply().await;
        if let Some(tag) = reply.header("etag") {
            break (follower, tag.to_owned());
        }
    };
    let held = format!("if-none-match: {tag}\r\n{HOLD}");
    follower.send(payload("a", &held)).await;
    let reply = follower.reply().await;
    assert_eq!(reply.status, 304);
    assert_eq!(reply.header("preference-applied"), Some("wait"));
    assert_eq!(reply.header("etag"), Some(&*tag));
}

#[tokio::test]
async fn client_follows_a_payload_by_etag() {
    let server = TestServer::start(PAIR);
    server.register("a").await;
    server.register("b").await;
    let mut follower = server.connect().await;
    follower.send(payload("a", HOLD)).await;
    let first = follower.reply().await;
    let tag = first.header("etag").unwrap();

    let wait = payload("a", &format!("if-none-match: {tag}\r\n{HOLD}"));
    follower.send(wait).await;
    server.wait_until_held(1).await;
    server.register("c").await;
    let reply = follower.reply().await;
    assert_eq!(reply.status, 200);
    assert_ne!(reply.header("etag"), Some(tag));
    assert_eq!(reply.json()["generation"], 2);
}
