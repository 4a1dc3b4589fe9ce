//! Limits on sizes, times and numbers of requests and connections, and the drain at shutdown.

use std::time::Duration;

use cfgsync_server::HttpConfig;

use super::PAIR;
use crate::support::{Connection, TestServer, get, node, post, register, with_timeout};

/// A timeout that tests can afford to wait for. Only tests of the timeout itself use it.
const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn slow_request_head_gets_408() {
    let config = HttpConfig {
        header_timeout: SHORT,
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    for start in ["POST /register HT", "GET /livez HTTP/1.1\r\nhost: x\r\n"] {
        let mut connection = server.connect().await;
        connection.send(start).await;
        let reply = connection.reply().await;
        let (_, reason, message) = reply.error();
        assert_eq!((reply.status, &*reason), (408, "slow_head"), "{start:?}");
        assert_eq!(message, "the request's head did not arrive within 50ms");
        assert!(reply.header("cfgsync-instance").is_some());
        assert!(connection.is_closed().await, "{start:?}");
    }
    // Without a started request, the connection is closed without a response. Empty lines do not start a request.
    let mut ended = server.connect().await;
    ended.send(get("/livez") + "\r\n").await;
    assert_eq!(ended.reply().await.status, 200);
    assert!(ended.is_closed().await);
    let mut idle = server.connect().await;
    assert!(idle.is_closed().await);
    let mut idle = server.connect().await;
    idle.send(get("/livez")).await;
    assert_eq!(idle.reply().await.status, 200);
    assert!(idle.is_closed().await);
}

#[tokio::test]
async fn slow_body_gets_408() {
    let config = HttpConfig {
        body_timeout: SHORT,
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    for start in ["", "{\"identifier\""] {
        let mut connection = server.connect().await;
        let head = "POST /register HTTP/1.1\r\nhost: x\r\ncontent-length: 40\r\n\r\n";
        connection.send(format!("{head}{start}")).await;
        let reply = connection.reply().await;
        let (_, reason, message) = reply.error();
        assert_eq!((reply.status, &*reason), (408, "too_slow"));
        assert_eq!(message, "the body did not arrive within 50ms");
        assert!(connection.is_closed().await);
    }
}

#[tokio::test]
async fn bodies_above_the_limit_get_413() {
    let config = HttpConfig {
        register_body_max_bytes: 100,
        replace_body_max_bytes: 200,
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    let padding = |bytes: usize| {
        format!(
            r#"{{"identifier":"a","ip":"::1","x":"{}"}}"#,
            "y".repeat(bytes)
        )
    };
    for (path, max) in [
        ("/register", 100),
        ("/node", 100),
        ("/v1/leave", 100),
        ("/node/replace", 200),
    ] {
        // The declared or chunked body is slightly above the limit, and far above any buffer size.
        for bytes in [max, 8 << 20] {
            let body = padding(bytes);
            let chunked = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            );
            for request in [post(path, "", &body), chunked] {
                let mut connection = server.connect().await;
                connection.send(request).await;
                let reply = connection.reply().await;
                let (code, reason, message) = reply.error();
                assert_eq!(
                    (reply.status, &*code, &*reason),
                    (413, "internal", "too_large")
                );
                assert_eq!(
                    message,
                    format!(
                        "the request's body is longer than the {max} bytes that this server accepts"
                    )
                );
                // The server discarded the rest of the body, so the connection accepts another request.
                connection.send(get("/livez")).await;
                assert_eq!(connection.reply().await.status, 200);
            }
        }
    }
    let exact = padding(100 - padding(0).len());
    assert_eq!(
        server.request(&post("/register", "", &exact)).await.status,
        202
    );
}

#[tokio::test]
async fn truncated_body_changes_nothing() {
    let server = TestServer::start(PAIR);
    let mut connection = server.connect().await;
    let complete = register("a");
    connection.send(&complete[..complete.len() - 1]).await;
    connection.half_close().await;
    let reply = connection.reply().await;
    assert_eq!((reply.status, &*reply.error().1), (400, "cut_short"));
    assert!(connection.is_closed().await);
    let snapshot = server.request(&get("/v1/snapshot")).await.json();
    assert_eq!(snapshot["registrations"], serde_json::json!([]));
}

#[tokio::test]
async fn expect_continue_is_answered() {
    let server = TestServer::start(PAIR);
    let mut connection = server.connect().await;
    let request = post(
        "/register",
        "expect: 100-continue\r\n",
        r#"{"identifier":"a","ip":"::1"}"#,
    );
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    connection.send(format!("{head}\r\n\r\n")).await;
    assert_eq!(connection.head().await.status, 100);
    connection.send(body).await;
    assert_eq!(connection.reply().await.status, 202);

    // The server rejects a body above the limit instead of sending `100 Continue`.
    let mut connection = server.connect().await;
    let head = "POST /register HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n";
    connection.send(head).await;
    assert_eq!(connection.reply().await.status, 413);
    assert!(connection.is_closed().await);
}

#[tokio::test]
async fn disconnected_waiter_is_released() {
    let server = TestServer::start(PAIR);
    let mut connection = server.connect().await;
    connection.send(node("a", "prefer: wait=3600\r\n")).await;
    server.wait_until_held(1).await;
    connection.half_close().await;
    server.wait_until_held(0).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_free_slot() {
    let config = HttpConfig {
        connections_max: 1,
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    let mut first = server.connect().await;
    first.send(get("/livez")).await;
    assert_eq!(first.reply().await.status, 200);
    let mut second = server.connect().await;
    second.send(register("a")).await;
    first.send(get("/v1/snapshot")).await;
    assert_eq!(
        first.reply().await.json()["registrations"],
        serde_json::json!([])
    );
    drop(first);
    assert_eq!(second.reply().await.status, 202);
    // A server at its connection limit must still react to a stop.
    let report = server.stop().report().await;
    assert_eq!((report.open, report.cut), (1, 0));
    assert!(second.is_closed().await);
}

#[tokio::test]
async fn drain_answers_waiters_and_closes_idle_connections() {
    let server = TestServer::start(PAIR);
    let mut idle = server.connect().await;
    idle.send(get("/readyz")).await;
    assert_eq!(idle.reply().await.status, 200);
    let mut waiter = server.connect().await;
    waiter.send(node("a", "prefer: wait=3600\r\n")).await;
    server.wait_until_held(1).await;
    let report = server.stop().report().await;
    assert_eq!((report.open, report.cut), (2, 0));
    let reply = waiter.reply().await;
    assert_eq!(reply.status, 425);
    let (code, reason, _) = reply.error();
    assert_eq!((&*code, &*reason), ("not_ready", "draining"));
    assert_eq!(reply.json()["progress"]["needed"], 2);
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(waiter.is_closed().await);
    assert!(idle.is_closed().await);
}

#[tokio::test]
async fn drain_closes_unfinished_requests_after_its_timeout() {
    let config = HttpConfig {
        drain_timeout: SHORT,
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    let mut stuck = server.connect().await;
    stuck
        .send("POST /register HTTP/1.1\r\nhost: x\r\ncontent-length: 40\r\n\r\n{")
        .await;
    let connections = server.coordinator.metrics().connections.clone();
    with_timeout(async {
        while connections.get() != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let report = server.stop().report().await;
    assert_eq!((report.open, report.cut), (1, 1));
    assert!(stuck.is_closed().await);
    assert_eq!(connections.get(), 0);
}

/// A spec that is ready with one node. The payload has 8 MiB, far more than the socket buffers hold.
const LARGE: &str = "
ready: { nodes: 1 }
values: { line: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef }
materializers:
  - kind: template
    files:
      - path: /large
        template: '{% for i in range(1024) %}{{ values.line * 128 }}{% endfor %}'
";

async fn request_large_payload(server: &TestServer) -> Connection {
    let mut connection = server.connect().await;
    connection.send(node("a", "prefer: wait=20\r\n")).await;
    connection
}

#[tokio::test]
async fn large_payload_arrives_complete() {
    let server = TestServer::start(LARGE);
    server.register("a").await;
    let reply = request_large_payload(&server).await.reply().await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json()["files"][0]["content"].as_str().unwrap().len(),
        8 << 20
    );
}

#[tokio::test]
async fn stalled_reader_does_not_block_other_payloads() {
    let config = HttpConfig {
        large_payloads_at_once_max: 1,
        large_payload_slot_max: SHORT,
        ..HttpConfig::default()
    };
    let server = TestServer::with(LARGE, config);
    server.register("a").await;
    let mut stalled = request_large_payload(&server).await;
    // The head shows that the server has started to send this payload.
    assert_eq!(stalled.head().await.status, 200);
    let reply = request_large_payload(&server).await.reply().await;
    assert!(reply.json()["files"][0]["content"].as_str().unwrap().len() == 8 << 20);
}

#[tokio::test]
async fn stalled_reader_is_disconnected() {
    let config = HttpConfig {
        write_stall_timeout: SHORT,
        ..HttpConfig::default()
    };
    let server = TestServer::with(LARGE, config);
    server.register("a").await;
    let mut stalled = request_large_payload(&server).await;
    assert_eq!(stalled.head().await.status, 200);
    let connections = server.coordinator.metrics().connections.clone();
    with_timeout(async {
        while connections.get() != 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
