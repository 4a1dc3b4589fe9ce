//! Single faults of whole servers: what clients see, and that the servers go on by themselves.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, process::Command, time::sleep};

use crate::{
    http::{Answer, HttpClient},
    random::Random,
    servers::Servers,
};

/// A bound on a hang.
const HAPPENS_WITHIN: Duration = Duration::from_mins(1);

/// The time within which a change is refused. The servers wait 2 s for etcd.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

/// The number of fetches on which etcd may have no part.
const FETCHES: usize = 10_000;

fn client(servers: &Servers) -> HttpClient {
    HttpClient::new(servers.addresses(), Random(1))
}

async fn register(http: &mut HttpClient, at: usize, name: &str) -> Option<Answer> {
    let server = http.servers[at];
    let body = json!({ "identifier": name, "ip": "10.0.0.1" });
    http.send_to(server, "POST", "/register", &[], &body).await
}

async fn get(http: &mut HttpClient, at: usize, path: &str) -> Option<Answer> {
    let server = http.servers[at];
    http.send_to(server, "GET", path, &[], &Value::Null).await
}

/// Repeats `attempt` until it returns something.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut attempt: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(begun.elapsed() < HAPPENS_WITHIN, "{what}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Registers nodes at the first server until it accepts all of them.
async fn register_all(http: &mut HttpClient, names: &[&str]) {
    let begun = Instant::now();
    for name in names {
        while !matches!(register(http, 0, name).await, Some(answer) if answer.status == 202) {
            assert!(begun.elapsed() < HAPPENS_WITHIN, "{name} is not accepted");
        }
    }
}

/// Returns the number of the generation that a server gives to a node.
async fn fetch(http: &mut HttpClient, at: usize, node: &str) -> Option<u64> {
    let answer = get(http, at, &format!("/v1/nodes/{node}/payload")).await?;
    let is_there = answer.status == 200;
    is_there.then(|| answer.json()["generation"].as_u64().unwrap())
}

/// Waits until a server gives the node its files.
async fn fetch_until(http: &mut HttpClient, at: usize, node: &str) -> u64 {
    let begun = Instant::now();
    loop {
        if let Some(generation) = fetch(http, at, node).await {
            return generation;
        }
        assert!(begun.elapsed() < HAPPENS_WITHIN, "{node} gets no files");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outage_of_etcd_stops_changes_and_no_reads() {
    let mut servers = Servers::start(&["--stale-max", "4s"]).await;
    let mut http = client(&servers);
    register_all(&mut http, &["a", "b"]).await;
    for at in 0..3 {
        fetch_until(&mut http, at, "a").await;
    }
    for member in 0..3 {
        servers.etcd.kill_member(member);
    }
    let begun = Instant::now();
    let url = format!("http://{}", http.servers[0]);
    let files = tempfile::tempdir().unwrap();
    let join = ["join", "--server", &url, "--id", "late", "--ip", "10.0.0.9"];
    let mut join = Command::new(env!("CARGO_BIN_EXE_cfgsync"))
        .args(join)
        .args(["--out-dir", "out"])
        .current_dir(files.path())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut is_stale = false;
    while begun.elapsed() < Duration::from_secs(10) || !is_stale {
        assert!(
            begun.elapsed() < HAPPENS_WITHIN,
            "no server says that it is stale"
        );
        for at in 0..3 {
            assert!(fetch(&mut http, at, "a").await.is_some(), "reads go on");
        }
        let asked = Instant::now();
        let answer = register(&mut http, 1, "c").await.expect("it is answered");
        assert!(asked.elapsed() < REFUSED_WITHIN, "{:?}", asked.elapsed());
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        let ready = get(&mut http, 2, "/readyz").await.expect("it is answered");
        is_stale |= ready.status == 503 && ready.json()["reason"] == "stale";
        assert_eq!(get(&mut http, 2, "/livez").await.unwrap().status, 200);
    }
    assert_eq!(join.try_wait().unwrap(), None, "join waits");
    for member in 0..3 {
        servers.etcd.start_member(member);
    }
    let joined = tokio::time::timeout(HAPPENS_WITHIN, join.wait()).await;
    assert!(joined.unwrap().unwrap().success());
    assert!(files.path().join("out/own").exists());
    let begun = Instant::now();
    for at in 0..3 {
        while get(&mut http, at, "/readyz").await.unwrap().status != 200 {
            assert!(begun.elapsed() < HAPPENS_WITHIN, "server {at} is not ready");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_server_loses_its_turn_and_does_not_render_over_the_other() {
    let servers = Servers::start(&[]).await;
    let mut http = client(&servers);
    register_all(&mut http, &["a", "b"]).await;
    fetch_until(&mut http, 0, "a").await;
    let rendering = rendering_server(&mut http).await;
    let other = (rendering + 1) % 3;
    servers.servers[rendering].signal("-STOP");
    let begun = Instant::now();
    while register(&mut http, other, "c")
        .await
        .is_none_or(|a| a.status != 202)
    {
        assert!(begun.elapsed() < HAPPENS_WITHIN);
    }
    let sealed = fetch_until(&mut http, other, "c").await;
    servers.servers[rendering].signal("-CONT");
    // It takes part again, and shows what the other one sealed.
    let mut fresh = client(&servers);
    assert!(fetch_until(&mut fresh, rendering, "c").await >= sealed);
    let answer = register(&mut fresh, rendering, "d").await;
    if answer.is_none_or(|answer| answer.status != 202) {
        until_registered(&mut fresh, rendering, "d").await;
    }
    let next = fetch_until(&mut fresh, rendering, "d").await;
    assert!(next > sealed);
    let path = "/v1/generations";
    let expected = get(&mut fresh, other, path).await.unwrap().json();
    let found = get(&mut fresh, rendering, path).await.unwrap().json();
    assert_eq!(found, expected);
    let numbers: Vec<_> = expected
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g["number"].as_u64())
        .collect();
    let digests: Vec<_> = expected
        .as_array()
        .unwrap()
        .iter()
        .map(|g| &g["digest"])
        .collect();
    assert!(numbers.is_sorted_by(|a, b| a > b), "{numbers:?}");
    assert!(digests.windows(2).all(|two| two[0] != two[1]), "{expected}");
}

async fn until_registered(http: &mut HttpClient, at: usize, name: &str) {
    let begun = Instant::now();
    while register(http, at, name)
        .await
        .is_none_or(|a| a.status != 202)
    {
        assert!(begun.elapsed() < HAPPENS_WITHIN, "{name} is not accepted");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Returns the server that renders.
async fn rendering_server(http: &mut HttpClient) -> usize {
    let begun = Instant::now();
    loop {
        for at in 0..3 {
            let answer = get(http, at, "/v1/servers").await.unwrap().json();
            let mut servers = answer["servers"].as_array().unwrap().iter();
            let is_it = |s: &Value| s["renders"] == true && s["answers"] == true;
            if servers.any(is_it) {
                return at;
            }
        }
        assert!(begun.elapsed() < HAPPENS_WITHIN, "no server renders");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_at_one_server_is_served_at_the_others() {
    let servers = Servers::start(&[]).await;
    let mut http = client(&servers);
    register_all(&mut http, &["a", "b"]).await;
    let path = "/v1/namespaces/fleet/keys/k0";
    let body = json!({ "value": "bmV3", "codec": "text" });
    let server = http.servers[1];
    let set = http
        .send_to(server, "POST", path, &[], &body)
        .await
        .unwrap();
    assert!(set.status < 300, "{set:?}");
    for at in 0..3 {
        // This client has seen nothing, so a server that is behind answers at once.
        let addresses = servers.addresses();
        until("the value is shown", || {
            let mut fresh = HttpClient::new(addresses.clone(), Random(1));
            async move {
                let answer = get(&mut fresh, at, path).await?;
                (answer.json()["entry"]["value"] == "bmV3").then_some(())
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetches_do_not_use_etcd() {
    let servers = Servers::start(&[]).await;
    let mut http = client(&servers);
    register_all(&mut http, &["a", "b"]).await;
    fetch_until(&mut http, 0, "a").await;
    let before = calls_of_keys(&servers).await;
    let stream = TcpStream::connect(http.servers[0]).await.unwrap();
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..FETCHES {
        let request = Request::get("/v1/nodes/a/payload").header("host", "x");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
    }
    let calls = calls_of_keys(&servers).await - before;
    // The servers record deliveries and tell each other of nodes from time to time.
    assert!(calls < 1_000.0, "{calls} calls during {FETCHES} fetches");
}

/// Returns how many calls of etcd's service for keys all members have begun.
async fn calls_of_keys(servers: &Servers) -> f64 {
    let mut calls = 0.0;
    for member in servers.etcd.addresses() {
        let mut http = HttpClient::new(vec![member], Random(1));
        let metrics = http
            .send("GET", "/metrics", &[], &Value::Null)
            .await
            .unwrap();
        let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
        let lines = metrics.lines().filter(|line| {
            line.starts_with("grpc_server_started_total") && line.contains("etcdserverpb.KV")
        });
        let counts = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
        calls += counts.sum::<f64>();
    }
    calls
}
