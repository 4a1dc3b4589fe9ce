//! Two `join` processes that write to one directory: one after the other, and each starts CMD with its own files.

use std::{io::Read as _, process::Stdio};

use rustix::process::Signal;

use crate::sandbox::{Process, Sandbox, code, text};

/// More than a pipe holds, so that a `join` that prints it waits for its reader.
const LARGE_BYTES: usize = 200_000;

fn spec() -> String {
    format!(
        "cfgsync: 1
cluster: devnet
ready:
  nodes: 2
materializers:
  - kind: template
    files:
      - path: one
        template: \"{{{{ node.identifier }}}}\"
      - path: two
        template: \"{{{{ node.identifier }}}}\"
      - path: large
        shared: true
        template: \"{{{{ 'x' * {LARGE_BYTES} }}}}\"
"
    )
}

fn arguments<'a>(url: &'a str, identifier: &'a str, large: &'a str) -> Vec<&'a str> {
    let mut arguments = crate::sandbox::join(url, identifier).to_vec();
    *arguments.last_mut().unwrap() = "shared";
    arguments.extend(["--out", large, "--", "touch", identifier]);
    arguments
}

/// Regression test: two joins into one directory left a mix, and started CMD with it.
#[test]
fn second_join_waits_until_the_first_has_started_its_program() {
    let sandbox = Sandbox::new();
    sandbox.put("cluster.yaml", &spec());
    let server = sandbox.serve(&[]);
    server.register("node-2");
    server.register("node-1");

    // This join has written its files and blocks while it prints, so it has not started its program yet.
    let mut first = sandbox.command(&arguments(&server.url, "node-1", "large=-"));
    let mut first = first.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = first.stdout.take().unwrap();
    let mut printed = vec![0];
    stdout.read_exact(&mut printed).unwrap();
    assert_eq!(sandbox.read("shared/one"), "node-1");

    let mut second = sandbox.start(&arguments(&server.url, "node-2", "large=large"));
    second.log_until("waiting for another delivery to shared to start its program");
    assert_eq!(sandbox.read("shared/one"), "node-1");
    assert_eq!(sandbox.read("shared/two"), "node-1");

    // A signal ends the wait.
    let mut third: Process = sandbox.start(&arguments(&server.url, "node-2", "large=large"));
    third.log_until("waiting for another delivery");
    third.signal(Signal::TERM);
    assert_eq!(third.end().0, 143);

    stdout.read_to_end(&mut printed).unwrap();
    assert_eq!(printed.len(), LARGE_BYTES);
    assert!(first.wait().unwrap().success());
    let (ended, log) = second.end();
    assert_eq!(ended, 0, "{log}");
    assert!(sandbox.path().join("node-1").exists() && sandbox.path().join("node-2").exists());
    assert_eq!(sandbox.read("shared/one"), "node-2");
    assert_eq!(sandbox.read("shared/two"), "node-2");
}

#[test]
fn program_does_not_inherit_the_lock() {
    let sandbox = Sandbox::new();
    sandbox.put("cluster.yaml", &spec());
    let server = sandbox.serve(&[]);
    server.register("node-2");
    // The second join runs as the program of the first.
    let inner = arguments(&server.url, "node-2", "large=large");
    let outer = arguments(&server.url, "node-1", "large=large");
    let program = outer.iter().position(|word| *word == "--").unwrap() + 1;
    let all = [&outer[..program], &[crate::sandbox::PROGRAM], &inner].concat();
    let output = sandbox.run(&all, &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("waiting for another delivery"));
    assert_eq!(sandbox.read("shared/one"), "node-2");
}
