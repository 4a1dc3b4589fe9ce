//! Who gets in, with what, and as whom: byte by byte.

use std::{num::NonZeroU32, path::Path};

use cfgsync_access::{AccessConfig, AccessControl, AuditLog, AuditTarget, Policy, Rate, Tokens};
use cfgsync_model::{Digest, NodeRegistration};
use cfgsync_server::HttpConfig;
use cfgsync_support::clock::{Timestamp, WallClock};

use crate::support::{Reply, TestServer, get, node, plain, post};

/// Two nodes complete it.
const READY: &str = "ready: { nodes: 2 }
materializers:
  - kind: template
    files: [{ path: /id, template: \"{{ node.identifier }}\" }]
";

/// The same with something to hide.
const SECRET: &str = "ready: { nodes: 2 }
materializers:
  - kind: template
    files:
      - { path: open, template: x }
      - { path: key, secret: true, template: PLANTED }
";

/// The secrets of these are `secret-NAME`.
const TOKENS: [(&str, &str); 4] = [
    ("ops", "operator"),
    ("node", "node"),
    ("web", "node identifier=web-*"),
    ("old", "node expires=1969-12-31T00:00:00Z"),
];

fn tokens(named: &[&str]) -> Tokens {
    let of_it = TOKENS.iter().filter(|(name, _)| named.contains(name));
    let lines = of_it.map(|(name, rest)| {
        let hash = Digest::of(format!("secret-{name}").as_bytes());
        let (role, more) = rest.split_once(' ').unwrap_or((rest, ""));
        format!("{name} {role} sha256:{hash} {more}\n")
    });
    let text = String::from("# all\n") + &lines.collect::<String>();
    Tokens::parse(&text, "tokens").unwrap()
}

fn config() -> AccessConfig {
    AccessConfig {
        tokens: Some(tokens(&["ops", "node", "web", "old"])),
        policy: Policy::default(),
        rate: None,
        audit: None,
        clock: WallClock::from_fn(|| Timestamp::UNIX_EPOCH),
    }
}

fn guarded(identity: &str, config: AccessConfig) -> (TestServer, AccessControl) {
    let guard = AccessControl::new(config);
    let http = HttpConfig {
        access: guard.clone(),
        ..HttpConfig::default()
    };
    let spec = format!("identity: {identity}\n{READY}");
    (TestServer::with(&spec, http), guard)
}

/// The same, with an audit log.
fn audited(path: &Path) -> (TestServer, AccessControl) {
    let audit = AuditLog::open(AuditTarget::File(path.to_owned()), false);
    let config = AccessConfig {
        audit: Some(audit.unwrap()),
        ..config()
    };
    guarded("open", config)
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

/// The slug of an error.
fn reason(reply: &Reply) -> String {
    match reply.body.is_empty() {
        true => String::new(),
        false => reply.json()["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    }
}

/// Every route, as somebody asks it who is about `web-1`.
fn every_route(headers: &str) -> Vec<(&'static str, String)> {
    let id = r#"{"identifier":"web-1"}"#;
    let files = r#"{"identifier":"web-1","files":[]}"#;
    let ask = |method, path| plain(method, path, headers);
    vec![
        ("POST /register", register("web-1", headers)),
        ("POST /node", node("web-1", headers)),
        ("POST /init-with-node", post("/init-with-node", headers, id)),
        (
            "GET /v1/nodes/{id}/payload",
            ask("GET", "/v1/nodes/web-1/payload"),
        ),
        ("POST /v1/leave", post("/v1/leave", headers, id)),
        ("POST /node/replace", post("/node/replace", headers, files)),
        ("GET /v1/snapshot", ask("GET", "/v1/snapshot")),
        ("GET /v1/nodes", ask("GET", "/v1/nodes")),
        ("GET /v1/nodes/{id}", ask("GET", "/v1/nodes/web-1")),
        ("DELETE /v1/nodes/{id}", ask("DELETE", "/v1/nodes/web-1")),
        (
            "DELETE /v1/nodes/{id}/override",
            ask("DELETE", "/v1/nodes/web-1/override"),
        ),
        (
            "DELETE /v1/nodes/{id}/key",
            ask("DELETE", "/v1/nodes/web-1/key"),
        ),
        ("GET /v1/generations", ask("GET", "/v1/generations")),
        ("GET /v1/generations/{n}", ask("GET", "/v1/generations/1")),
        (
            "GET /v1/generations/{n}/nodes/{id}/payload",
            ask("GET", "/v1/generations/1/nodes/web-1/payload"),
        ),
        (
            "POST /v1/fail",
            post("/v1/fail", headers, r#"{"reason":""}"#),
        ),
        ("POST /v1/reset", post("/v1/reset", headers, "")),
        ("GET /metrics", ask("GET", "/metrics")),
        ("GET /livez", ask("GET", "/livez")),
        ("GET /readyz", ask("GET", "/readyz")),
    ]
}

/// Whether somebody was let in, and else how the door was shut.
fn let_in(reply: &Reply) -> &'static str {
    match reply.status {
        401 => "401",
        403 => "403",
        429 => "429",
        _ => "in",
    }
}

#[tokio::test]
async fn every_route_with_every_token_in_every_mode() {
    let mut table = String::new();
    for identity in ["open", "first-use", "certificate", "token"] {
        table.push_str(&format!(
            "{identity:44} none  old   node  web   db    ops\n"
        ));
        // Each a server of its own: who is denied too often must wait.
        let mut columns = Vec::new();
        for who in ["none", "old", "node", "web", "db", "ops"] {
            let headers = match who {
                "none" => key("web-1"),
                // A node token that is for others.
                "db" => bearer("web") + &key("web-1"),
                who => bearer(who) + &key("web-1"),
            };
            let mut column = Vec::new();
            for (route, request) in every_route(&headers) {
                let (server, _) = guarded(identity, config());
                let request = match who {
                    "db" => request.replace("web-1", "db-1"),
                    _ => request,
                };
                // The length of the body stays what it was.
                let request = request.replace("db-1\"", "db-1\" ");
                let reply = server.ask(&request).await;
                column.push((route, let_in(&reply)));
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
async fn a_shut_door_says_what_opens_it() {
    let (server, _) = guarded("open", config());
    let mut seen = String::new();
    for (who, request) in [
        ("nobody", register("a", "")),
        ("nobody", get("/v1/snapshot")),
        ("a stranger", register("a", &bearer("stranger"))),
        ("an old one", register("a", &bearer("old"))),
        ("another's", register("a", &bearer("web"))),
        ("a node", plain("GET", "/v1/snapshot", &bearer("node"))),
    ] {
        let reply = server.ask(&request).await;
        let (code, reason, message) = reply.error();
        let status = reply.status;
        let challenge = reply.header("www-authenticate").unwrap_or("-");
        seen.push_str(&format!(
            "{who}: {status} {code} {reason}, www-authenticate: {challenge}\n    {message}\n"
        ));
        assert!(!message.contains("secret-"), "{message}");
    }
    insta::assert_snapshot!(seen);
}

#[tokio::test]
async fn a_token_is_a_password_for_those_who_know_only_a_url() {
    let (server, _) = guarded("open", config());
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
        let reply = server.ask(&plain("GET", "/v1/nodes", &headers)).await;
        assert_eq!(reply.status, status, "{headers}");
    }
}

#[tokio::test]
async fn the_first_key_has_the_name() {
    let mut config = config();
    config.policy.allow_anonymous = true;
    let (server, _) = guarded("first-use", config);
    let ask = async |request: String| {
        let reply = server.ask(&request).await;
        (reply.status, reason(&reply))
    };
    assert_eq!(ask(register("a", "")).await, (403, "no_key".into()));
    assert_eq!(
        ask(register("a", "cfgsync-node-key: short\r\n")).await,
        (403, "no_key".into())
    );
    assert_eq!(ask(register("a", &key("a"))).await.0, 202);
    assert_eq!(ask(register("a", &key("a"))).await.0, 202);
    for request in [register("a", &key("b")), node("a", &key("b"))] {
        assert_eq!(ask(request).await, (403, "other_key".into()));
    }
    let leave = |headers: &str| post("/v1/leave", headers, r#"{"identifier":"a"}"#);
    assert_eq!(ask(leave(&key("b"))).await, (403, "other_key".into()));
    assert_eq!(ask(register("b", &key("b"))).await.0, 202);
    let payload = |headers: &str| plain("GET", "/v1/nodes/a/payload", headers);
    assert_eq!(ask(payload("")).await, (403, "no_key".into()));
    assert_eq!(ask(payload(&key("b"))).await, (403, "other_key".into()));
    let reply = server
        .ask(&plain(
            "GET",
            "/v1/nodes/a/payload",
            &(key("a") + "prefer: wait=10\r\n"),
        ))
        .await;
    assert_eq!(reply.json()["files"][0]["content"], "a");

    // Given free, it is as good as unregistered for all, and then the first one's.
    let release = plain("DELETE", "/v1/nodes/a/key", &bearer("ops"));
    assert_eq!(ask(release.clone()).await.0, 202);
    assert_eq!(ask(release).await, (409, "no_owner".into()));
    let reply = server.ask(&node("a", &key("a"))).await;
    assert_eq!(reply.status, 425, "{}", reply.text());
    assert_eq!(reply.json()["progress"]["self_registered"], false);
    assert_eq!(ask(register("a", &key("c"))).await.0, 202);
    assert_eq!(ask(node("a", &key("a"))).await, (403, "other_key".into()));
    assert_eq!(server.ask(&node("a", &key("c"))).await.status, 200);
}

#[tokio::test]
async fn of_many_keys_at_once_one_has_the_name() {
    let (server, _) = guarded("first-use", config());
    let mut asks = Vec::new();
    for at in 0..16 {
        let request = register("a", &(bearer("node") + &key(&at.to_string())));
        let mut connection = server.connect().await;
        connection.send(request).await;
        asks.push(connection);
    }
    let mut accepted = 0;
    for mut connection in asks {
        match connection.reply().await.status {
            202 => accepted += 1,
            403 => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(accepted, 1);
}

#[tokio::test]
async fn who_leaves_gives_the_name_back() {
    let (server, _) = guarded("first-use", config());
    let with = |name: &str| bearer("node") + &key(name);
    assert_eq!(server.ask(&register("a", &with("1"))).await.status, 202);
    let leave = post("/v1/leave", &with("1"), r#"{"identifier":"a"}"#);
    assert_eq!(server.ask(&leave).await.status, 202);
    assert_eq!(server.ask(&register("a", &with("2"))).await.status, 202);
}

#[tokio::test]
async fn who_is_held_gets_nothing_of_a_name_that_is_anothers_by_then() {
    let (server, _) = guarded("first-use", config());
    let with = |name: &str| bearer("node") + &key(name) + "prefer: wait=60\r\n";
    assert_eq!(server.ask(&register("a", &with("a"))).await.status, 202);
    let mut first = server.connect().await;
    first.send(node("a", &with("a"))).await;
    server.holds(1).await;
    let release = plain("DELETE", "/v1/nodes/a/key", &bearer("ops"));
    assert_eq!(server.ask(&release).await.status, 202);
    assert_eq!(server.ask(&register("a", &with("b"))).await.status, 202);
    let mut second = server.connect().await;
    second.send(node("a", &with("b"))).await;
    server.holds(2).await;
    assert_eq!(server.ask(&register("b", &with("c"))).await.status, 202);
    assert_eq!(second.reply().await.status, 200);
    let reply = first.reply().await;
    assert_eq!(
        (reply.status, reply.error().1),
        (403, "other_key".to_owned())
    );
}

#[tokio::test]
async fn who_is_held_gets_nothing_with_a_token_that_is_revoked_by_then() {
    let (server, guard) = guarded("open", config());
    for (token, identifier) in [("node", "a"), ("web", "web-1")] {
        let mut connection = server.connect().await;
        let wait = "prefer: wait=60\r\n".to_owned();
        connection
            .send(node(identifier, &(bearer(token) + &wait)))
            .await;
        server.holds(1).await;
        guard.set_tokens(tokens(&["ops"]));
        server.ask(&register(identifier, &bearer("ops"))).await;
        server.ask(&register("b", &bearer("ops"))).await;
        let reply = connection.reply().await;
        assert_eq!(reply.status, 401, "{}", reply.text());
        guard.set_tokens(tokens(&["ops", "node", "web"]));
    }
}

#[tokio::test]
async fn tokens_change_while_requests_come() {
    let (server, guard) = guarded("open", config());
    let ask = async |name: &str| server.ask(&register("a", &bearer(name))).await.status;
    assert_eq!(ask("node").await, 202);
    guard.set_tokens(tokens(&["web", "ops"]));
    assert_eq!(ask("node").await, 401);
    guard.set_tokens(tokens(&[]));
    assert_eq!(ask("ops").await, 401);
    guard.set_tokens(tokens(&["node"]));
    assert_eq!(ask("node").await, 202);
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_when_to_come_again() {
    let one = NonZeroU32::MIN;
    let rate = Rate {
        per_second: one,
        burst: NonZeroU32::new(3).unwrap(),
    };
    let (server, _) = guarded(
        "open",
        AccessConfig {
            tokens: None,
            rate: Some(rate),
            ..config()
        },
    );
    let mut last = None;
    for _ in 0..10 {
        last = Some(server.ask(&register("a", "")).await);
    }
    let reply = last.unwrap();
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("retry-after"), Some("1"));
    let (code, reason, _) = reply.error();
    assert_eq!((&*code, &*reason), ("internal", "too_often"));
    // A path that leads nowhere counts, and whoever watches the server does not.
    assert_eq!(server.ask(&get("/nowhere")).await.status, 429);
    assert_eq!(server.ask(&get("/livez")).await.status, 200);
    assert_eq!(server.ask(&get("/readyz")).await.status, 200);
}

#[tokio::test]
async fn who_tries_tokens_is_slowed_and_who_has_one_is_not() {
    let (server, _) = guarded("open", config());
    let mut shut = Vec::new();
    for at in 0..40 {
        let guess = format!("authorization: Bearer guess-{at}\r\n");
        shut.push(server.ask(&plain("GET", "/v1/nodes", &guess)).await.status);
    }
    assert_eq!(shut[..20], [401; 20]);
    assert!(
        shut[20..].iter().filter(|status| **status == 429).count() > 10,
        "{shut:?}"
    );
    // The same address, behind which others are.
    let right = plain("GET", "/v1/nodes", &bearer("ops"));
    assert_eq!(server.ask(&right).await.status, 200);
}

/// What nobody can guess its way to was answered with 429 after twenty tries, which a node took for a reason to wait.
#[tokio::test]
async fn who_may_not_is_told_so_however_often_it_asks() {
    let (server, _) = guarded("open", config());
    for (credential, status) in [("", 401), (bearer("web").as_str(), 403)] {
        for _ in 0..40 {
            let reply = server.ask(&plain("GET", "/v1/nodes", credential)).await;
            assert_eq!(reply.status, status);
        }
    }
    for _ in 0..40 {
        let anothers = node("db-1", &bearer("web"));
        assert_eq!(server.ask(&anothers).await.status, 403);
    }
}

/// Whoever reached an open server on loopback could have a browser there do as a page said.
#[tokio::test]
async fn pages_of_other_sites_ask_nothing() {
    let server = TestServer::start(READY);
    let reason = r#"{"reason":"a page's"}"#;
    for origin in ["http://evil.example", "null", "https://x:4400", "file://x"] {
        let origin = format!("origin: {origin}\r\n");
        let reply = server.ask(&post("/v1/fail", &origin, reason)).await;
        assert_eq!(
            (reply.status, reply.error().1.as_str()),
            (403, "other_site")
        );
        let id = r#"{"identifier":"a","ip":"10.0.0.1"}"#;
        let reply = server.ask(&post("/register", &origin, id)).await;
        assert_eq!(reply.status, 403);
    }
    // One of its own: what `post` says as Host.
    let own = post("/v1/fail", "origin: http://X\r\n", reason);
    assert_eq!(server.ask(&own).await.status, 202);
}

#[tokio::test]
async fn no_more_than_some_requests_are_held_for_a_node() {
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
    server.holds(2).await;
    for request in [
        node("a", "prefer: wait=60\r\n"),
        plain("GET", "/v1/nodes/a/payload", "prefer: wait=60\r\n"),
    ] {
        let reply = server.ask(&request).await;
        assert_eq!(reply.status, 425);
        // As if nobody had understood that it would wait.
        assert_eq!(reply.header("preference-applied"), None);
    }
    server.register("a").await;
    server.register("b").await;
    for mut connection in held {
        assert_eq!(connection.reply().await.status, 200);
    }
}

#[tokio::test]
async fn the_audit_log_has_each_change_and_each_refusal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let (server, guard) = audited(&path);
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
        plain("GET", "/v1/snapshot", &bearer("web")),
        plain("GET", "/v1/snapshot", &bearer("ops")),
        post("/node/replace", &bearer("ops"), replace),
        plain("DELETE", "/v1/nodes/web-1/override", &bearer("ops")),
        plain("DELETE", "/v1/nodes/web-1/override", &bearer("ops")),
        post("/v1/leave", &bearer("web"), r#"{"identifier":"web-1"}"#),
        plain("DELETE", "/v1/nodes/web-9", &bearer("ops")),
        post("/v1/fail", &bearer("ops"), r#"{"reason":"PLANTED"}"#),
        post("/v1/reset", &bearer("ops"), ""),
        get("/livez"),
        get("/nowhere"),
    ] {
        server.ask(&request).await;
    }
    guard.audit().unwrap().flush().await;
    let log = std::fs::read_to_string(&path).unwrap();
    assert!(
        !log.contains("PLANTED") && !log.contains("secret-"),
        "{log}"
    );
    insta::assert_snapshot!(log);
}

/// Who got which files was in no log.
#[tokio::test]
async fn the_audit_log_cannot_be_filled_with_denials() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let (server, guard) = audited(&path);
    for _ in 0..200 {
        let removal = plain("DELETE", "/v1/nodes/web-1", &bearer("web"));
        assert_eq!(server.ask(&removal).await.status, 403);
    }
    guard.audit().unwrap().flush().await;
    let lines = std::fs::read_to_string(&path).unwrap().lines().count();
    assert!((20..100).contains(&lines), "{lines}");
}

#[tokio::test]
async fn the_audit_log_has_each_nodes_first_delivery_of_a_generation() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let (server, guard) = audited(&path);
    server.ask(&register("web-1", &bearer("web"))).await;
    let held = bearer("web") + "prefer: wait=20\r\n";
    let mut waiting = server.connect().await;
    waiting.send(node("web-1", &held)).await;
    server.holds(1).await;
    server.ask(&register("a", &bearer("node"))).await;
    assert_eq!(waiting.reply().await.status, 200);
    // Again, the other way, and where there is nothing yet: no delivery, no line.
    let payload = plain("GET", "/v1/nodes/web-1/payload", &held);
    let again = server.ask(&payload).await;
    let digest = again.header("etag").unwrap().trim_matches('"').to_owned();
    server.ask(&node("web-1", &held)).await;
    server.ask(&node("b", &bearer("node"))).await;
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

/// `GET /v1/nodes/{id}/payload` showed an operator every secret file, unasked and unseen.
#[tokio::test]
async fn an_operator_sees_what_is_secret_only_by_asking_and_is_seen_doing_so() {
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
            let node = NodeRegistration::new(name.parse().unwrap(), [10, 0, 0, 1].into());
            server.coordinator.register(node).await.unwrap();
        }
        let held = "prefer: wait=20\r\n";
        let payload = "/v1/nodes/web-1/payload";
        let revealed = "/v1/nodes/web-1/payload?reveal=true";
        let look = |path, more: &str| plain("GET", path, &(bearer("ops") + more));
        let own = |path| plain("GET", path, &bearer("web"));
        let delivered = async || {
            let node = server
                .ask(&plain("GET", "/v1/snapshot", &bearer("ops")))
                .await;
            node.json()["registrations"][0]["delivered"].is_number()
        };
        let reply = server.ask(&look(payload, held)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(!reply.text().contains("PLANTED"), "{}", reply.text());
        assert_eq!(reply.json()["files"][0]["path"], "open");
        assert_eq!(reply.json()["withheld"][0]["path"], "key");
        let tag = format!("if-none-match: {}\r\n", reply.header("etag").unwrap());
        for path in [payload, revealed] {
            assert_eq!(server.ask(&look(path, &tag)).await.status, 304);
        }
        assert!(!delivered().await, "a look delivers nothing");

        let looks = [
            look(revealed, ""),
            look(revealed, held),
            // What a `join` with an operator's token asks for: it gets the files.
            node("web-1", &(bearer("ops") + held)),
        ];
        for request in looks {
            let reply = server.ask(&request).await;
            assert_eq!(reply.text().contains("PLANTED"), log_works);
            let expected = if log_works { 200 } else { 503 };
            assert_eq!(reply.status, expected, "{}", reply.text());
        }
        // For a node it is its own, whatever it asks.
        for request in [own(payload), own(revealed), node("web-1", &bearer("web"))] {
            let reply = server.ask(&request).await;
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
    let looked = "GET /v1/nodes/{id}/payload";
    assert_eq!(what.collect::<Vec<_>>(), [looked, looked, "POST /node"]);
    assert!(!log.contains("PLANTED"), "{log}");
}

#[tokio::test]
async fn nothing_changes_that_a_required_audit_log_cannot_take() {
    let full = AuditLog::open(AuditTarget::File("/dev/full".into()), true).unwrap();
    let (server, _) = guarded(
        "open",
        AccessConfig {
            audit: Some(full),
            ..config()
        },
    );
    let reply = server.ask(&register("web-1", &bearer("web"))).await;
    assert_eq!((reply.status, reply.error().1), (503, "audit".to_owned()));
    let nodes = server.ask(&plain("GET", "/v1/nodes", &bearer("ops"))).await;
    assert_eq!(nodes.text(), "[]");

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let audit = AuditLog::open(AuditTarget::File(path.clone()), true).unwrap();
    let (server, guard) = guarded(
        "open",
        AccessConfig {
            audit: Some(audit),
            ..config()
        },
    );
    assert_eq!(
        server.ask(&register("web-1", &bearer("web"))).await.status,
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

#[tokio::test]
async fn a_body_that_nobody_may_send_is_not_kept() {
    let (server, _) = guarded("open", config());
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
