//! A real etcd on the loopback interface, one for each test.

use std::{
    io::Write as _,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::net::TcpStream;

use cfgsync_etcd::{EtcdConfig, EtcdStore};

/// The time for etcd to start, and for a store to open.
const START_MAX: Duration = Duration::from_secs(30);

/// A running etcd. Dropping it ends its processes.
pub(crate) struct Etcd {
    /// That of the clients' URLs.
    scheme: &'static str,
    members: Vec<Member>,
}

/// A member, whose process may have ended.
struct Member {
    port: u16,
    arguments: Vec<String>,
    process: Option<Child>,
    data: tempfile::TempDir,
}

impl Etcd {
    /// Starts an etcd with one member, and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::start_members(1, &[]).await
    }

    /// Starts an etcd with `count` members and these further arguments, and waits until it answers.
    pub(crate) async fn start_members(count: usize, more: &[&str]) -> Self {
        let etcd = Self::start_processes(count, "http", more);
        let begun = Instant::now();
        while let Err(error) = EtcdStore::open(etcd.config("probe")).await {
            assert!(begun.elapsed() < START_MAX, "etcd does not answer: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        etcd
    }

    fn start_processes(count: usize, scheme: &'static str, more: &[&str]) -> Self {
        let ports: Vec<(u16, u16)> = (0..count).map(|_| (free_port(), free_port())).collect();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let all = ports.iter().enumerate();
        let all: Vec<String> = all
            .map(|(at, (_, peer))| format!("m{at}={}", url(*peer)))
            .collect();
        let all = all.join(",");
        let members = ports.iter().enumerate().map(|(at, (client, peer))| {
            let data = tempfile::tempdir().expect("there is room for temporary files");
            let directory = data.path().display().to_string();
            let (client_url, peer_url) = (format!("{scheme}://127.0.0.1:{client}"), url(*peer));
            let name = format!("m{at}");
            let arguments = [
                ["--name", &name],
                ["--data-dir", &directory],
                ["--listen-client-urls", &client_url],
                ["--advertise-client-urls", &client_url],
                ["--listen-peer-urls", &peer_url],
                ["--initial-advertise-peer-urls", &peer_url],
                ["--initial-cluster", &all],
                ["--initial-cluster-token", &directory],
                ["--logger", "zap"],
            ];
            let arguments = arguments.as_flattened().iter().chain(more);
            Member {
                port: *client,
                arguments: arguments.map(|argument| (*argument).to_owned()).collect(),
                process: None,
                data,
            }
        });
        let mut members: Vec<Member> = members.collect();
        // All members have the same token.
        let token = members[0].data.path().display().to_string();
        for member in &mut members {
            let at = member
                .arguments
                .iter()
                .position(|a| a == "--initial-cluster-token");
            member.arguments[at.expect("it is among them") + 1].clone_from(&token);
        }
        let mut etcd = Self { scheme, members };
        for at in 0..count {
            etcd.start_member(at);
        }
        etcd
    }

    /// Starts an etcd with one member that requires certificates of its clients. It is not known when it answers.
    pub(crate) async fn start_with_tls(authority: &str, certificate: &str, key: &str) -> Self {
        let arguments = [
            ["--cert-file", certificate],
            ["--key-file", key],
            ["--trusted-ca-file", authority],
        ];
        let arguments = [arguments.as_flattened(), &["--client-cert-auth"]].concat();
        let etcd = Self::start_processes(1, "https", &arguments);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", etcd.ports()[0]))
            .await
            .is_err()
        {
            assert!(begun.elapsed() < START_MAX, "etcd does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        etcd
    }

    /// Starts a member that does not run.
    pub(crate) fn start_member(&mut self, at: usize) {
        let member = &mut self.members[at];
        let process = Command::new("etcd")
            .args(&member.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed (Debian: etcd-server)");
        member.process = Some(process);
    }

    /// Kills a member.
    pub(crate) fn kill_member(&mut self, at: usize) {
        if let Some(mut process) = self.members[at].process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends a signal to a member.
    pub(crate) fn signal_member(&self, at: usize, signal: &str) {
        if let Some(process) = &self.members[at].process {
            let sent = Command::new("kill")
                .args([signal, &process.id().to_string()])
                .status();
            assert!(sent.is_ok_and(|status| status.success()), "kill {signal}");
        }
    }

    /// Returns the ports for clients.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.members.iter().map(|member| member.port).collect()
    }

    /// Returns the settings for the cluster `cluster` on this etcd.
    pub(crate) fn config(&self, cluster: &str) -> EtcdConfig {
        let endpoints = self.ports().into_iter().map(|port| {
            let url = format!("{}://127.0.0.1:{port}", self.scheme);
            url.parse().expect("it is an address")
        });
        EtcdConfig {
            endpoints: endpoints.collect(),
            ..config(cluster, &[])
        }
    }

    /// Runs etcdctl, and returns its output.
    pub(crate) fn etcdctl(&self, arguments: &[&str]) -> String {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args([
                "--endpoints",
                &format!("http://127.0.0.1:{}", self.members[0].port),
            ])
            .args(arguments)
            .output()
            .expect("etcdctl is installed (Debian: etcd-client)");
        String::from_utf8(output.stdout).expect("its output is text")
    }

    /// Writes a value of this many bytes.
    pub(crate) fn put_bytes(&self, key: &str, count: usize) {
        let mut process = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args([
                "--endpoints",
                &format!("http://127.0.0.1:{}", self.members[0].port),
            ])
            .args(["put", key])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcdctl is installed (Debian: etcd-client)");
        let mut input = process.stdin.take().expect("it is piped");
        // It may fail, because the database is full.
        let _ = input.write_all(&vec![b'x'; count]);
        drop(input);
        let _ = process.wait();
    }

    /// Returns the keys that begin with `prefix`.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let keys = self.etcdctl(&["get", "--prefix", "--keys-only", prefix]);
        let lines = keys.lines().filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    }

    /// Opens the store of `cluster`.
    pub(crate) async fn open(&self, cluster: &str) -> EtcdStore {
        let opened = EtcdStore::open(self.config(cluster)).await;
        opened.expect("etcd is ready")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for at in 0..self.members.len() {
            self.kill_member(at);
        }
    }
}

/// Returns the settings for the cluster `cluster` on the members at these ports.
pub(crate) fn config(cluster: &str, ports: &[u16]) -> EtcdConfig {
    let endpoints = ports.iter().map(|port| {
        let url = format!("http://127.0.0.1:{port}");
        url.parse().expect("it is an address")
    });
    EtcdConfig {
        endpoints: endpoints.collect(),
        prefix: "/cfgsync".to_owned(),
        cluster: cluster.to_owned(),
        authorities: None,
        identity: None,
        user: None,
        start_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(10),
        history: 3,
        event_bounds: cfgsync_store::EventBounds::default(),
        housekeeping: cfgsync_etcd::Housekeeping::default(),
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback interface is up");
    listener.local_addr().expect("it is bound").port()
}
