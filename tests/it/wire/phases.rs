//! Phases: reports of nodes, and requests that wait for them.

use serde_json::json;

use super::PAIR;
use crate::support::{Reply, TestServer, get, node, post, without_body};

const HOLD: &str = "prefer: wait=3600\r\n";

fn report(identifier: &str, phase: &str, body: &str) -> String {
    let path = format!("/v1/nodes/{identifier}/phases/{phase}");
    post(&path, "", body).replacen("POST", "PUT", 1)
}

fn wait(query: &str) -> String {
    without_body("GET", &format!("/v1/phases/{query}"), HOLD)
}

/// Starts a server, and delivers the first generation to `a` and `b`.
async fn sealed(rest: &str) -> TestServer {
    let server = TestServer::start(&format!("{rest}{PAIR}"));
    for identifier in ["a", "b"] {
        server.register(identifier).await;
    }
    for identifier in ["a", "b"] {
        assert_eq!(server.request(&node(identifier, HOLD)).await.status, 200);
    }
    server
}

fn message(reply: &Reply) -> (u16, String) {
    let message = reply.json()["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (reply.status, message)
}

#[tokio::test]
async fn held_request_is_answered_once_the_nodes_have_reached_the_phase() {
    let server = sealed("").await;
    let mut waiters = vec![];
    for query in [
        "healthy",
        "healthy?all",
        "healthy?count=2&generation=1",
        "healthy?nodes=a,b",
    ] {
        let mut waiter = server.connect().await;
        waiter.send(wait(query)).await;
        waiters.push(waiter);
    }
    server.wait_until_held(4).await;
    let first = r#"{"generation":1,"reason":"port 80 answers"}"#;
    assert_eq!(
        server.request(&report("a", "healthy", first)).await.status,
        202
    );
    let now = server.request(&get("/v1/phases/healthy")).await;
    assert_eq!(message(&now), (425, "healthy: 1/2, missing b".to_owned()));
    assert_eq!(now.header("retry-after"), Some("1"));
    assert_eq!(
        server.request(&report("b", "healthy", "")).await.status,
        202
    );
    for mut waiter in waiters {
        let reply = waiter.reply().await;
        assert_eq!(message(&reply), (200, "healthy: 2/2".to_owned()));
        assert_eq!(reply.header("preference-applied"), Some("wait"));
        assert_eq!(reply.json()["state"], "reached");
        assert_eq!(reply.json()["phase"]["generation"], 1);
    }
    let snapshot = server.request(&get("/v1/snapshot")).await.json();
    let phases = &snapshot["registrations"][0]["phases"];
    let expected = json!([{
        "phase": "healthy", "generation": 1, "reason": "port 80 answers", "at": "1970-01-01T00:00:00Z"
    }]);
    assert_eq!(*phases, expected);
}

#[tokio::test]
async fn failed_node_is_named_with_its_reason() {
    let server = sealed("").await;
    let mut waiter = server.connect().await;
    waiter.send(wait("healthy")).await;
    server.wait_until_held(1).await;
    server
        .request(&report("b", "failed", r#"{"reason":"no disk"}"#))
        .await;
    let reply = waiter.reply().await;
    let text = "healthy: 0/2, missing a; b failed: no disk";
    assert_eq!(message(&reply), (410, text.to_owned()));
    assert_eq!(reply.json()["reason"], "phase_failed");
    let first = &reply.json()["phase"]["failed"][0];
    assert_eq!(*first, json!({"identifier": "b", "reason": "no disk"}));
}

#[tokio::test]
async fn with_fail_fast_every_waiting_request_learns_of_the_failed_node() {
    let server = sealed("fail_fast: true\n").await;
    let mut waiters = vec![];
    let tag = server.request(&get("/v1/nodes/a/payload")).await;
    let tag = format!("{HOLD}if-none-match: {}\r\n", tag.header("etag").unwrap());
    for request in [
        wait("up?nodes=a"),
        without_body("GET", "/v1/nodes/a/payload", &tag),
    ] {
        let mut waiter = server.connect().await;
        waiter.send(request).await;
        waiters.push(waiter);
    }
    server.wait_until_held(2).await;
    server
        .request(&report("b", "failed", r#"{"reason":"no disk"}"#))
        .await;
    for mut waiter in waiters {
        let reply = waiter.reply().await;
        let text = "the cluster failed: b failed: no disk";
        assert_eq!(message(&reply), (410, text.to_owned()));
        assert_eq!(reply.json()["failure"]["kind"], "node");
    }
}

#[tokio::test]
async fn wrong_reports_and_questions_are_refused() {
    let server = sealed("").await;
    let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(1001));
    for (request, status, reason) in [
        (report("a", "Up", ""), 400, "wrong_path"),
        (report("a", "delivered", ""), 400, "delivered_by_server"),
        (
            report("a", "up", r#"{"generation":2}"#),
            404,
            "no_such_generation",
        ),
        (
            report("a", "up", r#"{"generation":0}"#),
            404,
            "no_such_generation",
        ),
        (report("a", "up", "[]"), 400, "wrong_field"),
        (report("a", "up", &long), 400, "wrong_field"),
        (report("x", "up", ""), 404, "unregistered"),
        (get("/v1/phases/-"), 400, "wrong_path"),
        (get("/v1/phases/up?count=0"), 400, "wrong_parameter"),
        (get("/v1/phases/up?count=1&nodes=a"), 400, "wrong_parameter"),
        (get("/v1/phases/up?nodes=a,,b"), 400, "wrong_parameter"),
        (get("/v1/phases/up?generation=x"), 400, "wrong_parameter"),
    ] {
        let reply = server.request(&request).await;
        let found = reply.json()["reason"].clone();
        assert_eq!((reply.status, found), (status, json!(reason)), "{request}");
    }
}

#[tokio::test]
async fn number_of_phases_of_a_node_is_bounded() {
    let server = sealed("").await;
    for at in 0..32 {
        let phase = format!("p{at}");
        assert_eq!(server.request(&report("a", &phase, "")).await.status, 202);
    }
    let reply = server.request(&report("a", "p32", "")).await;
    assert_eq!(
        (reply.status, reply.json()["reason"].clone()),
        (409, json!("too_many_phases"))
    );
    assert_eq!(server.request(&report("b", "p32", "")).await.status, 202);
}
