//! `cfgsync serve`: holds the door, until a signal comes or the command that it runs has ended.

mod signals;
mod beside;
mod access;
mod state;
mod signing;
mod child;
mod descriptors;
mod listeners;
mod tls;
mod reread;

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use cfgsync::app::{self, Server, ServerError};
use cfgsync_access::Guard;
use cfgsync_client::disk::create_beside;
use cfgsync_cluster as cluster;
use cfgsync_server::{self, DrainReport, HttpConfig};
use cfgsync_spec::Spec;
use cfgsync_store::{Bounds, Store, StoreError};
use cfgsync_support::clock::WallClock;
use cfgsync_wire::SigningKey;
use clap::Args;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    exit::Exit,
    manager::Manager,
    values::{bytes, duration},
};
use access::AccessArgs;
pub(crate) use access::AccessError;
use child::Child;
pub(crate) use child::SpawnError;
use descriptors::Descriptors;
use reread::Reread;
use signals::{Signals, Told};
use state::StateArgs;
pub(crate) use tls::TlsSetupError;
use tls::{ServeTls, TlsArgs};

/// How long threads that are still at work may take to end once everything else has.
const THREADS_GRACE: Duration = Duration::from_secs(2);

/// The mode of files that are written for whoever waits for them, before the umask.
const WHOLE_MODE: u32 = 0o666;

/// Hold the door: register nodes until the spec's set is complete, then hand out their files
///
/// SIGTERM and SIGINT stop it: nothing new is accepted, requests in flight end. SIGHUP reads the spec again and
/// keeps the last good one when it has a mistake. With `-- CMD`, CMD finds the server in CFGSYNC_SERVER; the
/// server stops when CMD ends, and exits with its code.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync serve cluster.yaml
  cfgsync serve cluster.yaml --listen 10.0.0.5:4400 --allow-anonymous
  cfgsync serve cluster.yaml --listen 127.0.0.1:0 --port-file /run/cfgsync.port
  cfgsync serve cluster.yaml --state-dir /var/lib/cfgsync   # goes on after a restart
  cfgsync serve cluster.yaml -- ./smoke.sh          # a smoke test in one line")]
pub(crate) struct ServeArgs {
    /// The spec: when the set is complete, and which files each node then gets
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// Where to listen; repeat it for more addresses. Port 0 takes a free one
    #[arg(
        long,
        env = "CFGSYNC_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:4400",
        value_parser = address
    )]
    listen: Vec<SocketAddr>,
    /// Write the port to this file once the server listens, one line per --listen
    #[arg(long, env = "CFGSYNC_LISTEN_PORT_FILE", value_name = "FILE")]
    port_file: Option<PathBuf>,
    #[command(flatten)]
    signing: signing::SigningArgs,
    /// Hold the requests of clients that do not ask to wait for so long, when there is no payload yet
    #[arg(long, env = "CFGSYNC_HOLD", value_name = "DURATION", default_value = "0s", value_parser = duration)]
    hold: Duration,
    /// Least time from one render to the next
    #[arg(
        long,
        env = "CFGSYNC_MIN_GENERATION_INTERVAL",
        value_name = "DURATION",
        default_value = "1s",
        value_parser = duration
    )]
    min_generation_interval: Duration,
    #[command(flatten)]
    state: StateArgs,
    /// How many generations are kept for `inspect`
    #[arg(
        long,
        env = "CFGSYNC_HISTORY",
        value_name = "COUNT",
        default_value = "8",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    history: u16,
    /// How long requests in flight may take to end once the server stops, and CMD once it was told to
    #[arg(
        long,
        env = "CFGSYNC_DRAIN_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration
    )]
    drain_timeout: Duration,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// A command to run beside the server; its exit code becomes the server's
    #[arg(last = true, value_name = "CMD")]
    command: Vec<std::ffi::OsString>,
}

/// Bounds that protect the server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Longest wait that a client may ask for; longer ones are cut to it
    #[arg(long, env = "CFGSYNC_WAIT_MAX", value_name = "DURATION", default_value = "1h", value_parser = duration)]
    wait_max: Duration,
    /// Largest body of every route but /node/replace
    #[arg(long, env = "CFGSYNC_REGISTER_BODY_MAX", value_name = "BYTES", default_value = "64KiB", value_parser = bytes)]
    register_body_max: usize,
    /// Largest body of /node/replace
    #[arg(long, env = "CFGSYNC_REPLACE_BODY_MAX", value_name = "BYTES", default_value = "32MiB", value_parser = bytes)]
    replace_body_max: usize,
    /// Registered nodes; another one is refused, and `join` comes again. Those that the spec lists always find room
    #[arg(
        long,
        env = "CFGSYNC_NODES_MAX",
        value_name = "COUNT",
        default_value = "100000",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    nodes_max: u32,
    /// Memory for the metadata of all nodes together; what would take more is refused, and `join` comes again
    ///
    /// A text counts with its length, and each value, name and list with 64 bytes beside it, an object with 512. The
    /// server holds them twice.
    #[arg(long, env = "CFGSYNC_METADATA_TOTAL_MAX", value_name = "BYTES", default_value = "256MiB", value_parser = bytes)]
    metadata_total_max: usize,
    /// Open connections; more wait in the listen backlog
    #[arg(
        long,
        env = "CFGSYNC_CONNECTIONS_MAX",
        value_name = "COUNT",
        default_value = "16384",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    connections_max: u32,
    /// Open connections of one address, an IPv6 /64 counting as one; more are closed, and `join` comes again. Unless it
    /// is given, three quarters of --connections-max, so that no address shuts out all others
    ///
    /// Where more nodes than that come from one address, as behind NAT, raise it.
    #[arg(
        long,
        env = "CFGSYNC_CONNECTIONS_PER_ADDRESS_MAX",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    connections_per_address_max: Option<u32>,
    /// How long a connection may be idle, or take to send a request's head
    #[arg(long, env = "CFGSYNC_HEADER_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    header_timeout: Duration,
    /// How long a request's body may take
    #[arg(long, env = "CFGSYNC_BODY_TIMEOUT", value_name = "DURATION", default_value = "1m", value_parser = duration)]
    body_timeout: Duration,
    /// How long a client may take no byte of its answer
    #[arg(
        long,
        env = "CFGSYNC_WRITE_STALL_TIMEOUT",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = duration
    )]
    write_stall_timeout: Duration,
}

impl LimitArgs {
    fn bounds(&self) -> Bounds {
        Bounds {
            nodes_max: self.nodes_max as usize,
            metadata_total_max_bytes: self.metadata_total_max,
        }
    }
}

/// Why a server does not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// Others could reach it, and nobody said that they may.
    #[error(
        "refusing to listen on {0} without authentication: others than this machine can reach it"
    )]
    Exposed(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the operating system said.
        error: io::Error,
    },
    /// What the service manager passed is of no use.
    #[error("a socket that the service manager passed cannot be listened on: {0}")]
    Inherited(io::Error),
    /// The port file cannot be written.
    #[error("cannot write the port file {}: {error}", path.display())]
    PortFile {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// TLS cannot be spoken as it was asked for.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// The process lacks something basic: threads, signals.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StoreError),
    /// The server did not begin, or could not go on.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl ServeArgs {
    /// Whether others than this machine may reach the server: only those who show who they are, or anybody.
    fn may_be_exposed(&self) -> bool {
        self.access.may_be_exposed() || self.tls.authenticates()
    }
}

/// What a server needs before anybody can see it.
struct Prepared {
    args: ServeArgs,
    spec: Spec,
    guard: Guard,
    sign_key: Option<Arc<SigningKey>>,
    store: Option<Arc<dyn Store>>,
}

/// Reads what there is to read. May take long, or for ever.
fn prepare(args: ServeArgs) -> anyhow::Result<Prepared> {
    listeners::refuse_exposure(&args.listen, args.may_be_exposed())?;
    let spec = Spec::load(&args.spec)?;
    let guard = args.access.guard(args.tls.authenticates())?;
    guard.can_tell(spec.identity).map_err(AccessError::from)?;
    let sign_key = args.signing.read()?;
    let store = state::open(&args.state, &spec, args.history).map_err(ServeError::State)?;
    Ok(Prepared {
        args,
        spec,
        guard,
        sign_key,
        store,
    })
}

pub(crate) fn run(args: ServeArgs) -> anyhow::Result<Exit> {
    let mut signals = Signals::catch().map_err(ServeError::Runtime)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    let has_command = !args.command.is_empty();
    let exit = runtime.block_on(async {
        let preparing = tokio::task::spawn_blocking(move || prepare(args));
        tokio::select! {
            prepared = preparing => serve(prepared??, signals).await,
            stop = signals.stop() => {
                tracing::info!("{}: stopping before anything was served", stop.name);
                // A command that never ran has not succeeded.
                Ok(match has_command {
                    true => Exit::of_signal(stop.signal.as_raw()),
                    false => Exit::Done,
                })
            }
        }
    });
    // A render that does not end, or a spec that cannot be read to its end, must not keep a server that was
    // told to stop; programs that make files get the time to be ended with all their children.
    runtime.shutdown_timeout(THREADS_GRACE);
    exit
}

async fn serve(prepared: Prepared, mut signals: Signals) -> anyhow::Result<Exit> {
    let Prepared {
        mut args,
        spec,
        guard,
        sign_key,
        store,
    } = prepared;
    let manager = Manager::from_environment();
    let (listeners, addresses) = listeners::open(&args.listen, args.may_be_exposed())?;
    let state_directory = args.state.directory();
    let tls = std::mem::take(&mut args.tls).prepare(&addresses, state_directory.as_deref());
    let tls = tls.map_err(ServeError::Tls)?.map(Arc::new);
    if let Some(path) = &args.port_file {
        write_port_file(path, &addresses).map_err(|error| ServeError::PortFile {
            path: path.clone(),
            error,
        })?;
    }
    let descriptors = Descriptors::raise();
    let mut http = http_config(&args, &descriptors, guard.clone());
    http.tls = tls.as_ref().map(|tls| tls.tls.clone());
    let mut child = match args.command.split_first() {
        Some((program, arguments)) => {
            let url = match &tls {
                Some(tls) => tls.local_url(),
                None => format!("http://{}", place(&addresses)),
            };
            let child = Child::spawn(program, arguments, &url)?;
            descriptors.restore_for(&child);
            Some(child)
        }
        None => None,
    };
    tell(&spec.cluster, &addresses, guard.asks(), tls.as_deref())?;
    let (status, status_line) = watch::channel(String::new());
    let server = Server {
        spec,
        listeners,
        materializers: vec![],
        coordinator: cluster::Config {
            min_generation_interval: args.min_generation_interval,
            bounds: args.limits.bounds(),
            sign_key: sign_key.clone(),
            ..cluster::Config::default()
        },
        http,
        store,
        history_generations: args.history.into(),
        clock: WallClock::system(),
        status: manager.is_there().then_some(status),
    };
    let (reload, reloaded) = mpsc::channel(1);
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        // Dropping the sender is the signal.
        let _ = stopped.await;
    };
    let mut serving = tokio::spawn(app::serve(server, reloaded, shutdown));
    manager.ready();
    let reread = Reread {
        args: &args,
        guard: &guard,
        specs: &reload,
        sign_key: sign_key.as_deref(),
    };
    let attending = manager.attend(status_line);
    let mut attending = pin!(attending);
    let exit = tokio::select! {
        ended = &mut serving => {
            finished(&ended?.map_err(ServeError::Server)?);
            return Ok(Exit::Unexpected);
        }
        exit = until_told(
            &mut signals,
            child.as_mut(),
            &reread,
            tls.as_deref(),
            manager,
        ) => exit?,
        () = &mut attending => unreachable!("it attends for ever"),
    };
    manager.stopping(args.drain_timeout + THREADS_GRACE);
    drop(stop);
    tokio::select! {
        ended = &mut serving => finished(&ended?.map_err(ServeError::Server)?),
        () = &mut attending => unreachable!("it attends for ever"),
        signal = signals.stop() => {
            tracing::warn!("{} again: stopping at once", signal.name);
            serving.abort();
        }
    }
    Ok(exit)
}

/// Says where the server is, and how nodes join.
fn tell(
    cluster: &str,
    addresses: &[SocketAddr],
    asks: bool,
    tls: Option<&ServeTls>,
) -> Result<(), ServeError> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    for address in addresses {
        tracing::info!("serving {cluster} on {scheme}://{address}");
    }
    match tls {
        Some(tls) => tls.tell()?,
        None if asks && !cfgsync_server::is_loopback_only(addresses) => tracing::warn!(
            "tokens and files go over the network as they are: speak TLS (--tls self-signed, or --tls-cert FILE)"
        ),
        None => {}
    }
    Ok(())
}

/// Runs until the server is to stop, and with which exit code.
async fn until_told(
    signals: &mut Signals,
    mut child: Option<&mut Child>,
    reread: &Reread<'_>,
    tls: Option<&ServeTls>,
    manager: Manager,
) -> anyhow::Result<Exit> {
    // Beside the signals: a spec that takes long to read must not keep anybody from stopping the server.
    let hangups = Notify::new();
    let rereading = async {
        loop {
            hangups.notified().await;
            manager.reloading();
            reread.once().await;
            manager.ready();
        }
    };
    let mut rereading = pin!(rereading);
    let refreshing = async {
        match tls {
            Some(tls) => tls.keep_fresh(reread.guard).await,
            None => std::future::pending().await,
        }
    };
    let mut refreshing = pin!(refreshing);
    let mut kill_at = None;
    loop {
        let ended = async {
            match &mut child {
                Some(child) => child.wait().await,
                None => std::future::pending().await,
            }
        };
        let told = tokio::select! {
            exit = ended => return exit,
            told = signals.next() => told,
            () = &mut rereading => unreachable!("it reads for ever"),
            () = &mut refreshing => unreachable!("it looks for ever"),
            () = sleep_until(kill_at) => {
                if let Some(child) = &mut child {
                    child.kill("it did not end within --drain-timeout");
                }
                kill_at = None;
                continue;
            }
        };
        match (told, &mut child) {
            (Told::Reread, _) => {
                hangups.notify_one();
                if let Some(tls) = tls {
                    tls.hangup();
                }
            }
            (Told::Stop(stop), Some(child)) if kill_at.is_some() => {
                child.kill(&format!("{} again", stop.name));
            }
            (Told::Stop(stop), Some(child)) => {
                child.pass_on(stop);
                kill_at = Some(Instant::now() + reread.args.drain_timeout);
            }
            (Told::Stop(stop), None) => {
                tracing::info!("{}: stopping", stop.name);
                return Ok(Exit::Done);
            }
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn finished(report: &DrainReport) {
    match report.cut {
        0 => tracing::info!("stopped after {:.1?}", report.took),
        cut => tracing::warn!(
            "stopped after {:.1?}; {cut} of {} connections were cut, their requests took longer than \
             --drain-timeout",
            report.took,
            report.open
        ),
    }
}

fn write_port_file(path: &Path, addresses: &[SocketAddr]) -> io::Result<()> {
    let ports: Vec<String> = addresses
        .iter()
        .map(|address| address.port().to_string())
        .collect();
    write_whole(path, &(ports.join("\n") + "\n"))
}

/// Whoever waits for the file sees all of it or nothing. A device or a pipe, and a link to one (`/dev/stdout`), is
/// written to and stays what it is: renamed over, it would be gone for everybody on the machine.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let is_no_file = std::fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir());
    // A link to whatever a descriptor is of, which may be a file.
    let into_proc = std::fs::read_link(path).is_ok_and(|target| target.starts_with("/proc"));
    if is_no_file || into_proc {
        return std::fs::write(path, text);
    }
    let (staged, mut file) = create_beside(path, WHOLE_MODE)?;
    let written = file.write_all(text.as_bytes());
    let put = written.and_then(|()| std::fs::rename(&staged, path));
    put.inspect_err(|_| {
        // The error that is told is the first one.
        let _ = std::fs::remove_file(&staged);
    })
}

fn http_config(args: &ServeArgs, descriptors: &Descriptors, guard: Guard) -> HttpConfig {
    let limits = &args.limits;
    let wanted = limits.connections_max as usize;
    let connections_max = wanted.min(descriptors.connections_max());
    if connections_max < wanted {
        tracing::warn!(
            "at most {connections_max} connections at a time instead of {wanted}: this process may open no \
             more files (ulimit -Hn, LimitNOFILE=)"
        );
    }
    HttpConfig {
        hold: args.hold,
        wait_max: limits.wait_max,
        register_body_max_bytes: limits.register_body_max,
        replace_body_max_bytes: limits.replace_body_max,
        connections_max,
        connections_per_address_max: limits.connections_per_address_max.map(|max| max as usize),
        header_timeout: limits.header_timeout,
        body_timeout: limits.body_timeout,
        write_stall_timeout: limits.write_stall_timeout,
        drain_timeout: args.drain_timeout,
        waiters_per_node_max: args.access.waiters_per_node_max.into(),
        guard,
        ..HttpConfig::default()
    }
}

/// Where a process on this machine reaches the server.
fn place(addresses: &[SocketAddr]) -> SocketAddr {
    let mut address = addresses[0];
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Reads where to listen: an IP address and a port.
fn address(text: &str) -> Result<SocketAddr, String> {
    let literal = text
        .strip_prefix("localhost:")
        .map(|port| format!("127.0.0.1:{port}"));
    let literal = literal.as_deref().unwrap_or(text);
    literal.parse().map_err(|_| {
        "expected an IP address and a port such as `127.0.0.1:4400`, `[::1]:4400` or `0.0.0.0:4400`"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        serve: ServeArgs,
    }

    #[test]
    fn defaults_are_those_of_the_library() {
        let args = Only::parse_from(["serve", "cluster.yaml"]).serve;
        let unlimited = Descriptors::unlimited();
        let told = format!("{:?}", http_config(&args, &unlimited, Guard::default()));
        assert_eq!(told, format!("{:?}", HttpConfig::default()));
        assert_eq!(args.limits.bounds(), cluster::Config::default().bounds);
        assert_eq!(usize::from(args.history), app::HISTORY_GENERATIONS);
        let interval = cluster::Config::default().min_generation_interval;
        assert_eq!(args.min_generation_interval, interval);
    }

    #[test]
    fn what_is_no_file_stays_what_it_is() {
        let place = tempfile::tempdir().unwrap();
        let (link, file) = (place.path().join("stdout"), place.path().join("port"));
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        write_whole(&link, "4400\n").unwrap();
        assert!(link.is_symlink(), "it was renamed over");
        write_whole(&file, "4400\n").unwrap();
        write_whole(&file, "4401\n").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "4401\n");
        let left = std::fs::read_dir(place.path()).unwrap().count();
        assert_eq!(left, 2, "a staged file was left");
        // What others planted where it was staged, by the process' number, was written through.
        let planted = place.path().join(format!(".port.{}", std::process::id()));
        std::os::unix::fs::symlink(place.path().join("victim"), &planted).unwrap();
        write_whole(&file, "4402\n").unwrap();
        assert!(planted.is_symlink() && !place.path().join("victim").exists());
    }

    #[test]
    fn a_wildcard_is_reached_on_loopback() {
        for (address, reached) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
        ] {
            let found = place(&[address.parse().unwrap()]);
            assert_eq!(found.to_string(), reached);
        }
    }
}
