//! The encoding of phases on disk. The order of fields and variants is the format: new variants go to the end.

use serde::{Deserialize, Serialize};

use super::{entry::revision, error::DecodeError, scalar_entry::TimestampEntry};
use crate::{Change, NewReport, PhaseBounds, State};
use cfgsync_model::{GenerationNumber, Identifier, Phase, PhaseReport};

/// The encoding of a report, with the generation that it is about.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReportEntry<'a> {
    identifier: &'a str,
    phase: &'a str,
    generation: u64,
    reason: Option<&'a str>,
    at: TimestampEntry,
}

impl<'a> ReportEntry<'a> {
    pub(crate) fn of(report: &'a NewReport) -> Self {
        Self {
            identifier: report.identifier.as_str(),
            phase: report.phase.as_str(),
            generation: report.generation.0,
            reason: report.reason.as_deref(),
            at: TimestampEntry::of(report.at),
        }
    }

    /// Returns the entry of a stored report.
    pub(crate) fn of_stored(
        identifier: &'a Identifier,
        phase: &'a Phase,
        report: &'a PhaseReport,
    ) -> Self {
        Self {
            identifier: identifier.as_str(),
            phase: phase.as_str(),
            generation: report.generation.0,
            reason: report.reason.as_deref(),
            at: TimestampEntry::of(report.at),
        }
    }

    pub(crate) fn change(self) -> Result<Change, DecodeError> {
        Ok(Change::Report(NewReport {
            identifier: Identifier::recorded(self.identifier)?,
            phase: Phase::new(self.phase)?,
            generation: GenerationNumber(self.generation),
            reason: self.reason.map(Into::into),
            at: self.at.timestamp()?,
            within: PhaseBounds::NONE,
        }))
    }

    /// Adds a stored report to `state`.
    pub(crate) fn add_to(self, state: &mut State, at: u64) -> Result<(), DecodeError> {
        let report = PhaseReport {
            generation: GenerationNumber(self.generation),
            reason: self.reason.map(Into::into),
            at: self.at.timestamp()?,
            revision: revision(at)?,
        };
        let (identifier, phase) = (
            Identifier::recorded(self.identifier)?,
            Phase::new(self.phase)?,
        );
        state.phases.insert(identifier, &phase, report);
        Ok(())
    }
}
