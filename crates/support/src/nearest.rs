//! Finds the name that the user probably meant by a misspelt name.

use strsim::damerau_levenshtein;

/// The largest number of candidates that are compared. A cluster may have a hundred thousand registered names.
const CANDIDATES_MAX: usize = 4_096;

/// The shortest name, in bytes, that counts as an abbreviation of a longer name that begins with it.
const ABBREVIATION_MIN_BYTES: usize = 3;

/// Returns the candidate nearest to `name`, if one is near enough to be what the user meant.
///
/// A candidate is near if one of the two begins with the other. It is also near if at most a third of the characters
/// of `name` have to be changed. Only the first 4,096 candidates are compared. If several are equally near, the first
/// one is returned.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let candidates: Vec<&str> = candidates.into_iter().take(CANDIDATES_MAX).collect();
    let is_longer =
        |it: &&&str| name.len() >= ABBREVIATION_MIN_BYTES && it.starts_with(name) && **it != name;
    let is_shorter =
        |it: &&&str| it.len() >= ABBREVIATION_MIN_BYTES && name.starts_with(**it) && **it != name;
    if let Some(found) = candidates
        .iter()
        .find(is_longer)
        .or_else(|| candidates.iter().find(is_shorter))
    {
        return Some(found);
    }
    let edits_max = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != name)
        .map(|candidate| (damerau_levenshtein(name, candidate), candidate))
        // If every character has to change, the two names have nothing in common.
        .filter(|(edits, candidate)| *edits <= edits_max && *edits < candidate.chars().count())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Returns the question ``did you mean `settle`?`` with the [`nearest`] candidate.
pub fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(name, candidates).map(|found| format!("did you mean `{found}`?"))
}

/// Returns [`did_you_mean`] as the end of a message, ``; did you mean `settle`?``, or an empty string if no candidate
/// is near.
pub fn did_you_mean_suffix<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    did_you_mean(name, candidates).map_or_else(String::new, |question| format!("; {question}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_only_near_names() {
        for (name, candidates, expected) in [
            ("setle", &["settle", "deadline"][..], Some("settle")),
            ("nod", &["node", "nodes"], Some("node")),
            ("prot", &["port", "zone"], Some("port")),
            ("meta", &["metadata", "beta"], Some("metadata")),
            ("deadline_seconds", &["deadline"], Some("deadline")),
            ("frobnicate", &["node", "values"], None),
            ("x", &["y"], None),
            ("port", &["port"], None),
            ("", &["a"], None),
        ] {
            let found = nearest(name, candidates.iter().copied());
            assert_eq!(found, expected, "{name}");
        }
    }
}
