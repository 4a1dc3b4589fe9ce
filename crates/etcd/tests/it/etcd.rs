//! A real etcd on the loopback interface, one for each test.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::net::TcpStream;

use cfgsync_etcd::{EtcdConfig, EtcdStore};

/// The time for etcd to start, and for a store to open.
const START_MAX: Duration = Duration::from_secs(30);

/// The arguments of etcdctl that let the role `cfgsync` use the keys.
const GRANT: [&str; 6] = [
    "role",
    "grant-permission",
    "--prefix=true",
    "cfgsync",
    "readwrite",
    "/cfgsync/",
];

/// A running etcd. Dropping it ends its processes.
pub(crate) struct Etcd {
    /// That of the clients' URLs.
    scheme: &'static str,
    members: Vec<Member>,
    /// Whether etcdctl must name a user, because authentication is on.
    is_protected: bool,
}

/// A member, whose process may have ended.
struct Member {
    address: SocketAddr,
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
        let hosts: Vec<IpAddr> = (0..count).map(|_| own_host()).collect();
        let etcd = Self::start_processes(&hosts, "http", more);
        let begun = Instant::now();
        while let Err(error) = EtcdStore::open(etcd.config("probe")).await {
            assert!(begun.elapsed() < START_MAX, "etcd does not answer: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        etcd
    }

    fn start_processes(hosts: &[IpAddr], scheme: &'static str, more: &[&str]) -> Self {
        let peer_url = |host: &IpAddr| format!("http://{host}:2380");
        let all = hosts.iter().enumerate();
        let all: Vec<String> = all
            .map(|(at, host)| format!("m{at}={}", peer_url(host)))
            .collect();
        let all = all.join(",");
        let members = hosts.iter().enumerate().map(|(at, host)| {
            let data = tempfile::tempdir().expect("there is room for temporary files");
            let directory = data.path().display().to_string();
            let address = SocketAddr::new(*host, 2379);
            let (client_url, peer_url) = (format!("{scheme}://{address}"), peer_url(host));
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
                address,
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
        let mut etcd = Self {
            scheme,
            members,
            is_protected: false,
        };
        for at in 0..hosts.len() {
            etcd.start_member(at);
        }
        etcd
    }

    /// Starts an etcd with one member that requires certificates of its clients. It is not known when it answers.
    pub(crate) async fn start_with_tls(
        host: IpAddr,
        authority: &str,
        certificate: &str,
        key: &str,
    ) -> Self {
        let arguments = [
            ["--cert-file", certificate],
            ["--key-file", key],
            ["--trusted-ca-file", authority],
        ];
        let arguments = [arguments.as_flattened(), &["--client-cert-auth"]].concat();
        let etcd = Self::start_processes(&[host], "https", &arguments);
        let begun = Instant::now();
        while TcpStream::connect(etcd.addresses()[0]).await.is_err() {
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

    /// Returns the addresses for clients.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.address).collect()
    }

    /// Returns the settings for the cluster `cluster` on this etcd.
    pub(crate) fn config(&self, cluster: &str) -> EtcdConfig {
        let endpoints = self.addresses().into_iter().map(|address| {
            let url = format!("{}://{address}", self.scheme);
            url.parse().expect("it is an address")
        });
        EtcdConfig {
            endpoints: endpoints.collect(),
            ..config(cluster, &[])
        }
    }

    /// Turns authentication on. The user `node` with the password `secret` may use the keys of cfgsync.
    pub(crate) fn protect(&mut self) {
        for arguments in [
            &["user", "add", "root:root"][..],
            &["user", "grant-role", "root", "root"],
            &["user", "add", "node:secret"],
            &["role", "add", "cfgsync"],
            &GRANT,
            &["user", "grant-role", "node", "cfgsync"],
            &["auth", "enable"],
        ] {
            self.etcdctl(arguments);
        }
        self.is_protected = true;
    }

    /// Takes the role away from the user of [`Etcd::protect`].
    pub(crate) fn revoke_role(&self) {
        self.etcdctl(&["user", "revoke-role", "node", "cfgsync"]);
    }

    /// Gives it back. Returns whether etcd has confirmed it.
    pub(crate) fn grant_role(&self) -> bool {
        let output = self.etcdctl(&["user", "grant-role", "node", "cfgsync"]);
        output.contains("is granted")
    }

    /// Deletes the history of all keys before the newest revision.
    pub(crate) fn compact(&self) {
        let status = self.etcdctl(&["endpoint", "status", "-w", "json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
        let members = status.as_array().into_iter().flatten();
        let revisions = members.filter_map(|m| m["Status"]["header"]["revision"].as_u64());
        if let Some(revision) = revisions.max() {
            self.etcdctl(&["compact", &revision.to_string()]);
        }
    }

    /// Returns the member that leads, as far as it is known.
    pub(crate) fn leader(&self) -> Option<usize> {
        let status = self.etcdctl(&["endpoint", "status", "-w", "json"]);
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        let status = status.as_array()?.iter().find(|member| {
            let status = &member["Status"];
            status["leader"] == status["header"]["member_id"]
        })?;
        let endpoint = status["Endpoint"].as_str()?;
        let mut members = self.members.iter();
        members.position(|member| endpoint.ends_with(&member.address.to_string()))
    }

    /// Runs etcdctl, and returns its output.
    pub(crate) fn etcdctl(&self, arguments: &[&str]) -> String {
        let output = self
            .etcdctl_command()
            .args(arguments)
            .output()
            .expect("etcdctl is installed (Debian: etcd-client)");
        String::from_utf8(output.stdout).expect("its output is text")
    }

    fn etcdctl_command(&self) -> Command {
        let endpoints: Vec<String> = self.addresses().iter().map(ToString::to_string).collect();
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &endpoints.join(",")]);
        if self.is_protected {
            command.args(["--user", "root:root"]);
        }
        command
    }

    /// Writes a value of this many bytes.
    pub(crate) fn put_bytes(&self, key: &str, count: usize) {
        let mut process = self
            .etcdctl_command()
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

/// Returns the settings for the cluster `cluster` on the members at these addresses.
pub(crate) fn config(cluster: &str, addresses: &[SocketAddr]) -> EtcdConfig {
    let endpoints = addresses.iter().map(|address| {
        let url = format!("http://{address}");
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

/// Returns an address of the loopback network that nothing else uses. A process that is restarted finds its ports free.
pub(crate) fn own_host() -> IpAddr {
    let mut bytes = [0; 3];
    getrandom::fill(&mut bytes).expect("there are random numbers");
    let [a, b, c] = bytes.map(|byte| byte.clamp(1, 254));
    Ipv4Addr::new(127, a, b, c).into()
}
