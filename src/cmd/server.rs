//! The server that operators' commands talk to, and how the URL of one is read.

use std::{ffi::OsStr, future::Future};

use anyhow::Context as _;
use cfgsync_client::{Client, ServerUrl};
use clap::{Arg, Args, Command, builder::TypedValueParser};

use super::{credentials::TokenSource, tls::ClientTlsArgs, values::without_secrets};

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server to ask; where there are several, they are tried in turn
    #[arg(
        long,
        env = "CFGSYNC_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:4400",
        value_parser = UrlParser,
        global = true
    )]
    server: Vec<ServerUrl>,
    #[command(flatten)]
    credentials: TokenSource,
    #[command(flatten)]
    tls: ClientTlsArgs,
}

impl ServerArgs {
    /// A client of it, which comes with the token that there is.
    pub(crate) fn client(self) -> anyhow::Result<Client> {
        let client = self.tls.client(self.server)?;
        Ok(self.credentials.take_to(client)?)
    }
}

/// Reads the URL of a server. What is refused is repeated by clap; here without what may be a secret in it.
#[derive(Clone)]
pub(crate) struct UrlParser;

impl TypedValueParser for UrlParser {
    type Value = ServerUrl;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<ServerUrl, clap::Error> {
        let read = |text: &str| text.parse::<ServerUrl>();
        read.parse_ref(command, arg, value).or_else(|_| {
            let text = value.to_string_lossy();
            let error = read(&text);
            let refuse = move |_: &str| error.clone();
            refuse.parse_ref(command, arg, OsStr::new(&without_secrets(&text)))
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
