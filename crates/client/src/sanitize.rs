//! Makes text from other machines safe to print: no control characters, bounded length.

use std::fmt;

pub use cfgsync_support::escape::escape_for_terminal;

/// Longest text that is kept from a server, in characters.
const TEXT_MAX_CHARS: usize = 1_000;
/// Most entries that are kept of a list from a server.
const LIST_MAX_ENTRIES: usize = 32;

/// Escapes `text` for a terminal and cuts it after [`TEXT_MAX_CHARS`] characters.
pub(crate) fn sanitize(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX_CHARS) {
        Some((end, _)) => escape_for_terminal(&text[..end]) + "…",
        None => escape_for_terminal(text),
    }
}

/// Sanitizes every text within `value` and cuts every list after [`LIST_MAX_ENTRIES`] entries.
pub(crate) fn sanitize_json(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = sanitize(text),
        serde_json::Value::Array(entries) => {
            entries.truncate(LIST_MAX_ENTRIES);
            entries.iter_mut().for_each(sanitize_json);
        }
        serde_json::Value::Object(fields) => fields.values_mut().for_each(sanitize_json),
        _ => {}
    }
}

/// Displays a cluster's name, or says that there is none. Servers of the older protocol send no name.
pub(crate) struct ClusterName<'a>(pub(crate) &'a Option<String>);

impl fmt::Display for ClusterName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(cluster) => write!(f, "the cluster {cluster:?}"),
            None => f.write_str("a cluster without a name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut() {
        let long = "é".repeat(TEXT_MAX_CHARS + 1);
        assert_eq!(sanitize(&long).chars().count(), TEXT_MAX_CHARS + 1);
        assert!(sanitize(&long).ends_with('…'));
        assert_eq!(sanitize(&long[2..]), long[2..]);
    }
}
