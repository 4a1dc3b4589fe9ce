//! Tests of the readers of events: shared frames, secrets, positions, notices and long histories.

use bytes::Bytes;

use super::*;
use crate::{EventFilter, EventReader, FilterNames, NewValue, WatchStart};
use cfgsync_model::{EventId, EventPosition, Revision, WriteMode};
use cfgsync_wire::{EventStreamReader, StreamedEvent};

fn filter(kinds: &[&str]) -> EventFilter {
    let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    let names = FilterNames {
        kinds,
        ..FilterNames::default()
    };
    EventFilter::new(names).unwrap()
}

/// Starts to read behind the revision `revision`.
fn read_after(cluster: &Cluster, revision: u64, kinds: &[&str]) -> EventReader {
    let id = EventId {
        instance: cluster.instance(),
        position: EventPosition::after(Revision(revision)),
    };
    cluster.watch(filter(kinds), WatchStart::After(id))
}

/// Reads all frames that are due.
fn frames(reader: &mut EventReader) -> Vec<Bytes> {
    let mut frames = vec![];
    loop {
        let batch = reader.read(|_| true);
        frames.extend(batch.frames);
        if batch.is_complete {
            return frames;
        }
    }
}

fn events(frames: &[Bytes]) -> Vec<StreamedEvent> {
    let mut events = vec![];
    let mut reader = EventStreamReader::new(4 << 20);
    reader.read(&frames.concat(), &mut events).unwrap();
    events
}

async fn set(cluster: &Cluster, key: &str) {
    let value = NewValue {
        namespace: "prod".parse().unwrap(),
        key: key.parse().unwrap(),
        bytes: "1".into(),
        codec: None,
        secret: false,
        mode: WriteMode::Upsert,
        if_version: None,
        ttl: None,
    };
    cluster.set_value(value).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn frame_of_a_change_is_encoded_once_for_all_watchers() {
    let cluster = start("ready: {nodes: 9}");
    cluster.add("a").await;
    set(&cluster, "k").await;
    cluster.evaluated("a").await;
    let all = || frames(&mut read_after(&cluster, 0, &[]));
    let (one, two) = (all(), all());
    assert_eq!(one.len(), 3);
    for (one, two) in one.iter().zip(&two) {
        assert_eq!(one.as_ptr(), two.as_ptr(), "{one:?}");
    }
    // A watcher that resumes does not push out newer frames.
    let mut cluster_frames = vec![];
    for key in 0..1100 {
        set(&cluster, &format!("k{key}")).await;
    }
    for _ in 0..2 {
        cluster_frames.push(frames(&mut read_after(&cluster, 0, &["set"])));
    }
    let [one, two] = &cluster_frames[..] else {
        unreachable!()
    };
    assert_eq!((one.len(), one == two), (1101, true));
    let shared = one
        .iter()
        .zip(two)
        .filter(|(one, two)| one.as_ptr() == two.as_ptr());
    assert_eq!(shared.count(), 1024);
}

#[tokio::test(start_paused = true)]
async fn field_that_becomes_secret_is_hidden_in_old_events() {
    let cluster = start("ready: {nodes: 9}");
    let metadata = serde_json::json!({ "password": "PLANTED", "port": 1 });
    let node = node("a", "10.0.0.1").with_metadata_value(metadata);
    cluster.register(node).await.unwrap();
    let text = || {
        let frames = frames(&mut read_after(&cluster, 0, &["node_registered"]));
        String::from_utf8(frames.concat()).unwrap()
    };
    assert!(text().contains("PLANTED"));
    let secret = "metadata: { password: { type: string, secret: true } }\nready: {nodes: 9}";
    cluster
        .reload(spec(&format!("{secret}{PEERS}")))
        .await
        .unwrap();
    let hidden = text();
    assert!(
        !hidden.contains("PLANTED") && hidden.contains("port"),
        "{hidden}"
    );
}

#[tokio::test(start_paused = true)]
async fn reader_without_events_knows_its_position() {
    let cluster = start("ready: {nodes: 9}");
    let mut reader = cluster.watch(filter(&["cluster_failed"]), WatchStart::Now);
    let start = reader.newest_id().unwrap();
    assert_eq!(start.position, EventPosition::after(Revision(0)));
    assert_eq!(reader.newest_id(), None);
    cluster.add("a").await;
    assert!(frames(&mut reader).is_empty());
    assert_eq!(reader.newest_id().unwrap().position.revision, Revision(1));
    cluster.fail("x".to_owned()).await.unwrap();
    let failed = events(&frames(&mut reader));
    assert_eq!(failed[0].event, "cluster_failed");
    // The event itself has told the position.
    assert_eq!(reader.newest_id(), None);
}

#[tokio::test(start_paused = true)]
async fn watcher_that_misses_notices_gets_a_reset() {
    let cluster = start("ready: {nodes: 9}");
    let mut reader = cluster.watch(filter(&["notice"]), WatchStart::Now);
    let reload = async || {
        let spec = spec(&format!("ready: {{nodes: 9}}{PEERS}"));
        cluster.reload(spec).await.unwrap();
    };
    reload().await;
    let notices = events(&frames(&mut reader));
    assert_eq!(notices.len(), 1);
    assert!(notices[0].data.contains("spec_reloaded"), "{notices:?}");
    for _ in 0..=64 {
        reload().await;
    }
    let reset = events(&frames(&mut reader));
    assert_eq!(reset[0].event, "reset");
    assert!(reset[0].data.contains(r#""reason":"notices""#), "{reset:?}");
    reload().await;
    assert!(reader.changed().await);
    assert!(
        events(&frames(&mut reader))
            .iter()
            .any(|event| event.event == "notice")
    );
}

#[tokio::test(start_paused = true)]
async fn long_history_is_read_in_pieces() {
    let cluster = start("ready: {nodes: 9}");
    for key in 0..2500 {
        set(&cluster, &format!("k{}", key % 7)).await;
    }
    let mut unselected = read_after(&cluster, 0, &["cluster_failed"]);
    let mut pieces = 0;
    loop {
        let batch = unselected.read(|_| true);
        assert!(batch.frames.is_empty());
        pieces += 1;
        if batch.is_complete {
            break;
        }
    }
    assert_eq!(pieces, 3);
    let mut all = read_after(&cluster, 0, &["set"]);
    let mut count = 0;
    loop {
        let batch = all.read(|_| true);
        let bytes: usize = batch.frames.iter().map(Bytes::len).sum();
        assert!(bytes < (16 << 10) + 1000, "{bytes}");
        count += batch.frames.len();
        if batch.is_complete {
            break;
        }
    }
    assert_eq!(count, 2500);
}

#[tokio::test(start_paused = true)]
async fn position_ahead_of_the_server_gets_a_reset_that_says_so() {
    let cluster = start("ready: {nodes: 1}");
    set(&cluster, "a").await;
    let revision = cluster.shared.store.state().revision;
    let mut reader = read_after(&cluster, revision.0 + 1, &["set"]);
    let events = events(&frames(&mut reader));
    assert_eq!(events.len(), 1);
    assert!(
        events[0].data.contains("\"reason\":\"ahead\""),
        "{:?}",
        events[0]
    );
    let at = cluster.instance().to_string() + "-" + &revision.to_string();
    assert_eq!(events[0].id, at);
}
