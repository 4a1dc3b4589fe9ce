//! The composition root of `serve`: store, coordinator and HTTP server, wired once and run until told to stop.

use std::{future::Future, sync::Arc};

use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    clock::WallClock,
    coordinator::{self, Coordinator},
    http::{self, DrainReport, HttpConfig},
    materialize::Materializer,
    model::Instance,
    spec::Spec,
    store::{MemoryStore, Store},
};

/// Everything that a server is made of. The listeners are bound by the caller, so that it knows the ports.
pub struct Server {
    /// The spec.
    pub spec: Spec,
    /// Where to listen.
    pub listeners: Vec<TcpListener>,
    /// Materializers beside those that the spec asks for, run after them.
    pub materializers: Vec<Arc<dyn Materializer>>,
    /// How generations are made.
    pub coordinator: coordinator::Config,
    /// Bounds and times of the HTTP server.
    pub http: HttpConfig,
    /// How many generations are kept for operators to look at.
    pub history_generations: usize,
    /// The wall clock.
    pub clock: WallClock,
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
            coordinator: coordinator::Config::default(),
            http: HttpConfig::default(),
            history_generations: HISTORY_GENERATIONS,
            clock: WallClock::system(),
        }
    }

    /// The same with one more materializer.
    #[must_use]
    pub fn with_materializer(mut self, materializer: impl Materializer) -> Self {
        self.materializers.push(Arc::new(materializer));
        self
    }
}

/// Serves until `shutdown` is complete, then drains. A spec that comes through `reload` is used from then on.
///
/// # Errors
/// When the operating system gives no randomness for the store's identity.
pub async fn serve(
    server: Server,
    mut reload: mpsc::Receiver<Spec>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<DrainReport> {
    let store = Arc::new(MemoryStore::new(
        new_instance()?,
        server.history_generations,
    ));
    tracing::info!(
        "instance {}; the store is memory: what is registered is lost when this server ends",
        store.instance()
    );
    let (stop_route, route_stopped) = tokio::sync::oneshot::channel::<()>();
    let (coordinator, route) = Coordinator::new(
        store,
        server.spec,
        server.materializers,
        server.coordinator,
        server.clock,
        async {
            let _ = route_stopped.await;
        },
    );
    let (at_work, mut ended_early) = tokio::sync::oneshot::channel::<()>();
    let route = tokio::spawn(async move {
        // Dropped when the route ends, however that comes.
        let _at_work = at_work;
        route.await;
    });
    // Without its route a server would take registrations that nobody ever evaluates.
    let shutdown = async move {
        tokio::select! {
            () = shutdown => {}
            _ = &mut ended_early => {}
        }
    };
    let reloading = tokio::spawn({
        let coordinator = coordinator.clone();
        async move {
            while let Some(spec) = reload.recv().await {
                match coordinator.reload(spec).await {
                    Ok(()) => tracing::info!("the spec was read again"),
                    Err(error) => tracing::error!("the last good spec stays in force: {error}"),
                }
            }
        }
    });
    let guard = server.http.guard.clone();
    let report = http::serve(server.listeners, coordinator, server.http, shutdown).await;
    reloading.abort();
    if let Some(audit) = guard.audit() {
        audit.flush().await;
    }
    // The route goes last: until the last answer is out it may have deliveries to note.
    drop(stop_route);
    if let Err(panic) = route.await {
        tracing::error!("the coordinator ended early: {panic}");
    }
    Ok(report)
}

fn new_instance() -> std::io::Result<Instance> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(Instance::from_bytes(bytes))
}
