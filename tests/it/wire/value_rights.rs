//! The rights of operators' tokens that are limited to namespaces or to reading, over raw HTTP.

use cfgsync_access::{AccessConfig, AccessControl, Tokens};
use cfgsync_model::Digest;
use cfgsync_server::HttpConfig;
use serde_json::{Value, json};

use super::watch::Watch;
use crate::support::{INSTANCE, Reply, TestServer};

/// A spec with secret metadata, which viewers do not see.
const SPEC: &str = "metadata: { key: { type: string, secret: true, default: PLANTED } }
ready: { nodes: 1 }
materializers:
  - kind: template
    files: [{ path: id, template: x }]
";

/// Names and limits of the operators' tokens. The secret of each is its name.
const TOKENS: [(&str, &str); 4] = [
    ("ops", ""),
    ("reader", "read-only"),
    ("team", "namespace=team-*"),
    ("team-reader", "namespace=team-* read-only"),
];

fn start() -> TestServer {
    start_with(SPEC)
}

fn start_with(spec: &str) -> TestServer {
    let lines = TOKENS.iter().map(|(name, limits)| {
        let hash = Digest::of(name.as_bytes());
        format!("{name} operator sha256:{hash} {limits}\n")
    });
    let tokens = Tokens::parse(&lines.collect::<String>(), "tokens").unwrap();
    let access = AccessControl::new(AccessConfig {
        tokens: Some(tokens),
        ..AccessConfig::default()
    });
    let http = HttpConfig {
        access,
        ..HttpConfig::default()
    };
    TestServer::with(spec, http)
}

/// Sends a request with a token and returns the reply.
pub(super) async fn call(server: &TestServer, token: &str, request: &str, body: &Value) -> Reply {
    let mut connection = server.connect().await;
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let credentials = match token {
        "" => String::new(),
        token => format!("authorization: Bearer {token}\r\n"),
    };
    let length = body.len();
    let head =
        format!("{request} HTTP/1.1\r\nhost: x\r\n{credentials}content-length: {length}\r\n\r\n");
    connection.send(head + &body).await;
    connection.reply().await
}

pub(super) async fn status(server: &TestServer, token: &str, request: &str, body: &Value) -> u16 {
    call(server, token, request, body).await.status
}

#[tokio::test]
async fn token_reads_and_changes_only_its_namespaces() {
    let server = start();
    let value = json!({ "value": "MQ==" });
    for namespace in ["team-a", "other"] {
        let set = format!("POST /v1/namespaces/{namespace}/keys/a");
        assert_eq!(status(&server, "ops", &set, &value).await, 200);
    }
    let import = json!({ "entries": [{ "key": "b", "value": "MQ==" }] });
    // The request without its namespace, its body, and whether it changes something.
    let requests = [
        ("GET", "keys/a", Value::Null, false),
        ("GET", "keys", Value::Null, false),
        ("GET", "keys/a/versions", Value::Null, false),
        ("GET", "keys/a/diff?v1=1&v2=1", Value::Null, false),
        ("GET", "snapshot", Value::Null, false),
        ("POST", "keys/a", value, true),
        ("POST", "import", import, true),
        ("DELETE", "keys/a", Value::Null, true),
    ];
    for (method, path, body, is_change) in requests {
        for (token, namespace, is_allowed) in [
            ("team", "team-a", true),
            ("team", "other", false),
            ("team-reader", "team-a", !is_change),
            ("team-reader", "other", false),
            ("reader", "other", !is_change),
        ] {
            let request = format!("{method} /v1/namespaces/{namespace}/{path}");
            let reply = call(&server, token, &request, &body).await;
            let expected = if is_allowed { 200 } else { 403 };
            assert_eq!(reply.status, expected, "{token} {request}");
            if !is_allowed {
                let reason = &reply.json()["details"][0]["reason"];
                let is_read_only = is_change && token.ends_with("reader");
                let expected = if is_read_only {
                    "READ_ONLY"
                } else {
                    "OTHER_NAMESPACES"
                };
                assert_eq!(reason, expected, "{token} {request}");
            }
        }
    }
    // The right is checked before the body and the name.
    let wrong = "POST /v1/namespaces/other/keys/a..b";
    assert_eq!(status(&server, "team", wrong, &Value::Null).await, 403);
    let wrong = "POST /v1/namespaces/-/keys/a";
    assert_eq!(status(&server, "team", wrong, &Value::Null).await, 403);
    assert_eq!(status(&server, "ops", wrong, &Value::Null).await, 400);
}

#[tokio::test]
async fn lists_and_access_show_what_the_token_may_read() {
    let server = start();
    for namespace in ["a", "team-a", "team-b", "x"] {
        let set = format!("POST /v1/namespaces/{namespace}/keys/a");
        let value = json!({ "value": "MQ==" });
        assert_eq!(status(&server, "ops", &set, &value).await, 200);
    }
    for (token, expected) in [
        ("ops", json!(["a", "team-a", "team-b", "x"])),
        ("reader", json!(["a", "team-a", "team-b", "x"])),
        ("team", json!(["team-a", "team-b"])),
    ] {
        let list = call(&server, token, "GET /v1/namespaces", &Value::Null).await;
        assert_eq!(list.json()["namespaces"], expected, "{token}");
    }
    // A page has as many names as asked for, and the cursor names no other namespace.
    let first = call(&server, "team", "GET /v1/namespaces?limit=1", &Value::Null).await;
    assert_eq!(first.json()["namespaces"], json!(["team-a"]));
    let cursor = first.json()["nextCursor"].as_str().unwrap().to_owned();
    let next = format!("GET /v1/namespaces?limit=1&cursor={cursor}");
    let next = call(&server, "team", &next, &Value::Null).await.json();
    assert_eq!(next, json!({ "namespaces": ["team-b"], "nextCursor": "" }));

    for (token, namespace, can_read, can_write) in [
        ("", "team-a", false, false),
        ("ops", "a", true, true),
        ("reader", "a", true, false),
        ("team", "team-a", true, true),
        ("team", "a", false, false),
        ("team-reader", "team-a", true, false),
    ] {
        let request = format!("GET /v1/namespaces/{namespace}/access");
        let reply = call(&server, token, &request, &Value::Null).await;
        let expected = json!({ "canRead": can_read, "canWrite": can_write });
        assert_eq!(
            (reply.status, reply.json()),
            (200, expected),
            "{token} {namespace}"
        );
    }
}

#[tokio::test]
async fn limited_token_has_few_other_rights() {
    let server = start();
    let node = json!({ "identifier": "node-1", "ip": "10.0.0.1" });
    assert_eq!(status(&server, "ops", "POST /register", &node).await, 202);
    let alias = json!({ "target": "a" });
    let reason = json!({ "reason": "x" });
    for (request, body, reader, team) in [
        ("GET /livez", &Value::Null, 200, 200),
        ("GET /v1/snapshot", &Value::Null, 200, 200),
        ("GET /metrics", &Value::Null, 200, 200),
        ("GET /v1/codecs", &Value::Null, 200, 200),
        ("GET /v1/aliases", &Value::Null, 200, 200),
        ("GET /v1/tokens", &Value::Null, 200, 403),
        ("PUT /v1/aliases/b", &alias, 403, 403),
        ("DELETE /v1/aliases/b", &Value::Null, 403, 403),
        ("POST /v1/fail", &reason, 403, 403),
        ("DELETE /v1/nodes/node-1", &Value::Null, 403, 403),
        ("POST /register", &node, 403, 403),
        ("POST /node", &node, 403, 403),
        ("GET /v1/nodes/node-1/payload", &Value::Null, 403, 403),
    ] {
        for (token, expected) in [("reader", reader), ("team", team), ("team-reader", team)] {
            let found = status(&server, token, request, body).await;
            assert_eq!(found, expected, "{token} {request}");
        }
    }
    for (token, is_shown) in [("ops", true), ("reader", true), ("team", false)] {
        let snapshot = call(&server, token, "GET /v1/snapshot", &Value::Null).await;
        let body = String::from_utf8(snapshot.body).unwrap();
        assert_eq!(body.contains("PLANTED"), is_shown, "{token}: {body}");
    }
    let tokens = call(&server, "ops", "GET /v1/tokens", &Value::Null)
        .await
        .json();
    let limits: Vec<_> = tokens.as_array().unwrap().iter().collect();
    assert_eq!(
        (
            &limits[3]["name"],
            &limits[3]["namespaces"],
            &limits[3]["read_only"]
        ),
        (&json!("team-reader"), &json!(["team-*"]), &json!(true))
    );
}

/// The names of other values are not shown as a reason for a generation, also not in its flight record.
#[tokio::test]
async fn limited_token_sees_only_its_values_among_the_changes() {
    let reading = SPEC.replace(
        "template: x",
        "template: '{{ value(\"team-a\", \"k\", default=1) }}{{ value(\"other\", \"k\", default=1) }}'",
    );
    let server = start_with(&reading);
    let sealed = async |generation: u64| {
        let request = format!("GET /v1/generations/{generation}");
        while status(&server, "ops", &request, &Value::Null).await != 200 {
            tokio::task::yield_now().await;
        }
    };
    let node = json!({ "identifier": "node-1", "ip": "10.0.0.1" });
    assert_eq!(status(&server, "ops", "POST /register", &node).await, 202);
    sealed(1).await;
    for (namespace, generation) in [("team-a", 2), ("other", 3)] {
        let request = format!("POST /v1/namespaces/{namespace}/keys/k");
        let value = json!({ "value": "Mg==" });
        assert_eq!(status(&server, "ops", &request, &value).await, 200);
        sealed(generation).await;
    }
    for (token, generation, namespaces, more) in [
        ("ops", 2, json!(["team-a"]), 0),
        ("ops", 3, json!(["other"]), 0),
        ("reader", 3, json!(["other"]), 0),
        ("team", 2, json!(["team-a"]), 0),
        ("team", 3, json!([]), 1),
    ] {
        for path in ["generations/", "record?generation="] {
            let request = format!("GET /v1/{path}{generation}");
            let reply = call(&server, token, &request, &Value::Null).await.json();
            let changes = &reply["changes"];
            let listed = changes["changes"].as_array().unwrap().iter();
            let found = listed.filter_map(|change| change.get("namespace"));
            assert_eq!(
                json!(found.collect::<Vec<_>>()),
                namespaces,
                "{token} {request}"
            );
            assert_eq!(changes["more"], more, "{token} {request}");
        }
    }
    for (request, expected) in [
        ("GET /v1/record?generation=newest", 200),
        ("GET /v1/record?generation=4", 404),
        ("GET /v1/record?generation=x", 400),
    ] {
        let found = status(&server, "reader", request, &Value::Null).await;
        assert_eq!(found, expected, "{request}");
    }
}

#[tokio::test]
async fn limited_token_watches_only_its_namespaces() {
    let server = start();
    let value = json!({ "value": "MQ==" });
    let set = async |namespace: &str, key: &str| {
        let request = format!("POST /v1/namespaces/{namespace}/keys/{key}");
        assert_eq!(status(&server, "ops", &request, &value).await, 200);
    };
    let headers = "authorization: Bearer team\r\n";
    let mut all = Watch::open(&server, "", headers).await;
    let mut of_prefix = Watch::open(&server, "?prefixes=b", headers).await;
    let mut named = Watch::open(&server, "?namespaces=team-a", headers).await;
    set("other", "b1").await;
    set("team-a", "b2").await;
    let alias = json!({ "target": "b2" });
    let alias = status(&server, "ops", "PUT /v1/aliases/b3", &alias).await;
    assert_eq!(alias, 200);
    set("team-b", "b4").await;
    for (watch, expected) in [
        (&mut all, &["b2", "b3", "b4"][..]),
        (&mut of_prefix, &["b2", "b3", "b4"]),
    ] {
        watch.read_until("\"b4\"").await;
        let text = &watch.text;
        for key in expected {
            assert!(text.contains(&format!("\"{key}\"")), "{text}");
        }
        assert!(
            !text.contains("other") && !text.contains("\"b1\""),
            "{text}"
        );
    }
    named.read_until("\"b2\"").await;
    assert!(!named.text.contains("other"), "{}", named.text);

    // The same rights hold for old events.
    let resume = format!("{headers}last-event-id: {INSTANCE}-0\r\n");
    let mut old = Watch::open(&server, "", &resume).await;
    old.read_until("\"b4\"").await;
    assert!(
        old.text.contains("\"b2\"") && !old.text.contains("other"),
        "{}",
        old.text
    );

    for (token, query, expected) in [
        ("team", "?namespaces=other", 403),
        ("team", "?namespaces=team-a&namespaces=other", 403),
        ("reader", "?namespaces=-a", 400),
    ] {
        let request = format!("GET /v1/watch{query}");
        let reply = call(&server, token, &request, &Value::Null).await;
        assert_eq!(reply.status, expected, "{token} {query}");
    }
}
