//! The library's delivery: the events of a session as a stream, and what is written, restored or returned.

use std::{fs, time::Duration};

use cfgsync::{Client, NodeRegistration, OutputMap, fetch_and_write};
use cfgsync_client::{
    DeliveryOptions, Event, FailureKind, JoinError, JoinOptions, NodeAddress, Receipt, Session,
    disk::DiskError,
};

use crate::fake::{FakeServer, ReceivedRequest, Reply};

const FILES: &str = r#"{"schema_version":1,"files":[{"path":"/config.yaml","content":"x: 1\n"},
    {"path":"banner","content":"hello\n"}]}"#;
const NOT_READY: &str = r#"{"code":"not_ready","message":"waiting for node-2"}"#;

fn ready(request: &ReceivedRequest) -> Reply {
    match request.line.as_str() {
        "POST /register" => Reply::Answer(202, "", String::new()),
        _ => Reply::Answer(200, "", FILES.to_owned()),
    }
}

fn session(fake: &FakeServer) -> Session {
    let options = JoinOptions::new("node-1".parse().unwrap())
        .with_address(NodeAddress::Fixed("10.0.0.1".parse().unwrap()));
    Session::new(Client::new([fake.url.clone()]), options)
}

#[tokio::test(start_paused = true)]
async fn dropped_wait_for_an_event_neither_loses_it_nor_repeats_the_request() {
    let held = "preference-applied: wait\r\nretry-after: 0\r\n";
    let fake = FakeServer::start(move |request| match request.index {
        1 => Reply::Held(425, held, NOT_READY.to_owned()),
        _ => ready(request),
    })
    .await;
    let mut session = session(&fake);
    let mut events = session.start();
    let mut seen = Vec::new();
    // Each wait ends long before the server responds to the held request.
    loop {
        match tokio::time::timeout(Duration::from_millis(100), events.next()).await {
            Ok(Some(event)) => seen.push(event),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    let payload = events.finish().await.unwrap();
    assert_eq!(payload.files.files().len(), 2);
    assert!(
        matches!(
            seen[..],
            [
                Event::Registered { again: false, .. },
                Event::Waiting { .. },
                Event::Received { files: 2, .. }
            ]
        ),
        "{seen:?}"
    );
    assert_eq!(
        fake.request_lines(),
        ["POST /register", "POST /node", "POST /node"]
    );
}

#[tokio::test]
async fn rolled_back_delivery_restores_files_and_receipt() {
    let fake = FakeServer::start(ready).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("config.yaml"), "old").unwrap();
    let outputs = OutputMap::new()
        .route("banner", "-")
        .unwrap()
        .under(path)
        .unwrap();
    let options = DeliveryOptions::new(outputs)
        .with_receipt(path.join("receipt.json"))
        .unwrap();
    let mut session = session(&fake);
    let payload = session.run(|_| {}).await.unwrap();

    let committed = options.commit(&session, &payload).unwrap();
    assert_eq!(committed.written().len(), 1);
    assert_eq!(committed.stdout().collect::<Vec<_>>(), ["hello\n"]);
    assert!(path.join("receipt.json").exists());
    let cause = DiskError::NotAFile { path: path.into() };
    let error = committed.roll_back(cause);
    assert!(matches!(error, DiskError::NotAFile { .. }), "{error}");
    assert_eq!(fs::read_to_string(path.join("config.yaml")).unwrap(), "old");
    assert_eq!(fs::read_dir(path).unwrap().count(), 1);

    let delivery = options.commit(&session, &payload).unwrap().finish();
    assert_eq!(delivery.written[0].path, path.join("config.yaml"));
    assert_eq!(delivery.stdout, ["hello\n"]);
    let receipt = Receipt::read(&path.join("receipt.json")).unwrap().unwrap();
    assert_eq!(receipt.files.len(), 2);
    assert_eq!(receipt.files[1].path, None);
}

#[tokio::test]
async fn fetch_and_write_registers_waits_and_writes() {
    let fake = FakeServer::start(ready).await;
    let directory = tempfile::tempdir().unwrap();
    let registration =
        NodeRegistration::without_metadata("node-1".parse().unwrap(), "10.0.0.1".parse().unwrap());
    let outputs = OutputMap::new()
        .route("config.yaml", directory.path().join("etc/app.yaml"))
        .unwrap()
        .under(directory.path().join("rest"))
        .unwrap();
    let url = fake.url.to_string();
    let delivery = fetch_and_write(&registration, url.as_str(), &outputs)
        .await
        .unwrap();
    assert_eq!(delivery.written.len(), 2);
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    assert_eq!(
        (read("etc/app.yaml"), read("rest/banner")),
        ("x: 1\n".into(), "hello\n".into())
    );

    let incomplete = OutputMap::new().route("config.yaml", "unused").unwrap();
    let error = fetch_and_write(&registration, fake.url.clone(), &incomplete)
        .await
        .unwrap_err();
    assert!(matches!(error, JoinError::Route(_)), "{error}");
    let error = fetch_and_write(&registration, "no url", &outputs).await;
    assert!(matches!(error, Err(JoinError::Server(_))), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn locked_directory_is_waited_for_and_named_after_thirty_seconds() {
    let fake = FakeServer::start(ready).await;
    let directory = tempfile::tempdir().unwrap();
    let outputs = OutputMap::new().under(directory.path()).unwrap();
    let options = DeliveryOptions::new(outputs);
    let mut session = session(&fake);
    let payload = session.run(|_| {}).await.unwrap();
    let (_, locks) = options.commit(&session, &payload).unwrap().finish_locked();

    let mut waits = Vec::new();
    let started = tokio::time::Instant::now();
    let error = options
        .commit_when_unlocked(&session, &payload, |path| waits.push(path.to_owned()))
        .await
        .unwrap_err();
    assert!(started.elapsed() >= Duration::from_secs(30));
    assert_eq!(waits, [directory.path()]);
    assert_eq!(error.kind(), FailureKind::NotWritten);
    let expected = format!(
        "cannot write to {}: another delivery or program has locked the directory for more than 30s",
        directory.path().display()
    );
    assert_eq!(error.to_string(), expected);

    let unlock = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(locks);
    };
    let waiting = options.commit_when_unlocked(&session, &payload, |_| {});
    let (committed, ()) = tokio::join!(waiting, unlock);
    assert_eq!(committed.unwrap().finish().written.len(), 2);
}
