//! `cfgsync values set`: sets a value.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use cfgsync_client::Client;
use cfgsync_model::{Codec, VALUE_MAX_BYTES, ValueName, WriteMode};
use cfgsync_support::bounded_file;
use cfgsync_wire::SetBody;
use clap::Args;

use super::{ValuesError, error::of_change};
use crate::cmd::{error::CommandError, exit::Exit, parsers::duration};

/// The file that stands for standard input.
const STDIN: &str = "/dev/stdin";

/// Set a value: make its next version
///
/// The content comes from the command line, from a file or from standard input, and is kept byte for byte. The server
/// checks that it is valid in its codec. A secret cannot be written on the command line, which other users can read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync values set production/app/timeout 30
  cfgsync values set production/app/greeting --codec text 'Good morning'
  cfgsync values set production/app/limits --from limits.json
  cfgsync values set production/app/limits --codec yaml - <limits.yaml
  cfgsync values set production/db/password --secret --codec text --from password.txt
  cfgsync values set production/app/timeout 60 --if-version 3
  cfgsync values set production/maintenance true --ttl 1h")]
pub(super) struct SetArgs {
    /// The namespace and the key, or an alias of the key
    #[arg(value_name = "NAMESPACE/KEY")]
    address: ValueName,
    /// The content; `-` reads it from standard input
    #[arg(
        value_name = "CONTENT",
        required_unless_present = "from",
        allow_negative_numbers = true
    )]
    content: Option<String>,
    /// Read the content from this file
    #[arg(
        long,
        env = "CFGSYNC_FROM",
        value_name = "FILE",
        conflicts_with = "content"
    )]
    from: Option<PathBuf>,
    /// The codec of the content: `json`, `yaml`, `toml` and `text` are checked, `bytes` and all others are not
    /// [default: json]
    #[arg(long, env = "CFGSYNC_CODEC", value_name = "CODEC")]
    codec: Option<Codec>,
    /// Keep the content secret: it is shown only with --reveal
    #[arg(long, env = "CFGSYNC_SECRET")]
    secret: bool,
    /// Set the value only if there is none
    #[arg(long, env = "CFGSYNC_CREATE", conflicts_with_all = ["update", "if_version"])]
    create: bool,
    /// Set the value only if there is one
    #[arg(long, env = "CFGSYNC_UPDATE")]
    update: bool,
    /// Set the value only if this is its version now
    #[arg(
        long,
        env = "CFGSYNC_IF_VERSION",
        value_name = "VERSION",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    if_version: Option<u64>,
    /// Delete the value after this time, by the clock of the server
    #[arg(long, env = "CFGSYNC_TTL", value_name = "DURATION", value_parser = ttl)]
    ttl: Option<Duration>,
}

pub(super) async fn run(client: &Client, args: SetArgs) -> Result<Exit, CommandError> {
    let bytes = match (&args.content, &args.from) {
        (Some(content), _) if content == "-" => read(Path::new(STDIN))?,
        (Some(_), _) if args.secret => {
            let message = "the content of a secret would be visible on the command line";
            let hint = "pass it on standard input with `-`, or in a file with --from";
            return Err(CommandError::usage(message).hint(hint));
        }
        (Some(content), _) => content.clone().into_bytes(),
        (None, Some(path)) => read(path)?,
        (None, None) => unreachable!("clap requires one of them"),
    };
    let value = SetBody {
        bytes: bytes.into(),
        codec: args.codec,
        mode: match (args.create, args.update) {
            (true, _) => WriteMode::Create,
            (false, true) => WriteMode::Update,
            (false, false) => WriteMode::Upsert,
        },
        secret: args.secret,
        ttl_seconds: args.ttl.map(|ttl| ttl.as_secs()),
    };
    let ValueName { namespace, key } = &args.address;
    let set = client.set_value(namespace, key, &value, args.if_version);
    match set.await {
        Ok(response) => {
            let (key, version) = (response.value.key, response.value.version);
            tracing::info!("set {namespace}/{key} to version {version}");
            Ok(Exit::Done)
        }
        Err(error) => Err(of_change(client, &args.address, error).await),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ValuesError> {
    let read = bounded_file::read(path, VALUE_MAX_BYTES as u64);
    read.map_err(|problem| ValuesError::Read {
        path: path.to_owned(),
        problem,
    })
}

/// Parses the time after which a value expires.
fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = duration(text)?;
    if ttl.is_zero() || ttl.subsec_nanos() > 0 {
        return Err("expected whole seconds, at least one".to_owned());
    }
    Ok(ttl)
}
