//! The variables of the environment: `CFGSYNC_` and the name of a flag.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
};

use cfgsync_support::nearest::nearest;
use clap::CommandFactory;

use super::{Setting, SettingsError, flags};
use crate::cmd::{Cli, credentials::TOKEN_VARIABLE};

/// The variable with the seat of a node, which `join` sets for CMD. It is no flag's variable.
pub(crate) const SEAT_VARIABLE: &str = "CFGSYNC_SEAT";

/// The variable with the copies of the files, which `join` sets for the command of `--check`. It is no flag's variable.
pub(crate) const STAGED_VARIABLE: &str = "CFGSYNC_STAGED";

/// The beginning of the names of all variables.
const PREFIX: &str = "CFGSYNC_";

/// Returns the variables of `all` that are ours. An empty variable counts as unset.
pub(super) fn read(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, SettingsError> {
    let mut ours = BTreeMap::new();
    for (name, value) in all {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let value = value
            .into_string()
            .map_err(|_| SettingsError::NotText(name.to_owned()))?;
        if !value.is_empty() {
            ours.insert(name.to_owned(), value);
        }
    }
    Ok(ours)
}

/// Returns the setting that a variable gives: for a repeatable flag one value per line, without empty lines.
pub(super) fn setting(variable: &str, value: &str, repeats: bool) -> Option<Setting> {
    let values: Vec<String> = if repeats {
        let lines = value.lines().filter(|line| !line.trim().is_empty());
        lines.map(str::to_owned).collect()
    } else {
        vec![value.to_owned()]
    };
    (!values.is_empty()).then(|| Setting {
        values,
        origin: variable.to_owned(),
    })
}

/// Warns of variables that have our prefix but belong to no flag, most often because of a misspelling.
pub(crate) fn warn_of_unknown_variables() {
    let set = env::vars_os().filter_map(|(name, value)| {
        let text = value.to_string_lossy().into_owned();
        Some((name.into_string().ok()?, text))
    });
    let ours: Vec<_> = set.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    // Saves `join` the time to build the command once more.
    if ours.is_empty() {
        return;
    }
    for warning in unknown(&ours) {
        tracing::warn!("{warning}");
    }
}

fn unknown(set: &[(String, String)]) -> Vec<String> {
    let command = Cli::command();
    let known: BTreeSet<String> = flags(&command)
        .values()
        .filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()))
        .chain([TOKEN_VARIABLE, SEAT_VARIABLE].map(str::to_owned))
        .chain([STAGED_VARIABLE.to_owned()])
        .collect();
    let unknown = set
        .iter()
        .filter(|(name, value)| !known.contains(name) && !is_from_kubernetes(name, value));
    // Compared without the prefix: it would make short names look alike.
    let known_suffixes = || known.iter().filter_map(|name| name.strip_prefix(PREFIX));
    let warning = |name: &str| match nearest(&name[PREFIX.len()..], known_suffixes()) {
        Some(near) => format!("ignoring the unknown variable {name}; did you mean {PREFIX}{near}?"),
        None => format!("ignoring the unknown variable {name}"),
    };
    unknown.map(|(name, _)| warning(name)).collect()
}

/// Whether Kubernetes set this variable for a service whose name begins with `cfgsync`.
fn is_from_kubernetes(name: &str, value: &str) -> bool {
    let is_of_port = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme))
        || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
            name.split("_PORT_")
                .nth(1)
                .is_some_and(|end| end.contains(protocol))
        });
    name == "CFGSYNC_PORT"
        || name.starts_with("CFGSYNC_PORT_")
        || name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || is_of_port
}
