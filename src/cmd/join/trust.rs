//! The flags that say which payloads are accepted: signatures and limits.

use std::path::PathBuf;

use cfgsync_wire::{PayloadLimits, VerifyKey};
use clap::Args;

use super::JoinFailure;
use crate::cmd::{keys::read_verify_key, parsers};

#[derive(Debug, Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct TrustArgs {
    /// Accept only payloads that are signed with the key in this PEM file; repeatable, for a key change
    #[arg(long, env = "CFGSYNC_VERIFY_KEY", value_name = "FILE")]
    verify_key: Vec<PathBuf>,
    /// Also accept signatures that do not cover the cluster's name, while the server is older than this version
    #[arg(long, env = "CFGSYNC_ACCEPT_SIGNATURE_V1", requires = "verify_key")]
    accept_signature_v1: bool,
    /// Largest payload that this node accepts
    #[arg(long, env = "CFGSYNC_PAYLOAD_MAX", value_name = "SIZE", default_value = "512MiB", value_parser = parsers::bytes)]
    payload_max: usize,
    /// Most files in a payload, up to 100000
    #[arg(
        long,
        env = "CFGSYNC_FILES_MAX",
        value_name = "COUNT",
        default_value = "10000",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    files_max: u32,
    /// Longest artifact path in bytes, up to 1024
    #[arg(
        long,
        env = "CFGSYNC_PATH_MAX_BYTES",
        value_name = "BYTES",
        default_value = "1024",
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    path_max_bytes: u16,
}

impl TrustArgs {
    /// Reads the keys of which one must have signed the payload. Empty if it need not be signed.
    pub(super) fn verify_keys(&self) -> Result<Vec<VerifyKey>, JoinFailure> {
        let keys = self.verify_key.iter().map(|path| read_verify_key(path));
        let keys: Result<Vec<_>, _> = keys.collect();
        keys.map_err(|error| JoinFailure::Setting(error.to_string()))
    }

    /// Returns whether signatures of the first version are accepted.
    pub(super) fn accept_signature_v1(&self) -> bool {
        self.accept_signature_v1
    }

    /// Returns the limits.
    pub(super) fn limits(&self) -> PayloadLimits {
        PayloadLimits::DEFAULT
            .with_payload_max_bytes(self.payload_max)
            .with_files_max(self.files_max as usize)
            .with_path_max_bytes(self.path_max_bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        trust: TrustArgs,
    }

    #[test]
    fn defaults_match_the_library() {
        let args = Only::parse_from(["join"]).trust;
        assert_eq!(args.limits(), PayloadLimits::default());
    }
}
