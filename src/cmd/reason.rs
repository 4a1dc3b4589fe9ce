//! Why a node waits still, for whoever watches: in a log, or on one line of a terminal.

use cfgsync_model::Progress;
use console::{measure_text_width, truncate_str};

/// A reason in words, as a log has it.
#[derive(PartialEq)]
pub(crate) struct Reason {
    pub(crate) text: String,
    /// What `text` says in figures and names: there can be fewer of these.
    missing: Option<Progress>,
    /// Whether it is told as a warning.
    pub(crate) is_trouble: bool,
}

impl Reason {
    pub(crate) fn waiting(message: &str, missing: Option<Progress>) -> Self {
        Self {
            text: format!("waiting: {message}"),
            missing,
            is_trouble: false,
        }
    }

    pub(crate) fn trouble(text: String) -> Self {
        Self {
            text,
            missing: None,
            is_trouble: true,
        }
    }

    /// On one line of so many columns: with fewer names, and the others counted; cut if that is still too long.
    pub(crate) fn within(&self, columns: usize) -> String {
        let mut text = self.text.replace('\n', " ");
        if let Some(mut missing) = self.missing.clone() {
            missing.missing_count = missing.missing_count.max(missing.missing.len());
            while measure_text_width(&text) > columns && missing.missing.len() > 1 {
                missing.missing.pop();
                text = Self::waiting(&missing.to_string(), None).text;
            }
        }
        truncate_str(&text, columns, "…").into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bar's message ended in the middle of the names, and how many more there are was lost.
    #[test]
    fn what_does_not_fit_is_counted_or_cut_with_a_sign() {
        let missing = |names: usize, count| Progress {
            registered: 5,
            needed: 30,
            missing: (0..names)
                .map(|at| format!("a{at:02}").parse().unwrap())
                .collect(),
            missing_count: count,
            unmet: vec!["zones: 1 of 2".to_owned()],
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
        // Older servers do not count.
        assert_eq!(
            within(missing(5, 0), 54),
            "waiting: 5/30, missing a00 and 4 more; zones: 1 of 2"
        );
        assert_eq!(
            within(missing(2, 2), 80),
            "waiting: 5/30, missing a00, a01; zones: 1 of 2"
        );
        let trouble = Reason::trouble("a server's\nlong words".to_owned());
        assert_eq!(trouble.within(16), "a server's long…");
    }
}
