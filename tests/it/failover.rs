//! A client with several servers: which one a request tries, when it goes on to another, and which others it learns of.

use std::time::Duration;

use cfgsync::Client;
use cfgsync_client::{CallError, JoinOptions, NodeAddress, ServerUrl, Session};
use tokio::time::{Instant, advance};

use crate::{
    fake::{FakeServer, ReceivedRequest, Reply},
    pki::Authority,
};

const FILES: &str = r#"{"schema_version":1,"files":[{"path":"/config.yaml","content":"x: 1\n"}]}"#;
/// The answer of a server that has lost its store. The client waits for no server while another one may serve it.
const UNAVAILABLE: &str =
    r#"{"code":"internal","reason":"store","message":"no connection to etcd"}"#;

fn options() -> JoinOptions {
    JoinOptions::new("node-1".parse().unwrap())
        .with_address(NodeAddress::Fixed("10.0.0.1".parse().unwrap()))
        .with_timeout(Duration::from_secs(30))
}

fn serves(request: &ReceivedRequest) -> Reply {
    match request.line.as_str() {
        "POST /register" => Reply::Answer(202, "", String::new()),
        _ => Reply::Answer(200, "", FILES.to_owned()),
    }
}

fn unavailable(_: &ReceivedRequest) -> Reply {
    Reply::Answer(503, "retry-after: 20\r\n", UNAVAILABLE.to_owned())
}

#[tokio::test(start_paused = true)]
async fn another_server_is_asked_before_the_pause_that_one_asks_for() {
    let first = FakeServer::start(unavailable).await;
    let second = FakeServer::start(serves).await;
    let client = Client::new([first.url.clone(), second.url.clone()]);
    let started = Instant::now();
    let mut session = Session::new(client.clone(), options());
    session.run(|_| {}).await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(first.request_lines(), ["POST /register"]);
    // It is left alone for as long as it has asked for.
    advance(Duration::from_secs(19)).await;
    client.livez().await.unwrap();
    assert_eq!(first.requests().len(), 1);
    advance(Duration::from_secs(2)).await;
    client.livez().await.unwrap();
    assert_eq!(first.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn failed_server_is_tried_last_for_a_bounded_time() {
    let first = FakeServer::start(|_| Reply::Close).await;
    let second = FakeServer::start(serves).await;
    let client = Client::new([first.url.clone(), second.url.clone()]);
    for _ in 0..3 {
        client.livez().await.unwrap();
        assert_eq!(client.server(), second.url);
    }
    assert_eq!(first.requests().len(), 1);
    advance(Duration::from_secs(6)).await;
    assert_eq!(client.server(), first.url);
    client.livez().await.unwrap();
    assert_eq!(first.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn reason_of_an_unavailable_server_is_kept_if_the_others_do_not_answer() {
    let first = FakeServer::start(unavailable).await;
    let second = FakeServer::start(|_| Reply::Close).await;
    let client = Client::new([first.url.clone(), second.url.clone()]);
    let error = client.snapshot().await.unwrap_err();
    assert!(matches!(error, CallError::Refused { .. }), "{error}");
    assert!(
        error.to_string().contains("no connection to etcd"),
        "{error}"
    );
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn addresses_of_one_name_are_several_servers() {
    for failing in [unavailable, |_: &ReceivedRequest| Reply::Close] {
        let first = FakeServer::start(failing).await;
        let port = first.url.port();
        let second = FakeServer::start_at(format!("[::1]:{port}").parse().unwrap(), serves).await;
        let url: ServerUrl = format!("http://localhost:{port}").parse().unwrap();
        let client = Client::new([url]);
        let started = Instant::now();
        let mut session = Session::new(client, options());
        session.run(|_| {}).await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(first.request_lines(), ["POST /register"]);
        assert_eq!(second.request_lines(), ["POST /register", "POST /node"]);
    }
}

#[test]
fn nodes_are_spread_over_the_servers_and_over_the_rest_if_one_fails() {
    let urls = ["http://a:1", "http://b:1", "http://c:1"].map(|url| url.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let all = Client::new(urls.clone());
    let mut counts = [[0_u32; 3]; 3];
    for node in 0..1000 {
        let client = all.clone().spread_by(&format!("node-{node}"));
        let order: Vec<usize> = client
            .servers()
            .map(|server| urls.iter().position(|url| url == server).unwrap())
            .collect();
        counts[order[0]][order[1]] += 1;
        let again = all.clone().spread_by(&format!("node-{node}"));
        assert!(again.servers().eq(client.servers()));
    }
    for first in 0..3 {
        for second in (0..3).filter(|second| *second != first) {
            let count = counts[first][second];
            assert!((120..220).contains(&count), "{counts:?}");
        }
    }
}

/// The given server names another one of the same authority, and dies while the node waits.
#[tokio::test]
async fn waiting_node_goes_on_at_a_server_that_a_verified_one_has_named() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let pair = authority.sign("127.0.0.1");
    let named = FakeServer::start_tls(&pair, |request| {
        Reply::Answer(200, "cfgsync-cluster: devnet\r\n", serves_body(request))
    })
    .await;
    let foreign = FakeServer::start_tls(&pair, |request| {
        Reply::Answer(200, "cfgsync-cluster: mainnet\r\n", serves_body(request))
    })
    .await;
    for (other, is_used) in [(&named, true), (&foreign, false)] {
        let headers = format!(
            "cfgsync-cluster: devnet\r\ncfgsync-servers: {}\r\n",
            other.url
        );
        let headers: &'static str = headers.leak();
        let given = FakeServer::start_tls(&pair, move |request| match request.line.as_str() {
            "POST /register" => Reply::Answer(202, headers, String::new()),
            _ => Reply::Close,
        })
        .await;
        let client = Client::with_trust([given.url.clone()], &authority.trust()).unwrap();
        let options = options().with_timeout(Duration::from_secs(if is_used { 30 } else { 1 }));
        let outcome = Session::new(client, options).run(|_| {}).await;
        assert_eq!(outcome.is_ok(), is_used, "{:?}", outcome.err());
        assert_eq!(other.request_lines()[0], "POST /node");
    }
}

fn serves_body(request: &ReceivedRequest) -> String {
    match request.line.as_str() {
        "POST /register" => String::new(),
        _ => FILES.to_owned(),
    }
}
