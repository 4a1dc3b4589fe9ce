//! Joining, whatever the server does. Time is paused: nothing here waits for it to pass.

use std::time::Duration;

use cfgsync::Client;
use cfgsync_client::{
    CallError, Event, Join, JoinError, JoinOptions, KeyPlace, NodeAddress, ServerUrl,
};
use cfgsync_wire::ReceivedPayload;
use tokio::time::Instant;

use crate::{
    fake::{Asked, Fake, Reply},
    support::{INSTANCE, TestServer},
};

const FILES: &str = r#"{"schema_version":1,"files":[{"path":"/config.yaml","content":"x: 1\n"}]}"#;
/// Headers of a server that holds requests.
const HELD: &str = "preference-applied: wait\r\nretry-after: 0\r\ncfgsync-instance: 00000000000000000000000000000001\r\n";
const INSTANCE_1: &str = "cfgsync-instance: 00000000000000000000000000000001\r\n";
const INSTANCE_2: &str = "cfgsync-instance: 00000000000000000000000000000002\r\n";

fn options(timeout_seconds: u64) -> JoinOptions {
    JoinOptions {
        identifier: "node-1".parse().unwrap(),
        address: NodeAddress::Fixed("10.0.0.1".parse().unwrap()),
        metadata: serde_json::json!({"port": 1}),
        cluster: None,
        verify_keys: vec![],
        delivered: None,
        timeout: (timeout_seconds > 0).then_some(Duration::from_secs(timeout_seconds)),
        wait_max: Duration::from_secs(30),
        key: KeyPlace::Nowhere,
    }
}

async fn join(
    fake: &Fake,
    options: JoinOptions,
) -> (Result<ReceivedPayload, JoinError>, Vec<Event>) {
    let mut events = Vec::new();
    let mut join = Join::new(Client::new([fake.url.clone()]), options);
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

fn not_ready(registered: usize, knows_me: bool) -> String {
    format!(
        r#"{{"code":"not_ready","message":"not ready","progress":{{"registered":{registered},"needed":4,
        "missing":["node-3"],"missing_count":1,"unmet":["zones: 1 of 2"],"self_registered":{knows_me}}}}}"#
    )
}

/// Answers registrations with 202 and `/node` with what `node` says.
fn registered(node: impl Fn(&Asked) -> Reply) -> impl Fn(&Asked) -> Reply {
    move |asked| match asked.line.as_str() {
        "POST /register" => accepted(),
        "POST /node" => node(asked),
        _ => Reply::Answer(404, "", error("missing_config", "no such route")),
    }
}

#[tokio::test(start_paused = true)]
async fn a_ready_server_is_asked_twice() {
    let fake = Fake::start(registered(|_| payload())).await;
    let (outcome, events) = join(&fake, options(5)).await;
    assert_eq!(
        outcome.unwrap().files.files()[0].path.as_str(),
        "/config.yaml"
    );
    assert_eq!(fake.lines(), ["POST /register", "POST /node"]);
    assert_eq!(fake.connections(), 1);
    let body = r#"{"identifier":"node-1","ip":"10.0.0.1","metadata":{"port":1}}"#;
    assert!(fake.asked().iter().all(|asked| asked.body == body));
    assert!(matches!(
        events[..],
        [
            Event::Registered { again: false, .. },
            Event::Received { files: 1, bytes: 5 }
        ]
    ));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_holds_requests_is_not_polled() {
    let fake = Fake::start(registered(|asked| match asked.before {
        0..6 => Reply::Held(425, HELD, not_ready(asked.before, true)),
        _ => payload(),
    }))
    .await;
    let started = Instant::now();
    let (outcome, events) = join(&fake, options(0)).await;
    outcome.unwrap();
    let waits: Vec<_> = fake.asked().iter().filter_map(Asked::wait).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 30]);
    assert_eq!(started.elapsed().as_secs(), 31);
    let Event::Waiting { message, progress } = &events[1] else {
        panic!("{events:?}");
    };
    assert_eq!(message, "1/4, missing node-3; zones: 1 of 2");
    assert!(progress.as_ref().unwrap().self_registered);
}

#[tokio::test(start_paused = true)]
async fn an_older_server_is_polled_ever_more_slowly_and_registered_with_again() {
    let fake = Fake::start(registered(|asked| match asked.before {
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
    // Sixty answers; were each pause the longest, five minutes.
    let elapsed = started.elapsed().as_secs();
    assert!((30..300).contains(&elapsed), "{elapsed} s");
    let registrations = fake
        .lines()
        .iter()
        .filter(|line| *line == "POST /register")
        .count();
    assert!(
        (3..20).contains(&registrations),
        "{registrations} registrations in {elapsed} s"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_claims_to_hold_and_does_not_is_polled_with_pauses() {
    let fake = Fake::start(registered(|_| Reply::Answer(425, HELD, not_ready(1, true)))).await;
    let (outcome, _) = join(&fake, options(60)).await;
    assert!(matches!(outcome, Err(JoinError::NotReady { .. })));
    assert!(fake.lines().len() < 100, "{} requests", fake.lines().len());
}

#[tokio::test(start_paused = true)]
async fn a_draining_server_is_asked_again_at_once_but_not_for_ever() {
    let draining = "preference-applied: wait\r\nretry-after: 0\r\n";
    let fake = Fake::start(registered(move |asked| match asked.before {
        0..4 => Reply::Answer(425, draining, not_ready(1, true)),
        _ => payload(),
    }))
    .await;
    let started = Instant::now();
    join(&fake, options(0)).await.0.unwrap();
    assert_eq!(started.elapsed().as_millis(), 0);

    let fake = Fake::start(registered(move |_| {
        Reply::Answer(425, draining, not_ready(1, true))
    }))
    .await;
    assert!(join(&fake, options(60)).await.0.is_err());
    assert!(fake.lines().len() < 100, "{} requests", fake.lines().len());
}

#[tokio::test(start_paused = true)]
async fn while_one_server_drains_the_other_is_asked_at_once() {
    let draining = "preference-applied: wait\r\nretry-after: 1\r\nconnection: close\r\n";
    let body = r#"{"code":"not_ready","reason":"draining","message":"this server is stopping"}"#;
    let first = Fake::start(registered(move |_| {
        Reply::Answer(425, draining, body.to_owned())
    }))
    .await;
    let second = Fake::start(registered(|_| payload())).await;
    let servers = [first.url.clone(), second.url.clone()];
    let started = Instant::now();
    let mut join = Join::new(Client::new(servers), options(60));
    join.run(|_| {}).await.unwrap();
    assert_eq!(started.elapsed().as_millis(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_absent_server_is_waited_for() {
    // An address where nobody listens: that of a listener that is gone.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let url: ServerUrl = format!("http://{address}").parse().unwrap();
    let mut events = Vec::new();
    let mut absent = Join::new(Client::new([url.clone()]), options(30));
    let failed = absent.run(|event| events.push(event)).await.unwrap_err();
    assert_eq!(
        failed.to_string(),
        format!("no answer within 30 s: {url}: Connection refused (os error 111)")
    );
    assert!(matches!(failed, JoinError::Unreachable { .. }));
    assert!((6..60).contains(&events.len()), "{} attempts", events.len());

    // It comes up while the node tries.
    let mut late = Join::new(Client::new([url]), options(0));
    let starts = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Fake::start_at(address, registered(|_| payload())).await
    };
    let (outcome, server) = tokio::join!(late.run(|_| ()), starts);
    outcome.unwrap();
    assert_eq!(server.lines(), ["POST /register", "POST /node"]);
}

#[tokio::test(start_paused = true)]
async fn the_next_server_is_asked_when_one_is_gone() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", gone.local_addr().unwrap());
    let fake = Fake::start(registered(|_| payload())).await;
    let client = Client::new([gone.parse().unwrap(), fake.url.clone()]);
    let mut join = Join::new(client, options(0));
    join.run(|_| ()).await.unwrap();
    assert_eq!(fake.lines(), ["POST /register", "POST /node"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_its_memory_is_registered_with_again() {
    for forgot in [
        // It says so, or is another one.
        Reply::Answer(425, INSTANCE_1, not_ready(0, false)),
        Reply::Answer(425, INSTANCE_2, not_ready(0, true)),
        Reply::Answer(200, INSTANCE_2, FILES.to_owned()),
        // It went away: nobody knows what it remembers.
        Reply::Close,
        Reply::Half,
    ] {
        let fake = Fake::start(move |asked| match (asked.line.as_str(), asked.before) {
            ("POST /register", 0) => Reply::Answer(202, INSTANCE_1, String::new()),
            ("POST /register", _) => Reply::Answer(202, INSTANCE_2, String::new()),
            ("POST /node", 1) => forgot.clone(),
            _ => Reply::Answer(200, INSTANCE_2, FILES.to_owned()),
        })
        .await;
        let (outcome, events) = join(&fake, options(0)).await;
        outcome.unwrap();
        let lines = fake.lines();
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
async fn a_hanging_server_is_given_up_and_asked_again() {
    let fake = Fake::start(move |asked| match asked.before {
        0 | 2 => Reply::Hang,
        _ if asked.line == "POST /register" => accepted(),
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
    assert_eq!(fake.lines(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_server_in_trouble_is_asked_again() {
    for status in [500, 502, 503, 429, 408] {
        let fake = Fake::start(move |asked| match asked.before {
            0 | 2 | 3 => Reply::Answer(status, "", error("internal", "out of order")),
            _ if asked.line == "POST /register" => accepted(),
            _ => payload(),
        })
        .await;
        let (outcome, events) = join(&fake, options(0)).await;
        outcome.unwrap();
        let Event::Troubled { problem } = &events[0] else {
            panic!("{events:?}");
        };
        assert!(problem.ends_with(": out of order"), "{problem}");
    }
    let fake = Fake::start(|_| Reply::Answer(503, "", "<html>".into())).await;
    let error = join(&fake, options(20)).await.0.unwrap_err();
    assert!(matches!(error, JoinError::Unreachable { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_asked_too_often_is_given_its_time() {
    let too_often =
        |seconds: &'static str| Reply::Answer(429, seconds, error("internal", "slower"));
    let fake = Fake::start(move |asked| match asked.before {
        0 => too_often("retry-after: 7\r\n"),
        2 => too_often("retry-after: 9\r\n"),
        _ if asked.line == "POST /register" => accepted(),
        _ => payload(),
    })
    .await;
    let started = Instant::now();
    join(&fake, options(0)).await.0.unwrap();
    let waited = started.elapsed().as_secs();
    assert!((16..20).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_node_brings_its_key_once_it_is_asked_for_it() {
    const NO_KEY: &str = r#"{"code":"internal","reason":"no_key","message":"bring a key"}"#;
    let place = tempfile::tempdir().unwrap();
    let with_key = || JoinOptions {
        key: KeyPlace::Under(place.path().to_owned()),
        ..options(0)
    };
    let cluster = "cfgsync-cluster: devnet\r\n";
    let key = |asked: &Asked| asked.headers.contains("cfgsync-node-key: ");
    let fake = Fake::start(move |asked| match asked.line.as_str() {
        _ if !key(asked) => Reply::Answer(403, cluster, NO_KEY.to_owned()),
        "POST /register" => accepted(),
        _ => payload(),
    })
    .await;
    join(&fake, with_key()).await.0.unwrap();
    let expected = ["POST /register", "POST /register", "POST /node"];
    assert_eq!(fake.lines(), expected);
    let kept = std::fs::read_to_string(place.path().join("keys/devnet/node-1")).unwrap();
    let sent = format!("cfgsync-node-key: {}", kept.trim().to_lowercase());
    assert!(fake.asked()[1].headers.contains(&sent));

    // Who is asked for it again has none that this server would take.
    let fake = Fake::start(move |_| Reply::Answer(403, cluster, NO_KEY.to_owned())).await;
    let error = join(&fake, with_key()).await.0.unwrap_err();
    assert!(matches!(error, JoinError::Refused { .. }), "{error}");
    assert_eq!(fake.lines().len(), 2);
    // One that has no place for a key says so.
    let error = join(&fake, options(0)).await.0.unwrap_err();
    assert!(matches!(error, JoinError::Key(_)), "{error}");
    // A server that asks nothing of the kind is shown none.
    let fake = Fake::start(registered(|_| payload())).await;
    join(&fake, with_key()).await.0.unwrap();
    assert!(!fake.asked().iter().any(key));
}

/// The first server that asked for it decided for all: they got the key unasked, whoever they were, and only the
/// first was warned of.
#[tokio::test(start_paused = true)]
async fn a_nodes_key_goes_to_who_asks_for_it_as_the_same_cluster_and_to_nobody_else() {
    const NO_KEY: &str = r#"{"code":"internal","reason":"no_key","message":"bring a key"}"#;
    const DEVNET: &str = "cfgsync-cluster: devnet\r\n";
    let has_key = |asked: &Asked| asked.headers.contains("cfgsync-node-key: ");
    let no_key = |cluster| Reply::Answer(403, cluster, NO_KEY.to_owned());
    // It takes a registration with a key, and is gone then.
    let first = || {
        Fake::start(move |asked| match asked.line.as_str() {
            "GET /livez" => Reply::Answer(200, DEVNET, String::new()),
            "POST /register" if has_key(asked) => Reply::Answer(202, DEVNET, String::new()),
            "POST /register" => no_key(DEVNET),
            _ => Reply::Close,
        })
    };
    let place = tempfile::tempdir().unwrap();
    let run = async |servers: [&Fake; 2], cluster: Option<&str>| {
        // This machine by an address that does not say so.
        let elsewhere = |fake: &Fake| -> ServerUrl {
            fake.url
                .to_string()
                .replace("127.0.0.1", "0.0.0.0")
                .parse()
                .unwrap()
        };
        let with_key = JoinOptions {
            key: KeyPlace::File(place.path().join("key")),
            cluster: cluster.map(str::to_owned),
            ..options(20)
        };
        let mut events = Vec::new();
        let mut join = Join::new(Client::new(servers.map(elsewhere)), with_key);
        let outcome = join.run(|event| events.push(event)).await;
        let warned = events.into_iter().filter_map(|event| match event {
            Event::KeyInTheClear { server } => Some(server.port()),
            _ => None,
        });
        (outcome, warned.collect::<Vec<_>>())
    };

    // Both ask for it: both get it, and both are warned of.
    let (one, other) = (
        first().await,
        Fake::start(move |asked| match asked.line.as_str() {
            _ if !has_key(asked) => no_key(DEVNET),
            "POST /register" => accepted(),
            _ => payload(),
        })
        .await,
    );
    let (outcome, warned) = run([&one, &other], None).await;
    outcome.unwrap();
    assert_eq!(warned, [one.url.port(), other.url.port()]);
    assert!(!has_key(&other.asked()[0]), "it had not asked yet");

    // One that calls itself otherwise is not shown it, said or unsaid what the cluster is.
    for cluster in [None, Some("devnet")] {
        let one = first().await;
        let other = Fake::start(move |_| no_key("cfgsync-cluster: mainnet\r\n")).await;
        let (outcome, warned) = run([&one, &other], cluster).await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, JoinError::WrongCluster { .. }), "{error}");
        assert_eq!(warned, [one.url.port()]);
        assert!(!other.asked().is_empty() && !other.asked().iter().any(has_key));
        let questions = one
            .asked()
            .into_iter()
            .filter(|asked| asked.line == "GET /livez");
        assert!(!questions.into_iter().any(|asked| has_key(&asked)));
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_were_not_promised_are_asked_for_again_and_then_refused() {
    let wrong = FILES.replace(
        "\"content\"",
        &format!("\"sha256\":\"{}\",\"content\"", "0".repeat(64)),
    );
    for (bad, message) in [
        (
            wrong.as_str(),
            "/config.yaml is not the promised content: its digest differs",
        ),
        (
            "{}",
            "the payload is not what this protocol sends: missing field `schema_version`",
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
        let fake = Fake::start(registered(move |asked| match asked.before {
            1 => Reply::Answer(200, "", once.clone()),
            _ => payload(),
        }))
        .await;
        join(&fake, options(0)).await.0.unwrap();

        let fake = Fake::start(registered(move |_| Reply::Answer(200, "", always.clone()))).await;
        let error = join(&fake, options(0)).await.0.unwrap_err();
        assert!(matches!(error, JoinError::Unusable(_)));
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(
            fake.lines()
                .iter()
                .filter(|line| *line == "POST /node")
                .count(),
            3
        );
    }
}

/// Three answers that could not be used came within a tenth of a second, and that was the end.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_replaced_meanwhile_is_survived() {
    const OTHERS: &str = r#"{"schema_version":3,"files":[]}"#;
    let started = Instant::now();
    let fake = Fake::start(registered(move |_| match started.elapsed().as_secs() {
        0..3 => Reply::Answer(200, "", OTHERS.to_owned()),
        _ => payload(),
    }))
    .await;
    join(&fake, options(0)).await.0.unwrap();
    let asked = fake.lines();
    let asked = asked.iter().filter(|line| *line == "POST /node").count();
    assert_eq!(asked, 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_at_once_with_the_server_s_words() {
    for status in [400, 401, 403, 404, 405, 409, 413] {
        let refuse = Reply::Answer(status, "", error("internal", "node-1 is not welcome"));
        let (at_register, at_node) = (refuse.clone(), refuse);
        let fake = Fake::start(move |_| at_register.clone()).await;
        let error = join(&fake, options(0)).await.0.unwrap_err();
        assert!(matches!(error, JoinError::Refused { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            format!("{} refused node-1: node-1 is not welcome", fake.url)
        );
        assert_eq!(fake.lines().len(), 1);

        let fake = Fake::start(registered(move |_| at_node.clone())).await;
        let error = join(&fake, options(0)).await.0.unwrap_err();
        assert!(matches!(error, JoinError::Refused { .. }), "{error}");
        assert_eq!(fake.lines().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_cluster_ends_with_its_reason() {
    let body = r#"{"code":"internal","message":"the cluster failed: x","failure":
        {"kind":"deadline","reason":"not ready within 5m: 1/4","at":"2026-01-01T00:00:00Z"}}"#;
    let fake = Fake::start(registered(|_| Reply::Answer(410, "", body.into()))).await;
    let error = join(&fake, options(0)).await.0.unwrap_err();
    assert!(matches!(error, JoinError::Failed(_)));
    assert_eq!(
        error.to_string(),
        "the cluster failed (deadline): not ready within 5m: 1/4"
    );
}

#[tokio::test(start_paused = true)]
async fn when_the_time_is_up_the_last_answer_decides() {
    let fake = Fake::start(registered(|_| Reply::Held(425, HELD, not_ready(3, true)))).await;
    let error = join(&fake, options(90)).await.0.unwrap_err();
    assert!(matches!(error, JoinError::NotReady { .. }), "{error}");
    let expected = "not ready within 1 min 30 s: 3/4, missing node-3; zones: 1 of 2";
    assert_eq!(error.to_string(), expected);

    let fake = Fake::start(registered(|asked| match asked.before {
        1 => Reply::Held(425, HELD, not_ready(3, true)),
        _ => Reply::Close,
    }))
    .await;
    let error = join(&fake, options(90)).await.0.unwrap_err();
    // The registration is accepted again and again, and then the connection breaks.
    assert!(
        matches!(
            error,
            JoinError::NotReady { .. } | JoinError::Unreachable { .. }
        ),
        "{error}"
    );

    let fake = Fake::start(registered(|_| Reply::Hang)).await;
    let error = join(&fake, options(10)).await.0.unwrap_err();
    assert!(matches!(error, JoinError::NotReady { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_cluster_is_asked_for_before_anything_is_registered() {
    let with = |cluster: &str| JoinOptions {
        cluster: Some(cluster.to_owned()),
        ..options(0)
    };
    let answers = |asked: &Asked| match asked.line.as_str() {
        "GET /livez" => Reply::Answer(200, "cfgsync-cluster: devnet\r\n", String::new()),
        "POST /register" => Reply::Answer(202, "cfgsync-cluster: devnet\r\n", String::new()),
        _ => Reply::Answer(200, "cfgsync-cluster: devnet\r\n", FILES.into()),
    };
    let fake = Fake::start(answers).await;
    join(&fake, with("devnet")).await.0.unwrap();
    assert_eq!(fake.lines(), ["GET /livez", "POST /register", "POST /node"]);

    let fake = Fake::start(answers).await;
    let error = join(&fake, with("testnet")).await.0.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} serves the cluster \"devnet\", not the cluster \"testnet\"",
            fake.url
        )
    );
    assert_eq!(fake.lines(), ["GET /livez"]);

    let fake = Fake::start(registered(|_| payload())).await;
    let error = join(&fake, with("devnet")).await.0.unwrap_err();
    assert!(
        matches!(error, JoinError::WrongCluster { found: None, .. }),
        "{error}"
    );
    assert_eq!(fake.lines(), ["GET /livez"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_stopped_takes_its_registration_back() {
    let fake = Fake::start(|asked| match asked.line.as_str() {
        "POST /register" | "POST /v1/leave" => accepted(),
        _ => Reply::Hang,
    })
    .await;
    let mut join = Join::new(Client::new([fake.url.clone()]), options(0));
    join.withdraw().await.unwrap();
    assert_eq!(fake.lines(), [""; 0]);
    let stopped = tokio::time::timeout(Duration::from_secs(3), join.run(|_| ())).await;
    assert!(stopped.is_err());
    join.withdraw().await.unwrap();
    assert_eq!(
        fake.lines(),
        ["POST /register", "POST /node", "POST /v1/leave"]
    );
    let body = r#"{"identifier":"node-1","ip":"10.0.0.1","metadata":{"port":1}}"#;
    assert_eq!(fake.asked()[2].body, body);

    // A server that hangs does not keep the process from ending.
    let fake = Fake::start(|_| Reply::Hang).await;
    let mut join = Join::new(Client::new([fake.url.clone()]), options(0));
    let _ = tokio::time::timeout(Duration::from_secs(1), join.run(|_| ())).await;
    let started = Instant::now();
    assert!(matches!(
        join.withdraw().await,
        Err(CallError::Unreachable { .. })
    ));
    assert_eq!(started.elapsed(), Duration::from_secs(2));
}

#[tokio::test]
async fn the_own_address_is_that_which_reaches_the_server() {
    let fake = Fake::start(registered(|_| payload())).await;
    let options = JoinOptions {
        address: NodeAddress::TowardsServer,
        ..options(0)
    };
    let (outcome, events) = join(&fake, options).await;
    outcome.unwrap();
    assert_eq!(events[0], Event::Address("127.0.0.1".parse().unwrap()));
    assert!(fake.asked()[0].body.contains(r#""ip":"127.0.0.1""#));
}

/// Two nodes, and the server itself.
const PAIR: &str = "
ready: { nodes: 2 }
materializers:
  - kind: template
    files:
      - path: /config.yaml
        template: |
          peers: {{ nodes | map(attribute='identifier') | join(',') }}
";

fn against(server: &TestServer, identifier: &str) -> Join {
    let url: ServerUrl = format!("http://{}", server.address).parse().unwrap();
    let options = JoinOptions {
        identifier: identifier.parse().unwrap(),
        cluster: Some("test".to_owned()),
        ..options(20)
    };
    Join::new(Client::new([url]), options)
}

#[tokio::test]
async fn two_nodes_meet() {
    let server = TestServer::start(PAIR);
    let (mut a, mut b) = (against(&server, "a"), against(&server, "b"));
    let (a, b) = tokio::join!(a.run(|_| ()), b.run(|_| ()));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.instance, Some(INSTANCE));
    assert_eq!(a.files, b.files);
    assert_eq!(a.files.files()[0].content.to_bytes(), "peers: a,b\n");
}

#[tokio::test]
async fn a_node_that_leaves_before_the_seal_is_not_counted() {
    let server = TestServer::start(PAIR);
    let mut gone = against(&server, "gone");
    let (registered, is_registered) = tokio::sync::oneshot::channel();
    let mut registered = Some(registered);
    {
        let run = gone.run(|event| {
            if matches!(event, Event::Registered { .. }) {
                registered.take().unwrap().send(()).unwrap();
            }
        });
        tokio::select! {
            outcome = run => panic!("{outcome:?}"),
            seen = is_registered => seen.unwrap(),
        }
    }
    gone.withdraw().await.unwrap();
    let (mut a, mut b) = (against(&server, "a"), against(&server, "b"));
    let (a, b) = tokio::join!(a.run(|_| ()), b.run(|_| ()));
    b.unwrap();
    let files = a.unwrap().files;
    assert_eq!(files.files()[0].content.to_bytes(), "peers: a,b\n");
}

#[tokio::test]
async fn operators_calls_are_understood() {
    let server = TestServer::start(PAIR);
    let url: ServerUrl = format!("http://{}", server.address).parse().unwrap();
    let client = Client::new([url]);
    assert_eq!(
        client.livez().await.unwrap().meta.cluster.as_deref(),
        Some("test")
    );
    let (mut a, mut b) = (against(&server, "a"), against(&server, "b"));
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
async fn a_servers_words_do_not_steer_the_terminal() {
    let body = r#"{"code":"internal","message":"\u001b[2Jboom\u0007\nhelp"}"#;
    let fake = Fake::start(registered(|_| Reply::Answer(410, "", body.into()))).await;
    let error = join(&fake, options(0)).await.0.unwrap_err();
    assert_eq!(error.to_string(), "\\u{1b}[2Jboom\\u{7}\nhelp");
}
