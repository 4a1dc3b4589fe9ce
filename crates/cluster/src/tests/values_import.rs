//! Tests of imports of values.

use super::{
    values::{key, names, new_value, prod},
    *,
};
use crate::{Import, ImportPlan, ImportedChangeKind, ImportedValue, NewValue};

fn imported(name: &str, content: Option<&str>) -> ImportedValue {
    ImportedValue {
        key: key(name),
        bytes: content.map(|content| content.to_owned().into()),
        codec: None,
        secret: false,
        expires_at: None,
    }
}

fn import_of(values: Vec<ImportedValue>, prune: bool) -> Import {
    Import {
        namespace: prod(),
        values,
        prune,
    }
}

#[tokio::test(start_paused = true)]
async fn import_makes_all_changes_at_one_revision() {
    use ImportedChangeKind::{Create, Delete, Update};

    let cluster = start("ready: {nodes: 1}");
    for (name, content) in [("same", r#"{"a":1}"#), ("other", "1"), ("gone", "1")] {
        cluster.set_value(new_value(name, content)).await.unwrap();
    }
    let secret = NewValue {
        secret: true,
        ..new_value("secret", "1")
    };
    cluster.set_value(secret).await.unwrap();
    let values = vec![
        imported("new", Some("2")),
        imported("other", Some("2")),
        imported("same", Some("{ \"a\": 1 }")),
        // Keeps the secret as it is.
        imported("secret", None),
    ];
    let kinds = |plan: &ImportPlan| -> Vec<_> {
        let changes = plan.changes.iter();
        changes
            .map(|change| (change.key.to_string(), change.kind))
            .collect()
    };
    let [new, other, gone] = ["new", "other", "gone"].map(str::to_owned);
    let plan = cluster.plan_import(import_of(values.clone(), false));
    let plan = plan.unwrap();
    assert_eq!(
        kinds(&plan),
        [(new.clone(), Create), (other.clone(), Update)]
    );
    assert_eq!(plan.unchanged_count, 2);
    let plan = cluster.plan_import(import_of(values.clone(), true));
    let plan = plan.unwrap();
    assert_eq!(
        kinds(&plan),
        [(new, Create), (other, Update), (gone, Delete)]
    );
    // A plan changes nothing.
    assert!(cluster.value(&prod(), &key("new")).is_err());
    let before = cluster.values_revision(&prod());
    cluster.commit_import(plan).await.unwrap();
    assert_eq!(cluster.values_revision(&prod()).0, before.0 + 1);
    let found = cluster.values_snapshot(&prod()).unwrap().entries;
    assert_eq!(names(&found), ["new", "other", "same", "secret"]);
    let again = cluster.plan_import(import_of(values, true)).unwrap();
    assert_eq!((kinds(&again), again.unchanged_count), (vec![], 4));
    cluster.commit_import(again).await.unwrap();
    assert_eq!(cluster.values_revision(&prod()).0, before.0 + 1);
}

#[tokio::test(start_paused = true)]
async fn import_is_refused_as_a_whole() {
    let cluster = start("ready: {nodes: 1}");
    cluster.set_value(new_value("a", "1")).await.unwrap();
    cluster.set_alias(key("b"), key("a")).await.unwrap();
    let past = Timestamp::UNIX_EPOCH;
    for (value, expected) in [
        (imported("a", Some("1")), "a: the key occurs twice"),
        (
            imported("b", Some("1")),
            "b: it is an alias of a; use that key",
        ),
        (
            imported("c", Some("{")),
            "c: the value is not JSON: mistake in line 1, column 1",
        ),
        (
            imported("a/x", None),
            "a/x: it has no content, and there is no secret with this key to keep; give it a content",
        ),
        (
            ImportedValue {
                expires_at: Some(past),
                ..imported("d", Some("1"))
            },
            &format!("d: it expires at {past}, which is in the past"),
        ),
    ] {
        let values = vec![imported("a", Some("2")), value];
        let error = cluster.plan_import(import_of(values, true)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let plan = cluster.plan_import(import_of(vec![imported("a", Some("2"))], true));
    cluster.set_value(new_value("a", "3")).await.unwrap();
    let error = cluster.commit_import(plan.unwrap()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a: another client changed the value at the same time; try again"
    );
    let current = cluster.value(&prod(), &key("a")).unwrap();
    assert_eq!(&current.content.bytes[..], b"3");
}
