//! A program that embeds cfgsync: it brings its own materializer, serves it, and joins to it, all in one.
//!
//! `cargo run --example embed`
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example shows what it does"
)]

use std::{error::Error, net::Ipv4Addr, time::Duration};

use cfgsync::{
    ArtifactFile, Client, MaterializationResult, MaterializedArtifacts, Materializer,
    RegistrationSnapshot, Server, serve,
};
use cfgsync_client::{JoinOptions, ServerUrl, Session};
use cfgsync_materialize::MaterializeError;
use cfgsync_spec::Spec;
use cfgsync_wire::ReceivedPayload;
use tokio::sync::{mpsc, oneshot};

/// Gives every node the names and addresses of all others, one on each line.
struct Neighbours;

impl Materializer for Neighbours {
    fn name(&self) -> String {
        "neighbours".into()
    }

    fn materialize(
        &self,
        snapshot: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        let mut nodes = Vec::new();
        for node in &snapshot.nodes {
            let others = snapshot
                .nodes
                .iter()
                .filter(|other| other.identifier != node.identifier);
            let lines = others.map(|other| format!("{} {}\n", other.identifier, other.ip));
            let file = ArtifactFile::text("neighbours", lines.collect::<String>())?;
            nodes.push((node.identifier.clone(), file));
        }
        let artifacts = MaterializedArtifacts::from_nodes(nodes)?;
        Ok(MaterializationResult::Ready(artifacts))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let spec = Spec::rule("embedded")
        .nodes(2)
        .materializer(Neighbours)
        .build()?;
    let listener = cfgsync_server::listen((Ipv4Addr::LOCALHOST, 0).into())?;
    let server_url: ServerUrl = format!("http://{}", listener.local_addr()?).parse()?;

    let (stop, stopped) = oneshot::channel::<()>();
    // Held to the end: specs sent here would be served from then on.
    let (_reload, reloads) = mpsc::channel(1);
    let server = Server::new(spec, listener);
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
