//! An etcd of three members, and three `cfgsync serve` processes on it. Each link goes through a proxy.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, time::sleep};

use crate::{
    etcd::{Etcd, own_host},
    proxy::{Link, Proxy},
};

/// The number of servers.
pub(crate) const SERVERS: usize = 3;

/// The time for which a runner may be silent.
pub(crate) const RUN_LEASE: Duration = Duration::from_secs(3);

/// The time for a server to start. It exits if etcd has no majority, and is then started again.
const START_MAX: Duration = Duration::from_mins(1);

/// The exit code of a server that finds no etcd when it starts.
const UNREACHABLE: i32 = 69;

/// All files of a node name the nodes and the values that they were rendered from.
const SPEC: &str = r#"cfgsync: 1
cluster: fleet
ready:
  nodes: 2
once:
  cookie: random_hex(8)
materializers:
  - kind: template
    fragments:
      all: |
        {% for node in nodes %}{{ node.identifier }} {{ node.ip }}
        {% endfor %}k0 {{ value("fleet", "k0", default="-") }}
        k1 {{ value("fleet", "k1", default="-") }}
        cookie {{ once.cookie }}
    files:
      - path: own
        template: |
          {{ node.identifier }} {{ node.ip }}
          {{ fragment("all") }}
      - path: shared
        shared: true
        template: |
          {{ fragment("all") }}
"#;

/// Running servers. Dropping them ends their processes.
pub(crate) struct Servers {
    pub(crate) etcd: Etcd,
    pub(crate) servers: Vec<Server>,
}

/// A `cfgsync serve` process, and the proxies around it.
pub(crate) struct Server {
    address: SocketAddr,
    /// Its links to the members of etcd.
    to_etcd: Vec<Proxy>,
    /// The link of its clients.
    pub(crate) from_clients: Proxy,
    files: tempfile::TempDir,
    process: Option<Child>,
}

impl Servers {
    /// Starts all of them, with these further arguments, and waits until they listen.
    pub(crate) async fn start(more: &[&str]) -> Self {
        let mut etcd = Etcd::start_members(3, &[]).await;
        etcd.protect();
        let mut servers = vec![];
        for at in 0..SERVERS {
            servers.push(Server::start(&etcd, at, more).await);
        }
        let mut servers = Self { etcd, servers };
        servers.heal().await;
        servers
    }

    /// Returns the addresses for clients.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let servers = self.servers.iter();
        servers.map(|server| server.from_clients.address).collect()
    }

    /// Waits until all servers listen. Starts those again that have ended.
    pub(crate) async fn heal(&mut self) {
        let begun = Instant::now();
        for server in &mut self.servers {
            while TcpStream::connect(server.address).await.is_err() {
                assert!(
                    begun.elapsed() < START_MAX,
                    "{} does not listen",
                    server.address
                );
                server.start_again();
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Returns the logs of the servers.
    fn logs(&self) -> String {
        let logs = self.servers.iter().map(|server| {
            let log = std::fs::read_to_string(server.files.path().join("log"));
            format!("server {}:\n{}", server.address, log.unwrap_or_default())
        });
        logs.collect()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.logs());
        }
    }
}

impl Server {
    async fn start(etcd: &Etcd, at: usize, more: &[&str]) -> Self {
        let host: IpAddr = own_host();
        let address = SocketAddr::new(host, 4400);
        let mut to_etcd = vec![];
        for member in etcd.addresses() {
            to_etcd.push(Proxy::start(member).await);
        }
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("cluster.yaml"), SPEC).unwrap();
        std::fs::write(files.path().join("password"), "secret\n").unwrap();
        let mut endpoints: Vec<String> = to_etcd
            .iter()
            .map(|proxy| format!("http://{}", proxy.address))
            .collect();
        endpoints.rotate_left(at);
        let (listen, endpoints) = (address.to_string(), endpoints.join(","));
        let run_lease = format!("{}s", RUN_LEASE.as_secs());
        let arguments = [
            ["--listen", &listen],
            ["--store", "etcd"],
            ["--etcd-endpoints", &endpoints],
            ["--etcd-user", "node"],
            ["--etcd-password-file", "password"],
            ["--etcd-write-timeout", "2s"],
            ["--min-generation-interval", "100ms"],
            ["--run-lease", &run_lease],
            ["--history", "1000"],
        ];
        let arguments = [&["serve", "cluster.yaml"], arguments.as_flattened(), more].concat();
        std::fs::write(files.path().join("arguments"), arguments.join("\n")).unwrap();
        let mut server = Self {
            address,
            to_etcd,
            from_clients: Proxy::start(address).await,
            files,
            process: None,
        };
        server.start_again();
        server
    }

    /// Starts its process, unless it runs.
    pub(crate) fn start_again(&mut self) {
        if let Some(process) = &mut self.process {
            let Some(status) = process.try_wait().unwrap() else {
                return;
            };
            let code = status.code();
            assert_eq!(code, Some(UNREACHABLE), "{}: {status}", self.address);
        }
        let directory = self.files.path();
        let arguments = std::fs::read_to_string(directory.join("arguments")).unwrap();
        let log = File::options()
            .append(true)
            .create(true)
            .open(directory.join("log"));
        let process = Command::new(env!("CARGO_BIN_EXE_cfgsync"))
            .args(arguments.lines())
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn();
        self.process = Some(process.unwrap());
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends a signal to its process, if it runs.
    pub(crate) fn signal(&self, signal: &str) {
        if let Some(process) = &self.process {
            // The process may have ended.
            let _ = Command::new("kill")
                .args([signal, &process.id().to_string()])
                .stderr(Stdio::null())
                .status();
        }
    }

    /// Changes what happens to its connections to etcd.
    pub(crate) fn set_link_to_etcd(&self, link: Link) {
        for proxy in &self.to_etcd {
            proxy.set(link);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
