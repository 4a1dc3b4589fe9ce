//! The log: what terminals, files, the journal and JSON readers get.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::sandbox::{PROGRAM, Process, Sandbox, join, text};

/// Regression test: a background job drew its progress line over the prompt of the shell.
#[test]
fn background_job_of_a_terminal_draws_no_progress_line() {
    const ERASE_LINE: &str = "\u{1b}[2K";
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&[]);
    let join = join(&server.url, "node-1").join(" ");
    for (job, draws) in [("", true), ("&", false)] {
        let shell = format!("set -m; {PROGRAM} {join} --timeout 1s {job} wait");
        let shell = if draws {
            shell.replace(" wait", "")
        } else {
            shell
        };
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &shell, "/dev/null"]);
        script.current_dir(sandbox.path()).env("SHELL", "/bin/sh");
        // An error means that there is no program that makes a terminal.
        let Ok(output) = script.stdin(Stdio::null()).output() else {
            return;
        };
        let shown = text(&output.stdout);
        assert!(shown.contains("registered with"), "{shown}");
        assert_eq!(shown.contains(ERASE_LINE), draws, "{shown:?}");
    }
}

#[test]
fn lines_of_join_name_the_node() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&[]);
    let node = sandbox.join(&server.url, "node-1", &["--timeout", "1s"]);
    let (exit, log) = node.end();
    assert_eq!(exit, 124, "{log}");
    assert!(log.contains(" INFO node-1: registered with "), "{log}");
    assert!(log.contains(" INFO node-1: waiting: 1/2"), "{log}");
}

#[test]
fn journal_gets_priorities_and_no_times() {
    let sandbox = Sandbox::new();
    let path = sandbox.put("stderr", "");
    let stderr = File::options().append(true).open(&path).unwrap();
    let file = stderr.metadata().unwrap();
    let stream = format!("{}:{}", file.dev(), file.ino());
    let server = sandbox.serve(&[]);
    for (stream, is_journal) in [(stream.as_str(), true), ("1:2", false)] {
        let mut command = sandbox.command(&join(&server.url, "node-1"));
        command
            .args(["--timeout", "1s"])
            .env("JOURNAL_STREAM", stream);
        command.stderr(stderr.try_clone().unwrap());
        assert_eq!(command.status().unwrap().code(), Some(124));
        let log = sandbox.read("stderr");
        stderr.set_len(0).unwrap();
        let lines = ["<6>node-1: registered with ", "<3>cfgsync: exit 124: "];
        for line in lines {
            let found = log.lines().any(|shown| shown.starts_with(line));
            assert_eq!(found, is_journal, "{line} in {log}");
        }
    }
}

#[test]
fn json_lines_name_the_event_and_its_facts() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve(&["--log-format", "json"]);
    // The rest of the JSON text follows the URL.
    let url = server.url.split('"').next().unwrap().to_owned();
    server.url = url;
    let event = |line: String| serde_json::from_str::<Value>(&line).unwrap();
    server.register("node-1");
    let line = event(server.log_until("node-1 registered"));
    assert_eq!(line["event"], "node_registered");
    assert_eq!(line["node"], "node-1");
    assert_eq!(line["peer"], "10.0.0.1");
    server.register("node-2");
    let line = event(server.log_until("sealed generation 1"));
    assert_eq!(line["event"], "generation_sealed");
    assert_eq!(
        (&line["generation"], &line["revision"]),
        (&1.into(), &2.into())
    );
    sandbox.run(&["rm", "node-2", "--server", &server.url], &[]);
    let line = event(server.log_until("node-2 was removed"));
    assert_eq!(line["event"], "node_removed");
    sandbox.put("cluster.yaml", "cfgsync: 2\n");
    server.signal(Signal::HUP);
    let line = event(server.log_until("the spec was not reloaded"));
    assert_eq!(line["event"], "reload_refused");
    assert_eq!(line["level"], "ERROR");

    let mut node = Process::start({
        let mut command = sandbox.command(&join(&server.url, "node-3"));
        command.args(["--log-format", "json", "--timeout", "1s"]);
        command
    });
    let line = event(node.log_until("registered with"));
    assert_eq!(
        (&line["event"], &line["node"]),
        (&"registered".into(), &"node-3".into())
    );
}

#[test]
fn documentation_lists_all_events() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut events = BTreeSet::new();
    let mut directories = vec![root.join("src"), root.join("crates")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(path).unwrap();
                let named = text.split("event = \"").skip(1);
                events.extend(named.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }
    let page = fs::read_to_string(root.join("docs/src/operating.md")).unwrap();
    let table = page.split("| `event` | meaning |").nth(1).unwrap();
    let names = table
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with('|'));
    let documented: BTreeSet<String> = names
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    assert_eq!(events, documented);
}
