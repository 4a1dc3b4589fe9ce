//! Hostile clients: the server rejects or disconnects them, their requests have no effect, and other nodes are
//! served meanwhile.

use std::time::Duration;

use cfgsync_client::Client;
use cfgsync_cluster::metrics::Expiries;
use cfgsync_server::HttpConfig;
use cfgsync_store::Bounds;

use super::PAIR;
use crate::support::{
    Connection, INSTANCE, TestServer, get, node, post, register, with_timeout, without_body,
};

/// A timeout that tests can afford to wait for. Only tests of the timeout itself use it.
const SHORT: Duration = Duration::from_millis(50);

/// Sends `piece` repeatedly until the server closes the connection.
async fn send_until_closed(mut connection: Connection, piece: &[u8]) {
    with_timeout(async { while connection.try_send(piece).await {} }).await;
}

#[tokio::test]
async fn endless_request_head_times_out_despite_progress() {
    let config = HttpConfig {
        header_timeout: SHORT,
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    for piece in [&b"x"[..], b"x: y\r\n"] {
        let mut connection = server.connect().await;
        connection.send("GET /livez HTTP/1.1\r\nhost: ").await;
        send_until_closed(connection, piece).await;
    }
}

#[tokio::test]
async fn endless_body_times_out_despite_progress() {
    let config = HttpConfig {
        body_timeout: SHORT,
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    for (framing, piece) in [
        ("content-length: 60000", &b" "[..]),
        ("transfer-encoding: chunked", b"1\r\n \r\n"),
        // Each chunk has one byte of data and 1 KiB of chunk extension.
        ("transfer-encoding: chunked", &endless_extension()),
    ] {
        let mut connection = server.connect().await;
        let head = format!("POST /register HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n");
        connection.send(head).await;
        send_until_closed(connection, piece).await;
    }
}

fn endless_extension() -> Vec<u8> {
    format!("1;{}\r\n \r\n", "x".repeat(1024)).into_bytes()
}

#[tokio::test]
async fn endless_body_above_the_limit_times_out() {
    let config = HttpConfig {
        body_timeout: SHORT,
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    let mut connection = server.connect().await;
    let head = "POST /register HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.send(head).await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    send_until_closed(connection, chunk.as_bytes()).await;
}

/// A request hidden behind or inside another one. The server must not execute it.
const SMUGGLED: &str =
    "POST /v1/fail HTTP/1.1\r\nhost: x\r\ncontent-length: 18\r\n\r\n{\"reason\":\"smuggle\"}";

#[tokio::test]
async fn ambiguous_body_lengths_smuggle_no_request() {
    let server = TestServer::start(PAIR);
    let length = SMUGGLED.len();
    let behind_a_chunked_body = format!("0\r\n\r\n{SMUGGLED}");
    let both = behind_a_chunked_body.len();
    for (name, headers, body) in [
        (
            "a length and chunks",
            format!("content-length: {both}\r\ntransfer-encoding: chunked"),
            &*behind_a_chunked_body,
        ),
        (
            "chunks and a length",
            format!("transfer-encoding: chunked\r\ncontent-length: {both}"),
            &*behind_a_chunked_body,
        ),
        (
            "two lengths",
            format!("content-length: 0\r\ncontent-length: {length}"),
            SMUGGLED,
        ),
        (
            "two lengths in one header",
            format!("content-length: 0, {length}"),
            SMUGGLED,
        ),
        (
            "a length with a sign",
            "content-length: +0".to_owned(),
            SMUGGLED,
        ),
        (
            "an unknown encoding",
            "transfer-encoding: xchunked".to_owned(),
            &*behind_a_chunked_body,
        ),
        (
            "chunked is not the last encoding",
            "transfer-encoding: chunked, identity".to_owned(),
            &*behind_a_chunked_body,
        ),
        (
            "a header name followed by a space",
            format!("content-length : {length}"),
            SMUGGLED,
        ),
        (
            "a folded header",
            format!("x: y\r\n content-length: {length}"),
            SMUGGLED,
        ),
        (
            "a chunk's size with a sign",
            "transfer-encoding: chunked".to_owned(),
            "+0\r\n\r\n",
        ),
        (
            "a chunk's size that overflows",
            "transfer-encoding: chunked".to_owned(),
            "10000000000000000\r\n\r\n",
        ),
    ] {
        let mut connection = server.connect().await;
        let head = format!("POST /register HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n");
        connection.send(format!("{head}{body}{SMUGGLED}")).await;
        // The server rejects the request and does not read another one from this connection.
        let reply = connection.reply().await;
        assert!((400..500).contains(&reply.status), "{name}: {reply:?}");
        assert!(connection.is_closed().await, "{name}");
    }
    let state = &server.request(&get("/v1/snapshot")).await.json()["state"];
    assert_eq!(state, "waiting");
}

#[tokio::test]
async fn other_protocols_are_rejected_without_affecting_the_server() {
    let server = TestServer::start(PAIR);
    for (name, bytes) in [
        // The first bytes of a TLS handshake.
        ("TLS", &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..]),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("zeros", &[0; 4096]),
        ("high bytes", &[0xff; 4096]),
    ] {
        let mut connection = server.connect().await;
        connection.send(bytes).await;
        connection.half_close().await;
        with_timeout(connection.read_to_end()).await;
        assert_eq!(server.request(&get("/livez")).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn client_that_reads_no_responses_is_disconnected() {
    let config = HttpConfig {
        write_stall_timeout: SHORT,
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    let flood = get("/metrics").repeat(100);
    send_until_closed(server.connect().await, flood.as_bytes()).await;
}

#[tokio::test]
async fn half_closed_connections_free_their_slots() {
    let config = HttpConfig {
        connections_max: 4,
        connections_per_address_max: Some(4),
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    // More connections than the limit allows. The client closes none of them.
    let mut kept = Vec::new();
    for start in [
        "",
        "GET",
        "POST /register HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
    ]
    .repeat(4)
    {
        let mut connection = server.connect().await;
        connection.send(start).await;
        connection.half_close().await;
        kept.push(connection);
    }
    assert_eq!(server.request(&register("a")).await.status, 202);
}

/// Regression test: clients that shut down their write side after a request got a truncated payload, or no response if
/// it took a moment.
#[tokio::test]
async fn half_closed_requests_get_complete_responses() {
    let spec = "ready: {nodes: 1}\nmaterializers: [{kind: template, files: [{path: a, shared: true, \
                template: \"{{ 'x' * 8000000 }}\"}]}]\n";
    let server = TestServer::start(spec);
    server.register("a").await;
    let fetch = node("a", "prefer: wait=60\r\n");
    assert_eq!(server.request(&fetch).await.status, 200);
    for requests in [
        &*fetch,
        &get("/v1/nodes/a/payload"),
        &(get("/livez") + &fetch),
    ] {
        let mut connection = server.connect().await;
        connection.send(requests).await;
        connection.half_close().await;
        let mut reply = connection.reply().await;
        if reply.text().contains("alive") {
            reply = connection.reply().await;
        }
        assert_eq!(reply.status, 200);
        let files = &reply.json()["files"];
        assert_eq!(files[0]["content"].as_str().map(str::len), Some(8_000_000));
        assert!(connection.is_closed().await);
    }
    server.wait_until_disconnected().await;
}

/// Most clients that close their side while held have been killed, so the server must not keep their requests.
#[tokio::test]
async fn half_closed_waiter_is_released() {
    let server = TestServer::start(PAIR);
    server.register("a").await;
    for early in [true, false] {
        let mut connection = server.connect().await;
        connection.send(node("a", "prefer: wait=3600\r\n")).await;
        if !early {
            server.wait_until_held(1).await;
        }
        connection.half_close().await;
        assert!(connection.is_closed().await);
        server.wait_until_held(0).await;
    }
}

#[tokio::test]
async fn one_address_cannot_use_up_all_connections() {
    let config = HttpConfig {
        connections_max: 4,
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut connection = server.connect().await;
        connection.send(get("/livez")).await;
        assert_eq!(connection.reply().await.status, 200);
        held.push(connection);
    }
    // Connections beyond the quota get an error response, with or without a request.
    let registration = register("a");
    for bytes in [&*registration, ""].repeat(3) {
        let mut more = server.connect().await;
        more.send(bytes).await;
        more.half_close().await;
        let reply = more.reply().await;
        let (code, reason, message) = reply.error();
        assert_eq!(
            (reply.status, &*code, &*reason),
            (429, "internal", "too_many_connections")
        );
        assert_eq!(
            message,
            "this address has reached its limit of open connections (3); try again when one is closed, or raise \
             --connections-per-address-max on the server"
        );
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!(reply.header("cfgsync-cluster"), Some("test"));
        assert_eq!(
            reply.header("cfgsync-instance"),
            Some(&*INSTANCE.to_string())
        );
        assert!(more.is_closed().await);
    }
    // Regression test: the error response arrived before the request, which a client took for no response.
    let client = Client::new([format!("http://{}", server.address).parse().unwrap()]);
    for _ in 0..20 {
        let actual = client.livez().await.unwrap_err().to_string();
        assert!(
            actual.contains("answered 429 Too Many Requests"),
            "{actual}"
        );
    }
    // A closed connection frees its share of the quota.
    drop(held.pop());
    with_timeout(async { while server.request(&register("b")).await.status != 202 {} }).await;
    held.push(server.connect().await);

    // With far more connections at once than get an error response, another address can still connect.
    let metrics = server.coordinator.metrics();
    let before = metrics.connections_refused.get();
    let mut excess = Vec::new();
    for _ in 0..100 {
        excess.push(server.connect().await);
    }
    let mut other = server.connect_from("127.0.0.2").await;
    other.send(get("/v1/nodes")).await;
    let nodes = other.reply().await.json();
    assert_eq!(nodes.as_array().map(Vec::len), Some(1), "{nodes}");
    assert_eq!(nodes[0]["identifier"], "b");
    let closed = metrics.connections_refused.get() - before;
    assert!(closed >= 100, "{closed}");
    let actual = format!("cfgsync_connections_refused_total {}", before + closed);
    assert!(
        metrics.to_text(&Expiries::default()).contains(&actual),
        "{actual}"
    );

    // Shutdown does not wait for refused connections that have not got their response yet.
    drop((held, other));
    let idle = server.connect().await;
    let report = server.stop().report().await;
    assert_eq!(report.cut, 0, "{report:?}");
    drop((idle, excess));
}

/// Sends 100 registrations and returns how many are accepted. All others must be rejected with `message`.
async fn count_accepted(
    connection: &mut Connection,
    registration: impl Fn(usize) -> String,
    message: &str,
) -> usize {
    let mut accepted = 0;
    for at in 0..100 {
        connection.send(registration(at)).await;
        let reply = connection.reply().await;
        if reply.status == 202 {
            accepted += 1;
            continue;
        }
        let (code, reason, actual) = reply.error();
        assert_eq!((reply.status, &*code, &*reason), (503, "internal", "full"));
        assert_eq!(actual, message);
    }
    accepted
}

#[tokio::test]
async fn node_and_metadata_limits_reject_new_nodes_and_keep_others_served() {
    let bounds = Bounds {
        nodes_max: 50,
        metadata_total_max_bytes: 10_000,
    };
    let server = TestServer::with_bounds(PAIR, bounds);
    server.register("a").await;
    server.register("b").await;
    let with = |identifier: &str, length: usize| {
        let text = "x".repeat(length);
        let body =
            format!(r#"{{"identifier":"{identifier}","ip":"10.0.0.1","metadata":"{text}"}}"#);
        post("/register", "", &body)
    };
    // Each registration uses 1,000 bytes.
    let (mut names, mut metadata) = (server.connect().await, server.connect().await);
    let large = |at| with(&format!("large-{at}"), 936);
    let metadata_limit = "the metadata of all nodes would take more than 10000 bytes of memory; register with less \
                          metadata, remove nodes (cfgsync rm), or raise serve --metadata-total-max";
    let mut accepted = count_accepted(&mut metadata, large, metadata_limit).await;
    assert_eq!(accepted, 10);
    let small = |at| register(&format!("small-{at}"));
    let node_limit = "the limit of registered nodes (50) is reached; remove nodes (cfgsync rm), or raise serve --nodes-max";
    accepted += count_accepted(&mut names, small, node_limit).await;
    assert_eq!(accepted, 48);
    // Registered nodes can register again and get their files. An operator can make room for new ones.
    server.register("a").await;
    assert_eq!(server.request(&with("large-0", 900)).await.status, 202);
    let reply = server.request(&node("a", "prefer: wait=20\r\n")).await;
    assert_eq!(reply.status, 200);
    let remove = without_body("DELETE", "/v1/nodes/small-0", "");
    assert_eq!(server.request(&remove).await.status, 202);
    server.register("c").await;
}

#[tokio::test]
async fn unlisted_names_do_not_block_a_closed_list() {
    let server = TestServer::start(
        "
ready: { nodes: [a, b] }
materializers:
  - kind: template
    files: [{ path: /x, template: '{{ node.identifier }}' }]
",
    );
    let mut connection = server.connect().await;
    for some in (0..5_000).collect::<Vec<_>>().chunks(100) {
        let all: String = some.iter().map(|at| register(&format!("x-{at}"))).collect();
        connection.send(all).await;
        for _ in some {
            assert_eq!(connection.reply().await.status, 404);
        }
    }
    server.register("a").await;
    server.register("b").await;
    let reply = server
        .request(&without_body(
            "GET",
            "/v1/nodes/a/payload",
            "prefer: wait=20\r\n",
        ))
        .await;
    assert_eq!(reply.status, 200);
}
