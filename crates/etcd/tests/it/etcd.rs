//! A real etcd on the loopback interface, one for each test.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use cfgsync_etcd::{EtcdConfig, EtcdStore};

/// The time for etcd to start, and for a store to open.
const START_MAX: Duration = Duration::from_secs(30);

/// A running etcd with one member. Dropping it ends the process.
pub(crate) struct Etcd {
    process: Child,
    port: u16,
    _data: tempfile::TempDir,
}

impl Etcd {
    /// Starts etcd and waits until it answers.
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().expect("there is room for temporary files");
        let (port, peer_port) = (free_port(), free_port());
        let (client, peer) = (
            format!("http://127.0.0.1:{port}"),
            format!("http://127.0.0.1:{peer_port}"),
        );
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(data.path())
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(["--logger", "zap"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed (Debian: etcd-server)");
        let etcd = Self {
            process,
            port,
            _data: data,
        };
        let begun = Instant::now();
        while let Err(error) = EtcdStore::open(etcd.config("probe")).await {
            assert!(begun.elapsed() < START_MAX, "etcd does not answer: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        etcd
    }

    /// Returns the settings for the cluster `cluster` on this etcd.
    pub(crate) fn config(&self, cluster: &str) -> EtcdConfig {
        EtcdConfig {
            endpoints: vec![
                format!("http://127.0.0.1:{}", self.port)
                    .parse()
                    .expect("it is an address"),
            ],
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

    /// Returns the keys that begin with `prefix`.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &format!("http://127.0.0.1:{}", self.port)])
            .args(["get", "--prefix", "--keys-only", prefix])
            .output()
            .expect("etcdctl is installed (Debian: etcd-client)");
        let keys = String::from_utf8(output.stdout).expect("keys are text");
        let lines = keys.lines().filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    }

    /// Opens the store of `cluster`.
    #[allow(
        dead_code,
        reason = "not every test opens stores without other settings"
    )]
    pub(crate) async fn open(&self, cluster: &str) -> EtcdStore {
        let opened = EtcdStore::open(self.config(cluster)).await;
        opened.expect("etcd is ready")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback interface is up");
    listener.local_addr().expect("it is bound").port()
}
