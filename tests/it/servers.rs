//! Several servers on one etcd, as whole processes.
#![cfg(feature = "etcd")]

use std::{fs, net::TcpListener, process::Command};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    processes::ReservedPort,
    sandbox::{Process, Sandbox, Server, code, text},
};

/// A spec whose only materializer is the shell script `render`.
const SPEC: &str = "cfgsync: 1\ncluster: devnet\nready: {nodes: 1}\nmaterializers:\n  - kind: exec\n    \
                    command: [/bin/sh, render]\n";

/// A running etcd with one member.
struct Etcd {
    process: Process,
    url: String,
    _data: TempDir,
}

impl Etcd {
    /// Starts it. It answers a little later, for which servers wait.
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let [clients, peers] = [(); 2].map(|()| {
            let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            format!("http://{}", free.local_addr().unwrap())
        });
        let mut command = Command::new("etcd");
        command
            .args(["--listen-client-urls", &clients])
            .args(["--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers])
            .args(["--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}")])
            .args(["--logger", "zap", "--log-level", "error"])
            .arg("--data-dir")
            .arg(data.path());
        Self {
            process: Process::start(command),
            url: clients,
            _data: data,
        }
    }

    /// Starts a server on this etcd.
    fn serve(&self, sandbox: &Sandbox, port: &ReservedPort) -> Server {
        self.serve_with(sandbox, port, &[])
    }

    fn serve_with(&self, sandbox: &Sandbox, port: &ReservedPort, more: &[&str]) -> Server {
        let arguments = [
            ["--store", "etcd"],
            ["--etcd-endpoints", &self.url],
            ["--etcd-start-timeout", "1m"],
        ];
        port.serve_with(sandbox, &[arguments.as_flattened(), more].concat())
    }

    /// Returns the keys of the cluster that begin with `name`.
    fn keys(&self, name: &str) -> String {
        let keys = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.url, "get", "--prefix", "--keys-only"])
            .arg(format!("/cfgsync/devnet/{name}"))
            .output()
            .expect("etcdctl is installed (Debian: etcd-client)");
        assert_eq!(code(&keys), 0, "{}", text(&keys.stderr));
        text(&keys.stdout).trim().to_owned()
    }

    fn end(self) {
        self.process.signal(Signal::KILL);
        self.process.end();
    }
}

#[test]
fn input_that_kills_two_servers_leaves_the_third_one_running() {
    let (sandbox, etcd) = (Sandbox::new(), Etcd::start());
    sandbox.put("cluster.yaml", SPEC);
    sandbox.put(
        "render",
        "[ -e harmless ] || kill -9 $PPID\necho '{\"status\": \"ready\", \"nodes\": {}}'\n",
    );
    let ports = [(); 3].map(|()| ReservedPort::new());
    let first = etcd.serve(&sandbox, &ports[0]);
    let mut second = etcd.serve(&sandbox, &ports[1]);
    let urls = ports
        .iter()
        .flat_map(|port| ["--server".to_owned(), port.url()]);
    let urls: Vec<String> = urls.skip(2).collect();
    let more: Vec<&str> = urls.iter().map(String::as_str).collect();
    let waiting = sandbox.join(&ports[0].url(), "node-1", &more);
    assert_eq!(first.end(), 128 + 9, "the first render");

    second
        .log_until("the server before ended while it rendered these files; trying again after 10s");
    let mut third = etcd.serve(&sandbox, &ports[2]);
    assert_eq!(second.end(), 128 + 9, "the second render");

    third.log_until("rendering is paused, because 2 servers in a row ended");
    let (status, log) = waiting.end();
    assert_eq!(status, 70, "{log}");
    assert!(log.contains("rendering is paused"), "{log}");

    sandbox.put("harmless", "");
    let reset = sandbox.run(&["reset", "--server", &ports[2].url()], &[]);
    assert_eq!(code(&reset), 0, "{}", text(&reset.stderr));
    third.log_until("sealed generation 1");
    third.signal(Signal::TERM);
    assert_eq!(third.end(), 0);
    assert_eq!(etcd.keys("rendering/"), "");
    etcd.end();
}

#[test]
fn server_that_is_stopped_while_it_renders_leaves_no_mark() {
    let (sandbox, etcd) = (Sandbox::new(), Etcd::start());
    sandbox.put("cluster.yaml", SPEC);
    let begun = sandbox.pipe("begun");
    sandbox.put("render", "echo begun >begun\nexec sleep 1000\n");
    let port = ReservedPort::new();
    let server = etcd.serve(&sandbox, &port);
    server.register("node-1");
    assert_eq!(fs::read_to_string(begun).unwrap(), "begun\n");
    assert!(
        etcd.keys("rendering/")
            .contains("/cfgsync/devnet/rendering/")
    );
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
    assert_eq!(etcd.keys("rendering/"), "");
    etcd.end();
}

#[test]
fn servers_say_which_fields_and_files_differ_until_a_reload_makes_them_equal() {
    let (etcd, sandboxes) = (Etcd::start(), [Sandbox::new(), Sandbox::new()]);
    let ports = [(); 2].map(|()| ReservedPort::new());
    let tokens = format!("ops operator sha256:{}\n", "1".repeat(64));
    let spec = SPEC.replace("nodes: 1", "nodes: 2");
    sandboxes[0].put("cluster.yaml", SPEC);
    sandboxes[0].put("tokens", &tokens);
    sandboxes[1].put("cluster.yaml", &spec);
    sandboxes[1].put("tokens", "# none\n");
    let serve = |at: usize, name: &str| {
        let more = ["--tokens", "tokens", "--server-name", name];
        sandboxes[at].put("render", "echo '{\"status\": \"ready\", \"nodes\": {}}'\n");
        etcd.serve_with(&sandboxes[at], &ports[at], &more)
    };
    let mut first = serve(0, "first");
    let second = serve(1, "second");
    let line = first.log_until("this server and second (");
    assert!(
        line.ends_with(": spec, spec field ready, tokens\n"),
        "{line}"
    );
    sandboxes[1].put("cluster.yaml", SPEC);
    sandboxes[1].put("tokens", &format!("# the same\n{tokens}"));
    second.signal(Signal::HUP);
    first.log_until("all servers have the same spec, tokens and signing key again");
    for server in [first, second] {
        server.signal(Signal::TERM);
        assert_eq!(server.end(), 0);
    }
    etcd.end();
}
