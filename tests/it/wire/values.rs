//! Values and aliases over raw HTTP, in the form of the existing config service.

use serde_json::{Value, json};

use super::PAIR;
use crate::support::{Reply, TestServer};

/// Sends one request and returns the reply.
async fn call(server: &TestServer, request: &str, headers: &str, body: &str) -> Reply {
    let mut connection = server.connect().await;
    let length = body.len();
    let head =
        format!("{request} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n");
    connection.send(head + body).await;
    connection.reply().await
}

async fn set(server: &TestServer, key: &str, body: &Value) -> Reply {
    let request = format!("POST /v1/namespaces/prod/keys/{key}");
    call(server, &request, "", &body.to_string()).await
}

async fn get(server: &TestServer, path: &str) -> Reply {
    call(server, &format!("GET /v1/{path}"), "", "").await
}

async fn delete(server: &TestServer, path: &str) -> Reply {
    call(server, &format!("DELETE /v1/{path}"), "", "").await
}

/// Returns the status and the reason of an error of these routes.
fn refusal(reply: &Reply) -> (u16, String) {
    let json = reply.json();
    let reason = json["details"][0]["reason"].as_str();
    (reply.status, reason.unwrap_or_default().to_owned())
}

fn refused(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

/// `30` as base64.
const THIRTY: &str = "MzA=";

#[tokio::test]
async fn value_is_read_as_it_was_set() {
    let server = TestServer::start(PAIR);
    let first = set(&server, "app/timeout", &json!({ "value": THIRTY })).await;
    assert_eq!((first.status, first.header("etag")), (200, Some("\"1\"")));
    let entry = &first.json()["entry"];
    assert_eq!(
        (
            &entry["codec"],
            &entry["type"],
            &entry["version"],
            &entry["value"]
        ),
        (&json!("json"), &json!(1), &json!("1"), &json!(THIRTY))
    );
    assert_eq!(entry["createdAt"], entry["updatedAt"]);
    for key in ["app/timeout", "app%2Ftimeout"] {
        let read = get(&server, &format!("namespaces/prod/keys/{key}")).await;
        assert_eq!(read.json()["entry"], *entry, "{key}");
    }
    let second = set(&server, "app/timeout", &json!({ "value": THIRTY })).await;
    assert_eq!(second.json()["entry"]["version"], "2");
    assert_eq!(second.json()["entry"]["createdAt"], entry["createdAt"]);
}

#[tokio::test]
async fn wrong_names_modes_and_contents_are_refused() {
    let server = TestServer::start(PAIR);
    let wrong_namespace = call(&server, "POST /v1/namespaces/-/keys/a", "", "{}").await;
    assert_eq!(refusal(&wrong_namespace), refused(400, "INVALID_NAMESPACE"));
    let wrong_key = set(&server, "a/../b", &json!({})).await;
    assert_eq!(refusal(&wrong_key), refused(400, "INVALID_KEY"));
    let missing = get(&server, "namespaces/prod/keys/a").await;
    assert_eq!(refusal(&missing), refused(404, "NOT_FOUND"));
    assert_eq!(missing.json()["code"], 5);
    let update = set(
        &server,
        "a",
        &json!({ "value": THIRTY, "writeMode": "UPDATE" }),
    )
    .await;
    assert_eq!(refusal(&update), refused(404, "NOT_FOUND"));
    for (mode, status) in [(json!("WRITE_MODE_CREATE"), 200), (json!(2), 409)] {
        let reply = set(
            &server,
            "a",
            &json!({ "value": THIRTY, "write_mode": mode }),
        )
        .await;
        assert_eq!(reply.status, status, "{mode}");
    }
    let broken = set(&server, "a", &json!({ "value": "ew==" })).await;
    assert_eq!(refusal(&broken), refused(400, "INVALID_VALUE"));
    let unknown = set(
        &server,
        "b",
        &json!({ "value": "ew==", "codec": "client:x" }),
    )
    .await;
    assert_eq!(unknown.json()["entry"]["type"], 11);
    let stale = call(
        &server,
        "DELETE /v1/namespaces/prod/keys/a",
        "if-match: \"7\"\r\n",
        "",
    );
    assert_eq!(refusal(&stale.await), refused(412, "OTHER_VERSION"));
    for expected in [200, 404] {
        let reply = delete(&server, "namespaces/prod/keys/a").await;
        assert_eq!(reply.status, expected);
    }
    let method = call(&server, "PUT /v1/namespaces/prod/keys/a", "", "").await;
    assert_eq!(
        (method.status, method.header("allow")),
        (405, Some("GET, HEAD, POST, DELETE"))
    );
    assert_eq!(method.json()["details"][0]["reason"], "WRONG_METHOD");
}

#[tokio::test]
async fn value_has_at_most_one_mebibyte() {
    let server = TestServer::start(PAIR);
    for (bytes, status) in [(1 << 20, 200), ((1 << 20) + 1, 400), (3 << 20, 400)] {
        let text = format!("\"{}\"", "a".repeat(bytes - 2));
        let value = data_encoding::BASE64.encode(text.as_bytes());
        let reply = set(&server, "long", &json!({ "value": value })).await;
        assert_eq!(reply.status, status, "{bytes}");
        if status == 400 {
            assert_eq!(refusal(&reply), refused(400, "INVALID_VALUE"));
        }
    }
}

#[tokio::test]
async fn lists_versions_and_differences_come_in_pages() {
    let server = TestServer::start(PAIR);
    for key in ["e", "b", "d", "a", "c"] {
        set(&server, key, &json!({ "value": THIRTY })).await;
    }
    let mut cursor = String::new();
    let mut sizes = vec![];
    loop {
        let path = format!("namespaces/prod/keys?limit=2&cursor={cursor}");
        let page = get(&server, &path).await.json();
        sizes.push(page["entries"].as_array().unwrap().len());
        cursor = page["nextCursor"].as_str().unwrap().to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(sizes, [2, 2, 1]);
    let wrong = get(&server, "namespaces/prod/keys?cursor=*").await;
    assert_eq!(refusal(&wrong), refused(400, "INVALID_CURSOR"));
    let empty = get(&server, "namespaces/other/keys").await.json();
    assert_eq!(empty["entries"], json!([]));

    delete(&server, "namespaces/prod/keys/a").await;
    set(&server, "a", &json!({ "value": "MzE=" })).await;
    let versions = get(&server, "namespaces/prod/keys/a/versions?limit=1")
        .await
        .json();
    assert_eq!(
        (&versions["entries"][0]["version"], &versions["limit"]),
        (&json!("2"), &json!(1))
    );
    let older = versions["nextCursor"].as_str().unwrap();
    let path = format!("namespaces/prod/keys/a/versions?cursor={older}");
    let page = get(&server, &path).await.json();
    assert_eq!(page["entries"][0]["version"], "1");
    assert_eq!(page["nextCursor"], "");
    let absent = get(&server, "namespaces/prod/keys/a/versions?version=9").await;
    assert_eq!(refusal(&absent), refused(404, "VERSION_NOT_FOUND"));
    let diff = get(&server, "namespaces/prod/keys/a/diff?v1=1&v2=2")
        .await
        .json();
    assert_eq!(
        (&diff["changed"], &diff["v1_value"]),
        (&json!(true), &json!(THIRTY))
    );
    let wrong = get(&server, "namespaces/prod/keys/a/diff?v1=x&v2=2").await;
    assert_eq!(wrong.status, 400);
    let namespaces = get(&server, "namespaces").await.json();
    assert_eq!(
        namespaces,
        json!({ "namespaces": ["prod"], "nextCursor": "" })
    );
    let codecs = get(&server, "codecs").await.json();
    assert_eq!(
        codecs["codecs"],
        json!(["bytes", "json", "text", "toml", "yaml"])
    );
}

#[tokio::test]
async fn snapshot_has_an_entity_tag_of_its_contents() {
    let server = TestServer::start(PAIR);
    let empty = get(&server, "namespaces/prod/snapshot").await;
    assert_eq!(empty.json()["entries"], json!([]));
    set(&server, "a", &json!({ "value": THIRTY })).await;
    let first = get(&server, "namespaces/prod/snapshot").await.json();
    let etag = first["etag"].as_str().unwrap();
    assert_eq!(get(&server, "namespaces/prod/snapshot").await.json(), first);
    let known = format!("namespaces/prod/snapshot?if_none_match={etag}");
    let known = get(&server, &known).await.json();
    assert_eq!(
        (&known["notModified"], &known["entries"]),
        (&json!(true), &json!([]))
    );
    let headers = format!("if-none-match: \"{etag}\"\r\n");
    let unchanged = call(&server, "GET /v1/namespaces/prod/snapshot", &headers, "").await;
    assert_eq!(unchanged.status, 304);
    // With secrets, the content is another one.
    let revealed = format!("GET /v1/namespaces/prod/snapshot?reveal=true&if_none_match={etag}");
    let revealed = call(&server, &revealed, &headers, "").await;
    assert_eq!(revealed.status, 200);
    assert_ne!(revealed.json()["etag"], first["etag"]);
    assert_eq!(revealed.json()["entries"], first["entries"]);
    delete(&server, "namespaces/prod/keys/a").await;
    set(&server, "a", &json!({ "value": "MzE=" })).await;
    let later = get(&server, "namespaces/prod/snapshot").await.json();
    assert_ne!(later["etag"], first["etag"]);
}

#[tokio::test]
async fn aliases_stand_for_keys() {
    let server = TestServer::start(PAIR);
    set(&server, "app/timeout", &json!({ "value": THIRTY })).await;
    let put = async |name: &str, target: &str| {
        let body = json!({ "target": target }).to_string();
        call(&server, &format!("PUT /v1/aliases/{name}"), "", &body).await
    };
    let made = put("timeout", "app/timeout").await;
    assert_eq!(
        (made.status, &made.json()["alias"]["version"]),
        (200, &json!("1"))
    );
    for (name, target, status, reason) in [
        ("timeout", "b", 409, "ALIAS_EXISTS"),
        ("app/timeout", "b", 409, "ALIAS_EXISTS"),
        ("x", "x", 400, "ALIAS_SELF"),
        ("x", "timeout", 400, "ALIAS_CHAIN"),
    ] {
        let reply = put(name, target).await;
        assert_eq!(refusal(&reply), refused(status, reason), "{name}");
    }
    let read = get(&server, "namespaces/prod/keys/timeout").await.json();
    assert_eq!(read["entry"]["key"], "app/timeout");
    let listed = get(&server, "aliases").await.json();
    assert_eq!(listed["aliases"][0]["alias"], "timeout");
    assert_eq!(get(&server, "aliases/timeout").await.status, 200);
    for expected in [200, 404] {
        assert_eq!(delete(&server, "aliases/timeout").await.status, expected);
    }
}

#[tokio::test]
async fn content_of_a_secret_is_shown_on_request_only() {
    let server = TestServer::start(PAIR);
    let secret = json!({ "value": THIRTY, "type": 12 });
    assert_eq!(set(&server, "a", &secret).await.status, 200);
    for path in [
        "keys/a",
        "keys",
        "keys/a/versions",
        "snapshot",
        "keys/a/diff?v1=1&v2=1",
    ] {
        let path = format!("namespaces/prod/{path}");
        let hidden = get(&server, &path).await;
        assert!(!hidden.text().contains(THIRTY), "{path}: {}", hidden.text());
        let joint = if path.contains('?') { '&' } else { '?' };
        let shown = get(&server, &format!("{path}{joint}reveal=true")).await;
        assert!(shown.text().contains(THIRTY), "{path}: {}", shown.text());
    }
}
