//! The reason why a node is still waiting, as text for a log or for one line of a terminal.

use cfgsync_model::Progress;
use cfgsync_support::escape::escape_for_terminal;
use console::{measure_text_width, truncate_str};

/// The reason for waiting.
#[derive(PartialEq)]
pub(crate) struct Reason {
    /// The complete text, for a log.
    pub(crate) text: String,
    /// The progress that `text` describes, from which a shorter text can be made.
    progress: Option<Progress>,
    /// Whether it is logged as a warning.
    pub(crate) is_problem: bool,
}

impl Reason {
    /// Creates the reason of a cluster that is not ready.
    pub(crate) fn waiting(message: &str, progress: Option<Progress>) -> Self {
        Self {
            text: format!("waiting: {message}"),
            progress,
            is_problem: false,
        }
    }

    /// Creates the reason of a session whose servers all fail.
    pub(crate) fn problem(text: String) -> Self {
        Self {
            text,
            progress: None,
            is_problem: true,
        }
    }

    /// Returns the text for one line of `columns`. If it is too long, it contains fewer names and their count, and is
    /// cut if that is not enough.
    pub(crate) fn within(&self, columns: usize) -> String {
        let mut text = escape_for_terminal(&self.text.replace('\n', " "));
        if let Some(mut progress) = self.progress.clone() {
            // Servers of the older protocol send no count.
            progress.missing_count = progress.missing_count.max(progress.missing.len());
            while measure_text_width(&text) > columns && progress.missing.len() > 1 {
                progress.missing.pop();
                text = escape_for_terminal(&Self::waiting(&progress.to_string(), None).text);
            }
        }
        truncate_str(&text, columns, "…").into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message of the bar used to end in the middle of the names, without the count of the others.
    #[test]
    fn long_text_has_fewer_names_or_is_cut_with_an_ellipsis() {
        let missing = |names: usize, count| Progress {
            registered: 5,
            needed: 30,
            missing: (0..names)
                .map(|at| format!("a{at:02}").parse().unwrap())
                .collect(),
            missing_count: count,
            unmet: vec![cfgsync_model::Unmet::from("zones: 1 of 2".to_owned())],
        };
        let within = |progress: Progress, columns| {
            Reason::waiting(&progress.to_string(), Some(progress)).within(columns)
        };
        for (columns, shown) in [
            (
                60,
                "waiting: 5/30, missing a00, a01 and 23 more; zones: 1 of 2",
            ),
            (53, "waiting: 5/30, missing a00 and 24 more; zones: 1 of 2"),
            (40, "waiting: 5/30, missing a00 and 24 more;…"),
        ] {
            assert_eq!(within(missing(20, 25), columns), shown);
        }
        // From a server of the older protocol.
        assert_eq!(
            within(missing(5, 0), 54),
            "waiting: 5/30, missing a00 and 4 more; zones: 1 of 2"
        );
        assert_eq!(
            within(missing(2, 2), 80),
            "waiting: 5/30, missing a00, a01; zones: 1 of 2"
        );
        let problem = Reason::problem("a server's\nlong words".to_owned());
        assert_eq!(problem.within(16), "a server's long…");
        let hostile = Reason::problem("a\u{1b}[2J\u{202e}".to_owned());
        assert_eq!(hostile.within(80), "a\\u{1b}[2J\\u{202e}");
    }
}
