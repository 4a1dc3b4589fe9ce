//! Programs of all manners, good and bad, as small shell scripts.

use std::{fs, path::Path, time::Duration};

use super::*;
use cfgsync_model::{ArtifactSet, Revision, Seat, SnapshotNode};

/// Long enough for any script here on a busy machine.
const AMPLE: Duration = Duration::from_mins(1);

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
    }
}

fn run_in(directory: &Path, script: &str, timeout: Duration, nodes: u32) -> String {
    // Given to the shell instead of executed: a test that forks at this moment would keep the file open
    // for writing, and so busy.
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
    run_in(tempfile::tempdir().unwrap().path(), script, AMPLE, 2)
}

/// A program that prints `answer`, which holds no single quote.
fn answering(answer: &str) -> String {
    run(&format!("cat >/dev/null; echo '{answer}'"))
}

#[test]
fn answers_are_read_or_refused_with_their_place() {
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
    insta::assert_snapshot!(answers.map(answering).join("\n"), @r#"
    not ready: the ledger is not there yet
    not ready: no reason given
    ready:
    ready: 0600 /a b"x" 0644 b b"\0\xff"
    error: exec sh: printed nothing; expected a JSON document with a `status`
    error: exec sh: printed what is not JSON: expected value at line 1 column 1; it begins with "hello\tworld\n"
    error: exec sh: printed what is not JSON: EOF while parsing an object at line 2 column 0; it begins with "{\"status\": \"ready\", \"nodes\": {\n"
    error: exec sh: printed more than one JSON document: trailing characters at line 1 column 21
    error: exec sh: its answer has a mistake: invalid type: sequence, expected a mapping at line 1 column 0
    error: exec sh: its answer has a mistake: missing field `status` at line 1 column 2
    error: exec sh: its answer has a mistake at status: unknown variant `done`, expected `not_ready` or `ready` at line 1 column 17
    error: exec sh: its answer has a mistake at node: unknown field `node`, expected one of `status`, `message`, `nodes`, `shared` at line 1 column 26
    error: exec sh: its answer has a mistake at nodes: invalid type: sequence, expected an object with a list of files for each node at line 1 column 29
    error: exec sh: answered ready with a `message`, which only not_ready has
    error: exec sh: answered not_ready and files at once
    error: exec sh: made files for "nod-1", which is no node of this set; did you mean `node-1`?
    error: exec sh: made files for "somebody", which is no node of this set
    error: exec sh: answered for node node-1 twice
    error: exec sh: its answer has a mistake at nodes.node-1[0].path: artifact path "../a" holds a part ".." at line 1 column 56
    error: exec sh: nodes.node-1[1]: two files are called /a
    error: exec sh: shared[0] has neither `content` nor `content_base64`
    error: exec sh: shared[0] has both `content` and `content_base64`
    error: exec sh: shared[0].content_base64 is not base64: invalid length at 0
    error: exec sh: its answer has a mistake at shared[0].mode: mode "rw" is not octal permission bits like "0644" (at most "0777") at line 1 column 74
    error: exec sh: its answer has a mistake at shared[0].content: expected a string at line 1 column 57
    error: exec sh: its answer has a mistake at shared[0].contents: unknown field `contents`, expected one of `path`, `content`, `content_base64`, `mode`, `secret` at line 1 column 55
    "#);
}

#[test]
fn ends_that_are_not_well_are_told() {
    let ends = [
        "cat >/dev/null; echo 'first' >&2; echo 'no ledger at /var/ledger' >&2; exit 3",
        "echo '{\"status\": \"ready\"}'; exit 1",
        "kill -9 $$",
        "yes",
        "kill -TERM $$",
    ];
    insta::assert_snapshot!(ends.map(run).join("\n"), @r#"
    error: exec sh: exited with 3; the last line of its standard error: no ledger at /var/ledger
    error: exec sh: exited with 1
    error: exec sh: was killed by signal 9
    error: exec sh: printed more than 64 MiB, so it was killed
    error: exec sh: was killed by signal 15
    "#);
}

#[test]
fn it_gets_the_snapshot_its_arguments_and_nothing_else() {
    let told = run(r#"input=$(cat | tr -d '"')
        echo "{\"status\": \"not_ready\", \"message\": \"$1, $GIVEN, home=$HOME, cargo=$CARGO; $input\"}""#);
    insta::assert_snapshot!(told, @r#"not ready: an argument, given, home=, cargo=; {cluster:devnet,revision:7,nodes:[{identifier:node-1,ip:10.0.0.1,metadata:{},seat:0},{identifier:node-2,ip:10.0.0.1,metadata:{},seat:1}],values:{},once:{}}"#);
}

#[test]
fn a_program_that_cannot_be_started_is_told() {
    let exec = ExecMaterializer::new(&ExecSpec {
        command: vec!["./gone".to_owned()],
        program: "/nowhere/gone".into(),
        directory: "/".into(),
        env: Vec::new(),
        timeout: AMPLE,
        secret: false,
    });
    insta::assert_snapshot!(exec.materialize(&snapshot(1)).unwrap_err(), @r#"exec ./gone: /nowhere/gone cannot be started: No such file or directory (os error 2)"#);
}

#[test]
fn it_runs_in_the_directory_of_the_spec() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("beside"), "found").unwrap();
    let script = r#"echo "{\"status\": \"not_ready\", \"message\": \"$(cat beside)\"}""#;
    let told = run_in(directory.path(), script, AMPLE, 2);
    assert_eq!(told, "not ready: found");
}

#[test]
fn input_that_is_not_read_and_noise_on_standard_error_hold_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let answer = r#"echo '{"status": "not_ready", "message": "well"}'"#;
    let closed = format!("exec <&-; {answer}");
    // More nodes than a pipe holds.
    let told = run_in(directory.path(), &closed, AMPLE, 5_000);
    assert_eq!(told, "not ready: well");
    let noisy = format!("yes noise | head -c 3000000 >&2; {answer}");
    assert_eq!(
        run_in(directory.path(), &noisy, AMPLE, 5_000),
        "not ready: well"
    );
}

#[test]
fn a_program_that_hangs_is_killed_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let script = "sleep 1000 & echo $! >child; echo waiting for the ledger >&2; wait";
    let told = run_in(directory.path(), script, Duration::from_secs(2), 2);
    insta::assert_snapshot!(told, @r#"error: exec sh: gave no answer within 2s, so it and its children were killed; the last line of its standard error: waiting for the ledger"#);
    let child = fs::read_to_string(directory.path().join("child")).unwrap();
    wait_until_gone(child.trim());
}

#[test]
fn a_child_that_holds_the_pipes_costs_a_short_grace_and_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let script =
        r#"sleep 1000 & echo $! >child; echo '{"status": "not_ready", "message": "well"}'"#;
    let told = run_in(directory.path(), script, AMPLE, 2);
    assert_eq!(told, "not ready: well");
    let child = fs::read_to_string(directory.path().join("child")).unwrap();
    wait_until_gone(child.trim());
}

/// A killed process may be listed, dead, until whoever took it over asks for its end.
fn wait_until_gone(process: &str) {
    let stat = format!("/proc/{process}/stat");
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
}
