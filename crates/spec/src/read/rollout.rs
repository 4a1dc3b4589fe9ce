//! Reads the section `rollout`.

use std::time::Duration;

use serde_yaml::Value;

use super::Reader;
use crate::{AtOnce, RolloutRule, raw::RawRollout, source::YamlPath};
use cfgsync_model::Phase;

/// The default of `timeout`.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Returns the rule, or `None` if a mistake leaves out a part of it.
pub(super) fn read_rollout(
    reader: &mut Reader,
    value: &Value,
    path: &YamlPath,
) -> Option<RolloutRule> {
    let raw: RawRollout = reader.section(value, path)?;
    let timeout = raw.timeout.map_or(TIMEOUT, |timeout| timeout.0);
    if timeout.is_zero() {
        reader.report(&path.key("timeout"), "the timeout must be longer than 0s");
    }
    let name = raw.wait_for.as_deref().unwrap_or(Phase::DELIVERED);
    let wait_for = match Phase::new(name) {
        Ok(phase) => phase,
        Err(error) => {
            reader.report(&path.key("wait_for"), error.to_string());
            return None;
        }
    };
    Some(RolloutRule {
        at_once: raw.at_once.unwrap_or(AtOnce::Nodes(1)),
        wait_for,
        timeout,
    })
}
