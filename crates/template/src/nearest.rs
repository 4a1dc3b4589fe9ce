//! The name that was probably meant.

use minijinja::{Value, value::ValueKind};

use super::formatter::entries;

/// "did you mean `…`?", where something is near enough.
pub(super) fn did_you_mean<'a>(
    wanted: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let most = (wanted.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(wanted, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= most && distance < candidate.chars().count())
        .min()
        .map(|(_, nearest)| format!("did you mean `{nearest}`?"))
}

/// "did you mean", among the keys of `object`.
pub(super) fn nearest_key(object: &Value, wanted: &str) -> Option<String> {
    if object.kind() != ValueKind::Map {
        return None;
    }
    let keys = entries(object).ok()?;
    // Another node may have just the name that this one lacks: no slip, and no help to name it again.
    let names = keys.iter().map(|(key, _)| key.as_str());
    did_you_mean(wanted, names.filter(|name| *name != wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_offered() {
        assert_eq!(
            did_you_mean("nod", ["node", "nodes"]).unwrap(),
            "did you mean `node`?"
        );
        assert_eq!(
            did_you_mean("prot", ["port", "zone"]).unwrap(),
            "did you mean `port`?"
        );
        assert_eq!(did_you_mean("frobnicate", ["node", "values"]), None);
        assert_eq!(did_you_mean("x", ["y"]), None);
    }
}
