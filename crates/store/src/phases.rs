//! The phases that nodes have reported, and the effect of a report.

use imbl::OrdMap;

use crate::{CapacityExceeded, NewReport};
use cfgsync_model::{GenerationNumber, Identifier, Phase, PhaseReport, Revision};

/// The size of a report without its names and its reason, in bytes of memory.
const REPORT_BYTES: usize = 160;

/// The number of reports of a node that are kept. The oldest one about an older generation is dropped for a new one.
const KEPT_PER_NODE_MAX: usize = 64;

/// The reports of all registered nodes. Cloning is cheap, because clones share unchanged data.
#[derive(Debug, Clone, Default)]
pub struct Phases {
    nodes: OrdMap<Identifier, OrdMap<Phase, PhaseReport>>,
    /// The size of all reports, in bytes of memory.
    total_bytes: usize,
}

impl Phases {
    /// Returns the report of a node about a phase.
    pub fn get(&self, identifier: &str, phase: &str) -> Option<&PhaseReport> {
        self.nodes.get(identifier)?.get(phase)
    }

    /// Returns the reports of a node, in the order of the phases.
    pub fn of(&self, identifier: &str) -> impl Iterator<Item = (&Phase, &PhaseReport)> {
        self.nodes.get(identifier).into_iter().flatten()
    }

    /// Returns all nodes that have reported, with their reports.
    pub(crate) fn all(
        &self,
    ) -> impl Iterator<Item = (&Identifier, &OrdMap<Phase, PhaseReport>)> + use<'_> {
        self.nodes.iter()
    }

    /// Stores a report about `generation`. Returns `false` if the same report, or one about a newer generation, is stored
    /// already.
    pub(crate) fn report(
        &mut self,
        report: NewReport,
        generation: GenerationNumber,
        revision: Revision,
    ) -> Result<bool, CapacityExceeded> {
        let NewReport {
            identifier,
            phase,
            reason,
            at,
            within,
            ..
        } = report;
        let reports = self.nodes.get(&identifier);
        let known = reports.and_then(|reports| reports.get(&phase));
        if let Some(known) = known {
            let newest = reports.into_iter().flatten().map(|(_, of)| of.revision);
            let is_newest = newest.max() == Some(known.revision);
            let is_same = known.generation == generation && known.reason == reason;
            if known.generation > generation || (is_same && is_newest) {
                return Ok(false);
            }
        }
        // A node must always be able to say that it has failed.
        let is_limited = !phase.is_failed();
        let is_of_these_files = |of: &PhaseReport| of.generation >= generation;
        let max = within.per_node_max;
        if is_limited && !known.is_some_and(is_of_these_files) {
            let counted = reports.into_iter().flatten();
            let counted = counted.filter(|(phase, of)| !phase.is_failed() && is_of_these_files(of));
            if counted.count() >= max {
                return Err(CapacityExceeded::PhasesOfNode { max });
            }
        }
        let max_bytes = within.total_max_bytes;
        let bytes = bytes_of(&phase, reason.as_deref());
        let bytes_before = known.map_or(0, |known| bytes_of(&phase, known.reason.as_deref()));
        let total_bytes = self.total_bytes - bytes_before + bytes;
        if is_limited && bytes > bytes_before && total_bytes > max_bytes {
            return Err(CapacityExceeded::Phases { max_bytes });
        }
        let report = PhaseReport {
            generation,
            reason,
            at,
            revision,
        };
        if known.is_none() {
            self.drop_oldest(identifier.as_str(), generation);
        }
        self.insert(identifier, &phase, report);
        Ok(true)
    }

    /// Makes room for a report about `generation`: drops the oldest report about an older one, if the node has too many.
    fn drop_oldest(&mut self, identifier: &str, generation: GenerationNumber) {
        let Some(reports) = self.nodes.get_mut(identifier) else {
            return;
        };
        if reports.len() < KEPT_PER_NODE_MAX {
            return;
        }
        let older = reports.iter().filter(|(_, of)| of.generation < generation);
        let oldest = older.min_by_key(|(_, of)| (of.generation, of.revision));
        let Some(phase) = oldest.map(|(phase, _)| phase.clone()) else {
            return;
        };
        if let Some(dropped) = reports.remove(&phase) {
            self.total_bytes -= bytes_of(&phase, dropped.reason.as_deref());
        }
    }

    /// Inserts a report in place of an earlier one about the same phase.
    pub(crate) fn insert(&mut self, identifier: Identifier, phase: &Phase, report: PhaseReport) {
        self.total_bytes += bytes_of(phase, report.reason.as_deref());
        let reports = self.nodes.entry(identifier).or_default();
        if let Some(before) = reports.insert(phase.clone(), report) {
            self.total_bytes -= bytes_of(phase, before.reason.as_deref());
        }
    }

    /// Forgets the reports of a node.
    pub(crate) fn remove(&mut self, identifier: &str) {
        for (phase, report) in self.nodes.remove(identifier).into_iter().flatten() {
            self.total_bytes -= bytes_of(&phase, report.reason.as_deref());
        }
    }

    /// Makes the reports of a node about `from` and later generations reports about `to`.
    pub(crate) fn carry(&mut self, identifier: &str, from: GenerationNumber, to: GenerationNumber) {
        let Some(reports) = self.nodes.get_mut(identifier) else {
            return;
        };
        let carried = reports.iter().map(|(phase, report)| {
            let generation = if report.generation >= from {
                to
            } else {
                report.generation
            };
            let report = PhaseReport {
                generation,
                ..report.clone()
            };
            (phase.clone(), report)
        });
        *reports = carried.collect();
    }
}

fn bytes_of(phase: &Phase, reason: Option<&str>) -> usize {
    REPORT_BYTES + phase.as_str().len() + reason.map_or(0, str::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PhaseBounds;

    #[test]
    fn oldest_reports_about_older_generations_are_dropped() {
        let mut phases = Phases::default();
        let mut report = |at: u64, generation| {
            let generation = GenerationNumber(generation);
            let report = NewReport {
                identifier: "a".parse().unwrap(),
                phase: format!("phase-{at}").parse().unwrap(),
                generation,
                reason: None,
                at: cfgsync_support::clock::Timestamp::UNIX_EPOCH,
                within: PhaseBounds::default(),
            };
            let accepted = phases.report(report, generation, Revision(at)).unwrap();
            assert!(accepted);
            phases.of("a").count()
        };
        for at in 0..100 {
            assert!(report(at, 1 + at / 10) <= KEPT_PER_NODE_MAX);
        }
        assert!(phases.get("a", "phase-35").is_none());
        assert!(phases.get("a", "phase-36").is_some());
        let bytes = phases.of("a").map(|(phase, _)| bytes_of(phase, None));
        assert_eq!(phases.total_bytes, bytes.sum::<usize>());
    }
}
