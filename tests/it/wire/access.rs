//! Authentication, authorization, rate limits and the audit log over raw HTTP.

use std::{num::NonZeroU32, path::Path};

use cfgsync_access::{AccessConfig, AccessControl, AuditLog, AuditTarget, Policy, Rate, Tokens};
use cfgsync_model::{Digest, NodeRegistration};
use cfgsync_server::HttpConfig;
use cfgsync_support::clock::{Timestamp, WallClock};

use crate::support::{Reply, TestServer, get, node, post, without_body};

/// A spec that is ready with two nodes.
const READY: &str = "ready: { nodes: 2 }
materializers:
  - kind: template
    files: [{ path: /id, template: \"{{ node.identifier }}\" }]
";

/// A spec that is ready with two nodes and has a secret file.
const SECRET: &str = "ready: { nodes: 2 }
materializers:
  - kind: template
    files:
      - { path: open, template: x }
      - { path: key, secret: true, template: PLANTED }
";

/// Names and rules of the tokens. The secret of each is `secret-NAME`.
const TOKENS: [(&str, &str); 5] = [
    ("ops", "operator"),
    ("eye", "viewer"),
    ("node", "node"),
    ("web", "node identifier=web-*"),
    ("old", "node expires=1969-12-31T00:00:00Z"),
];

fn tokens(named: &[&str]) -> Tokens {
    let selected = TOKENS.iter().filter(|(name, _)| named.contains(name));
    let lines = selected.map(|(name, rest)| {
        let hash = Digest::of(format!("secret-{name}").as_bytes());
        let (role, more) = rest.split_once(' ').unwrap_or((rest, ""));
        format!("{name} {role} sha256:{hash} {more}\n")
    });
    let text = String::from("# all\n") + &lines.collect::<String>();
    Tokens::parse(&text, "tokens").unwrap()
}

fn config() -> AccessConfig {
    AccessConfig {
        tokens: Some(tokens(&["ops", "eye", "node", "web", "old"])),
        policy: Policy::default(),
        rate: None,
        audit: None,
        clock: WallClock::from_fn(|| Timestamp::UNIX_EPOCH),
    }
}

fn start_server(identity: &str, config: AccessConfig) -> (TestServer, AccessControl) {
    let guard = AccessControl::new(config);
    let http = HttpConfig {
        access: guard.clone(),
        ..HttpConfig::default()
    };
    let spec = format!("identity: {identity}\n{READY}");
    (TestServer::with(&spec, http), guard)
}

/// Starts a server with an audit log at `path`.
fn start_audited_server(path: &Path) -> (TestServer, AccessControl) {
    let audit = AuditLog::open(AuditTarget::File(path.to_owned()), false);
    let config = AccessConfig {
        audit: Some(audit.unwrap()),
        ..config()
    };
    start_server("open", config)
}

fn bearer(name: &str) -> String {
    format!("authorization: Bearer secret-{name}\r\n")
}

fn key(name: &str) -> String {
    format!("cfgsync-node-key: the-key-of-{name}-0123456789\r\n")
}

fn register(identifier: &str, headers: &str) -> String {
    let body = format!(r#"{{"identifier":"{identifier}","ip":"10.0.0.1"}}"#);
    post("/register", headers, &body)
}

/// Returns the `reason` of an error response, or an empty string.
fn reason(reply: &Reply) -> String {
    if reply.body.is_empty() {
        String::new()
    } else {
        reply.json()["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// Returns a request for each route. Requests about a node name `web-1`.
fn every_route(headers: &str) -> Vec<(&'static str, String)> {
    let id = r#"{"identifier":"web-1"}"#;
    let files = r#"{"identifier":"web-1","files":[]}"#;
    let build = |method, path| without_body(method, path, headers);
    vec![
        ("POST /register", register("web-1", headers)),
        ("POST /node", node("web-1", headers)),
        ("POST /init-with-node", post("/init-with-node", headers, id)),
        (
            "GET /v1/nodes/{id}/payload",
            build("GET", "/v1/nodes/web-1/payload"),
        ),
        (
            "PUT /v1/nodes/{id}/lease",
            build("PUT", "/v1/nodes/web-1/lease"),
        ),
        (
            "POST /v1/nodes/{id}/retry",
            build("POST", "/v1/nodes/web-1/retry"),
        ),
        (
            "PUT /v1/nodes/{id}/phases/{phase}",
            build("PUT", "/v1/nodes/web-1/phases/up"),
        ),
        ("GET /v1/phases/{phase}", build("GET", "/v1/phases/up")),
        ("GET /v1/run-once", build("GET", "/v1/run-once")),
        (
            "DELETE /v1/run-once/{run}",
            build("DELETE", "/v1/run-once/init"),
        ),
        (
            "POST /v1/run-once/{run}/done",
            post(
                "/v1/run-once/init/done",
                headers,
                r#"{"identifier":"web-1","fence":1}"#,
            ),
        ),
        ("POST /v1/leave", post("/v1/leave", headers, id)),
        ("POST /node/replace", post("/node/replace", headers, files)),
        ("GET /v1/snapshot", build("GET", "/v1/snapshot")),
        ("GET /v1/nodes", build("GET", "/v1/nodes")),
        ("GET /v1/nodes/{id}", build("GET", "/v1/nodes/web-1")),
        ("DELETE /v1/nodes/{id}", build("DELETE", "/v1/nodes/web-1")),
        (
            "DELETE /v1/nodes/{id}/override",
            build("DELETE", "/v1/nodes/web-1/override"),
        ),
        (
            "DELETE /v1/nodes/{id}/key",
            build("DELETE", "/v1/nodes/web-1/key"),
        ),
        ("GET /v1/generations", build("GET", "/v1/generations")),
        ("GET /v1/generations/{n}", build("GET", "/v1/generations/1")),
        (
            "GET /v1/generations/{n}/nodes/{id}/payload",
            build("GET", "/v1/generations/1/nodes/web-1/payload"),
        ),
        ("GET /v1/record", build("GET", "/v1/record")),
        (
            "POST /v1/fail",
            post("/v1/fail", headers, r#"{"reason":""}"#),
        ),
        ("GET /v1/rollout", build("GET", "/v1/rollout")),
        (
            "POST /v1/rollout/stop",
            post("/v1/rollout/stop", headers, ""),
        ),
        (
            "POST /v1/rollout/resume",
            post("/v1/rollout/resume", headers, ""),
        ),
        ("POST /v1/reset", post("/v1/reset", headers, "")),
        ("GET /v1/watch", build("GET", "/v1/watch")),
        ("GET /v1/tokens", build("GET", "/v1/tokens")),
        ("GET /metrics", build("GET", "/metrics")),
        ("GET /livez", build("GET", "/livez")),
        ("GET /readyz", build("GET", "/readyz")),
    ]
}

/// Returns `in` if the request was authorized, else the status of the refusal.
fn outcome(reply: &Reply) -> &'static str {
    match reply.status {
        401 => "401",
        403 => "403",
        429 => "429",
        _ => "in",
    }
}

#[tokio::test]
async fn each_route_with_each_token_in_each_identity_mode() {
    let mut table = String::new();
    for identity in ["open", "first-use", "certificate", "token"] {
        table.push_str(&format!(
            "{identity:44} none  old   node  web   db    eye   ops\n"
        ));
        // Each request needs a new server, because repeated refusals are rate limited.
        let mut columns = Vec::new();
        for who in ["none", "old", "node", "web", "db", "eye", "ops"] {
            let headers = match who {
                "none" => key("web-1"),
                // A node token whose pattern does not match the requested identifier.
                "db" => bearer("web") + &key("web-1"),
                who => bearer(who) + &key("web-1"),
            };
            let mut column = Vec::new();
            for (route, request) in every_route(&headers) {
                let (server, _) = start_server(identity, config());
                let request = match who {
                    "db" => request.replace("web-1", "db-1"),
                    _ => request,
                };
                // Pad the body to keep its length.
                let request = request.replace("db-1\"", "db-1\" ");
                let reply = server.request(&request).await;
                column.push((route, outcome(&reply)));
            }
            columns.push(column);
        }
        for (at, (route, _)) in columns[0].iter().enumerate() {
            let mut row = String::new();
            for column in &columns {
                row.push_str(&format!(" {:5}", column[at].1));
            }
            table.push_str(&format!("{route:44}{}\n", row.trim_end()));
        }
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn refusals_explain_the_missing_credential() {
    let (server, _) = start_server("open", config());
    let mut refusals = String::new();
    for (credential, request) in [
        ("no token", register("a", "")),
        ("no token", get("/v1/snapshot")),
        ("unknown token", register("a", &bearer("stranger"))),
        ("expired token", register("a", &bearer("old"))),
        ("token of another node", register("a", &bearer("web"))),
        (
            "node token",
            without_body("GET", "/v1/snapshot", &bearer("node")),
        ),
        ("viewer token", register("a", &bearer("eye"))),
        ("viewer token", post("/v1/reset", &bearer("eye"), "")),
    ] {
        let reply = server.request(&request).await;
        let (code, reason, message) = reply.error();
        let status = reply.status;
        let challenge = reply.header("www-authenticate").unwrap_or("-");
        refusals.push_str(&format!(
            "{credential}: {status} {code} {reason}, www-authenticate: {challenge}\n    {message}\n"
        ));
        assert!(!message.contains("secret-"), "{message}");
    }
    insta::assert_snapshot!(refusals);
}

#[tokio::test]
async fn viewers_see_neither_contents_nor_secret_metadata() {
    let http = HttpConfig {
        access: AccessControl::new(config()),
        ..HttpConfig::default()
    };
    let metadata = "metadata: { password: { type: string, secret: true }, zone: { type: string } }";
    let server = TestServer::with(&format!("{metadata}\n{SECRET}"), http);
    for name in ["web-1", "web-2"] {
        let body = format!(
            r#"{{"identifier":"{name}","ip":"10.0.0.1","metadata":{{"password":"PLANTED","zone":"z"}}}}"#
        );
        let request = post("/register", &bearer("web"), &body);
        assert_eq!(server.request(&request).await.status, 202);
    }
    let held = bearer("web") + "prefer: wait=20\r\n";
    assert_eq!(server.request(&node("web-1", &held)).await.status, 200);
    for (route, request) in every_route(&bearer("eye")) {
        let reply = server.request(&request).await;
        assert!(
            !reply.text().contains("PLANTED"),
            "{route}: {}",
            reply.text()
        );
    }
    let seen = async |who: &str, path: &str| {
        let request = without_body("GET", path, &bearer(who));
        server.request(&request).await.json()
    };
    for (path, at) in [
        ("/v1/snapshot", "/registrations/0/metadata"),
        ("/v1/nodes", "/0/metadata"),
        ("/v1/nodes/web-1", "/node/metadata"),
    ] {
        let (viewer, operator) = (seen("eye", path).await, seen("ops", path).await);
        let expected = serde_json::json!({"zone": "z"});
        assert_eq!(viewer.pointer(at), Some(&expected), "{path}: {viewer}");
        assert_eq!(
            operator.pointer(at).unwrap()["password"],
            "PLANTED",
            "{path}"
        );
    }
    let described = seen("eye", "/v1/nodes/web-1").await;
    assert_eq!(described["artifacts"][1]["bytes"], 7, "{described}");
    assert_eq!(seen("eye", "/v1/generations").await[0]["number"], 1);
}

#[tokio::test]
async fn refused_nodes_are_kept_if_their_sender_may_register_nodes() {
    let http = HttpConfig {
        access: AccessControl::new(config()),
        ..HttpConfig::default()
    };
    let rules = "metadata: { port: { type: integer }, password: { type: string, secret: true } }";
    let spec = format!("identity: first-use\n{rules}\nready: {{ nodes: 9 }}\n");
    let spec = READY.replace("ready: { nodes: 2 }\n", &spec);
    let server = TestServer::with(&spec, http);
    let send = async |name: &str, credentials: String, metadata: &str| {
        let body = format!(r#"{{"identifier":"{name}","ip":"10.0.0.9","metadata":{metadata}}}"#);
        server
            .request(&post("/register", &credentials, &body))
            .await
            .status
    };
    let good = r#"{"port":1,"password":"x"}"#;
    let refused = async || {
        let snapshot = server
            .request(&without_body("GET", "/v1/snapshot", &bearer("eye")))
            .await;
        assert!(!snapshot.text().contains("PLANTED"), "{}", snapshot.text());
        let refused = snapshot.json()["refused"].clone();
        let refused = refused.as_array().unwrap().iter();
        let shown = refused.map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap().to_owned();
            assert_eq!(text("ip"), "10.0.0.9");
            (text("identifier"), text("reason"))
        });
        shown.collect::<Vec<_>>()
    };
    // Clients that may register no node at all leave no trace.
    assert_eq!(send("a", String::new(), good).await, 401);
    assert_eq!(send("a", bearer("unknown"), good).await, 401);
    assert_eq!(send("a", bearer("eye"), good).await, 403);
    // A node without a key is told to send one.
    assert_eq!(send("a", bearer("node"), good).await, 403);
    assert_eq!(refused().await, []);

    let own = || bearer("node") + &key("own");
    assert_eq!(
        send("a", own(), r#"{"port":"x","password":"x"}"#).await,
        400
    );
    assert_eq!(
        send("b", own(), r#"{"port":1,"password":["PLANTED"]}"#).await,
        400
    );
    assert_eq!(send("db-1", bearer("web") + &key("own"), good).await, 403);
    assert_eq!(send("c", own(), good).await, 202);
    assert_eq!(send("c", bearer("node") + &key("thief"), good).await, 403);
    let entry = |name: &str, reason: &str| (name.to_owned(), reason.to_owned());
    let mut expected = vec![
        entry("c", "other_key"),
        entry("db-1", "other_nodes"),
        entry("b", "wrong_metadata"),
        entry("a", "wrong_metadata"),
    ];
    assert_eq!(refused().await, expected);
    let one = server
        .request(&without_body("GET", "/v1/nodes/a", &bearer("eye")))
        .await;
    let message = one.json()["refused"]["message"].to_string();
    assert!(
        message.contains("metadata.port: expected an integer"),
        "{message}"
    );
    // A node that registers is no longer refused.
    assert_eq!(send("a", own(), good).await, 202);
    expected.pop();
    assert_eq!(refused().await, expected);
}

#[tokio::test]
async fn refusals_are_counted_by_reason() {
    let (server, _) = start_server("open", config());
    let ops = bearer("ops");
    for request in [
        register("a", ""),
        register("a", ""),
        register("a", &bearer("web")),
        without_body("GET", "/v1/nodes/x", &ops),
        without_body("GET", "/x", &ops),
        without_body("DELETE", "/v1/nodes/a", &ops),
        // The answer that there are no files yet is no refusal.
        node("web-1", &bearer("web")),
        "nonsense\r\n\r\n".to_owned(),
    ] {
        server.request(&request).await;
    }
    let metrics = server.request(&without_body("GET", "/metrics", &ops)).await;
    let lines = metrics.text().lines();
    let counted = lines.filter_map(|line| line.strip_prefix("cfgsync_refusals_total"));
    let mut counted: Vec<_> = counted.collect();
    counted.sort_unstable();
    assert_eq!(
        counted,
        [
            "{reason=\"no_credentials\"} 2",
            "{reason=\"no_such_node\"} 1",
            "{reason=\"no_such_route\"} 1",
            "{reason=\"not_http\"} 1",
            "{reason=\"other_nodes\"} 1",
            "{reason=\"unregistered\"} 1",
        ]
    );
}

#[tokio::test]
async fn token_is_accepted_as_basic_auth_password() {
    let (server, _) = start_server("open", config());
    let basic = |text: &str| {
        let encoded = data_encoding::BASE64.encode(text.as_bytes());
        format!("Authorization: basic {encoded}\r\n")
    };
    for (headers, status) in [
        (basic("anybody:secret-ops"), 200),
        (basic(":secret-ops"), 200),
        (basic("secret-ops:"), 401),
        (basic("secret-ops"), 401),
        ("authorization: BEARER   secret-ops \r\n".to_owned(), 200),
        ("authorization: secret-ops\r\n".to_owned(), 401),
        ("authorization: Bearer\r\n".to_owned(), 401),
        ("authorization: Digest secret-ops\r\n".to_owned(), 401),
        ("authorization: Bearer secret-op\r\n".to_owned(), 401),
        ("authorization: Bearer secret-ops2\r\n".to_owned(), 401),
    ] {
        let reply = server
            .request(&without_body("GET", "/v1/nodes", &headers))
            .await;
        assert_eq!(reply.status, status, "{headers}");
    }
}

#[tokio::test]
async fn first_key_owns_the_name() {
    let mut config = config();
    config.policy.allow_anonymous = true;
    let (server, _) = start_server("first-use", config);
    let send = async |request: String| {
        let reply = server.request(&request).await;
        (reply.status, reason(&reply))
    };
    assert_eq!(send(register("a", "")).await, (403, "no_key".into()));
    assert_eq!(
        send(register("a", "cfgsync-node-key: short\r\n")).await,
        (403, "no_key".into())
    );
    assert_eq!(send(register("a", &key("a"))).await.0, 202);
    assert_eq!(send(register("a", &key("a"))).await.0, 202);
    for request in [register("a", &key("b")), node("a", &key("b"))] {
        assert_eq!(send(request).await, (403, "other_key".into()));
    }
    let leave = |headers: &str| post("/v1/leave", headers, r#"{"identifier":"a"}"#);
    assert_eq!(send(leave(&key("b"))).await, (403, "other_key".into()));
    assert_eq!(send(register("b", &key("b"))).await.0, 202);
    let payload = |headers: &str| without_body("GET", "/v1/nodes/a/payload", headers);
    assert_eq!(send(payload("")).await, (403, "no_key".into()));
    assert_eq!(send(payload(&key("b"))).await, (403, "other_key".into()));
    let reply = server
        .request(&without_body(
            "GET",
            "/v1/nodes/a/payload",
            &(key("a") + "prefer: wait=10\r\n"),
        ))
        .await;
    assert_eq!(reply.json()["files"][0]["content"], "a");

    // After its release, the name counts as unregistered, and the next key that registers owns it.
    let release = without_body("DELETE", "/v1/nodes/a/key", &bearer("ops"));
    assert_eq!(send(release.clone()).await.0, 202);
    assert_eq!(send(release).await, (409, "no_owner".into()));
    let reply = server.request(&node("a", &key("a"))).await;
    assert_eq!(reply.status, 425, "{}", reply.text());
    assert_eq!(reply.json()["progress"]["self_registered"], false);
    assert_eq!(send(register("a", &key("c"))).await.0, 202);
    assert_eq!(send(node("a", &key("a"))).await, (403, "other_key".into()));
    assert_eq!(server.request(&node("a", &key("c"))).await.status, 200);
}

#[tokio::test]
async fn concurrent_keys_give_the_name_one_owner() {
    let (server, _) = start_server("first-use", config());
    let mut connections = Vec::new();
    for at in 0..16 {
        let request = register("a", &(bearer("node") + &key(&at.to_string())));
        let mut connection = server.connect().await;
        connection.send(request).await;
        connections.push(connection);
    }
    let mut accepted = 0;
    for mut connection in connections {
        match connection.reply().await.status {
            202 => accepted += 1,
            403 => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(accepted, 1);
}

#[tokio::test]
async fn leaving_releases_the_name() {
    let (server, _) = start_server("first-use", config());
    let with = |name: &str| bearer("node") + &key(name);
    assert_eq!(server.request(&register("a", &with("1"))).await.status, 202);
    let leave = post("/v1/leave", &with("1"), r#"{"identifier":"a"}"#);
    assert_eq!(server.request(&leave).await.status, 202);
    assert_eq!(server.request(&register("a", &with("2"))).await.status, 202);
}

#[tokio::test]
async fn held_request_is_refused_if_the_name_gets_another_owner() {
    let (server, _) = start_server("first-use", config());
    let with = |name: &str| bearer("node") + &key(name) + "prefer: wait=60\r\n";
    assert_eq!(server.request(&register("a", &with("a"))).await.status, 202);
    let mut first = server.connect().await;
    first.send(node("a", &with("a"))).await;
    server.wait_until_held(1).await;
    let release = without_body("DELETE", "/v1/nodes/a/key", &bearer("ops"));
    assert_eq!(server.request(&release).await.status, 202);
    assert_eq!(server.request(&register("a", &with("b"))).await.status, 202);
    let mut second = server.connect().await;
    second.send(node("a", &with("b"))).await;
    server.wait_until_held(2).await;
    assert_eq!(server.request(&register("b", &with("c"))).await.status, 202);
    assert_eq!(second.reply().await.status, 200);
    let reply = first.reply().await;
    assert_eq!(
        (reply.status, reply.error().1),
        (403, "other_key".to_owned())
    );
}

#[tokio::test]
async fn held_request_is_refused_if_its_token_is_revoked() {
    let (server, guard) = start_server("open", config());
    for (token, identifier) in [("node", "a"), ("web", "web-1")] {
        let mut connection = server.connect().await;
        let wait = "prefer: wait=60\r\n".to_owned();
        connection
            .send(node(identifier, &(bearer(token) + &wait)))
            .await;
        server.wait_until_held(1).await;
        guard.set_tokens(tokens(&["ops"]));
        server.request(&register(identifier, &bearer("ops"))).await;
        server.request(&register("b", &bearer("ops"))).await;
        let reply = connection.reply().await;
        assert_eq!(reply.status, 401, "{}", reply.text());
        guard.set_tokens(tokens(&["ops", "node", "web"]));
    }
}

#[tokio::test]
async fn token_changes_apply_to_the_next_request() {
    let (server, guard) = start_server("open", config());
    let send = async |name: &str| server.request(&register("a", &bearer(name))).await.status;
    assert_eq!(send("node").await, 202);
    guard.set_tokens(tokens(&["web", "ops"]));
    assert_eq!(send("node").await, 401);
    guard.set_tokens(tokens(&[]));
    assert_eq!(send("ops").await, 401);
    guard.set_tokens(tokens(&["node"]));
    assert_eq!(send("node").await, 202);
}

#[tokio::test]
async fn rate_limited_address_gets_429_with_retry_after() {
    let one = NonZeroU32::MIN;
    let rate = Rate {
        per_second: one,
        burst: NonZeroU32::new(3).unwrap(),
    };
    let (server, _) = start_server(
        "open",
        AccessConfig {
            tokens: None,
            rate: Some(rate),
            ..config()
        },
    );
    let mut last = None;
    for _ in 0..10 {
        last = Some(server.request(&register("a", "")).await);
    }
    let reply = last.unwrap();
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("retry-after"), Some("1"));
    let (code, reason, _) = reply.error();
    assert_eq!((&*code, &*reason), ("internal", "too_often"));
    // Unknown paths count towards the limit. Health checks do not.
    assert_eq!(server.request(&get("/nowhere")).await.status, 429);
    assert_eq!(server.request(&get("/livez")).await.status, 200);
    assert_eq!(server.request(&get("/readyz")).await.status, 200);
}

#[tokio::test]
async fn token_guessing_is_rate_limited_and_valid_tokens_are_not() {
    let (server, _) = start_server("open", config());
    let mut statuses = Vec::new();
    for at in 0..40 {
        let guess = format!("authorization: Bearer guess-{at}\r\n");
        statuses.push(
            server
                .request(&without_body("GET", "/v1/nodes", &guess))
                .await
                .status,
        );
    }
    assert_eq!(statuses[..20], [401; 20]);
    assert!(
        statuses[20..]
            .iter()
            .filter(|status| **status == 429)
            .count()
            > 10,
        "{statuses:?}"
    );
    // Other clients can share the address, so a valid token still works.
    let right = without_body("GET", "/v1/nodes", &bearer("ops"));
    assert_eq!(server.request(&right).await.status, 200);
}

/// Regression test: refusals that guessing cannot overcome became 429 after 20 requests, so a node waited instead of
/// failing.
#[tokio::test]
async fn repeated_unauthorized_requests_keep_401_or_403() {
    let (server, _) = start_server("open", config());
    for (credential, status) in [("", 401), (bearer("web").as_str(), 403)] {
        for _ in 0..40 {
            let reply = server
                .request(&without_body("GET", "/v1/nodes", credential))
                .await;
            assert_eq!(reply.status, status);
        }
    }
    for _ in 0..40 {
        let other_node = node("db-1", &bearer("web"));
        assert_eq!(server.request(&other_node).await.status, 403);
    }
}

/// Regression test: a web page could make a browser send requests to an open server on loopback.
#[tokio::test]
async fn rejects_cross_site_requests() {
    let server = TestServer::start(READY);
    let reason = r#"{"reason":"a page's"}"#;
    for origin in ["http://evil.example", "null", "https://x:4400", "file://x"] {
        let origin = format!("origin: {origin}\r\n");
        let reply = server.request(&post("/v1/fail", &origin, reason)).await;
        assert_eq!(
            (reply.status, reply.error().1.as_str()),
            (403, "other_site")
        );
        let id = r#"{"identifier":"a","ip":"10.0.0.1"}"#;
        let reply = server.request(&post("/register", &origin, id)).await;
        assert_eq!(reply.status, 403);
    }
    // The origin matches the `Host` header that `post` sends.
    let node_get = post("/v1/fail", "origin: http://X\r\n", reason);
    assert_eq!(server.request(&node_get).await.status, 202);
}

#[tokio::test]
async fn rejects_host_names_of_other_sites() {
    let get = |host: &str| format!("GET /v1/snapshot HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let server = TestServer::start(READY);
    for (host, status) in [
        ("127.0.0.1:4400", 200),
        ("cfgsync:4400", 200),
        ("evil.example:4400", 421),
    ] {
        assert_eq!(server.request(&get(host)).await.status, status, "{host}");
    }
    let reply = server.request(&get("evil.example")).await;
    let (_, reason, message) = reply.error();
    assert_eq!(reason, "other_host");
    assert!(message.contains("--host evil.example"), "{message}");
    let http = HttpConfig {
        hosts: vec!["config.example".to_owned()],
        ..HttpConfig::default()
    };
    let server = TestServer::with(READY, http);
    assert_eq!(server.request(&get("config.example")).await.status, 200);
    // A probe reveals nothing.
    let probe = "GET /livez HTTP/1.1\r\nhost: evil.example\r\n\r\n";
    assert_eq!(server.request(probe).await.status, 200);
}

#[tokio::test]
async fn held_requests_are_limited_for_each_node() {
    let http = HttpConfig {
        waiters_per_node_max: 2,
        ..HttpConfig::default()
    };
    let server = TestServer::with(READY, http);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut connection = server.connect().await;
        connection.send(node("a", "prefer: wait=60\r\n")).await;
        held.push(connection);
    }
    server.wait_until_held(2).await;
    for request in [
        node("a", "prefer: wait=60\r\n"),
        without_body("GET", "/v1/nodes/a/payload", "prefer: wait=60\r\n"),
    ] {
        let reply = server.request(&request).await;
        assert_eq!(reply.status, 425);
        // Without this header, a client knows that the server does not hold the request.
        assert_eq!(reply.header("preference-applied"), None);
    }
    server.register("a").await;
    server.register("b").await;
    for mut connection in held {
        assert_eq!(connection.reply().await.status, 200);
    }
}

#[tokio::test]
async fn audit_log_records_changes_and_refusals() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let (server, guard) = start_audited_server(&path);
    let replace = r#"{"identifier":"web-1","files":[{"path":"/id","content":"PLANTED"}]}"#;
    for request in [
        register("web-1", ""),
        register("web-1", &bearer("PLANTED")),
        register("web-1", &bearer("old")),
        register("db-1", &bearer("web")),
        register("web-1", &bearer("web")),
        register("web-1", &bearer("web")),
        post(
            "/register",
            &bearer("web"),
            r#"{"identifier":"web-2","ip":"PLANTED"}"#,
        ),
        node("web-1", &bearer("web")),
        without_body("GET", "/v1/snapshot", &bearer("web")),
        without_body("GET", "/v1/snapshot", &bearer("ops")),
        post("/node/replace", &bearer("ops"), replace),
        without_body("DELETE", "/v1/nodes/web-1/override", &bearer("ops")),
        without_body("DELETE", "/v1/nodes/web-1/override", &bearer("ops")),
        post("/v1/leave", &bearer("web"), r#"{"identifier":"web-1"}"#),
        without_body("DELETE", "/v1/nodes/web-9", &bearer("ops")),
        post("/v1/fail", &bearer("ops"), r#"{"reason":"PLANTED"}"#),
        post("/v1/reset", &bearer("ops"), ""),
        get("/livez"),
        get("/nowhere"),
    ] {
        server.request(&request).await;
    }
    guard.audit().unwrap().flush().await;
    let log = std::fs::read_to_string(&path).unwrap();
    assert!(
        !log.contains("PLANTED") && !log.contains("secret-"),
        "{log}"
    );
    insta::assert_snapshot!(log);
}

#[tokio::test]
async fn audit_log_limits_repeated_refusals() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let (server, guard) = start_audited_server(&path);
    for _ in 0..200 {
        let removal = without_body("DELETE", "/v1/nodes/web-1", &bearer("web"));
        assert_eq!(server.request(&removal).await.status, 403);
    }
    guard.audit().unwrap().flush().await;
    let lines = std::fs::read_to_string(&path).unwrap().lines().count();
    assert!((20..100).contains(&lines), "{lines}");
}

/// Regression test: no log recorded the delivery of files to nodes.
#[tokio::test]
async fn audit_log_records_first_delivery_of_a_generation_to_each_node() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let (server, guard) = start_audited_server(&path);
    server.request(&register("web-1", &bearer("web"))).await;
    let held = bearer("web") + "prefer: wait=20\r\n";
    let mut waiting = server.connect().await;
    waiting.send(node("web-1", &held)).await;
    server.wait_until_held(1).await;
    server.request(&register("a", &bearer("node"))).await;
    assert_eq!(waiting.reply().await.status, 200);
    // Repeated fetches, the other fetch route, and a node without a payload add no line.
    let payload = without_body("GET", "/v1/nodes/web-1/payload", &held);
    let again = server.request(&payload).await;
    let digest = again.header("etag").unwrap().trim_matches('"').to_owned();
    server.request(&node("web-1", &held)).await;
    server.request(&node("b", &bearer("node"))).await;
    guard.audit().unwrap().flush().await;
    let log = std::fs::read_to_string(&path).unwrap();
    let delivered: Vec<_> = log
        .lines()
        .filter(|line| !line.contains("/register"))
        .collect();
    let expected = format!(
        r#"{{"at":"1970-01-01T00:00:00Z","what":"POST /node","outcome":"delivered","who":"token web","from":"127.0.0.1","node":"web-1","generation":1,"status":200,"sha256":{{"payload":"{digest}"}}}}"#
    );
    assert_eq!(delivered, [expected]);
}

/// Regression test: `GET /v1/nodes/{id}/payload` showed an operator all secret files without `reveal` and without an
/// audit entry.
#[tokio::test]
async fn operators_see_secrets_only_with_reveal_and_an_audit_entry() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    for (target, log_works) in [(path.clone(), true), ("/dev/full".into(), false)] {
        let audit = AuditLog::open(AuditTarget::File(target), !log_works).unwrap();
        let guard = AccessControl::new(AccessConfig {
            audit: Some(audit),
            ..config()
        });
        let http = HttpConfig {
            access: guard.clone(),
            ..HttpConfig::default()
        };
        let server = TestServer::with(SECRET, http);
        for name in ["web-1", "web-2"] {
            let node =
                NodeRegistration::without_metadata(name.parse().unwrap(), [10, 0, 0, 1].into());
            server.coordinator.register(node).await.unwrap();
        }
        let held = "prefer: wait=20\r\n";
        let payload = "/v1/nodes/web-1/payload";
        let revealed = "/v1/nodes/web-1/payload?reveal=true";
        let operator_get = |path, more: &str| without_body("GET", path, &(bearer("ops") + more));
        let node_get = |path| without_body("GET", path, &bearer("web"));
        let delivered = async || {
            let node = server
                .request(&without_body("GET", "/v1/snapshot", &bearer("ops")))
                .await;
            node.json()["registrations"][0]["delivered"].is_number()
        };
        let reply = server.request(&operator_get(payload, held)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(!reply.text().contains("PLANTED"), "{}", reply.text());
        assert_eq!(reply.json()["files"][0]["path"], "open");
        assert_eq!(reply.json()["withheld"][0]["path"], "key");
        let tag = format!("if-none-match: {}\r\n", reply.header("etag").unwrap());
        for path in [payload, revealed] {
            assert_eq!(server.request(&operator_get(path, &tag)).await.status, 304);
        }
        assert!(
            !delivered().await,
            "an operator's request is not a delivery"
        );

        let revealing_requests = [
            operator_get(revealed, ""),
            operator_get(revealed, held),
            // A `join` with an operator's token gets the files.
            node("web-1", &(bearer("ops") + held)),
        ];
        for request in revealing_requests {
            let reply = server.request(&request).await;
            assert_eq!(reply.text().contains("PLANTED"), log_works);
            let expected = if log_works { 200 } else { 503 };
            assert_eq!(reply.status, expected, "{}", reply.text());
        }
        // A node gets its own secret files with and without `reveal`.
        for request in [
            node_get(payload),
            node_get(revealed),
            node("web-1", &bearer("web")),
        ] {
            let reply = server.request(&request).await;
            assert!(reply.text().contains("PLANTED"), "{}", reply.text());
        }
        assert!(delivered().await);
        guard.audit().unwrap().flush().await;
    }
    let log = std::fs::read_to_string(&path).unwrap();
    let lines = log.lines().filter(|line| line.contains("revealed"));
    let what = lines.map(|line| {
        assert!(line.contains(r#""who":"token ops""#) && line.contains("web-1"));
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["what"].as_str().unwrap().to_owned()
    });
    let payload_route = "GET /v1/nodes/{id}/payload";
    assert_eq!(
        what.collect::<Vec<_>>(),
        [payload_route, payload_route, "POST /node"]
    );
    assert!(!log.contains("PLANTED"), "{log}");
}

#[tokio::test]
async fn required_audit_log_blocks_changes_it_cannot_record() {
    let full = AuditLog::open(AuditTarget::File("/dev/full".into()), true).unwrap();
    let (server, _) = start_server(
        "open",
        AccessConfig {
            audit: Some(full),
            ..config()
        },
    );
    let reply = server.request(&register("web-1", &bearer("web"))).await;
    assert_eq!((reply.status, reply.error().1), (503, "audit".to_owned()));
    let nodes = server
        .request(&without_body("GET", "/v1/nodes", &bearer("ops")))
        .await;
    assert_eq!(nodes.text(), "[]");

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let audit = AuditLog::open(AuditTarget::File(path.clone()), true).unwrap();
    let (server, guard) = start_server(
        "open",
        AccessConfig {
            audit: Some(audit),
            ..config()
        },
    );
    assert_eq!(
        server
            .request(&register("web-1", &bearer("web")))
            .await
            .status,
        202
    );
    guard.audit().unwrap().flush().await;
    let log = std::fs::read_to_string(&path).unwrap();
    let outcomes: Vec<_> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["asked", "changed"]);
}

/// The line before a change was written before the spec was checked, so a node could fill the log, and with it stop
/// every change.
#[tokio::test]
async fn required_audit_log_limits_refused_changes_of_nodes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let audit = AuditLog::open(AuditTarget::File(path.clone()), true).unwrap();
    let spec = format!("metadata: {{ port: {{ type: integer }} }}\n{READY}");
    let access = AccessControl::new(AccessConfig {
        audit: Some(audit),
        ..config()
    });
    let http = HttpConfig {
        access: access.clone(),
        ..HttpConfig::default()
    };
    let server = TestServer::with(&spec, http);
    let leave = post("/v1/leave", &bearer("node"), r#"{"identifier":"db-1"}"#);
    for _ in 0..30 {
        let refused = server.request(&register("db-1", &bearer("node"))).await;
        assert_eq!(refused.error().1, "wrong_metadata");
        assert_eq!(server.request(&leave).await.error().1, "unregistered");
    }
    access.audit().unwrap().flush().await;
    let log = std::fs::read_to_string(&path).unwrap();
    assert_eq!(log.matches("\"outcome\":\"asked\"").count(), 0, "{log}");
    assert_eq!(log.matches("\"outcome\":\"refused\"").count(), 20, "{log}");
}

#[tokio::test]
async fn unauthorized_request_body_is_not_buffered() {
    let (server, _) = start_server("open", config());
    let mut connection = server.connect().await;
    let head = format!(
        "POST /node/replace HTTP/1.1\r\nhost: x\r\n{}content-length: 30000000\r\n\r\n",
        bearer("node")
    );
    connection.send(head).await;
    connection.send(vec![b' '; 1 << 20]).await;
    connection.half_close().await;
    assert_eq!(connection.reply().await.status, 403);
}
