//! The snapshot: the state at one revision in one file. The files of generations are separate.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    entry::{self, FailureEntry, FileEntry, NodeEntry, OriginEntry, ProvenanceEntry, SealEntry},
    error::DecodeError,
    header::{self, FileKind},
    phase_entry::ReportEntry,
    run_entry::RunEntry,
    scalar_entry::TimestampEntry,
    value_entry::{self, AliasEntry, HistoryEntry},
};
use crate::{
    NodeOverride, State, StoppedRollout, bounds::bytes_of, directory_error::DirectoryError,
    event_history::EventHistory,
};
use cfgsync_model::{
    Digest, Fence, GenerationNumber, Identifier, Instance, Origin, Revision, ValueKey,
};

/// One part of a snapshot. The order of fields and variants is the format: new variants go to the end.
#[derive(Serialize, Deserialize)]
enum Part<'a> {
    Head {
        instance: [u8; 16],
        revision: u64,
        inputs: u64,
        overrides: u64,
    },
    /// The registration of a node and its revision.
    Node(#[serde(borrow)] NodeEntry<'a>, u64),
    /// The node, the files and the revision of an override.
    Override(&'a str, #[serde(borrow)] Vec<FileEntry<'a>>, u64),
    /// A node, and the newest generation that it has received.
    Delivered(&'a str, u64),
    /// The failure that an operator declared.
    Failure(#[serde(borrow)] FailureEntry<'a>),
    /// A generation. The oldest comes first.
    Generation(#[serde(borrow)] SealEntry<'a>),
    /// An identifier, and the hash of the key that owns it.
    Key(&'a str, [u8; 32]),
    /// The newest revision of each kind of input. Format 1 does not have this part.
    Revisions { registrations: u64, overrides: u64 },
    /// The registration of a node, its revision and its origin.
    NodeFrom(#[serde(borrow)] NodeEntry<'a>, u64, OriginEntry),
    /// The instance of the state, if it continues the log of an earlier instance. The head has the instance of the log.
    Continues { instance: [u8; 16] },
    /// The newest request for another value of `once`, and the values that the next generation evaluates again.
    Redraws {
        newest: u64,
        #[serde(borrow)]
        pending: Vec<(&'a str, u64)>,
    },
    /// An identifier that may not register.
    Ban(&'a str),
    /// The newest input for which a later render gave the files of the newest generation.
    Confirmed(u64),
    /// The revision of the newest change of a value or an alias.
    ValuesRevision(u64),
    /// A namespace and the revision of its newest change.
    Namespace(&'a str, u64),
    /// The namespace, the key and the history of a value.
    Value(&'a str, &'a str, #[serde(borrow)] HistoryEntry<'a>),
    /// The name of an alias, and what it stands for.
    Alias(&'a str, #[serde(borrow)] AliasEntry<'a>),
    /// A report about a phase, and its revision.
    Report(#[serde(borrow)] ReportEntry<'a>, u64),
    /// Nodes whose payload is older than the newest generation, with the generation since which they have it.
    PayloadAges(#[serde(borrow)] Vec<(&'a str, u64)>),
    /// A run.
    Run(#[serde(borrow)] RunEntry<'a>),
    /// The highest fence of all runners so far, and the revision of the newest change of a run.
    NewestFence(u64, u64),
    /// The generation whose roll-out is stopped, and the reason.
    StoppedRollout(u64, Option<&'a str>),
    /// How the generation before this part came about.
    Provenance(#[serde(borrow)] ProvenanceEntry<'a>),
    /// A node, a generation that it has received, and the time of this delivery.
    DeliveryTime(&'a str, u64, TimestampEntry),
}

/// The instance in the head of the log, and that of the state. They differ if the state continues an earlier instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instances {
    pub(crate) log: Instance,
    pub(crate) state: Instance,
}

/// Reads a snapshot, without the files of its generations. Returns the state and its instance.
pub(crate) fn read(
    file: &[u8],
    instance_of_log: Instance,
    path: impl Fn() -> PathBuf,
) -> Result<(State, Instance), DirectoryError> {
    header::read_file(file, FileKind::Snapshot, path, |frame| {
        from_body(frame.body, instance_of_log)
    })
}

#[expect(clippy::too_many_lines, reason = "it writes one part after the other")]
pub(crate) fn to_file(instances: Instances, state: &State, history: usize) -> Vec<u8> {
    header::new_file(FileKind::Snapshot, |body| {
        let mut part = |part: &Part| entry::write(body, part);
        part(&Part::Head {
            instance: *instances.log.as_bytes(),
            revision: state.revision.0,
            inputs: state.inputs.0,
            overrides: state.overrides_revision.0,
        });
        if instances.state != instances.log {
            part(&Part::Continues {
                instance: *instances.state.as_bytes(),
            });
        }
        part(&Part::Revisions {
            registrations: state.registrations_revision.0,
            overrides: state.overrides_revision.0,
        });
        if state.redraws_revision > Revision(0) {
            let pending = state.redraws.iter();
            part(&Part::Redraws {
                newest: state.redraws_revision.0,
                pending: pending.map(|(key, at)| (key.as_str(), at.0)).collect(),
            });
        }
        for known in state.registrations.values() {
            let node = NodeEntry::of(&known.registration);
            let revision = known.revision.0;
            part(&match OriginEntry::of(&known.origin) {
                None => Part::Node(node, revision),
                Some(origin) => Part::NodeFrom(node, revision, origin),
            });
        }
        for (identifier, known) in &state.overrides {
            let files = FileEntry::all_of(&known.files);
            part(&Part::Override(
                identifier.as_str(),
                files,
                known.revision.0,
            ));
        }
        for (identifier, number) in &state.deliveries {
            part(&Part::Delivered(identifier.as_str(), number.0));
        }
        for (identifier, (number, at)) in &state.delivery_times {
            let at = TimestampEntry::of(*at);
            part(&Part::DeliveryTime(identifier.as_str(), number.0, at));
        }
        if let Some(failure) = &state.failure {
            part(&Part::Failure(FailureEntry::of(failure)));
        }
        for (identifier, key) in &state.keys {
            part(&Part::Key(identifier.as_str(), *key.as_bytes()));
        }
        if state.confirmed > Revision(0) {
            part(&Part::Confirmed(state.confirmed.0));
        }
        for identifier in &state.bans {
            part(&Part::Ban(identifier.as_str()));
        }
        if state.values_revision != Revision::default() {
            part(&Part::ValuesRevision(state.values_revision.0));
        }
        for (namespace, values) in state.values.all() {
            let namespace = namespace.as_str();
            part(&Part::Namespace(namespace, values.revision.0));
            for (key, history) in value_entry::histories(values) {
                part(&Part::Value(namespace, key, history));
            }
        }
        for (name, alias) in state.values.aliases() {
            part(&Part::Alias(name.as_str(), AliasEntry::of(alias)));
        }
        for (identifier, reports) in state.phases.all() {
            for (phase, report) in reports {
                let entry = ReportEntry::of_stored(identifier, phase, report);
                part(&Part::Report(entry, report.revision.0));
            }
        }
        let ages = state.payload_ages.all();
        let ages: Vec<_> = ages.map(|(id, since)| (id.as_str(), since.0)).collect();
        if !ages.is_empty() {
            part(&Part::PayloadAges(ages));
        }
        for (name, run) in state.runs.all() {
            part(&Part::Run(RunEntry::of(name, run)));
        }
        let fence = state.runs.newest_fence();
        if fence > Fence(0) {
            part(&Part::NewestFence(fence.0, state.runs.revision().0));
        }
        if let Some(StoppedRollout { generation, reason }) = &state.stopped_rollout {
            part(&Part::StoppedRollout(generation.0, reason.as_deref()));
        }
        let mut before = None;
        for generation in state.generations.iter() {
            let seal = SealEntry::of(generation, before.map(Arc::as_ref), history);
            part(&Part::Generation(seal));
            if let Some(provenance) = ProvenanceEntry::of(&generation.provenance) {
                part(&Part::Provenance(provenance));
            }
            before = Some(generation);
        }
    })
}

fn from_body(body: &[u8], instance_of_log: Instance) -> Result<(State, Instance), DecodeError> {
    let mut state = State::default();
    let mut instances = Instances {
        log: instance_of_log,
        state: instance_of_log,
    };
    let mut rest = body;
    while !rest.is_empty() {
        let (part, behind): (Part, _) = entry::read(rest)?;
        part.add_to(&mut state, &mut instances)?;
        rest = behind;
    }
    Ok((state, instances.state))
}

impl Part<'_> {
    #[expect(clippy::too_many_lines, reason = "it has one row for each part")]
    fn add_to(self, state: &mut State, instances: &mut Instances) -> Result<(), DecodeError> {
        match self {
            Self::Head {
                instance,
                revision,
                inputs,
                overrides,
            } => {
                let found = Instance::from_bytes(instance);
                if found != instances.log {
                    return Err(DecodeError::Instance(found));
                }
                state.revision = entry::revision(revision)?;
                state.inputs = Revision(inputs);
                // Format 1 does not store the newest change of a registration. The newest input is at least as new.
                state.registrations_revision = Revision(inputs);
                state.overrides_revision = Revision(overrides);
                state.events = EventHistory::starting_after(state.revision, state.events.bounds());
            }
            Self::Revisions {
                registrations,
                overrides,
            } => {
                state.registrations_revision = Revision(registrations);
                state.overrides_revision = Revision(overrides);
            }
            Self::Node(node, revision) => {
                insert(state, &node, Origin::default(), revision)?;
            }
            Self::NodeFrom(node, revision, origin) => {
                insert(state, &node, origin.origin()?, revision)?;
            }
            Self::Override(identifier, files, revision) => {
                let node_override = NodeOverride {
                    files: Arc::new(FileEntry::set(files)?),
                    revision: Revision(revision),
                };
                state
                    .overrides
                    .insert(Identifier::recorded(identifier)?, node_override);
            }
            Self::Delivered(identifier, number) => {
                let number = GenerationNumber(number);
                state
                    .deliveries
                    .insert(Identifier::recorded(identifier)?, number);
            }
            Self::DeliveryTime(identifier, number, at) => {
                let delivery = (GenerationNumber(number), at.timestamp()?);
                let identifier = Identifier::recorded(identifier)?;
                state.delivery_times.insert(identifier, delivery);
            }
            Self::Failure(failure) => state.failure = Some(Arc::new(failure.failure()?)),
            Self::Generation(seal) => {
                let generation = seal.generation(state.generation().map(Arc::as_ref))?;
                Arc::make_mut(&mut state.generations).push_back(Arc::new(generation));
            }
            Self::Provenance(provenance) => add_provenance(state, &provenance),
            Self::Key(identifier, key) => {
                let key = Digest::from_bytes(key);
                state.keys.insert(Identifier::recorded(identifier)?, key);
            }
            Self::ValuesRevision(revision) => state.values_revision = Revision(revision),
            Self::Namespace(namespace, revision) => {
                value_entry::add_namespace(state, namespace, revision)?;
            }
            Self::Value(namespace, key, history) => history.add_to(state, namespace, key)?,
            Self::Alias(name, alias) => {
                let name = ValueKey::new(name)?;
                let alias = alias.alias()?;
                state
                    .values
                    .insert_alias(name, alias, state.values_revision);
            }
            Self::Report(report, revision) => report.add_to(state, revision)?,
            Self::Run(run) => run.add_to(state)?,
            Self::NewestFence(fence, revision) => {
                state.runs.restore(Fence(fence), Revision(revision));
            }
            Self::StoppedRollout(generation, reason) => {
                state.stopped_rollout = Some(StoppedRollout {
                    generation: GenerationNumber(generation),
                    reason: reason.map(Arc::from),
                });
            }
            Self::PayloadAges(ages) => {
                for (identifier, since) in ages {
                    let identifier = Identifier::recorded(identifier)?;
                    let since = GenerationNumber(since);
                    state.payload_ages.insert(identifier, since);
                }
            }
            Self::Redraws { newest, pending } => {
                state.redraws_revision = Revision(newest);
                let pending = pending.into_iter();
                state.redraws = pending
                    .map(|(key, at)| (key.to_owned(), Revision(at)))
                    .collect();
            }
            Self::Ban(identifier) => {
                state.bans.insert(Identifier::recorded(identifier)?);
            }
            Self::Confirmed(inputs) => state.confirmed = entry::revision(inputs)?,
            Self::Continues { instance } => instances.state = Instance::from_bytes(instance),
        }
        Ok(())
    }
}

/// Adds the provenance of the newest generation.
fn add_provenance(state: &mut State, provenance: &ProvenanceEntry) {
    if let Some(newest) = Arc::make_mut(&mut state.generations).back_mut() {
        Arc::make_mut(newest).provenance = Arc::new(provenance.provenance());
    }
}

fn insert(
    state: &mut State,
    node: &NodeEntry,
    origin: Origin,
    revision: u64,
) -> Result<(), DecodeError> {
    let registration = node.registration()?;
    let bytes = bytes_of(&registration.metadata);
    state.insert_registration(Arc::new(registration), origin, bytes, Revision(revision));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Bounds, Change, SetValue,
        conformance::values::{delete, new_value, set, set_alias},
    };
    use cfgsync_model::{JoinerId, NodeRegistration, ValueVersion};
    use cfgsync_support::clock::Timestamp;

    #[test]
    fn origin_of_a_registration_is_kept() {
        let origin = Origin {
            joiner: Some(JoinerId::from_bytes([7; 16])),
            at: Some(Timestamp::UNIX_EPOCH),
        };
        let mut state = State::default();
        let register = Change::Register {
            registration: NodeRegistration::new("a", [10, 0, 0, 1]).unwrap(),
            origin,
            within: Bounds::NONE,
            before_seal: false,
        };
        state.apply(vec![register], Revision(1)).unwrap();
        let instance = Instance::from_bytes([1; 16]);
        let instances = Instances {
            log: instance,
            state: instance,
        };
        let file = to_file(instances, &state, 1);
        let (read, _) = read(&file, instance, PathBuf::new).unwrap();
        assert_eq!(read.registrations["a"].origin, origin);
    }

    #[test]
    fn stop_of_a_roll_out_is_kept() {
        let stopped = Some(StoppedRollout {
            generation: GenerationNumber(4),
            reason: Some("a failed".into()),
        });
        let state = State {
            stopped_rollout: stopped.clone(),
            ..State::default()
        };
        let instance = Instance::from_bytes([1; 16]);
        let instances = Instances {
            log: instance,
            state: instance,
        };
        let file = to_file(instances, &state, 1);
        let (read, _) = read(&file, instance, PathBuf::new).unwrap();
        assert_eq!(read.stopped_rollout, stopped);
    }

    #[test]
    fn values_and_aliases_are_kept_with_their_history() {
        let expiring = SetValue {
            content: ValueVersion {
                expires_at: Some(Timestamp::UNIX_EPOCH),
                ..new_value("new", "2", 0).content
            },
            ..new_value("new", "2", 0)
        };
        let changes = [
            set(new_value("new", "1", 0)),
            set(expiring),
            set(new_value("gone", "3", 0)),
            delete("gone", None),
            set_alias("old", "new"),
        ]
        .concat();
        let mut state = State::default();
        state.apply(changes, Revision(4)).unwrap();
        let instance = Instance::from_bytes([1; 16]);
        let instances = Instances {
            log: instance,
            state: instance,
        };
        let file = to_file(instances, &state, 1);
        let (mut read, _) = read(&file, instance, PathBuf::new).unwrap();
        assert_eq!(read.values_revision, Revision(4));
        for state in [&mut state, &mut read] {
            let [old, gone] = ["old", "gone"].map(|name| name.parse().unwrap());
            let (key, current) = state.values.get("prod", &old).unwrap();
            assert_eq!(
                (key.as_str(), current.version, &current.bytes[..]),
                ("new", 2, &b"2"[..])
            );
            assert_eq!(
                state.values.history("prod", &old).unwrap().versions().len(),
                2
            );
            assert!(state.values.get("prod", &gone).is_none());
            assert!(state.values.history("prod", &gone).is_some());
            assert_eq!(
                state.values.namespace("prod").unwrap().revision,
                Revision(4)
            );
        }
    }

    #[test]
    fn redraws_bans_confirmation_and_a_continued_instance_are_kept() {
        let (log, later) = (Instance::from_bytes([1; 16]), Instance::from_bytes([2; 16]));
        let instances = Instances { log, state: later };
        let mut state = State {
            revision: Revision(9),
            inputs: Revision(8),
            redraws_revision: Revision(8),
            confirmed: Revision(7),
            ..State::default()
        };
        state.bans.insert("b".parse().unwrap());
        for pending in [&[][..], &[("cookie", 7), ("id", 8)]] {
            let pending = pending.iter();
            state.redraws = pending
                .map(|(key, at)| ((*key).to_owned(), Revision(*at)))
                .collect();
            let file = to_file(instances, &state, 1);
            let (found, instance) = read(&file, log, PathBuf::new).unwrap();
            assert_eq!((instance, &found.redraws), (later, &state.redraws));
            assert_eq!(
                (&found.bans, found.confirmed),
                (&state.bans, state.confirmed)
            );
            assert_eq!(
                (found.redraws_revision, found.inputs),
                (Revision(8), Revision(8))
            );
            assert!(read(&file, later, PathBuf::new).is_err());
        }
    }
}
