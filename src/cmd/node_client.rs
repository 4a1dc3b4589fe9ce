//! The flags with which a command acts as one node, and the retries of its requests.

use std::{future::Future, path::PathBuf, str::FromStr, time::Duration};

use cfgsync_client::{CallError, Client, FailureKind};
use cfgsync_model::{GenerationNumber, Identifier};
use clap::Args;
use tokio::time::{Instant, sleep};

use super::{error::CommandError, parsers, server::ServerArgs};

/// The pause before a failed request is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The identifier of this node; CMD of `join` has it in its environment
    #[arg(
        long,
        env = "CFGSYNC_ID",
        value_name = "ID",
        help_heading = "This node"
    )]
    id: Option<Identifier>,
    #[command(flatten)]
    access: NodeAccessArgs,
}

/// The flags of a command that may act as a node.
#[derive(Debug, Args)]
pub(crate) struct NodeAccessArgs {
    /// The file with the key of this node, for a cluster that requires one; CMD of `join` has it in its environment
    #[arg(
        long,
        env = "CFGSYNC_IDENTITY_FILE",
        value_name = "FILE",
        help_heading = "Access"
    )]
    identity_file: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// A generation on the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WantedGeneration {
    Newest,
    Number(GenerationNumber),
}

impl FromStr for WantedGeneration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "newest" {
            return Ok(Self::Newest);
        }
        let number = parsers::generation(text).map(Self::Number);
        number.map_err(|_| "expected the number of a generation, or `newest`".to_owned())
    }
}

impl WantedGeneration {
    /// Returns the number. `None` for the newest generation.
    pub(crate) fn number(self) -> Option<GenerationNumber> {
        match self {
            Self::Newest => None,
            Self::Number(number) => Some(number),
        }
    }
}

impl NodeArgs {
    /// Returns a client that acts as no particular node.
    pub(crate) fn operator_client(self) -> Result<Client, CommandError> {
        self.access.client()
    }

    /// Returns the identifier, and a client that acts as this node.
    pub(crate) fn client(self) -> Result<(Identifier, Client), CommandError> {
        let Some(id) = self.id else {
            return Err(CommandError::usage(
                "the identifier of the node is missing: add --id, or run the command in CMD of `join`, which sets \
                 CFGSYNC_ID",
            ));
        };
        let client = self.access.client()?.spread_by(id.as_str());
        Ok((id, client))
    }
}

impl NodeAccessArgs {
    /// Returns a client that sends the key of the node, if there is one. The machines of a cluster are spread over its
    /// servers, also those that do not say which node they are.
    pub(crate) fn client(self) -> Result<Client, CommandError> {
        let machine = rustix::system::uname();
        let client = self.server.client()?;
        let client = client.spread_by(&machine.nodename().to_string_lossy());
        match self.identity_file {
            Some(path) => Ok(client.with_node_key_of(&path)?),
            None => Ok(client),
        }
    }
}

/// Sends a request until it succeeds or is refused, for at most `limit`. It tries again while no server can be reached or
/// the server cannot do it at the moment.
pub(crate) async fn retry<T, F>(
    limit: Option<Duration>,
    mut send: impl FnMut() -> F,
) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let until = limit.map(|limit| Instant::now() + limit);
    loop {
        let error = match send().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let is_late = until.is_some_and(|until| Instant::now() + RETRY_PAUSE >= until);
        if is_late || !may_succeed_later(&error) {
            return Err(error);
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// Whether the same request may succeed later.
pub(crate) fn may_succeed_later(error: &CallError) -> bool {
    matches!(
        error.kind(),
        FailureKind::Unreachable | FailureKind::NotReady | FailureKind::ServerError
    )
}
