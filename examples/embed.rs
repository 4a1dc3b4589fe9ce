//! A program that embeds cfgsync: it brings its own materializer, serves it, and joins to it, all in one.
//!
//! `cargo run --example embed`
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example shows what it does"
)]

use std::{collections::BTreeMap, error::Error, net::Ipv4Addr, path::Path, time::Duration};

use cfgsync::{
    ArtifactFile, ArtifactSet, Client, MaterializationResult, MaterializedArtifacts, Materializer,
    RegistrationSnapshot, Server, serve,
};
use cfgsync_client::{JoinOptions, ServerUrl, Session};
use cfgsync_materialize::MaterializeError;
use cfgsync_spec::Spec;
use cfgsync_wire::ReceivedPayload;
use tokio::sync::{mpsc, oneshot};

/// The rule comes from a spec; the files come from the materializer below.
const RULE: &str = "
cfgsync: 1
cluster: embedded
ready: {nodes: 2}
materializers: []    # this program brings its own
";

/// Gives every node the names and addresses of all others, one a line.
struct Neighbours;

impl Materializer for Neighbours {
    fn name(&self) -> String {
        "neighbours".into()
    }

    fn materialize(
        &self,
        snapshot: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        let mut nodes = BTreeMap::new();
        for node in &snapshot.nodes {
            let others = snapshot
                .nodes
                .iter()
                .filter(|other| other.identifier != node.identifier);
            let lines = others.map(|other| format!("{} {}\n", other.identifier, other.ip));
            let path = "neighbours".parse().expect("a valid path");
            let file = ArtifactFile::new(path, lines.collect::<String>());
            let files = ArtifactSet::new(vec![file]).expect("one file has no duplicate");
            nodes.insert(node.identifier.clone(), files);
        }
        let shared = ArtifactSet::default();
        Ok(MaterializationResult::Ready(MaterializedArtifacts {
            nodes,
            shared,
        }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let spec = Spec::parse_rule(RULE, "embedded", Path::new("."))?;
    let listener = cfgsync_server::listen((Ipv4Addr::LOCALHOST, 0).into())?;
    let server_url: ServerUrl = format!("http://{}", listener.local_addr()?).parse()?;

    let (stop, stopped) = oneshot::channel::<()>();
    // Held to the end: specs sent here would be served from then on.
    let (_reload, reloads) = mpsc::channel(1);
    let server = Server::new(spec, listener).with_materializer(Neighbours);
    let server = tokio::spawn(serve(server, reloads, async {
        let _ = stopped.await;
    }));

    let (alpha, beta) = tokio::try_join!(join("alpha", &server_url), join("beta", &server_url))?;
    for (name, payload) in [("alpha", alpha), ("beta", beta)] {
        for file in payload.files.files() {
            let text = String::from_utf8_lossy(&file.content.to_bytes()).into_owned();
            println!("{name} received {}: {text}", file.path);
        }
    }

    drop(stop);
    server.await??;
    Ok(())
}

/// What `cfgsync join` does, short of writing the files.
async fn join(name: &str, server: &ServerUrl) -> Result<ReceivedPayload, Box<dyn Error>> {
    let options = JoinOptions::new(name.parse()?)
        .with_cluster("embedded")
        .with_timeout(Duration::from_secs(30));
    let mut session = Session::new(Client::new([server.clone()]), options);
    Ok(session.run(|event| eprintln!("{name}: {event:?}")).await?)
}
