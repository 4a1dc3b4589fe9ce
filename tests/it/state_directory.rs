//! State directories that are not as the last server left them: a log that lost its end, and copies.

use std::{fs, path::Path, process::Command};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    processes::ReservedPort,
    sandbox::{Sandbox, Server, code, text},
};

/// Returns a directory on a filesystem that keeps inode numbers. A temporary directory may be on overlayfs.
fn stable_directory() -> TempDir {
    let shared_memory = Path::new("/dev/shm");
    if shared_memory.is_dir() {
        tempfile::tempdir_in(shared_memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn stop(server: Server) {
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
}

/// Joins node-1 and node-2, which get the files of one generation.
fn form(sandbox: &Sandbox, url: &str) {
    let nodes = ["node-1", "node-2"].map(|node| {
        let receipt = format!("{node}-receipt");
        sandbox.join(url, node, &["--receipt", &receipt])
    });
    for node in nodes {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
}

/// Returns the length of a log that has no changes: two lines, and one frame.
fn head_length(log: &[u8]) -> usize {
    let mut lines = log.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let frame = lines.nth(1).unwrap().0 + 1;
    let length = u64::from_le_bytes(log[frame + 8..frame + 16].try_into().unwrap());
    frame + 20 + usize::try_from(length).unwrap()
}

fn instance_of(sandbox: &Sandbox, url: &str) -> String {
    let output = sandbox.run(&["inspect", "--server", url, "-o", "json"], &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let body: cfgsync_wire::ClusterBody = serde_json::from_slice(&output.stdout).unwrap();
    body.instance.to_string()
}

#[test]
fn log_that_was_cut_after_a_clean_stop_begins_a_new_instance() {
    let sandbox = Sandbox::new();
    let port = ReservedPort::new();
    let state = ["--state-dir", "state"];
    let server = port.serve_with(&sandbox, &state);
    form(&sandbox, &port.url());
    let before = instance_of(&sandbox, &port.url());
    stop(server);
    let verify = || sandbox.run(&["inspect", "--state-dir", "state", "--verify"], &[]);
    let intact = verify();
    assert_eq!(code(&intact), 0, "{}", text(&intact.stderr));

    let log = sandbox.path().join("state/log");
    let mut bytes = fs::read(&log).unwrap();
    bytes.truncate(head_length(&bytes));
    fs::write(&log, bytes).unwrap();
    let lost = verify();
    assert_eq!(code(&lost), 65);
    let message = text(&lost.stderr);
    for part in [
        "state: the end of the log is lost: the log ends at revision 0, but the last server stopped at revision ",
        " with generation 1, and the log does not name the sealed file generations/",
        "; registrations, overrides, claims, bans and generations after that revision may be missing",
        "restore a copy of the whole directory",
    ] {
        assert!(message.contains(part), "{message}");
    }

    let mut server = port.serve_with(&sandbox, &state);
    server.log_until("the end of the log is lost: the log ends at revision 0");
    assert_ne!(instance_of(&sandbox, &port.url()), before);
    // Nodes that have a receipt of the lost generation 1 get the new generation 1.
    form(&sandbox, &port.url());
    stop(server);
    assert_eq!(code(&verify()), 0);
}

#[test]
fn copied_directory_starts_only_if_the_operator_says_why_it_differs() {
    let sandbox = Sandbox::new();
    let port = ReservedPort::new();
    let directory = stable_directory();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let copy = |from: &str, to: &str| {
        let mut command = Command::new("cp");
        let status = command.args(["-a", &path(from), &path(to)]).status();
        assert!(status.unwrap().success());
    };
    let serve = |name: &str, flags: &[&str]| {
        port.serve_with(&sandbox, &[&["--state-dir", &path(name)], flags].concat())
    };
    let server = serve("original", &[]);
    form(&sandbox, &port.url());
    let instance = instance_of(&sandbox, &port.url());
    let cookie = sandbox.read("node-1/cookie");
    stop(server);

    // A directory that was renamed is still the same.
    fs::rename(path("original"), path("renamed")).unwrap();
    stop(serve("renamed", &[]));

    copy("renamed", "copy");
    let refused = sandbox.run(
        &[
            "serve",
            "cluster.yaml",
            "--listen",
            "127.0.0.1:0",
            "--state-dir",
            &path("copy"),
        ],
        &[],
    );
    assert_eq!(code(&refused), 78);
    let message = text(&refused.stderr);
    for part in [
        "copy was copied or restored: its log is not the file that the last server wrote to",
        "--moved",
        "--restored",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let server = serve("copy", &["--moved"]);
    assert_eq!(instance_of(&sandbox, &port.url()), instance);
    stop(server);
    // The copy is now the original, so the flag is no longer needed.
    let server = serve("copy", &[]);
    assert_eq!(instance_of(&sandbox, &port.url()), instance);
    stop(server);

    copy("renamed", "backup");
    let mut server = serve("backup", &["--restored"]);
    server.log_until("backup: the directory was restored");
    server.log_until(" continues as the new instance ");
    let restored = instance_of(&sandbox, &port.url());
    assert_ne!(restored, instance);
    form(&sandbox, &port.url());
    // The values of `once` stay, and the newest generation is generation 1 of the new instance.
    assert_eq!(sandbox.read("node-1/cookie"), cookie);
    stop(server);
    let server = serve("backup", &[]);
    assert_eq!(instance_of(&sandbox, &port.url()), restored);
    stop(server);
}

#[test]
fn moved_and_restored_need_a_store_that_lasts() {
    let sandbox = Sandbox::new();
    for flag in ["--moved", "--restored"] {
        let output = sandbox.run(&["serve", "cluster.yaml", flag], &[]);
        assert_eq!(code(&output), 2);
        let message = text(&output.stderr);
        assert!(
            message.contains("--moved needs --state-dir DIR, and --restored needs"),
            "{message}"
        );
    }
}
