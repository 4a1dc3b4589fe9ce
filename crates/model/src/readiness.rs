//! The rule's answer for a snapshot.

use serde::{Deserialize, Serialize};

use super::Identifier;

/// How many missing nodes are named; the rest is counted.
pub const MISSING_NAMES_MAX: usize = 20;

/// How the clause begins that says how many nodes are missing. The short form leaves it out: the figures and
/// names say the same.
pub const NODES_CLAUSE: &str = "nodes: ";

/// Whether a set of nodes is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// All clauses hold.
    Ready(Progress),
    /// Some do not, and why.
    Waiting(Progress),
}

/// How far the set has come, in figures and words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Nodes that are here.
    pub registered: usize,
    /// Nodes that the spec asks for: the count, or the length of the closed list.
    pub needed: usize,
    /// Who is missing of a closed list, in order, at most [`MISSING_NAMES_MAX`].
    #[serde(default)]
    pub missing: Vec<Identifier>,
    /// How many are missing in all, named or not.
    #[serde(default)]
    pub missing_count: usize,
    /// Each clause that does not hold, in words with its reason.
    #[serde(default)]
    pub unmet: Vec<String>,
}

impl Readiness {
    /// The figures, ready or not.
    pub fn progress(&self) -> &Progress {
        match self {
            Self::Ready(progress) | Self::Waiting(progress) => progress,
        }
    }

    /// Whether all clauses hold.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }
}

/// `2/4, missing node-3, node-4`: what a person reads in a log line.
impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.needed {
            // No number is asked for: there is no rule, or its `when` says it all.
            0 => write!(f, "{} registered", self.registered)?,
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
        for clause in self
            .unmet
            .iter()
            .filter(|clause| !clause.starts_with(NODES_CLAUSE))
        {
            write!(f, "; {clause}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_number_is_asked_for_none_is_said() {
        let progress = |needed| Progress {
            registered: 2,
            needed,
            ..Progress::default()
        };
        assert_eq!(progress(3).to_string(), "2/3");
        assert_eq!(progress(0).to_string(), "2 registered");
    }
}
