//! cfgsync turns "who showed up" into "the files they need".
//!
//! The nodes of a new cluster register. A server waits until a rule says that the set is complete, and renders one
//! consistent generation of files. Each node receives its own. The program `cfgsync` does this for shell scripts and
//! containers. This crate does the same for Rust programs.
//!
//! # A whole program
//!
//! A server with a materializer of its own, and a node that joins it and writes its files:
//!
//! ```
//! use cfgsync::{
//!     ArtifactFile, MaterializationResult, MaterializedArtifacts, NodeRegistration, OutputMap, Server, Spec,
//!     fetch_and_write, materializer,
//! };
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Each node gets the addresses of all nodes. Equal snapshots give equal files.
//!     let peers = materializer("peers", |snapshot| {
//!         let mut text = String::new();
//!         for node in &snapshot.nodes {
//!             text += &format!("{} {}\n", node.identifier, node.ip);
//!         }
//!         let peers = ArtifactFile::text("peers", text)?;
//!         Ok(MaterializationResult::Ready(MaterializedArtifacts::default().with_shared(peers)?))
//!     });
//!     let rule = Spec::rule("devnet").nodes(1).materializer(peers);
//!     let server = Server::bind("127.0.0.1:0", rule).start().await?;
//!     let url = format!("http://{}", server.addresses()[0]);
//!
//!     let directory = std::env::temp_dir().join(format!("cfgsync-{}", std::process::id()));
//!     let node = NodeRegistration::new("node-1", [10, 0, 0, 1])?.with_metadata(&["any", "JSON"])?;
//!     let outputs = OutputMap::new().under(&directory)?;
//!     fetch_and_write(&node, url.as_str(), &outputs).await?;
//!     assert_eq!(std::fs::read_to_string(directory.join("peers"))?, "node-1 10.0.0.1\n");
//!
//!     std::fs::remove_dir_all(&directory)?;
//!     server.stop().await?;
//!     Ok(())
//! }
//! ```
//!
//! # If you come from the existing crates
//!
//! | existing crates | here |
//! | --- | --- |
//! | `NodeRegistration::new(id, ip).with_metadata(&value)?` | [`NodeRegistration::new(id, ip)?`](NodeRegistration::new), [`with_metadata`](NodeRegistration::with_metadata) |
//! | `RegistrationMetadata::deserialize()` | [`NodeRegistration::metadata_as`] |
//! | `RegistrationSnapshotMaterializer` | [`Materializer`], or a closure by [`materializer`] |
//! | `MaterializedArtifacts::from_nodes(…).with_shared(…)` | [`MaterializedArtifacts::from_nodes`], [`with_shared`](MaterializedArtifacts::with_shared) |
//! | `serve(port, materializer)` | [`Server::bind(address, rule).run()`](Server::run) |
//! | waiting for `n` nodes in the materializer | [`Spec::rule(name).nodes(n)`](Spec::rule) |
//! | `Client::register_node`, `fetch_node_config` | [`Client`], or all of it by [`fetch_and_write`] |
//! | `Client::replace_node_artifacts` | [`Client::replace_artifacts`], or [`ServerHandle::replace`] in the same process |
//! | `ArtifactOutputMap::new().route(path, place)` | [`OutputMap::new().route(path, place)?`](OutputMap::route), [`under`](OutputMap::under) |
//!
//! The wire protocol is the same, so old clients work with a new server, and the other way round.
//!
//! # Features
//!
//! `cli`, on by default, is the program. A program that embeds the crate turns it off:
//! `cfgsync = { version = "0.1", default-features = false }`.

#[doc(hidden)]
pub mod app;
mod server;

pub use app::ServerError;
pub use cfgsync_client::{Client, JoinError, OutputMap, ServerUrl, fetch_and_write};
pub use cfgsync_cluster::Refusal;
pub use cfgsync_model::{
    ArtifactFile, ArtifactSet, Generation, Identifier, MaterializedArtifacts, NodeRegistration,
    RegistrationSnapshot, SnapshotNode, ValueName, ValuePattern, ValueReadError, ValueReader,
    ValueVersion,
};
pub use cfgsync_spec::{
    IdentityMode, Late, MaterializationResult, MaterializeError, Materializer, OnConflict,
    ReadableValues, RuleBuilder, Spec, SpecError, materializer,
};
pub use cfgsync_store::Relocation;
pub use server::{RunningServer, Server, ServerHandle};
