//! Server shutdown: pending work must not block it, and an internal failure must cause it.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use cfgsync::app::{self, Service};
use cfgsync_server::listen;
use cfgsync_spec::Spec;
use cfgsync_support::clock::{Timestamp, WallClock};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::sandbox::Sandbox;

#[test]
fn hanging_exec_render_is_killed_at_shutdown() {
    let sandbox = Sandbox::new();
    let spec = "cfgsync: 1\ncluster: devnet\nready: {nodes: 1}\nmaterializers:\n  - kind: exec\n    \
                command: [/bin/sh, hang]\n    timeout: 10m\n";
    sandbox.put("cluster.yaml", spec);
    sandbox.put("hang", "echo $$ >pid; echo up >&2; sleep 1000 & wait\n");
    let mut server = sandbox.serve(&[]);
    server.register("node-1");
    server.log_until("up");
    let program = sandbox.read("pid");
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
    // A killed process may stay as a zombie until its new parent reaps it.
    let stat = fs::read_to_string(format!("/proc/{}/stat", program.trim()));
    assert!(
        stat.is_err() || stat.unwrap().contains(") Z "),
        "the program is still running"
    );
}

/// Regression test: the server waited for its command forever, whatever signals it received.
#[test]
fn command_that_ignores_signals_is_killed() {
    let command = "trap '' TERM; echo up >&2; exec sleep 1000";
    for (timeout, signals, why) in [
        ("1s", 1, "it did not exit within --drain-timeout"),
        ("1h", 2, "a second SIGTERM"),
    ] {
        let sandbox = Sandbox::new();
        let mut server = sandbox.serve(&["--drain-timeout", timeout, "--", "sh", "-c", command]);
        server.log_until("up");
        for _ in 0..signals {
            server.signal(Signal::TERM);
            server.log_until("SIGTERM");
        }
        if signals == 1 {
            server.log_until(&format!("killed the command: {why}"));
        }
        assert_eq!(server.end(), 128 + 9);
    }
}

#[test]
fn blocked_spec_reload_does_not_block_shutdown() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve(&[]);
    fs::remove_file(sandbox.path().join("cluster.yaml")).unwrap();
    let path = sandbox.pipe("cluster.yaml");
    server.signal(Signal::HUP);
    // This open returns once the server opens the pipe. The server then blocks in its read.
    let _writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
    server.signal(Signal::TERM);
    server.log_until("stopped after");
    assert_eq!(server.end(), 0);
}

#[tokio::test]
async fn server_stops_if_its_coordinator_panics() {
    let text = "cfgsync: 1\ncluster: test\nready: {nodes: 1}\nmaterializers:\n  - kind: template\n    \
                files: [{path: p, template: x}]\n";
    let spec = Spec::parse(text, "cluster.yaml", std::path::Path::new(".")).unwrap();
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    // The server reads the clock when it starts, its first two notes and the request read it next, and then the
    // coordinator.
    let reads = AtomicUsize::new(0);
    let clock = WallClock::from_fn(move || {
        assert!(
            reads.fetch_add(1, Ordering::Relaxed) < 4,
            "a clock of the embedding program"
        );
        Timestamp::UNIX_EPOCH
    });
    let server = Service {
        clock,
        ..Service::new(spec, listener)
    };
    let (_reload, reloaded) = tokio::sync::mpsc::channel(1);
    let serving = tokio::spawn(app::serve(server, reloaded, std::future::pending()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = r#"{"identifier":"a","ip":"10.0.0.1"}"#;
    let request = format!(
        "POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), serving).await;
    assert!(ended.is_ok(), "the server continues without a coordinator");
    let mut answer = Vec::new();
    // Any response is fine. The connection must be closed.
    let _ = stream.read_to_end(&mut answer).await;
}
