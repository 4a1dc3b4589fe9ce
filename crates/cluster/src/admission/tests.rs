//! Tests of the decisions, as tables.

use std::path::Path;

use cfgsync_model::{ArtifactFile, FailureKind};
use cfgsync_spec::Spec;
use cfgsync_store::Change;
use cfgsync_support::clock::Timestamp;

use super::*;

const LIMITS: Bounds = Bounds {
    nodes_max: 7,
    metadata_total_max_bytes: 1000,
};

/// Returns a pipeline of one template, with these lines of the spec.
fn templates(rest: &str) -> Pipeline {
    pipeline(&format!(
        "{rest}\nmaterializers: [{{kind: template, files: [{{path: own, template: x}}, {{path: all, shared: true, \
         template: x}}]}}]\n"
    ))
}

/// Returns a pipeline of static files for `a`, with these lines of the spec.
fn static_files(requires_registration: bool, rest: &str) -> Pipeline {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("known.yaml"),
        "nodes: {a: {files: []}}",
    )
    .unwrap();
    let rest = format!(
        "{rest}\nmaterializers: [{{kind: precomputed, artifacts: known.yaml, requires_registration: \
         {requires_registration}}}]\n"
    );
    pipeline_in(directory.path(), &rest)
}

fn pipeline(rest: &str) -> Pipeline {
    pipeline_in(Path::new("."), rest)
}

fn pipeline_in(directory: &Path, rest: &str) -> Pipeline {
    let text = format!("cfgsync: 1\ncluster: test\n{rest}");
    let spec = Spec::parse(&text, "cluster.yaml", directory).unwrap_or_else(|e| panic!("{e}"));
    let materializers = cfgsync_materialize::build(&spec);
    Pipeline::new(Arc::new(spec), materializers)
}

fn id(name: &str) -> Identifier {
    name.parse().unwrap()
}

fn node(name: &str) -> NodeRegistration {
    NodeRegistration::without_metadata(id(name), [10, 0, 0, 1].into())
}

/// Returns the state after these changes. The first change has revision 1, and so on.
fn state(changes: Vec<Change>) -> State {
    let mut state = State::default();
    for change in changes {
        let next = state.revision.next();
        state.apply(vec![change], next).unwrap();
    }
    state
}

fn registered(names: &[&str]) -> State {
    state(
        names
            .iter()
            .map(|name| Change::register(node(name)))
            .collect(),
    )
}

fn claim(name: &str, key: &str) -> Change {
    Change::Claim {
        identifier: id(name),
        key: Digest::of(key.as_bytes()),
        within: Bounds::NONE,
    }
}

fn files(path: &str) -> ArtifactSet {
    ArtifactSet::new(vec![ArtifactFile::new(path.parse().unwrap(), "x")]).unwrap()
}

fn overridden(name: &str) -> Change {
    Change::Override {
        identifier: id(name),
        files: files("own"),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the tables also hold `None`")]
fn covering(up_to: u64) -> Option<Coverage> {
    Some(Coverage {
        up_to: Revision(up_to),
        is_independent: false,
        is_complete: false,
    })
}

const COMPLETE: Option<Coverage> = Some(Coverage {
    up_to: Revision(0),
    is_independent: true,
    is_complete: true,
});

/// The coverage after a restart, before the static files were rendered again.
const INDEPENDENT: Option<Coverage> = Some(Coverage {
    up_to: Revision(0),
    is_independent: true,
    is_complete: false,
});

fn admission<'a>(
    pipeline: &'a Pipeline,
    state: &'a State,
    sealed: Option<Coverage>,
) -> Admission<'a> {
    Admission {
        pipeline,
        state,
        sealed,
        failure: None,
    }
}

fn failure(reason: &str) -> Arc<Failure> {
    Arc::new(Failure {
        kind: FailureKind::Render,
        reason: reason.to_owned(),
        at: Timestamp::UNIX_EPOCH,
    })
}

/// Returns the name of a decision's variant, for tables.
fn kind<T>(decision: &Result<T, Refusal>) -> &'static str {
    match decision {
        Ok(_) => "ok",
        Err(Refusal::NotListed(_)) => "not listed",
        Err(Refusal::TooLate(_)) => "too late",
        Err(Refusal::Sealed(_)) => "sealed",
        Err(Refusal::LeftTooLate(_)) => "left too late",
        Err(Refusal::Metadata(_)) => "metadata",
        Err(Refusal::Unregistered(_)) => "unregistered",
        Err(Refusal::OtherKey(_)) => "other key",
        Err(Refusal::SharedPath { .. }) => "shared path",
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn registration_depends_on_list_late_rule_and_seal() {
    let any = templates("ready: {nodes: 2}");
    let list = templates("ready: {nodes: [a, b]}");
    let refuse = templates("ready: {nodes: 2}\nlate: refuse");
    let list_refuse = templates("ready: {nodes: [a, b]}\nlate: refuse");
    let fixed = static_files(true, "");
    let fixed_open = static_files(false, "");
    let fixed_refuse = static_files(true, "late: refuse");
    let fixed_rule_refuse = static_files(true, "ready: {nodes: 1}\nlate: refuse");
    let fixed_open_refuse = static_files(false, "ready: {nodes: 1}\nlate: refuse");
    // `a` is registered, `b` and `c` are not; `c` is on no list.
    let state = registered(&["a"]);
    for (name, pipeline, sealed, a, b, c) in [
        ("any", &any, None, "ok", "ok", "ok"),
        ("any", &any, covering(1), "ok", "ok", "ok"),
        ("list", &list, None, "ok", "ok", "not listed"),
        ("list", &list, covering(1), "ok", "ok", "not listed"),
        ("refuse", &refuse, None, "ok", "ok", "ok"),
        ("refuse", &refuse, covering(1), "ok", "too late", "too late"),
        (
            "list, refuse",
            &list_refuse,
            covering(1),
            "ok",
            "too late",
            "not listed",
        ),
        ("static", &fixed, COMPLETE, "ok", "ok", "ok"),
        (
            "static, open",
            &fixed_open,
            COMPLETE,
            "ok",
            "not listed",
            "not listed",
        ),
        ("static, refuse", &fixed_refuse, COMPLETE, "ok", "ok", "ok"),
        (
            "static, rule, refuse",
            &fixed_rule_refuse,
            COMPLETE,
            "ok",
            "too late",
            "too late",
        ),
        (
            "static, open, refuse",
            &fixed_open_refuse,
            COMPLETE,
            "ok",
            "not listed",
            "not listed",
        ),
    ] {
        let admission = admission(pipeline, &state, sealed);
        let decided = ["a", "b", "c"].map(|id| kind(&admission.register(&node(id), None, LIMITS)));
        assert_eq!(decided, [a, b, c], "{name}, {sealed:?}");
    }
}

#[test]
fn override_admits_a_node_that_static_files_leave_out() {
    let pipeline = static_files(false, "");
    let state = state(vec![overridden("b")]);
    let admission = admission(&pipeline, &state, COMPLETE);
    for (name, expected) in [("a", "ok"), ("b", "ok"), ("c", "not listed")] {
        assert_eq!(
            kind(&admission.register(&node(name), None, LIMITS)),
            expected,
            "{name}"
        );
    }
}

#[test]
fn metadata_is_checked_after_list_and_late_rule() {
    let pipeline =
        templates("metadata: {port: {type: integer}}\nready: {nodes: [a, b]}\nlate: refuse");
    let state = registered(&["a"]);
    for (name, port, sealed, expected) in [
        ("a", 1.into(), None, "ok"),
        ("a", "x".into(), None, "metadata"),
        ("a", "x".into(), covering(1), "metadata"),
        ("b", "x".into(), covering(1), "too late"),
        ("c", "x".into(), None, "not listed"),
    ] {
        let port: serde_json::Value = port;
        let registration = node(name).with_metadata_value(serde_json::json!({ "port": port }));
        let decision = admission(&pipeline, &state, sealed).register(&registration, None, LIMITS);
        assert_eq!(kind(&decision), expected, "{name} {port} {sealed:?}");
        let offline = kind(&check_registration(&pipeline, &registration));
        let expected = if expected == "too late" {
            "metadata"
        } else {
            expected
        };
        assert_eq!(offline, expected, "{name} {port}");
    }
}

#[test]
fn first_key_owns_an_identifier() {
    let pipeline = templates("ready: {nodes: 2}");
    let state = state(vec![claim("a", "k")]);
    let key = |text: &str| Some(Digest::of(text.as_bytes()));
    for (name, with, expected) in [
        ("a", None, Ok(None)),
        ("a", key("k"), Ok(None)),
        ("a", key("other"), Err(Refusal::OtherKey(id("a")))),
        ("b", None, Ok(None)),
        ("b", key("k"), Ok(key("k"))),
    ] {
        let decision = admission(&pipeline, &state, None).register(&node(name), with, LIMITS);
        let claim = decision.map(|permit| permit.claim);
        assert_eq!(claim, expected, "{name} {with:?}");
    }
}

#[test]
fn node_limit_does_not_apply_to_expected_nodes() {
    let list = templates("ready: {nodes: [a]}");
    let any = templates("ready: {nodes: 1}");
    let fixed = static_files(true, "");
    let state = State::default();
    for (name, pipeline, node_name, nodes_max) in [
        ("list", &list, "a", usize::MAX),
        ("any", &any, "a", 7),
        ("static", &fixed, "a", usize::MAX),
        ("static", &fixed, "b", 7),
    ] {
        let decision = admission(pipeline, &state, None).register(&node(node_name), None, LIMITS);
        let within = Bounds {
            nodes_max,
            ..LIMITS
        };
        assert_eq!(
            decision,
            Ok(Permit {
                within,
                claim: None,
                before_seal: false,
            }),
            "{name} {node_name}"
        );
    }
}

#[test]
fn removal_and_leaving_depend_on_seal_and_registration() {
    let follow = templates("ready: {nodes: 1}");
    let refuse = templates("ready: {nodes: 1}\nlate: refuse");
    let state = registered(&["a"]);
    for (pipeline, sealed, name, remove) in [
        (&follow, None, "a", "ok"),
        (&follow, covering(1), "a", "ok"),
        (&follow, covering(1), "b", "unregistered"),
        (&refuse, None, "a", "ok"),
        (&refuse, None, "b", "unregistered"),
        (&refuse, covering(1), "a", "sealed"),
        (&refuse, covering(1), "b", "unregistered"),
    ] {
        let decided = admission(pipeline, &state, sealed).remove(&id(name));
        assert_eq!(kind(&decided), remove, "{name} {sealed:?}");
    }
    for (name, has_payload, leave) in [
        ("a", false, "ok"),
        ("a", true, "left too late"),
        ("b", false, "unregistered"),
        ("b", true, "unregistered"),
    ] {
        let decided = admission(&follow, &state, covering(1)).leave(&id(name), has_payload);
        assert_eq!(kind(&decided), leave, "{name} {has_payload}");
    }
}

#[test]
fn override_may_not_contain_a_shared_path() {
    let pipeline = templates("ready: {nodes: 1}");
    let state = State::default();
    let sealed = files("from-a-program");
    for (path, expected) in [
        ("own", "ok"),
        ("all", "shared path"),
        ("/all", "shared path"),
        ("from-a-program", "shared path"),
    ] {
        let decided = admission(&pipeline, &state, None).replace(&files(path), Some(&sealed));
        assert_eq!(kind(&decided), expected, "{path}");
    }
}

#[test]
fn fetch_serves_no_generation_older_than_the_registration() {
    let templates = templates("ready: {nodes: 1}");
    let wait = |is_registered| FetchDecision::Wait { is_registered };
    // `a` registers at revision 1, `b` at 2.
    let state = registered(&["a", "b"]);
    for (sealed, name, has_payload, expected) in [
        (None, "a", false, wait(true)),
        (None, "c", false, wait(false)),
        (covering(2), "a", true, FetchDecision::Serve),
        (covering(2), "b", true, FetchDecision::Serve),
        (covering(1), "a", true, FetchDecision::Serve),
        (covering(1), "b", true, wait(true)),
        (covering(1), "b", false, wait(true)),
        // The node was removed after the seal: the generation includes it, but it is not registered.
        (covering(1), "c", true, wait(false)),
        (covering(2), "c", false, wait(false)),
        (covering(2), "not an identifier", false, wait(false)),
    ] {
        let decided = admission(&templates, &state, sealed).fetch(name, has_payload);
        assert_eq!(decided, expected, "{name} {sealed:?} {has_payload}");
    }
}

#[test]
fn fetch_of_static_files_depends_on_registration_where_required() {
    let gated = static_files(true, "");
    let open = static_files(false, "");
    let state = state(vec![
        Change::register(node("a")),
        Change::register(node("b")),
        overridden("d"),
    ]);
    let refuse =
        |refusal: fn(Identifier) -> Refusal, name| FetchDecision::Refuse(refusal(id(name)));
    let wait = |is_registered| FetchDecision::Wait { is_registered };
    for (pipeline, sealed, name, has_payload, expected) in [
        (&gated, COMPLETE, "a", true, FetchDecision::Serve),
        (&gated, covering(0), "a", true, wait(true)),
        (&gated, covering(1), "a", true, FetchDecision::Serve),
        (&gated, INDEPENDENT, "a", true, FetchDecision::Serve),
        (&gated, INDEPENDENT, "b", false, wait(true)),
        (&gated, INDEPENDENT, "c", true, wait(false)),
        (&gated, COMPLETE, "b", false, refuse(Refusal::NoFiles, "b")),
        (&gated, COMPLETE, "c", true, wait(false)),
        (&open, COMPLETE, "a", true, FetchDecision::Serve),
        (&open, COMPLETE, "c", false, refuse(Refusal::NotListed, "c")),
        (&open, COMPLETE, "d", true, FetchDecision::Serve),
    ] {
        let decided = admission(pipeline, &state, sealed).fetch(name, has_payload);
        assert_eq!(decided, expected, "{name} {sealed:?} {has_payload}");
    }
}

#[test]
fn banned_node_may_neither_register_nor_fetch() {
    let open = static_files(false, "");
    let any = templates("ready: {nodes: 1}");
    let ban = Change::Ban {
        identifier: id("a"),
        within: Bounds::NONE,
    };
    let state = state(vec![Change::register(node("a")), ban]);
    for pipeline in [&open, &any] {
        let admission = admission(pipeline, &state, COMPLETE);
        let refused = admission.register(&node("a"), None, LIMITS);
        assert_eq!(refused, Err(Refusal::Banned(id("a"))));
        // Static files are otherwise open to nodes that are not registered.
        let fetched = admission.fetch("a", true);
        assert_eq!(fetched, FetchDecision::Refuse(Refusal::Banned(id("a"))));
    }
    assert!(
        admission(&any, &state, None)
            .register(&node("b"), None, LIMITS)
            .is_ok()
    );
}

#[test]
fn fetch_is_refused_to_late_and_unlisted_nodes() {
    let refuse = templates("ready: {nodes: [a, b]}\nlate: refuse");
    let state = registered(&["a"]);
    for (sealed, name, expected) in [
        (
            None,
            "b",
            FetchDecision::Wait {
                is_registered: false,
            },
        ),
        (
            covering(1),
            "b",
            FetchDecision::Refuse(Refusal::TooLate(id("b"))),
        ),
        (
            None,
            "c",
            FetchDecision::Refuse(Refusal::NotListed(id("c"))),
        ),
        (
            covering(1),
            "c",
            FetchDecision::Refuse(Refusal::NotListed(id("c"))),
        ),
    ] {
        let decided = admission(&refuse, &state, sealed).fetch(name, false);
        assert_eq!(decided, expected, "{name} {sealed:?}");
    }
}

#[test]
fn failures_release_waiting_nodes() {
    let pipeline = templates("ready: {nodes: 1}");
    let mut state = registered(&["a"]);
    let inputs = InputRevisions::of(&state);
    let older = InputRevisions::default();
    let attempt = |inputs| AttemptFailure {
        failure: failure("attempt"),
        inputs,
    };
    let failed = |reason| FetchDecision::Failed(failure(reason));
    let wait = FetchDecision::Wait {
        is_registered: true,
    };
    for (released, expected) in [
        (attempt(None), failed("attempt")),
        (attempt(Some(inputs)), failed("attempt")),
        // A newer input ends the failure of a render.
        (attempt(Some(older)), wait),
    ] {
        let admission = Admission {
            failure: Some(&released),
            ..admission(&pipeline, &state, None)
        };
        assert_eq!(
            admission.fetch("a", false),
            expected,
            "{:?}",
            released.inputs
        );
    }
    // A declared failure comes before a payload.
    let declared = Failure::clone(&failure("declared"));
    state
        .apply(vec![Change::Fail(declared)], Revision(2))
        .unwrap();
    for has_payload in [false, true] {
        let decided = admission(&pipeline, &state, covering(1)).fetch("a", has_payload);
        assert_eq!(decided, failed("declared"));
    }
}

#[test]
fn recipients_are_the_nodes_that_the_generation_is_for() {
    let list = templates("ready: {nodes: [a]}");
    let fixed = static_files(true, "");
    let state = state(vec![overridden("c")]);
    for (pipeline, sealed, name, has_payload, expected) in [
        (&list, None, "a", false, false),
        (&list, covering(1), "a", true, true),
        (&list, covering(1), "a", false, true),
        (&list, covering(1), "b", true, false),
        (&list, covering(1), "b", false, false),
        (&list, covering(1), "c", true, true),
        (&fixed, COMPLETE, "a", true, true),
        (&fixed, COMPLETE, "b", false, false),
    ] {
        let is_recipient = admission(pipeline, &state, sealed).is_recipient(&id(name), has_payload);
        assert_eq!(is_recipient, expected, "{name} {sealed:?} {has_payload}");
    }
}

#[test]
fn decisions_do_not_depend_on_unrelated_inputs() {
    let pipeline = templates("ready: {nodes: 1}");
    let state = state(vec![Change::register(node("a")), overridden("b")]);
    // The override is newer than the generation, but belongs to another node.
    let admission = admission(&pipeline, &state, covering(1));
    assert_eq!(admission.fetch("a", true), FetchDecision::Serve);
}
