//! The command `cfgsync join`: files, streams, exit codes, signals.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Output, Stdio},
};

use tokio::process::Command;

use crate::fake::{FakeServer, ReceivedRequest, Reply};

const FILES: &str = r#"{"schema_version":1,"files":[
    {"path":"/config.yaml","content":"x: 1"},
    {"path":"app.env","content":"GREETING='hello world'\n"}]}"#;

/// Builds a script that accepts `/register` and `/v1/leave` and answers `/node` with `node`. With [`Reply::Close`],
/// it closes each connection instead.
fn script(node: Reply) -> impl Fn(&ReceivedRequest) -> Reply {
    move |request| match (request.line.as_str(), &node) {
        (_, Reply::Close) => Reply::Close,
        ("GET /livez", _) => Reply::Answer(404, "", String::new()),
        ("POST /register" | "POST /v1/leave", _) => Reply::Answer(202, "", String::new()),
        _ => node.clone(),
    }
}

fn ready() -> Reply {
    Reply::Answer(200, "", FILES.to_owned())
}

/// Builds a `cfgsync join` command in `directory`. It inherits only `PATH` from this environment.
fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cfgsync"));
    command
        .arg("join")
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn join(fake: &FakeServer, directory: &Path, arguments: &[&str]) -> Output {
    let url = fake.url.to_string();
    let first = ["--server", &url, "--id", "node-1"];
    let arguments = [&first, arguments].concat();
    command(directory, &arguments).output().await.unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The line that says why the command failed.
fn failure(output: &Output) -> String {
    let stderr = stderr(output);
    let mut lines = stderr.lines();
    let failure = lines.find(|line| line.starts_with("cfgsync: exit "));
    failure.unwrap_or_default().to_owned()
}

/// Regression test: CMD was started although the node received no file.
#[tokio::test]
async fn empty_payload_starts_no_program() {
    let empty = r#"{"schema_version":1,"files":[]}"#;
    let fake = FakeServer::start(script(Reply::Answer(200, "", empty.to_owned()))).await;
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--out-dir", "out", "--", "touch", "started"];
    let output = join(&fake, directory.path(), &arguments).await;
    let log = stderr(&output);
    assert_eq!(output.status.code(), Some(65), "{log}");
    assert!(
        log.contains("exit 65: the server has no files for this node"),
        "{log}"
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn writes_files_and_reports_them_as_json() {
    let fake = FakeServer::start(script(ready())).await;
    let directory = tempfile::tempdir().unwrap();
    for outcome in ["created", "unchanged"] {
        let output = join(
            &fake,
            directory.path(),
            &["--out-dir", "out", "--output", "json"],
        )
        .await;
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["identifier"], "node-1");
        assert_eq!(json["files"][0]["artifact"], "/config.yaml");
        assert_eq!(json["files"][0]["path"], "out/config.yaml");
        assert_eq!(json["files"][0]["outcome"], outcome);
        assert_eq!(json["files"][0]["bytes"], 4);
    }
    let written = fs::read_to_string(directory.path().join("out/config.yaml")).unwrap();
    assert_eq!(written, "x: 1");
}

#[tokio::test]
async fn stdout_route_prints_the_file_alone() {
    let fake = FakeServer::start(script(ready())).await;
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--out", "config.yaml=-", "--out", "app.env=e"];
    let output = join(&fake, directory.path(), &arguments).await;
    assert_eq!(output.stdout, b"x: 1");
    assert_eq!(output.status.code(), Some(0));
}

/// Regression test: an artifact routed to a full stdout was lost, while the other files were replaced.
#[tokio::test]
async fn failed_stdout_write_restores_the_files() {
    let fake = FakeServer::start(script(ready())).await;
    let closed_pipe = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for (stdout, arguments, problem) in [
        (full().into(), ["--out", "config.yaml=-"], "No space left"),
        (full().into(), ["--output", "json"], "No space left"),
        (closed_pipe(), ["--out", "config.yaml=-"], "Broken pipe"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("app.env"), "old").unwrap();
        let url = fake.url.to_string();
        let mut join = command(directory.path(), &["--server", &url, "--id", "node-1"]);
        join.args(arguments).args(["--out-dir", "."]);
        join.args(["--", "touch", "started"]).stdout(stdout);
        let output = join.spawn().unwrap().wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(73), "{}", stderr(&output));
        let reason = format!("cfgsync: exit 73: cannot write to standard output: {problem}");
        assert!(failure(&output).starts_with(&reason), "{}", stderr(&output));
        let left: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["app.env"]);
        let content = fs::read_to_string(directory.path().join("app.env")).unwrap();
        assert_eq!(content, "old");
    }
}

#[tokio::test]
async fn execs_the_program_with_its_environment_and_exit_code() {
    let fake = FakeServer::start(script(ready())).await;
    let directory = tempfile::tempdir().unwrap();
    let script = r#"cat config.yaml; echo " $GREETING"; exit 7"#;
    let arguments = [
        "--out",
        "config.yaml=config.yaml",
        "--env",
        "app.env",
        "--",
        "sh",
        "-c",
        script,
    ];
    let output = join(&fake, directory.path(), &arguments).await;
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "x: 1 hello world\n"
    );
    assert_eq!(output.status.code(), Some(7));
}

#[tokio::test]
async fn program_that_cannot_run_is_found_before_registering() {
    let fake = FakeServer::start(script(ready())).await;
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, mode, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    put("plain", 0o644, b"#!/bin/sh\n");
    put("crlf", 0o755, b"#!/bin/sh\r\nexit 0\r\n");
    put("lost", 0o755, b"#! /opt/none/python -u\n");
    fs::create_dir(directory.path().join("dir")).unwrap();
    for (program, code, message, help) in [
        (
            "./none",
            127,
            "./none: no such file",
            "check the path of the program",
        ),
        (
            "",
            127,
            "\"\": command not found",
            "check the name of the program",
        ),
        (
            "no-such",
            127,
            "no-such: command not found",
            "check the name of the program, and that",
        ),
        (
            "./plain",
            126,
            "cannot execute ./plain: it is not executable",
            "chmod +x ./plain",
        ),
        ("./dir", 126, "cannot execute ./dir: it is a directory", ""),
        (
            "./crlf",
            126,
            "cannot execute ./crlf: its first line ends with CRLF, so Linux looks for the interpreter \"/bin/sh\\r\"",
            "remove the carriage returns: sed -i 's/\\r$//' ./crlf",
        ),
        (
            "./lost",
            126,
            "cannot execute ./lost: its interpreter /opt/none/python does not exist",
            "install the interpreter, or correct the first line of the file",
        ),
    ] {
        let output = join(
            &fake,
            directory.path(),
            &["--out-dir", "out", "--", program],
        )
        .await;
        assert_eq!(failure(&output), format!("cfgsync: exit {code}: {message}"));
        let help = format!("help: {help}");
        assert!(
            help == "help: " || stderr(&output).contains(&help),
            "{}",
            stderr(&output)
        );
    }
    assert_eq!(fake.request_lines(), [""; 0]);
}

#[tokio::test]
async fn directory_that_cannot_be_written_is_found_before_registering() {
    let fake = FakeServer::start(script(ready())).await;
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    for arguments in [
        ["--out-dir", "file/out"],
        ["--out", "config.yaml=file/config.yaml"],
    ] {
        let output = join(&fake, directory.path(), &arguments).await;
        assert_eq!(
            failure(&output),
            "cfgsync: exit 73: cannot open the directory ./file: not a directory"
        );
    }
    assert_eq!(fake.request_lines(), [""; 0]);
}

/// The kernel refuses the program, and a shell would take its bytes for commands.
#[tokio::test]
async fn program_of_another_architecture_is_not_given_to_a_shell() {
    let fake = FakeServer::start(script(ready())).await;
    let directory = tempfile::tempdir().unwrap();
    let mut program = fs::read(env!("CARGO_BIN_EXE_cfgsync")).unwrap()[..64].to_vec();
    let other: u16 = 258;
    program[18..20].copy_from_slice(&other.to_le_bytes());
    program.extend(b"\necho started >started\n");
    let path = directory.path().join("app");
    fs::write(&path, program).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let output = join(
        &fake,
        directory.path(),
        &["--out-dir", "out", "--", "./app"],
    )
    .await;
    let architecture = std::env::consts::ARCH;
    assert_eq!(
        failure(&output),
        format!(
            "cfgsync: exit 126: cannot execute ./app: it is built for loongarch, but this machine is {architecture}"
        )
    );
    assert!(!directory.path().join("started").exists());
}

#[tokio::test]
async fn program_may_be_part_of_the_delivery() {
    let files = r##"{"schema_version":2,"files":[{"path":"run","content":"#!/bin/sh\nexit 7\n","mode":"0755"}]}"##;
    let fake = FakeServer::start(script(Reply::Answer(200, "", files.to_owned()))).await;
    let directory = tempfile::tempdir().unwrap();
    let output = join(
        &fake,
        directory.path(),
        &["--out-dir", "out", "--", "out/run"],
    )
    .await;
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
}

#[tokio::test]
async fn last_line_gives_exit_code_and_reason() {
    let answer = |status, body: &str| Reply::Answer(status, "", body.to_owned());
    let not_ready = r#"{"code":"not_ready","message":"m","progress":{"registered":1,"needed":2,
        "missing":["node-2"],"missing_count":1,"unmet":[],"self_registered":true}}"#;
    let failed = r#"{"code":"internal","message":"m","failure":
        {"kind":"operator","reason":"enough","at":"2026-01-01T00:00:00Z"}}"#;
    let refused = r#"{"code":"missing_config","message":"node-1 is not on the list"}"#;
    for (node, arguments, code, reason) in [
        (
            ready(),
            &["--out", "confg.yaml=x", "--out", "app.env=y"][..],
            65,
            "the route confg.yaml=x matches no artifact; did you mean /config.yaml?; received: /config.yaml, app.env",
        ),
        (
            ready(),
            &["--out", "config.yaml=x"],
            65,
            "no route for the artifact app.env, so nothing was written; add --out app.env=PATH, --out-dir DIR or --discard app.env",
        ),
        (
            answer(200, r#"{"schema_version":9,"files":[]}"#),
            &["--out-dir", "."],
            65,
            "cannot use the response of SERVER: the payload has schema version 9, but this cfgsync supports only 1 and 2: update cfgsync",
        ),
        (
            Reply::Close,
            &["--out-dir", ".", "--timeout", "300ms"],
            69,
            "",
        ),
        (
            answer(410, failed),
            &["--out-dir", "."],
            70,
            "the cluster failed (operator): enough",
        ),
        (
            ready(),
            &["--out", "config.yaml=new", "--out", "app.env=directory"],
            73,
            "cannot write directory: it is a directory",
        ),
        (
            answer(404, refused),
            &["--out-dir", "."],
            77,
            "SERVER refused node-1: node-1 is not on the list",
        ),
        (
            answer(425, not_ready),
            &["--out-dir", ".", "--timeout", "300ms"],
            124,
            "not ready within 300ms: 1/2, missing node-2",
        ),
        (
            ready(),
            &["--out-dir", ".", "--meta", "a=@nothing"],
            78,
            "--meta a=@nothing: cannot read nothing: no such file",
        ),
    ] {
        let fake = FakeServer::start(script(node)).await;
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("directory")).unwrap();
        let with_program = [arguments, &["--", "touch", "started"]].concat();
        let output = join(&fake, directory.path(), &with_program).await;
        let last = failure(&output).replace(&fake.url.to_string(), "SERVER");
        assert_eq!(output.status.code(), Some(code), "{last}");
        assert!(
            last.starts_with(&format!("cfgsync: exit {code}: {reason}")),
            "{last}"
        );
        assert_eq!(output.stdout, b"");
        // Neither a file was written nor the program started.
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

#[tokio::test]
async fn invalid_command_line_registers_nothing() {
    let fake = FakeServer::start(script(ready())).await;
    let directory = tempfile::tempdir().unwrap();
    for (arguments, message) in [
        (&[][..], "no output for the files"),
        (
            &["--out", "a"],
            "expected ARTIFACT=PATH, but there is no '='",
        ),
        (&["--out", "../a=x"], "contains the part \"..\""),
        (&["--env", "a"], "--env needs a program"),
        (&["--out", "a=-", "--output", "json"], "cannot be combined"),
        (
            &["--out-dir", ".", "--ip", "0.0.0.0"],
            "no node can be reached at 0.0.0.0",
        ),
        (
            &["--out-dir", ".", "--ip", "ff02::1"],
            "no node can be reached at ff02::1, which is a multicast address",
        ),
        (
            &["--out-dir", ".", "--meta", "port"],
            "expected key=value, key:=JSON, key=@FILE or key:=@FILE",
        ),
        (
            &["--out-dir", ".", "--owner", "a b"],
            "is neither the name nor the number of a user or group",
        ),
        (
            &["--out-dir", ".", "--server", "ftp://x"],
            "must start with http://",
        ),
        (
            &["--out-dir", ".", "--server", "cfgsync://x/?token=hidden"],
            "'cfgsync://x/?…' for '--server <URL>': the join URL of cfgsync://x: the parameter `pin=sha256-…` is missing",
        ),
        (
            &["--out-dir", ".", "--ca-file", "ca.pem"],
            "uses plain HTTP, where pins, certificate authorities and client certificates have no effect",
        ),
        (
            &["--out-dir", ".", "--client-key", "key.pem"],
            "--client-key needs --client-cert FILE",
        ),
    ] {
        let output = join(&fake, directory.path(), arguments).await;
        let log = stderr(&output);
        assert!(log.contains(message), "{arguments:?}: {log}");
        assert_eq!(output.status.code(), Some(2), "{log}");
    }
    let output = command(directory.path(), &["--out-dir", "."])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no server: add --server http://HOST:PORT"));
    assert_eq!(fake.request_lines(), [""; 0]);
}

#[tokio::test]
async fn signal_withdraws_the_registration() {
    for (signal, code) in [("-TERM", 143), ("-INT", 130)] {
        let fake = FakeServer::start(script(Reply::Hang)).await;
        let directory = tempfile::tempdir().unwrap();
        let url = fake.url.to_string();
        let arguments = [
            "--server",
            &url,
            "--id",
            "node-1",
            "--out-dir",
            ".",
            "--",
            "touch",
            "started",
        ];
        let child = command(directory.path(), &arguments).spawn().unwrap();
        fake.wait_for_request("POST /node").await;
        let pid = child.id().unwrap().to_string();
        let kill = Command::new("kill")
            .args([signal, &pid])
            .status()
            .await
            .unwrap();
        assert!(kill.success());
        let output = child.wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(code));
        let expected = format!("cfgsync: exit {code}: ended by SIG{}", &signal[1..]);
        assert_eq!(failure(&output), expected);
        assert_eq!(
            fake.request_lines(),
            [
                "GET /livez",
                "POST /register",
                "POST /node",
                "POST /v1/leave"
            ]
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn failed_join_withdraws_its_registration() {
    let body = |code: &str| format!(r#"{{"code":"{code}","message":"m"}}"#);
    let failed = r#"{"code":"internal","message":"m","failure":
        {"kind":"deadline","reason":"1/2","at":"2026-01-01T00:00:00Z"}}"#;
    for (node, code, withdraws) in [
        (Reply::Answer(425, "", body("not_ready")), 124, true),
        (Reply::Hang, 124, true),
        (Reply::Answer(404, "", body("missing_config")), 77, true),
        // A missed deadline withdraws no node.
        (Reply::Answer(410, "", failed.to_owned()), 70, false),
        // The files are sealed, so the server would refuse it.
        (ready(), 65, false),
    ] {
        let fake = FakeServer::start(script(node)).await;
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["--out", "config.yaml=x", "--timeout", "300ms"];
        let output = join(&fake, directory.path(), &arguments).await;
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let last = fake.request_lines().pop();
        assert_eq!(
            last.as_deref() == Some("POST /v1/leave"),
            withdraws,
            "{code}"
        );
        assert!(!stderr(&output).contains("cannot withdraw"));
    }
}

#[tokio::test]
async fn full_disk_leaves_all_files_unchanged() {
    // A file size limit simulates a full disk without special rights.
    let big = format!(
        r#"{{"schema_version":1,"files":[{{"path":"a","content":"new"}},{{"path":"b","content":"{}"}}]}}"#,
        "x".repeat(100_000)
    );
    let fake = FakeServer::start(script(Reply::Answer(200, "", big))).await;
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "old").unwrap();
    // Regression test: SIGXFSZ killed the process before it could restore the files.
    let script = r#"ulimit -f 8; exec "$@""#;
    let url = fake.url.to_string();
    let output = Command::new("sh")
        .args([
            "-c",
            script,
            "sh",
            env!("CARGO_BIN_EXE_cfgsync"),
            "join",
            "--server",
            &url,
        ])
        .args(["--id", "node-1", "--out-dir", "."])
        .current_dir(directory.path())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(73), "{}", stderr(&output));
    assert_eq!(
        failure(&output),
        "cfgsync: exit 73: cannot write b: File too large (os error 27)"
    );
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(
        fs::read_to_string(directory.path().join("a")).unwrap(),
        "old"
    );
}

#[tokio::test]
async fn variables_of_legacy_clients_work() {
    let one = r#"{"schema_version":1,"files":[{"path":"/config.yaml","content":"x: 1"}]}"#;
    let fake = FakeServer::start(script(Reply::Answer(200, "", one.to_owned()))).await;
    let directory = tempfile::tempdir().unwrap();
    let address = fake.url.to_string().replace("http://", "");
    let output = command(directory.path(), &[])
        .env("CFG_SERVER_ADDR", address)
        .env("CFG_HOST_IDENTIFIER", "old-1")
        .env("CFG_HOST_IP", "10.1.2.3")
        .env("CFG_REGISTRATION_METADATA_JSON", r#"{"port":1}"#)
        .env("CFG_FILE_PATH", "there/config.yaml")
        .env("CFG_DEPLOYMENT_PATH", "there/deployment.yaml")
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let body = r#"{"identifier":"old-1","ip":"10.1.2.3","metadata":{"port":1}}"#;
    assert_eq!(fake.requests()[0].body, body);
    assert!(directory.path().join("there/config.yaml").exists());
    let used = "using the variables of the existing clients: CFG_FILE_PATH, CFG_DEPLOYMENT_PATH, CFG_SERVER_ADDR, \
                CFG_HOST_IDENTIFIER, CFG_HOST_IP, CFG_REGISTRATION_METADATA_JSON";
    assert!(stderr(&output).contains(used), "{}", stderr(&output));
}
