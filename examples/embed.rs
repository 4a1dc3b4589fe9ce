//! A program that embeds cfgsync: it serves a cluster with a materializer of its own, and joins it with two nodes.
//!
//! `cargo run --example embed`
#![allow(clippy::print_stdout, reason = "an example shows its results")]

use std::error::Error;

use cfgsync::{
    ArtifactFile, MaterializationResult, MaterializeError, MaterializedArtifacts, Materializer,
    NodeRegistration, OutputMap, RegistrationSnapshot, Server, Spec, fetch_and_write,
};
use serde::{Deserialize, Serialize};

/// The metadata that each node sends.
#[derive(Serialize, Deserialize)]
struct Metadata {
    port: u16,
}

/// Gives each node the names and addresses of all others, one on each line.
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
            let mut text = String::new();
            for other in &snapshot.nodes {
                if other.identifier != node.identifier {
                    let Metadata { port } = other.metadata_as()?;
                    text += &format!("{} {}:{port}\n", other.identifier, other.ip);
                }
            }
            let file = ArtifactFile::text("neighbours", text)?;
            nodes.push((node.identifier.clone(), file));
        }
        let cluster = ArtifactFile::text("cluster", format!("{}\n", snapshot.cluster))?;
        let artifacts = MaterializedArtifacts::from_nodes(nodes)?.with_shared(cluster)?;
        Ok(MaterializationResult::Ready(artifacts))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rule = Spec::rule("embedded").nodes(2).materializer(Neighbours);
    let server = Server::bind("127.0.0.1:0", rule)
        .on_seal(|generation| println!("generation {} is sealed", generation.number))
        .start()
        .await?;
    let url = format!("http://{}", server.addresses()[0]);

    let directory = tempfile::tempdir()?;
    let join = async |name: &str, last_byte: u8| -> Result<(), Box<dyn Error>> {
        let node = NodeRegistration::new(name, [10, 0, 0, last_byte])?
            .with_metadata(&Metadata { port: 9000 })?;
        let outputs = OutputMap::new().under(directory.path().join(name))?;
        fetch_and_write(&node, url.as_str(), &outputs).await?;
        Ok(())
    };
    tokio::try_join!(join("alpha", 1), join("beta", 2))?;
    for name in ["alpha", "beta"] {
        let neighbours = std::fs::read_to_string(directory.path().join(name).join("neighbours"))?;
        print!("{name} has the neighbour {neighbours}");
    }
    server.stop().await?;
    Ok(())
}
