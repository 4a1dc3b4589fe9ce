//! Wires a store, the coordinator and the HTTP server together, and runs them until told to stop.

mod account;

use std::{future::Future, path::PathBuf, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
};

use account::Account;
use cfgsync_cluster::Coordinator;
#[cfg(feature = "etcd")]
use cfgsync_etcd::{EtcdConfig, EtcdError, EtcdStore};
use cfgsync_materialize::Materializer;
use cfgsync_server::{DrainReport, HttpConfig};
use cfgsync_spec::{Spec, SpecError};
use cfgsync_store::{
    BoxFuture, DirectoryConfig, EventBounds, MemoryStore, Relocation, Store, StoreError,
};
use cfgsync_support::clock::WallClock;

/// The parts of a server, for `cfgsync serve`. The caller binds the listeners, so that it knows their ports.
pub struct Service {
    /// The spec.
    pub spec: Spec,
    /// The bound listeners.
    pub listeners: Vec<TcpListener>,
    /// Materializers of the embedding program. They run after those of the spec.
    pub materializers: Vec<Arc<dyn Materializer>>,
    /// The settings of the coordinator.
    pub coordinator: cfgsync_cluster::Config,
    /// The limits and timeouts of the HTTP server.
    pub http: HttpConfig,
    /// The store, as [`open_store`] returns it. Without one the server keeps its state in memory.
    pub store: Option<Arc<dyn Store>>,
    /// The bounds of a store in memory.
    pub history: History,
    /// The wall clock.
    pub clock: WallClock,
    /// Holds the state of the cluster in one line, for a service manager.
    pub status: Option<watch::Sender<String>>,
    /// Takes the coordinator when the server starts. It can be read after the server has ended.
    pub handle: Option<oneshot::Sender<Coordinator>>,
}

/// The bounds on the generations and events that a store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// The number of generations, for operators.
    pub generations: usize,
    /// The events, for watchers that reconnect.
    pub events: EventBounds,
}

impl Default for History {
    fn default() -> Self {
        Self {
            generations: 8,
            events: EventBounds::default(),
        }
    }
}

impl Service {
    /// Returns a service of `spec` on `listener`, with defaults for everything else.
    pub fn new(spec: Spec, listener: TcpListener) -> Self {
        Self {
            spec,
            listeners: vec![listener],
            materializers: vec![],
            coordinator: cfgsync_cluster::Config::default(),
            http: HttpConfig::default(),
            store: None,
            history: History::default(),
            clock: WallClock::system(),
            status: None,
            handle: None,
        }
    }
}

/// The reason why a server could not start or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The spec is not valid.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The address cannot be resolved or listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address as it was given.
        address: String,
        /// The operating system's error.
        error: std::io::Error,
    },
    /// The address is reachable from other machines, and anonymous access is not allowed.
    #[error(
        "refusing to listen on {0} without authentication; listen on 127.0.0.1, or call `allow_anonymous`"
    )]
    Exposed(String),
    /// The store cannot be opened.
    #[error(transparent)]
    OpenStore(#[from] StoreError),
    /// The store can take no more changes. A durable store keeps what was acknowledged for the next start.
    #[error(
        "the store failed: {0}; restart the server: a state directory keeps all acknowledged changes"
    )]
    StoreFailed(String),
}

/// A spec that is to replace the one in force.
#[derive(Debug)]
pub struct NewSpec {
    /// The spec.
    pub spec: Spec,
    /// Takes the reason if the spec was not put in force.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// Serves until `shutdown` is complete, then drains. A spec received from `reload` replaces the one before.
///
/// # Errors
/// See [`ServerError`].
pub async fn serve(
    mut service: Service,
    reload: mpsc::Receiver<NewSpec>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<DrainReport, ServerError> {
    let handle = service.handle.take();
    let wired = Wired::new(service)?;
    if let Some(handle) = handle {
        // The receiver may have gone.
        let _ = handle.send(wired.coordinator.clone());
    }
    wired.run(reload, shutdown).await
}

/// A service whose parts know each other, before it runs.
pub(crate) struct Wired {
    pub(crate) coordinator: Coordinator,
    pub(crate) store: Arc<dyn Store>,
    reconciler: BoxFuture<'static, ()>,
    stop_reconciler: oneshot::Sender<()>,
    account: Arc<Account>,
    listeners: Vec<TcpListener>,
    http: HttpConfig,
    status: Option<watch::Sender<String>>,
}

impl Wired {
    pub(crate) fn new(mut service: Service) -> Result<Self, ServerError> {
        let store = if let Some(store) = service.store {
            store
        } else {
            open_store(None, Relocation::Unstated, &service.spec, service.history)?
        };
        let account = Arc::new(Account {
            guard: service.http.access.clone(),
        });
        if account.guard.audit().is_some() && service.coordinator.audit_sink.is_none() {
            service.coordinator.audit_sink = Some(account.clone());
        }
        let started = service.clock.now().as_second();
        service.coordinator.metrics.start_time.set(started);
        let (stop_reconciler, reconciler_stopped) = oneshot::channel::<()>();
        let (coordinator, reconciler) = Coordinator::new(
            store.clone(),
            service.spec,
            service.materializers,
            service.coordinator,
            service.clock,
            async {
                let _ = reconciler_stopped.await;
            },
        );
        account::warn_of_unclaimed(&coordinator, coordinator.identity());
        Ok(Self {
            coordinator,
            store,
            reconciler: Box::pin(reconciler),
            stop_reconciler,
            account,
            listeners: service.listeners,
            http: service.http,
            status: service.status,
        })
    }

    /// Serves until `shutdown` is complete, then drains.
    pub(crate) async fn run(
        self,
        mut reload: mpsc::Receiver<NewSpec>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<DrainReport, ServerError> {
        let (running, mut ended_early) = oneshot::channel::<()>();
        let reconciler = tokio::spawn(async move {
            // Dropped when the reconciler ends, also by a panic.
            let _running = running;
            self.reconciler.await;
        });
        let (store, coordinator) = (self.store, self.coordinator);
        let closed = store.clone();
        let (store_failed, mut store_failure) = oneshot::channel();
        let shutdown = async move {
            tokio::select! {
                () = shutdown => {}
                // Without its reconciler, a server would accept registrations and never seal a generation.
                _ = &mut ended_early => {}
                reason = store.failed() => {
                    tracing::error!(
                        event = "server_stopping",
                        reason,
                        "the server stops, because the store failed: {reason}"
                    );
                    // The receiver looks at it after everything has ended.
                    let _ = store_failed.send(reason);
                }
            }
        };
        let reloading = tokio::spawn({
            let (coordinator, account) = (coordinator.clone(), self.account.clone());
            async move {
                while let Some(NewSpec { spec, answer }) = reload.recv().await {
                    let result = account.reload(&coordinator, spec).await;
                    // The sender may wait no longer.
                    let _ = answer.send(result);
                }
            }
        });
        if let Some(status) = self.status {
            let coordinator = coordinator.clone();
            tokio::spawn(async move { coordinator.keep_status(status).await });
        }
        let report = cfgsync_server::serve(self.listeners, coordinator, self.http, shutdown).await;
        reloading.abort();
        // The reconciler ends last: it records the deliveries of the last responses.
        drop(self.stop_reconciler);
        if let Err(panic) = reconciler.await {
            tracing::error!("the coordinator stopped because of a bug: {panic}");
        }
        closed.close().await;
        if let Some(audit) = self.account.guard.audit() {
            audit.flush().await;
        }
        match store_failure.try_recv() {
            Ok(reason) => Err(ServerError::StoreFailed(reason)),
            Err(_) => Ok(report),
        }
    }
}

/// Opens the store of a server: the state directory if there is one, and memory otherwise. This is the only place that
/// chooses a store.
///
/// # Errors
/// See [`StoreError::kind`].
pub fn open_store(
    directory: Option<PathBuf>,
    relocation: Relocation,
    spec: &Spec,
    history: History,
) -> Result<Arc<dyn Store>, StoreError> {
    let Some(directory) = directory else {
        let store = MemoryStore::open(history.generations)?.with_event_bounds(history.events);
        log_memory(&store, spec);
        return Ok(Arc::new(store));
    };
    let config = DirectoryConfig {
        directory,
        cluster: spec.cluster.clone(),
        history: history.generations,
        relocation,
        event_bounds: history.events,
    };
    let store = config.open()?;
    log_opened(&*store, &config.directory.display().to_string());
    Ok(store)
}

/// Opens the store on etcd. The tasks of the store run on the runtime of the caller.
///
/// # Errors
/// See [`cfgsync_etcd::EtcdErrorKind`].
#[cfg(feature = "etcd")]
pub async fn open_etcd(config: EtcdConfig, restored: bool) -> Result<Arc<dyn Store>, EtcdError> {
    let store = if restored {
        EtcdStore::open_restored(config).await?
    } else {
        EtcdStore::open(config).await?
    };
    log_opened(&store, &store.place());
    Ok(Arc::new(store))
}

/// Logs that the state is in memory, and what a restart of the server loses.
fn log_memory(store: &MemoryStore, spec: &Spec) {
    tracing::info!(
        "instance {}; the state is only in memory, so a restart of the server loses all registrations",
        store.instance()
    );
    let forgotten = spec.state_lost_on_restart();
    if !forgotten.is_empty() {
        tracing::warn!(
            "this spec uses {}; without a state directory, a restart of the server loses them",
            forgotten.join(" and ")
        );
    }
}

fn log_opened(store: &dyn Store, place: &str) {
    let state = store.state();
    let generation = match state.generation() {
        Some(generation) => format!("generation {}", generation.number),
        None => "no generation yet".to_owned(),
    };
    tracing::info!(
        "instance {}; {place} has {} and {generation}",
        store.instance(),
        match state.registrations.len() {
            1 => "1 node".to_owned(),
            nodes => format!("{nodes} nodes"),
        }
    );
}
