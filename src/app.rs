//! The composition root of `serve`: connects store, coordinator and HTTP server, and runs them until shutdown.

mod account;

use std::{future::Future, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use account::Account;
use cfgsync_cluster::Coordinator;
use cfgsync_materialize::Materializer;
use cfgsync_model::Instance;
use cfgsync_server::{DrainReport, HttpConfig};
use cfgsync_spec::Spec;
use cfgsync_store::{JournalStore, MemoryStore, Store};
use cfgsync_support::clock::WallClock;

/// The parts of a server. The caller binds the listeners, so that it knows their ports.
pub struct Server {
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
    /// The durable store. Without one, the state is lost when the server ends.
    pub journal: Option<JournalStore>,
    /// How many generations the store in memory keeps, if there is no journal.
    pub history_generations: usize,
    /// The wall clock.
    pub clock: WallClock,
    /// Holds the state of the cluster in one line, for a service manager.
    pub status: Option<watch::Sender<String>>,
}

/// How many generations a store keeps by default.
pub const HISTORY_GENERATIONS: usize = 8;

impl Server {
    /// Returns a server of `spec` on `listener`, with defaults for everything else.
    pub fn new(spec: Spec, listener: TcpListener) -> Self {
        Self {
            spec,
            listeners: vec![listener],
            materializers: vec![],
            coordinator: cfgsync_cluster::Config::default(),
            http: HttpConfig::default(),
            journal: None,
            history_generations: HISTORY_GENERATIONS,
            clock: WallClock::system(),
            status: None,
        }
    }

    /// Adds a materializer.
    #[must_use]
    pub fn with_materializer(mut self, materializer: impl Materializer) -> Self {
        self.materializers.push(Arc::new(materializer));
        self
    }
}

/// Why a server could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The operating system has no random numbers for the identity of the store.
    #[error("cannot draw random numbers for the identity of the store: {0}")]
    Randomness(std::io::Error),
    /// The store can take no more changes. Acknowledged changes are kept for the next start.
    #[error("the journal cannot go on: {0}; what was acknowledged is kept for the next start")]
    Journal(String),
}

/// Serves until `shutdown` is complete, then drains. A spec received from `reload` replaces the one before.
///
/// # Errors
/// See [`ServerError`].
pub async fn serve(
    mut server: Server,
    mut reload: mpsc::Receiver<Spec>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<DrainReport, ServerError> {
    let store: Arc<dyn Store> = match server.journal {
        Some(journal) => Arc::new(journal),
        None => in_memory(&server.spec, server.history_generations)?,
    };
    let guard = server.http.guard.clone();
    let account = Arc::new(Account {
        guard: guard.clone(),
    });
    if guard.audit().is_some() && server.coordinator.audit_sink.is_none() {
        server.coordinator.audit_sink = Some(account.clone());
    }
    let (stop_reconciler, reconciler_stopped) = tokio::sync::oneshot::channel::<()>();
    let (coordinator, reconciler) = Coordinator::new(
        store.clone(),
        server.spec,
        server.materializers,
        server.coordinator,
        server.clock,
        async {
            let _ = reconciler_stopped.await;
        },
    );
    account::warn_of_unclaimed(&coordinator, coordinator.identity());
    let (at_work, mut ended_early) = tokio::sync::oneshot::channel::<()>();
    let reconciler = tokio::spawn(async move {
        // Dropped when the reconciler ends, also by a panic.
        let _at_work = at_work;
        reconciler.await;
    });
    // Without its reconciler, a server would accept registrations and never seal a generation.
    let (broke, mut broken) = tokio::sync::oneshot::channel();
    let shutdown = async move {
        tokio::select! {
            () = shutdown => {}
            _ = &mut ended_early => {}
            reason = store.failed() => {
                tracing::error!("the journal cannot go on: {reason}; the server ends");
                // Read after everything has ended.
                let _ = broke.send(reason);
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
    // The reconciler ends last: it records the deliveries of the last responses.
    drop(stop_reconciler);
    if let Err(panic) = reconciler.await {
        tracing::error!("the coordinator ended early: {panic}");
    }
    if let Some(audit) = guard.audit() {
        audit.flush().await;
    }
    match broken.try_recv() {
        Ok(reason) => Err(ServerError::Journal(reason)),
        Err(_) => Ok(report),
    }
}

/// Returns a store in memory, and logs what that means.
fn in_memory(spec: &Spec, history: usize) -> Result<Arc<dyn Store>, ServerError> {
    let instance = new_instance().map_err(ServerError::Randomness)?;
    tracing::info!(
        "instance {instance}; the store is in memory: registrations are lost when this server ends; use --state-dir to keep them"
    );
    let forgotten = spec.remembered();
    if !forgotten.is_empty() {
        tracing::warn!(
            "this spec uses {}, which change after a restart without a state directory; use --state-dir to keep them",
            forgotten.join(" and ")
        );
    }
    Ok(Arc::new(MemoryStore::new(instance, history)))
}

fn new_instance() -> std::io::Result<Instance> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(Instance::from_bytes(bytes))
}
