//! Checks that a readiness rule can hold, whether it comes from YAML or from a program.

use std::time::Duration;

use cfgsync_support::duration;

use super::types::{Members, ReadyRule};

/// The message for a rule that requires nothing.
pub(super) const NO_CONDITION: &str = "`ready` has no condition";
/// The hint for a rule that requires nothing.
pub(super) const NO_CONDITION_HELP: &str = "give at least one of `nodes`, `groups` and `when`";

/// The shortest `lease`. A shorter one would end between two requests of a waiting node.
pub(super) const LEASE_MIN: Duration = Duration::from_secs(1);
/// The message for a shorter `lease`.
pub(super) const LEASE_TOO_SHORT: &str = "the lease must be at least 1s";

/// A reason why a rule can never hold, or holds at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RuleProblem {
    /// The closed list has no node.
    EmptyList,
    /// The group at `index` needs more nodes than the closed list has.
    GroupTooLarge {
        index: usize,
        count: usize,
        listed: usize,
    },
    /// The deadline is zero.
    ZeroDeadline,
    /// The deadline is not longer than `settle`.
    DeadlineWithinSettle {
        settle: Duration,
        deadline: Duration,
    },
}

impl RuleProblem {
    /// Returns all problems of `rule`.
    pub(super) fn all_of(rule: &ReadyRule) -> Vec<Self> {
        let mut problems = Vec::new();
        if let Some(Members::Closed(list)) = &rule.nodes {
            if list.is_empty() {
                problems.push(Self::EmptyList);
            }
            for (index, group) in rule.groups.iter().enumerate() {
                let (count, listed) = (group.count, list.len());
                if count > listed && listed > 0 {
                    problems.push(Self::GroupTooLarge {
                        index,
                        count,
                        listed,
                    });
                }
            }
        }
        let settle = rule.settle;
        match rule.deadline {
            Some(Duration::ZERO) => problems.push(Self::ZeroDeadline),
            Some(deadline) if deadline <= settle => {
                problems.push(Self::DeadlineWithinSettle { settle, deadline });
            }
            _ => {}
        }
        problems
    }

    /// Returns the message, without the hint.
    pub(super) fn title(&self) -> String {
        match self {
            Self::EmptyList => "the list of nodes is empty".to_owned(),
            Self::GroupTooLarge { count, listed, .. } => {
                format!("the group needs {count} nodes, but `nodes` lists only {listed}")
            }
            Self::ZeroDeadline => "the deadline must be longer than 0s".to_owned(),
            Self::DeadlineWithinSettle { settle, deadline } => format!(
                "the deadline must be longer than `settle` ({} is not longer than {})",
                duration::text(*deadline),
                duration::text(*settle)
            ),
        }
    }

    /// Returns the hint that says what to do, if there is one.
    pub(super) fn help(&self) -> Option<&'static str> {
        match self {
            Self::EmptyList => Some("list the identifiers of the nodes, or give their number"),
            Self::ZeroDeadline => Some("leave out `deadline` to wait forever"),
            Self::GroupTooLarge { .. } | Self::DeadlineWithinSettle { .. } => None,
        }
    }
}
