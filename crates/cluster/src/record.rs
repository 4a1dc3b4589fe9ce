//! The flight record: the timeline of one generation, computed from the history of events, the state and the notes. It is
//! pure. A server, `inspect --state-dir` and `serve --record` call the same function.

mod timeline;
mod nodes;

use std::collections::BTreeMap;

use crate::notes::{Note, NoteKind};
use cfgsync_model::{
    Failure, Generation, GenerationChanges, GenerationNumber, Identifier, InputChange, Instance,
    Revision,
};
use cfgsync_store::{EventKind, PositionedEvent, State};
use cfgsync_support::clock::Timestamp;
use cfgsync_wire::{RecordBody, RecordNodeState, RecordOutcome, RecordRender, RefusedEntry};

/// The sources of a record.
#[derive(Debug, Clone, Copy)]
pub struct RecordSource<'a> {
    /// The name of the cluster.
    pub cluster: &'a str,
    /// The instance of the store.
    pub instance: Instance,
    /// The state, with the history of events.
    pub state: &'a State,
    /// The notes, oldest first.
    pub notes: &'a [Note],
    /// The nodes that the server refused to register.
    pub refused: &'a [RefusedEntry],
    /// When the record is made.
    pub made_at: Timestamp,
}

/// The part of the history that is about one generation.
struct Window<'a> {
    source: RecordSource<'a>,
    /// `None` if nothing is sealed.
    generation: Option<&'a Generation>,
    /// The generation before, if it is kept.
    before: Option<&'a Generation>,
    /// All events that are kept, oldest first.
    events: Vec<PositionedEvent>,
    /// The window has the events after this revision.
    from: Revision,
    /// The window ends with this revision, where the next generation was sealed.
    to: Revision,
    is_complete: bool,
}

/// Returns the record of a generation, or of the newest one. Without any generation, it is about the attempt to reach the
/// first one. `None` if the generation is not kept.
pub fn record(source: RecordSource<'_>, wanted: Option<GenerationNumber>) -> Option<RecordBody> {
    let window = Window::new(source, wanted)?;
    Some(window.record())
}

impl<'a> Window<'a> {
    fn new(source: RecordSource<'a>, wanted: Option<GenerationNumber>) -> Option<Self> {
        let state = source.state;
        let kept = |number: GenerationNumber| {
            let mut generations = state.generations.iter();
            generations
                .find(|one| one.number == number)
                .map(|one| &**one)
        };
        let newest = state.generation().map(|newest| newest.number);
        let number = wanted.or(newest);
        let generation = match number {
            Some(number) => Some(kept(number)?),
            None => None,
        };
        let oldest = state.oldest_event_position();
        let events: Vec<_> = state.events_behind(oldest).into_iter().flatten().collect();
        let seal_of = |number: GenerationNumber| {
            let mut events = events.iter();
            let is_it = |event: &&PositionedEvent| matches!(&event.kind, EventKind::GenerationSealed { generation, .. } if *generation == number);
            events.find(is_it).map(|event| event.revision)
        };
        let before = number.filter(|number| *number > GenerationNumber(1));
        let before = before.map(|number| GenerationNumber(number.0 - 1));
        let seal_before = before.and_then(seal_of);
        let from = seal_before.unwrap_or(oldest.revision);
        let has_events = seal_before.is_some() || (before.is_none() && from == Revision(0));
        let has_notes = source
            .notes
            .first()
            .is_some_and(|first| first.revision <= from);
        let to = number.and_then(|number| seal_of(number.next()));
        Some(Self {
            generation,
            before: before.and_then(kept),
            from,
            to: to.unwrap_or(Revision(u64::MAX)),
            is_complete: has_events && has_notes,
            events,
            source,
        })
    }

    fn record(&self) -> RecordBody {
        let began_at = self.began_at();
        let failure = self.failure();
        let outcome = match (self.generation, &failure) {
            (Some(_), _) => RecordOutcome::Sealed,
            (None, Some(_)) => RecordOutcome::Failed,
            (None, None) => RecordOutcome::Waiting,
        };
        let sealed_at = self.generation.map(|generation| generation.sealed_at);
        let waits = self.waits(sealed_at);
        let reason = match (&failure, waits.last()) {
            (Some(failure), _) => failure.reason.clone(),
            (None, Some(wait)) => wait.message.clone(),
            (None, None) => "no node has registered".to_owned(),
        };
        let last_note = self.notes().next_back();
        let ended_at = match outcome {
            RecordOutcome::Sealed => self.last_time(sealed_at),
            RecordOutcome::Failed => failure.as_ref().map(|failure| failure.at),
            // A stopped server has not waited until now.
            RecordOutcome::Waiting => last_note
                .filter(|note| note.kind == NoteKind::Stopped)
                .map(|note| note.at),
        };
        let ended_at = ended_at.unwrap_or(self.source.made_at);
        let (nodes, missing_more) = self.nodes(began_at, ended_at, &reason);
        let mut counts = BTreeMap::<RecordNodeState, usize>::new();
        for node in &nodes {
            *counts.entry(node.state).or_default() += 1;
        }
        *counts.entry(RecordNodeState::Missing).or_default() += missing_more;
        RecordBody {
            cluster: self.source.cluster.to_owned(),
            instance: self.source.instance,
            generation: self.generation.map(|generation| generation.number),
            outcome,
            message: self.message(outcome, &reason, &counts, began_at, sealed_at),
            complete: self.is_complete,
            made_at: self.source.made_at,
            began_at,
            sealed_at,
            ended_at,
            render: self.generation.map(render_of),
            failure,
            changes: self
                .generation
                .and_then(|generation| generation.provenance.changes.clone()),
            missing_more,
            waits,
            moments: self.moments(),
            nodes,
        }
    }

    /// Returns the events of the window.
    fn events(&self) -> impl Iterator<Item = &PositionedEvent> {
        let (from, to) = (self.from, self.to);
        let events = self.events.iter();
        events.filter(move |event| event.revision > from && event.revision <= to)
    }

    /// Returns the notes of the window.
    fn notes(&self) -> impl DoubleEndedIterator<Item = &'a Note> {
        // A note at the revision of the seal before is about what follows that seal.
        let (from, to) = (self.from, self.to);
        let notes = self.source.notes.iter();
        notes.filter(move |note| note.revision >= from && note.revision < to)
    }

    /// Returns the revision of the newest input that the generation includes.
    fn inputs(&self) -> Revision {
        let generation = self.generation;
        generation.map_or(Revision(u64::MAX), |generation| generation.revision)
    }

    /// Returns the time of the first change that led to the generation. Changes that no file shows do not count.
    fn began_at(&self) -> Option<Timestamp> {
        let changes = self.generation.and_then(|generation| {
            let changes = generation.provenance.changes.as_ref();
            changes.filter(|changes| changes.more == 0)
        });
        let led_to_it = |kind: &EventKind| match changes {
            Some(changes) => is_listed(changes, kind),
            None => kind.is_of_values() || matches!(kind, EventKind::NodeRegistered { .. }),
        };
        let mut inputs = self
            .events()
            .take_while(|event| event.revision <= self.inputs());
        let first = inputs.find_map(|event| event.at.filter(|_| led_to_it(&event.kind)));
        first.or_else(|| {
            let render = self.generation?.provenance.render.as_ref();
            render.map(|render| render.started_at)
        })
    }

    /// Returns the failure of the cluster or of the newest render that is in force at the end of the window.
    fn failure(&self) -> Option<Failure> {
        let declared = self.source.state.failure.as_deref();
        if self.to == Revision(u64::MAX) && declared.is_some() {
            return declared.cloned();
        }
        let mut notes = self.notes().rev();
        let newest = notes.find(|note| !matches!(note.kind, NoteKind::Started | NoteKind::Stopped));
        match newest.map(|note| &note.kind) {
            Some(NoteKind::Failed { failure }) => Some(failure.clone()),
            _ => None,
        }
    }

    /// Returns the time of the last delivery or phase of the generation.
    fn last_time(&self, sealed_at: Option<Timestamp>) -> Option<Timestamp> {
        let number = self.generation?.number;
        let of_generation = self.events.iter().filter(|event| match &event.kind {
            EventKind::Delivered { generation, .. }
            | EventKind::PhaseReported { generation, .. } => *generation == number,
            _ => false,
        });
        of_generation
            .filter_map(|event| event.at)
            .chain(sealed_at)
            .max()
    }

    fn message(
        &self,
        outcome: RecordOutcome,
        reason: &str,
        counts: &BTreeMap<RecordNodeState, usize>,
        began_at: Option<Timestamp>,
        sealed_at: Option<Timestamp>,
    ) -> String {
        let counts: Vec<String> = counts
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(state, count)| format!("{count} {}", state.name()))
            .collect();
        let counts = counts.join(", ");
        match outcome {
            RecordOutcome::Failed => format!("failed: {reason}"),
            RecordOutcome::Waiting => format!("not sealed: {reason}"),
            RecordOutcome::Sealed => {
                let number = self.generation.map_or(0, |generation| generation.number.0);
                let after = match (began_at, sealed_at) {
                    (Some(began), Some(sealed)) => {
                        format!(" after {:.3} s", seconds(began, sealed))
                    }
                    _ => String::new(),
                };
                let nodes = if counts.is_empty() {
                    "no nodes"
                } else {
                    &counts
                };
                format!("generation {number} sealed{after}: {nodes}")
            }
        }
    }

    /// Returns the identifiers of the nodes that left during the window and are not registered now.
    fn left(&self) -> impl Iterator<Item = &Identifier> {
        let registered = &self.source.state.registrations;
        self.events().filter_map(|event| match &event.kind {
            EventKind::NodeRemoved { identifier } if !registered.contains_key(identifier) => {
                Some(identifier)
            }
            _ => None,
        })
    }
}

/// Returns whether `changes` has the change of an event.
fn is_listed(changes: &GenerationChanges, event: &EventKind) -> bool {
    let is_it = |change: &InputChange| match (change, event) {
        (
            InputChange::NodeJoined { identifier } | InputChange::NodeChanged { identifier, .. },
            EventKind::NodeRegistered { registration },
        ) => *identifier == registration.identifier,
        (
            InputChange::ValueSet { namespace, key, .. },
            EventKind::ValueSet {
                namespace: of,
                key: set,
                ..
            },
        ) => (namespace, key) == (of, set),
        (InputChange::AliasSet { alias, .. }, EventKind::AliasSet { alias: set, .. }) => {
            alias == set
        }
        _ => false,
    };
    changes.changes.iter().any(is_it)
}

fn render_of(generation: &Generation) -> RecordRender {
    let render = generation.provenance.render.as_ref();
    let own = generation
        .nodes
        .values()
        .flat_map(|node| node.local.files());
    let (mut files, mut bytes) = (0, 0);
    for file in own.chain(generation.shared.files()) {
        files += 1;
        bytes += file.content.len();
    }
    RecordRender {
        started_at: render.map(|render| render.started_at),
        seconds: render.map(|render| {
            let took = std::time::Duration::from_micros(render.took_micros);
            took.as_secs_f64()
        }),
        files,
        bytes,
    }
}

/// Returns the seconds from one time to another. Zero if the clock went back.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    let micros = to.as_microsecond().saturating_sub(from.as_microsecond());
    std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0)).as_secs_f64()
}
