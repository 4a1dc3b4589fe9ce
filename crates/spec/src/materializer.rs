//! The contract of materializers, which turn a ready snapshot into files.
//!
//! The kinds that a YAML file can name are in the crate `materialize`. A Rust program implements [`Materializer`] itself
//! and adds it to a rule (see [`Spec::rule`](crate::Spec::rule)).

use std::{collections::BTreeSet, error::Error, fmt};

use cfgsync_model::{Identifier, MaterializedArtifacts, RegistrationSnapshot, ValuePattern};

/// Makes files from a snapshot.
///
/// The server calls it on a thread of its own, so it may block. A panic in it fails the render, not the server.
///
/// ```
/// use cfgsync_model::{ArtifactFile, MaterializedArtifacts, RegistrationSnapshot};
/// use cfgsync_spec::{MaterializationResult, MaterializeError, Materializer};
///
/// /// Gives each node its own port number.
/// struct Ports;
///
/// #[derive(serde::Deserialize)]
/// struct Metadata {
///     port: u16,
/// }
///
/// impl Materializer for Ports {
///     fn name(&self) -> String {
///         "ports".into()
///     }
///
///     fn materialize(
///         &self,
///         snapshot: &RegistrationSnapshot,
///     ) -> Result<MaterializationResult, MaterializeError> {
///         let mut nodes = Vec::new();
///         for node in &snapshot.nodes {
///             let Metadata { port } = node.metadata_as()?;
///             nodes.push((node.identifier.clone(), ArtifactFile::text("port", format!("{port}\n"))?));
///         }
///         Ok(MaterializationResult::Ready(MaterializedArtifacts::from_nodes(nodes)?))
///     }
/// }
/// ```
pub trait Materializer: Send + Sync + 'static {
    /// Returns the name that messages use, such as `template` or `exec ./make-genesis`.
    fn name(&self) -> String;

    /// Returns the files for `snapshot`. Equal snapshots should give equal bytes: avoid clocks, random numbers, the
    /// environment and the order of hash maps.
    ///
    /// # Errors
    /// An error fails the render. Before the first seal it releases the nodes that wait. After it the last generation
    /// stays served.
    fn materialize(
        &self,
        snapshot: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError>;

    /// Stops a [`Materializer::materialize`] that is running: the server is stopping, and no node will get its files.
    /// Implement it if something would outlive the server, such as a child process.
    fn stop(&self) {}

    /// Returns whether the same snapshot always gives the same files, unless files on this machine have changed that it
    /// reads.
    ///
    /// A server that restarts with its state renders again with such materializers. If any materializer returns `false`,
    /// the sealed generation stays until an input or the spec changes.
    fn is_repeatable(&self) -> bool {
        false
    }

    /// Returns which operators' values it reads from the snapshot. Other values cannot be read, and their changes cause
    /// no render. A materializer that reads a secret value must make secret files only.
    fn reads(&self) -> ReadableValues {
        ReadableValues::default()
    }

    /// Returns the nodes that it has files for.
    fn audience(&self) -> Audience {
        Audience::Registered
    }
}

/// Returns a materializer that calls a function. `name` is for messages and for the digest of a rule.
///
/// ```
/// use cfgsync_model::{ArtifactFile, MaterializedArtifacts};
/// use cfgsync_spec::{MaterializationResult, materializer};
///
/// let size = materializer("size", |snapshot| {
///     let file = ArtifactFile::text("size", snapshot.nodes.len().to_string())?;
///     Ok(MaterializationResult::Ready(MaterializedArtifacts::default().with_shared(file)?))
/// });
/// # let _ = size;
/// ```
pub fn materializer<F>(name: impl Into<String>, make: F) -> impl Materializer
where
    F: Fn(&RegistrationSnapshot) -> Result<MaterializationResult, MaterializeError>
        + Send
        + Sync
        + 'static,
{
    Function {
        name: name.into(),
        make,
    }
}

/// A materializer that calls a function.
struct Function<F> {
    name: String,
    make: F,
}

impl<F> Materializer for Function<F>
where
    F: Fn(&RegistrationSnapshot) -> Result<MaterializationResult, MaterializeError>
        + Send
        + Sync
        + 'static,
{
    fn name(&self) -> String {
        self.name.clone()
    }

    fn materialize(
        &self,
        snapshot: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        (self.make)(snapshot)
    }
}

/// The operators' values that a materializer reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadableValues {
    /// Values that are known in advance.
    Declared(Vec<ValuePattern>),
    /// The values that each render reads. The materializer itself keeps secret values out of files that are not secret.
    Any,
}

impl Default for ReadableValues {
    fn default() -> Self {
        Self::Declared(Vec::new())
    }
}

/// The nodes that a materializer has files for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// The nodes of the snapshot.
    Registered,
    /// Nodes that are known in advance.
    Listed {
        /// The identifiers of these nodes.
        identifiers: BTreeSet<Identifier>,
        /// Whether a node must register before it may fetch its files.
        requires_registration: bool,
    },
}

/// The result of a materializer that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaterializationResult {
    /// Something is missing that the rule does not know of. The server asks again later, and when an input changes.
    NotReady {
        /// The thing that is missing. Nodes that wait show this message.
        message: String,
    },
    /// The files. An identifier that is not in the snapshot is an error unless the audience lists it.
    Ready(MaterializedArtifacts),
}

/// A failed render. Its message is shown to operators and to all nodes.
///
/// A message says what failed, where (file, line, column, node) and what to do. It must not contain the content of
/// secret files or of variables.
///
/// Every error type converts to it, so `?` works in a materializer. The message then joins the error and its sources
/// with `: `.
///
/// ```
/// use cfgsync_spec::MaterializeError;
///
/// fn port(text: &str) -> Result<u16, MaterializeError> {
///     Ok(text.parse()?)
/// }
/// assert_eq!(port("x").unwrap_err().to_string(), "invalid digit found in string");
///
/// fn genesis() -> Result<(), MaterializeError> {
///     Err(MaterializeError::new("the ledger is empty"))
/// }
/// assert_eq!(genesis().unwrap_err().to_string(), "the ledger is empty");
/// ```
// It does not implement `Error`: with that, the conversion from every error would conflict with the one from itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaterializeError {
    message: String,
}

impl MaterializeError {
    /// Returns an error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl fmt::Display for MaterializeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for MaterializeError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            // Some errors repeat their source's message in their own.
            let text = error.to_string();
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = error.source();
        }
        Self { message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the ledger")]
    struct LedgerError(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("genesis: {0}")]
    struct GenesisError(#[source] LedgerError);

    #[test]
    fn message_joins_the_sources_without_repeating_them() {
        let io = std::io::Error::other("disk on fire");
        let error = MaterializeError::from(GenesisError(LedgerError(io)));
        assert_eq!(
            error.to_string(),
            "genesis: cannot read the ledger: disk on fire"
        );
    }
}
