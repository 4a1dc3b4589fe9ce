//! Held requests: no wake-up is lost, and what was asked for is what is waited for.

use std::time::Duration;

use cfgsync_server::HttpConfig;

use super::PAIR;
use crate::support::{TestServer, node, plain, post, register};

const HOLD: &str = "prefer: wait=3600\r\n";

/// Cuts every wait to less than anybody notices.
fn impatient() -> HttpConfig {
    HttpConfig {
        wait_max: Duration::from_millis(10),
        ..HttpConfig::default()
    }
}

fn payload(identifier: &str, headers: &str) -> String {
    plain("GET", &format!("/v1/nodes/{identifier}/payload"), headers)
}

#[tokio::test]
async fn a_held_request_is_answered_when_the_set_is_complete() {
    let server = TestServer::start(PAIR);
    let mut early = server.connect().await;
    early.send(node("a", HOLD)).await;
    server.holds(1).await;
    server.register("a").await;
    server.register("b").await;
    let reply = early.reply().await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("preference-applied"), Some("wait"));
    assert_eq!(reply.header("retry-after"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost() {
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
async fn a_wait_that_is_over_says_when_to_ask_again() {
    let server = TestServer::with(PAIR, impatient());
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
async fn hold_gives_patience_to_clients_that_know_no_prefer() {
    let config = HttpConfig {
        hold: Duration::from_hours(1),
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    server.register("a").await;
    let mut old = server.connect().await;
    old.send(node("a", "")).await;
    server.holds(1).await;
    // Who says how long is taken at his word.
    let mut other = server.connect().await;
    other.send(node("a", "prefer: wait=0\r\n")).await;
    assert_eq!(other.reply().await.status, 425);
    server.register("b").await;
    let reply = old.reply().await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("preference-applied"), None);
}

#[tokio::test]
async fn a_failure_frees_who_waits() {
    let server = TestServer::start(PAIR);
    let mut waiter = server.connect().await;
    waiter.send(node("a", HOLD)).await;
    server.holds(1).await;
    server
        .ask(&post("/v1/fail", "", r#"{"reason":"enough"}"#))
        .await;
    let reply = waiter.reply().await;
    assert_eq!(reply.status, 410);
    let (code, reason, message) = reply.error();
    assert_eq!((&*code, &*reason), ("internal", "operator"));
    assert_eq!(message, "the cluster failed: enough");
}

#[tokio::test]
async fn the_entity_tag_is_the_payloads_digest() {
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
    // Another node's payload has another.
    connection
        .send(payload("b", &format!("if-none-match: {tag}\r\n")))
        .await;
    assert_eq!(connection.reply().await.status, 200);
}

#[tokio::test]
async fn a_payload_that_did_not_change_while_waited_for_is_not_sent_again() {
    let server = TestServer::with(PAIR, impatient());
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
async fn a_payload_is_followed_by_its_tag() {
    let server = TestServer::start(PAIR);
    server.register("a").await;
    server.register("b").await;
    let mut follower = server.connect().await;
    follower.send(payload("a", HOLD)).await;
    let first = follower.reply().await;
    let tag = first.header("etag").unwrap();

    let wait = payload("a", &format!("if-none-match: {tag}\r\n{HOLD}"));
    follower.send(wait).await;
    server.holds(1).await;
    server.register("c").await;
    let reply = follower.reply().await;
    assert_eq!(reply.status, 200);
    assert_ne!(reply.header("etag"), Some(tag));
    assert_eq!(reply.json()["generation"], 2);
}
