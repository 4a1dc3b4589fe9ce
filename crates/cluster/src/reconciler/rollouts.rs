//! Rolls a new generation out: keeps older generations for the nodes that do not get it yet, and hands it on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::Instant;

use super::{Reconciler, stop_recorder::StopRecorder};
use crate::{
    Shared,
    followers::FOLLOWER_SILENCE_MAX,
    rollout::{Handed, Nodes, Reported, Rollout},
    view::{HeldBack, ServedGeneration, View},
};
use cfgsync_model::{Generation, GenerationNumber, Identifier, Phase, Revision, Seat};
use cfgsync_spec::RolloutRule;
use cfgsync_store::{State, StoppedRollout};
use cfgsync_wire::{RolloutBody, RolloutState};

/// The newest roll-out, and the generations that it still needs.
pub(super) struct Rollouts {
    newest: Option<Rollout>,
    /// After a restart, the generations that the recorded deliveries name.
    recorded: BTreeMap<GenerationNumber, Arc<ServedGeneration>>,
    /// The generations of the nodes that are held back.
    older: Arc<BTreeMap<GenerationNumber, Arc<ServedGeneration>>>,
    /// Before this time, a node that has not asked yet may still be a follower.
    followers_known_at: Instant,
    /// Whether the reason for a stop was logged.
    is_stop_logged: bool,
    /// Records the stops that a failure causes.
    pub(super) stop_recorder: StopRecorder,
    /// The state for operators.
    body: Arc<RolloutBody>,
}

impl Rollouts {
    /// Returns the state of a server that starts now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            newest: None,
            recorded: BTreeMap::new(),
            older: Arc::default(),
            stop_recorder: StopRecorder::default(),
            followers_known_at: now,
            is_stop_logged: false,
            body: Arc::new(RolloutBody::none()),
        }
    }

    /// Returns the nodes that get older files, and these files.
    pub(super) fn held_back(&self) -> HeldBack {
        match &self.newest {
            Some(rollout) => HeldBack {
                nodes: rollout.held_back().clone(),
                generations: self.older.clone(),
            },
            None => HeldBack::default(),
        }
    }

    /// Returns the state for operators.
    pub(super) fn body(&self) -> &Arc<RolloutBody> {
        &self.body
    }

    /// Describes the roll-out anew, after a change.
    fn describe(&mut self) {
        self.body = Arc::new(match &self.newest {
            Some(rollout) => body_of(rollout),
            None => RolloutBody::none(),
        });
    }

    /// Returns the files that a node was handed last, and their generation. `None` if it has received nothing, or if that is
    /// not known. `previous` are the files that nodes without a turn got.
    fn handed(
        &self,
        state: &State,
        previous: Option<&(Arc<ServedGeneration>, Revision)>,
        identifier: &Identifier,
    ) -> Option<(Handed, Arc<ServedGeneration>)> {
        if let Some(rollout) = &self.newest
            && let Some(handed) = rollout.held_back().get(identifier)
        {
            let served = self.older.get(&handed.generation)?;
            return Some((*handed, served.clone()));
        }
        let of = |served: &Arc<ServedGeneration>, up_to| {
            let generation = served.generation.number;
            (Handed { generation, up_to }, served.clone())
        };
        let recorded = state.deliveries.get(identifier);
        let newest = state.generation()?.number;
        if recorded.is_some_and(|number| state.carried(identifier.as_str(), *number) == newest) {
            return None;
        }
        if let Some(older) = recorded.and_then(|number| self.recorded.get(number)) {
            return Some(of(older, older.generation.revision));
        }
        let (previous, up_to) = previous?;
        let has_files = recorded.is_some() || previous.was_delivered(identifier.as_str());
        has_files.then(|| of(previous, *up_to))
    }

    /// Begins the roll-out of `newest`. Before, `previous` was served, with registrations up to a revision.
    pub(super) fn begin(
        &mut self,
        rule: RolloutRule,
        state: &State,
        previous: Option<&(Arc<ServedGeneration>, Revision)>,
        newest: &ServedGeneration,
    ) {
        let mut seats: Vec<(&Identifier, &Seat)> = newest.generation.seats.iter().collect();
        seats.sort_by_key(|(_, seat)| **seat);
        let mut queue = Vec::new();
        let mut older = BTreeMap::new();
        for (identifier, _) in seats {
            let Some(files) = newest.generation.nodes.get(identifier) else {
                continue;
            };
            let Some((handed, served)) = self.handed(state, previous, identifier) else {
                continue;
            };
            let is_included = state.registrations.contains_key(identifier)
                && handed.includes(state, identifier.as_str());
            let before = served.generation.nodes.get(identifier);
            let is_changed = before.is_some_and(|before| before.digest != files.digest);
            if is_included && is_changed {
                queue.push((identifier.clone(), handed));
                older.insert(handed.generation, served);
            }
        }
        self.older = Arc::new(older);
        self.is_stop_logged = false;
        if !queue.is_empty() {
            tracing::info!(
                event = "rollout_started",
                generation = newest.generation.number.0,
                nodes = queue.len(),
                "generation {} is rolled out: nodes with an older one get it in turn",
                newest.generation.number
            );
        }
        let mut rollout = Rollout::new(newest.generation.number, rule, queue);
        if let Some(replaced) = &self.newest {
            rollout.replace(replaced, |node| {
                let received = state.deliveries.get(node);
                let carried = received.map(|number| state.carried(node.as_str(), *number));
                carried < Some(newest.generation.number)
            });
        }
        self.newest = Some(rollout);
        self.describe();
    }

    /// Ends the roll-out: all nodes get the newest generation.
    pub(super) fn end(&mut self) {
        self.newest = None;
        self.older = Arc::default();
        self.describe();
    }
}

fn body_of(rollout: &Rollout) -> RolloutBody {
    RolloutBody {
        generation: Some(rollout.generation),
        state: match rollout.stopped() {
            Some(_) => RolloutState::Stopped,
            None if rollout.is_complete() => RolloutState::Done,
            None => RolloutState::Running,
        },
        reason: rollout.stopped().map(ToString::to_string),
        wait_for: Some(rollout.phase().clone()),
        in_progress: rollout.in_progress().cloned().collect(),
        held_back: rollout.queue().cloned().collect(),
        skipped: rollout.skipped().to_vec(),
        done: rollout.done(),
    }
}

/// Returns the nodes that have received the newest files in their turn, as far as the kept generations show it. A node that
/// has the files of its first generation, or that has registered since the one before, has received them at once.
fn handed_before(state: &State, newest: &Generation) -> Vec<Identifier> {
    let got_it_in_turn = |identifier: &Identifier| {
        let files = |generation: &Generation| {
            let files = generation.nodes.get(identifier);
            files.map(|files| files.digest)
        };
        let newest_files = files(newest);
        let mut newest_first = state.generations.iter().rev();
        let before = newest_first.find(|generation| files(generation) != newest_files);
        let registered = state.registrations.get(identifier);
        before.zip(registered).is_some_and(|(before, registered)| {
            files(before).is_some() && registered.revision <= before.revision
        })
    };
    let deliveries = state.deliveries.iter();
    let have_newest = deliveries.filter(|(identifier, number)| {
        state.carried(identifier.as_str(), **number) == newest.number && got_it_in_turn(identifier)
    });
    have_newest
        .map(|(identifier, _)| identifier.clone())
        .collect()
}

/// The nodes, as the state and the requests describe them.
struct KnownNodes<'a> {
    shared: &'a Shared,
    state: &'a State,
    generation: GenerationNumber,
    phase: Phase,
    now: Instant,
    followers_known_at: Instant,
}

impl Nodes for KnownNodes<'_> {
    fn is_member(&self, identifier: &Identifier) -> bool {
        self.state.registrations.contains_key(identifier)
    }

    fn is_included(&self, identifier: &Identifier, files: Handed) -> bool {
        files.includes(self.state, identifier.as_str())
    }

    fn follows(&self, identifier: &Identifier) -> Option<bool> {
        let waits = || self.shared.held_requests.waits(identifier.as_str());
        if self.shared.followers.has(identifier, self.now) || waits() {
            return Some(true);
        }
        (self.followers_known_at <= self.now).then_some(false)
    }

    fn reported(&self, identifier: &Identifier) -> Reported {
        let name = identifier.as_str();
        // A report about the same files under an earlier generation counts.
        let counts = |number| self.state.carried(name, number) >= self.generation;
        let report = |phase: &str| {
            let report = self.state.phases.get(name, phase);
            report.filter(|report| counts(report.generation))
        };
        let delivered = self.state.deliveries.get(identifier);
        let is_delivered = delivered.is_some_and(|number| counts(*number));
        let failed = report(Phase::FAILED);
        let reached = report(self.phase.as_str());
        match (failed, reached) {
            (Some(failed), reached)
                if reached.is_none_or(|reached| reached.revision < failed.revision) =>
            {
                Reported::Failure(failed.reason.as_deref().map(str::to_owned))
            }
            (_, Some(_)) => Reported::Phase,
            _ if self.phase.as_str() == Phase::DELIVERED && is_delivered => Reported::Phase,
            _ => Reported::Nothing,
        }
    }
}

impl Reconciler {
    /// Begins the roll-out of the served generation, if the spec has a rule and nodes have an older one.
    pub(super) fn begin_rollout(&mut self, previous: Option<&(Arc<ServedGeneration>, Revision)>) {
        let rule = self.pipeline.spec.rollout.clone();
        let served = self.serving.generation.as_ref();
        match (rule, served) {
            (Some(rule), Some(newest)) => {
                let state = self.shared.store.state();
                self.rollouts.begin(rule, &state, previous, newest);
            }
            _ => self.rollouts.end(),
        }
    }

    /// After a restart, continues the roll-out of the served generation. The recorded deliveries show which nodes have an
    /// older generation, and which have received the newest one and may not have reported the phase.
    pub(super) fn resume_rollout(&mut self) {
        let state = self.shared.store.state().into_arc();
        let mut newest_first = state.generations.iter().rev();
        let (newest, before) = (newest_first.next(), newest_first.clone().next());
        let has_rule = self.pipeline.spec.rollout.is_some();
        let (Some(newest), Some(before), true) = (newest, before, has_rule) else {
            return;
        };
        let instance = self.shared.store.instance();
        let signer = self.shared.signer.as_ref();
        let served = |generation: &Arc<Generation>| {
            Arc::new(ServedGeneration::new(instance, generation.clone(), signer))
        };
        let delivered: BTreeSet<GenerationNumber> = state.deliveries.values().copied().collect();
        let older = newest_first.filter(|older| delivered.contains(&older.number));
        let older = older.map(|older| (older.number, served(older)));
        self.rollouts.recorded = older.collect();
        let before = (served(before), before.revision);
        self.begin_rollout(Some(&before));
        self.rollouts.recorded.clear();
        let now = Instant::now();
        self.rollouts.followers_known_at = now + FOLLOWER_SILENCE_MAX;
        if let Some(rollout) = &mut self.rollouts.newest {
            rollout.wait_for(handed_before(&state, newest), now);
            self.rollouts.describe();
        }
        // Nodes may ask before the first evaluation.
        let view = View::clone(&self.shared.view.load());
        self.shared.view.store(Arc::new(View {
            held_back: self.rollouts.held_back(),
            rollout: self.rollouts.body().clone(),
            ..view
        }));
    }

    /// Hands the generation to the next nodes. Returns the time at which something changes without an event.
    pub(super) fn advance_rollout(&mut self) -> Option<Instant> {
        let expired = self.lease_expiry.take_expired();
        let rollout = self.rollouts.newest.as_mut()?;
        let was_complete = rollout.is_complete();
        let now = Instant::now();
        let followers_known_at = self.rollouts.followers_known_at;
        let nodes = KnownNodes {
            shared: &self.shared,
            state: &self.follower.state,
            generation: rollout.generation,
            phase: rollout.phase().clone(),
            now,
            followers_known_at,
        };
        let recorded = self.follower.state.stopped_rollout.as_ref();
        let mut is_stop_news = rollout.note_recorded_stop(recorded, &nodes, now);
        for node in &expired {
            is_stop_news |= rollout.on_expired(node);
        }
        let advanced = rollout.advance(&nodes, now);
        if is_stop_news && rollout.stopped().is_none() {
            self.rollouts.is_stop_logged = false;
        }
        if advanced.has_handed {
            self.publisher.release();
        }
        let generation = rollout.generation;
        if let Some(stopped) = rollout.stopped() {
            if !std::mem::replace(&mut self.rollouts.is_stop_logged, true) {
                tracing::error!(
                    event = "rollout_stopped",
                    generation = generation.0,
                    reason = %stopped,
                    "the roll-out of generation {generation} is stopped: {stopped}; {} older files; continue with `cfgsync rollout \
                     resume`",
                    match rollout.held_back().len() {
                        1 => "1 other node keeps".to_owned(),
                        count => format!("{count} other nodes keep"),
                    }
                );
            }
        } else if rollout.is_complete() && !was_complete {
            tracing::info!(
                event = "rollout_done",
                generation = generation.0,
                "generation {generation} is rolled out: reported {}: {}, not waited for: {}",
                rollout.phase(),
                rollout.done(),
                rollout.skipped().len()
            );
        }
        let next_timeout = rollout.next_timeout();
        let unrecorded = rollout.unrecorded_stop().map(|reason| StoppedRollout {
            generation,
            reason: Some(reason.into()),
        });
        if rollout.is_complete() {
            self.rollouts.older = Arc::default();
        }
        if advanced.has_changed || is_stop_news {
            self.rollouts.describe();
        }
        let unknown = (followers_known_at > now).then_some(followers_known_at);
        let unknown = unknown.filter(|_| !was_complete);
        let stop_recorder = &mut self.rollouts.stop_recorder;
        let retry = stop_recorder.record_if_due(&self.shared, unrecorded);
        [next_timeout, unknown, retry].into_iter().flatten().min()
    }

    /// Continues a roll-out that is stopped.
    pub(super) fn continue_rollout(&mut self) {
        let now = Instant::now();
        let followers_known_at = self.rollouts.followers_known_at;
        self.rollouts.stop_recorder.resume();
        let Some(rollout) = &mut self.rollouts.newest else {
            return;
        };
        let nodes = KnownNodes {
            shared: &self.shared,
            state: &self.follower.state,
            generation: rollout.generation,
            phase: rollout.phase().clone(),
            now,
            followers_known_at,
        };
        rollout.resume(&nodes, now);
        self.rollouts.is_stop_logged = false;
        self.rollouts.describe();
    }
}
