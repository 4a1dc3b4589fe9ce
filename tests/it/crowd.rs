//! Ten thousand connections that say nothing, and a cluster that forms beside them.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    fake::{Fake, Reply},
    place::{Place, SPEC, code, text},
};

const IDLE: u64 = 10_000;

/// Descriptors of this process beside those of the crowd.
const OTHERS: u64 = 500;

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
    // Where a process may not have so many files, as many as it may; of the server's, an address has three quarters.
    let idle = hard.map_or(IDLE, |hard| IDLE.min(hard.saturating_sub(OTHERS) / 4 * 3));
    assert!(
        idle >= 500,
        "ulimit -Hn is {hard:?}: too few files for this test"
    );
    let place = Place::new();
    // They must stay for as long as the nodes take, whatever this machine is doing.
    let server = place.serve(&["--header-timeout", "10m"]);
    let address: SocketAddr = server.url["http://".len()..].parse().unwrap();
    let patience = Duration::from_secs(30);
    let crowd: Vec<TcpStream> = (0..idle)
        .map(|_| TcpStream::connect_timeout(&address, patience).unwrap())
        .collect();
    let nodes =
        ["node-1", "node-2"].map(|node| place.join(&server.url, node, &["--timeout", "30s"]));
    for node in nodes {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
    drop(crowd);
}

#[test]
fn a_node_whose_address_has_its_share_of_connections_joins_later() {
    let place = Place::new();
    place.put("cluster.yaml", &SPEC.replace("nodes: 2", "nodes: 1"));
    let mut server = place.serve(&[
        "--connections-per-address-max",
        "1",
        "--header-timeout",
        "10m",
    ]);
    let address: SocketAddr = server.url["http://".len()..].parse().unwrap();
    let held = TcpStream::connect(address).unwrap();
    let mut node = place.join(&server.url, "node-1", &["--timeout", "50s"]);
    server.log_until("127.0.0.1 has as many connections open as an address may (1)");
    let told = node.log_until("429");
    assert!(
        told.contains("raise --connections-per-address-max on the server"),
        "{told}"
    );
    drop(held);
    let (code, log) = node.end();
    assert_eq!(code, 0, "{log}");
}

/// It was not allowed, which scripts take for a reason to give up.
#[tokio::test]
async fn an_operator_who_comes_at_a_bad_time_is_told_to_come_again() {
    let place = Place::new();
    for (status, expected) in [(408, 69), (425, 69), (429, 69), (403, 77)] {
        let body = r#"{"code":"internal","message":"no"}"#;
        let fake = Fake::start(move |_| Reply::Answer(status, "", body.to_owned())).await;
        let url = fake.url.to_string();
        for arguments in [
            &["inspect"][..],
            &["rm", "node-1"],
            &["fail", "--reason", "why"],
        ] {
            let arguments = [arguments, &["--server", &url]].concat();
            let mut command = tokio::process::Command::from(place.command(&arguments));
            let output = command.output().await.unwrap();
            let told = text(&output.stderr);
            assert_eq!(code(&output), expected, "{arguments:?}: {told}");
            let is_hinted = told.contains("help: ") && told.contains("try again");
            assert_eq!(is_hinted, expected == 69, "{told}");
        }
    }
}
