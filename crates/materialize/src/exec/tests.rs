//! Tests with small shell scripts as programs.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use super::*;
use cfgsync_model::{ArtifactSet, Revision, Seat, SnapshotNode, ValueReader};

/// A timeout that every script here meets on a busy machine.
const LONG_TIMEOUT: Duration = Duration::from_mins(1);

fn snapshot(nodes: u32) -> RegistrationSnapshot {
    let mut nodes: Vec<SnapshotNode> = (1..=nodes)
        .map(|number| SnapshotNode {
            identifier: format!("node-{number}").parse().unwrap(),
            ip: [10, 0, 0, 1].into(),
            metadata: serde_json::json!({}).into(),
            seat: Seat(number - 1),
        })
        .collect();
    nodes.sort_by(|a, b| a.identifier.cmp(&b.identifier));
    RegistrationSnapshot {
        cluster: "devnet".to_owned(),
        revision: Revision(7),
        nodes,
        values: serde_json::Map::new(),
        once: serde_json::Map::new(),
        operator_values: ValueReader::default(),
    }
}

fn run_in(directory: &Path, script: &str, timeout: Duration, nodes: u32) -> String {
    // The shell reads the script. Executing the script itself could fail, because a test that forks at this moment keeps
    // the file open for writing.
    fs::write(directory.join("plugin"), script).unwrap();
    let exec = ExecMaterializer::new(&ExecSpec {
        command: ["sh", "plugin", "an argument"].map(str::to_owned).to_vec(),
        program: "/bin/sh".into(),
        directory: directory.to_owned(),
        env: vec![
            ("GIVEN".to_owned(), "given".to_owned()),
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
        ],
        timeout,
        secret: false,
        reads: vec![],
    });
    match exec.materialize(&snapshot(nodes)) {
        Ok(MaterializationResult::Ready(artifacts)) => {
            let files = artifacts.nodes.values().flat_map(ArtifactSet::files);
            let files = files.chain(artifacts.shared.files());
            let files = files.map(|file| {
                let content = file.content.to_bytes();
                format!(" {} {} {:?}", file.mode, file.path, content)
            });
            format!("ready:{}", files.collect::<String>())
        }
        Ok(MaterializationResult::NotReady { message }) => format!("not ready: {message}"),
        Err(error) => format!("error: {error}"),
    }
}

fn run(script: &str) -> String {
    run_in(tempfile::tempdir().unwrap().path(), script, LONG_TIMEOUT, 2)
}

/// Runs a program that prints `answer`, which must not contain a single quote.
fn run_with_answer(answer: &str) -> String {
    run(&format!("cat >/dev/null; echo '{answer}'"))
}

#[test]
fn errors_locate_mistakes_in_the_answer() {
    let answers = [
        r#"{"status": "not_ready", "message": "the ledger is not there yet"}"#,
        r#"{"status": "not_ready"}"#,
        r#"{"status": "ready"}"#,
        r#"{"status": "ready", "nodes": {"node-1": [{"path": "/a", "content": "x", "mode": "0600"}]}, "shared": [{"path": "b", "content_base64": "AP8="}]}"#,
        "",
        "hello\tworld",
        r#"{"status": "ready", "nodes": {"#,
        r#"{"status": "ready"} {"status": "ready"}"#,
        r"[]",
        r"{}",
        r#"{"status": "done"}"#,
        r#"{"status": "ready", "node": {}}"#,
        r#"{"status": "ready", "nodes": []}"#,
        r#"{"status": "ready", "message": "done"}"#,
        r#"{"status": "not_ready", "shared": []}"#,
        r#"{"status": "ready", "nodes": {"nod-1": []}}"#,
        r#"{"status": "ready", "nodes": {"somebody": []}}"#,
        r#"{"status": "ready", "nodes": {"node-1": [], "node-1": []}}"#,
        r#"{"status": "ready", "nodes": {"node-1": [{"path": "../a", "content": "x"}]}}"#,
        r#"{"status": "ready", "nodes": {"node-1": [{"path": "a", "content": "x"}, {"path": "/a", "content": "y"}]}}"#,
        r#"{"status": "ready", "shared": [{"path": "a"}]}"#,
        r#"{"status": "ready", "shared": [{"path": "a", "content": "x", "content_base64": "AA=="}]}"#,
        r#"{"status": "ready", "shared": [{"path": "a", "content_base64": "A"}]}"#,
        r#"{"status": "ready", "shared": [{"path": "a", "content": "x", "mode": "rw"}]}"#,
        r#"{"status": "ready", "shared": [{"path": "a", "content": 5}]}"#,
        r#"{"status": "ready", "shared": [{"path": "a", "contents": ""}]}"#,
    ];
    insta::assert_snapshot!(answers.map(run_with_answer).join("\n"), @r#"
    not ready: the ledger is not there yet
    not ready: no reason given
    ready:
    ready: 0600 /a b"x" 0644 b b"\0\xff"
    error: exec sh: printed nothing; expected a JSON object with `status`
    error: exec sh: printed text that is not JSON: expected value at line 1 column 1; it begins with "hello\tworld\n"
    error: exec sh: printed text that is not JSON: EOF while parsing an object at line 2 column 0; it begins with "{\"status\": \"ready\", \"nodes\": {\n"
    error: exec sh: printed more than one JSON document: trailing characters at line 1 column 21
    error: exec sh: invalid answer: invalid type: sequence, expected a mapping at line 1 column 0
    error: exec sh: invalid answer: missing field `status` at line 1 column 2
    error: exec sh: invalid answer at status: unknown variant `done`, expected `not_ready` or `ready` at line 1 column 17
    error: exec sh: invalid answer at node: unknown field `node`, expected one of `status`, `message`, `nodes`, `shared` at line 1 column 26
    error: exec sh: invalid answer at nodes: invalid type: sequence, expected an object with a list of files for each node at line 1 column 29
    error: exec sh: answered `ready` with a `message`; only `not_ready` has a message
    error: exec sh: answered `not_ready` and returned files; only `ready` has files
    error: exec sh: returned files for "nod-1", which is not a node of this snapshot; did you mean `node-1`?
    error: exec sh: returned files for "somebody", which is not a node of this snapshot
    error: exec sh: returned files for node node-1 twice
    error: exec sh: invalid answer at nodes.node-1[0].path: artifact path "../a" contains the part ".." at line 1 column 56
    error: exec sh: nodes.node-1[1]: two files are called /a
    error: exec sh: shared[0] has neither `content` nor `content_base64`
    error: exec sh: shared[0] has both `content` and `content_base64`
    error: exec sh: shared[0].content_base64 is not base64: invalid length at 0
    error: exec sh: invalid answer at shared[0].mode: mode "rw" is not octal permission bits like "0644" (at most "0777") at line 1 column 74
    error: exec sh: invalid answer at shared[0].content: expected a string at line 1 column 57
    error: exec sh: invalid answer at shared[0].contents: unknown field `contents`, expected one of `path`, `content`, `content_base64`, `mode`, `owner`, `group`, `secret` at line 1 column 55
    "#);
}

#[test]
fn errors_say_how_the_program_failed() {
    let scripts = [
        "cat >/dev/null; echo 'first' >&2; echo 'no ledger at /var/ledger' >&2; exit 3",
        "echo '{\"status\": \"ready\"}'; exit 1",
        "kill -9 $$",
        "yes",
        "kill -TERM $$",
    ];
    insta::assert_snapshot!(scripts.map(run).join("\n"), @r#"
    error: exec sh: exited with 3; the last line of its standard error: no ledger at /var/ledger
    error: exec sh: exited with 1
    error: exec sh: was killed by signal 9
    error: exec sh: printed more than 64 MiB, so it was killed
    error: exec sh: was killed by signal 15
    "#);
}

#[test]
fn standard_error_keeps_its_quotes_and_shows_controls() {
    let result = run(r#"printf 'no "ledger"\033[2J\n' >&2; exit 3"#);
    let expected = r#"error: exec sh: exited with 3; the last line of its standard error: no "ledger"\u{1b}[2J"#;
    assert_eq!(result, expected);
}

#[test]
fn program_gets_the_snapshot_its_arguments_and_its_environment_only() {
    let result = run(r#"input=$(cat | tr -d '"')
        echo "{\"status\": \"not_ready\", \"message\": \"$1, $GIVEN, home=$HOME, cargo=$CARGO; $input\"}""#);
    insta::assert_snapshot!(result, @r#"not ready: an argument, given, home=, cargo=; {cluster:devnet,revision:7,nodes:[{identifier:node-1,ip:10.0.0.1,metadata:{},seat:0},{identifier:node-2,ip:10.0.0.1,metadata:{},seat:1}],values:{},once:{}}"#);
}

#[test]
fn error_names_a_program_that_cannot_be_started() {
    let exec = ExecMaterializer::new(&ExecSpec {
        command: vec!["./gone".to_owned()],
        program: "/nowhere/gone".into(),
        directory: "/".into(),
        env: Vec::new(),
        timeout: LONG_TIMEOUT,
        secret: false,
        reads: vec![],
    });
    insta::assert_snapshot!(exec.materialize(&snapshot(1)).unwrap_err(), @r#"exec ./gone: cannot start /nowhere/gone: No such file or directory (os error 2)"#);
}

#[test]
fn output_of_a_program_that_gets_a_secret_value_is_not_shown() {
    let version = cfgsync_model::ValueVersion {
        bytes: "\"hunter2\"".into(),
        codec: "json".parse().unwrap(),
        value_type: cfgsync_model::ValueType::Secret,
        version: 1,
        created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        updated_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        expires_at: None,
    };
    let values = BTreeMap::from([("prod/pw".parse().unwrap(), Arc::new(version))]);
    let reads: Vec<cfgsync_model::ValuePattern> = vec!["prod/pw".parse().unwrap()];
    for script in [
        "cat >&2; exit 3",
        "cat",
        r#"printf '{"status":"not_ready","message":"%s"}' "$(tr -d '"')""#,
    ] {
        let exec = ExecMaterializer::new(&ExecSpec {
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            program: "/bin/sh".into(),
            directory: "/".into(),
            env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            timeout: LONG_TIMEOUT,
            secret: false,
            reads: reads.clone(),
        });
        let snapshot = RegistrationSnapshot {
            operator_values: ValueReader::new(Arc::new(values.clone())).limited_to(&reads),
            ..snapshot(1)
        };
        let shown = match exec.materialize(&snapshot) {
            Ok(MaterializationResult::NotReady { message }) => message,
            Ok(MaterializationResult::Ready(_)) => panic!("{script}: it returned no files"),
            Err(error) => error.to_string(),
        };
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn program_runs_in_the_directory_of_the_spec() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("beside"), "found").unwrap();
    let script = r#"echo "{\"status\": \"not_ready\", \"message\": \"$(cat beside)\"}""#;
    let result = run_in(directory.path(), script, LONG_TIMEOUT, 2);
    assert_eq!(result, "not ready: found");
}

#[test]
fn unread_input_and_much_standard_error_do_not_block() {
    let directory = tempfile::tempdir().unwrap();
    let answer = r#"echo '{"status": "not_ready", "message": "well"}'"#;
    let closed = format!("exec <&-; {answer}");
    // The snapshot of so many nodes is larger than the buffer of a pipe.
    let result = run_in(directory.path(), &closed, LONG_TIMEOUT, 5_000);
    assert_eq!(result, "not ready: well");
    let noisy = format!("yes noise | head -c 3000000 >&2; {answer}");
    assert_eq!(
        run_in(directory.path(), &noisy, LONG_TIMEOUT, 5_000),
        "not ready: well"
    );
}

#[test]
fn kills_a_program_that_hangs_and_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let script = "sleep 1000 & echo $! >child; echo waiting for the ledger >&2; wait";
    let result = run_in(directory.path(), script, Duration::from_secs(2), 2);
    insta::assert_snapshot!(result, @r#"error: exec sh: gave no answer within 2s, so it and its children were killed; the last line of its standard error: waiting for the ledger"#);
    let child = fs::read_to_string(directory.path().join("child")).unwrap();
    wait_until_gone(child.trim());
}

#[test]
fn kills_a_child_that_keeps_the_pipes_open() {
    let directory = tempfile::tempdir().unwrap();
    let script =
        r#"sleep 1000 & echo $! >child; echo '{"status": "not_ready", "message": "well"}'"#;
    let result = run_in(directory.path(), script, LONG_TIMEOUT, 2);
    assert_eq!(result, "not ready: well");
    let child = fs::read_to_string(directory.path().join("child")).unwrap();
    wait_until_gone(child.trim());
}

/// A killed process stays listed as a zombie until its parent reaps it.
fn wait_until_gone(process: &str) {
    let stat = format!("/proc/{process}/stat");
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
}
