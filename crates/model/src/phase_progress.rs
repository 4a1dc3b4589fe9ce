//! The progress of a set of nodes towards a phase.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{GenerationNumber, Identifier, MISSING_NAMES_MAX, Phase};

/// The number of nodes that have reached a phase, and the nodes that have not. `Display` gives one line:
/// `healthy: 2/4, missing node-3, node-4`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseProgress {
    /// The phase.
    pub phase: Phase,
    /// The generation that the phase is about.
    pub generation: GenerationNumber,
    /// Whether this generation is sealed. Before that, its nodes are not known.
    pub is_sealed: bool,
    /// The number of nodes that have reached the phase.
    pub reached: usize,
    /// The number of nodes that must reach it.
    pub needed: usize,
    /// The nodes that have neither reached the phase nor failed, at most [`MISSING_NAMES_MAX`].
    pub missing: Vec<Identifier>,
    /// The number of all these nodes.
    pub missing_count: usize,
    /// The nodes that have failed, at most [`MISSING_NAMES_MAX`].
    pub failed: Vec<FailedNode>,
    /// The number of all nodes that have failed.
    pub failed_count: usize,
}

/// A node that has reported the phase `failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedNode {
    /// The node.
    pub identifier: Identifier,
    /// The reason that it gave.
    pub reason: Option<Arc<str>>,
}

impl fmt::Display for FailedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{} failed: {reason}", self.identifier),
            None => write!(f, "{} failed, without a reason", self.identifier),
        }
    }
}

impl fmt::Display for PhaseProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.phase)?;
        if !self.is_sealed {
            return write!(f, "generation {} is not sealed yet", self.generation);
        }
        if self.reached > self.needed {
            write!(f, "{} nodes ({} needed)", self.reached, self.needed)?;
        } else {
            write!(f, "{}/{}", self.reached, self.needed)?;
        }
        if self.reached < self.needed && !self.missing.is_empty() {
            f.write_str(", missing ")?;
            for (at, name) in self.missing.iter().enumerate() {
                write!(f, "{}{name}", if at == 0 { "" } else { ", " })?;
            }
            let more = self.missing_count.saturating_sub(self.missing.len());
            if more > 0 {
                write!(f, " and {more} more")?;
            }
        }
        for failed in &self.failed {
            write!(f, "; {failed}")?;
        }
        let more = self.failed_count.saturating_sub(self.failed.len());
        if more > 0 {
            write!(f, "; {more} more failed")?;
        }
        Ok(())
    }
}

impl PhaseProgress {
    /// Returns the first names of a set, for [`PhaseProgress::missing`].
    pub fn first_names<'a>(nodes: impl IntoIterator<Item = &'a Identifier>) -> Vec<Identifier> {
        nodes.into_iter().take(MISSING_NAMES_MAX).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_names_missing_and_failed_nodes() {
        let id = |name: &str| -> Identifier { name.parse().unwrap() };
        let progress = PhaseProgress {
            phase: "healthy".parse().unwrap(),
            generation: GenerationNumber(3),
            is_sealed: true,
            reached: 1,
            needed: 4,
            missing: vec![id("b")],
            missing_count: 2,
            failed: vec![FailedNode {
                identifier: id("d"),
                reason: Some("no port".into()),
            }],
            failed_count: 1,
        };
        assert_eq!(
            progress.to_string(),
            "healthy: 1/4, missing b and 1 more; d failed: no port"
        );
        let early = PhaseProgress {
            is_sealed: false,
            ..progress.clone()
        };
        assert_eq!(early.to_string(), "healthy: generation 3 is not sealed yet");
        let reached = PhaseProgress {
            reached: 2,
            needed: 1,
            failed: vec![],
            failed_count: 0,
            ..progress
        };
        assert_eq!(reached.to_string(), "healthy: 2 nodes (1 needed)");
    }
}
