//! A server under load: idle connections, the connection quota of an address, and overload responses to operators.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    fake::{FakeServer, Reply},
    sandbox::{SPEC, Sandbox, code, text},
};

const IDLE: u64 = 10_000;

/// File descriptors that this process keeps for everything but the idle connections.
const OTHER_DESCRIPTORS: u64 = 500;

#[test]
fn nodes_join_beside_ten_thousand_idle_connections() {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: hard,
            maximum: hard,
        },
    )
    .unwrap();
    // The limit on open files may allow fewer. One address may use up to 75 % of the server's connections.
    let idle = hard.map_or(IDLE, |hard| {
        IDLE.min(hard.saturating_sub(OTHER_DESCRIPTORS) / 4 * 3)
    });
    assert!(
        idle >= 500,
        "ulimit -Hn is {hard:?}: too few file descriptors for this test"
    );
    let sandbox = Sandbox::new();
    // The idle connections must outlast the nodes' joins, also on a slow machine.
    let server = sandbox.serve(&["--header-timeout", "10m"]);
    let address: SocketAddr = server.url["http://".len()..].parse().unwrap();
    let timeout = Duration::from_secs(30);
    let idle_connections: Vec<TcpStream> = (0..idle)
        .map(|_| TcpStream::connect_timeout(&address, timeout).unwrap())
        .collect();
    let nodes =
        ["node-1", "node-2"].map(|node| sandbox.join(&server.url, node, &["--timeout", "30s"]));
    for node in nodes {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
    drop(idle_connections);
}

#[test]
fn node_joins_once_its_address_is_below_the_connection_quota() {
    let sandbox = Sandbox::new();
    sandbox.put("cluster.yaml", &SPEC.replace("nodes: 2", "nodes: 1"));
    let mut server = sandbox.serve(&[
        "--connections-per-address-max",
        "1",
        "--header-timeout",
        "10m",
    ]);
    let address: SocketAddr = server.url["http://".len()..].parse().unwrap();
    let held = TcpStream::connect(address).unwrap();
    let mut node = sandbox.join(&server.url, "node-1", &["--timeout", "50s"]);
    server.log_until("127.0.0.1 has reached the limit of open connections for one address (1)");
    let message = node.log_until("429");
    assert!(
        message.contains("raise --connections-per-address-max on the server"),
        "{message}"
    );
    drop(held);
    let (code, log) = node.end();
    assert_eq!(code, 0, "{log}");
}

/// Scripts give up on exit code 77. A temporary refusal must therefore exit 69 with a hint to retry.
#[tokio::test]
async fn operator_commands_exit_69_on_temporary_refusals() {
    let sandbox = Sandbox::new();
    for (status, expected) in [(408, 69), (425, 69), (429, 69), (403, 77)] {
        let body = r#"{"code":"internal","message":"no"}"#;
        let fake = FakeServer::start(move |_| Reply::Answer(status, "", body.to_owned())).await;
        let url = fake.url.to_string();
        for arguments in [
            &["inspect"][..],
            &["rm", "node-1"],
            &["fail", "--reason", "why"],
        ] {
            let arguments = [arguments, &["--server", &url]].concat();
            let mut command = tokio::process::Command::from(sandbox.command(&arguments));
            let output = command.output().await.unwrap();
            let message = text(&output.stderr);
            assert_eq!(code(&output), expected, "{arguments:?}: {message}");
            let is_hinted = message.contains("help: ") && message.contains("try again");
            assert_eq!(is_hinted, expected == 69, "{message}");
        }
    }
}
