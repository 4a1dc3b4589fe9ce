//! Finds the key of an object that the author of a template probably meant by a misspelt key.

use cfgsync_support::nearest::did_you_mean;
use minijinja::{Value, value::ValueKind};

use super::formatter::entries;

/// Returns the question ``did you mean `port`?`` with the key of `object` that is nearest to `wanted`.
pub(super) fn nearest_key(object: &Value, wanted: &str) -> Option<String> {
    if object.kind() != ValueKind::Map {
        return None;
    }
    let keys = entries(object).ok()?;
    did_you_mean(wanted, keys.iter().map(|(key, _)| key.as_str()))
}
