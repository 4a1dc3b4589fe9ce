//! What must not keep a server that is told to stop, and what must stop it.

use std::{fs, time::Duration};

use cfgsync::app::{self, Server};
use cfgsync_server::listen;
use cfgsync_spec::Spec;
use cfgsync_support::clock::WallClock;
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::place::Place;

#[test]
fn a_render_that_hangs_does_not_keep_the_server_and_its_program_is_killed() {
    let place = Place::new();
    let spec = "cfgsync: 1\ncluster: devnet\nready: {nodes: 1}\nmaterializers:\n  - kind: exec\n    \
                command: [/bin/sh, hang]\n    timeout: 10m\n";
    place.put("cluster.yaml", spec);
    place.put("hang", "echo $$ >pid; echo up >&2; sleep 1000 & wait\n");
    let mut server = place.serve(&[]);
    server.register("node-1");
    server.log_until("up");
    let program = place.read("pid");
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
    // A killed process may be listed, dead, until whoever took it over asks for its end.
    let stat = fs::read_to_string(format!("/proc/{}/stat", program.trim()));
    assert!(stat.is_err() || stat.unwrap().contains(") Z "), "it lives");
}

/// It was waited for without an end, however often the server was told to stop.
#[test]
fn a_command_that_heeds_no_signal_is_killed() {
    let command = "trap '' TERM; echo up >&2; exec sleep 1000";
    for (timeout, signals, why) in [
        ("1s", 1, "it did not exit within --drain-timeout"),
        ("1h", 2, "a second SIGTERM"),
    ] {
        let place = Place::new();
        let mut server = place.serve(&["--drain-timeout", timeout, "--", "sh", "-c", command]);
        server.log_until("up");
        for _ in 0..signals {
            server.signal(Signal::TERM);
            server.log_until("SIGTERM");
        }
        if signals == 1 {
            server.log_until(&format!("the command is killed: {why}"));
        }
        assert_eq!(server.end(), 128 + 9);
    }
}

#[test]
fn a_spec_that_cannot_be_read_to_its_end_does_not_keep_the_server() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    fs::remove_file(place.path().join("cluster.yaml")).unwrap();
    let path = place.pipe("cluster.yaml");
    server.signal(Signal::HUP);
    // Opens once the server does: it is in the midst of reading then, and the end does not come.
    let _writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
    server.signal(Signal::TERM);
    server.log_until("stopped after");
    assert_eq!(server.end(), 0);
}

#[tokio::test]
async fn a_server_whose_coordinator_died_ends_instead_of_taking_registrations() {
    let text = "cfgsync: 1\ncluster: test\nready: {nodes: 1}\nmaterializers:\n  - kind: template\n    \
                files: [{path: p, template: x}]\n";
    let spec = Spec::parse(text, "cluster.yaml", std::path::Path::new(".")).unwrap();
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server {
        clock: WallClock::from_fn(|| panic!("a clock of the embedding program")),
        ..Server::new(spec, listener)
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
    assert!(ended.is_ok(), "it serves on, and nobody evaluates");
    let mut answer = Vec::new();
    // Whatever it was told, the connection has ended.
    let _ = stream.read_to_end(&mut answer).await;
}
