//! What is refused, how it is said, and the way out. The wording is reviewed here.

use std::fmt::Write as _;

use cfgsync::{clock::WallClock, http::HttpConfig};

use super::PAIR;
use crate::support::{TestServer, get, plain, post, register};

const CLOSED: &str = "
ready: { nodes: [a, b] }
metadata:
  port: { type: integer, min: 1, max: 65535 }
materializers:
  - kind: template
    files: [{ path: /x, template: x }]
";

/// `status reason: message` of each request.
async fn told(server: &TestServer, requests: impl IntoIterator<Item = (&str, String)>) -> String {
    let mut told = String::new();
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
            told,
            "{name}\n  {} {code} {reason}: {message}",
            reply.status
        )
        .unwrap();
    }
    told
}

#[tokio::test]
async fn wrong_bodies() {
    let server = TestServer::start(PAIR);
    let deep = format!(
        r#"{{"identifier":"a","ip":"::1","metadata":{}{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    let long = format!(r#"{{"identifier":"{}","ip":"::1"}}"#, "x".repeat(254));
    let registration = |body: &str| post("/register", "", body);
    let told = told(
        &server,
        [
            ("empty", registration("")),
            ("truncated", registration(r#"{"identifier":"a","#)),
            ("not JSON", registration("identifier=a")),
            ("not UTF-8 escaped", registration("{\"identifier\":\"\\ud800\",\"ip\":\"::1\"}")),
            ("another shape", registration("[1,2]")),
            ("null", registration("null")),
            ("deeply nested", registration(&deep)),
            ("two values", registration(r#"{"identifier":"a","ip":"::1"}{}"#)),
            ("no ip", registration(r#"{"identifier":"a"}"#)),
            ("ip of another type", registration(r#"{"identifier":"a","ip":1}"#)),
            ("ip that is none", registration(r#"{"identifier":"a","ip":"10.0.0.256"}"#)),
            ("identifier of another type", registration(r#"{"identifier":{},"ip":"::1"}"#)),
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
                "replace that climbs",
                post("/node/replace", "", r#"{"identifier":"a","files":[{"path":"../x","content":""}]}"#),
            ),
            (
                "replace with one name twice",
                post(
                    "/node/replace",
                    "",
                    r#"{"identifier":"a","files":[{"path":"x","content":""},{"path":"/x","content":""}]}"#,
                ),
            ),
            ("fail without reason", post("/v1/fail", "", r#"{"reason":" "}"#)),
            ("leave of nobody", post("/v1/leave", "", r#"{"identifier":"zz"}"#)),
        ],
    )
    .await;
    insta::assert_snapshot!(told, @"");
}

#[tokio::test]
async fn wrong_places() {
    let server = TestServer::start(PAIR);
    let told = told(
        &server,
        [
            ("unknown route", get("/nodes")),
            ("unknown route under /v1", get("/v1/node/a")),
            ("no identifier", get("/v1/nodes/")),
            ("identifier that climbs", get("/v1/nodes/..%2f..")),
            ("broken encoding", get("/v1/nodes/%zz")),
            ("generation zero", get("/v1/generations/0")),
            ("generation of words", get("/v1/generations/last")),
            ("generation that is not there", get("/v1/generations/9")),
            ("payload of it", get("/v1/generations/9/nodes/a/payload")),
            (
                "no override to end",
                plain("DELETE", "/v1/nodes/a/override", ""),
            ),
            ("a method for no route", plain("PATCH", "/v1/snapshot", "")),
        ],
    )
    .await;
    insta::assert_snapshot!(told, @"");
}

#[tokio::test]
async fn refused_facts() {
    let server = TestServer::start(CLOSED);
    let with = |identifier: &str, metadata: &str| {
        let body = format!(r#"{{"identifier":"{identifier}","ip":"::1","metadata":{metadata}}}"#);
        post("/register", "", &body)
    };
    let told = told(
        &server,
        [
            ("not on the list", with("c", r#"{"port":1}"#)),
            ("and asks", post("/node", "", r#"{"identifier":"c"}"#)),
            ("no port", with("a", "{}")),
            ("a port of another type", with("a", r#"{"port":"1"}"#)),
            ("a port that is none", with("a", r#"{"port":65536}"#)),
        ],
    )
    .await;
    insta::assert_snapshot!(told, @"");
}

#[tokio::test]
async fn methods_that_a_route_does_not_take() {
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
        connection.send(plain(method, path, "")).await;
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
                    "{} does not take {method}, only {allow}",
                    path.replace("/a", "/{id}")
                )
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_http_is_answered_as_such() {
    let server = TestServer::start(PAIR);
    for (request, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        (
            plain(
                "GET",
                "/livez",
                &format!("x: {}\r\n", "y".repeat(128 << 10)),
            ),
            431,
        ),
    ] {
        let mut connection = server.connect().await;
        connection.send(request).await;
        assert_eq!(connection.reply().await.status, status);
        assert!(connection.is_closed().await);
    }
}

#[tokio::test]
async fn a_panic_costs_its_request_alone() {
    let clock = WallClock::from_fn(|| panic!("the clock is broken, as this test wants it"));
    let server = TestServer::with_clock(PAIR, HttpConfig::default(), clock);
    let mut connection = server.connect().await;
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
    connection.send(register("a")).await;
    assert_eq!(connection.reply().await.status, 202);
}
