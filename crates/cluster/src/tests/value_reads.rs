//! Tests of what values do to the rule and to renders: only a change of a value that was read counts.

use std::sync::mpsc;

use super::*;
use crate::{NewValue, ValueCommand};
use cfgsync_materialize::ReadableValues;
use cfgsync_model::{ValuePattern, WriteMode};

const READING: &str = "
materializers:
  - kind: template
    files:
      - path: file
        template: '{{ value(\"prod\", \"app/timeout\", default=30) }} {{ values_under(\"prod\", \"db/\") }}'
";

fn start_reading(ready: &str) -> Cluster {
    start_on(store(), spec(&format!("{ready}{READING}")), vec![])
}

fn new_value(name: &str, content: &str) -> NewValue {
    let (namespace, key) = name.split_once('/').unwrap();
    NewValue {
        namespace: namespace.parse().unwrap(),
        key: key.parse().unwrap(),
        bytes: content.to_owned().into(),
        codec: None,
        secret: false,
        mode: WriteMode::Upsert,
        if_version: None,
        ttl: None,
    }
}

impl Cluster {
    pub(super) async fn set(&self, name: &str, content: &str) {
        self.set_value(new_value(name, content)).await.unwrap();
    }

    /// Returns the number of the generation and the text of `file` after all changes so far.
    async fn file(&self) -> (u64, String) {
        let payload = received(self.evaluated("a").await);
        (number(&payload), text(&payload, "file"))
    }
}

#[tokio::test(start_paused = true)]
async fn only_values_that_were_read_make_a_generation() {
    let renders = Arc::new(AtomicUsize::new(0));
    let counter = renders.clone();
    let counting = Scripted(move |_: &RegistrationSnapshot| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(MaterializationResult::Ready(
            MaterializedArtifacts::default(),
        ))
    });
    let spec = spec(&format!("ready: {{nodes: 1}}{READING}"));
    let cluster = start_on(store(), spec, vec![Arc::new(counting)]);
    cluster.set("prod/app/timeout", "5").await;
    cluster.add("a").await;
    assert_eq!(cluster.file().await, (1, "5 {}".to_owned()));
    for (name, content, expected) in [
        ("prod/app/other", "1", (1, "5 {}")),
        ("test/app/timeout", "1", (1, "5 {}")),
        ("prod/app/timeout", "5", (1, "5 {}")),
        ("prod/app/timeout", "6", (2, "6 {}")),
        ("prod/db/x", "\"y\"", (3, "6 {\"db/x\":\"y\"}")),
        ("prod/dbx", "1", (3, "6 {\"db/x\":\"y\"}")),
    ] {
        cluster.set(name, content).await;
        let (number, text) = cluster.file().await;
        assert_eq!((number, text.as_str()), expected, "{name}");
        let renders = renders.load(Ordering::Relaxed);
        assert_eq!(
            renders as u64, number,
            "{name}: a render for each generation"
        );
    }
    let delete = ValueCommand::Delete {
        namespace: "prod".parse().unwrap(),
        key: "app/timeout".parse().unwrap(),
        if_version: None,
    };
    cluster.change_values(vec![delete]).await.unwrap();
    assert_eq!(cluster.file().await, (4, "30 {\"db/x\":\"y\"}".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn value_that_is_not_set_fails_the_render_until_it_is() {
    let cluster = start_on(
        store(),
        spec(
            "ready: {nodes: 1}\nmaterializers: [{kind: template, files: [{path: file, shared: true, template: '{{ \
             value(\"prod\", \"must\") }}'}]}]",
        ),
        vec![],
    );
    cluster.add("a").await;
    let Answer::Failed(failure) = cluster.fetch("a").await else {
        panic!("the value is not set");
    };
    let expected = "the value prod/must is not set; set it, or add `default=`";
    assert!(failure.reason.contains(expected), "{}", failure.reason);
    cluster.set("prod/other", "1").await;
    assert!(matches!(cluster.evaluated("a").await, Answer::Failed(_)));
    cluster.set("prod/must", "1").await;
    assert_eq!(cluster.file().await, (1, "1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn required_values_are_waited_for_by_name() {
    let cluster = start_reading("requires: [prod/app/timeout, prod/zone]\nready: {nodes: 1}");
    cluster.add("a").await;
    assert_eq!(
        cluster.reason("a").await,
        "not ready: 1/1; values that are not set: prod/app/timeout and prod/zone"
    );
    cluster.set("prod/app/timeout", "5").await;
    assert_eq!(
        cluster.reason("a").await,
        "not ready: 1/1; values that are not set: prod/zone"
    );
    cluster.set("prod/zone", "5").await;
    assert_eq!(cluster.file().await, (1, "5 {}".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn rule_reads_values() {
    let cluster = start_reading(
        "ready:\n  groups: [{where: 'node.identifier in value(\"prod\", \"voters\", default=[])', count: 1}]\n  when: \
         'value(\"prod\", \"go\", default=false)'",
    );
    cluster.add("a").await;
    assert_eq!(
        cluster.reason("a").await,
        "not ready: 1/1; group node.identifier in value(\"prod\", \"voters\", default=[]): 0 of 1 match; when: \
         value(\"prod\", \"go\", default=false) is false"
    );
    cluster.set("prod/voters", "[\"a\"]").await;
    cluster.set("prod/go", "true").await;
    assert_eq!(cluster.file().await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn settle_counts_from_the_last_change_of_a_value_that_the_rule_reads() {
    let cluster = start_reading(
        "ready: {nodes: 1, settle: 10s, when: 'value(\"prod\", \"zones\", default=1) > 0'}",
    );
    let started = Instant::now();
    cluster.add("a").await;
    cluster.evaluated("a").await;
    advance(Duration::from_secs(6)).await;
    cluster.set("prod/unread", "2").await;
    cluster.evaluated("a").await;
    cluster.set("prod/zones", "2").await;
    cluster.files("a").await;
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(16), "{waited:?}");
    assert!(waited < Duration::from_secs(17), "{waited:?}");
}

/// A materializer with declared reads, which runs a closure of the test.
struct Declared<F>(Vec<ValuePattern>, F);

impl<F> Materializer for Declared<F>
where
    F: Fn(&RegistrationSnapshot) -> Result<MaterializationResult, MaterializeError>
        + Send
        + Sync
        + 'static,
{
    fn name(&self) -> String {
        "declared".into()
    }

    fn reads(&self) -> ReadableValues {
        ReadableValues::Declared(self.0.clone())
    }

    fn materialize(
        &self,
        snapshot: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        (self.1)(snapshot)
    }
}

fn start_declared<F>(make: F) -> Cluster
where
    F: Fn(&RegistrationSnapshot) -> Result<MaterializationResult, MaterializeError>
        + Send
        + Sync
        + 'static,
{
    let reads = vec!["prod/app/".parse().unwrap()];
    let spec = spec(
        "ready: {nodes: 1}\nmaterializers: [{kind: template, files: [{path: p, template: x}]}]",
    );
    start_on(store(), spec, vec![Arc::new(Declared(reads, make))])
}

/// A server whose program reads `prod/app/a`, and whose rule and template read nothing. Each run of the program is counted.
fn start_counting(store: Arc<MemoryStore>, runs: &Arc<AtomicUsize>) -> Cluster {
    let runs = runs.clone();
    let make = move |snapshot: &RegistrationSnapshot| {
        runs.fetch_add(1, Ordering::Relaxed);
        let version = snapshot.operator_values.get("prod", "app/a")?;
        let content = version.map_or("none".into(), |version| version.bytes.clone());
        Ok(one_file_each(
            snapshot,
            &String::from_utf8(content.to_vec())?,
        ))
    };
    let reads = vec!["prod/app/".parse().unwrap()];
    let spec = spec(
        "ready: {nodes: 1}\nmaterializers: [{kind: template, files: [{path: p, template: x}]}]",
    );
    start_on(store, spec, vec![Arc::new(Declared(reads, make))])
}

#[tokio::test(start_paused = true)]
async fn restarted_server_renders_only_if_a_value_has_changed_that_was_read() {
    let (store, runs) = (store(), Arc::new(AtomicUsize::new(0)));
    let ran = || runs.load(Ordering::Relaxed);
    let cluster = start_counting(store.clone(), &runs);
    cluster.set("prod/app/a", "1").await;
    cluster.add("a").await;
    assert_eq!(cluster.file().await, (1, "1".to_owned()));
    cluster.set("prod/app/b", "1").await;
    assert_eq!((cluster.file().await.0, ran()), (1, 1));
    drop(cluster);

    let cluster = start_counting(store.clone(), &runs);
    assert_eq!((cluster.file().await.0, ran()), (1, 1), "b was not read");
    cluster.set("prod/app/b", "2").await;
    assert_eq!((cluster.file().await.0, ran()), (1, 1));
    cluster.set("prod/app/a", "2").await;
    assert_eq!(cluster.file().await, (2, "2".to_owned()));
    assert_eq!(ran(), 2);
    drop(cluster);

    // A value changes while no server runs, as if the server had been killed before its render.
    let deleted = cfgsync_store::ValueChange::Delete {
        namespace: "prod".parse().unwrap(),
        key: "app/a".parse().unwrap(),
        if_version: None,
    };
    store.apply(vec![Change::Value(deleted)]).await.unwrap();
    let cluster = start_counting(store, &runs);
    assert_eq!(cluster.file().await, (3, "none".to_owned()));
    assert_eq!(ran(), 3);
}

fn failure(cluster: &Cluster) -> String {
    cluster
        .cluster()
        .failure
        .map_or_else(String::new, |failure| failure.reason)
}

#[tokio::test(start_paused = true)]
async fn materializer_reads_only_the_values_that_it_declares() {
    let cluster = start_declared(|snapshot| {
        let values = &snapshot.operator_values;
        let declared = values.get("prod", "app/a")?;
        let content = declared.map_or("none".into(), |version| version.bytes.clone());
        let content = String::from_utf8(content.to_vec())?;
        if content == "1" {
            values.get("prod", "other")?;
        }
        Ok(one_file_each(snapshot, &content))
    });
    cluster.add("a").await;
    assert_eq!(cluster.file().await, (1, "none".to_owned()));
    cluster.set("prod/other", "5").await;
    assert_eq!(cluster.file().await, (1, "none".to_owned()));
    cluster.set("prod/app/a", "1").await;
    cluster.evaluated("a").await;
    assert_eq!(
        failure(&cluster),
        "prod/other is not one of the values that this materializer declares to read"
    );
}

#[tokio::test(start_paused = true)]
async fn secret_value_does_not_get_into_a_readable_file() {
    let cluster = start_declared(|snapshot| {
        let read = snapshot.operator_values.get("prod", "app/a")?.is_some();
        Ok(one_file_each(snapshot, &format!("{read}")))
    });
    cluster.add("a").await;
    assert_eq!(cluster.file().await, (1, "false".to_owned()));
    let secret = NewValue {
        secret: true,
        ..new_value("prod/app/a", "1")
    };
    cluster.set_value(secret).await.unwrap();
    cluster.evaluated("a").await;
    assert_eq!(
        failure(&cluster),
        "declared: prod/app/a is a secret value, and file is not a secret file; make all files of this materializer \
         secret, or do not read the value"
    );
    // A secret stays one when it is set again.
    let delete = ValueCommand::Delete {
        namespace: "prod".parse().unwrap(),
        key: "app/a".parse().unwrap(),
        if_version: None,
    };
    cluster.change_values(vec![delete]).await.unwrap();
    cluster.set("prod/app/a", "1").await;
    assert_eq!(cluster.file().await, (2, "true".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn value_that_changes_while_it_is_rendered_is_rendered_again() {
    let (read, was_read) = mpsc::channel::<()>();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let cluster = start_declared(move |snapshot| {
        let version = snapshot.operator_values.get("prod", "app/a")?;
        read.send(())?;
        may_go.lock().unwrap().recv()?;
        let version = version.map_or(0, |version| version.version);
        Ok(one_file_each(snapshot, &version.to_string()))
    });
    cluster.add("a").await;
    // The channel stays open for the second render.
    let first_read = tokio::task::spawn_blocking(move || was_read.recv().map(|()| was_read));
    let _was_read = first_read.await.unwrap().unwrap();
    cluster.set("prod/app/a", "5").await;
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert_eq!(cluster.file().await, (2, "1".to_owned()));
}

/// The cause may lie outside the cluster, and the render may have ended before it read the value.
#[tokio::test(start_paused = true)]
async fn each_change_of_a_value_retries_a_failed_first_render() {
    let is_broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let breaks = is_broken.clone();
    let materializer = Scripted(move |snapshot: &_| {
        if breaks.load(Ordering::Relaxed) {
            return Err(MaterializeError::new("broken"));
        }
        Ok(one_file_each(snapshot, "repaired"))
    });
    let rule = spec(
        "ready: {nodes: 1}\nmaterializers: [{kind: template, files: [{path: a, template: a}]}]",
    );
    let cluster = start_on(store(), rule, vec![Arc::new(materializer)]);
    cluster.add("a").await;
    assert!(matches!(cluster.fetch("a").await, Answer::Failed(_)));
    is_broken.store(false, Ordering::Relaxed);
    cluster.set("prod/any", "1").await;
    assert_eq!(cluster.file().await, (1, "repaired".to_owned()));
}
