//! Rejected requests: status, error code and message. The snapshots make the wording reviewable.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cfgsync_server::HttpConfig;
use cfgsync_support::clock::{Timestamp, WallClock};

use super::PAIR;
use crate::support::{TestServer, get, node, post, register, without_body};

const CLOSED: &str = "
ready: { nodes: [a, b] }
metadata:
  port: { type: integer, min: 1, max: 65535 }
materializers:
  - kind: template
    files: [{ path: /x, template: x }]
";

/// Sends the requests on one connection. Returns name, status, code, reason and message of each error response.
async fn error_responses(
    server: &TestServer,
    requests: impl IntoIterator<Item = (&str, String)>,
) -> String {
    let mut responses = String::new();
    let mut connection = server.connect().await;
    for (name, request) in requests {
        connection.send(request).await;
        let reply = connection.reply().await;
        let (code, reason, message) = reply.error();
        assert!(reply.header("cfgsync-instance").is_some(), "{name}");
        assert_eq!(
            reply.header("content-type"),
            Some("application/json"),
            "{name}"
        );
        writeln!(
            responses,
            "{name}\n  {} {code} {reason}: {message}",
            reply.status
        )
        .unwrap();
    }
    responses
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a table and its snapshot")]
async fn rejects_invalid_bodies() {
    let server = TestServer::start(PAIR);
    let deep = format!(
        r#"{{"identifier":"a","ip":"::1","metadata":{}{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    let long = format!(r#"{{"identifier":"{}","ip":"::1"}}"#, "x".repeat(254));
    let registration = |body: &str| post("/register", "", body);
    let responses = error_responses(
        &server,
        [
            ("empty", registration("")),
            ("truncated", registration(r#"{"identifier":"a","#)),
            ("not JSON", registration("identifier=a")),
            ("not UTF-8 escaped", registration("{\"identifier\":\"\\ud800\",\"ip\":\"::1\"}")),
            ("not an object", registration("[1,2]")),
            ("null", registration("null")),
            ("deeply nested", registration(&deep)),
            ("two values", registration(r#"{"identifier":"a","ip":"::1"}{}"#)),
            ("no ip", registration(r#"{"identifier":"a"}"#)),
            ("ip of the wrong type", registration(r#"{"identifier":"a","ip":1}"#)),
            ("invalid ip", registration(r#"{"identifier":"a","ip":"10.0.0.256"}"#)),
            ("unspecified ip", registration(r#"{"identifier":"a","ip":"0.0.0.0"}"#)),
            ("identifier of the wrong type", registration(r#"{"identifier":{},"ip":"::1"}"#)),
            ("empty identifier", registration(r#"{"identifier":"","ip":"::1"}"#)),
            ("long identifier", registration(&long)),
            ("identifier with a slash", registration(r#"{"identifier":"a/b","ip":"::1"}"#)),
            ("identifier of dots", registration(r#"{"identifier":"..","ip":"::1"}"#)),
            ("identifier with NUL", registration(r#"{"identifier":"a\u0000","ip":"::1"}"#)),
            ("identifier beyond ASCII", registration(r#"{"identifier":"nöde","ip":"::1"}"#)),
            ("localhost", registration(r#"{"identifier":"localhost","ip":"::1"}"#)),
            ("node without identifier", post("/node", "", "{}")),
            ("replace without files", post("/node/replace", "", r#"{"identifier":"a"}"#)),
            (
                "replace with path traversal",
                post("/node/replace", "", r#"{"identifier":"a","files":[{"path":"../x","content":""}]}"#),
            ),
            (
                "replace with duplicate paths",
                post(
                    "/node/replace",
                    "",
                    r#"{"identifier":"a","files":[{"path":"x","content":""},{"path":"/x","content":""}]}"#,
                ),
            ),
            ("fail without reason", post("/v1/fail", "", r#"{"reason":" "}"#)),
            ("leave of an unregistered node", post("/v1/leave", "", r#"{"identifier":"zz"}"#)),
        ],
    )
    .await;
    insta::assert_snapshot!(responses, @r#"
    empty
      400 internal not_json: the body is not JSON: it is empty
    truncated
      400 internal not_json: the body is not JSON: EOF while parsing a value at line 1 column 18
    not JSON
      400 internal not_json: the body is not JSON: expected value at line 1 column 1
    not UTF-8 escaped
      400 internal not_json: the body is not JSON: unexpected end of hex escape at line 1 column 22
    not an object
      400 internal wrong_field: the body: expected a JSON object
    null
      400 internal wrong_field: the body: expected a JSON object
    deeply nested
      400 internal too_deep: the body is nested too deeply: the limit is 127 levels
    two values
      400 internal not_json: the body is not JSON: text follows the JSON value
    no ip
      400 internal wrong_field: the body: missing field `ip` at line 1 column 18
    ip of the wrong type
      400 internal wrong_field: ip: invalid type: integer `1`, expected IP address at line 1 column 24
    invalid ip
      400 internal wrong_field: ip: invalid IP address syntax at line 1 column 35
    unspecified ip
      400 internal wrong_field: ip: no node can be reached at 0.0.0.0, which is the unspecified address; give the address at which other nodes reach this one
    identifier of the wrong type
      400 internal wrong_field: identifier: invalid type: map, expected a string at line 1 column 14
    empty identifier
      400 internal wrong_field: identifier: an identifier must not be empty at line 1 column 16
    long identifier
      400 internal wrong_field: identifier: an identifier has at most 253 bytes, this one has 254 at line 1 column 270
    identifier with a slash
      400 internal wrong_field: identifier: identifier "a/b" contains '/'; use only letters, digits, '.', '_' and '-' at line 1 column 19
    identifier of dots
      400 internal wrong_field: identifier: identifier ".." must start with a letter or a digit at line 1 column 18
    identifier with NUL
      400 internal wrong_field: identifier: identifier "a\0" contains '\0'; use only letters, digits, '.', '_' and '-' at line 1 column 23
    identifier beyond ASCII
      400 internal wrong_field: identifier: identifier "nöde" contains 'ö'; use only letters, digits, '.', '_' and '-' at line 1 column 21
    localhost
      400 internal wrong_field: identifier: "localhost" is the name of every machine; choose an identifier that only this node has at line 1 column 25
    node without identifier
      400 internal wrong_field: the body: missing field `identifier` at line 1 column 2
    replace without files
      400 internal wrong_field: the body: missing field `files` at line 1 column 18
    replace with path traversal
      400 internal wrong_field: files[0].path: artifact path "../x" contains the part ".." at line 1 column 41
    replace with duplicate paths
      400 internal wrong_field: files[1].path: two files are called /x
    fail without reason
      400 internal wrong_field: reason: must not be empty, because every node shows it
    leave of an unregistered node
      404 internal unregistered: zz is not registered
    "#);
}

#[tokio::test]
async fn rejects_invalid_paths() {
    let server = TestServer::start(PAIR);
    let responses = error_responses(
        &server,
        [
            ("unknown route", get("/nodes")),
            ("unknown route under /v1", get("/v1/node/a")),
            ("no identifier", get("/v1/nodes/")),
            ("identifier with path traversal", get("/v1/nodes/..%2f..")),
            ("broken encoding", get("/v1/nodes/%zz")),
            ("generation zero", get("/v1/generations/0")),
            (
                "generation that is not a number",
                get("/v1/generations/last"),
            ),
            ("unknown generation", get("/v1/generations/9")),
            (
                "payload of an unknown generation",
                get("/v1/generations/9/nodes/a/payload"),
            ),
            (
                "delete without an override",
                without_body("DELETE", "/v1/nodes/a/override", ""),
            ),
            (
                "unsupported method",
                without_body("PATCH", "/v1/snapshot", ""),
            ),
        ],
    )
    .await;
    insta::assert_snapshot!(responses, @r#"
    unknown route
      404 internal no_such_route: there is no route /nodes; the documentation lists all routes on its page about the HTTP API
    unknown route under /v1
      404 internal no_such_route: there is no route /v1/node/a; the documentation lists all routes on its page about the HTTP API
    no identifier
      404 internal no_such_route: there is no route /v1/nodes/; the documentation lists all routes on its page about the HTTP API
    identifier with path traversal
      400 internal wrong_path: the path names no node: identifier "../.." contains '/'; use only letters, digits, '.', '_' and '-'
    broken encoding
      400 internal wrong_path: the path names no node: identifier "%zz" contains '%'; use only letters, digits, '.', '_' and '-'
    generation zero
      400 internal wrong_path: the path names no generation: "0" is not a whole number of at least 1
    generation that is not a number
      400 internal wrong_path: the path names no generation: "last" is not a whole number of at least 1
    unknown generation
      404 internal no_such_generation: generation 9 does not exist or is no longer kept; GET /v1/generations lists the others
    payload of an unknown generation
      404 internal no_such_generation: generation 9 does not exist or is no longer kept; GET /v1/generations lists the others
    delete without an override
      404 internal no_override: a has no override
    unsupported method
      405 internal wrong_method: /v1/snapshot does not accept PATCH, only GET, HEAD
    "#);
}

#[tokio::test]
async fn rejects_invalid_registrations() {
    let server = TestServer::start(CLOSED);
    let with = |identifier: &str, metadata: &str| {
        let body = format!(r#"{{"identifier":"{identifier}","ip":"::1","metadata":{metadata}}}"#);
        post("/register", "", &body)
    };
    let responses = error_responses(
        &server,
        [
            ("not on the list", with("c", r#"{"port":1}"#)),
            (
                "unlisted node fetches",
                post("/node", "", r#"{"identifier":"c"}"#),
            ),
            ("port missing", with("a", "{}")),
            ("port of the wrong type", with("a", r#"{"port":"1"}"#)),
            ("port out of range", with("a", r#"{"port":65536}"#)),
        ],
    )
    .await;
    insta::assert_snapshot!(responses, @r#"
    not on the list
      404 missing_config not_listed: c is not on this cluster's list of nodes
    unlisted node fetches
      404 missing_config not_listed: c is not on this cluster's list of nodes
    port missing
      400 internal wrong_metadata: metadata.port: missing; expected an integer from 1 to 65535 (pass `--meta port:=NUMBER`)
    port of the wrong type
      400 internal wrong_metadata: metadata.port: expected an integer from 1 to 65535, found the string "1" (pass `--meta port:=1`)
    port out of range
      400 internal wrong_metadata: metadata.port: expected an integer from 1 to 65535, found the number 65536
    "#);
}

#[tokio::test]
async fn rejects_wrong_methods() {
    let server = TestServer::start(PAIR);
    for (path, method, allow) in [
        ("/register", "GET", "POST"),
        ("/register", "HEAD", "POST"),
        ("/node", "GET", "POST"),
        ("/node", "PUT", "POST"),
        ("/node/replace", "GET", "POST"),
        ("/init-with-node", "GET", "POST"),
        ("/v1/snapshot", "DELETE", "GET, HEAD"),
        ("/v1/nodes/a", "PUT", "GET, HEAD, DELETE"),
        ("/v1/nodes/a/override", "GET", "DELETE"),
        ("/v1/fail", "GET", "POST"),
        ("/metrics", "POST", "GET, HEAD"),
        ("/livez", "OPTIONS", "GET, HEAD"),
    ] {
        let mut connection = server.connect().await;
        connection.send(without_body(method, path, "")).await;
        let reply = match method {
            "HEAD" => connection.head_reply().await,
            _ => connection.reply().await,
        };
        assert_eq!(reply.status, 405, "{method} {path}");
        assert_eq!(reply.header("allow"), Some(allow), "{method} {path}");
        if method != "HEAD" {
            let (code, reason, message) = reply.error();
            assert_eq!((&*code, &*reason), ("internal", "wrong_method"));
            assert_eq!(
                message,
                format!(
                    "{} does not accept {method}, only {allow}",
                    path.replace("/a", "/{id}")
                )
            );
        }
    }
}

/// Returns the final response to each of `requests`. After it, the server must close the connection.
async fn last_responses(requests: &[(&str, String)]) -> String {
    let server = TestServer::start(PAIR);
    let mut responses = String::new();
    for (name, request) in requests {
        let mut connection = server.connect().await;
        connection.send(request).await;
        let mut reply = connection.reply().await;
        if reply.status == 200 {
            reply = connection.reply().await;
        }
        let (code, reason, message) = reply.error();
        assert!(reply.header("cfgsync-instance").is_some(), "{name}");
        assert_eq!(reply.header("connection"), Some("close"), "{name}");
        writeln!(
            responses,
            "{name}\n  {} {code} {reason}: {message}",
            reply.status
        )
        .unwrap();
        assert!(connection.is_closed().await);
    }
    responses
}

#[tokio::test]
async fn requests_that_reach_no_handler_get_an_error_response() {
    let long_path = format!("/{}", "y".repeat(66 << 10));
    let long_headers = format!("x: {}\r\n", "y".repeat(128 << 10));
    let length = |value| without_body("POST", "/register", &format!("content-length: {value}\r\n"));
    let responses = last_responses(&[
        ("nonsense", "nonsense\r\n\r\n".to_owned()),
        (
            "header without a colon",
            without_body("GET", "/livez", "x y\r\n"),
        ),
        (
            "unsupported version",
            "GET /livez HTTP/3.0\r\n\r\n".to_owned(),
        ),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("long path", without_body("GET", &long_path, "")),
        ("long headers", without_body("GET", "/livez", &long_headers)),
        (
            "many headers",
            without_body("GET", "/livez", &"x: y\r\n".repeat(101)),
        ),
        ("two lengths", length("2\r\ncontent-length: 3")),
        ("length out of range", length("18446744073709551615")),
        // The request before the malformed one is answered normally.
        (
            "after a request",
            without_body("GET", "/livez", "") + "nonsense\r\n\r\n",
        ),
    ])
    .await;
    insta::assert_snapshot!(responses, @"
    nonsense
      400 internal not_http: this is not a valid HTTP/1.1 request: its first line must look like `GET /livez HTTP/1.1`, its headers like `name: value`, and at most one header may give its length
    header without a colon
      400 internal not_http: this is not a valid HTTP/1.1 request: its first line must look like `GET /livez HTTP/1.1`, its headers like `name: value`, and at most one header may give its length
    unsupported version
      400 internal not_http: this is not a valid HTTP/1.1 request: its first line must look like `GET /livez HTTP/1.1`, its headers like `name: value`, and at most one header may give its length
    HTTP/2
      400 internal not_http: this is not a valid HTTP/1.1 request: its first line must look like `GET /livez HTTP/1.1`, its headers like `name: value`, and at most one header may give its length
    long path
      414 internal long_path: the request's path is too long
    long headers
      431 internal long_head: the request's headers are too long or too many (at most 64 KiB, and at most 100), or its content-length is not a valid number
    many headers
      431 internal long_head: the request's headers are too long or too many (at most 64 KiB, and at most 100), or its content-length is not a valid number
    two lengths
      400 internal not_http: this is not a valid HTTP/1.1 request: its first line must look like `GET /livez HTTP/1.1`, its headers like `name: value`, and at most one header may give its length
    length out of range
      431 internal long_head: the request's headers are too long or too many (at most 64 KiB, and at most 100), or its content-length is not a valid number
    after a request
      400 internal not_http: this is not a valid HTTP/1.1 request: its first line must look like `GET /livez HTTP/1.1`, its headers like `name: value`, and at most one header may give its length
    ");
}

#[tokio::test]
async fn half_closed_request_head_gets_an_error_response() {
    let server = TestServer::start(PAIR);
    let mut connection = server.connect().await;
    connection.send("GET /livez HT").await;
    connection.half_close().await;
    assert_eq!(connection.reply().await.error().1, "not_http");
}

/// Request heads that a proxy in between could interpret differently.
#[tokio::test]
async fn rejects_ambiguous_request_heads() {
    let encoded = |header: &str| without_body("POST", "/register", header);
    let responses = last_responses(&[
        (
            "two hosts",
            without_body("GET", "/livez", "host: y\r\nconnection: close\r\n"),
        ),
        (
            "two encodings",
            encoded(&"transfer-encoding: chunked\r\n".repeat(2)),
        ),
        (
            "unsupported encoding",
            encoded("transfer-encoding: gzip, chunked\r\n"),
        ),
        (
            "no path",
            "CONNECT livez:80 HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(),
        ),
    ])
    .await;
    insta::assert_snapshot!(responses, @"
    two hosts
      400 internal two_hosts: the request has more than one `host` header, so its destination is ambiguous
    two encodings
      400 internal wrong_encoding: the only transfer-encoding that this server accepts is `chunked`, given once
    unsupported encoding
      400 internal wrong_encoding: the only transfer-encoding that this server accepts is `chunked`, given once
    no path
      400 internal no_host: the request has no `host` header, which HTTP/1.1 requires
    ");
}

#[tokio::test]
async fn panic_affects_only_its_own_request() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let breaks = is_broken.clone();
    let clock = WallClock::from_fn(move || {
        let is_broken = breaks.load(Ordering::Relaxed);
        assert!(!is_broken, "the clock is broken, as this test wants it");
        Timestamp::UNIX_EPOCH
    });
    let server = TestServer::with_clock(PAIR, HttpConfig::default(), clock);
    let mut connection = server.connect().await;
    connection.send(register("a")).await;
    assert_eq!(connection.reply().await.status, 202);
    // The snapshot shows the registration once the coordinator has evaluated it. Then the coordinator needs no clock.
    connection.send(get("/v1/snapshot")).await;
    assert_eq!(connection.reply().await.status, 200);
    is_broken.store(true, Ordering::Relaxed);
    connection
        .send(post("/v1/fail", "", r#"{"reason":"x"}"#))
        .await;
    let reply = connection.reply().await;
    assert_eq!(reply.status, 500);
    let (code, reason, message) = reply.error();
    assert_eq!((&*code, &*reason), ("internal", "bug"));
    assert_eq!(
        message,
        "the server failed on this request, which is a bug; its log says more"
    );
    connection.send(node("a", "")).await;
    assert_eq!(connection.reply().await.status, 425);
}
