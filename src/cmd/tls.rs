//! TLS flags of clients: which servers a command trusts, and the certificate that it presents.

use std::{ffi::OsString, path::PathBuf};

use cfgsync_client::{Client, ServerUrl, Trust, TrustError};
use cfgsync_model::Pin;
use clap::Args;

use super::parsers::absolute;

/// TLS to the server.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct ClientTlsArgs {
    /// Trust the certificate authorities in this PEM file instead of those of the public web
    #[arg(long, env = "CFGSYNC_CA_FILE", value_name = "FILE", global = true)]
    ca_file: Option<PathBuf>,
    /// Trust only a server with this key, whatever its certificate says; repeatable, for a key change
    #[arg(long, env = "CFGSYNC_PIN", value_name = "sha256-…", global = true)]
    pin: Vec<Pin>,
    /// Present the client certificate in this PEM file to the server
    #[arg(long, env = "CFGSYNC_CLIENT_CERT", value_name = "FILE", global = true)]
    client_cert: Option<PathBuf>,
    /// The file with the key of the client certificate [default: the same file]
    #[arg(long, env = "CFGSYNC_CLIENT_KEY", value_name = "FILE", global = true)]
    client_key: Option<PathBuf>,
}

/// The reason why the TLS flags cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustFailure {
    /// Flags that contradict each other.
    #[error("{0}")]
    Usage(&'static str),
    /// Flags that do not fit the servers, or a file that cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl ClientTlsArgs {
    /// Returns the variables with which another command trusts the same servers, whatever its working directory.
    pub(crate) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let files = [
            ("CFGSYNC_CA_FILE", &self.ca_file),
            ("CFGSYNC_CLIENT_CERT", &self.client_cert),
            ("CFGSYNC_CLIENT_KEY", &self.client_key),
        ];
        let files = files.into_iter();
        let files = files.filter_map(|(name, path)| Some((name, absolute(path.as_ref()?).into())));
        let pins: Vec<String> = self.pin.iter().map(ToString::to_string).collect();
        let pins = (!pins.is_empty()).then(|| ("CFGSYNC_PIN", pins.join("\n").into()));
        files.chain(pins).collect()
    }

    /// Returns a client of `servers` that trusts as these flags say.
    pub(crate) fn client(&self, servers: Vec<ServerUrl>) -> Result<Client, TrustFailure> {
        let mut trust = Trust::new().with_pins(self.pin.iter().copied());
        if let Some(path) = &self.ca_file {
            trust = trust.with_authorities(path);
        }
        match (&self.client_cert, &self.client_key) {
            (Some(certificate), key) => {
                let key = key.as_ref().unwrap_or(certificate);
                trust = trust.with_identity(certificate, key);
            }
            (None, Some(_)) => {
                return Err(TrustFailure::Usage(
                    "--client-key needs --client-cert FILE, the certificate of that key",
                ));
            }
            (None, None) => {}
        }
        Ok(Client::with_trust(servers, &trust)?)
    }
}
