//! The HTTP API over raw sockets, against a complete server.

mod access;
mod conflicts;
mod consistency;
mod hostile;
mod limits;
mod phases;
mod rejections;
mod runs;
mod value_rights;
mod value_secrets;
mod values;
mod waiting;
mod watch;
mod watch_access;
mod watch_resume;

use cfgsync_model::Digest;

use crate::support::{INSTANCE, TestServer, get, node, post, register, without_body};

/// A spec that is ready with two nodes. Each node gets a file that lists both.
pub(crate) const PAIR: &str = "
ready: { nodes: 2 }
materializers:
  - kind: template
    files:
      - path: /config.yaml
        template: |
          id: {{ node.identifier }}
          peers: {{ nodes | map(attribute='identifier') | join(',') }}
";

#[tokio::test]
async fn legacy_protocol_is_unchanged() {
    let server = TestServer::start(PAIR);
    let mut legacy = server.connect().await;

    legacy.send(node("a", "")).await;
    let reply = legacy.reply().await;
    assert_eq!(reply.status, 425);
    assert_eq!(reply.header("retry-after"), None);
    assert_eq!(reply.header("preference-applied"), None);
    let json = reply.json();
    assert_eq!(json["code"], "not_ready");
    assert_eq!(json["progress"]["self_registered"], false);

    for (identifier, metadata) in [
        ("a", "null"),
        ("b", "{\"any\":[1]}"),
        ("b", "{\"any\":[1]}"),
    ] {
        let body = format!(
            r#"{{"identifier":"{identifier}","ip":"fd00::1","metadata":{metadata},"later":1}}"#
        );
        legacy
            .send(post(
                "/register",
                "content-type: application/json\r\n",
                &body,
            ))
            .await;
        let reply = legacy.reply().await;
        assert_eq!((reply.status, reply.text()), (202, ""));
        assert_eq!(reply.header("content-length"), Some("0"));
        assert_eq!(
            reply.header("cfgsync-instance"),
            Some(&*INSTANCE.to_string())
        );
    }

    for path in ["/node", "/init-with-node"] {
        let request = node("a", "prefer: wait=20\r\n").replace("/node", path);
        legacy.send(request).await;
        let reply = legacy.reply().await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let json = reply.json();
        assert_eq!(json["schema_version"], 1);
        assert_eq!(json["files"][0]["path"], "/config.yaml");
        assert_eq!(json["files"][0]["content"], "id: a\npeers: a,b\n");
        assert_eq!(json["files"][1], serde_json::Value::Null);
    }
}

#[tokio::test]
async fn accepts_a_request_sent_byte_by_byte() {
    let server = TestServer::start(PAIR);
    let mut slow = server.connect().await;
    for byte in register("a").bytes() {
        slow.send([byte]).await;
    }
    assert_eq!(slow.reply().await.status, 202);
}

#[tokio::test]
async fn accepts_chunked_bodies() {
    let server = TestServer::start(PAIR);
    let mut connection = server.connect().await;
    let head = "POST /register HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.send(head).await;
    for part in [r#"{"identifier":"#, r#""a","ip":"::1"}"#] {
        connection
            .send(format!("{:x}\r\n{part}\r\n", part.len()))
            .await;
    }
    connection.send("0\r\n\r\n").await;
    assert_eq!(connection.reply().await.status, 202);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::start(PAIR);
    let mut connection = server.connect().await;
    let all = [
        register("a"),
        node("a", ""),
        register("b"),
        node("b", "prefer: wait=20\r\n"),
        get("/livez"),
    ];
    connection.send(all.concat()).await;
    for status in [202, 425, 202, 200, 200] {
        assert_eq!(connection.reply().await.status, status);
    }
}

#[tokio::test]
async fn head_responses_match_get_without_the_body() {
    let server = TestServer::start(PAIR);
    server.register("a").await;
    for path in [
        "/v1/snapshot",
        "/v1/nodes/a",
        "/livez",
        "/v1/generations",
        "/v1/nodes/a/payload",
    ] {
        let mut connection = server.connect().await;
        connection.send(get(path)).await;
        let full = connection.reply().await;
        connection.send(without_body("HEAD", path, "")).await;
        let head = connection.head_reply().await;
        assert_eq!(head.status, full.status, "{path}");
        for name in ["content-length", "content-type", "cfgsync-instance"] {
            assert!(head.header(name).is_some(), "{path} {name}");
            assert_eq!(head.header(name), full.header(name), "{path} {name}");
        }
        // No body bytes may precede the next response.
        connection.send(get("/livez")).await;
        assert_eq!(connection.reply().await.status, 200);
    }
}

/// Regression test: a node counted as delivered after a HEAD request, a 304, and a response that it did not read.
#[tokio::test]
async fn only_a_complete_response_with_the_files_counts_as_delivered() {
    const BYTES: usize = 12_000_000;
    let server = TestServer::start(&format!(
        "ready: {{ nodes: 1 }}
materializers:
  - kind: template
    files:
      - {{ path: large, template: \"{{{{ 'x' * {BYTES} }}}}\" }}
"
    ));
    server.register("a").await;
    let digest = {
        let files = server
            .coordinator
            .wait(
                "a",
                None,
                tokio::time::Instant::now() + std::time::Duration::from_secs(20),
            )
            .await;
        let cfgsync_cluster::Answer::Payload(delivery) = files else {
            panic!("{files:?}");
        };
        delivery.payload.digest
    };
    let delivered = || server.coordinator.cluster().registrations[0].delivered;
    let payload = "/v1/nodes/a/payload";

    let mut connection = server.connect().await;
    connection.send(without_body("HEAD", payload, "")).await;
    assert_eq!(connection.head_reply().await.status, 200);
    let tag = format!("if-none-match: \"{digest}\"\r\n");
    connection.send(without_body("GET", payload, &tag)).await;
    assert_eq!(connection.reply().await.status, 304);
    assert_eq!(delivered(), None);

    // These clients end before they have read the files.
    for request in [get(payload), node("a", "")] {
        let mut aborted = server.connect().await;
        aborted.send(request).await;
        assert_eq!(aborted.head().await.status, 200);
        drop(aborted);
        let open = &server.coordinator.metrics().connections;
        while open.get() > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(delivered(), None);
    }

    connection.send(get(payload)).await;
    assert!(connection.reply().await.body.len() > BYTES);
    assert_eq!(delivered().map(|number| number.0), Some(1));
}

#[tokio::test]
async fn operators_can_read_the_whole_state() {
    let server = TestServer::start(PAIR);
    server.register("b").await;
    server.register("a").await;
    assert_eq!(
        server
            .request(&node("a", "prefer: wait=20\r\n"))
            .await
            .status,
        200
    );

    let json = |reply: crate::support::Reply| {
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    };
    let snapshot = json(server.request(&get("/v1/snapshot")).await);
    assert_eq!(snapshot["cluster"], "test");
    assert_eq!(snapshot["instance"], INSTANCE.to_string());
    assert_eq!(snapshot["state"], "ready");
    assert_eq!(snapshot["generation"], 1);
    assert_eq!(snapshot["registrations"][0]["identifier"], "a");
    assert_eq!(snapshot["registrations"][0]["behind"], false);
    assert_eq!(snapshot["registrations"][1]["behind"], true);
    let nodes = json(server.request(&get("/v1/nodes")).await);
    assert_eq!(nodes, snapshot["registrations"]);
    let one = json(server.request(&get("/v1/nodes/%61")).await);
    assert_eq!(one["state"], "ready");
    assert_eq!(one["artifacts"][0]["path"], "/config.yaml");
    let unknown = server.request(&get("/v1/nodes/c")).await;
    assert_eq!((unknown.status, &*unknown.error().1), (404, "no_such_node"));
    let generations = json(server.request(&get("/v1/generations")).await);
    assert_eq!(generations[0]["number"], 1);
    let generation = json(server.request(&get("/v1/generations/1")).await);
    assert_eq!(generation["artifacts"]["b"][0]["path"], "/config.yaml");

    // A payload request by an operator does not count as a delivery.
    let reply = server
        .request(&get("/v1/generations/1/nodes/b/payload"))
        .await;
    let tag: Digest = reply
        .header("etag")
        .unwrap()
        .trim_matches('"')
        .parse()
        .unwrap();
    assert_eq!(json(reply)["digest"], tag.to_string());
    let snapshot = json(server.request(&get("/v1/snapshot")).await);
    assert_eq!(snapshot["registrations"][1]["behind"], true);

    let metrics = server.request(&get("/metrics")).await;
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    for line in [
        "cfgsync_registered 2",
        "cfgsync_nodes_behind 1",
        "cfgsync_requests_total{route=\"/register\",status=\"202\"} 2",
        "cfgsync_requests_total{route=\"/v1/nodes/{id}\",status=\"200\"} 1",
    ] {
        assert!(
            metrics.text().contains(line),
            "{line} in {}",
            metrics.text()
        );
    }
}

#[tokio::test]
async fn operators_can_fail_reset_and_remove() {
    let server = TestServer::start(PAIR);
    server.register("a").await;
    let mut operator = server.connect().await;

    operator
        .send(post("/v1/fail", "", r#"{"reason":"wrong rack"}"#))
        .await;
    assert_eq!(operator.reply().await.status, 202);
    operator.send(node("a", "")).await;
    let reply = operator.reply().await;
    assert_eq!(reply.status, 410);
    assert_eq!(reply.json()["code"], "internal");
    assert_eq!(reply.json()["failure"]["reason"], "wrong rack");
    operator
        .send(without_body("POST", "/v1/reset", "content-length: 0\r\n"))
        .await;
    assert_eq!(operator.reply().await.status, 202);
    operator.send(node("a", "")).await;
    assert_eq!(operator.reply().await.status, 425);

    let leave = |extra_fields: &str| {
        post(
            "/v1/leave",
            "",
            &format!(r#"{{"identifier":"a"{extra_fields}}}"#),
        )
    };
    operator.send(leave(r#","ip":"10.9.9.9""#)).await;
    let reply = operator.reply().await;
    assert_eq!((reply.status, &*reply.error().1), (409, "other_facts"));
    operator.send(leave("")).await;
    assert_eq!(operator.reply().await.status, 202);

    server.register("a").await;
    operator
        .send(without_body("DELETE", "/v1/nodes/a", ""))
        .await;
    assert_eq!(operator.reply().await.status, 202);
    operator
        .send(without_body("DELETE", "/v1/nodes/a", ""))
        .await;
    let reply = operator.reply().await;
    assert_eq!((reply.status, &*reply.error().1), (404, "unregistered"));
}

/// Regression test: `inspect node` reported a misspelled name as unregistered, like an expected node.
#[tokio::test]
async fn misspelled_node_name_is_not_reported_as_expected() {
    let listed = PAIR.replace("nodes: 2", "nodes: [web-1, web-2]");
    assert_ne!(listed, PAIR);
    let server = TestServer::start(&listed);
    server.register("web-1").await;
    let expected = server.request(&get("/v1/nodes/web-2")).await;
    assert_eq!(expected.status, 200, "{}", expected.text());
    let expected = expected.json();
    assert_eq!(expected["state"], "unregistered");
    let reason = expected["reason"].as_str().unwrap();
    assert!(reason.contains("1/2"), "{reason}");
    let misspelled = server.request(&get("/v1/nodes/wbe-2")).await;
    assert_eq!(
        (misspelled.status, &*misspelled.error().1),
        (404, "no_such_node")
    );
    assert_eq!(
        misspelled.json()["message"],
        "there is no node wbe-2: wbe-2 is not on this cluster's list of nodes; did you mean `web-2`?"
    );

    // An operator's override makes the name known, even if it is not on the list.
    let body = r#"{"identifier":"wbe-2","files":[]}"#;
    assert_eq!(
        server
            .request(&post("/node/replace", "", body))
            .await
            .status,
        202
    );
    let known = server.request(&get("/v1/nodes/wbe-2")).await.json();
    assert_eq!(
        (&known["state"], &known["overridden"]),
        (&"missing".into(), &true.into())
    );
    let snapshot = server.request(&get("/v1/snapshot")).await.json();
    assert_eq!(snapshot["overridden_absent"][0], "wbe-2");
}

#[tokio::test]
async fn override_is_answered_after_its_seal() {
    let server = TestServer::start(PAIR);
    server.register("a").await;
    server.register("b").await;
    let before = server
        .request(&node("a", "prefer: wait=20\r\n"))
        .await
        .json();
    let body = r#"{"identifier":"a","files":[{"path":"own","content":"x"}]}"#;
    let reply = server.request(&post("/node/replace", "", body)).await;
    assert_eq!((reply.status, reply.text()), (202, ""));
    let after = server.request(&node("a", "")).await.json();
    assert_eq!(
        (&before["generation"], &after["generation"]),
        (&1.into(), &2.into())
    );
    assert_eq!(after["files"][0]["path"], "own");

    let end = without_body("DELETE", "/v1/nodes/a/override", "");
    assert_eq!(server.request(&end).await.status, 202);
    let ended = server.request(&node("a", "")).await.json();
    assert_eq!(ended["digest"], before["digest"]);
    let reply = server.request(&end).await;
    assert_eq!((reply.status, &*reply.error().1), (404, "no_override"));
}

#[tokio::test]
async fn serves_several_listen_addresses() {
    use cfgsync_server::{HttpConfig, listen, serve};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let server = TestServer::start(PAIR);
    let listeners: Vec<_> = ["127.0.0.1:0", "[::1]:0"]
        .map(|address| listen(address.parse().unwrap()).unwrap())
        .into();
    let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
    let coordinator = server.coordinator.clone();
    let serving = tokio::spawn(serve(
        listeners,
        coordinator,
        HttpConfig::default(),
        std::future::pending(),
    ));
    for address in addresses {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(get("/livez").as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
    }
    serving.abort();
}
