//! The flags with which an operator's command names its server, and how a server's URL is parsed.

use std::{ffi::OsStr, future::Future};

use cfgsync_client::{Client, ServerUrl};
use clap::{Arg, Args, Command, builder::TypedValueParser};

use super::{
    credentials::TokenSource, error::CommandError, parsers::without_secrets, threads,
    tls::ClientTlsArgs,
};

/// The server of a command without --server.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:4400";

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// URL of the server; repeatable: another one is used if a server cannot serve the request
    #[arg(
        long,
        env = "CFGSYNC_SERVER",
        value_name = "URL",
        default_value = DEFAULT_SERVER,
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
    /// Returns a client of these servers, with the token if one is configured.
    pub(crate) fn client(self) -> Result<Client, CommandError> {
        let client = self.tls.client(self.server)?;
        Ok(self.credentials.add_to(client)?)
    }
}

/// Parses the URL of a server. Clap repeats an invalid value in its message, so this parser first removes from it
/// what may be a secret.
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
pub(crate) fn block_on<T>(
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let runtime = threads::client_runtime()?;
    let done = runtime.block_on(work);
    // Does not wait for a name resolution that is still running.
    runtime.shutdown_background();
    done
}
