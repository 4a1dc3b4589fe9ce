//! `cfgsync serve`: runs the server until a signal stops it or CMD exits.

mod signals;
mod blocking;
mod cause;
mod access;
#[cfg(feature = "etcd")]
mod etcd;
mod state;
mod signing;
mod child;
mod description;
mod differences;
mod descriptors;
mod events;
mod value_limits;
mod limits;
mod publish;
mod tls;
mod error;
mod listeners;
mod reload;
mod supervise;
mod record;

use std::{
    env, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use cfgsync::app::{self, History, Service};
use cfgsync_access::AccessControl;
use cfgsync_cluster::{self as cluster, Coordinator, metrics::Metrics};
use cfgsync_server::DrainReport;
use cfgsync_spec::Spec;
use cfgsync_store::Store;
use cfgsync_support::clock::WallClock;
use cfgsync_wire::SigningKey;
use clap::Args;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    error::CommandError, exit::Exit, manager::Manager, parsers::duration, program, spec_file,
    threads,
};
use access::AccessArgs;
pub(crate) use access::AccessError;
use child::Child;
use description::{Description, Place};
use descriptors::Descriptors;
pub(crate) use error::ServeError;
use events::EventArgs;
use limits::{LimitArgs, http_config};
use publish::PortFile;
use record::{RecordArgs, RecordFile};
use reload::Reload;
use signals::Signals;
use state::StateArgs;
pub(crate) use tls::TlsSetupError;
use tls::{ServeTls, TlsArgs};
use value_limits::ValueLimitArgs;

/// How long blocking work may still take after everything else has stopped.
const THREADS_GRACE: Duration = Duration::from_secs(2);
/// The shortest lease of a node that runs CMD of `run-once`.
const RUN_LEASE_MIN: Duration = Duration::from_secs(1);

/// The longest name of a server, in bytes.
const SERVER_NAME_MAX_BYTES: usize = 253;

/// Run the server: register nodes until the set is complete, then deliver their files
///
/// On SIGTERM and SIGINT, the server accepts no new connections, finishes the requests in flight and exits. On SIGHUP,
/// it reads the spec again. If the spec has a mistake, the last good one stays in force. With `-- CMD`, the server runs
/// CMD with its URL in CFGSYNC_SERVER, stops when CMD exits, and exits with the code of CMD.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync serve cluster.yaml
  cfgsync serve cluster.yaml --listen 10.0.0.5:4400 --allow-anonymous
  cfgsync serve cluster.yaml --listen 127.0.0.1:0 --port-file /run/cfgsync.port
  cfgsync serve cluster.yaml --state-dir /var/lib/cfgsync   # continues after a restart
  cfgsync serve cluster.yaml -- ./smoke.sh          # a smoke test in one line
  cfgsync serve cluster.yaml --record record.svg -- ./smoke.sh   # and a picture of how it went")]
pub(crate) struct ServeArgs {
    /// The spec, a YAML file: when the set of nodes is complete, and which files each node gets
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// The address to listen on; port 0 selects a free one; repeatable
    #[arg(
        long,
        env = "CFGSYNC_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:4400",
        value_parser = address
    )]
    listen: Vec<SocketAddr>,
    /// Write the port to this file while the server listens, one line per address
    #[arg(long, env = "CFGSYNC_LISTEN_PORT_FILE", value_name = "FILE")]
    port_file: Option<PathBuf>,
    #[command(flatten)]
    signing: signing::SigningArgs,
    /// Answer requests for this host name too; repeatable. Without credentials, a server answers only for IP addresses,
    /// `localhost` and names without a dot
    #[arg(long, env = "CFGSYNC_HOST", value_name = "NAME")]
    host: Vec<String>,
    /// How long to hold a fetch from a client that does not send `Prefer: wait`, while there is no payload yet
    #[arg(long, env = "CFGSYNC_HOLD", value_name = "DURATION", default_value = "0s", value_parser = duration)]
    hold: Duration,
    /// How long to hold such a fetch at least, once the set is complete and its files are rendered and sealed
    #[arg(
        long,
        env = "CFGSYNC_HOLD_RENDER",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = duration
    )]
    hold_render: Duration,
    /// Shortest time from one render to the next
    #[arg(
        long,
        env = "CFGSYNC_MIN_GENERATION_INTERVAL",
        value_name = "DURATION",
        default_value = "1s",
        value_parser = duration
    )]
    min_generation_interval: Duration,
    /// How long a node that runs CMD of `run-once` may be silent, until the next node runs it
    #[arg(
        long,
        env = "CFGSYNC_RUN_LEASE",
        value_name = "DURATION",
        default_value = "15s",
        value_parser = run_lease
    )]
    run_lease: Duration,
    #[command(flatten)]
    state: StateArgs,
    /// The URL under which nodes reach this server, if it shares its cluster with others; repeatable
    ///
    /// `inspect servers` shows it. The default is the address that the server listens on.
    #[arg(long, env = "CFGSYNC_ADVERTISE", value_name = "URL")]
    advertise: Vec<String>,
    /// The name of this server for `inspect servers`, if it shares its cluster with others. The default is the name of the
    /// machine
    #[arg(long, env = "CFGSYNC_SERVER_NAME", value_name = "NAME", value_parser = server_name)]
    server_name: Option<String>,
    /// Seal with this spec although another server of the cluster has sealed with another one
    ///
    /// Servers that share a store do not seal with different specs in turn: a server whose spec differs from that of the
    /// newest generation serves what is sealed. To change the spec of all, give all servers the new file, and then start one
    /// of them with this flag.
    #[arg(long, env = "CFGSYNC_ADOPT_SPEC")]
    adopt_spec: bool,
    /// How long the store may be silent until `/readyz` says that the server is not ready
    #[arg(
        long,
        env = "CFGSYNC_STALE_MAX",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = duration
    )]
    stale_max: Duration,
    /// How many generations the server keeps for `inspect`
    #[arg(
        long,
        env = "CFGSYNC_HISTORY",
        value_name = "COUNT",
        default_value = "8",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    history: u16,
    /// How long requests in flight and CMD may take to finish when the server stops
    #[arg(
        long,
        env = "CFGSYNC_DRAIN_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration
    )]
    drain_timeout: Duration,
    #[command(flatten)]
    record: RecordArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    events: EventArgs,
    #[command(flatten)]
    values: ValueLimitArgs,
    /// The program to run beside the server; the server exits with its exit code
    #[arg(last = true, value_name = "CMD")]
    command: Vec<std::ffi::OsString>,
}

impl ServeArgs {
    /// Whether the server may listen beyond loopback: it authenticates clients, or the flags permit anonymous access.
    fn may_be_exposed(&self) -> bool {
        self.access.may_be_exposed() || self.tls.authenticates()
    }

    /// Returns the bounds on the generations and events that the store keeps.
    fn history(&self) -> History {
        History {
            generations: self.history.into(),
            events: self.events.bounds(),
        }
    }
}

/// Everything that a server needs before it listens.
struct Prepared {
    args: ServeArgs,
    spec: Spec,
    guard: AccessControl,
    sign_key: Option<Arc<SigningKey>>,
    store: Option<Arc<dyn Store>>,
    record: Option<RecordFile>,
}

/// Reads all files. May block for ever, if one is a pipe.
fn prepare(args: ServeArgs) -> Result<Prepared, CommandError> {
    // First, because the preparation may take long, and the ports in the file are those of an earlier server.
    if let Some(path) = &args.port_file {
        PortFile::remove_stale(path).map_err(port_file_error(path))?;
    }
    if let Some(program) = args.command.first() {
        program::find(program, env::var_os("PATH").as_deref())?;
    }
    let record = args.record.check()?;
    listeners::refuse_exposure(&args.listen, args.may_be_exposed())?;
    let spec = spec_file::load(&args.spec)?;
    let guard = args.access.guard(args.tls.authenticates())?;
    guard
        .check_identity_mode(spec.identity)
        .map_err(AccessError::from)?;
    let sign_key = args.signing.read()?;
    let store = state::open(&args.state, &spec, args.history())?;
    Ok(Prepared {
        args,
        spec,
        guard,
        sign_key,
        store,
        record,
    })
}

fn port_file_error(path: &Path) -> impl FnOnce(io::Error) -> ServeError {
    let path = path.to_owned();
    |error| ServeError::PortFile { path, error }
}

pub(crate) fn run(args: ServeArgs) -> Result<Exit, CommandError> {
    let mut signals = Signals::catch().map_err(ServeError::Runtime)?;
    let runtime = threads::server_runtime().map_err(ServeError::Threads)?;
    let has_command = !args.command.is_empty();
    let exit = runtime.block_on(async {
        let preparing = tokio::task::spawn_blocking(move || prepare(args));
        tokio::select! {
            prepared = preparing => serve(prepared??, signals).await,
            stop = signals.stop() => {
                tracing::info!("{}: stopping before the server had started", stop.name);
                // A CMD that never ran has not succeeded.
                Ok(if has_command {
                    Exit::of_signal(stop.signal.as_raw())
                } else {
                    Exit::Done
                })
            }
        }
    });
    // An endless render or read must not keep the server from stopping. The grace time is for `exec` programs, which
    // are killed with all their children.
    runtime.shutdown_timeout(THREADS_GRACE);
    exit
}

/// Runs the server, then writes its flight record, whatever ended it.
async fn serve(mut prepared: Prepared, signals: Signals) -> Result<Exit, CommandError> {
    let record = prepared.record.take();
    let (handle, mut coordinator) = oneshot::channel();
    let exit = run_server(prepared, signals, handle).await;
    if let (Some(record), Ok(coordinator)) = (record, coordinator.try_recv()) {
        record.write(&coordinator);
    }
    exit
}

/// Runs the server. `handle` gets its coordinator.
async fn run_server(
    prepared: Prepared,
    mut signals: Signals,
    handle: oneshot::Sender<Coordinator>,
) -> Result<Exit, CommandError> {
    let Prepared {
        mut args,
        spec,
        guard,
        sign_key,
        store,
        record: _,
    } = prepared;
    let manager = Manager::from_environment();
    let (listeners, addresses) = listeners::open(&args.listen, args.may_be_exposed())?;
    let state_directory = args.state.directory();
    let tls = std::mem::take(&mut args.tls).prepare(&addresses, state_directory.as_deref());
    let tls = tls.map_err(ServeError::Tls)?.map(Arc::new);
    let port_file = match &args.port_file {
        Some(path) => Some(PortFile::write(path, &addresses).map_err(port_file_error(path))?),
        None => None,
    };
    let descriptors = Descriptors::raise();
    let mut http = http_config(&args, &descriptors, guard.clone());
    http.tls = tls.as_ref().map(|tls| tls.tls.clone());
    let (reload_queue, reload_requests) = cfgsync_server::reload_queue();
    http.reload = Some(reload_queue);
    // CMD may read the file of --join-url-file, so it is written first.
    announce(
        &spec.cluster,
        &addresses,
        guard.requires_credentials(),
        tls.as_deref(),
    )?;
    let mut child = start_command(&args, &addresses, tls.as_deref(), &descriptors)?;
    let place = Place {
        name: args.server_name.as_deref(),
        urls: &args.advertise,
        scheme: scheme_of(tls.as_deref()),
        addresses: &addresses,
    };
    let (tokens, key) = (guard.tokens(), sign_key.as_deref());
    let description = Description::begin(store.clone(), &place, &spec, tokens.as_deref(), key);
    let comparing = differences::watch(store.clone());
    let mut comparing = pin!(comparing);
    let (status, status_line) = watch::channel(String::new());
    let metrics = Arc::<Metrics>::default();
    let server = Service {
        spec,
        listeners,
        materializers: vec![],
        coordinator: coordinator_config(&args, sign_key.clone(), metrics.clone()),
        http,
        store,
        history: args.history(),
        clock: WallClock::system(),
        status: manager.is_present().then_some(status),
        handle: Some(handle),
    };
    let (new_specs, reloaded) = mpsc::channel(1);
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        // An error as well: dropping the sender is the signal.
        let _ = stopped.await;
    };
    let mut serving = tokio::spawn(app::serve(server, reloaded, shutdown));
    manager.ready();
    let reload = Reload {
        args: &args,
        guard: &guard,
        specs: &new_specs,
        sign_key: sign_key.as_deref(),
        tls: tls.as_deref(),
        metrics: &metrics,
        description: &description,
    };
    let notifying = manager.run(status_line);
    let mut notifying = pin!(notifying);
    let exit = tokio::select! {
        ended = &mut serving => {
            report_drain(&ended?.map_err(ServeError::Server)?);
            return Ok(Exit::Unexpected);
        }
        exit = supervise::until_stopped(
            &mut signals,
            child.as_mut(),
            &reload,
            reload_requests,
            manager,
        ) => exit?,
        () = &mut notifying => unreachable!("it never completes"),
        () = &mut comparing => unreachable!("it never completes"),
    };
    manager.stopping(args.drain_timeout + THREADS_GRACE);
    drop(port_file);
    drop(stop);
    tokio::select! {
        ended = &mut serving => report_drain(&ended?.map_err(ServeError::Server)?),
        () = &mut notifying => unreachable!("it never completes"),
        signal = signals.stop() => {
            tracing::warn!("a second {}: stopping at once", signal.name);
            serving.abort();
        }
    }
    Ok(exit)
}

fn coordinator_config(
    args: &ServeArgs,
    sign_key: Option<Arc<SigningKey>>,
    metrics: Arc<Metrics>,
) -> cluster::Config {
    cluster::Config {
        min_generation_interval: args.min_generation_interval,
        run_lease: args.run_lease,
        bounds: args.limits.bounds(),
        value_bounds: args.values.bounds(),
        sign_key,
        adopt_spec: args.adopt_spec,
        metrics,
        ..cluster::Config::default()
    }
}

/// Starts CMD with the URL of the server, if there is a CMD.
fn start_command(
    args: &ServeArgs,
    addresses: &[SocketAddr],
    tls: Option<&ServeTls>,
    descriptors: &Descriptors,
) -> Result<Option<Child>, CommandError> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Ok(None);
    };
    let url = match tls {
        Some(tls) => tls.local_url(),
        None => format!("http://{}", local_address(addresses)),
    };
    let child = Child::spawn(program, arguments, &url, args.drain_timeout)?;
    descriptors.restore_for(&child);
    Ok(Some(child))
}

fn scheme_of(tls: Option<&ServeTls>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}

/// Logs the addresses of the server, and how nodes join.
fn announce(
    cluster: &str,
    addresses: &[SocketAddr],
    authenticates: bool,
    tls: Option<&ServeTls>,
) -> Result<(), ServeError> {
    let scheme = scheme_of(tls);
    for address in addresses {
        tracing::info!(
            event = "server_started",
            "serving {cluster} on {scheme}://{address}"
        );
    }
    match tls {
        Some(tls) => tls.announce()?,
        None if authenticates && !cfgsync_server::is_loopback_only(addresses) => tracing::warn!(
            "tokens and files go over the network unencrypted; use TLS with --tls self-signed or --tls-cert FILE"
        ),
        None => {}
    }
    Ok(())
}

fn report_drain(report: &DrainReport) {
    let took = report.took.as_secs_f64();
    match report.cut {
        0 => tracing::info!(event = "server_stopped", "stopped after {took:.3} s"),
        cut => tracing::warn!(
            event = "server_stopped",
            "stopped after {took:.3} s; closed {cut} of {} connections whose requests took longer than --drain-timeout",
            report.open
        ),
    }
}

/// Returns the address at which processes on this machine reach the server.
fn local_address(addresses: &[SocketAddr]) -> SocketAddr {
    let mut address = addresses[0];
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Parses an IP address and a port.
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

/// Parses `--server-name`.
fn server_name(text: &str) -> Result<String, String> {
    let is_short = (1..=SERVER_NAME_MAX_BYTES).contains(&text.len());
    if is_short && text.chars().all(|char| char.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a name has 1 to {SERVER_NAME_MAX_BYTES} printable ASCII characters and no spaces"
    ))
}

/// Parses `--run-lease`. A shorter lease would end during a slow request.
fn run_lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    if lease < RUN_LEASE_MIN {
        return Err("a lease is at least 1s".to_owned());
    }
    Ok(lease)
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
    fn defaults_match_the_library() {
        let args = Only::parse_from(["serve", "cluster.yaml"]).serve;
        let unlimited = Descriptors::unlimited();
        let configured = format!(
            "{:?}",
            http_config(&args, &unlimited, AccessControl::default())
        );
        assert_eq!(
            configured,
            format!("{:?}", cfgsync_server::HttpConfig::default())
        );
        let library = cluster::Config::default();
        assert_eq!(args.limits.bounds(), library.bounds);
        assert_eq!(args.values.bounds(), library.value_bounds);
        assert_eq!(args.history(), History::default());
        let interval = cluster::Config::default().min_generation_interval;
        assert_eq!(args.min_generation_interval, interval);
        assert_eq!(args.run_lease, cluster::Config::default().run_lease);
    }

    #[test]
    fn wildcard_address_is_reached_on_loopback() {
        for (address, reached) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
        ] {
            let found = local_address(&[address.parse().unwrap()]);
            assert_eq!(found.to_string(), reached);
        }
    }
}
