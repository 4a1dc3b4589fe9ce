//! Tests of operators' values: content, versions, pages, snapshots and expiry.

use super::*;
use crate::{Entry, NewValue, ValueCommand, ValueError};
use cfgsync_model::{Namespace, ValueKey, ValueType, WriteMode};
use cfgsync_store::ValueRejection;

pub(super) fn prod() -> Namespace {
    "prod".parse().unwrap()
}

pub(super) fn key(name: &str) -> ValueKey {
    name.parse().unwrap()
}

pub(super) fn new_value(name: &str, content: &str) -> NewValue {
    NewValue {
        namespace: prod(),
        key: key(name),
        bytes: content.to_owned().into(),
        codec: None,
        secret: false,
        mode: WriteMode::Upsert,
        if_version: None,
        ttl: None,
    }
}

pub(super) fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.key.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn content_is_checked_by_its_codec() {
    let cluster = start("ready: {nodes: 1}");
    let entry = cluster.set_value(new_value("a", "[1, 2]")).await.unwrap();
    assert_eq!(entry.content.value_type, ValueType::IntegerList);
    assert_eq!(entry.content.codec.as_str(), "json");
    let wrong = cluster.set_value(new_value("a", "[1")).await;
    assert!(matches!(wrong, Err(ValueError::Content(_))), "{wrong:?}");
    let unknown = NewValue {
        codec: Some("client:encrypted:json".parse().unwrap()),
        ..new_value("b", "\u{1}anything")
    };
    let entry = cluster.set_value(unknown).await.unwrap();
    assert_eq!(entry.content.value_type, ValueType::Custom);
    let secret = NewValue {
        secret: true,
        ..new_value("c", "\"hunter2\"")
    };
    let entry = cluster.set_value(secret).await.unwrap();
    assert!(entry.content.is_secret());
    assert!(!format!("{entry:?}").contains("hunter2"));
    let largest = |bytes: usize| NewValue {
        codec: Some("text".parse().unwrap()),
        ..new_value("d", &"x".repeat(bytes))
    };
    cluster.set_value(largest(1 << 20)).await.unwrap();
    let too_long = cluster.set_value(largest((1 << 20) + 1)).await;
    assert!(matches!(too_long, Err(ValueError::TooLong { .. })));
}

#[tokio::test(start_paused = true)]
async fn several_changes_are_all_made_or_none() {
    let cluster = start("ready: {nodes: 1}");
    let delete = |name: &str| ValueCommand::Delete {
        namespace: prod(),
        key: key(name),
        if_version: None,
    };
    let set = |name: &str| ValueCommand::Set(new_value(name, "1"));
    let refused = cluster
        .change_values(vec![set("a"), delete("missing")])
        .await;
    let missing = ValueRejection::NoValue(key("missing"));
    assert_eq!(refused, Err(ValueError::Rejected(missing)));
    assert!(cluster.value(&prod(), &key("a")).is_err());
    let made = cluster.change_values(vec![set("a"), set("b"), delete("a")]);
    let made: Vec<_> = made.await.unwrap();
    assert_eq!(
        made.iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, true, false]
    );
    assert_eq!(
        names(&cluster.list_values(&prod(), "", None, 10).items),
        ["b"]
    );
}

#[tokio::test(start_paused = true)]
async fn lists_are_sorted_and_come_in_pages() {
    let cluster = start("ready: {nodes: 1}");
    for name in ["b", "app/y", "app/x", "a", "app", "app.z"] {
        cluster.set_value(new_value(name, "1")).await.unwrap();
    }
    let mut after = None;
    let mut pages = vec![];
    loop {
        let page = cluster.list_values(&prod(), "", after.as_deref(), 4);
        pages.push(names(&page.items).join(" "));
        after = page.next_after;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, ["a app app.z app/x", "app/y b"]);
    let below = cluster.list_values(&prod(), "app/", None, 2);
    assert_eq!(names(&below.items), ["app/x", "app/y"]);
    assert_eq!(below.next_after, None, "a full last page is the last one");
    let later = cluster.list_values(&prod(), "app/", Some("a"), 9);
    assert_eq!(names(&later.items), ["app/x", "app/y"]);
    let other = "other".parse().unwrap();
    assert!(cluster.list_values(&other, "", None, 9).items.is_empty());
    let namespaces = cluster.list_namespaces("", None, 9, |_| true).items;
    assert_eq!(namespaces, [prod()]);
}

#[tokio::test(start_paused = true)]
async fn pages_of_large_values_have_fewer_entries() {
    let cluster = start("ready: {nodes: 1}");
    let large = |name: &str| NewValue {
        codec: Some("text".parse().unwrap()),
        ..new_value(name, &"x".repeat(1 << 20))
    };
    for at in 0..18 {
        cluster
            .set_value(large(&format!("k{at:02}")))
            .await
            .unwrap();
        cluster.set_value(large("versions")).await.unwrap();
    }
    let first = cluster.list_values(&prod(), "k", None, 100);
    assert_eq!(first.items.len(), 16);
    assert_eq!(first.next_after.as_deref(), Some("k15"));
    let second = cluster.list_values(&prod(), "k", Some("k15"), 100);
    assert_eq!(names(&second.items), ["k16", "k17"]);
    assert_eq!(second.next_after, None);
    let versions = |before| {
        let page = cluster.value_versions(&prod(), &key("versions"), before, 100);
        let (entries, next) = page.unwrap();
        (entries.len(), next)
    };
    assert_eq!(versions(None), (16, Some(3)));
    assert_eq!(versions(Some(3)), (2, None));
}

#[tokio::test(start_paused = true)]
async fn versions_are_listed_newest_first_also_after_deletion() {
    let cluster = start("ready: {nodes: 1}");
    for content in ["1", "2", "3"] {
        cluster.set_value(new_value("a", content)).await.unwrap();
    }
    cluster
        .delete_value(prod(), key("a"), Some(3))
        .await
        .unwrap();
    let versions = |entries: &[Entry]| -> Vec<u64> {
        entries.iter().map(|entry| entry.content.version).collect()
    };
    let (page, next) = cluster.value_versions(&prod(), &key("a"), None, 2).unwrap();
    assert_eq!((versions(&page), next), (vec![3, 2], Some(2)));
    let (page, next) = cluster.value_versions(&prod(), &key("a"), next, 2).unwrap();
    assert_eq!((versions(&page), next), (vec![1], None));
    let one = cluster.value_version(&prod(), &key("a"), 2).unwrap();
    assert_eq!(&one.content.bytes[..], b"2");
    let absent = cluster.value_version(&prod(), &key("a"), 4);
    assert!(matches!(
        absent,
        Err(ValueError::NoVersion { version: 4, .. })
    ));
    assert!(cluster.value_versions(&prod(), &key("b"), None, 2).is_err());
}

#[tokio::test(start_paused = true)]
async fn snapshot_of_another_content_has_another_revision() {
    let cluster = start("ready: {nodes: 1}");
    assert!(cluster.values_snapshot(&prod()).unwrap().entries.is_empty());
    let mut revisions = vec![cluster.values_revision(&prod())];
    cluster.set_value(new_value("a", "1")).await.unwrap();
    revisions.push(cluster.values_snapshot(&prod()).unwrap().revision);
    cluster.delete_value(prod(), key("a"), None).await.unwrap();
    cluster.set_value(new_value("a", "2")).await.unwrap();
    revisions.push(cluster.values_snapshot(&prod()).unwrap().revision);
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    let elsewhere = NewValue {
        namespace: "other".parse().unwrap(),
        ..new_value("a", "1")
    };
    cluster.set_value(elsewhere).await.unwrap();
    assert_eq!(revisions.last(), Some(&cluster.values_revision(&prod())));
}

#[tokio::test(start_paused = true)]
async fn value_expires_by_the_servers_clock() {
    let began = Instant::now();
    let clock = WallClock::from_fn(move || Timestamp::UNIX_EPOCH + began.elapsed());
    let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
    let store = store();
    let cluster = start_with_clock(store.clone(), spec, vec![], Config::default(), clock);
    let with_ttl = |name: &str, seconds| NewValue {
        ttl: Some(Duration::from_secs(seconds)),
        ..new_value(name, "1")
    };
    let wrong = cluster.set_value(with_ttl("a", 0)).await;
    assert_eq!(wrong, Err(ValueError::Ttl));
    cluster.set_value(with_ttl("a", 10)).await.unwrap();
    cluster.set_value(with_ttl("b", 10)).await.unwrap();
    advance(Duration::from_secs(9)).await;
    // It is set anew before it expires.
    cluster.set_value(new_value("b", "2")).await.unwrap();
    assert!(cluster.value(&prod(), &key("a")).is_ok());
    let mut changes = store.follow();
    changes.mark_unchanged();
    changes.changed().await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(11),
        "exact to a second"
    );
    assert!(cluster.value(&prod(), &key("a")).is_err());
    assert!(cluster.value(&prod(), &key("b")).is_ok());
}

#[tokio::test(start_paused = true)]
async fn value_that_nothing_reads_makes_no_generation() {
    let cluster = start("ready: {nodes: 1}");
    cluster.add("a").await;
    cluster.files("a").await;
    cluster.set_value(new_value("a", "1")).await.unwrap();
    assert!(matches!(cluster.evaluated("a").await, Answer::Payload(_)));
    advance(Duration::from_secs(10)).await;
    assert_eq!(cluster.generations().len(), 1);
}

/// The index of expiries is rebuilt and kept by each change, so each must move a value in it.
#[tokio::test(start_paused = true)]
async fn only_the_newest_expiry_of_a_value_counts() {
    let store = store();
    let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
    let clock = WallClock::from_fn(|| Timestamp::UNIX_EPOCH);
    let cluster = start_with_clock(store.clone(), spec, vec![], Config::default(), clock);
    let set = async |name: &str, seconds: Option<u64>| {
        let value = NewValue {
            ttl: seconds.map(Duration::from_secs),
            ..new_value(name, "1")
        };
        cluster.set_value(value).await.unwrap();
    };
    let at = |second| Timestamp::from_second(second).ok();
    assert_eq!(store.state().values.next_expiry(), None);
    set("a", Some(50)).await;
    set("b", Some(40)).await;
    assert_eq!(store.state().values.next_expiry(), at(40));
    set("b", Some(60)).await;
    assert_eq!(store.state().values.next_expiry(), at(50));
    set("a", None).await;
    assert_eq!(store.state().values.next_expiry(), at(60));
    cluster.delete_value(prod(), key("b"), None).await.unwrap();
    assert_eq!(store.state().values.next_expiry(), None);
    set("b", Some(70)).await;
    set("c", Some(80)).await;
    let state = store.state();
    let expired = |second| {
        let expired = state.values.expired(at(second).unwrap());
        expired
            .map(|(_, key, _)| key.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(expired(69), [""; 0]);
    assert_eq!(expired(70), ["b"]);
    assert_eq!(expired(80), ["b", "c"]);
}
