//! The encoding of what a change demands: its bounds, and the conditions under which it takes effect. A change in the
//! journal has none, because it was accepted before it was written.
//!
//! The order of variants is the format: new variants go to the end.

use serde::{Deserialize, Serialize};

use super::{entry::NodeEntry, error::DecodeError, value_entry::BoundsEntry};
use crate::{Bounds, Change, NewClaim, PhaseBounds, RunChange, SetValue, ValueChange};
use cfgsync_model::{JoinerId, WriteMode};

/// The demands of one change.
#[derive(Serialize, Deserialize)]
pub(crate) enum ConditionEntry<'a> {
    None,
    /// The bounds of a registration, and whether it is rejected after the first seal.
    Register {
        nodes_max: u64,
        metadata_total_max_bytes: u64,
        before_seal: bool,
    },
    /// The bounds of a claim of a name or of a ban.
    Within {
        nodes_max: u64,
        metadata_total_max_bytes: u64,
    },
    /// The facts and the joiner that a removal requires.
    Remove(#[serde(borrow)] Option<NodeEntry<'a>>, Option<[u8; 16]>),
    /// The mode and the version that a new value requires.
    SetValue(WriteModeEntry, Option<u64>),
    /// The version that a deletion of a value requires.
    DeleteValue(Option<u64>),
    /// The bounds of an alias.
    Alias(BoundsEntry),
    /// The bounds of a report.
    Report {
        per_node_max: u64,
        total_max_bytes: u64,
    },
    /// The number of runs that a claim of a run allows.
    Claim {
        runs_max: u64,
    },
}

#[derive(Serialize, Deserialize)]
pub(crate) enum WriteModeEntry {
    Upsert,
    Create,
    Update,
}

impl<'a> ConditionEntry<'a> {
    pub(crate) fn of(change: &'a Change) -> Self {
        match change {
            Change::Register {
                within,
                before_seal,
                ..
            } => Self::Register {
                nodes_max: within.nodes_max as u64,
                metadata_total_max_bytes: within.metadata_total_max_bytes as u64,
                before_seal: *before_seal,
            },
            Change::Claim { within, .. } | Change::Ban { within, .. } => Self::Within {
                nodes_max: within.nodes_max as u64,
                metadata_total_max_bytes: within.metadata_total_max_bytes as u64,
            },
            Change::Remove {
                only_if, joiner, ..
            } => Self::Remove(
                only_if.as_ref().map(NodeEntry::of),
                joiner.map(|joiner| *joiner.as_bytes()),
            ),
            Change::Value(ValueChange::Set(set)) => {
                let mode = match set.mode {
                    WriteMode::Upsert => WriteModeEntry::Upsert,
                    WriteMode::Create => WriteModeEntry::Create,
                    WriteMode::Update => WriteModeEntry::Update,
                };
                Self::SetValue(mode, set.if_version)
            }
            Change::Value(ValueChange::Delete { if_version, .. }) => Self::DeleteValue(*if_version),
            Change::Value(ValueChange::SetAlias { within, .. }) => {
                Self::Alias(BoundsEntry::of(*within))
            }
            Change::Report(report) => Self::Report {
                per_node_max: report.within.per_node_max as u64,
                total_max_bytes: report.within.total_max_bytes as u64,
            },
            Change::Run(RunChange::Claim(claim)) => Self::Claim {
                runs_max: claim.runs_max as u64,
            },
            Change::Override { .. }
            | Change::RemoveOverride(_)
            | Change::Deliver { .. }
            | Change::Release(_)
            | Change::Fail(_)
            | Change::Reset
            | Change::Value(ValueChange::DeleteAlias(_))
            | Change::Redraw { .. }
            | Change::Unban(_)
            | Change::StopRollout { .. }
            | Change::ResumeRollout { .. }
            | Change::Confirm { .. }
            | Change::Run(_) => Self::None,
        }
    }

    /// Returns `change` with these demands.
    pub(crate) fn added_to(self, mut change: Change) -> Result<Change, DecodeError> {
        match (self, &mut change) {
            (
                Self::Register {
                    nodes_max,
                    metadata_total_max_bytes,
                    before_seal: is_before,
                },
                Change::Register {
                    within,
                    before_seal,
                    ..
                },
            ) => {
                *within = Bounds {
                    nodes_max: limit(nodes_max),
                    metadata_total_max_bytes: limit(metadata_total_max_bytes),
                };
                *before_seal = is_before;
            }
            (
                Self::Within {
                    nodes_max,
                    metadata_total_max_bytes,
                },
                Change::Claim { within, .. } | Change::Ban { within, .. },
            ) => {
                *within = Bounds {
                    nodes_max: limit(nodes_max),
                    metadata_total_max_bytes: limit(metadata_total_max_bytes),
                };
            }
            (
                Self::Remove(facts, id),
                Change::Remove {
                    only_if, joiner, ..
                },
            ) => {
                *only_if = facts.map(|facts| facts.registration()).transpose()?;
                *joiner = id.map(JoinerId::from_bytes);
            }
            (
                Self::SetValue(entry, version),
                Change::Value(ValueChange::Set(SetValue {
                    mode, if_version, ..
                })),
            ) => {
                *mode = match entry {
                    WriteModeEntry::Upsert => WriteMode::Upsert,
                    WriteModeEntry::Create => WriteMode::Create,
                    WriteModeEntry::Update => WriteMode::Update,
                };
                *if_version = version;
            }
            (Self::DeleteValue(version), Change::Value(ValueChange::Delete { if_version, .. })) => {
                *if_version = version;
            }
            (Self::Alias(bounds), Change::Value(ValueChange::SetAlias { within, .. })) => {
                *within = bounds.bounds();
            }
            (
                Self::Report {
                    per_node_max,
                    total_max_bytes,
                },
                Change::Report(report),
            ) => {
                report.within = PhaseBounds {
                    per_node_max: limit(per_node_max),
                    total_max_bytes: limit(total_max_bytes),
                };
            }
            (
                Self::Claim { runs_max },
                Change::Run(RunChange::Claim(NewClaim { runs_max: max, .. })),
            ) => {
                *max = limit(runs_max);
            }
            (Self::None, _) => {}
            _ => {
                return Err(DecodeError::Other(
                    "a change has the conditions of another kind of change".to_owned(),
                ));
            }
        }
        Ok(change)
    }
}

fn limit(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
