//! The rights and the limits of event streams, over raw HTTP.

use cfgsync_access::{AccessConfig, AccessControl, Policy, Tokens};
use cfgsync_model::Digest;
use cfgsync_server::{HttpConfig, WatchLimits};
use cfgsync_support::clock::{Timestamp, WallClock};

use super::{
    PAIR,
    watch::{Watch, id, names, wait_until_watched_by},
};
use crate::support::{TestServer, post, without_body};

const TOKENS: [(&str, &str); 3] = [("ops", "operator"), ("eye", "viewer"), ("node", "node")];

fn tokens(named: &[&str]) -> Tokens {
    let selected = TOKENS.iter().filter(|(name, _)| named.contains(name));
    let lines = selected.map(|(name, role)| {
        let hash = Digest::of(format!("secret-{name}").as_bytes());
        format!("{name} {role} sha256:{hash}\n")
    });
    Tokens::parse(
        &(String::from("# all\n") + &lines.collect::<String>()),
        "tokens",
    )
    .unwrap()
}

fn bearer(name: &str) -> String {
    format!("authorization: Bearer secret-{name}\r\n")
}

fn guarded(http: HttpConfig) -> (TestServer, AccessControl) {
    let access = AccessControl::new(AccessConfig {
        tokens: Some(tokens(&["ops", "eye", "node"])),
        policy: Policy::default(),
        rate: None,
        audit: None,
        clock: WallClock::from_fn(|| Timestamp::UNIX_EPOCH),
    });
    let http = HttpConfig {
        access: access.clone(),
        ..http
    };
    (TestServer::with(PAIR, http), access)
}

#[tokio::test]
async fn only_operators_watch_values() {
    let (server, _) = guarded(HttpConfig::default());
    let value = r#"{"value":"MQ=="}"#;
    let set = post("/v1/namespaces/prod/keys/k", &bearer("ops"), value);
    assert_eq!(server.request(&set).await.status, 200);
    let fail = post("/v1/fail", &bearer("ops"), r#"{"reason":"x"}"#);
    assert_eq!(server.request(&fail).await.status, 202);
    let since = format!("?since={}", id(0));
    let mut operator = Watch::open(&server, &since, &bearer("ops")).await;
    assert_eq!(
        names(&operator.next_changes(2).await),
        ["set", "cluster_failed"]
    );
    // The filter of rights holds for old events and for new ones.
    let mut viewer = Watch::open(&server, &since, &bearer("eye")).await;
    assert_eq!(server.request(&set).await.status, 200);
    let reset = post("/v1/reset", &bearer("ops"), "");
    assert_eq!(server.request(&reset).await.status, 202);
    assert_eq!(
        names(&viewer.next_changes(2).await),
        ["cluster_failed", "cluster_reset"]
    );
    for (query, headers, status) in [
        ("", String::new(), 401),
        ("", bearer("node"), 403),
        ("", bearer("wrong"), 401),
        ("?namespaces=prod", bearer("eye"), 403),
        ("?prefixes=a", bearer("eye"), 403),
        ("?kinds=set&kinds=alias_delete", bearer("eye"), 403),
        ("?namespaces=-", bearer("eye"), 403),
    ] {
        let request = without_body("GET", &format!("/v1/watch{query}"), &headers);
        let reply = server.request(&request).await;
        assert_eq!(reply.status, status, "{query} {headers}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn revoked_token_ends_the_stream() {
    let (server, access) = guarded(HttpConfig::default());
    let mut operator = Watch::open(&server, "", &bearer("ops")).await;
    let mut viewer = Watch::open(&server, "", &bearer("eye")).await;
    access.set_tokens(tokens(&["ops"]));
    while viewer.next_or_end().await.is_some() {}
    let set = post(
        "/v1/namespaces/prod/keys/k",
        &bearer("ops"),
        r#"{"value":"MQ=="}"#,
    );
    assert_eq!(server.request(&set).await.status, 200);
    assert_eq!(names(&operator.next_changes(1).await), ["set"]);
}

#[tokio::test]
async fn number_of_watchers_is_bounded() {
    let limits = |all_max, per_identity_max, per_address_max| HttpConfig {
        watch_limits: WatchLimits {
            all_max,
            per_identity_max,
            per_address_max,
        },
        ..HttpConfig::default()
    };
    for (http, reason) in [
        (limits(1, 9, 9), "raise --watchers-max"),
        (limits(9, 1, 9), "raise --watchers-per-identity-max"),
        (limits(9, 9, 1), "raise --watchers-per-address-max"),
    ] {
        let (server, _) = guarded(http);
        let watch = Watch::open(&server, "", &bearer("ops")).await;
        let request = without_body("GET", "/v1/watch", &bearer("ops"));
        let reply = server.request(&request).await;
        assert_eq!(
            (reply.status, reply.header("retry-after")),
            (429, Some("1"))
        );
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(reason), "{message}");
        drop(watch);
        wait_until_watched_by(&server, 0).await;
        Watch::open(&server, "", &bearer("ops")).await;
    }
}
