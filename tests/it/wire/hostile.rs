//! Clients that mean harm: what they send is refused or cut, nothing of it takes effect, and real nodes are served
//! beside them.

use std::time::Duration;

use cfgsync_client::Client;
use cfgsync_server::HttpConfig;
use cfgsync_store::Bounds;

use super::PAIR;
use crate::support::{Connection, INSTANCE, TestServer, get, node, plain, post, register, within};

/// Short enough to be waited for, and only where running out is what the test is about.
const SHORT: Duration = Duration::from_millis(50);

/// Sends `drop` again and again, without ever an end, until the server has closed.
async fn drip(mut connection: Connection, drop: &[u8]) {
    within(async { while connection.try_send(drop).await {} }).await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_although_bytes_keep_coming() {
    let config = HttpConfig {
        header_timeout: SHORT,
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    for drop in [&b"x"[..], b"x: y\r\n"] {
        let mut connection = server.connect().await;
        connection.send("GET /livez HTTP/1.1\r\nhost: ").await;
        drip(connection, drop).await;
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_although_bytes_keep_coming() {
    let config = HttpConfig {
        body_timeout: SHORT,
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    for (framing, drop) in [
        ("content-length: 60000", &b" "[..]),
        ("transfer-encoding: chunked", b"1\r\n \r\n"),
        // Each chunk brings a byte and a kilobyte of nothing.
        ("transfer-encoding: chunked", &endless_extension()),
    ] {
        let mut connection = server.connect().await;
        let head = format!("POST /register HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n");
        connection.send(head).await;
        drip(connection, drop).await;
    }
}

fn endless_extension() -> Vec<u8> {
    format!("1;{}\r\n \r\n", "x".repeat(1024)).into_bytes()
}

#[tokio::test]
async fn a_body_beyond_its_bound_that_never_ends_is_cut_too() {
    let config = HttpConfig {
        body_timeout: SHORT,
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    let mut connection = server.connect().await;
    let head = "POST /register HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.send(head).await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    drip(connection, chunk.as_bytes()).await;
}

/// A request that must not be found behind, or inside, another one.
const SMUGGLED: &str =
    "POST /v1/fail HTTP/1.1\r\nhost: x\r\ncontent-length: 18\r\n\r\n{\"reason\":\"smuggle\"}";

#[tokio::test]
async fn nothing_is_smuggled_in_by_a_body_of_two_lengths() {
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
            "an encoding that is not chunks",
            "transfer-encoding: xchunked".to_owned(),
            &*behind_a_chunked_body,
        ),
        (
            "chunks that are not last",
            "transfer-encoding: chunked, identity".to_owned(),
            &*behind_a_chunked_body,
        ),
        (
            "a name with a space behind it",
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
        // Refused, and whatever follows on this connection is not read as a request.
        let reply = connection.reply().await;
        assert!((400..500).contains(&reply.status), "{name}: {reply:?}");
        assert!(connection.is_closed().await, "{name}");
    }
    let state = &server.ask(&get("/v1/snapshot")).await.json()["state"];
    assert_eq!(state, "waiting");
}

#[tokio::test]
async fn bytes_of_another_protocol_are_answered_or_cut() {
    let server = TestServer::start(PAIR);
    for (name, bytes) in [
        // The beginning of a TLS handshake.
        ("TLS", &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..]),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("zeros", &[0; 4096]),
        ("high bytes", &[0xff; 4096]),
    ] {
        let mut connection = server.connect().await;
        connection.send(bytes).await;
        connection.half_close().await;
        within(connection.read_to_end()).await;
        assert_eq!(server.ask(&get("/livez")).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn who_sends_requests_and_reads_no_answer_is_given_up() {
    let config = HttpConfig {
        write_stall_timeout: SHORT,
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    let flood = get("/metrics").repeat(100);
    drip(server.connect().await, flood.as_bytes()).await;
}

#[tokio::test]
async fn half_closed_connections_cost_no_place() {
    let config = HttpConfig {
        connections_max: 4,
        connections_per_address_max: Some(4),
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, config);
    // More than there are places, and none of them is closed by this side.
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
    assert_eq!(server.ask(&register("a")).await.status, 202);
}

/// Who ended its side once its request was sent had the end of its payload cut, and no answer to what took a moment.
#[tokio::test]
async fn who_has_said_all_is_answered_in_full() {
    let spec = "ready: {nodes: 1}\nmaterializers: [{kind: template, files: [{path: a, shared: true, \
                template: \"{{ 'x' * 8000000 }}\"}]}]\n";
    let server = TestServer::start(spec);
    server.register("a").await;
    let asking = node("a", "prefer: wait=60\r\n");
    assert_eq!(server.ask(&asking).await.status, 200);
    for requests in [
        &*asking,
        &get("/v1/nodes/a/payload"),
        &(get("/livez") + &asking),
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
    server.is_left().await;
}

/// Most who end while they are held were killed.
#[tokio::test]
async fn who_ends_while_it_is_held_is_held_no_longer() {
    let server = TestServer::start(PAIR);
    server.register("a").await;
    for early in [true, false] {
        let mut connection = server.connect().await;
        connection.send(node("a", "prefer: wait=3600\r\n")).await;
        if !early {
            server.holds(1).await;
        }
        connection.half_close().await;
        assert!(connection.is_closed().await);
        server.holds(0).await;
    }
}

#[tokio::test]
async fn who_opens_all_connections_that_it_can_shuts_nobody_out() {
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
    // Told why, whether it asks or not, and never served.
    let asking = register("a");
    for ask in [&*asking, ""].repeat(3) {
        let mut more = server.connect().await;
        more.send(ask).await;
        more.half_close().await;
        let reply = more.reply().await;
        let (code, reason, message) = reply.error();
        assert_eq!(
            (reply.status, &*code, &*reason),
            (429, "internal", "too_many_connections")
        );
        assert_eq!(
            message,
            "this address has as many connections open as it may (3); ask again when one is closed, or raise \
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
    // Told when it asks, and not before: a client took that for no answer.
    let client = Client::new([format!("http://{}", server.address).parse().unwrap()]);
    for _ in 0..20 {
        let told = client.livez().await.unwrap_err().to_string();
        assert!(told.contains("answered 429 Too Many Requests"), "{told}");
    }
    // What is closed is given back.
    drop(held.pop());
    within(async { while server.ask(&register("b")).await.status != 202 {} }).await;
    held.push(server.connect().await);

    // Far more at once than are told why, and another address finds room beside them.
    let metrics = server.coordinator.metrics();
    let before = metrics.connections_refused.get();
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(server.connect().await);
    }
    let mut other = server.connect_from("127.0.0.2").await;
    other.send(get("/v1/nodes")).await;
    let nodes = other.reply().await.json();
    assert_eq!(nodes.as_array().map(Vec::len), Some(1), "{nodes}");
    assert_eq!(nodes[0]["identifier"], "b");
    let closed = metrics.connections_refused.get() - before;
    assert!(closed >= 100, "{closed}");
    let told = format!("cfgsync_connections_refused_total {}", before + closed);
    assert!(metrics.to_text().contains(&told), "{told}");

    // Those that are told nothing yet are not waited for.
    drop((held, other));
    let idle = server.connect().await;
    let report = server.stop().report().await;
    assert_eq!(report.cut, 0, "{report:?}");
    drop((idle, crowd));
}

/// How many of a hundred registrations are taken; all others are refused with `message`.
async fn taken(
    connection: &mut Connection,
    registration: impl Fn(usize) -> String,
    message: &str,
) -> usize {
    let mut taken = 0;
    for at in 0..100 {
        connection.send(registration(at)).await;
        let reply = connection.reply().await;
        if reply.status == 202 {
            taken += 1;
            continue;
        }
        let (code, reason, told) = reply.error();
        assert_eq!((reply.status, &*code, &*reason), (503, "internal", "full"));
        assert_eq!(told, message);
    }
    taken
}

#[tokio::test]
async fn who_registers_ever_more_names_and_metadata_is_refused_and_the_others_are_served() {
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
    // Each takes a thousand bytes.
    let (mut names, mut metadata) = (server.connect().await, server.connect().await);
    let large = |at| with(&format!("large-{at}"), 936);
    let no_memory = "the metadata of all nodes would take more than 10000 bytes of memory; register with less metadata, \
                     remove nodes (cfgsync rm), or raise serve --metadata-total-max";
    let mut accepted = taken(&mut metadata, large, no_memory).await;
    assert_eq!(accepted, 10);
    let small = |at| register(&format!("small-{at}"));
    let no_place = "the maximum number of nodes (50) is registered; remove some (cfgsync rm), or raise serve --nodes-max";
    accepted += taken(&mut names, small, no_place).await;
    assert_eq!(accepted, 48);
    // Who was there comes again, gets its files, and an operator makes room.
    server.register("a").await;
    assert_eq!(server.ask(&with("large-0", 900)).await.status, 202);
    let reply = server.ask(&node("a", "prefer: wait=20\r\n")).await;
    assert_eq!(reply.status, 200);
    let remove = plain("DELETE", "/v1/nodes/small-0", "");
    assert_eq!(server.ask(&remove).await.status, 202);
    server.register("c").await;
}

#[tokio::test]
async fn thousands_of_names_from_one_address_do_not_stop_a_closed_list() {
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
        .ask(&plain("GET", "/v1/nodes/a/payload", "prefer: wait=20\r\n"))
        .await;
    assert_eq!(reply.status, 200);
}
