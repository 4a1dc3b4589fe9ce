//! Secret values are shown only on request, and the audit log says who asked for them.

use cfgsync_access::{AccessConfig, AccessControl, AuditLog, AuditTarget, Tokens};
use cfgsync_model::Digest;
use cfgsync_server::HttpConfig;
use serde_json::{Value, json};

use super::{
    PAIR,
    value_rights::{call, status},
};
use crate::support::TestServer;

/// Starts a server with an audit log and the operators `team` and `team-reader`.
fn start(audit: AuditLog) -> (TestServer, AccessControl) {
    let lines = [("team", ""), ("team-reader", "read-only")].map(|(name, limits)| {
        let hash = Digest::of(name.as_bytes());
        format!("{name} operator sha256:{hash} namespace=team-* {limits}\n")
    });
    let access = AccessControl::new(AccessConfig {
        tokens: Some(Tokens::parse(&lines.concat(), "tokens").unwrap()),
        audit: Some(audit),
        ..AccessConfig::default()
    });
    let http = HttpConfig {
        access: access.clone(),
        ..HttpConfig::default()
    };
    (TestServer::with(PAIR, http), access)
}

/// The log named a value's hash, by which a short secret can be guessed.
#[tokio::test]
async fn audit_log_has_no_trace_of_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let audit = AuditLog::open(AuditTarget::File(path.clone()), false).unwrap();
    let (server, access) = start(audit);
    let secret = json!({ "value": "aHVudGVyMg==", "codec": "text", "type": 12 });
    let plain = json!({ "value": "MQ==" });
    let unaware = json!({ "value": "aHVudGVyMg==", "codec": "text" });
    // A client that does not know secrets cannot publish one by setting it.
    for (key, body) in [
        ("password", &secret),
        ("password", &unaware),
        ("plain", &plain),
    ] {
        let set = format!("POST /v1/namespaces/team-a/keys/{key}");
        assert_eq!(status(&server, "team", &set, body).await, 200);
    }
    let import = json!({ "entries": [{ "key": "password", "value": "aHVudGVyMw==", "codec": "text", "type": 12 }] });
    let request = "POST /v1/namespaces/team-a/import";
    assert_eq!(status(&server, "team", request, &import).await, 200);
    let read = "GET /v1/namespaces/team-a/keys/password";
    let hidden = call(&server, "team", read, &Value::Null).await;
    assert!(!String::from_utf8(hidden.body).unwrap().contains("aHVudGVy"));
    let reveal = format!("{read}?reveal=true");
    let revealed = call(&server, "team-reader", &reveal, &Value::Null).await;
    assert_eq!(revealed.json()["entry"]["value"], "aHVudGVyMw==");
    for list in [
        "keys",
        "snapshot",
        "keys/password/versions",
        "keys/password/diff?v1=1&v2=3",
    ] {
        let separator = if list.contains('?') { '&' } else { '?' };
        let request = format!("GET /v1/namespaces/team-a/{list}");
        let hidden = call(&server, "team", &request, &Value::Null).await;
        assert!(
            !String::from_utf8(hidden.body).unwrap().contains("aHVudGVy"),
            "{list}"
        );
        let request = format!("{request}{separator}reveal=true");
        let shown = call(&server, "team", &request, &Value::Null).await;
        assert!(
            String::from_utf8(shown.body)
                .unwrap()
                .contains("aHVudGVyMw"),
            "{list}"
        );
    }
    access.audit().unwrap().flush().await;
    let log = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let hashes =
        ["hunter2", "hunter3", "aHVudGVy"].map(|text| Digest::of(text.as_bytes()).to_string());
    for planted in ["hunter", "aHVudGVy"]
        .into_iter()
        .chain(hashes.iter().map(String::as_str))
    {
        assert!(!log.contains(planted), "{log}");
    }
    let revealed = lines.iter().filter(|line| line["outcome"] == "revealed");
    let revealed: Vec<&Value> = revealed.collect();
    assert_eq!(revealed.len(), 5, "{log}");
    assert_eq!(
        (&revealed[0]["who"], &revealed[0]["value"]),
        (&json!("token team-reader"), &json!("team-a/password"))
    );
    let hash = Digest::of(b"1").to_string();
    assert!(
        log.contains(&hash),
        "the hash of a plain value is in the log: {log}"
    );
}
