//! Starts and stops the two servers, and runs the load generator against them.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;

/// Time within which a server must start to listen.
const START_BOUND: Duration = Duration::from_secs(10);

/// USER_HZ, the unit of CPU times in /proc; 100 on every Linux in use.
const TICKS_PER_SECOND: f64 = 100.0;

const SPECS: [(&str, &str); 5] = [
    ("ring", include_str!("../../../specs/ring.yaml")),
    ("living", include_str!("../../../specs/living.yaml")),
    ("mesh", include_str!("../../../specs/mesh.yaml")),
    ("service", include_str!("../../../specs/service.yaml")),
    ("shared", include_str!("../../../specs/shared.yaml")),
];

/// Paths of the programs that the benchmark runs.
pub(crate) struct Programs {
    pub(crate) cfgsync: PathBuf,
    ceiling: PathBuf,
    bootstorm: PathBuf,
}

impl Programs {
    /// Finds the programs in the directory of this one, where cargo puts them.
    pub(crate) fn find(cfgsync: Option<PathBuf>) -> anyhow::Result<Self> {
        let here = std::env::current_exe()?;
        let beside = |name: &str| here.with_file_name(name);
        let programs = Self {
            cfgsync: cfgsync.unwrap_or_else(|| beside("cfgsync")),
            ceiling: beside("ceiling"),
            bootstorm: beside("bootstorm"),
        };
        for program in [&programs.cfgsync, &programs.ceiling, &programs.bootstorm] {
            anyhow::ensure!(program.is_file(), "there is no {}", program.display());
        }
        Ok(programs)
    }

    /// Starts `cfgsync serve` with one of the built-in specs for `nodes` nodes. `shared` is the content of its shared file.
    pub(crate) fn serve(&self, spec: &str, nodes: usize, shared: &str) -> anyhow::Result<Server> {
        self.serve_with(spec, nodes, shared, &[])
    }

    /// Like [`Self::serve`] with more flags. Relative paths in them refer to the server's own directory.
    pub(crate) fn serve_with(
        &self,
        spec: &str,
        nodes: usize,
        shared: &str,
        flags: &[&str],
    ) -> anyhow::Result<Server> {
        let (_, text) = SPECS
            .iter()
            .find(|(name, _)| *name == spec)
            .with_context(|| format!("there is no spec `{spec}`"))?;
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        fs::write(
            at("cluster.yaml"),
            text.replace("nodes: 16 ", &format!("nodes: {nodes} ")),
        )?;
        fs::write(at("shared.txt"), shared)?;
        self.serve_in(directory, flags)
    }

    /// Starts `cfgsync serve` in a directory that contains its files.
    fn serve_in(&self, directory: TempDir, flags: &[&str]) -> anyhow::Result<Server> {
        let at = |name: &str| directory.path().join(name);
        let mut process = Command::new(&self.cfgsync)
            .args(["serve", "cluster.yaml", "--listen", "127.0.0.1:0"])
            .args(["--port-file", "port"])
            // All simulated nodes use one address, so its rate limit is disabled.
            .args(["--rate-max", "0"])
            .args(flags)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(at("log"))?)
            .spawn()
            .context("starting cfgsync serve")?;
        match port(&at("port"), &mut process) {
            Ok(port) => Ok(Server::new(process, port, Some(directory))),
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                let log = fs::read_to_string(at("log")).unwrap_or_default();
                Err(error.context(format!("cfgsync serve did not start:\n{log}")))
            }
        }
    }

    /// Kills `server` and starts it again in its directory. Returns once it has written its port file.
    pub(crate) fn restart(&self, mut server: Server, flags: &[&str]) -> anyhow::Result<Server> {
        let directory = server
            .directory
            .take()
            .context("the server has no directory")?;
        drop(server);
        fs::remove_file(directory.path().join("port"))?;
        self.serve_in(directory, flags)
    }

    /// Runs `cfgsync` with `arguments` in `directory` and returns its output.
    pub(crate) fn output_in(&self, directory: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.cfgsync)
            .args(arguments)
            .current_dir(directory)
            .stderr(Stdio::inherit())
            .output()
            .context("running cfgsync")?;
        anyhow::ensure!(output.status.success(), "cfgsync {arguments:?} failed");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Starts the reference server for `nodes` nodes.
    pub(crate) fn ceiling(&self, shape: &str, nodes: usize) -> anyhow::Result<Server> {
        let mut process = Command::new(&self.ceiling)
            .args(["0", &nodes.to_string(), shape])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting ceiling")?;
        let mut line = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let port = line
            .trim()
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        Ok(Server::new(
            process,
            port.context("ceiling printed no port")?,
            None,
        ))
    }

    /// Runs the load generator and returns its JSON report.
    pub(crate) fn load(
        &self,
        server: &Server,
        mode: &str,
        nodes: usize,
        arguments: &[&str],
    ) -> anyhow::Result<Value> {
        let (nodes, pid) = (nodes.to_string(), server.process.id().to_string());
        let target = ["--url", &server.url, "-n", &nodes, "--server-pid", &pid];
        self.report(mode, &[&target[..], arguments].concat())
            .with_context(|| format!("the end of the server's log:\n{}", server.log_tail()))
    }

    /// Runs bootstorm, and returns its JSON report.
    pub(crate) fn report(&self, mode: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = Command::new(&self.bootstorm)
            .arg(mode)
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()
            .context("running bootstorm")?;
        if !output.status.success() {
            bail!("bootstorm {mode} failed");
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// A running server. Dropping this kills it.
pub(crate) struct Server {
    process: Child,
    pub(crate) url: String,
    directory: Option<TempDir>,
}

impl Server {
    fn new(process: Child, port: u16, directory: Option<TempDir>) -> Self {
        Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
            directory,
        }
    }

    /// Returns the path of a file in the server's directory, as a command line argument.
    pub(crate) fn file(&self, name: &str) -> anyhow::Result<String> {
        let directory = self
            .directory
            .as_ref()
            .context("the server has no directory")?;
        Ok(directory.path().join(name).display().to_string())
    }

    /// Returns the CPU time that the server has used, in seconds.
    pub(crate) fn cpu_s(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The command name may contain spaces, so count fields from its closing parenthesis.
        let (_, fields) = stat.rsplit_once(')').context("no command name")?;
        let times = fields.split_whitespace().skip(11).take(2);
        let ticks = times.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }

    fn log_tail(&self) -> String {
        let Some(directory) = &self.directory else {
            return String::new();
        };
        let log = fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until a starting server has written its port file, and returns the port.
fn port(file: &Path, process: &mut Child) -> anyhow::Result<u16> {
    let start = Instant::now();
    while start.elapsed() < START_BOUND {
        if let Ok(port) = fs::read_to_string(file).unwrap_or_default().trim().parse() {
            return Ok(port);
        }
        if let Some(status) = process.try_wait()? {
            bail!("the server ended with {status}");
        }
        sleep(Duration::from_millis(5));
    }
    bail!("no port after {} s", START_BOUND.as_secs())
}
