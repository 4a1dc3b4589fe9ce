//! Readiness: whether the set of nodes is complete, and what is missing.

use serde::{Deserialize, Serialize};

use super::{Identifier, Unmet};

/// The number of missing nodes that are listed by name. The others are only counted.
pub const MISSING_NAMES_MAX: usize = 20;

/// The result of the spec's readiness rule for a set of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// All clauses of the rule hold.
    Ready(Progress),
    /// At least one clause does not hold; [`Progress::unmet`] says which.
    Waiting(Progress),
}

/// How complete the set of nodes is. `Display` gives one line: `2/4, missing node-3, node-4`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The number of registered nodes.
    pub registered: usize,
    /// The number of nodes that the spec requires: a count, or the length of its list of names. Zero if the spec
    /// requires no number.
    pub needed: usize,
    /// The missing nodes if the spec lists names, in the order of the list, at most [`MISSING_NAMES_MAX`].
    #[serde(default)]
    pub missing: Vec<Identifier>,
    /// The number of all missing nodes, including those that `missing` does not list.
    #[serde(default)]
    pub missing_count: usize,
    /// The clauses that do not hold, with their reasons.
    #[serde(default)]
    pub unmet: Vec<Unmet>,
}

impl Readiness {
    /// Returns the figures, for a complete and for an incomplete set.
    pub fn progress(&self) -> &Progress {
        match self {
            Self::Ready(progress) | Self::Waiting(progress) => progress,
        }
    }

    /// Returns whether all clauses hold.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.needed {
            // The spec requires no number: it has no rule, or the rule is only a `when` expression.
            0 => write!(f, "{} registered", self.registered)?,
            needed if self.registered > needed => {
                write!(f, "{} registered ({needed} needed)", self.registered)?;
            }
            needed => write!(f, "{}/{needed}", self.registered)?,
        }
        if !self.missing.is_empty() {
            f.write_str(", missing ")?;
            for (at, name) in self.missing.iter().enumerate() {
                write!(f, "{}{name}", if at == 0 { "" } else { ", " })?;
            }
            let more = self.missing_count.saturating_sub(self.missing.len());
            if more > 0 {
                write!(f, " and {more} more")?;
            }
        }
        // The figures and names above already say how many nodes are missing.
        let others = self.unmet.iter().filter(|unmet| !unmet.is_about_number());
        others
            .into_iter()
            .try_for_each(|unmet| write!(f, "; {unmet}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_shows_the_target_if_there_is_one() {
        let progress = |needed| Progress {
            registered: 2,
            needed,
            ..Progress::default()
        };
        assert_eq!(progress(3).to_string(), "2/3");
        assert_eq!(progress(2).to_string(), "2/2");
        assert_eq!(progress(1).to_string(), "2 registered (1 needed)");
        assert_eq!(progress(0).to_string(), "2 registered");
    }
}
