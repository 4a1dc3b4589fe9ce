//! A server that means harm: whatever it answers, `join` ends within its time and its bounds, writes nothing, and
//! says why.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cfgsync::Client;
use cfgsync_client::{Event, Join, JoinError, JoinOptions, KeyPlace, NodeAddress, ServerUrl};
use cfgsync_wire::PayloadLimits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use crate::{
    fake::{Fake, Reply},
    place::Place,
};

/// How long a join tries in these tests.
const TIMEOUT: Duration = Duration::from_mins(2);
/// And where its time is real.
const SOON: Duration = Duration::from_secs(5);
/// What a node takes here; less than any attack sends.
const LIMITS: PayloadLimits = PayloadLimits {
    payload_max_bytes: 1 << 20,
    files_max: 100,
    path_max_bytes: 200,
};

/// What is sent to whoever asks for its files.
#[derive(Clone)]
enum Attack {
    /// These bytes, and the end of the connection.
    Once(Vec<u8>),
    /// These bytes, and nothing more; the connection stays.
    Hang(Vec<u8>),
    /// A beginning, and a piece again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// The same, with a pause before each piece.
    Drip(Vec<u8>, Vec<u8>, Duration),
}

/// A server that takes registrations and attacks whoever asks for files; or attacks at once.
struct Hostile {
    url: ServerUrl,
    asked: Arc<AtomicUsize>,
}

impl Hostile {
    async fn start(attack: Attack, at_register: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<AtomicUsize> = Arc::default();
        let counter = asked.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (attack, counter) = (attack.clone(), counter.clone());
                tokio::spawn(serve(stream, attack, at_register, counter));
            }
        });
        Self {
            url: url.parse().unwrap(),
            asked,
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
        let line = request(&mut stream).await?;
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
                // Until the other side gives up.
                let _ = stream.read(&mut [0]).await;
            }
            Attack::Endless(head, piece) => {
                stream.write_all(&head).await.ok()?;
                loop {
                    stream.write_all(&piece).await.ok()?;
                }
            }
            Attack::Drip(head, piece, pause) => {
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

/// Reads one request; its first line.
async fn request(stream: &mut TcpStream) -> Option<String> {
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
    JoinOptions {
        identifier: "node-1".parse().unwrap(),
        address: NodeAddress::Fixed("10.0.0.1".parse().unwrap()),
        metadata: serde_json::json!({}),
        cluster: None,
        verify_keys: vec![],
        delivered: None,
        timeout: Some(timeout),
        wait_max: Duration::from_secs(30),
        key: KeyPlace::Nowhere,
    }
}

/// How a join with a server at `url` ends, which is never with files, and what was said on the way.
async fn ended(url: &ServerUrl) -> (JoinError, Vec<Event>) {
    ended_within(url, TIMEOUT).await
}

async fn ended_within(url: &ServerUrl, timeout: Duration) -> (JoinError, Vec<Event>) {
    let started = Instant::now();
    let client = Client::new([url.clone()]).with_payload_limits(LIMITS);
    let mut events = Vec::new();
    let outcome = Join::new(client, options(timeout))
        .run(|event| events.push(event))
        .await;
    let error = outcome.expect_err("files of a hostile server");
    // The last attempt ends with the time; a machine at work may be late.
    let late = Duration::from_secs(30);
    assert!(
        started.elapsed() <= timeout + late,
        "{:?}",
        started.elapsed()
    );
    // It is read by people, and comes with every attempt.
    let said = error.to_string();
    assert!(said.len() < 5_000, "{} bytes are said", said.len());
    let steers = |c: char| c.is_control() && c != '\n';
    assert!(!said.contains(steers), "{said:?}");
    (error, events)
}

fn unusable(error: &JoinError) -> bool {
    matches!(error, JoinError::Unusable(_))
}

/// Nothing to use came until the time was up; a registration may have been accepted last.
fn in_vain(error: &JoinError) -> bool {
    matches!(
        error,
        JoinError::Unreachable { .. } | JoinError::NotReady { .. }
    )
}

/// What it is called, what is sent, how a join ends, and what it says.
type Case = (&'static str, Attack, fn(&JoinError) -> bool, &'static str);

/// Attacks below the level of payloads.
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
            in_vain,
            "message",
        ),
        (
            "one header without end",
            Attack::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'y'; 4096]),
            in_vain,
            "message head is too large",
        ),
        (
            "a status line without end",
            Attack::Endless(b"HTTP/1.1 200 ".to_vec(), vec![b'y'; 4096]),
            in_vain,
            "",
        ),
        (
            "headers that drip",
            Attack::Drip(ok.clone(), b"x: y\r\n".to_vec(), Duration::from_secs(1)),
            in_vain,
            "no answer within",
        ),
        (
            "informational answers without end",
            Attack::Drip(
                vec![],
                b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(),
                Duration::from_millis(100),
            ),
            in_vain,
            "no answer within",
        ),
        (
            "a body without end",
            Attack::Endless(head(chunked), chunk.clone()),
            unusable,
            "it is longer than 1048576 bytes",
        ),
        (
            "a body until the connection closes, which it does not",
            Attack::Endless(head(""), vec![b' '; 4096]),
            unusable,
            "it is longer than 1048576 bytes",
        ),
        (
            "a length beyond all bounds",
            Attack::Hang(head("content-length: 18446744073709551614\r\n")),
            in_vain,
            "",
        ),
        (
            "a length that is none",
            Attack::Once(head("content-length: 99999999999999999999999\r\n")),
            in_vain,
            "",
        ),
        (
            "a gigabyte that is only promised",
            Attack::Hang(head(long)),
            unusable,
            "it is longer than 1048576 bytes",
        ),
        (
            "two lengths",
            Attack::Once(head("content-length: 5\r\ncontent-length: 6\r\n")),
            in_vain,
            "",
        ),
        (
            "a body that stands still",
            Attack::Hang(head("content-length: 100\r\n")),
            in_vain,
            "the answer stood still for 30s",
        ),
        (
            "a body that breaks off",
            Attack::Once([head("content-length: 100\r\n"), b"{".to_vec()].concat()),
            in_vain,
            "it broke off in the middle of its answer",
        ),
        (
            "a chunk's length that is none",
            Attack::Once([head(chunked), b"ffffffffffffffffff\r\n".to_vec()].concat()),
            in_vain,
            "",
        ),
        (
            "extensions of a chunk without end",
            Attack::Endless([head(chunked), b"5;".to_vec()].concat(), vec![b'x'; 4096]),
            in_vain,
            "",
        ),
        (
            "trailers without end",
            Attack::Endless(
                [head(chunked), b"0\r\n".to_vec()].concat(),
                b"x-more: and more\r\n".to_vec(),
            ),
            in_vain,
            "",
        ),
        (
            "what is no HTTP",
            Attack::Once(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
            in_vain,
            "",
        ),
        (
            "a record of TLS",
            Attack::Once(b"\x15\x03\x01\x00\x02\x02\x46".to_vec()),
            in_vain,
            "",
        ),
        ("zeros", Attack::Endless(vec![], vec![0; 4096]), in_vain, ""),
        ("nothing", Attack::Once(vec![]), in_vain, ""),
        ("silence", Attack::Hang(vec![]), in_vain, "no answer within"),
        (
            "a switch of protocols",
            Attack::Once(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
                    .to_vec(),
            ),
            in_vain,
            "",
        ),
        (
            "an error without end",
            Attack::Endless(
                format!("HTTP/1.1 500 Oh\r\n{chunked}\r\n").into_bytes(),
                chunk,
            ),
            in_vain,
            "answered 500",
        ),
        (
            "no body at all",
            Attack::Once(head("content-length: 0\r\n")),
            unusable,
            "not what this protocol sends",
        ),
        (
            "a body where there can be none",
            Attack::Once(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
            unusable,
            "not what this protocol sends",
        ),
    ]
}

impl Attack {
    /// Whether it is a matter of time: then the test's clock is paused. Paused, it runs ahead whenever nobody has
    /// anything to do, also while bytes are on their way; so floods are met in real time.
    fn is_slow(&self) -> bool {
        matches!(self, Self::Hang(_) | Self::Drip(..))
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_its_time_is_given_up() {
    for (name, attack, is_expected, said) in attacks() {
        if attack.is_slow() {
            meet(name, attack, is_expected, said, TIMEOUT).await;
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_ends_within_bounds() {
    let mut met = tokio::task::JoinSet::new();
    for (name, attack, is_expected, said) in attacks() {
        if !attack.is_slow() {
            met.spawn(meet(name, attack, is_expected, said, SOON));
        }
    }
    while let Some(met) = met.join_next().await {
        met.unwrap();
    }
}

async fn meet(
    name: &'static str,
    attack: Attack,
    is_expected: fn(&JoinError) -> bool,
    said: &'static str,
    timeout: Duration,
) {
    let hostile = Hostile::start(attack.clone(), false).await;
    let (error, _) = ended_within(&hostile.url, timeout).await;
    assert!(is_expected(&error), "{name}: {error}");
    assert!(error.to_string().contains(said), "{name}: {error}");
    // Not in a loop: the pauses grow.
    let asked = hostile.asked.load(Ordering::Relaxed);
    assert!((1..150).contains(&asked), "{name}: asked {asked} times");

    // A success without a word is what an accepted registration is.
    if ["no body at all", "a body where there can be none"].contains(&name) {
        return;
    }
    let hostile = Hostile::start(attack, true).await;
    let (error, events) = ended_within(&hostile.url, timeout).await;
    assert!(unusable(&error) || in_vain(&error), "{name}: {error}");
    let registered = |event: &Event| matches!(event, Event::Registered { .. });
    assert!(!events.iter().any(registered), "{name}");
}

/// Bodies of `/node` that are no payload, and what is said of each.
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
        (String::new(), "not what this protocol sends"),
        ("null".to_owned(), "not what this protocol sends"),
        ("[]".to_owned(), "not what this protocol sends"),
        ("\u{1b}[2J".to_owned(), "not what this protocol sends"),
        (files("").replace('1', "99"), "schema version 99"),
        (files("").replace('1', "-1"), "not what this protocol sends"),
        (
            files("").replace('1', "1e999"),
            "not what this protocol sends",
        ),
        (files(&"[".repeat(100_000)), "not what this protocol sends"),
        (
            format!(r#"{{"schema_version":1,"x":{}"#, "[".repeat(500_000)),
            "not what this protocol sends",
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
        (
            file(&format!("{}f", "d/".repeat(120))),
            "at most 200 are taken here",
        ),
        (file(&"x".repeat(100_000)), "at most 1024 bytes"),
        (
            files(r#"{"path":"a","content":""},{"path":"/a","content":""}"#),
            "two files are called /a",
        ),
        (
            files(&many.join(",")),
            "101 files; at most 100 are taken here",
        ),
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
            "not the promised content",
        ),
        (
            files(&format!(
                r#"{{"path":"a","content":"x","chunks":[[2,"{zeros}"]]}}"#
            )),
            "not the promised content",
        ),
        (
            files(&format!(
                r#"{{"path":"a","content":"x","chunks":[[18446744073709551615,"{zeros}"]]}}"#
            )),
            "not the promised content",
        ),
        (
            files(&format!(
                r#"{{"path":"a","content":"x","chunks":[{}]}}"#,
                chunks.trim_end_matches(',')
            )),
            "not the promised content",
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
            "digest does not match",
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
async fn what_is_no_payload_is_refused_after_a_few_tries() {
    let mut met = tokio::task::JoinSet::new();
    for (body, said) in payloads() {
        met.spawn(async move {
            let shown: String = body.chars().take(100).collect();
            let fake = Fake::start(move |asked| match asked.line.as_str() {
                "POST /register" => Reply::Answer(202, "", String::new()),
                _ => Reply::Answer(200, "", body.clone()),
            })
            .await;
            let (error, _) = ended(&fake.url).await;
            assert!(unusable(&error), "{shown}: {error}");
            assert!(error.to_string().contains(said), "{shown}: {error}");
            let asked = fake.lines();
            let asked = asked.iter().filter(|line| *line == "POST /node").count();
            assert_eq!(asked, 3, "{shown}");
        });
    }
    while let Some(met) = met.join_next().await {
        met.unwrap();
    }
}

#[test]
fn nothing_of_it_is_written() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bodies: Vec<String> = payloads().into_iter().map(|(body, _)| body).collect();
    // Good for anybody else: a whole payload whose second file goes nowhere.
    let half = r#"{"schema_version":1,"files":[{"path":"a","content":"x"},{"path":"b/../c","content":"x"}]}"#;
    // All at once: each takes its pauses between its tries.
    let start = |body: String| {
        let shown: String = body.chars().take(100).collect();
        let fake = runtime.block_on(Fake::start(move |asked| match asked.line.as_str() {
            "POST /register" => Reply::Answer(202, "", String::new()),
            _ => Reply::Answer(200, "", body.clone()),
        }));
        let place = Place::new();
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
        let process = place.start(&join);
        (shown, place, process)
    };
    let all = bodies.into_iter().chain([half.to_owned()]);
    for (shown, place, process) in all.map(start).collect::<Vec<_>>() {
        let (code, log) = process.end();
        assert_eq!(code, 65, "{shown}: {log}");
        for nothing in ["out", "receipt", "started"] {
            assert!(!place.path().join(nothing).exists(), "{shown}: {nothing}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn redirects_are_not_followed() {
    let elsewhere = Fake::start(|_| panic!("it was followed")).await;
    let location = format!("location: {}/node\r\n", elsewhere.url);
    let location: &'static str = location.leak();
    for status in [301, 302, 303, 307, 308] {
        let fake = Fake::start(move |_| Reply::Answer(status, location, String::new())).await;
        let (error, _) = ended(&fake.url).await;
        assert!(in_vain(&error), "{error}");
        assert!(
            error.to_string().contains(&format!("answered {status}")),
            "{error}"
        );
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn another_instance_with_every_answer_is_not_registered_with_in_a_loop() {
    for status in [200, 425] {
        let fake = Fake::start(move |asked| {
            let header = format!("cfgsync-instance: {:032x}\r\n", asked.before + 1);
            let header: &'static str = header.leak();
            let body = match asked.line.as_str() {
                "POST /register" => return Reply::Answer(202, header, String::new()),
                _ if status == 200 => r#"{"schema_version":1,"files":[]}"#,
                _ => r#"{"code":"not_ready","message":"not yet"}"#,
            };
            Reply::Answer(status, header, body.to_owned())
        })
        .await;
        let (error, _) = ended(&fake.url).await;
        assert!(
            matches!(
                error,
                JoinError::NotReady { .. } | JoinError::Unreachable { .. }
            ),
            "{error}"
        );
        // Two minutes, a pause of some seconds after each.
        let asked = fake.lines().len();
        assert!((10..300).contains(&asked), "asked {asked} times");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_words_is_cut() {
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
        let fake = Fake::start(move |asked| match asked.line.as_str() {
            "POST /register" => Reply::Answer(202, "", String::new()),
            _ => Reply::Answer(status, "", body.clone()),
        })
        .await;
        let (_, events) = ended(&fake.url).await;
        for event in events {
            let shown = match event {
                Event::Waiting { message, .. } => message,
                Event::Troubled { problem } => problem,
                _ => continue,
            };
            assert!(shown.len() < 20_000, "{} bytes", shown.len());
            assert!(!shown.contains('\u{1b}'));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_patience_without_end_is_believed_for_a_while() {
    let never = "retry-after: 18446744073709551615\r\n";
    for status in [425, 429, 503] {
        let body = r#"{"code":"not_ready","message":"later"}"#;
        let fake = Fake::start(move |asked| match asked.line.as_str() {
            "POST /register" => Reply::Answer(202, "", String::new()),
            _ => Reply::Answer(status, never, body.to_owned()),
        })
        .await;
        ended(&fake.url).await;
        let asked = fake.lines().len();
        // Two minutes, half a minute after each.
        assert!((3..20).contains(&asked), "asked {asked} times");
    }
}
