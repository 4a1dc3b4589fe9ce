//! Tests of files that are known in advance: registering is only a condition for fetching them.

use std::collections::BTreeSet;

use super::*;
use cfgsync_materialize::Audience;

/// Returns a spec with static files for `a` and `b`.
fn static_spec(rest: &str) -> (tempfile::TempDir, Spec) {
    static_spec_that(true, rest)
}

fn static_spec_that(requires_registration: bool, rest: &str) -> (tempfile::TempDir, Spec) {
    let directory = tempfile::tempdir().unwrap();
    let file = |content| format!("{{files: [{{path: file, content: {content}}}]}}");
    let known = format!("nodes: {{a: {}, b: {}}}\n", file("for-a"), file("for-b"));
    std::fs::write(directory.path().join("known.yaml"), known).unwrap();
    let text = format!(
        "cfgsync: 1\ncluster: test\n{rest}\nmaterializers: [{{kind: precomputed, artifacts: known.yaml, \
         requires_registration: {requires_registration}}}]\n"
    );
    let spec = Spec::parse(&text, "cluster.yaml", directory.path()).unwrap();
    (directory, spec)
}

/// A materializer of static files that fails.
struct Broken;

impl Materializer for Broken {
    fn name(&self) -> String {
        "broken".into()
    }

    fn materialize(
        &self,
        _: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        Err(MaterializeError::new("broken"))
    }

    fn audience(&self) -> Audience {
        Audience::Listed {
            identifiers: BTreeSet::from(["a".parse().unwrap()]),
            requires_registration: true,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn registration_wakes_a_client_that_waits_for_static_files() {
    let (_directory, spec) = static_spec("");
    let cluster = start_on(store(), spec, vec![]);
    cluster.add("b").await;
    cluster.files("b").await;
    let begun = Instant::now();
    let registers = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.add("a").await;
    };
    let (payload, ()) = tokio::join!(cluster.files("a"), registers);
    assert_eq!(text(&payload, "file"), "for-a");
    assert!(begun.elapsed() < Duration::from_secs(2), "hung");
}

#[tokio::test(start_paused = true)]
async fn failed_render_of_static_files_answers_a_new_node_at_once() {
    let (_directory, spec) = static_spec("");
    let cluster = start_on(store(), spec, vec![Arc::new(Broken)]);
    cluster.add("a").await;
    assert!(matches!(cluster.fetch("a").await, Answer::Failed(_)));
    let begun = Instant::now();
    cluster.add("b").await;
    assert!(matches!(cluster.fetch("b").await, Answer::Failed(_)));
    assert!(begun.elapsed() < Duration::from_secs(2), "hung");
}

#[tokio::test(start_paused = true)]
async fn static_files_are_served_only_after_their_own_generation_is_sealed() {
    let (_directory, spec) = static_spec("");
    let cluster = start("ready: {nodes: 1}");
    cluster.add("a").await;
    cluster.files("a").await;
    cluster.reload(spec).await.unwrap();
    cluster.register(node("a", "10.0.0.2")).await.unwrap();
    cluster.add("b").await;
    // The next render waits for the interval. Until then there are no files for the new facts.
    for name in ["a", "b"] {
        let answer = cluster.answer(name);
        assert!(
            matches!(answer, Answer::NotReady(_)),
            "{name} got {answer:?}"
        );
    }
    for name in ["a", "b"] {
        let payload = cluster.files(name).await;
        assert_eq!(number(&payload), 2);
        assert_eq!(text(&payload, "file"), format!("for-{name}"));
    }
}

#[tokio::test(start_paused = true)]
async fn late_refuse_applies_to_static_files_only_with_a_rule() {
    let (_directory, spec) = static_spec("ready: {nodes: 1}\nlate: refuse");
    let cluster = start_on(store(), spec, vec![]);
    cluster.add("a").await;
    cluster.files("a").await;
    let late = cluster.register(node("b", "10.0.0.1")).await;
    assert!(matches!(late, Err(Refusal::TooLate(_))), "{late:?}");
    assert!(matches!(cluster.answer("b"), Answer::Missing(_)));

    let (_directory, spec) = static_spec("late: refuse");
    let cluster = start_on(store(), spec, vec![]);
    cluster.evaluated("a").await;
    cluster.add("a").await;
    cluster.files("a").await;
    let gone = cluster.remove(&"a".parse().unwrap()).await;
    assert!(
        gone.is_ok(),
        "without a rule, registering changes nothing: {gone:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn override_gives_files_to_a_node_without_static_files() {
    let (_directory, spec) = static_spec("");
    let cluster = start_on(store(), spec, vec![]);
    cluster.add("c").await;
    assert!(matches!(cluster.fetch("c").await, Answer::Missing(_)));
    let files = files_of(&[("file", "by hand")]);
    cluster.replace("c".parse().unwrap(), files).await.unwrap();
    assert_eq!(
        text(&received(cluster.answer("c")), "file"),
        "by hand",
        "at once"
    );
}

#[tokio::test(start_paused = true)]
async fn override_admits_an_unlisted_node() {
    let (_directory, spec) = static_spec_that(false, "");
    let cluster = start_on(store(), spec, vec![]);
    let refused = cluster.register(node("c", "10.0.0.1")).await;
    assert!(matches!(refused, Err(Refusal::NotListed(_))), "{refused:?}");
    cluster.files("a").await;
    let files = files_of(&[("file", "by hand")]);
    cluster.replace("c".parse().unwrap(), files).await.unwrap();
    let payload = received(cluster.answer("c"));
    assert_eq!(text(&payload, "file"), "by hand");
    cluster.add("c").await;
    assert_eq!(text(&received(cluster.answer("c")), "file"), "by hand");
    cluster
        .remove_override(&"c".parse().unwrap())
        .await
        .unwrap();
    assert!(matches!(cluster.answer("c"), Answer::Missing(_)));
}

/// A materializer of static files that counts its renders.
struct Counting(Arc<AtomicUsize>);

impl Materializer for Counting {
    fn name(&self) -> String {
        "counting".into()
    }

    fn materialize(
        &self,
        _: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(MaterializationResult::Ready(
            MaterializedArtifacts::default(),
        ))
    }

    fn audience(&self) -> Audience {
        Audience::Listed {
            identifiers: BTreeSet::new(),
            requires_registration: true,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn registrations_do_not_render_static_files_again() {
    let (_directory, spec) = static_spec("");
    let renders = Arc::new(AtomicUsize::new(0));
    let cluster = start_on(store(), spec, vec![Arc::new(Counting(renders.clone()))]);
    for name in ["a", "b", "c"] {
        cluster.add(name).await;
        cluster.evaluated(name).await;
        advance(Duration::from_secs(10)).await;
    }
    assert_eq!(renders.load(Ordering::Relaxed), 1);
    let files = files_of(&[("file", "by hand")]);
    cluster.replace("c".parse().unwrap(), files).await.unwrap();
    assert_eq!(renders.load(Ordering::Relaxed), 2);
}
