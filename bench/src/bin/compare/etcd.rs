//! A real etcd with one member, in a temporary directory.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tempfile::TempDir;

/// Time within which etcd must start to answer.
const START_BOUND: Duration = Duration::from_secs(20);

/// The largest page of metrics, in bytes.
const METRICS_MAX_BYTES: u64 = 4 << 20;

/// A running etcd. Dropping this kills it.
pub(crate) struct Etcd {
    process: Child,
    pub(crate) url: String,
    directory: TempDir,
}

impl Etcd {
    /// Starts etcd, and waits until it answers.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let local = || -> anyhow::Result<String> {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            Ok(format!("http://127.0.0.1:{port}"))
        };
        let (url, peer) = (local()?, local()?);
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(directory.path().join("data"))
            .args(["--listen-client-urls", &url])
            .args(["--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(["--logger", "zap"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.path().join("log"))?)
            .spawn()
            .context("starting etcd (Debian: etcd-server)")?;
        let etcd = Self {
            process,
            url,
            directory,
        };
        let start = Instant::now();
        while etcd.metric("etcd_server_has_leader").unwrap_or(0.0) < 1.0 {
            let log = || fs::read_to_string(etcd.directory.path().join("log")).unwrap_or_default();
            anyhow::ensure!(
                start.elapsed() < START_BOUND,
                "etcd did not start: {}",
                log()
            );
            sleep(Duration::from_millis(20));
        }
        Ok(etcd)
    }

    /// Returns one of etcd's metrics.
    pub(crate) fn metric(&self, name: &str) -> anyhow::Result<f64> {
        metric(&self.url, name)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the metric `name`, which has no labels, of the server at `url`.
pub(crate) fn metric(url: &str, name: &str) -> anyhow::Result<f64> {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).with_context(|| format!("connecting to {url}"))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.take(METRICS_MAX_BYTES).read_to_string(&mut text)?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let (_, value) = lines
        .find(|(found, _)| *found == name)
        .with_context(|| format!("{url} has no metric {name}"))?;
    Ok(value.trim().parse()?)
}
