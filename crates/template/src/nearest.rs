//! Finds the key of a template's value that a misspelt one was probably meant to be.

use cfgsync_support::nearest::did_you_mean;
use minijinja::{Value, value::ValueKind};

use super::printing::entries;

/// Returns the question ``did you mean `port`?`` with the key of `object` that is nearest to `wanted`.
pub(super) fn nearest_key(object: &Value, wanted: &str) -> Option<String> {
    if object.kind() != ValueKind::Map {
        return None;
    }
    let keys = entries(object).ok()?;
    did_you_mean(wanted, keys.iter().map(|(key, _)| key.as_str()))
}
