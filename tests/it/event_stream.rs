//! The client of event streams against servers that interrupt, refuse or attack it.

use cfgsync_client::{CallError, Client, EventStream, WatchOptions, Watched};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// Starts a server that answers each connection with one of `answers` and closes it. Returns its client, and the heads of
/// the requests.
async fn serve(answers: Vec<String>) -> (Client, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (heads, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![];
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
            }
            heads.send(String::from_utf8(head).unwrap()).unwrap();
            // The client may have read enough.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (Client::new([url.parse().unwrap()]), received)
}

/// Returns what happens next, in short.
async fn next(stream: &mut EventStream) -> String {
    match stream.next().await {
        Ok(None) => "end".to_owned(),
        Ok(Some(Watched::Connected)) => "connected".to_owned(),
        Ok(Some(Watched::Event(event))) => format!("{} {}", event.event, event.data),
        Ok(Some(Watched::Interrupted(error))) => format!("interrupted: {error}"),
        Err(CallError::Refused { status, .. }) => format!("refused: {status}"),
        Err(error) => format!("error: {error}"),
    }
}

#[tokio::test]
async fn stream_continues_after_its_newest_id() {
    let unavailable =
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n";
    let denied = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
    let (client, mut heads) = serve(vec![
        format!("{STREAM}id: i-1\nevent: set\ndata: one\n\n: heartbeat\n\nid: i-7\n\ndata: cut"),
        unavailable.to_owned(),
        format!("{STREAM}: connected\n\n"),
        format!("{STREAM}id: i-8\nevent: set\ndata: two\n\n"),
        denied.to_owned(),
    ])
    .await;
    let options = WatchOptions {
        namespaces: vec!["a&b".to_owned()],
        since: Some("oldest".to_owned()),
        ..WatchOptions::default()
    };
    let mut stream = client.watch(&options);
    for expected in [
        "connected",
        "set one",
        "interrupted: ",
        "interrupted: ",
        "connected",
        "interrupted: ",
        "connected",
        "set two",
        "interrupted: ",
        "refused: 401 Unauthorized",
    ] {
        let found = next(&mut stream).await;
        assert!(found.starts_with(expected), "{found}, not {expected}");
    }
    for id in [None, Some("i-7"), Some("i-7"), Some("i-7"), Some("i-8")] {
        let head = heads.recv().await.unwrap();
        let line = "GET /v1/watch?namespaces=a%26b&since=oldest HTTP/1.1\r\n";
        assert!(head.starts_with(line), "{head}");
        let header = id.map(|id| format!("last-event-id: {id}\r\n"));
        match header {
            Some(header) => assert!(head.contains(&header), "{head}"),
            None => assert!(!head.contains("last-event-id"), "{head}"),
        }
    }
}

#[tokio::test]
async fn unusable_streams_end_with_an_error() {
    let long = format!("{STREAM}data: {}", "x".repeat(5 << 20));
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    for (answer, expected) in [
        (long, "an event is longer than 4194304 bytes"),
        (
            json.to_owned(),
            "expected an event stream, found \"application/json\"",
        ),
    ] {
        let (client, _heads) = serve(vec![answer]).await;
        let mut stream = client.watch(&WatchOptions::default());
        let mut found = next(&mut stream).await;
        if found == "connected" {
            found = next(&mut stream).await;
        }
        assert!(
            found.starts_with("error: ") && found.ends_with(expected),
            "{found}"
        );
    }
}

#[tokio::test]
async fn stream_up_to_the_newest_event_ends() {
    let (client, mut heads) = serve(vec![format!("{STREAM}data: 1\n\n")]).await;
    let options = WatchOptions {
        ends_with_newest: true,
        ..WatchOptions::default()
    };
    let mut stream = client.watch(&options);
    for expected in ["connected", "message 1", "end"] {
        assert_eq!(next(&mut stream).await, expected);
    }
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("GET /v1/watch?follow=false "), "{head}");
}
