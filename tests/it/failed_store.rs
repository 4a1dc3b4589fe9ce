//! A store that fails while the server runs: the server answers 503, ends, and names the reason.

use std::{path::Path, sync::Arc};

use cfgsync::app::{self, Service};
use cfgsync_model::{Generation, Instance, Revision};
use cfgsync_server::listen;
use cfgsync_spec::Spec;
use cfgsync_store::{
    BoxFuture, Change, Commit, CommitError, MemoryStore, SealOutcome, StateGuard, Store,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
};

use crate::support::INSTANCE;

const REASON: &str = "cannot sync state/log: a broken disk";

/// A store that fails at its first batch, like a directory whose log cannot be synced.
struct FailingStore {
    memory: MemoryStore,
    has_failed: watch::Sender<bool>,
}

impl Store for FailingStore {
    fn instance(&self) -> Instance {
        self.memory.instance()
    }

    fn state(&self) -> StateGuard {
        self.memory.state()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.memory.follow()
    }

    fn apply(&self, _: Vec<Change>) -> BoxFuture<'_, Result<Commit, CommitError>> {
        self.has_failed.send_replace(true);
        let error = CommitError::Unknown("a broken disk".to_owned());
        Box::pin(std::future::ready(Err(error)))
    }

    fn seal(&self, _: Arc<Generation>) -> BoxFuture<'_, Result<SealOutcome, CommitError>> {
        let error = CommitError::Unavailable("a broken disk".to_owned());
        Box::pin(std::future::ready(Err(error)))
    }

    fn failed(&self) -> BoxFuture<'_, String> {
        let mut failed = self.has_failed.subscribe();
        Box::pin(async move {
            failed.wait_for(|failed| *failed).await.unwrap();
            REASON.to_owned()
        })
    }
}

#[tokio::test]
async fn server_ends_with_the_reason_when_its_store_fails() {
    let text = "cfgsync: 1\ncluster: devnet\nready: {nodes: 1}\nmaterializers:\n  - kind: template\n    \
                files: [{path: p, template: x}]\n";
    let spec = Spec::parse(text, "cluster.yaml", Path::new(".")).unwrap();
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let store = FailingStore {
        memory: MemoryStore::new(INSTANCE, 8),
        has_failed: watch::Sender::new(false),
    };
    let (handle, mut coordinator) = oneshot::channel();
    let server = Service {
        store: Some(Arc::new(store)),
        handle: Some(handle),
        ..Service::new(spec, listener)
    };
    let (_reload, reloaded) = mpsc::channel(1);
    let serving = tokio::spawn(app::serve(server, reloaded, std::future::pending()));
    let body = r#"{"identifier":"a","ip":"10.0.0.1"}"#;
    let request = format!(
        "POST /register HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    let ended = serving.await.unwrap();
    let error = ended.map(drop).unwrap_err().to_string();
    assert!(error.contains(REASON), "{error}");
    // The flight record can still be made, so `serve --record` writes it.
    let record = coordinator.try_recv().unwrap().record(None).unwrap();
    assert_eq!(record.message, "not sealed: 0/1");
    let last = record.moments.last().unwrap();
    assert_eq!(last.kind, "server_stopped");
}
