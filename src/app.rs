//! The composition root of `serve`: store, coordinator and HTTP server, wired once and run until told to stop.

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
    /// Keeps what was acknowledged when the server ends; without one it is lost.
    pub journal: Option<JournalStore>,
    /// How many generations are kept for operators to look at, where there is no journal.
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
            journal: None,
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
    /// The operating system gives no randomness for the store's identity.
    #[error("no random numbers for the store's identity: {0}")]
    Randomness(std::io::Error),
    /// The journal cannot go on. What was acknowledged is kept: the next server finds it.
    #[error("the journal cannot go on: {0}; what was acknowledged is kept for the next start")]
    Journal(String),
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
    let store: Arc<dyn Store> = match server.journal {
        Some(journal) => Arc::new(journal),
        None => in_memory(&server.spec, server.history_generations)?,
    };
    let guard = server.http.access.clone();
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
    let (broke, mut broken) = tokio::sync::oneshot::channel();
    let shutdown = async move {
        tokio::select! {
            () = shutdown => {}
            _ = &mut ended_early => {}
            reason = store.failed() => {
                tracing::error!("the journal cannot go on: {reason}; the server ends");
                // Looked at once everything has ended.
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
    // The route goes last: until the last answer is out it may have deliveries to note.
    drop(stop_route);
    if let Err(panic) = route.await {
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

/// A store that forgets, and says so.
fn in_memory(spec: &Spec, history: usize) -> Result<Arc<dyn Store>, ServerError> {
    let instance = new_instance().map_err(ServerError::Randomness)?;
    tracing::info!(
        "instance {instance}; the store is memory: what is registered is lost when this server ends"
    );
    let forgotten = spec.remembered();
    if !forgotten.is_empty() {
        tracing::warn!(
            "this spec uses {}, which a server without a state directory gives anew after a restart",
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
