//! Checks of operators' values and aliases: versions, conditions, history and bounds.

use super::{accepted, apply, rejected};
use crate::{
    CapacityExceeded, Change, RejectionReason, SetValue, Store, ValueBounds, ValueChange,
    ValueRejection,
};
use cfgsync_model::{Alias, Namespace, ValueKey, ValueType, ValueVersion, WriteMode};
use cfgsync_support::clock::Timestamp;

fn key(name: &str) -> ValueKey {
    name.parse().expect("test keys are valid")
}

fn namespace(name: &str) -> Namespace {
    name.parse().expect("test namespaces are valid")
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("test times are valid")
}

/// Returns a write of a key in the namespace `prod`, without conditions and bounds.
pub(crate) fn new_value(name: &str, content: &str, second: i64) -> SetValue {
    SetValue {
        namespace: namespace("prod"),
        key: key(name),
        content: ValueVersion {
            bytes: content.to_owned().into(),
            codec: "json".parse().expect("test codecs are valid"),
            value_type: ValueType::Integer,
            version: 0,
            created_at: time(second),
            updated_at: time(second),
            expires_at: None,
        },
        mode: WriteMode::Upsert,
        if_version: None,
        within: ValueBounds::NONE,
    }
}

pub(crate) fn set(value: SetValue) -> Vec<Change> {
    vec![Change::Value(ValueChange::Set(value))]
}

pub(crate) fn delete(name: &str, if_version: Option<u64>) -> Vec<Change> {
    vec![Change::Value(ValueChange::Delete {
        namespace: namespace("prod"),
        key: key(name),
        if_version,
    })]
}

pub(crate) fn set_alias(name: &str, target: &str) -> Vec<Change> {
    vec![Change::Value(ValueChange::SetAlias {
        name: key(name),
        alias: Alias {
            target: key(target),
            created_at: time(0),
        },
        within: ValueBounds::NONE,
    })]
}

/// Returns the content and the version of a value.
fn current(store: &impl Store, name: &str) -> Option<(String, u64)> {
    let state = store.state();
    let name = key(name);
    let (_, current) = state.values.get("prod", &name)?;
    let text = String::from_utf8_lossy(&current.bytes).into_owned();
    Some((text, current.version))
}

async fn rejected_value(store: &impl Store, changes: Vec<Change>) -> ValueRejection {
    match rejected(store, changes).await {
        (0, RejectionReason::Value(reason)) => reason,
        other => panic!("expected a rejected value, got {other:?}"),
    }
}

pub(super) async fn each_write_makes_a_version(store: &impl Store) {
    let first = apply(store, set(new_value("a", "1", 10))).await;
    let second = apply(store, set(new_value("a", "1", 20))).await;
    assert!(first.revision < second.revision);
    let state = store.state();
    assert_eq!(state.values_revision, second.revision);
    assert!(state.inputs >= second.revision, "values are inputs");
    let name = key("a");
    let (_, value) = state.values.get("prod", &name).expect("it is set");
    assert_eq!(
        (value.version, value.created_at, value.updated_at),
        (2, time(10), time(20))
    );
    let values = state.values.namespace("prod").expect("it has a value");
    assert_eq!(values.revision, second.revision);
}

pub(super) async fn history_survives_deletion_and_versions_go_on(store: &impl Store) {
    for content in ["1", "2"] {
        apply(store, set(new_value("a", content, 10))).await;
    }
    apply(store, delete("a", None)).await;
    assert_eq!(current(store, "a"), None);
    let gone = rejected_value(store, delete("a", None)).await;
    assert_eq!(gone, ValueRejection::NoValue(key("a")));
    apply(store, set(new_value("a", "3", 30))).await;
    assert_eq!(current(store, "a"), Some(("3".to_owned(), 3)));
    let state = store.state();
    let name = key("a");
    let history = state.values.history("prod", &name).expect("it is kept");
    let numbers: Vec<_> = history.versions().iter().map(|one| one.version).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let (_, value) = state.values.get("prod", &name).expect("it is set");
    assert_eq!(value.created_at, time(30), "it was created anew");
}

pub(super) async fn writes_respect_their_conditions(store: &impl Store) {
    let with = |mode, if_version| {
        set(SetValue {
            mode,
            if_version,
            ..new_value("a", "1", 0)
        })
    };
    let missing = rejected_value(store, with(WriteMode::Update, None)).await;
    assert_eq!(missing, ValueRejection::NoValue(key("a")));
    let other = |found| ValueRejection::OtherVersion {
        key: key("a"),
        found,
    };
    let absent = rejected_value(store, with(WriteMode::Upsert, Some(1))).await;
    assert_eq!(absent, other(None));
    apply(store, with(WriteMode::Create, None)).await;
    let exists = rejected_value(store, with(WriteMode::Create, None)).await;
    assert_eq!(exists, ValueRejection::Exists(key("a")));
    apply(store, with(WriteMode::Update, Some(1))).await;
    let stale = rejected_value(store, with(WriteMode::Upsert, Some(1))).await;
    assert_eq!(stale, other(Some(2)));
    assert_eq!(
        rejected_value(store, delete("a", Some(1))).await,
        other(Some(2))
    );
    apply(store, delete("a", Some(2))).await;
}

pub(super) async fn aliases_stand_for_keys_only(store: &impl Store) {
    apply(store, set(new_value("new/name", "1", 0))).await;
    apply(store, set_alias("old", "new/name")).await;
    assert_eq!(current(store, "old"), Some(("1".to_owned(), 1)));
    apply(store, set(new_value("old", "2", 0))).await;
    assert_eq!(current(store, "new/name"), Some(("2".to_owned(), 2)));
    for (name, target, expected) in [
        ("x", "x", ValueRejection::AliasOfItself(key("x"))),
        ("old", "b", ValueRejection::AliasExists(key("old"))),
        (
            "new/name",
            "b",
            ValueRejection::AliasExists(key("new/name")),
        ),
        ("x", "old", ValueRejection::AliasChain(key("x"))),
    ] {
        let found = rejected_value(store, set_alias(name, target)).await;
        assert_eq!(found, expected);
    }
    apply(store, set_alias("y", "later")).await;
    let chain = rejected_value(store, set_alias("later", "b")).await;
    assert_eq!(chain, ValueRejection::AliasChain(key("later")));
    let remove = || vec![Change::Value(ValueChange::DeleteAlias(key("old")))];
    apply(store, remove()).await;
    assert_eq!(current(store, "old"), None);
    let gone = rejected_value(store, remove()).await;
    assert_eq!(gone, ValueRejection::NoAlias(key("old")));
}

pub(super) async fn history_and_sizes_are_bounded(store: &impl Store) {
    let within = ValueBounds {
        keys_max: 2,
        total_max_bytes: 10_000,
        history_max: 2,
    };
    let bounded = |name: &str, content: &str| {
        set(SetValue {
            within,
            ..new_value(name, content, 0)
        })
    };
    for content in ["1", "2", "3"] {
        apply(store, bounded("a", content)).await;
    }
    let state = store.state();
    let name = key("a");
    let history = state.values.history("prod", &name).expect("it is set");
    let kept: Vec<_> = history.versions().iter().map(|one| one.version).collect();
    assert_eq!(kept, [2, 3]);
    drop(state);
    apply(store, bounded("b", "1")).await;
    let full = rejected_value(store, bounded("c", "1")).await;
    let keys = CapacityExceeded::Keys { max: 2 };
    assert_eq!(full, ValueRejection::CapacityExceeded(keys));
    // The history of a deleted key makes room.
    apply(store, delete("b", None)).await;
    apply(store, bounded("c", "1")).await;
    assert!(store.state().values.history("prod", &key("b")).is_none());
    let large = "x".repeat(10_000);
    let full = rejected_value(store, bounded("c", &large)).await;
    let bytes = CapacityExceeded::Values { max_bytes: 10_000 };
    assert_eq!(full, ValueRejection::CapacityExceeded(bytes));
    assert_eq!(current(store, "c"), Some(("1".to_owned(), 1)));
}

pub(super) async fn one_of_two_writers_of_a_version_wins([one, two]: super::Handles<impl Store>) {
    apply(&*one, set(new_value("a", "0", 0))).await;
    let conditional = |content: &str| {
        set(SetValue {
            if_version: Some(1),
            ..new_value("a", content, 0)
        })
    };
    let (first, second) = tokio::join!(one.apply(conditional("1")), two.apply(conditional("2")));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let won = accepted(first.or(second));
    super::catch_up(&*one, won.revision).await;
    assert_eq!(current(&*one, "a").map(|(_, version)| version), Some(2));
}
