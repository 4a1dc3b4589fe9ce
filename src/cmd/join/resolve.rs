//! Turns the arguments, and the variables of the existing clients, into a plan, before any other work.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

use cfgsync::{Identifier, OutputMap};
use cfgsync_client::{
    Client, DeliveryOptions, JoinError, JoinOptions, NodeAddress, ServerUrl, disk::Owner,
};
use cfgsync_model::{ArtifactPath, Ownership};
use tracing::{info, warn};

use super::{
    JoinArgs, JoinFailure,
    environment::EnvPattern,
    fallback::ReceiptSettings,
    metadata::{self, MetadataArgs, MetadataError},
    watch::WatchSettings,
};
use crate::cmd::{parsers, program};

/// Longest wait of a request if stderr is a terminal, so that progress is shown soon.
const WAIT_MAX_INTERACTIVE: Duration = Duration::from_secs(3);
/// Longest wait of a request elsewhere, so that ten thousand waiting nodes cost the server little.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The resolved arguments of a join.
pub(super) struct Plan {
    pub(super) client: Client,
    pub(super) options: JoinOptions,
    pub(super) delivery: DeliveryOptions,
    /// The artifacts that become the environment of CMD.
    pub(super) env: Vec<ArtifactPath>,
    /// The variables that these artifacts may set. If there are none, all that are not known to be dangerous.
    pub(super) env_allow: Vec<EnvPattern>,
    pub(super) receipt: Option<ReceiptSettings>,
    /// Whether a report is printed.
    pub(super) json: bool,
    /// How the node follows the cluster after the first delivery. `None`: not at all.
    pub(super) watch: Option<WatchSettings>,
    pub(super) command: Vec<OsString>,
    /// The variables with which CMD reaches the server as this node. They name files, and contain no secret.
    pub(super) access_variables: Vec<(&'static str, OsString)>,
}

/// Reads the variables of the existing clients, and records which of them were used.
struct Legacy {
    read: fn(&str) -> Option<String>,
    used: Vec<&'static str>,
}

impl Legacy {
    fn take(&mut self, name: &'static str) -> Option<String> {
        let value = (self.read)(name).filter(|value| !value.is_empty())?;
        self.used.push(name);
        Some(value)
    }
}

/// Resolves `args`, with the environment of this process.
pub(super) fn plan(args: JoinArgs, is_interactive: bool) -> Result<Plan, JoinFailure> {
    let mut legacy = Legacy {
        read: |name| env::var(name).ok(),
        used: Vec::new(),
    };
    let plan = resolve(args, is_interactive, &mut legacy)?;
    if !legacy.used.is_empty() {
        info!(
            "using the variables of the existing clients: {}",
            legacy.used.join(", ")
        );
    }
    Ok(plan)
}

fn resolve(args: JoinArgs, is_interactive: bool, legacy: &mut Legacy) -> Result<Plan, JoinFailure> {
    let outputs = checked_outputs(&args, legacy)?;
    if let Some(name) = args.command.first() {
        check_program(name, &outputs, &args.env_allow)?;
    }
    let watch = args.watch.clone().resolve(!args.command.is_empty())?;
    let servers = servers(&args, legacy)?;
    let identifier = match (args.id, legacy.take("CFG_HOST_IDENTIFIER")) {
        (Some(id), _) => id,
        (None, Some(id)) => Identifier::new(&id)
            .map_err(|error| JoinFailure::Setting(format!("CFG_HOST_IDENTIFIER: {error}")))?,
        (None, None) => host_name()?,
    };
    let address = match (args.ip, legacy.take("CFG_HOST_IP")) {
        (Some(ip), _) => NodeAddress::Fixed(ip),
        (None, Some(ip)) => NodeAddress::Fixed(
            super::address(&ip)
                .map_err(|error| JoinFailure::Setting(format!("CFG_HOST_IP: {error}")))?,
        ),
        (None, None) => NodeAddress::TowardsServer,
    };
    let is_typed =
        args.metadata.is_on_command_line("meta") || args.metadata.is_on_command_line("meta_json");
    let MetadataArgs { meta, meta_json } = args.metadata.args;
    let base = match (meta_json, legacy.take("CFG_REGISTRATION_METADATA_JSON")) {
        (Some(json), _) => Some(json),
        (None, Some(text)) => Some(parsers::json(&text).map_err(|error| {
            JoinFailure::Setting(format!("CFG_REGISTRATION_METADATA_JSON: {error}"))
        })?),
        (None, None) => None,
    };
    let all_to_files = args.env.is_empty() && !outputs.uses_stdout();
    let receipt = (args.receipt).resolve(parsers::limit(args.timeout), all_to_files)?;
    let metadata = metadata::merge(base, &meta).map_err(|error| match error {
        MetadataError::NotAnObject { .. } if is_typed => JoinFailure::Usage(error.to_string()),
        _ => JoinFailure::Setting(error.to_string()),
    })?;
    let verify_keys = args.trust.verify_keys()?;
    let delivered = (receipt.as_ref()).and_then(|receipt| receipt.delivered(&identifier));
    let client = args
        .tls
        .client(servers)?
        .spread_by(identifier.as_str())
        .with_payload_limits(args.trust.limits());
    let client = args.credentials.add_to(client)?;
    let mut access_variables = args.tls.variables();
    access_variables.extend(args.credentials.variable());
    let mut options = JoinOptions::new(identifier)
        .with_address(address)
        .with_metadata(metadata)
        .with_verify_keys(verify_keys)
        .with_accept_signature_v1(args.trust.accept_signature_v1())
        .with_wait_max(if is_interactive {
            WAIT_MAX_INTERACTIVE
        } else {
            WAIT_MAX
        })
        .with_key(args.identity.location());
    options.cluster = args.cluster;
    options.delivered = delivered;
    options.timeout = parsers::limit(args.timeout);
    let mut delivery = delivery(args.owner.as_deref(), receipt.as_ref(), outputs)?;
    if watch.as_ref().is_some_and(WatchSettings::acts) {
        delivery = delivery.with_action();
    }
    Ok(Plan {
        client,
        options,
        delivery,
        env: args.env,
        env_allow: args.env_allow,
        receipt,
        json: args.output.is_some(),
        watch,
        command: args.command,
        access_variables,
    })
}

/// Returns the routes. Fails if they contradict each other or other flags.
fn checked_outputs(args: &JoinArgs, legacy: &mut Legacy) -> Result<OutputMap, JoinFailure> {
    let mut outputs = outputs(args, legacy)?;
    for artifact in &args.env {
        let is_discarded = |text: &&String| text.trim_start_matches('/') == artifact.name();
        if let Some(text) = args.discard.iter().find(is_discarded) {
            let problem = format!("--discard {text}: it is also given with --env");
            return Err(JoinFailure::Usage(problem));
        }
        outputs = outputs.consume(artifact.clone());
    }
    if outputs.only_discards() {
        return Err(JoinFailure::Usage(
            "nothing is written: every route discards; add --out ARTIFACT=PATH, --out-dir DIR or --env ARTIFACT"
                .into(),
        ));
    }
    if outputs.is_empty() {
        return Err(JoinFailure::Usage(
            "no output for the files: add --out ARTIFACT=PATH, --out-dir DIR or --env ARTIFACT"
                .into(),
        ));
    }
    if !args.env.is_empty() && args.command.is_empty() {
        return Err(JoinFailure::Usage(
            "--env needs a program that gets the environment: add -- CMD".into(),
        ));
    }
    if args.output.is_some() && outputs.uses_stdout() {
        return Err(JoinFailure::Usage(
            "--output json and a route to '-' cannot be combined: both write to stdout".into(),
        ));
    }
    Ok(outputs)
}

/// Returns the options of the delivery. Fails if a directory cannot be written.
fn delivery(
    owner: Option<&Ownership>,
    receipt: Option<&ReceiptSettings>,
    outputs: OutputMap,
) -> Result<DeliveryOptions, JoinFailure> {
    let mut delivery = DeliveryOptions::new(outputs);
    if let Some(owner) = owner {
        let owner =
            Owner::of(owner).map_err(|error| JoinFailure::Setting(format!("--owner: {error}")))?;
        delivery = delivery.with_owner(owner);
    }
    if let Some(receipt) = receipt {
        delivery = delivery
            .with_receipt(&receipt.path)
            .map_err(|error| JoinFailure::Usage(error.to_string()))?;
        if receipt.keep_stale {
            delivery = delivery.with_stale_files_kept();
        }
    }
    delivery.check_directories().map_err(JoinError::from)?;
    Ok(delivery)
}

/// Fails if CMD cannot be run, before a set is sealed with this node. The delivery may bring the program, or the
/// directory where it is searched for: then only the start itself can tell.
fn check_program(
    name: &OsStr,
    outputs: &OutputMap,
    env_allow: &[EnvPattern],
) -> Result<(), JoinFailure> {
    let search_path = env::var_os("PATH");
    let may_change = if name.as_encoded_bytes().contains(&b'/') {
        outputs.may_write(name.as_ref())
    } else {
        let directories = env::split_paths(search_path.as_deref().unwrap_or_default());
        env_allow.iter().any(|pattern| pattern.matches("PATH"))
            || directories
                .into_iter()
                .any(|directory| outputs.may_write(&directory.join(name)))
    };
    match program::find(name, search_path.as_deref()) {
        Err(error) if !may_change => Err(error.into()),
        _ => Ok(()),
    }
}

fn servers(args: &JoinArgs, legacy: &mut Legacy) -> Result<Vec<ServerUrl>, JoinFailure> {
    if let Some(url) = &args.url {
        return Ok(vec![url.clone()]);
    }
    if !args.server.is_empty() {
        return Ok(args.server.clone());
    }
    let Some(address) = legacy.take("CFG_SERVER_ADDR") else {
        return Err(JoinFailure::Usage(
            "no server: add --server http://HOST:PORT, or set CFGSYNC_SERVER".into(),
        ));
    };
    let url = if address.contains("://") {
        address
    } else {
        format!("http://{address}")
    };
    let server = url
        .parse()
        .map_err(|error| JoinFailure::Setting(format!("CFG_SERVER_ADDR: {error}")))?;
    Ok(vec![server])
}

fn outputs(args: &JoinArgs, legacy: &mut Legacy) -> Result<OutputMap, JoinFailure> {
    let mut outputs = OutputMap::new();
    for route in &args.out {
        outputs = outputs
            .parse_route(route)
            .map_err(|error| JoinFailure::Usage(format!("--out {route}: {error}")))?;
    }
    for artifact in &args.discard {
        outputs = outputs
            .discard(artifact)
            .map_err(|error| JoinFailure::Usage(format!("--discard {artifact}: {error}")))?;
    }
    if let Some(directory) = &args.out_dir {
        outputs = outputs
            .under(directory)
            .map_err(|error| JoinFailure::Usage(format!("--out-dir: {error}")))?;
    }
    for (variable, artifacts) in [
        ("CFG_FILE_PATH", &["config.yaml"][..]),
        (
            "CFG_DEPLOYMENT_PATH",
            &["deployment.yaml", "deployment-settings.yaml"],
        ),
    ] {
        let Some(path) = legacy.take(variable).map(PathBuf::from) else {
            continue;
        };
        for artifact in artifacts {
            if !outputs.has_route_for(artifact) {
                outputs = outputs
                    .optional_route(artifact, &path)
                    .map_err(|error| JoinFailure::Setting(format!("{variable}: {error}")))?;
            }
        }
    }
    Ok(outputs)
}

/// Returns the host name as the identifier. Warns if it looks generated.
fn host_name() -> Result<Identifier, JoinFailure> {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    let identifier = Identifier::new(&name).map_err(|error| {
        JoinFailure::Setting(format!(
            "the host name is not a valid identifier ({error}); choose one with --id"
        ))
    })?;
    if looks_like_a_container_id(&name) {
        warn!(
            "the identifier {name} looks like a container id, which changes with every start: choose one with --id"
        );
    }
    Ok(identifier)
}

fn looks_like_a_container_id(name: &str) -> bool {
    matches!(name.len(), 12 | 64)
        && name
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        join: JoinArgs,
    }

    fn resolved(line: &str, read: fn(&str) -> Option<String>) -> (Result<Plan, String>, String) {
        let words = ["join"].into_iter().chain(line.split_whitespace());
        let args = Line::try_parse_from(words).unwrap().join;
        let mut legacy = Legacy { read, used: vec![] };
        let plan = resolve(args, false, &mut legacy).map_err(|error| error.to_string());
        (plan, legacy.used.join(" "))
    }

    #[test]
    fn variables_of_existing_clients_are_defaults() {
        let older = |name: &str| {
            let value = match name {
                "CFG_SERVER_ADDR" => "boot:4400",
                "CFG_HOST_IDENTIFIER" => "node-1",
                "CFG_HOST_IP" => "10.0.0.1",
                "CFG_REGISTRATION_METADATA_JSON" => r#"{"a":1}"#,
                "CFG_FILE_PATH" => "/config.yaml",
                "CFG_DEPLOYMENT_PATH" => "/deployment.yaml",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let (plan, used) = resolved("--meta b=2", older);
        let plan = plan.unwrap();
        assert_eq!(plan.client.server().to_string(), "http://boot:4400");
        assert_eq!(plan.options.identifier.as_str(), "node-1");
        assert_eq!(plan.options.metadata, serde_json::json!({"a": 1, "b": "2"}));
        assert_eq!(used.split(' ').count(), 6, "{used}");
        // Neither route of an existing client must match.
        let other = cfgsync::ArtifactFile::text("other", "").unwrap().into();
        let refused = plan.delivery.outputs().place(&other).unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("no route for the artifact other")
        );

        let line = "--server http://a:1 --id a --ip ::1 --meta-json {} --out-dir out";
        let (plan, _) = resolved(line, older);
        let plan = plan.unwrap();
        assert_eq!(plan.client.server().to_string(), "http://a:1");
        assert_eq!(plan.options.identifier.as_str(), "a");
        assert_eq!(
            plan.options.address,
            NodeAddress::Fixed("::1".parse().unwrap())
        );
        assert_eq!(plan.options.metadata, serde_json::json!({}));
        // Regression test: --out-dir took the routes of these variables away.
        let files = ["config.yaml", "deployment-settings.yaml", "other"];
        let files = files.map(|name| cfgsync::ArtifactFile::text(name, "").unwrap());
        let files = cfgsync::ArtifactSet::try_from(files).unwrap();
        let placed = plan.delivery.outputs().place(&files).unwrap();
        let paths = placed.iter().map(|placed| match &placed.placement {
            cfgsync_client::Placement::File(target) => target.path(),
            other => panic!("{other:?}"),
        });
        assert_eq!(
            paths.collect::<Vec<_>>(),
            ["/config.yaml", "/deployment.yaml", "out/other"].map(PathBuf::from)
        );
    }

    #[test]
    fn missing_arguments_are_named() {
        for (line, message) in [
            (
                "--server http://a:1 --id a",
                "no output for the files: add --out",
            ),
            (
                "--out-dir x --id a",
                "no server: add --server http://HOST:PORT",
            ),
            ("--server http://a:1 --env a", "--env needs a program"),
            (
                "--server http://a:1 --out a=x --out /a=y",
                "--out /a=y: there is another route for it",
            ),
            (
                "--server http://a:1 --discard a",
                "nothing is written: every route discards",
            ),
            (
                "--server http://a:1 --out-dir x --discard a --discard /a",
                "--discard /a: there is another route for it",
            ),
            (
                "--server http://a:1 --out-dir x --discard a/ --discard a//b",
                "--discard a//b: artifact path",
            ),
            (
                "--server http://a:1 --env a --discard a -- true",
                "--discard a: it is also given with --env",
            ),
            (
                "--server http://a:1 --out a=- --output json",
                "--output json and a route to '-'",
            ),
        ] {
            let (plan, _) = resolved(line, |_| None);
            let error = plan.err().unwrap();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn container_ids_are_recognised() {
        assert!(looks_like_a_container_id("0123456789ab"));
        assert!(!looks_like_a_container_id("node-1234567"));
        assert!(!looks_like_a_container_id("abcdef"));
    }
}
