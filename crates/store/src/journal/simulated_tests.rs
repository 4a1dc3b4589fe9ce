//! Tests of durability on a simulated disk. Each test injects a fault at every single operation, then a crash, and then
//! starts a new server. It checks that acknowledged changes exist, that a generation number has one digest, and that
//! the directory can be opened.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use super::{
    commit::{Answer, Journal, Request, Response, Settings},
    disk::{Disk, WriteError},
    generation_files,
    log::LogHead,
    recover::recover,
    simulated_disk::{Fault, Random, SECTOR_BYTES, SimulatedDisk},
    tests::assert_same,
};
use crate::{
    Change, Event, EventBounds, Relocation, SealOutcome, State,
    conformance::{phases::report, runs::claim_run, values},
    directory_error::DirectoryError,
    encoding::header::FORMAT,
};
use cfgsync_model::{
    ArtifactFile, ArtifactSet, Digest, EventPosition, Generation, GenerationNumber, Identifier,
    Instance, NodeRegistration, Revision, Seat, generation_digest,
};
use cfgsync_support::clock::Timestamp;

pub(super) const INSTANCE: Instance = Instance::from_bytes([3; 16]);
pub(super) const NEW_INSTANCE: Instance = Instance::from_bytes([4; 16]);
const HISTORY: usize = 2;

/// The number of different crashes after each fault, unless `TEST_CRASHES` is set.
const CRASHES_PER_FAULT: u64 = 3;

/// A full disk that gets space again after a few operations.
const FULL_DISK: Fault = Fault::FailFor(6);

const FAULTS: [Fault; 4] = [
    Fault::StopBefore,
    Fault::StopDuring,
    Fault::FailOnce,
    FULL_DISK,
];

/// The facts that the clients of a server know.
#[derive(Default)]
struct Expected {
    /// The registrations of each node that a later state may hold: the newest acknowledged one, and those that were sent
    /// after it without an answer.
    nodes: BTreeMap<Identifier, Vec<NodeRegistration>>,
    /// The digests of generations that were sealed and may have been delivered.
    sealed: BTreeMap<u64, Digest>,
    /// The values, aliases, phases and runs that a later state may hold: the newest acknowledged ones, and those of a change
    /// that was sent after them without an answer.
    contents: Vec<String>,
    revision: Revision,
    /// The newest state that clients saw.
    state: Option<Arc<State>>,
}

pub(super) fn settings(instance: Instance) -> Settings {
    Settings {
        head: LogHead {
            instance,
            marker: *b"\x01\x02\x03\x04\xff\xfe\xfd\xfc",
            cluster: "devnet".to_owned(),
            has_place: true,
        },
        history: HISTORY,
        relocation: Relocation::Unstated,
        event_bounds: EventBounds::default(),
    }
}

/// Opens `disk`. If the state had to continue as a new instance, [`NEW_INSTANCE`] is that instance.
pub(super) fn open(disk: &SimulatedDisk) -> Result<Journal, DirectoryError> {
    let is_new = disk.read("log").unwrap().is_none();
    let instance = if is_new { INSTANCE } else { NEW_INSTANCE };
    Journal::open(Arc::new(disk.clone()), &settings(instance))
}

pub(super) fn node(name: &str, turn: u64) -> NodeRegistration {
    let node =
        NodeRegistration::without_metadata(name.parse().unwrap(), "10.0.0.1".parse().unwrap());
    // The metadata spans several sectors, and each sector differs.
    let padding = format!("{name}{turn}").repeat(300);
    node.with_metadata_value(serde_json::json!({ "turn": turn, "padding": padding }))
}

pub(super) fn register(registration: NodeRegistration) -> Request {
    Request::Apply(vec![Change::register(registration)])
}

/// Returns the next generation of the nodes of `state`.
pub(super) fn generation(state: &State, salt: u64) -> Arc<Generation> {
    let newest = state.generation();
    let names = state.registrations.keys();
    let artifacts = names.map(|name| {
        let file = ArtifactFile::new("f".parse().unwrap(), format!("{name} {salt}"));
        (name.clone(), ArtifactSet::new(vec![file]).unwrap())
    });
    let shared = ArtifactFile::new("s".parse().unwrap(), "y".repeat(1500));
    let shared = Arc::new(ArtifactSet::new(vec![shared]).unwrap());
    let (nodes, digest) = generation_digest(INSTANCE, artifacts.collect(), &shared);
    let seats = nodes
        .keys()
        .zip(0..)
        .map(|(name, at)| (name.clone(), Seat(at)));
    Arc::new(Generation {
        number: newest.map_or(GenerationNumber(0), |g| g.number).next(),
        digest,
        revision: state.inputs,
        spec: Digest::of(b"spec"),
        sealed_at: Timestamp::UNIX_EPOCH,
        seats: Arc::new(seats.collect()),
        once: Arc::new(serde_json::from_str(r#"{"cookie":"x"}"#).unwrap()),
        provenance: Arc::default(),
        nodes,
        shared,
    })
}

impl Expected {
    /// Registers each node with a request of its own, all in one frame. Returns whether the journal can continue.
    fn register(&mut self, journal: &mut Journal, names: &[&str], turn: u64) -> bool {
        let nodes: Vec<_> = names.iter().map(|name| node(name, turn)).collect();
        self.sent(&nodes);
        let requests = nodes.iter().cloned().map(register);
        let Some(answers) = self.commit(journal, requests.collect()) else {
            return false;
        };
        for (node, answer) in nodes.into_iter().zip(answers) {
            if answer.is_ok() {
                self.acknowledged(node);
            }
        }
        true
    }

    /// Registers all nodes with one batch. Returns whether the journal can continue.
    fn register_batch(&mut self, journal: &mut Journal, names: &[&str], turn: u64) -> bool {
        let nodes: Vec<_> = names.iter().map(|name| node(name, turn)).collect();
        self.sent(&nodes);
        let changes = nodes.iter().cloned().map(Change::register).collect();
        let Some(answers) = self.commit(journal, vec![Request::Apply(changes)]) else {
            return false;
        };
        if answers[0].is_ok() {
            for node in nodes {
                self.acknowledged(node);
            }
        }
        true
    }

    fn sent(&mut self, nodes: &[NodeRegistration]) {
        for node in nodes {
            let identifier = node.identifier.clone();
            self.nodes.entry(identifier).or_default().push(node.clone());
        }
    }

    /// Records that earlier registrations of this node must not reappear.
    fn acknowledged(&mut self, node: NodeRegistration) {
        self.nodes.insert(node.identifier.clone(), vec![node]);
    }

    fn seal(&mut self, journal: &mut Journal, salt: u64) -> bool {
        let generation = generation(&journal.state, salt);
        let mut after = State::clone(&journal.state);
        let next = after.revision.next();
        after.seal(generation.clone(), HISTORY, next).unwrap();
        let pending = match journal.generations().write(&generation) {
            Ok(pending) => pending,
            Err(WriteError::NotWritten { .. }) => return true,
            Err(WriteError::NotSynced { .. }) => return false,
        };
        self.contents.push(contents_of(&after));
        let Some(answers) = self.commit(
            journal,
            vec![Request::Seal(
                generation.clone(),
                crate::SealCondition::default(),
            )],
        ) else {
            return false;
        };
        if let [Ok(Response::Sealed(SealOutcome::Won))] = &answers[..] {
            let before = self.sealed.insert(generation.number.0, generation.digest);
            assert_eq!(before, None, "a number was given twice");
        }
        drop(pending);
        journal.maintain(true).is_ok()
    }

    fn report(&mut self, journal: &mut Journal, name: &str, phase: &str) -> bool {
        let newest = journal.state.generation().map(|newest| newest.number);
        let report = report(name, phase, newest.unwrap_or_default().0);
        self.change_contents(journal, vec![vec![report]])
    }

    fn deliver(&mut self, journal: &mut Journal, name: &str) -> bool {
        let newest = journal.state.generation();
        let delivered = Change::Deliver {
            at: None,
            identifier: name.parse().unwrap(),
            generation: newest.map(|newest| newest.number).unwrap_or_default(),
        };
        self.commit(journal, vec![Request::Apply(vec![delivered])])
            .is_some()
    }

    /// Changes values, aliases, phases and runs with one request for each batch, all in one frame. Returns whether the journal can
    /// continue.
    fn change_contents(&mut self, journal: &mut Journal, batches: Vec<Vec<Change>>) -> bool {
        let mut after = State::clone(&journal.state);
        for changes in &batches {
            let next = after.revision.next();
            // A value whose write was refused cannot be deleted.
            let _ = after.apply(changes.clone(), next);
        }
        self.contents.push(contents_of(&after));
        let requests = batches.into_iter().map(Request::Apply);
        self.commit(journal, requests.collect()).is_some()
    }

    /// Commits one frame. Returns `None` if the journal cannot continue.
    fn commit(&mut self, journal: &mut Journal, requests: Vec<Request>) -> Option<Vec<Answer>> {
        let answers = journal.commit(requests).ok()?;
        assert!(journal.state.revision >= self.revision);
        if journal.state.revision > self.revision {
            self.contents = vec![contents_of(&journal.state)];
        }
        self.show(journal);
        Some(answers)
    }

    /// Checks the state of a running server, which its clients then know.
    fn show(&mut self, journal: &Journal) {
        self.revision = journal.state.revision;
        self.state = Some(journal.state.clone());
    }

    /// Checks the state of a server that was started again, and shows it to clients.
    fn check_restarted(&mut self, journal: &Journal) {
        // No crash looks like a lost log.
        assert_eq!(journal.instance, INSTANCE);
        self.check(&journal.state);
        self.show(journal);
    }

    fn check(&mut self, found: &State) {
        assert!(found.revision >= self.revision, "a revision is lost");
        let was_registered = |identifier| {
            let state = self.state.as_ref();
            state.is_some_and(|state| state.registrations.contains_key(identifier))
        };
        for (identifier, allowed) in &mut self.nodes {
            match found.registrations.get(identifier) {
                Some(known) => {
                    let facts = NodeRegistration::clone(&known.registration);
                    assert!(allowed.contains(&facts), "{identifier} has older facts");
                    *allowed = vec![facts];
                }
                None => assert!(!was_registered(identifier), "{identifier} is lost"),
            }
        }
        if let Some(known) = &self.state {
            assert_same_events(known, found);
        }
        let contents = contents_of(found);
        let is_known = self.contents.is_empty() || self.contents.contains(&contents);
        assert!(is_known, "values or phases are lost, or older: {contents}");
        self.contents = vec![contents];
        let newest = self.sealed.keys().last().copied().unwrap_or(0);
        assert!(
            found.generation().map_or(0, |g| g.number.0) >= newest,
            "a seal is lost"
        );
        for generation in found.generations.iter() {
            let known = self.sealed.insert(generation.number.0, generation.digest);
            assert!(
                known.is_none_or(|known| known == generation.digest),
                "two digests"
            );
            generation_files::verify_digests(INSTANCE, generation).unwrap();
            assert!(!generation.once.is_empty());
            assert!(generation.seats.keys().eq(generation.nodes.keys()));
        }
        // A batch takes effect completely or not at all.
        let batch = ["f", "g"].map(|name| found.registrations.get(name));
        let turn = |node: &NodeRegistration| node.metadata["turn"].clone();
        let turns = batch.map(|known| known.map(|known| turn(&known.registration)));
        assert_eq!(turns[0], turns[1], "half a batch");
    }
}

/// Checks that `found` has the events that watchers of `known` may have seen, as far as its history reaches back.
fn assert_same_events(known: &State, found: &State) {
    let oldest = |state: &State| state.oldest_event_position().revision;
    let start = EventPosition::after(oldest(known).max(oldest(found)));
    let events = |state: &State| -> Vec<(EventPosition, Event)> {
        let events = state.events_behind(start).into_iter().flatten();
        let events = events.take_while(|event| event.revision <= known.revision);
        let events = events.map(|event| (event.position, (*event).clone()));
        events.collect()
    };
    assert!(events(known) == events(found), "other events");
}

/// Returns a description of all values, aliases, phases and runs, with versions, history and revisions.
fn contents_of(state: &State) -> String {
    let State {
        values_revision,
        values,
        phases,
        payload_ages,
        runs,
        ..
    } = state;
    let (values, aliases) = (values.all().collect::<Vec<_>>(), values.aliases());
    format!("{values_revision:?} {values:?} {aliases:?} {phases:?} {payload_ages:?} {runs:?}")
}

/// Returns a write of a value that spans several sectors. Two of its versions are kept.
fn set_value(key: &str, turn: u64) -> Vec<Change> {
    let content = format!("{key}{turn}").repeat(300);
    let mut value = values::new_value(key, &content, 0);
    value.within.history_max = 2;
    values::set(value)
}

/// One action of a server. Returns whether the server can continue.
type Step<'a> = &'a dyn Fn(&mut Expected, &mut Journal) -> bool;

/// Runs a server once: it opens the directory, registers nodes, seals, and takes a snapshot. It ends early after an
/// error that the journal cannot survive.
fn run_server(
    disk: &SimulatedDisk,
    expected: &mut Expected,
    turn: u64,
) -> Result<(), DirectoryError> {
    let mut journal = open(disk)?;
    expected.check_restarted(&journal);
    let alias = format!("alias{turn}");
    let steps: [Step<'_>; 17] = [
        &|expected, journal| expected.register(journal, &["a"], turn),
        &|expected, journal| expected.register(journal, &["b", "c", "a"], turn),
        &|expected, journal| expected.seal(journal, turn),
        &|expected, journal| expected.deliver(journal, "a"),
        &|expected, journal| expected.report(journal, "a", "healthy"),
        &|expected, journal| expected.change_contents(journal, vec![vec![claim_run("x", 1)]]),
        &|expected, journal| {
            let run = format!("run-{turn}");
            expected.change_contents(journal, vec![vec![claim_run(&run, 1)]])
        },
        &|expected, journal| {
            let batch = [set_value("v", turn), values::set_alias(&alias, "v")].concat();
            let gone = [set_value("gone", turn), values::delete("gone", None)];
            expected.change_contents(journal, [vec![batch], gone.to_vec()].concat())
        },
        &|_, journal| !matches!(journal.snapshot(), Err(WriteError::NotSynced { .. })),
        &|expected, journal| expected.register_batch(journal, &["f", "g"], turn),
        &|expected, journal| expected.register(journal, &["d"], turn),
        &|expected, journal| {
            expected.change_contents(
                journal,
                vec![set_value(&alias, turn + 1), set_value("gone", turn)],
            )
        },
        &|expected, journal| expected.seal(journal, turn + 1000),
        &|expected, journal| expected.seal(journal, turn),
        &|expected, journal| expected.register(journal, &["a", "e"], turn + 1),
        // The files of the other nodes stay as they are, and so do their phases.
        &|expected, journal| expected.report(journal, "b", "failed"),
        &|expected, journal| expected.seal(journal, turn),
    ];
    for step in steps {
        if !step(expected, &mut journal) {
            return Ok(());
        }
    }
    journal.close();
    Ok(())
}

fn crashes_per_fault() -> u64 {
    let crashes = std::env::var("TEST_CRASHES").map(|count| count.parse().unwrap());
    crashes.unwrap_or(CRASHES_PER_FAULT)
}

/// Runs a server with `fault`, crashes the machine in several ways, and runs servers on the remaining data. Returns the
/// number of operations of the first run.
fn run_and_crash(fault: Option<(u64, Fault)>) -> u64 {
    let mut operations = 0;
    for seed in 0..crashes_per_fault() {
        let mut random = Random(seed ^ fault.map_or(0, |(at, _)| at << 8));
        let mut expected = Expected::default();
        let mut disk = SimulatedDisk::default();
        disk.set_fault(fault);
        for turn in 0..3 {
            let result = run_server(&disk, &mut expected, turn * 10);
            if turn == 0 {
                operations = disk.operations();
            }
            match result {
                Ok(()) => {}
                Err(DirectoryError::Io { .. }) => assert!(turn == 0, "no fault: {result:?}"),
                Err(error) => panic!("{fault:?}, seed {seed}, turn {turn}: {error}"),
            }
            if turn == 0 && seed % 2 == 0 {
                // A server that is only killed leaves data that can be read but is not durable. The next server shows
                // this data to clients, so it must make it durable.
                disk = disk.after_kill();
                expected.check_restarted(&open(&disk).unwrap());
            }
            disk = disk.after_crash(&mut random);
        }
        let again = open(&disk).unwrap();
        expected.check_restarted(&again);
    }
    operations
}

/// Injects `fault` at each operation of a server in turn.
fn hit_each_operation(fault: Fault) {
    let operations = run_and_crash(None);
    assert!(operations > 40, "{operations}");
    for at in 0..operations {
        run_and_crash(Some((at, fault)));
    }
}

/// Calls `start` without a fault, and then with each fault at each of its operations, with several seeds. `start` returns
/// the number of its operations.
pub(super) fn hit_each_start(start: impl Fn(Option<(u64, Fault)>, u64) -> u64) {
    let operations = start(None, 0);
    assert!(operations >= 10, "{operations}");
    for at in 0..operations {
        for fault in FAULTS {
            for seed in 0..crashes_per_fault() {
                start(Some((at, fault)), seed ^ (at << 8));
            }
        }
    }
}

/// Opens `disk` with `fault`, which is the only reason why that may fail.
pub(super) fn open_with_fault(disk: &SimulatedDisk, fault: Option<(u64, Fault)>) {
    disk.set_fault(fault);
    let opened = open(disk);
    assert!(
        matches!(opened, Ok(_) | Err(DirectoryError::Io { .. })),
        "{fault:?}: {:?}",
        opened.err()
    );
}

#[test]
fn stop_before_any_operation_loses_nothing() {
    hit_each_operation(Fault::StopBefore);
}

#[test]
fn stop_during_any_operation_loses_nothing() {
    hit_each_operation(Fault::StopDuring);
}

#[test]
fn error_of_any_operation_loses_nothing() {
    hit_each_operation(Fault::FailOnce);
}

#[test]
fn full_disk_at_any_operation_loses_nothing() {
    hit_each_operation(FULL_DISK);
}

/// Returns a disk with the files of a state directory of this repository.
fn fixture(path: &str) -> SimulatedDisk {
    let mut files = Vec::new();
    for directory in ["", "generations"] {
        for file in fs::read_dir(Path::new(path).join(directory)).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_file() {
                let name = Path::new(directory).join(file.file_name());
                let name = name.to_str().unwrap().to_owned();
                files.push((name, fs::read(file.path()).unwrap()));
            }
        }
    }
    SimulatedDisk::with_files(files)
}

#[test]
fn crash_or_error_at_any_operation_of_an_upgrade_loses_nothing() {
    let old = || fixture(super::format_tests::FIXTURE_V1);
    let before = recover(&old()).unwrap().unwrap();
    assert_eq!(before.format, 1);
    hit_each_start(|fault, seed| {
        let disk = old();
        open_with_fault(&disk, fault);
        let operations = disk.operations();
        let mut random = Random(seed);
        // The first start after the crash may crash as well, after it has shown the state to clients.
        for _ in 0..2 {
            let after_crash = disk.after_crash(&mut random);
            let mut journal = open(&after_crash).unwrap();
            assert_same(&before.state, &journal.state);
            let answers = journal.commit(vec![register(node("new", seed))]).unwrap();
            assert!(answers[0].is_ok());
            let again = recover(&after_crash.after_crash(&mut random));
            let again = again.unwrap().unwrap();
            assert_eq!((again.format, &again.head), (FORMAT, &before.head));
            assert_same(&journal.state, &again.state);
        }
        operations
    });
}

#[test]
fn recovered_state_equals_the_last_state() {
    let disk = SimulatedDisk::default();
    let mut expected = Expected::default();
    for turn in 0..4 {
        run_server(&disk, &mut expected, turn * 10).unwrap();
        let again = open(&disk).unwrap();
        assert_same(expected.state.as_ref().unwrap(), &again.state);
        let generations = again.state.generations.iter();
        let digests: BTreeSet<Digest> = generations.map(|kept| kept.digest).collect();
        assert_eq!(disk.list("generations").unwrap().len(), digests.len());
    }
}

#[test]
fn long_log_is_replaced_by_a_snapshot() {
    let disk = SimulatedDisk::default();
    let mut journal = open(&disk).unwrap();
    let mut before = 0;
    for turn in 0..80 {
        let node = node(&format!("n{turn}"), turn);
        let node = node.with_metadata_value("x".repeat(64 << 10).into());
        journal.commit(vec![register(node)]).unwrap();
        journal.maintain(false).unwrap();
        let length = recover(&disk).unwrap().unwrap().log.end;
        if length < before {
            break;
        }
        before = length;
    }
    assert!(before > 3 << 20, "{before}");
    let found = recover(&disk).unwrap().unwrap();
    // The log has only the frame without commits.
    assert_eq!(found.log.frames, 1);
    assert_eq!(found.snapshot.unwrap().0, journal.state.revision);
    assert_same(&found.state, &journal.state);
    // Because of this frame, a directory that lost its snapshot differs from a new one.
    disk.remove("snapshot").unwrap();
    let missing = recover(&disk).err();
    assert!(
        matches!(missing, Some(DirectoryError::Damaged { .. })),
        "{missing:?}"
    );
}

#[test]
fn full_disk_refuses_changes_until_there_is_space() {
    let disk = SimulatedDisk::default();
    let mut journal = open(&disk).unwrap();
    let attempt = |journal: &mut Journal, name: &str, turn| {
        let answers = journal.commit(vec![register(node(name, turn))]);
        answers.unwrap().pop().unwrap()
    };
    let fail_for = |count| disk.set_fault(Some((disk.operations(), Fault::FailFor(count))));
    attempt(&mut journal, "a", 0).unwrap();
    fail_for(100);
    for turn in 1..4 {
        let refused = attempt(&mut journal, "b", turn).unwrap_err();
        assert!(refused.to_string().contains("storage"), "{refused}");
        assert!(!refused.to_string().contains("simulated"), "{refused}");
    }
    disk.set_fault(None);
    // The space is reserved now, so the write fails, in the middle or at the end.
    for turn in 4..8 {
        attempt(&mut journal, "a", turn).unwrap();
        disk.set_fault(Some((disk.operations(), Fault::FailOnce)));
        attempt(&mut journal, "b", turn).unwrap_err();
        let again = open(&disk).unwrap();
        assert_same(&journal.state, &again.state);
    }
    let before = journal.state.clone();
    fail_for(100);
    // Registrations that are already in effect are still acknowledged.
    let unchanged = attempt(&mut journal, "a", 7);
    assert!(
        matches!(&unchanged, Ok(Response::Applied(commit)) if !commit.is_changed()),
        "{unchanged:?}"
    );
    assert_same(&before, &journal.state);
    disk.set_fault(None);
    attempt(&mut journal, "b", 9).unwrap();
    let again = open(&disk).unwrap();
    assert_same(&journal.state, &again.state);
}

#[test]
fn refused_frame_acknowledges_nothing_that_depends_on_it() {
    let disk = SimulatedDisk::default();
    let mut journal = open(&disk).unwrap();
    disk.set_fault(Some((disk.operations(), Fault::FailFor(100))));
    let claim = || {
        Request::Apply(vec![Change::Claim {
            identifier: "a".parse().unwrap(),
            key: Digest::of(b"key"),
            within: crate::Bounds::NONE,
        }])
    };
    // The repetitions change nothing, but only because of requests in the same frame.
    let requests = vec![
        register(node("a", 0)),
        register(node("a", 0)),
        claim(),
        claim(),
        Request::Apply(vec![Change::Remove {
            identifier: "b".parse().unwrap(),
            only_if: None,
            joiner: None,
        }]),
    ];
    for answer in journal.commit(requests).unwrap() {
        let unavailable = matches!(answer, Err(crate::CommitError::Unavailable(_)));
        assert!(unavailable, "{answer:?}");
    }
    assert_eq!(journal.state.revision, Revision(0));
}

#[test]
fn files_of_a_pending_seal_are_kept() {
    let disk = SimulatedDisk::default();
    let journal = open(&disk).unwrap();
    let generation = generation(&journal.state, 0);
    let pending = journal.generations().write(&generation).unwrap();
    journal.generations().tidy(&journal.state);
    assert_eq!(disk.list("generations").unwrap().len(), 1);
    drop(pending);
    journal.generations().tidy(&journal.state);
    assert_eq!(disk.list("generations").unwrap(), [""; 0]);
}

#[test]
fn failed_sync_is_not_retried() {
    let disk = SimulatedDisk::default();
    let mut journal = open(&disk).unwrap();
    // The operations of a commit: reserve space, write the frame, sync it.
    disk.set_fault(Some((disk.operations() + 2, Fault::FailOnce)));
    assert!(matches!(
        journal.commit(vec![register(node("a", 0))]),
        Err(WriteError::NotSynced { .. })
    ));
}

#[test]
fn damage_is_refused_with_its_position_and_a_torn_tail_is_removed() {
    let disk = SimulatedDisk::default();
    let mut journal = open(&disk).unwrap();
    let mut ends = vec![];
    for (name, turn) in [("a", 0), ("b", 0), ("c", 0)] {
        let answers = journal.commit(vec![register(node(name, turn))]);
        answers.unwrap().pop().unwrap().unwrap();
        let log = disk.read("log").unwrap().unwrap();
        ends.push(log.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    }
    drop(journal);
    let mut intact = disk.read("log").unwrap().unwrap();
    // Leave out most of the reserved space, to be faster.
    intact.truncate(ends[2] + SECTOR_BYTES);
    let open_log = |log: &[u8]| {
        let disk = disk.after_crash(&mut Random(0));
        disk.overwrite("log", log);
        open(&disk)
    };
    // A change of any byte of the last frame looks like an unfinished frame.
    for at in ends[1]..ends[2] {
        let mut log = intact.clone();
        log[at] ^= 0x40;
        assert_eq!(open_log(&log).unwrap().state.registrations.len(), 2, "{at}");
    }
    for cut in ends[1]..ends[2] {
        let mut log = intact.clone();
        log[cut..].fill(0);
        assert_eq!(
            open_log(&log).unwrap().state.registrations.len(),
            2,
            "{cut}"
        );
        log.truncate(cut);
        assert_eq!(
            open_log(&log).unwrap().state.registrations.len(),
            2,
            "{cut}"
        );
    }
    // No crash changes a byte before the last frame.
    for at in 0..ends[1] {
        let mut log = intact.clone();
        log[at] ^= 0x40;
        let position = match open_log(&log).err() {
            Some(DirectoryError::Damaged { offset, .. }) => offset,
            other => panic!("{at}: {other:?}"),
        };
        assert!(
            usize::try_from(position).unwrap() <= at,
            "{position} for {at}"
        );
    }
}
