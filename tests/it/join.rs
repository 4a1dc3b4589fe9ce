//! The join session against a scripted server. The clock is paused, so the tests do not wait in real time.

use std::time::Duration;

use cfgsync::Client;
use cfgsync_client::{
    CallError, Event, FailureKind, JoinError, JoinOptions, KeyLocation, NodeAddress, ServerUrl,
    Session,
};
use cfgsync_wire::ReceivedPayload;
use tokio::time::Instant;

use crate::{
    fake::{FakeServer, ReceivedRequest, Reply},
    support::{INSTANCE, TestServer},
};

const FILES: &str = r#"{"schema_version":1,"files":[{"path":"/config.yaml","content":"x: 1\n"}]}"#;
/// Headers of a server that holds requests.
const HELD: &str = "preference-applied: wait\r\nretry-after: 0\r\ncfgsync-instance: 00000000000000000000000000000001\r\n";
const INSTANCE_1: &str = "cfgsync-instance: 00000000000000000000000000000001\r\n";
const INSTANCE_2: &str = "cfgsync-instance: 00000000000000000000000000000002\r\n";

fn options(timeout_seconds: u64) -> JoinOptions {
    let mut options = JoinOptions::new("node-1".parse().unwrap())
        .with_address(NodeAddress::Fixed("10.0.0.1".parse().unwrap()))
        .with_metadata(serde_json::json!({"port": 1}));
    options.timeout = (timeout_seconds > 0).then_some(Duration::from_secs(timeout_seconds));
    options
}

async fn join(
    fake: &FakeServer,
    options: JoinOptions,
) -> (Result<ReceivedPayload, JoinError>, Vec<Event>) {
    let mut events = Vec::new();
    let mut join = Session::new(Client::new([fake.url.clone()]), options);
    let outcome = join.run(|event| events.push(event)).await;
    (outcome, events)
}

fn accepted() -> Reply {
    Reply::Answer(202, "", String::new())
}

fn payload() -> Reply {
    Reply::Answer(200, "", FILES.to_owned())
}

fn error(code: &str, message: &str) -> String {
    format!(r#"{{"code":"{code}","message":"{message}"}}"#)
}

fn not_ready(registered: usize, self_registered: bool) -> String {
    format!(
        r#"{{"code":"not_ready","message":"not ready","progress":{{"registered":{registered},"needed":4,
        "missing":["node-3"],"missing_count":1,"unmet":["zones: 1 of 2"],"self_registered":{self_registered}}}}}"#
    )
}

/// Builds a script that accepts registrations and answers `/node` by calling `node`.
fn registered(node: impl Fn(&ReceivedRequest) -> Reply) -> impl Fn(&ReceivedRequest) -> Reply {
    move |request| match request.line.as_str() {
        "POST /register" => accepted(),
        "POST /node" => node(request),
        _ => Reply::Answer(404, "", error("missing_config", "no such route")),
    }
}

#[tokio::test(start_paused = true)]
async fn ready_server_needs_two_requests() {
    let fake = FakeServer::start(registered(|_| payload())).await;
    let (outcome, events) = join(&fake, options(5)).await;
    assert_eq!(
        outcome.unwrap().files.files()[0].path.as_str(),
        "/config.yaml"
    );
    assert_eq!(fake.request_lines(), ["POST /register", "POST /node"]);
    assert_eq!(fake.connections(), 1);
    let body = r#"{"identifier":"node-1","ip":"10.0.0.1","metadata":{"port":1}}"#;
    assert!(fake.requests().iter().all(|request| request.body == body));
    assert!(matches!(
        events[..],
        [
            Event::Registered { again: false, .. },
            Event::Received { files: 1, bytes: 5 }
        ]
    ));
}

#[tokio::test(start_paused = true)]
async fn holding_server_is_not_polled() {
    let fake = FakeServer::start(registered(|request| match request.index {
        0..6 => Reply::Held(425, HELD, not_ready(request.index, true)),
        _ => payload(),
    }))
    .await;
    let started = Instant::now();
    let (outcome, events) = join(&fake, options(0)).await;
    outcome.unwrap();
    let waits: Vec<_> = fake
        .requests()
        .iter()
        .filter_map(ReceivedRequest::wait)
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 30]);
    assert_eq!(started.elapsed().as_secs(), 31);
    let Event::Waiting { message, progress } = &events[1] else {
        panic!("{events:?}");
    };
    assert_eq!(message, "1/4, missing node-3; zones: 1 of 2");
    assert!(progress.as_ref().unwrap().self_registered);
}

#[tokio::test(start_paused = true)]
async fn legacy_server_is_polled_with_backoff_and_reregistration() {
    let fake = FakeServer::start(registered(|request| match request.index {
        0..60 => Reply::Answer(425, "", error("not_ready", "waiting for 3 nodes")),
        _ => payload(),
    }))
    .await;
    let started = Instant::now();
    let (outcome, events) = join(&fake, options(0)).await;
    outcome.unwrap();
    let message = "waiting for 3 nodes".to_owned();
    assert!(events.contains(&Event::Waiting {
        message,
        progress: None
    }));
    // 60 responses. With the longest pause after each, this would take 300 s.
    let elapsed = started.elapsed().as_secs();
    assert!((30..300).contains(&elapsed), "{elapsed} s");
    let registrations = fake
        .request_lines()
        .iter()
        .filter(|line| *line == "POST /register")
        .count();
    assert!(
        (3..20).contains(&registrations),
        "{registrations} registrations in {elapsed} s"
    );
}

#[tokio::test(start_paused = true)]
async fn server_that_does_not_hold_as_announced_is_polled_with_pauses() {
    let fake =
        FakeServer::start(registered(|_| Reply::Answer(425, HELD, not_ready(1, true)))).await;
    let (outcome, _) = join(&fake, options(60)).await;
    assert!(matches!(outcome, Err(JoinError::NotReady { .. })));
    assert!(
        fake.request_lines().len() < 100,
        "{} requests",
        fake.request_lines().len()
    );
}

#[tokio::test(start_paused = true)]
async fn draining_server_is_retried_at_once_but_not_in_a_loop() {
    let draining = "preference-applied: wait\r\nretry-after: 0\r\n";
    let fake = FakeServer::start(registered(move |request| match request.index {
        0..4 => Reply::Answer(425, draining, not_ready(1, true)),
        _ => payload(),
    }))
    .await;
    let started = Instant::now();
    join(&fake, options(0)).await.0.unwrap();
    assert_eq!(started.elapsed().as_millis(), 0);

    let fake = FakeServer::start(registered(move |_| {
        Reply::Answer(425, draining, not_ready(1, true))
    }))
    .await;
    assert!(join(&fake, options(60)).await.0.is_err());
    assert!(
        fake.request_lines().len() < 100,
        "{} requests",
        fake.request_lines().len()
    );
}

#[tokio::test(start_paused = true)]
async fn other_server_is_used_at_once_while_one_drains() {
    let draining = "preference-applied: wait\r\nretry-after: 1\r\nconnection: close\r\n";
    let body = r#"{"code":"not_ready","reason":"draining","message":"this server is stopping"}"#;
    let first = FakeServer::start(registered(move |_| {
        Reply::Answer(425, draining, body.to_owned())
    }))
    .await;
    let second = FakeServer::start(registered(|_| payload())).await;
    let servers = [first.url.clone(), second.url.clone()];
    let started = Instant::now();
    let mut join = Session::new(Client::new(servers), options(60));
    join.run(|_| {}).await.unwrap();
    assert_eq!(started.elapsed().as_millis(), 0);
}

#[tokio::test(start_paused = true)]
async fn waits_for_an_unreachable_server() {
    // A closed listener's address: connections are refused.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let url: ServerUrl = format!("http://{address}").parse().unwrap();
    let mut events = Vec::new();
    let mut absent = Session::new(Client::new([url.clone()]), options(30));
    let failed = absent.run(|event| events.push(event)).await.unwrap_err();
    assert_eq!(
        failed.to_string(),
        format!("gave up after 30s: {url}: Connection refused (os error 111)")
    );
    assert!(matches!(failed, JoinError::Unreachable { .. }));
    assert!((6..60).contains(&events.len()), "{} attempts", events.len());

    // The server starts while the node retries.
    let mut late = Session::new(Client::new([url]), options(0));
    let starts = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        FakeServer::start_at(address, registered(|_| payload())).await
    };
    let (outcome, server) = tokio::join!(late.run(|_| ()), starts);
    outcome.unwrap();
    assert_eq!(server.request_lines(), ["POST /register", "POST /node"]);
}

#[tokio::test(start_paused = true)]
async fn fails_over_to_the_next_server() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", closed.local_addr().unwrap());
    let fake = FakeServer::start(registered(|_| payload())).await;
    let client = Client::new([closed.parse().unwrap(), fake.url.clone()]);
    let mut join = Session::new(client, options(0));
    join.run(|_| ()).await.unwrap();
    assert_eq!(fake.request_lines(), ["POST /register", "POST /node"]);
}

#[tokio::test(start_paused = true)]
async fn registers_again_with_a_server_that_lost_its_state() {
    for lost_state in [
        // The server reports the missing registration, or has a new instance ID.
        Reply::Answer(425, INSTANCE_1, not_ready(0, false)),
        Reply::Answer(425, INSTANCE_2, not_ready(0, true)),
        Reply::Answer(200, INSTANCE_2, FILES.to_owned()),
        // The connection broke, so the server may have restarted without its state.
        Reply::Close,
        Reply::Truncated,
    ] {
        let fake = FakeServer::start(
            move |request| match (request.line.as_str(), request.index) {
                ("POST /register", 0) => Reply::Answer(202, INSTANCE_1, String::new()),
                ("POST /register", _) => Reply::Answer(202, INSTANCE_2, String::new()),
                ("POST /node", 1) => lost_state.clone(),
                _ => Reply::Answer(200, INSTANCE_2, FILES.to_owned()),
            },
        )
        .await;
        let (outcome, events) = join(&fake, options(0)).await;
        outcome.unwrap();
        let lines = fake.request_lines();
        let registrations = lines
            .iter()
            .filter(|line| *line == "POST /register")
            .count();
        assert_eq!(
            (registrations, lines.last().unwrap().as_str()),
            (2, "POST /node")
        );
        assert!(
            events
                .iter()
                .any(|event| matches!(event, Event::Registered { again: true, .. }))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_request_times_out_and_is_retried() {
    let fake = FakeServer::start(move |request| match request.index {
        0 | 2 => Reply::Hang,
        _ if request.line == "POST /register" => accepted(),
        _ => payload(),
    })
    .await;
    join(&fake, options(0)).await.0.unwrap();
    let expected = [
        "POST /register",
        "POST /register",
        "POST /node",
        "POST /register",
        "POST /node",
    ];
    assert_eq!(fake.request_lines(), expected);
}

#[tokio::test(start_paused = true)]
async fn server_errors_are_retried() {
    for status in [500, 502, 503, 429, 408] {
        let fake = FakeServer::start(move |request| match request.index {
            0 | 2 | 3 => Reply::Answer(status, "", error("internal", "out of order")),
            _ if request.line == "POST /register" => accepted(),
            _ => payload(),
        })
        .await;
        let (outcome, events) = join(&fake, options(0)).await;
        outcome.unwrap();
        let Event::ServerFault { problem } = &events[0] else {
            panic!("{events:?}");
        };
        assert!(problem.ends_with(": out of order"), "{problem}");
    }
    let fake = FakeServer::start(|_| Reply::Answer(503, "", "<html>".into())).await;
    let error = join(&fake, options(20)).await.0.unwrap_err();
    assert!(matches!(error, JoinError::Unreachable { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn retry_after_of_429_is_respected() {
    let too_many_requests =
        |seconds: &'static str| Reply::Answer(429, seconds, error("internal", "slower"));
    let fake = FakeServer::start(move |request| match request.index {
        0 => too_many_requests("retry-after: 7\r\n"),
        2 => too_many_requests("retry-after: 9\r\n"),
        _ if request.line == "POST /register" => accepted(),
        _ => payload(),
    })
    .await;
    let started = Instant::now();
    join(&fake, options(0)).await.0.unwrap();
    let waited = started.elapsed().as_secs();
    assert!((16..20).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn node_key_is_sent_once_the_server_asks_for_it() {
    const NO_KEY: &str = r#"{"code":"internal","reason":"no_key","message":"bring a key"}"#;
    let directory = tempfile::tempdir().unwrap();
    let with_key = || options(0).with_key(KeyLocation::Directory(directory.path().to_owned()));
    let cluster = "cfgsync-cluster: devnet\r\n";
    let has_key = |request: &ReceivedRequest| request.headers.contains("cfgsync-node-key: ");
    let fake = FakeServer::start(move |request| match request.line.as_str() {
        _ if !has_key(request) => Reply::Answer(403, cluster, NO_KEY.to_owned()),
        "POST /register" => accepted(),
        _ => payload(),
    })
    .await;
    join(&fake, with_key()).await.0.unwrap();
    let expected = ["POST /register", "POST /register", "POST /node"];
    assert_eq!(fake.request_lines(), expected);
    let kept = std::fs::read_to_string(directory.path().join("keys/devnet/node-1")).unwrap();
    let sent = format!("cfgsync-node-key: {}", kept.trim().to_lowercase());
    assert!(fake.requests()[1].headers.contains(&sent));

    // A second request for a key means that the server rejects this one.
    let fake = FakeServer::start(move |_| Reply::Answer(403, cluster, NO_KEY.to_owned())).await;
    let error = join(&fake, with_key()).await.0.unwrap_err();
    assert!(matches!(error, JoinError::Refused { .. }), "{error}");
    assert_eq!(fake.request_lines().len(), 2);
    // A node without a location for its key reports that.
    let error = join(&fake, options(0)).await.0.unwrap_err();
    assert!(matches!(error, JoinError::Key(_)), "{error}");
    // A server that does not ask for a key gets none.
    let fake = FakeServer::start(registered(|_| payload())).await;
    join(&fake, with_key()).await.0.unwrap();
    assert!(!fake.requests().iter().any(has_key));
}

/// Regression test: once one server had asked for the key, all servers got it unasked, and the warning named only the
/// first.
#[tokio::test(start_paused = true)]
async fn node_key_goes_only_to_servers_of_the_same_cluster_that_ask() {
    const NO_KEY: &str = r#"{"code":"internal","reason":"no_key","message":"bring a key"}"#;
    const DEVNET: &str = "cfgsync-cluster: devnet\r\n";
    let has_key = |request: &ReceivedRequest| request.headers.contains("cfgsync-node-key: ");
    let no_key = |cluster| Reply::Answer(403, cluster, NO_KEY.to_owned());
    // This server accepts a registration with a key, then closes all connections.
    let first = || {
        FakeServer::start(move |request| match request.line.as_str() {
            "GET /livez" => Reply::Answer(200, DEVNET, String::new()),
            "POST /register" if has_key(request) => Reply::Answer(202, DEVNET, String::new()),
            "POST /register" => no_key(DEVNET),
            _ => Reply::Close,
        })
    };
    let directory = tempfile::tempdir().unwrap();
    let run = async |servers: [&FakeServer; 2], cluster: Option<&str>| {
        // 0.0.0.0 reaches this machine but is not a loopback address.
        let elsewhere = |fake: &FakeServer| -> ServerUrl {
            fake.url
                .to_string()
                .replace("127.0.0.1", "0.0.0.0")
                .parse()
                .unwrap()
        };
        let key = KeyLocation::File(directory.path().join("key"));
        let mut with_key = options(20).with_key(key);
        with_key.cluster = cluster.map(str::to_owned);
        let mut events = Vec::new();
        let mut join = Session::new(Client::new(servers.map(elsewhere)), with_key);
        let outcome = join.run(|event| events.push(event)).await;
        let warned = events.into_iter().filter_map(|event| match event {
            Event::KeySentUnencrypted { server } => Some(server.port()),
            _ => None,
        });
        (outcome, warned.collect::<Vec<_>>())
    };

    // Both servers ask for the key: both get it, with a warning for each.
    let (one, other) = (
        first().await,
        FakeServer::start(move |request| match request.line.as_str() {
            _ if !has_key(request) => no_key(DEVNET),
            "POST /register" => accepted(),
            _ => payload(),
        })
        .await,
    );
    let (outcome, warned) = run([&one, &other], None).await;
    outcome.unwrap();
    assert_eq!(warned, [one.url.port(), other.url.port()]);
    assert!(
        !has_key(&other.requests()[0]),
        "the server had not asked for the key yet"
    );

    // A server of another cluster does not get the key, with and without `--cluster`.
    for cluster in [None, Some("devnet")] {
        let one = first().await;
        let other = FakeServer::start(move |_| no_key("cfgsync-cluster: mainnet\r\n")).await;
        let (outcome, warned) = run([&one, &other], cluster).await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, JoinError::WrongCluster { .. }), "{error}");
        assert_eq!(warned, [one.url.port()]);
        assert!(!other.requests().is_empty() && !other.requests().iter().any(has_key));
        let identity_checks = one
            .requests()
            .into_iter()
            .filter(|request| request.line == "GET /livez");
        assert!(!identity_checks.into_iter().any(|request| has_key(&request)));
    }
}

#[tokio::test(start_paused = true)]
async fn invalid_payload_is_fetched_again_then_rejected() {
    let wrong = FILES.replace(
        "\"content\"",
        &format!("\"sha256\":\"{}\",\"content\"", "0".repeat(64)),
    );
    for (bad, message) in [
        (
            wrong.as_str(),
            "the content of /config.yaml does not match its digest",
        ),
        (
            "{}",
            "the body is not a payload: missing field `schema_version`",
        ),
        (
            r#"{"schema_version":3,"files":[]}"#,
            "the payload has schema version 3",
        ),
        (
            r#"{"schema_version":1,"files":[{"path":"../../etc/passwd","content":""}]}"#,
            "artifact path \"../../etc/passwd\" contains the part \"..\"",
        ),
        (
            r#"{"schema_version":1,"files":[{"path":"a","content":""},{"path":"/a","content":""}]}"#,
            "two files are called /a",
        ),
    ] {
        let (once, always) = (bad.to_owned(), bad.to_owned());
        let fake = FakeServer::start(registered(move |request| match request.index {
            1 => Reply::Answer(200, "", once.clone()),
            _ => payload(),
        }))
        .await;
        join(&fake, options(0)).await.0.unwrap();

        let fake =
            FakeServer::start(registered(move |_| Reply::Answer(200, "", always.clone()))).await;
        let error = join(&fake, options(0)).await.0.unwrap_err();
        assert!(matches!(error, JoinError::Unusable(_)));
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(
            fake.request_lines()
                .iter()
                .filter(|line| *line == "POST /node")
                .count(),
            3
        );
    }
}

/// Regression test: three unusable responses within 0.1 s ended the join.
#[tokio::test(start_paused = true)]
async fn join_survives_a_server_upgrade() {
    const NEWER: &str = r#"{"schema_version":3,"files":[]}"#;
    let started = Instant::now();
    let fake = FakeServer::start(registered(move |_| match started.elapsed().as_secs() {
        0..3 => Reply::Answer(200, "", NEWER.to_owned()),
        _ => payload(),
    }))
    .await;
    join(&fake, options(0)).await.0.unwrap();
    let lines = fake.request_lines();
    let fetches = lines.iter().filter(|line| *line == "POST /node").count();
    assert_eq!(fetches, 3);
}

#[tokio::test(start_paused = true)]
async fn refusal_ends_the_join_with_the_servers_message() {
    for status in [400, 401, 403, 404, 405, 409, 413] {
        let refuse = Reply::Answer(status, "", error("internal", "node-1 is not welcome"));
        let (at_register, at_node) = (refuse.clone(), refuse);
        let fake = FakeServer::start(move |_| at_register.clone()).await;
        let error = join(&fake, options(0)).await.0.unwrap_err();
        assert!(matches!(error, JoinError::Refused { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            format!("{} refused node-1: node-1 is not welcome", fake.url)
        );
        assert_eq!(fake.request_lines().len(), 1);

        let fake = FakeServer::start(registered(move |_| at_node.clone())).await;
        let error = join(&fake, options(0)).await.0.unwrap_err();
        assert!(matches!(error, JoinError::Refused { .. }), "{error}");
        assert_eq!(fake.request_lines().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn failed_cluster_ends_the_join_with_its_reason() {
    let body = r#"{"code":"internal","message":"the cluster failed: x","failure":
        {"kind":"deadline","reason":"not ready within 5m: 1/4","at":"2026-01-01T00:00:00Z"}}"#;
    let fake = FakeServer::start(registered(|_| Reply::Answer(410, "", body.into()))).await;
    let error = join(&fake, options(0)).await.0.unwrap_err();
    assert!(matches!(error, JoinError::Failed { .. }));
    assert_eq!(
        error.to_string(),
        "the cluster failed (deadline): not ready within 5m: 1/4"
    );
}

#[tokio::test(start_paused = true)]
async fn last_response_determines_the_error_at_the_timeout() {
    let fake = FakeServer::start(registered(|_| Reply::Held(425, HELD, not_ready(3, true)))).await;
    let error = join(&fake, options(90)).await.0.unwrap_err();
    assert!(matches!(error, JoinError::NotReady { .. }), "{error}");
    let expected = "not ready within 1m30s: 3/4, missing node-3; zones: 1 of 2";
    assert_eq!(error.to_string(), expected);

    let fake = FakeServer::start(registered(|request| match request.index {
        1 => Reply::Held(425, HELD, not_ready(3, true)),
        _ => Reply::Close,
    }))
    .await;
    let error = join(&fake, options(90)).await.0.unwrap_err();
    // Each attempt registers successfully, then its connection breaks.
    assert!(
        matches!(
            error,
            JoinError::NotReady { .. } | JoinError::Unreachable { .. }
        ),
        "{error}"
    );

    let fake = FakeServer::start(registered(|_| Reply::Hang)).await;
    let error = join(&fake, options(10)).await.0.unwrap_err();
    assert!(matches!(error, JoinError::NotReady { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn cluster_name_is_checked_before_registration() {
    let with = |cluster: &str| options(0).with_cluster(cluster);
    let answers = |request: &ReceivedRequest| match request.line.as_str() {
        "GET /livez" => Reply::Answer(200, "cfgsync-cluster: devnet\r\n", String::new()),
        "POST /register" => Reply::Answer(202, "cfgsync-cluster: devnet\r\n", String::new()),
        _ => Reply::Answer(200, "cfgsync-cluster: devnet\r\n", FILES.into()),
    };
    let fake = FakeServer::start(answers).await;
    join(&fake, with("devnet")).await.0.unwrap();
    assert_eq!(
        fake.request_lines(),
        ["GET /livez", "POST /register", "POST /node"]
    );

    let fake = FakeServer::start(answers).await;
    let error = join(&fake, with("testnet")).await.0.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} serves the cluster \"devnet\", not the cluster \"testnet\"",
            fake.url
        )
    );
    assert_eq!(fake.request_lines(), ["GET /livez"]);

    let fake = FakeServer::start(registered(|_| payload())).await;
    let error = join(&fake, with("devnet")).await.0.unwrap_err();
    assert!(
        matches!(error, JoinError::WrongCluster { found: None, .. }),
        "{error}"
    );
    assert_eq!(fake.request_lines(), ["GET /livez"]);
}

#[tokio::test(start_paused = true)]
async fn stopped_join_withdraws_its_registration() {
    let fake = FakeServer::start(|request| match request.line.as_str() {
        "POST /register" | "POST /v1/leave" => accepted(),
        _ => Reply::Hang,
    })
    .await;
    let mut join = Session::new(Client::new([fake.url.clone()]), options(0));
    join.withdraw().await.unwrap();
    assert_eq!(fake.request_lines(), [""; 0]);
    let stopped = tokio::time::timeout(Duration::from_secs(3), join.run(|_| ())).await;
    assert!(stopped.is_err());
    join.withdraw().await.unwrap();
    assert_eq!(
        fake.request_lines(),
        ["POST /register", "POST /node", "POST /v1/leave"]
    );
    let body = r#"{"identifier":"node-1","ip":"10.0.0.1","metadata":{"port":1}}"#;
    assert_eq!(fake.requests()[2].body, body);

    // A hanging server must not block the end of the process.
    let fake = FakeServer::start(|_| Reply::Hang).await;
    let mut join = Session::new(Client::new([fake.url.clone()]), options(0));
    let _ = tokio::time::timeout(Duration::from_secs(1), join.run(|_| ())).await;
    let started = Instant::now();
    assert!(matches!(
        join.withdraw().await,
        Err(CallError::Unreachable { .. })
    ));
    assert_eq!(started.elapsed(), Duration::from_secs(2));
}

#[tokio::test]
async fn own_address_is_the_one_that_reaches_the_server() {
    let fake = FakeServer::start(registered(|_| payload())).await;
    let options = options(0).with_address(NodeAddress::TowardsServer);
    let (outcome, events) = join(&fake, options).await;
    outcome.unwrap();
    assert_eq!(events[0], Event::Address("127.0.0.1".parse().unwrap()));
    assert_eq!(registered_addresses(&fake), ["127.0.0.1"]);
}

/// Returns the address in each registration.
fn registered_addresses(fake: &FakeServer) -> Vec<String> {
    let requests = fake.requests().into_iter();
    let registrations = requests.filter(|request| request.line == "POST /register");
    registrations
        .map(|request| {
            let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
            body["ip"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn own_address_is_that_of_the_connection_if_the_name_has_several() {
    // The name has 127.0.0.1 first, where nothing listens.
    let fake = FakeServer::start_at("[::1]:0".parse().unwrap(), registered(|_| payload())).await;
    let url = format!("http://localhost:{}", fake.url.port());
    let options = options(0).with_address(NodeAddress::TowardsServer);
    let client = Client::new([url.parse().unwrap()]);
    Session::new(client, options).run(|_| {}).await.unwrap();
    assert_eq!(registered_addresses(&fake), ["::1"]);
}

#[tokio::test(start_paused = true)]
async fn own_address_is_looked_up_anew_at_each_registration() {
    let first = FakeServer::start(registered(|_| Reply::Close)).await;
    let second = FakeServer::start_at(
        "[::1]:0".parse().unwrap(),
        registered(|request| match request.index {
            0 => Reply::Answer(425, "", not_ready(1, true)),
            _ => payload(),
        }),
    )
    .await;
    let options = options(0).with_address(NodeAddress::TowardsServer);
    let client = Client::new([first.url.clone(), second.url.clone()]);
    Session::new(client, options).run(|_| {}).await.unwrap();
    assert_eq!(registered_addresses(&first), ["127.0.0.1"]);
    assert_eq!(registered_addresses(&second), ["::1"]);
}

#[tokio::test]
async fn own_address_leads_to_the_first_server_that_responds() {
    let fake = FakeServer::start_at("[::1]:0".parse().unwrap(), registered(|_| payload())).await;
    let options = options(0).with_address(NodeAddress::TowardsServer);
    let client = Client::new(["http://127.0.0.1:1".parse().unwrap(), fake.url.clone()]);
    Session::new(client, options).run(|_| {}).await.unwrap();
    assert_eq!(registered_addresses(&fake), ["::1"]);
}

#[tokio::test(start_paused = true)]
async fn connection_that_breaks_again_and_again_is_named() {
    let fake = FakeServer::start(registered(|_| Reply::Close)).await;
    let (outcome, events) = join(&fake, options(20)).await;
    let error = outcome.unwrap_err().to_string();
    let url = &fake.url;
    let broke = format!(
        "the connection to {url} broke: the server closed the connection before its response was complete"
    );
    let last = error.split_once(&broke).unwrap().1;
    assert!(last.ends_with(" times in a row)"), "{error}");
    assert!(events.contains(&Event::ServerFault { problem: broke }));
}

#[tokio::test(start_paused = true)]
async fn web_server_is_recognised_before_the_registration_counts() {
    for status in [200, 404] {
        let page = "content-type: text/html\r\n";
        let fake = FakeServer::start(move |_| Reply::Answer(status, page, "<html>".into())).await;
        let (outcome, events) = join(&fake, options(0)).await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, JoinError::Unusable(_)), "{error}");
        let expected = "like a web server, not like cfgsync";
        assert!(error.to_string().contains(expected), "{error}");
        assert!(
            events
                .iter()
                .all(|event| matches!(event, Event::ServerFault { .. }))
        );
    }
    // A proxy responds in place of the server while it starts.
    let fake = FakeServer::start(|request| match request.index {
        0 => Reply::Answer(502, "content-type: text/html\r\n", "<html>".into()),
        1 => accepted(),
        _ => payload(),
    })
    .await;
    let (outcome, _) = join(&fake, options(0)).await;
    outcome.unwrap();
}

/// A spec for joins against a real server: ready with two nodes.
const PAIR: &str = "
ready: { nodes: 2 }
materializers:
  - kind: template
    files:
      - path: /config.yaml
        template: |
          peers: {{ nodes | map(attribute='identifier') | join(',') }}
";

fn join_at(server: &TestServer, identifier: &str) -> Session {
    let url: ServerUrl = format!("http://{}", server.address).parse().unwrap();
    let mut options = options(20).with_cluster("test");
    options.identifier = identifier.parse().unwrap();
    Session::new(Client::new([url]), options)
}

#[tokio::test]
async fn two_nodes_join_a_real_server() {
    let server = TestServer::start(PAIR);
    let (mut a, mut b) = (join_at(&server, "a"), join_at(&server, "b"));
    let (a, b) = tokio::join!(a.run(|_| ()), b.run(|_| ()));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.instance, Some(INSTANCE));
    assert_eq!(a.files, b.files);
    assert_eq!(a.files.files()[0].content.to_bytes(), "peers: a,b\n");
}

#[tokio::test]
async fn node_that_leaves_before_the_seal_is_not_counted() {
    let server = TestServer::start(PAIR);
    let mut leaving = join_at(&server, "leaving");
    let (registered, is_registered) = tokio::sync::oneshot::channel();
    let mut registered = Some(registered);
    {
        let run = leaving.run(|event| {
            if matches!(event, Event::Registered { .. }) {
                registered.take().unwrap().send(()).unwrap();
            }
        });
        tokio::select! {
            outcome = run => panic!("{outcome:?}"),
            received = is_registered => received.unwrap(),
        }
    }
    leaving.withdraw().await.unwrap();
    let (mut a, mut b) = (join_at(&server, "a"), join_at(&server, "b"));
    let (a, b) = tokio::join!(a.run(|_| ()), b.run(|_| ()));
    b.unwrap();
    let files = a.unwrap().files;
    assert_eq!(files.files()[0].content.to_bytes(), "peers: a,b\n");
}

#[tokio::test]
async fn operator_calls_work() {
    let server = TestServer::start(PAIR);
    let url: ServerUrl = format!("http://{}", server.address).parse().unwrap();
    let client = Client::new([url]);
    assert_eq!(
        client.livez().await.unwrap().meta.cluster.as_deref(),
        Some("test")
    );
    let (mut a, mut b) = (join_at(&server, "a"), join_at(&server, "b"));
    let (a, _) = tokio::join!(a.run(|_| ()), b.run(|_| ()));
    let a = a.unwrap();
    let id = "a".parse().unwrap();
    let snapshot = client.snapshot().await.unwrap().value;
    assert_eq!(client.nodes().await.unwrap().value, snapshot.registrations);
    assert_eq!(client.node(&id).await.unwrap().value.artifacts.len(), 1);
    let generations = client.generations().await.unwrap().value;
    let number = generations[0].number;
    assert_eq!(
        client.generation(number).await.unwrap().value.entry,
        generations[0]
    );
    assert_eq!(client.payload(&id).await.unwrap().value.files, a.files);
    assert_eq!(
        client
            .payload_of(number, &id, true)
            .await
            .unwrap()
            .value
            .digest,
        a.digest
    );
    client.fail("enough").await.unwrap();
    let failed = client.payload(&id).await.unwrap_err();
    assert!(failed.to_string().contains("enough"), "{failed}");
    client.reset().await.unwrap();
    client.remove(&id).await.unwrap();
    let unknown = client.remove(&id).await.unwrap_err();
    assert!(matches!(unknown, CallError::Refused { .. }), "{unknown}");
    let no_override = client.remove_override(&id).await.unwrap_err();
    assert!(
        matches!(no_override, CallError::Refused { .. }),
        "{no_override}"
    );
}

#[tokio::test]
async fn server_messages_are_escaped_for_the_terminal() {
    let body = r#"{"code":"internal","message":"\u001b[2Jboom\u0007\nhelp"}"#;
    let fake = FakeServer::start(registered(|_| Reply::Answer(410, "", body.into()))).await;
    let error = join(&fake, options(0)).await.0.unwrap_err();
    assert_eq!(error.to_string(), "\\u{1b}[2Jboom\\u{7}\nhelp");
}

#[tokio::test]
async fn node_whose_name_another_machine_takes_is_told_and_ends() {
    let server = TestServer::start(PAIR);
    let at = |ip: &str| {
        let url: ServerUrl = format!("http://{}", server.address).parse().unwrap();
        let address = NodeAddress::Fixed(ip.parse().unwrap());
        Session::new(Client::new([url]), options(20).with_address(address))
    };
    let (mut first, mut second, mut other) =
        (at("10.0.0.1"), at("10.0.0.2"), join_at(&server, "b"));
    let (first, second, other) = tokio::join!(
        first.run(|_| {}),
        async {
            server.wait_until_held(1).await;
            second.run(|_| {}).await
        },
        async {
            while server
                .coordinator
                .registration(&"node-1".parse().unwrap())
                .is_none_or(|node| node.registration.ip.to_string() != "10.0.0.2")
            {
                tokio::task::yield_now().await;
            }
            other.run(|_| {}).await
        }
    );
    second.unwrap();
    other.unwrap();
    let error = first.unwrap_err();
    assert_eq!(error.kind(), FailureKind::NotAllowed);
    let expected =
        "refused node-1: another machine registered as node-1 from 10.0.0.2, and takes its place";
    assert!(error.to_string().ends_with(expected), "{error}");
}
