//! Hostile servers: whatever the server sends, `join` ends within its timeout and its limits, writes nothing, and
//! reports the reason.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cfgsync::Client;
use cfgsync_client::{Event, JoinError, JoinOptions, NodeAddress, ServerUrl, Session};
use cfgsync_wire::PayloadLimits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use crate::{
    fake::{FakeServer, ReceivedRequest, Reply},
    pki::Authority,
    sandbox::Sandbox,
};

/// Timeout of a join where the test's clock is paused, or that ends before it.
const TIMEOUT: Duration = Duration::from_mins(2);
/// Timeout of a join in real time.
const REAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Limits of the joining node. Each attack sends more.
const LIMITS: PayloadLimits = PayloadLimits::DEFAULT
    .with_payload_max_bytes(1 << 20)
    .with_files_max(100)
    .with_path_max_bytes(200);

/// The bytes that the server sends instead of a valid response.
#[derive(Clone)]
enum Attack {
    /// Sends these bytes and closes the connection.
    Once(Vec<u8>),
    /// Sends these bytes and keeps the connection open.
    Hang(Vec<u8>),
    /// Sends the first bytes once, then the second ones without end.
    Endless(Vec<u8>, Vec<u8>),
    /// Like `Endless`, with a pause before each repetition.
    Slow(Vec<u8>, Vec<u8>, Duration),
}

/// A server that attacks in response to a fetch, or already in response to a registration.
struct HostileServer {
    url: ServerUrl,
    /// Number of requests that were attacked.
    attacks: Arc<AtomicUsize>,
}

impl HostileServer {
    async fn start(attack: Attack, at_register: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let attacks: Arc<AtomicUsize> = Arc::default();
        let counter = attacks.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (attack, counter) = (attack.clone(), counter.clone());
                tokio::spawn(serve(stream, attack, at_register, counter));
            }
        });
        Self {
            url: url.parse().unwrap(),
            attacks,
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    attack: Attack,
    at_register: bool,
    counter: Arc<AtomicUsize>,
) -> Option<()> {
    loop {
        let line = read_request(&mut stream).await?;
        if line.starts_with("POST /register") && !at_register {
            let accepted = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(accepted.as_bytes()).await.ok()?;
            continue;
        }
        counter.fetch_add(1, Ordering::Relaxed);
        match attack {
            Attack::Once(bytes) => stream.write_all(&bytes).await.ok()?,
            Attack::Hang(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                // Returns once the client closes the connection.
                let _ = stream.read(&mut [0]).await;
            }
            Attack::Endless(head, piece) => {
                stream.write_all(&head).await.ok()?;
                loop {
                    stream.write_all(&piece).await.ok()?;
                }
            }
            Attack::Slow(head, piece, pause) => {
                stream.write_all(&head).await.ok()?;
                loop {
                    sleep(pause).await;
                    stream.write_all(&piece).await.ok()?;
                }
            }
        }
        return None;
    }
}

/// Reads one request and returns its first line.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
            let length = head.to_ascii_lowercase();
            let length = length
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                return head.lines().next().map(str::to_owned);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn options(timeout: Duration) -> JoinOptions {
    JoinOptions::new("node-1".parse().unwrap())
        .with_address(NodeAddress::Fixed("10.0.0.1".parse().unwrap()))
        .with_timeout(timeout)
}

/// Joins at `url`, requires that it fails, and returns the error and the events.
async fn join_error(url: &ServerUrl) -> (JoinError, Vec<Event>) {
    join_error_within(url, TIMEOUT).await
}

async fn join_error_within(url: &ServerUrl, timeout: Duration) -> (JoinError, Vec<Event>) {
    let started = Instant::now();
    let client = Client::new([url.clone()]).with_payload_limits(LIMITS);
    let mut events = Vec::new();
    let outcome = Session::new(client, options(timeout))
        .run(|event| events.push(event))
        .await;
    let error = outcome.expect_err("join accepted files of a hostile server");
    // The last attempt ends at the timeout. Allow for a slow machine.
    let tolerance = Duration::from_secs(30);
    assert!(
        started.elapsed() <= timeout + tolerance,
        "{:?}",
        started.elapsed()
    );
    // The message is shown to people, once for each attempt.
    let message = error.to_string();
    assert!(
        message.len() < 5_000,
        "the message has {} bytes",
        message.len()
    );
    let is_control = |c: char| c.is_control() && c != '\n';
    assert!(!message.contains(is_control), "{message:?}");
    (error, events)
}

fn is_unusable(error: &JoinError) -> bool {
    matches!(error, JoinError::Unusable(_))
}

/// The join timed out without a usable response. The last response may have accepted a registration.
fn is_timeout(error: &JoinError) -> bool {
    matches!(
        error,
        JoinError::Unreachable { .. } | JoinError::NotReady { .. }
    )
}

/// Name, attack, check of the join's error, and text that its message must contain.
type Case = (&'static str, Attack, fn(&JoinError) -> bool, &'static str);

/// Attacks on the HTTP level.
#[expect(clippy::too_many_lines, reason = "a table")]
fn attacks() -> Vec<Case> {
    let head = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}\r\n").into_bytes();
    let ok = b"HTTP/1.1 200 OK\r\n".to_vec();
    let long = "content-length: 1000000000\r\n";
    let chunked = "transfer-encoding: chunked\r\n";
    let chunk = [b"1000\r\n".to_vec(), vec![b' '; 0x1000], b"\r\n".to_vec()].concat();
    vec![
        (
            "headers without end",
            Attack::Endless(ok.clone(), b"x-more: and more\r\n".to_vec()),
            is_timeout,
            "the headers of the response are too long",
        ),
        (
            "one header without end",
            Attack::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'y'; 4096]),
            is_timeout,
            "the headers of the response are too long",
        ),
        (
            "a status line without end",
            Attack::Endless(b"HTTP/1.1 200 ".to_vec(), vec![b'y'; 4096]),
            is_timeout,
            "",
        ),
        (
            "slow headers",
            Attack::Slow(ok.clone(), b"x: y\r\n".to_vec(), Duration::from_secs(1)),
            is_timeout,
            "no response within",
        ),
        (
            "informational answers without end",
            Attack::Slow(
                vec![],
                b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(),
                Duration::from_millis(100),
            ),
            is_timeout,
            "no response within",
        ),
        (
            "a body without end",
            Attack::Endless(head(chunked), chunk.clone()),
            is_unusable,
            "it is longer than 1048576 bytes",
        ),
        (
            "a body without length on a connection that stays open",
            Attack::Endless(head(""), vec![b' '; 4096]),
            is_unusable,
            "it is longer than 1048576 bytes",
        ),
        (
            "a length near the maximum of an integer",
            Attack::Hang(head("content-length: 18446744073709551614\r\n")),
            is_timeout,
            "",
        ),
        (
            "a length that overflows an integer",
            Attack::Once(head("content-length: 99999999999999999999999\r\n")),
            is_timeout,
            "",
        ),
        (
            "a gigabyte that is announced and not sent",
            Attack::Hang(head(long)),
            is_unusable,
            "it is longer than 1048576 bytes",
        ),
        (
            "two lengths",
            Attack::Once(head("content-length: 5\r\ncontent-length: 6\r\n")),
            is_timeout,
            "",
        ),
        (
            "a stalled body",
            Attack::Hang(head("content-length: 100\r\n")),
            is_timeout,
            "no byte of the response arrived for 30s",
        ),
        (
            "a truncated body",
            Attack::Once([head("content-length: 100\r\n"), b"{".to_vec()].concat()),
            is_timeout,
            "the server closed the connection before its response was complete",
        ),
        (
            "an invalid chunk length",
            Attack::Once([head(chunked), b"ffffffffffffffffff\r\n".to_vec()].concat()),
            is_timeout,
            "",
        ),
        (
            "a chunk extension without end",
            Attack::Endless([head(chunked), b"5;".to_vec()].concat(), vec![b'x'; 4096]),
            is_timeout,
            "",
        ),
        (
            "trailers without end",
            Attack::Endless(
                [head(chunked), b"0\r\n".to_vec()].concat(),
                b"x-more: and more\r\n".to_vec(),
            ),
            is_timeout,
            "",
        ),
        (
            "another protocol",
            Attack::Once(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
            is_timeout,
            "the server does not speak HTTP/1.1",
        ),
        (
            "a TLS record",
            Attack::Once(b"\x15\x03\x01\x00\x02\x02\x46".to_vec()),
            is_timeout,
            "",
        ),
        (
            "zeros",
            Attack::Endless(vec![], vec![0; 4096]),
            is_timeout,
            "",
        ),
        ("nothing", Attack::Once(vec![]), is_timeout, ""),
        (
            "silence",
            Attack::Hang(vec![]),
            is_timeout,
            "no response within",
        ),
        (
            "a switch of protocols",
            Attack::Once(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
                    .to_vec(),
            ),
            is_timeout,
            "",
        ),
        (
            "an error without end",
            Attack::Endless(
                format!("HTTP/1.1 500 Oh\r\n{chunked}\r\n").into_bytes(),
                chunk,
            ),
            is_timeout,
            "answered 500",
        ),
        (
            "no body at all",
            Attack::Once(head("content-length: 0\r\n")),
            is_unusable,
            "the body is not a payload",
        ),
        (
            "a body where there can be none",
            Attack::Once(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
            is_unusable,
            "the body is not a payload",
        ),
    ]
}

impl Attack {
    /// Returns whether the attack needs a paused clock because it waits. Floods need real time: a paused clock also
    /// advances while bytes are in transit.
    fn is_slow(&self) -> bool {
        matches!(self, Self::Hang(_) | Self::Slow(..))
    }
}

#[tokio::test(start_paused = true)]
async fn slow_responses_end_at_the_timeout() {
    for (name, attack, is_expected, expected_text) in attacks() {
        if attack.is_slow() {
            run_attack(name, attack, is_expected, expected_text, TIMEOUT).await;
        }
    }
}

#[tokio::test]
async fn invalid_responses_end_within_limits() {
    let mut tasks = tokio::task::JoinSet::new();
    for (name, attack, is_expected, expected_text) in attacks() {
        if !attack.is_slow() {
            // An unusable response ends the session by itself, after three attempts with pauses of seconds. The short
            // timeout leaves a busy machine too little time for them.
            let ends_by_itself = is_expected(&JoinError::Unusable(String::new()));
            let timeout = if ends_by_itself {
                TIMEOUT
            } else {
                REAL_TIMEOUT
            };
            tasks.spawn(run_attack(
                name,
                attack,
                is_expected,
                expected_text,
                timeout,
            ));
        }
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

async fn run_attack(
    name: &'static str,
    attack: Attack,
    is_expected: fn(&JoinError) -> bool,
    expected_text: &'static str,
    timeout: Duration,
) {
    let hostile = HostileServer::start(attack.clone(), false).await;
    let (error, _) = join_error_within(&hostile.url, timeout).await;
    assert!(is_expected(&error), "{name}: {error}");
    assert!(error.to_string().contains(expected_text), "{name}: {error}");
    // The pauses between attempts must grow.
    let attempts = hostile.attacks.load(Ordering::Relaxed);
    assert!((1..150).contains(&attempts), "{name}: {attempts} attempts");

    // An empty success is a valid response to a registration.
    if ["no body at all", "a body where there can be none"].contains(&name) {
        return;
    }
    let hostile = HostileServer::start(attack, true).await;
    let (error, events) = join_error_within(&hostile.url, timeout).await;
    assert!(is_unusable(&error) || is_timeout(&error), "{name}: {error}");
    let registered = |event: &Event| matches!(event, Event::Registered { .. });
    assert!(!events.iter().any(registered), "{name}");
}

/// Bodies of `/node` that are not valid payloads, with text that the error must contain.
#[expect(clippy::too_many_lines, reason = "a table")]
fn payloads() -> Vec<(String, &'static str)> {
    let files = |files: &str| format!(r#"{{"schema_version":1,"files":[{files}]}}"#);
    let file = |path: &str| files(&format!(r#"{{"path":{path:?},"content":"x"}}"#));
    let zeros = "0".repeat(64);
    let many: Vec<String> = (0..101)
        .map(|at| format!(r#"{{"path":"f{at}","content":""}}"#))
        .collect();
    let chunks = format!("[0,\"{zeros}\"],").repeat(5_000);
    let instance = "00000000000000000000000000000001";
    vec![
        (String::new(), "the body is not a payload"),
        ("null".to_owned(), "the body is not a payload"),
        ("[]".to_owned(), "the body is not a payload"),
        ("\u{1b}[2J".to_owned(), "the body is not a payload"),
        (files("").replace('1', "99"), "schema version 99"),
        (files("").replace('1', "-1"), "the body is not a payload"),
        (files("").replace('1', "1e999"), "the body is not a payload"),
        (files(&"[".repeat(100_000)), "the body is not a payload"),
        (
            format!(r#"{{"schema_version":1,"x":{}"#, "[".repeat(500_000)),
            "the body is not a payload",
        ),
        (
            r#"{"schema_version":1,"files":[],"files":[]}"#.to_owned(),
            "duplicate field",
        ),
        (file("../../etc/passwd"), "the part \"..\""),
        (file("a/../../b"), "the part \"..\""),
        (file("/../b"), "the part \"..\""),
        (file("//etc/passwd"), "an empty part"),
        (file("a//b"), "an empty part"),
        (file("."), "the part \".\""),
        (file(""), "must not be empty"),
        (file("/"), "must not be empty"),
        (files(r#"{"path":"a\u0000b","content":""}"#), "a NUL byte"),
        (
            files(r#"{"path":"a\u001b[2Jb","content":""}"#),
            "a control character",
        ),
        (file(&"d/".repeat(600)), "at most 1024 bytes"),
        (file(&format!("{}f", "d/".repeat(120))), "the limit is 200"),
        (file(&"x".repeat(100_000)), "at most 1024 bytes"),
        (
            files(r#"{"path":"a","content":""},{"path":"/a","content":""}"#),
            "two files are called /a",
        ),
        (files(&many.join(",")), "101 files; the limit is 100"),
        (
            files(r#"{"path":"a","content":"","mode":"4755"}"#),
            "not octal permission bits",
        ),
        (
            files(r#"{"path":"a","content":"","mode":"0666","secret":true}"#),
            "gives other users access to a secret file",
        ),
        (
            files(&format!(
                r#"{{"path":"a","content":"x","sha256":"{zeros}"}}"#
            )),
            "does not match its digest",
        ),
        (
            files(&format!(
                r#"{{"path":"a","content":"x","chunks":[[2,"{zeros}"]]}}"#
            )),
            "does not match its digest",
        ),
        (
            files(&format!(
                r#"{{"path":"a","content":"x","chunks":[[18446744073709551615,"{zeros}"]]}}"#
            )),
            "does not match its digest",
        ),
        (
            files(&format!(
                r#"{{"path":"a","content":"x","chunks":[{}]}}"#,
                chunks.trim_end_matches(',')
            )),
            "does not match its digest",
        ),
        (
            files(r#"{"path":"a","content":"====","encoding":"base64"}"#),
            "not base64",
        ),
        (
            files(&format!(
                r#"{{"path":"a","content":"{}","encoding":"base64"}}"#,
                "A".repeat(900_001)
            )),
            "not base64",
        ),
        (
            files(&format!(
                r#"{{"path":"a","content":"","encoding":"{}"}}"#,
                "gzip".repeat(50_000)
            )),
            "unknown encoding",
        ),
        (
            format!(
                r#"{{"schema_version":1,"instance":"{instance}","generation":1,"digest":"{zeros}",
                "files":[{{"path":"a","content":"x"}}]}}"#
            ),
            "do not match the payload's digest",
        ),
        (
            files("").replace("1,", &format!("1,\"digest\":\"{}\",", "f".repeat(300_000))),
            "64 lowercase hexadecimal digits",
        ),
        (
            format!("{}{}", files(""), " ".repeat(LIMITS.payload_max_bytes)),
            "it is longer than 1048576 bytes",
        ),
    ]
}

#[tokio::test]
async fn rejects_invalid_payloads_after_three_attempts() {
    let mut tasks = tokio::task::JoinSet::new();
    for (body, expected_text) in payloads() {
        tasks.spawn(async move {
            let shown: String = body.chars().take(100).collect();
            let fake = FakeServer::start(move |request| match request.line.as_str() {
                "POST /register" => Reply::Answer(202, "", String::new()),
                _ => Reply::Answer(200, "", body.clone()),
            })
            .await;
            let (error, _) = join_error(&fake.url).await;
            assert!(is_unusable(&error), "{shown}: {error}");
            assert!(
                error.to_string().contains(expected_text),
                "{shown}: {error}"
            );
            let lines = fake.request_lines();
            let fetches = lines.iter().filter(|line| *line == "POST /node").count();
            assert_eq!(fetches, 3, "{shown}");
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

#[test]
fn invalid_payloads_write_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bodies: Vec<String> = payloads().into_iter().map(|(body, _)| body).collect();
    // A payload whose first file is valid and whose second file has an invalid path.
    let partly_valid = r#"{"schema_version":1,"files":[{"path":"a","content":"x"},{"path":"b/../c","content":"x"}]}"#;
    // Run all joins at once, because each pauses between its attempts.
    let start = |body: String| {
        let shown: String = body.chars().take(100).collect();
        let fake = runtime.block_on(FakeServer::start(move |request| {
            match request.line.as_str() {
                "POST /register" => Reply::Answer(202, "", String::new()),
                _ => Reply::Answer(200, "", body.clone()),
            }
        }));
        let sandbox = Sandbox::new();
        let url = fake.url.to_string();
        let join = [
            "join",
            "--server",
            &url,
            "--id",
            "node-1",
            "--ip",
            "10.0.0.1",
            "--out-dir",
            "out",
            "--receipt",
            "receipt",
            "--payload-max",
            "1MiB",
            "--files-max",
            "100",
            "--path-max-bytes",
            "200",
            "--",
            "touch",
            "started",
        ];
        let process = sandbox.start(&join);
        (shown, sandbox, process)
    };
    let all = bodies.into_iter().chain([partly_valid.to_owned()]);
    for (shown, sandbox, process) in all.map(start).collect::<Vec<_>>() {
        let (code, log) = process.end();
        assert_eq!(code, 65, "{shown}: {log}");
        for nothing in ["out", "receipt", "started"] {
            assert!(!sandbox.path().join(nothing).exists(), "{shown}: {nothing}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn redirects_are_not_followed() {
    let elsewhere = FakeServer::start(|_| panic!("the redirect was followed")).await;
    let location = format!("location: {}/node\r\n", elsewhere.url);
    let location: &'static str = location.leak();
    for status in [301, 302, 303, 307, 308] {
        let fake = FakeServer::start(move |_| Reply::Answer(status, location, String::new())).await;
        let (error, _) = join_error(&fake.url).await;
        assert!(is_timeout(&error), "{error}");
        assert!(
            error.to_string().contains(&format!("answered {status}")),
            "{error}"
        );
    }
    assert_eq!(elsewhere.connections(), 0);
}

/// A server that names others gains nothing by it: it sends a node and its token only to servers that prove what the operator
/// has named.
#[tokio::test]
async fn named_servers_get_nothing_unless_they_prove_what_the_operator_named() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let other_authority = Authority::new(directory.path(), "other");
    let accept = |_: &ReceivedRequest| Reply::Answer(202, "", String::new());
    let plain = FakeServer::start(accept).await;
    let untrusted = FakeServer::start_tls(&other_authority.sign("127.0.0.1"), accept).await;
    let unpinned = FakeServer::start_tls(&authority.sign("127.0.0.1"), accept).await;
    let named = format!(
        "cfgsync-servers: {}, {}, , nonsense, ftp://a, https://me:secret@{}, http://127.0.0.1:22, https://[::]:1, \
         cfgsync://{}/?pin=sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU&token=hidden, {}\r\n",
        plain.url,
        untrusted.url,
        unpinned.url.port(),
        unpinned.url.port(),
        "https://127.0.0.1:1, ".repeat(100),
    );
    let named: &'static str = named.leak();
    // It names the others, and then makes the client go on to them.
    let hostile = move |request: &ReceivedRequest| match request.line.as_str() {
        "POST /register" => Reply::Answer(202, named, String::new()),
        _ => Reply::Close,
    };
    let token = "secret-token".to_owned().into();
    let over_tls = FakeServer::start_tls(&authority.sign("127.0.0.1"), hostile).await;
    let trusting = Client::with_trust([over_tls.url.clone()], &authority.trust()).unwrap();
    let over_http = FakeServer::start(hostile).await;
    let open = Client::new([over_http.url.clone()]);
    for client in [trusting, open] {
        let client = client.with_token(&token).unwrap();
        let given = client.server();
        let mut session = Session::new(client.clone(), options(Duration::from_secs(1)));
        session.run(|_| {}).await.unwrap_err();
        assert_eq!(client.servers().collect::<Vec<_>>(), [&given]);
    }
    assert_eq!(plain.connections(), 0);
    assert_eq!(unpinned.connections(), 0);
    assert!(untrusted.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn changing_instance_does_not_cause_a_registration_loop() {
    for status in [200, 425] {
        let fake = FakeServer::start(move |request| {
            let header = format!("cfgsync-instance: {:032x}\r\n", request.index + 1);
            let header: &'static str = header.leak();
            let body = match request.line.as_str() {
                "POST /register" => return Reply::Answer(202, header, String::new()),
                _ if status == 200 => r#"{"schema_version":1,"files":[]}"#,
                _ => r#"{"code":"not_ready","message":"not yet"}"#,
            };
            Reply::Answer(status, header, body.to_owned())
        })
        .await;
        let (error, _) = join_error(&fake.url).await;
        assert!(
            matches!(
                error,
                JoinError::NotReady { .. } | JoinError::Unreachable { .. }
            ),
            "{error}"
        );
        // Two minutes with a pause of some seconds between requests.
        let requests = fake.request_lines().len();
        assert!((10..300).contains(&requests), "{requests} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn long_server_messages_are_truncated() {
    let word = "\u{1b}]0;pwned\u{7}"
        .repeat(10_000)
        .escape_default()
        .to_string();
    let word = word
        .replace("\\u{1b}", "\\u001b")
        .replace("\\u{7}", "\\u0007");
    let names: Vec<String> = (0..10_000).map(|at| format!("\"node-{at}\"")).collect();
    let names = names.join(",");
    let bodies = [
        (500, format!(r#"{{"code":"internal","message":"{word}"}}"#)),
        (410, format!(r#"{{"code":"internal","message":"{word}"}}"#)),
        (403, format!(r#"{{"code":"internal","message":"{word}"}}"#)),
        (425, format!(r#"{{"code":"not_ready","message":"{word}"}}"#)),
        (
            425,
            format!(
                r#"{{"code":"not_ready","message":"m","progress":{{"registered":1,"needed":2,
                "missing":[{names}],"missing_count":10000,"unmet":[{names}],"self_registered":true}}}}"#
            ),
        ),
    ];
    for (status, body) in bodies {
        let fake = FakeServer::start(move |request| match request.line.as_str() {
            "POST /register" => Reply::Answer(202, "", String::new()),
            _ => Reply::Answer(status, "", body.clone()),
        })
        .await;
        let (_, events) = join_error(&fake.url).await;
        for event in events {
            let shown = match event {
                Event::Waiting { message, .. } => message,
                Event::ServerFault { problem } => problem,
                _ => continue,
            };
            assert!(shown.len() < 20_000, "{} bytes", shown.len());
            assert!(!shown.contains('\u{1b}'));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_capped() {
    let never = "retry-after: 18446744073709551615\r\n";
    for status in [425, 429, 503] {
        let body = r#"{"code":"not_ready","message":"later"}"#;
        let fake = FakeServer::start(move |request| match request.line.as_str() {
            "POST /register" => Reply::Answer(202, "", String::new()),
            _ => Reply::Answer(status, never, body.to_owned()),
        })
        .await;
        join_error(&fake.url).await;
        let requests = fake.request_lines().len();
        // Two minutes with half a minute between requests.
        assert!((3..20).contains(&requests), "{requests} requests");
    }
}

/// Returns the characters of `text` that a terminal obeys, or shows as nothing.
fn terminal_controls(text: &str) -> Vec<char> {
    let is_control = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().filter(is_control).collect()
}

/// `inspect` and `join` printed texts of the server and of other nodes as they were, so that these could control the
/// terminal of an operator.
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines, reason = "one table of commands")]
async fn texts_of_others_never_control_the_terminal() {
    let evil = "x\u{1b}[2J\u{9b}31m\u{202e}\u{200b}\u{7f}\r\ny";
    let digest = "0".repeat(64);
    let registration = serde_json::json!({
        "identifier": "node-1", "ip": "10.0.0.1", "seat": null, "revision": 1,
        "metadata": {"plain": evil, "deep": [{evil: evil}]},
    });
    let registration = {
        let mut registration = registration;
        registration["metadata"][evil] = evil.into();
        registration
    };
    let artifact = serde_json::json!({
        "path": "a\u{202e}\u{200b}b", "mode": "0644", "sha256": digest, "bytes": 1, "shared": false,
    });
    let snapshot = serde_json::json!({
        "cluster": evil, "instance": "00000000000000000000000000000001", "revision": 4,
        "state": "waiting", "generation": null,
        "progress": {"registered": 1, "needed": 3, "missing": [], "missing_count": 0, "unmet": [evil]},
        "failure": {"kind": "render", "reason": evil, "at": "2026-01-31T12:00:00Z"},
        "registrations": [registration],
    });
    let node = serde_json::json!({
        "state": "waiting", "reason": evil, "node": registration, "generation": null,
        "artifacts": [artifact], "overridden": false,
    });
    let payload = serde_json::json!({
        "schema_version": 1, "files": [{"path": "a\u{202e}\u{200b}b", "content": evil}],
    });
    let (shown, body) = (snapshot.clone(), node.clone());
    let fake = FakeServer::start(move |request| match request.line.as_str() {
        "GET /v1/snapshot" => Reply::Answer(200, "", shown.to_string()),
        "GET /v1/nodes/node-1" => Reply::Answer(200, "", body.to_string()),
        "POST /register" => Reply::Answer(202, "", String::new()),
        "POST /node" => Reply::Answer(200, "", payload.to_string()),
        _ => Reply::Answer(
            404,
            "",
            format!(r#"{{"code":"internal","message":{}}}"#, shown["cluster"]),
        ),
    })
    .await;
    let server = fake.url.to_string();
    let ended = tokio::task::spawn_blocking(move || {
        let sandbox = Sandbox::new();
        for (more, must_succeed) in [
            (&["inspect", "--output", "table"][..], true),
            (&["inspect", "--output", "json"], true),
            (&["inspect", "--output", "yaml"], true),
            (&["inspect", "--wait", "failed", "--timeout", "1s"], false),
            (&["inspect", "node", "node-1", "--output", "table"], true),
            (&["inspect", "node", "node-1", "--output", "json"], true),
            (&["inspect", "node", "node-1", "--output", "yaml"], true),
            (&["inspect", "generations"], false),
            (&["rm", "node-1"], false),
            (
                &[
                    "join",
                    "--id",
                    "node-1",
                    "--ip",
                    "10.0.0.1",
                    "--out-dir",
                    "o",
                    "--output",
                    "json",
                ],
                true,
            ),
            (
                &[
                    "join",
                    "--id",
                    "node-1",
                    "--ip",
                    "10.0.0.1",
                    "--out-dir",
                    "o",
                    "--log-format",
                    "json",
                ],
                true,
            ),
        ] {
            let output = sandbox.run(&[more, &["--server", &server]].concat(), &[]);
            for stream in [&output.stdout, &output.stderr] {
                let text = String::from_utf8(stream.clone()).unwrap();
                assert_eq!(terminal_controls(&text), [], "{more:?}: {text:?}");
                assert!(!text.lines().any(|line| line == "y"), "{more:?}: {text}");
            }
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() || !must_succeed,
                "{more:?}: {stderr}"
            );
            // Programs get the texts as they are.
            let expected = match more {
                ["inspect", "--output", _] => &snapshot["registrations"][0],
                ["inspect", "node", _, "--output", _] => &node["node"],
                _ => continue,
            };
            let read: serde_json::Value = match more.last() {
                Some(&"json") => serde_json::from_slice(&output.stdout).unwrap(),
                Some(&"yaml") => serde_yaml::from_slice(&output.stdout).unwrap(),
                _ => continue,
            };
            let read = read.get("node").unwrap_or(&read["registrations"][0]);
            assert_eq!(read["metadata"], expected["metadata"], "{more:?}");
        }
    });
    ended.await.unwrap();
}
