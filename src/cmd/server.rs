//! The server that operators' commands talk to.

use std::future::Future;

use anyhow::Context as _;
use cfgsync::client::{Client, ServerUrl};
use clap::Args;

use super::credentials::TokenSource;

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server to ask; where there are several, they are tried in turn
    #[arg(
        long,
        env = "CFGSYNC_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:4400",
        global = true
    )]
    server: Vec<ServerUrl>,
    #[command(flatten)]
    credentials: TokenSource,
}

impl ServerArgs {
    /// A client of it, which comes with the token that there is.
    pub(crate) fn client(self) -> anyhow::Result<Client> {
        let client = Client::new(self.server);
        Ok(match self.credentials.token()? {
            Some(token) => client.with_token(&token)?,
            None => client,
        })
    }
}

/// Runs `work` on this thread until it is done.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?
        .block_on(work)
}
