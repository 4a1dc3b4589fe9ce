//! The server that a Rust program embeds, and the handle by which the program takes part in its cluster.

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::{
    net::lookup_host,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::app::{self, ServerError, Service, Wired};
use cfgsync_cluster::{Coordinator, Refusal};
use cfgsync_model::{
    ArtifactSet, Generation, GenerationNumber, Identifier, NodeRegistration, Revision,
};
use cfgsync_server::{HttpConfig, is_loopback_only};
use cfgsync_spec::{Spec, SpecError};
use cfgsync_store::{Relocation, Store};

/// A function that is called with each sealed generation.
type SealHook = Box<dyn Fn(&Generation) + Send>;

/// A cfgsync server within this process, before it runs. [`Server::bind`] begins one.
///
/// It serves the same routes as `cfgsync serve`, without authentication and TLS. So it listens only on loopback
/// addresses, unless [`Server::allow_anonymous`] is called.
///
/// ```
/// use cfgsync::{
///     ArtifactFile, MaterializationResult, MaterializedArtifacts, NodeRegistration, Server, Spec, materializer,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let neighbours = materializer("neighbours", |snapshot| {
///     let count = snapshot.nodes.len();
///     let file = ArtifactFile::text("count", format!("{count}\n"))?;
///     let nodes = snapshot.nodes.iter().map(|node| (node.identifier.clone(), file.clone()));
///     Ok(MaterializationResult::Ready(MaterializedArtifacts::from_nodes(nodes)?))
/// });
/// let rule = Spec::rule("devnet").nodes(1).materializer(neighbours);
/// let server = Server::bind("127.0.0.1:0", rule)
///     .on_seal(|generation| println!("generation {} is sealed", generation.number))
///     .start()
///     .await?;
///
/// let handle = server.handle();
/// handle.register(NodeRegistration::new("node-1", [10, 0, 0, 1])?).await?;
/// let generation = handle.sealed().await.ok_or("the server has stopped")?;
/// assert_eq!(generation.nodes.len(), 1);
/// server.stop().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a server does nothing until it runs"]
pub struct Server {
    address: String,
    spec: Result<Spec, SpecError>,
    state_dir: Option<PathBuf>,
    relocation: Relocation,
    allow_anonymous: bool,
    hosts: Vec<String>,
    on_seal: Vec<SealHook>,
}

impl Server {
    /// Begins a server that listens on `address`, a host and a port such as `127.0.0.1:4400`. Port 0 takes a free one,
    /// which [`RunningServer::addresses`] tells.
    ///
    /// `spec` is a [`Spec`], or a rule that [`Spec::rule`] begins. Mistakes in it are returned when the server starts.
    pub fn bind(
        address: impl Into<String>,
        spec: impl TryInto<Spec, Error: Into<SpecError>>,
    ) -> Self {
        Self {
            address: address.into(),
            spec: spec.try_into().map_err(Into::into),
            state_dir: None,
            relocation: Relocation::Unstated,
            allow_anonymous: false,
            hosts: Vec::new(),
            on_seal: Vec::new(),
        }
    }

    /// Keeps the state in this directory, so that the server continues after a restart or a crash. Without it the state
    /// is lost when the server ends. The directory belongs to one server at a time.
    pub fn state_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(directory.into());
        self
    }

    /// Says how to continue a state directory that was copied or restored. Without it, the server does not start if it
    /// notices that.
    pub fn relocation(mut self, relocation: Relocation) -> Self {
        self.relocation = relocation;
        self
    }

    /// Allows addresses that other machines can reach. Everybody who can connect may then register nodes, read their
    /// files, and act as an operator.
    pub fn allow_anonymous(mut self) -> Self {
        self.allow_anonymous = true;
        self
    }

    /// Also answers requests for the host name `name`. Without it, only IP addresses, `localhost` and names without a dot
    /// are answered, so that web pages cannot reach the server through a name of their own.
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// Calls `hook` with each generation that is sealed while the server runs, in order. It must not block: the hooks
    /// share one task.
    pub fn on_seal(mut self, hook: impl Fn(&Generation) + Send + 'static) -> Self {
        self.on_seal.push(Box::new(hook));
        self
    }

    /// Opens the store, listens, and serves in the background.
    ///
    /// # Errors
    /// See [`ServerError`].
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub async fn start(self) -> Result<RunningServer, ServerError> {
        let spec = self.spec?;
        let listen = |error| ServerError::Listen {
            address: self.address.clone(),
            error,
        };
        let resolved: Vec<SocketAddr> = lookup_host(&self.address).await.map_err(listen)?.collect();
        if !self.allow_anonymous && !is_loopback_only(&resolved) {
            return Err(ServerError::Exposed(self.address.clone()));
        }
        // A name such as `localhost` may have several addresses. The first one is enough, as for a client.
        let first = resolved
            .first()
            .copied()
            .ok_or_else(|| listen(std::io::Error::other("the name has no address")))?;
        let listener = cfgsync_server::listen(first).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let history = app::History::default();
        let store = app::open_store(self.state_dir, self.relocation, &spec, history)?;
        let wired = Wired::new(Service {
            store: Some(store.clone()),
            http: HttpConfig {
                hosts: self.hosts,
                ..HttpConfig::default()
            },
            ..Service::new(spec, listener)
        })?;
        let (running, stopped) = watch::channel(());
        let handle = ServerHandle {
            coordinator: wired.coordinator.clone(),
            store: store.clone(),
            stopped,
        };
        let (stop, stopping) = oneshot::channel::<()>();
        let hooks = (!self.on_seal.is_empty()).then(|| {
            let newest = newest_number(&*store);
            tokio::spawn(call_hooks(store, newest, self.on_seal))
        });
        let task = tokio::spawn(async move {
            // The sender of specs stays until the end: no other spec ever comes.
            let (_specs, no_specs) = mpsc::channel(1);
            let ended = wired
                .run(no_specs, async {
                    // An error says that the running server was dropped: it serves on.
                    if stopping.await.is_err() {
                        std::future::pending::<()>().await;
                    }
                })
                .await;
            if let Some(hooks) = hooks {
                hooks.abort();
            }
            drop(running);
            ended.map(drop)
        });
        Ok(RunningServer {
            handle,
            addresses: vec![address],
            stop,
            task,
        })
    }

    /// Serves until the server cannot continue, which is never if all is well.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn run(self) -> Result<(), ServerError> {
        self.start().await?.wait().await
    }

    /// Serves until `shutdown` is complete. Then it answers the requests in flight and returns.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let mut server = self.start().await?;
        tokio::select! {
            () = shutdown => server.stop().await,
            ended = &mut server.task => joined(ended),
        }
    }
}

/// A server that serves in the background. Dropping it does not stop the server.
pub struct RunningServer {
    handle: ServerHandle,
    addresses: Vec<SocketAddr>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServerError>>,
}

impl RunningServer {
    /// Returns a handle by which this process takes part in the cluster.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Returns the addresses that the server listens on, with their real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits until the server ends by itself.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn wait(mut self) -> Result<(), ServerError> {
        // The sender must live meanwhile, and does: it is a field of this value.
        joined((&mut self.task).await)
    }

    /// Stops the server: it answers the requests in flight and ends.
    ///
    /// # Errors
    /// The server could not continue before it was stopped, see [`ServerError`].
    pub async fn stop(self) -> Result<(), ServerError> {
        // The server may have ended already.
        let _ = self.stop.send(());
        joined(self.task.await)
    }
}

/// Passes a panic of the server on: it is a bug, not an error.
fn joined(
    ended: Result<Result<(), ServerError>, tokio::task::JoinError>,
) -> Result<(), ServerError> {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Acts on the cluster of a [`RunningServer`] from within its process. Cloning is cheap.
#[derive(Clone)]
pub struct ServerHandle {
    coordinator: Coordinator,
    store: Arc<dyn Store>,
    stopped: watch::Receiver<()>,
}

impl ServerHandle {
    /// Registers a node, as `POST /register` does. The same facts again change nothing.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn register(&self, registration: NodeRegistration) -> Result<Revision, Refusal> {
        self.coordinator.register(registration).await
    }

    /// Waits for the first generation and returns the newest one; `None` if the server has stopped before.
    pub async fn sealed(&self) -> Option<Arc<Generation>> {
        let mut changes = self.store.follow();
        let mut stopped = self.stopped.clone();
        loop {
            if let Some(newest) = self.generation() {
                return Some(newest);
            }
            tokio::select! {
                newer = changes.changed() => newer.ok()?,
                // The sender is dropped when the server has stopped.
                _ = stopped.changed() => return self.generation(),
            }
        }
    }

    /// Returns the newest generation, if one is sealed.
    pub fn generation(&self) -> Option<Arc<Generation>> {
        self.store.state().generation().cloned()
    }

    /// Replaces a node's own files, as `POST /node/replace` does. After a seal, returns once the generation with these
    /// files is sealed.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn replace(
        &self,
        identifier: Identifier,
        files: ArtifactSet,
    ) -> Result<Revision, Refusal> {
        self.coordinator.replace(identifier, files).await
    }

    /// Declares the cluster failed: all nodes that wait receive `reason`, until [`ServerHandle::reset`].
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn fail(&self, reason: impl Into<String>) -> Result<Revision, Refusal> {
        self.coordinator.fail(reason.into()).await
    }

    /// Ends a declared failure, and tries failed renders again. Registrations stay.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn reset(&self) -> Result<Revision, Refusal> {
        self.coordinator.reset().await
    }
}

fn newest_number(store: &dyn Store) -> GenerationNumber {
    let state = store.state();
    state
        .generation()
        .map_or(GenerationNumber(0), |newest| newest.number)
}

/// Calls the hooks with each generation after number `seen`. Never completes.
async fn call_hooks(store: Arc<dyn Store>, mut seen: GenerationNumber, hooks: Vec<SealHook>) {
    let mut changes = store.follow();
    loop {
        let generations = store.state().generations.clone();
        for generation in generations.iter() {
            if generation.number > seen {
                seen = generation.number;
                for hook in &hooks {
                    hook(generation);
                }
            }
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
