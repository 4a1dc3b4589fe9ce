//! Event streams that are interrupted: nothing is lost, nothing comes twice, and a reset says where something is missing.

use std::time::Duration;

use cfgsync_cluster::NewValue;
use cfgsync_model::{NodeRegistration, WriteMode};
use cfgsync_server::HttpConfig;
use cfgsync_store::EventBounds;
use cfgsync_wire::StreamedEvent;
use serde_json::json;

use super::{
    PAIR,
    watch::{Watch, data, id, names, set},
};
use crate::support::{TestServer, without_body};

/// Three changes: the first has the revision 1.
async fn three_changes(server: &TestServer) {
    server.register("a").await;
    set(server, "k", b"1").await;
    set(server, "k", b"2").await;
}

fn few_events(events_max: usize) -> TestServer {
    let events = EventBounds {
        events_max,
        ..EventBounds::default()
    };
    TestServer::with_events(PAIR, HttpConfig::default(), events)
}

#[tokio::test]
async fn stream_resumes_behind_each_event() {
    let server = TestServer::start(PAIR);
    three_changes(&server).await;
    let mut all = Watch::after(&server, "", &id(0)).await;
    let events = all.next_changes(3).await;
    for (index, event) in events.iter().enumerate() {
        let mut header = Watch::after(&server, "", &event.id).await;
        let mut query = Watch::open(&server, &format!("?since={}", event.id), "").await;
        // An `EventSource` connects again with the same URL, and the header is newer.
        let url = format!("?since={}", id(0));
        let mut both = Watch::after(&server, &url, &event.id).await;
        for watch in [&mut header, &mut query, &mut both] {
            let rest = watch.next_changes(2 - index).await;
            assert_eq!(rest, events[index + 1..], "after {}", event.id);
        }
    }
}

#[tokio::test]
async fn unusable_ids_get_one_reset_and_then_new_events() {
    let server = TestServer::start(PAIR);
    three_changes(&server).await;
    let other = "00000000000000000000000000000000-1";
    for (last_id, reason) in [
        ("", "unknown_id"),
        ("7", "unknown_id"),
        ("nonsense \u{e9}", "unknown_id"),
        (&*format!("{}x", id(1)), "unknown_id"),
        (other, "other_instance"),
        (&*id(99), "ahead"),
        (&*id("18446744073709551615.7"), "ahead"),
    ] {
        let mut header = Watch::after(&server, "?kinds=set", last_id).await;
        let query = format!(
            "?kinds=set&since={}",
            last_id.replace([' ', '\u{e9}'], "%ff")
        );
        let mut query = Watch::open(&server, &query, "").await;
        let newest = server.coordinator.cluster().revision;
        for watch in [&mut header, &mut query] {
            let reset = watch.next().await;
            assert_eq!(
                (&*reset.event, &*reset.id),
                ("reset", &*id(newest)),
                "{last_id:?}"
            );
            let body = data(&reset);
            assert_eq!(body["reason"], reason, "{last_id:?}");
            assert_eq!(body["revision"], json!(newest), "{last_id:?}");
        }
        set(&server, "k", b"3").await;
        for watch in [&mut header, &mut query] {
            let next = watch.next().await;
            assert_eq!((&*next.event, &*next.id), ("set", &*id(newest.next())));
        }
    }
}

#[tokio::test]
async fn history_that_does_not_reach_back_gives_a_reset() {
    let server = few_events(2);
    three_changes(&server).await;
    let mut lost = Watch::after(&server, "?namespaces=prod", &id(0)).await;
    let reset = lost.next().await;
    assert_eq!(
        (&*reset.event, &data(&reset)["reason"]),
        ("reset", &json!("history"))
    );
    let mut kept = Watch::after(&server, "?namespaces=prod", &id(1)).await;
    assert_eq!(names(&kept.next_changes(2).await), ["set", "set"]);
}

#[tokio::test]
async fn stream_from_the_oldest_event_may_end_with_the_newest() {
    let server = few_events(2);
    three_changes(&server).await;
    let query = "?namespaces=prod&since=oldest&follow=false";
    let mut watch = Watch::open(&server, query, "").await;
    assert_eq!(names(&watch.next_changes(2).await), ["set", "set"]);
    assert_eq!(watch.next_or_end().await, None);
}

/// The parts of one revision have ids of their own. The last one has the id of the whole revision.
#[tokio::test]
async fn stream_resumes_within_a_revision() {
    let server = TestServer::start(PAIR);
    server.register("a").await;
    let ban = without_body("POST", "/v1/nodes/a/ban", "");
    assert!(server.request(&ban).await.status < 300);
    let mut all = Watch::after(&server, "?identifiers=a", &id(0)).await;
    let events = all.next_changes(3).await;
    assert_eq!(
        names(&events),
        ["node_registered", "node_removed", "node_banned"]
    );
    let ids: Vec<&str> = events.iter().map(|event| &*event.id).collect();
    assert_eq!(ids, [id(1), id("2.0"), id(2)]);
    let mut rest = Watch::after(&server, "?identifiers=a", &id("2.0")).await;
    assert_eq!(rest.next_changes(1).await, events[2..]);
}

/// A generator of numbers that gives the same ones in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Watchers that are cut again and again, while values and nodes change, see each change once and in order.
#[tokio::test(flavor = "multi_thread")]
async fn reconnects_under_load_lose_and_repeat_nothing() {
    const CHANGES: usize = 1200;
    const RECONNECTS_MIN: usize = 1000;
    // The set is never complete, so that only the writer makes changes.
    let server = TestServer::start(&PAIR.replace("nodes: 2", "nodes: 9999"));
    let start = id(0);
    let watch_all = async |seed: u64| {
        let mut numbers = Numbers(seed);
        let mut seen: Vec<StreamedEvent> = vec![];
        let mut last_id = start.clone();
        let mut reconnects = 0;
        while seen.len() < CHANGES {
            let mut watch = Watch::after(&server, "", &last_id).await;
            // Cut anywhere: also before the first event, and between a frame and what it announces.
            for _ in 0..numbers.below(8) {
                if seen.len() == CHANGES {
                    break;
                }
                let event = watch.next().await;
                assert_ne!(event.event, "reset", "{}", event.data);
                if event.event != "readiness" {
                    seen.push(event);
                }
            }
            last_id = match seen.last() {
                Some(event) => event.id.clone(),
                None => start.clone(),
            };
            reconnects += 1;
        }
        (seen, reconnects)
    };
    let write_all = async {
        let mut numbers = Numbers(7);
        for change in 0..CHANGES {
            match numbers.below(3) {
                0 => {
                    let name = format!("n{change}").parse().unwrap();
                    let node = NodeRegistration::without_metadata(name, [10, 0, 0, 1].into());
                    server.coordinator.register(node).await.unwrap();
                }
                _ => {
                    set(
                        &server,
                        &format!("k{}", numbers.below(4)),
                        &change.to_le_bytes(),
                    )
                    .await;
                }
            }
        }
    };
    let ((), one, two, three) = tokio::join!(write_all, watch_all(1), watch_all(2), watch_all(3));
    assert!(
        one.1 + two.1 + three.1 >= RECONNECTS_MIN,
        "{} {} {}",
        one.1,
        two.1,
        three.1
    );
    assert!(one.0 == two.0 && two.0 == three.0);
    let ids: Vec<&str> = one.0.iter().map(|event| &*event.id).collect();
    let expected: Vec<String> = (1..=CHANGES).map(id).collect();
    assert_eq!(ids, expected);
}

/// Sets a value of a mebibyte, without a request.
async fn set_large(server: &TestServer) {
    let value = NewValue {
        namespace: "prod".parse().unwrap(),
        key: "k".parse().unwrap(),
        bytes: vec![b'x'; 1 << 20].into(),
        codec: Some("bytes".parse().unwrap()),
        secret: false,
        mode: WriteMode::Upsert,
        if_version: None,
        ttl: None,
    };
    server.coordinator.set_value(value).await.unwrap();
}

/// A client that reads nothing costs no memory for the events that it has not read. It gets a reset.
#[tokio::test]
async fn client_that_stops_reading_gets_a_reset() {
    let server = few_events(4);
    let mut watch = Watch::open(&server, "?namespaces=prod", "").await;
    watch.read().await;
    // More than the buffers of both sockets hold.
    for _ in 0..40 {
        set_large(&server).await;
    }
    let mut versions = vec![];
    let reset = loop {
        let event = watch.next().await;
        if event.event == "reset" {
            break event;
        }
        versions.push(data(&event)["version"].as_u64().unwrap());
    };
    assert_eq!(data(&reset)["reason"], "history");
    let expected: Vec<u64> = (1..=versions.len() as u64).collect();
    assert_eq!(versions, expected);
    set(&server, "k", b"small").await;
    let next = watch.next().await;
    assert_eq!((&*next.event, &*next.id), ("set", &*id(41)));
}

#[tokio::test]
async fn client_that_reads_nothing_is_cut_after_the_limit() {
    let http = HttpConfig {
        write_stall_timeout: Duration::from_millis(50),
        ..HttpConfig::default()
    };
    let server = TestServer::with(PAIR, http);
    let _watch = Watch::open(&server, "?namespaces=prod", "").await;
    for _ in 0..12 {
        set_large(&server).await;
    }
    server.wait_until_disconnected().await;
}
