//! What others wrote, for people to read: nothing that steers a terminal, and no floods.

use std::fmt;

/// As much of a text as is shown, in characters …
const SHOWN_MAX_CHARS: usize = 1_000;
/// … and of a list.
const SHOWN_MAX_ENTRIES: usize = 32;

/// `text` with whatever would steer a terminal, or turn its lines around, written out. Line ends stay.
pub fn written_out(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '"' | '\'' | '\\' => plain.push(c),
            c => plain.extend(c.escape_debug()),
        }
    }
    plain
}

/// As much of `text` as people read, written out.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX_CHARS) {
        Some((end, _)) => written_out(&text[..end]) + "…",
        None => written_out(text),
    }
}

/// All texts within `words` as they are shown, and lists as far as they are.
pub(super) fn defuse(words: &mut serde_json::Value) {
    match words {
        serde_json::Value::String(text) => *text = shown(text),
        serde_json::Value::Array(all) => {
            all.truncate(SHOWN_MAX_ENTRIES);
            all.iter_mut().for_each(defuse);
        }
        serde_json::Value::Object(fields) => fields.values_mut().for_each(defuse),
        _ => {}
    }
}

/// A cluster, by the name that it was told by, if it was.
pub(super) struct Named<'a>(pub(super) &'a Option<String>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(cluster) => write!(f, "the cluster {cluster:?}"),
            None => f.write_str("a cluster that it does not name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        // `inspect node` printed the last two as they came.
        for (text, plain) in [
            ("a \"b\" 'c' \\ é\nd", "a \"b\" 'c' \\ é\nd"),
            ("\u{1b}[2J\r\t\u{7f}", "\\u{1b}[2J\\r\\t\\u{7f}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}abc", "\\u{202e}abc"),
        ] {
            assert_eq!(written_out(text), plain);
        }
    }

    #[test]
    fn a_flood_of_words_is_cut() {
        let flood = "é".repeat(SHOWN_MAX_CHARS + 1);
        assert_eq!(shown(&flood).chars().count(), SHOWN_MAX_CHARS + 1);
        assert!(shown(&flood).ends_with('…'));
        assert_eq!(shown(&flood[2..]), flood[2..]);
    }
}
