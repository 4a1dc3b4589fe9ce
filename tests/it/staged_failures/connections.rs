//! A server that cannot be reached, or is not a cfgsync server.

use std::io::Write as _;

use super::stage::{ONE_NODE, Stage, other_server};
use crate::{processes::ReservedPort, sandbox::namespace};

#[test]
fn no_server_is_named() {
    let mut stage = Stage::new(ONE_NODE);
    stage.run(&["join", "--id", "node-1", "--out-dir", "conf"]);
    stage.expect("no_server_is_named");
}

#[test]
fn server_without_a_scheme() {
    let mut stage = Stage::new(ONE_NODE);
    stage.join("boot:4400", &[]);
    stage.expect("server_without_a_scheme");
}

#[test]
fn name_is_unknown() {
    let mut stage = Stage::new(ONE_NODE);
    stage.sandbox.put("resolv.conf", "nameserver 127.0.0.1\n");
    let mut wrapper = namespace(&["--mount"]);
    let script = r#"mount --bind resolv.conf /etc/resolv.conf && exec "$@""#;
    wrapper.extend(["sh", "-c", script, "sh"]);
    let url = "http://boot.invalid:4400";
    let join = crate::sandbox::join(url, "node-1");
    stage.run_under(&wrapper, &[&join[..], &["--timeout", "1s"]].concat());
    stage.expect("name_is_unknown");
}

#[test]
fn connection_is_refused() {
    let mut stage = Stage::new(ONE_NODE);
    let port = ReservedPort::new();
    stage.join(&port.url(), &["--timeout", "1s"]);
    stage.expect("connection_is_refused");
}

#[test]
fn server_does_not_answer() {
    let mut stage = Stage::new(ONE_NODE);
    let (sender, connections) = std::sync::mpsc::channel();
    let url = other_server(move |stream| sender.send(stream).unwrap());
    stage.join(&url, &["--timeout", "1s"]);
    drop(connections);
    stage.expect("server_does_not_answer");
}

#[test]
fn server_closes_each_connection() {
    let mut stage = Stage::new(ONE_NODE);
    let url = other_server(drop);
    stage.join(&url, &["--timeout", "1s"]);
    stage.expect("server_closes_each_connection");
}

#[test]
fn web_server_answers() {
    let mut stage = Stage::new(ONE_NODE);
    let url = other_server(|mut stream| {
        let page = "<html><head><title>404 Not Found</title></head></html>\n";
        let head = "HTTP/1.1 404 Not Found\r\nserver: nginx\r\ncontent-type: text/html\r\n";
        let length = page.len();
        let _ = write!(stream, "{head}content-length: {length}\r\n\r\n{page}");
    });
    stage.join(&url, &["--timeout", "1s"]);
    stage.expect("web_server_answers");
}

#[test]
fn inspect_reaches_no_server() {
    let mut stage = Stage::new(ONE_NODE);
    let port = ReservedPort::new();
    stage.run(&["inspect", "--server", &port.url()]);
    stage.expect("inspect_reaches_no_server");
}
