//! Finds the name that the user probably meant by a misspelt name.

use strsim::damerau_levenshtein;

/// The largest number of candidates that are compared. A cluster may have a hundred thousand registered names.
const CANDIDATES_MAX: usize = 4_096;

/// The largest number of pairs of characters that one search compares. It then takes a few milliseconds, so that it
/// delays no other task.
const CHARACTER_PAIRS_MAX: usize = 1 << 18;

/// The shortest name, in bytes, that counts as an abbreviation of a longer name that begins with it.
const ABBREVIATION_MIN_BYTES: usize = 3;

/// Returns the candidate nearest to `name`, if one is near enough to be what the user meant.
///
/// A candidate is near if one of the two begins with the other. It is also near if at most a third of the characters
/// of `name` have to be changed. Only the first 4,096 candidates are compared, and fewer if the names are long. If
/// several are equally near, the first one is returned.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut pairs = CHARACTER_PAIRS_MAX;
    nearest_within(name, candidates, &mut pairs)
}

/// Returns the nearest candidate as [`nearest`] does. Compares at most `pairs` pairs of characters, and subtracts those
/// that it compares.
fn nearest_within<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    pairs: &mut usize,
) -> Option<&'a str> {
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
    // No more than the budget, so that counting them is bounded as well.
    let length = name.chars().take(*pairs).count();
    let edits_max = (length / 3).max(1);
    let mut best = None;
    for candidate in candidates {
        // An edit changes the length by one at most.
        let chars_max = length + edits_max;
        let chars = candidate.chars().take(chars_max + 1).count();
        if chars.abs_diff(length) > edits_max || candidate == name {
            continue;
        }
        let Some(left) = pairs.checked_sub(length * chars) else {
            break;
        };
        *pairs = left;
        let edits = damerau_levenshtein(name, candidate);
        // If every character has to change, the two names have nothing in common.
        let is_near = edits <= edits_max && edits < chars;
        if is_near && best.is_none_or(|(fewest, _)| edits < fewest) {
            best = Some((edits, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
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

    /// A misspelt name among 50,000 kept a thread busy for seconds.
    #[test]
    fn work_is_bounded_for_any_number_and_length_of_names() {
        let names = |length: usize| -> Vec<String> {
            (0..50_000).map(|at| format!("{at:0>length$}")).collect()
        };
        for (length, compared_min) in [(6, 4_000), (253, 4), (5_000, 0)] {
            let candidates = names(length);
            let name = "x".repeat(length);
            let mut pairs = CHARACTER_PAIRS_MAX;
            let found = nearest_within(&name, candidates.iter().map(String::as_str), &mut pairs);
            assert_eq!(found, None);
            let compared = (CHARACTER_PAIRS_MAX - pairs) / (length * length);
            assert!(
                compared >= compared_min && compared <= CANDIDATES_MAX,
                "{compared}"
            );
        }
    }

    #[test]
    fn names_of_another_length_cost_nothing() {
        let mut pairs = 100;
        let long = "y".repeat(1000);
        let candidates = [&long[..], "z", "settle"];
        assert_eq!(
            nearest_within("setle", candidates, &mut pairs),
            Some("settle")
        );
        assert_eq!(pairs, 70);
    }
}
