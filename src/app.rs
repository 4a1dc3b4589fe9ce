//! The composition root of `serve`: store, coordinator and HTTP server, wired once and run until told to stop.

mod account;

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use account::Account;
use cfgsync_cluster::Coordinator;
use cfgsync_materialize::Materializer;
use cfgsync_server::{DrainReport, HttpConfig};
use cfgsync_spec::Spec;
use cfgsync_store::{DirectoryConfig, MemoryStore, Store, StoreError};
use cfgsync_support::clock::WallClock;

/// Everything that a server is made of. The listeners are bound by the caller, so that it knows the ports.
pub struct Server {
    /// The spec.
    pub spec: Spec,
    /// Where to listen.
    pub listeners: Vec<TcpListener>,
    /// Materializers beside those that the spec asks for, run after them.
    pub materializers: Vec<Arc<dyn Materializer>>,
    /// How generations are made.
    pub coordinator: cfgsync_cluster::Config,
    /// Bounds and times of the HTTP server.
    pub http: HttpConfig,
    /// The store, as [`open_store`] returns it. Without one the server keeps its state in memory.
    pub store: Option<Arc<dyn Store>>,
    /// How many generations a store in memory keeps for operators.
    pub history_generations: usize,
    /// The wall clock.
    pub clock: WallClock,
    /// Kept to the cluster in one line, for whoever watches over the server.
    pub status: Option<watch::Sender<String>>,
}

/// How many generations are kept when nobody says otherwise.
pub const HISTORY_GENERATIONS: usize = 8;

impl Server {
    /// A server of `spec` on `listener`, everything else as it is by default.
    pub fn new(spec: Spec, listener: TcpListener) -> Self {
        Self {
            spec,
            listeners: vec![listener],
            materializers: vec![],
            coordinator: cfgsync_cluster::Config::default(),
            http: HttpConfig::default(),
            store: None,
            history_generations: HISTORY_GENERATIONS,
            clock: WallClock::system(),
            status: None,
        }
    }

    /// The same with one more materializer.
    #[must_use]
    pub fn with_materializer(mut self, materializer: impl Materializer) -> Self {
        self.materializers.push(Arc::new(materializer));
        self
    }
}

/// Why a server could not serve, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The store cannot be opened.
    #[error(transparent)]
    OpenStore(#[from] StoreError),
    /// The store can take no more changes. A durable store keeps what was acknowledged for the next start.
    #[error(
        "the store failed: {0}; a durable store keeps what was acknowledged for the next start"
    )]
    StoreFailed(String),
}

/// Serves until `shutdown` is complete, then drains. A spec that comes through `reload` is used from then on.
///
/// # Errors
/// See [`ServerError`].
pub async fn serve(
    mut server: Server,
    mut reload: mpsc::Receiver<Spec>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<DrainReport, ServerError> {
    let store = match server.store {
        Some(store) => store,
        None => open_store(None, &server.spec, server.history_generations)?,
    };
    let guard = server.http.guard.clone();
    let account = Arc::new(Account {
        guard: guard.clone(),
    });
    if guard.audit().is_some() && server.coordinator.audit_sink.is_none() {
        server.coordinator.audit_sink = Some(account.clone());
    }
    let (stop_route, route_stopped) = tokio::sync::oneshot::channel::<()>();
    let (coordinator, route) = Coordinator::new(
        store.clone(),
        server.spec,
        server.materializers,
        server.coordinator,
        server.clock,
        async {
            let _ = route_stopped.await;
        },
    );
    account::warn_of_unclaimed(&coordinator, coordinator.identity());
    let (at_work, mut ended_early) = tokio::sync::oneshot::channel::<()>();
    let route = tokio::spawn(async move {
        // Dropped when the route ends, however that comes.
        let _at_work = at_work;
        route.await;
    });
    // Without its route a server would take registrations that nobody ever evaluates.
    let (store_failed, mut store_failure) = tokio::sync::oneshot::channel();
    let shutdown = async move {
        tokio::select! {
            () = shutdown => {}
            _ = &mut ended_early => {}
            reason = store.failed() => {
                tracing::error!("the store failed: {reason}; the server ends");
                // Looked at once everything has ended.
                let _ = store_failed.send(reason);
            }
        }
    };
    let reloading = tokio::spawn({
        let coordinator = coordinator.clone();
        async move {
            while let Some(spec) = reload.recv().await {
                account.reload(&coordinator, spec).await;
            }
        }
    });
    if let Some(status) = server.status {
        let coordinator = coordinator.clone();
        tokio::spawn(async move { coordinator.keep_status(status).await });
    }
    let report = cfgsync_server::serve(server.listeners, coordinator, server.http, shutdown).await;
    reloading.abort();
    // The route goes last: until the last answer is out it may have deliveries to note.
    drop(stop_route);
    if let Err(panic) = route.await {
        tracing::error!("the coordinator ended early: {panic}");
    }
    if let Some(audit) = guard.audit() {
        audit.flush().await;
    }
    match store_failure.try_recv() {
        Ok(reason) => Err(ServerError::StoreFailed(reason)),
        Err(_) => Ok(report),
    }
}

/// Opens the store of a server: the state directory if there is one, and memory otherwise. This is the only place that
/// chooses a store.
///
/// # Errors
/// See [`StoreError::kind`].
pub fn open_store(
    directory: Option<PathBuf>,
    spec: &Spec,
    history_generations: usize,
) -> Result<Arc<dyn Store>, StoreError> {
    let Some(directory) = directory else {
        let store = MemoryStore::open(history_generations)?;
        log_memory(&store, spec);
        return Ok(Arc::new(store));
    };
    let config = DirectoryConfig {
        directory,
        cluster: spec.cluster.clone(),
        history: history_generations,
    };
    let store = config.open()?;
    log_directory(&*store, &config.directory);
    Ok(store)
}

/// Says what a restart of the server loses.
fn log_memory(store: &MemoryStore, spec: &Spec) {
    tracing::info!(
        "instance {}; the state is kept in memory: registrations are lost when this server ends",
        store.instance()
    );
    let forgotten = spec.remembered();
    if !forgotten.is_empty() {
        tracing::warn!(
            "this spec uses {}, which changes at each restart of a server without a state directory",
            forgotten.join(" and ")
        );
    }
}

fn log_directory(store: &dyn Store, directory: &Path) {
    let state = store.state();
    let generation = match state.generation() {
        Some(generation) => format!("generation {}", generation.number),
        None => "no generation yet".to_owned(),
    };
    tracing::info!(
        "instance {}; {} has {} and {generation}",
        store.instance(),
        directory.display(),
        match state.registrations.len() {
            1 => "1 node".to_owned(),
            nodes => format!("{nodes} nodes"),
        }
    );
}
