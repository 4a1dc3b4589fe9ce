//! TLS to the server: whom a command trusts, and what it shows of itself.

use std::path::PathBuf;

use cfgsync_client::{Client, ServerUrl, Trust, TrustError};
use cfgsync_model::Pin;
use clap::Args;

/// TLS to the server.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct ClientTlsArgs {
    /// Trust the authorities in this PEM file instead of the public web's
    #[arg(long, env = "CFGSYNC_CA_FILE", value_name = "FILE", global = true)]
    ca_file: Option<PathBuf>,
    /// Trust the server that has this key, whatever its certificate says; repeat it while a key is replaced
    #[arg(long, env = "CFGSYNC_PIN", value_name = "sha256-…", global = true)]
    pin: Vec<Pin>,
    /// Show the certificate in this PEM file to the server
    #[arg(long, env = "CFGSYNC_CLIENT_CERT", value_name = "FILE", global = true)]
    client_cert: Option<PathBuf>,
    /// Where its key is [default: in the same file]
    #[arg(long, env = "CFGSYNC_CLIENT_KEY", value_name = "FILE", global = true)]
    client_key: Option<PathBuf>,
}

/// Why nobody can be trusted as it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustFailure {
    /// Flags that make no sense together.
    #[error("{0}")]
    Usage(&'static str),
    /// Flags and servers that do not fit, or a file that cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl ClientTlsArgs {
    /// A client of `servers`.
    pub(crate) fn client(&self, servers: Vec<ServerUrl>) -> Result<Client, TrustFailure> {
        let identity = match (&self.client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (Some(both), None) => Some((both.clone(), both.clone())),
            (None, Some(_)) => {
                return Err(TrustFailure::Usage(
                    "--client-key is the key of a certificate: add --client-cert FILE",
                ));
            }
            (None, None) => None,
        };
        let trust = Trust {
            authorities: self.ca_file.clone(),
            pins: self.pin.clone(),
            identity,
        };
        Ok(Client::with_trust(servers, &trust)?)
    }
}
