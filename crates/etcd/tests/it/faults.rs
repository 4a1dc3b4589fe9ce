//! A store whose etcd fails keeps serving what it has, refuses changes in time, and goes on by itself.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::{
    etcd::{Etcd, config},
    proxy::{Link, Proxy},
};
use cfgsync_etcd::{EtcdConfig, EtcdStore, Housekeeping};
use cfgsync_model::{NodeRegistration, Revision};
use cfgsync_store::{Change, CommitError, State, Store};

/// The time until something that must happen has happened.
const HAPPENS_WITHIN: Duration = Duration::from_secs(20);

/// The time within which a connection that is lost without a sign is noticed.
const SILENCE_NOTICED_WITHIN: Duration = Duration::from_secs(6);

fn register(name: &str) -> Vec<Change> {
    let node = NodeRegistration::new(name, [10, 0, 0, 1]).unwrap();
    vec![Change::register(node)]
}

async fn until(what: &str, limit: Duration, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < limit, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn names(store: &impl Store) -> Vec<String> {
    let state = store.state();
    let names = state.registrations.keys();
    names.map(|name| name.as_str().to_owned()).collect()
}

async fn open_behind(proxy: &Proxy) -> EtcdStore {
    let config = EtcdConfig {
        write_timeout: Duration::from_secs(2),
        ..config("demo", &[proxy.address])
    };
    EtcdStore::open(config).await.unwrap()
}

/// Changes are refused, what is known is served, and the store says since when.
async fn check_outage(store: &EtcdStore) {
    let begun = Instant::now();
    let refused = store.apply(register("b")).await;
    assert!(
        matches!(
            refused,
            Err(CommitError::Unavailable(_) | CommitError::Unknown(_))
        ),
        "{refused:?}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "the write timeout is 2 s"
    );
    assert_eq!(names(store), ["a"]);
    until("the outage is noticed", SILENCE_NOTICED_WITHIN, || {
        store.freshness().problem.is_some()
    })
    .await;
}

async fn check_recovery(store: &EtcdStore, others: &EtcdStore) {
    others.apply(register("c")).await.unwrap();
    until("the store goes on", HAPPENS_WITHIN, || {
        names(store).contains(&"c".to_owned())
    })
    .await;
    assert_eq!(store.freshness().problem, None);
    store.apply(register("d")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_cut_links_are_noticed_and_mended() {
    let etcd = Etcd::start().await;
    for link in [Link::Silent, Link::Cut] {
        let cluster = etcd.open("demo").await;
        let proxy = Proxy::start(etcd.addresses()[0]).await;
        let store = open_behind(&proxy).await;
        store.apply(register("a")).await.unwrap();
        proxy.set(link);
        check_outage(&store).await;
        proxy.set(Link::Up);
        check_recovery(&store, &cluster).await;
        etcd.etcdctl(&["del", "--prefix", "/cfgsync/demo/"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_goes_on_after_etcd_was_away() {
    let mut etcd = Etcd::start().await;
    let config = EtcdConfig {
        write_timeout: Duration::from_secs(2),
        ..etcd.config("demo")
    };
    let store = EtcdStore::open(config).await.unwrap();
    store.apply(register("a")).await.unwrap();
    etcd.kill_member(0);
    check_outage(&store).await;
    etcd.start_member(0);
    let begun = Instant::now();
    while store.apply(register("c")).await.is_err() {
        assert!(begun.elapsed() < HAPPENS_WITHIN);
    }
    assert!(names(&store).contains(&"a".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_database_refuses_changes_until_the_alarm_is_cleared() {
    let etcd = Etcd::start_members(1, &["--quota-backend-bytes", "16777216"]).await;
    let store = etcd.open("demo").await;
    store.apply(register("a")).await.unwrap();
    for _ in 0..20 {
        etcd.put_bytes("other", 1 << 20);
    }
    let refused = store.apply(register("b")).await;
    let Err(CommitError::Unavailable(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("database space exceeded"), "{reason}");
    assert_eq!(names(&store), ["a"]);
    let database = store.database().await.unwrap().unwrap();
    assert!(!database.alarms.is_empty(), "{database:?}");

    let status = etcd.etcdctl(&["endpoint", "status", "-w", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let revision = &status[0]["Status"]["header"]["revision"];
    etcd.etcdctl(&["compact", &revision.to_string()]);
    etcd.etcdctl(&["defrag"]);
    etcd.etcdctl(&["alarm", "disarm"]);
    store.apply(register("b")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entry_that_is_not_valid_has_no_effect_on_others() {
    let etcd = Etcd::start().await;
    let store = etcd.open("demo").await;
    store.apply(register("a")).await.unwrap();
    for value in ["garbage", "\u{1}\u{1f}", ""] {
        let key = "/cfgsync/demo/log/0000000000000001/0000000000000001";
        etcd.etcdctl(&["put", key, value]);
    }
    for key in [
        "snapshot",
        "unknown",
        "meta",
        "references",
        "parts/x",
        "servers/0000000000000001",
        "presence/0000000000000001/1",
        "log/1",
    ] {
        etcd.etcdctl(&["put", &format!("/cfgsync/demo/{key}"), "{"]);
    }
    store.apply(register("b")).await.unwrap();
    assert_eq!(names(&store), ["a", "b"]);
    // The watch has shown all records, because that of `b` is after them.
    let failed = tokio::time::timeout(Duration::ZERO, store.failed()).await;
    assert!(failed.is_err(), "the store has failed: {failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_store_closes_its_connection() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::start(etcd.addresses()[0]).await;
    let store = open_behind(&proxy).await;
    assert_eq!(proxy.open(), 1);
    drop(store);
    until("the connection is closed", HAPPENS_WITHIN, || {
        proxy.open() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_store_gives_its_turn_up_at_once() {
    let etcd = Etcd::start().await;
    let store = etcd.open("demo").await;
    let has_turn = store.render_turn().unwrap();
    until("it has the turn", HAPPENS_WITHIN, || *has_turn.borrow()).await;
    store.close().await;
    assert_eq!(etcd.keys("/cfgsync/demo/turn"), [""; 0]);
    assert_eq!(etcd.keys("/cfgsync/demo/servers/"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_goes_on_when_its_role_is_granted_again() {
    let mut etcd = Etcd::start().await;
    etcd.protect();
    let config = || EtcdConfig {
        user: Some(("node".to_owned(), "secret".into())),
        write_timeout: Duration::from_secs(2),
        ..etcd.config("demo")
    };
    let (store, others) = (
        EtcdStore::open(config()).await.unwrap(),
        EtcdStore::open(config()).await.unwrap(),
    );
    store.apply(register("a")).await.unwrap();
    etcd.revoke_role();
    // etcd goes on with the open watch, and refuses the changes.
    let refused = store.apply(register("b")).await;
    assert!(
        matches!(
            refused,
            Err(CommitError::Unavailable(_) | CommitError::Unknown(_))
        ),
        "{refused:?}"
    );
    assert_eq!(names(&store), ["a"]);
    assert!(etcd.grant_role());
    let begun = Instant::now();
    while others.apply(register("c")).await.is_err() {
        assert!(begun.elapsed() < HAPPENS_WITHIN, "writes stay refused");
    }
    check_recovery(&store, &others).await;
}

/// The log is read again from its beginning, or from a snapshot if its entries are deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_beyond_a_lagging_watcher_loses_nothing() {
    let etcd = Etcd::start().await;
    for is_log_deleted in [false, true] {
        let cluster = format!("demo-{is_log_deleted}");
        let housekeeping = Housekeeping {
            interval: Duration::from_millis(100),
            snapshot_after_bytes: 0,
            snapshot_after_entries: if is_log_deleted { 10 } else { 1_000_000 },
            ..Housekeeping::default()
        };
        let others = EtcdStore::open(EtcdConfig {
            housekeeping,
            ..etcd.config(&cluster)
        });
        let others = others.await.unwrap();
        let proxy = Proxy::start(etcd.addresses()[0]).await;
        let store = EtcdStore::open(config(&cluster, &[proxy.address]));
        let store = store.await.unwrap();
        store.apply(register("a")).await.unwrap();
        proxy.set(Link::Cut);
        for number in 0..50 {
            others.apply(register(&format!("n{number}"))).await.unwrap();
        }
        let log = format!("/cfgsync/{cluster}/log/");
        until("the log is deleted", HAPPENS_WITHIN, || {
            !is_log_deleted || etcd.keys(&log).len() < 50
        })
        .await;
        etcd.compact();
        proxy.set(Link::Up);
        check_recovery(&store, &others).await;
        until("both have all changes", HAPPENS_WITHIN, || {
            store.state().revision == others.state().revision
        })
        .await;
        let (state, expected) = (store.state(), others.state());
        assert_eq!(state.registrations.len(), 53);
        let events = |state: &State| {
            let events = state.events_after(Revision(0)).expect("it is complete");
            events.flat_map(|commit| commit.to_vec()).count()
        };
        assert_eq!(events(&state), events(&expected));
    }
}
