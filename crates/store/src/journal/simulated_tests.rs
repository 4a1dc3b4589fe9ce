//! A disk that fails, tears and forgets, at every single operation of a story; and a checker of the promises:
//! what was acknowledged is there, a generation number has one digest, a directory that a crash left can be opened.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{
    commit::{Answer, Change, Done, Journal, Settings},
    disk::{Disk, DiskFile, Trouble},
    error::JournalError,
    log::LogHead,
    recover::recover,
    tests::assert_same,
};
use crate::{Input, Outcome, Record, Seal, State};
use cfgsync_model::{
    ArtifactFile, ArtifactSet, Digest, Generation, GenerationNumber, Identifier, Instance,
    NodeRegistration, Revision, Seat, generation_digest,
};
use cfgsync_support::clock::Timestamp;

const INSTANCE: Instance = Instance::from_bytes([3; 16]);
const SECTOR_BYTES: usize = 512;
const HISTORY: usize = 2;
/// In how many ways a crash leaves what was not synced, for each fault; `TEST_CRASHES` says otherwise.
const CRASHES_EACH: u64 = 3;

/// What happens to the operation with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The machine stops before it.
    Before,
    /// The machine stops in the midst of it: it may or may not come to last, or in part.
    Amid,
    /// It fails, once, and what is written until then stays.
    Once,
    /// It fails, and so does every one after it for so many operations: a full disk, until there is room.
    For(u64),
}

/// A small generator of numbers, the same ones for the same seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn flip(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// What was asked of a file and is not synced.
#[derive(Clone)]
enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// The bytes of a file, without the zeros at its end.
#[derive(Clone, Default)]
struct Contents {
    bytes: Vec<u8>,
    length: usize,
}

#[derive(Clone, Default)]
struct Inode {
    /// What is read.
    now: Contents,
    /// What lasts.
    durable: Contents,
    pending: Vec<Pending>,
}

#[derive(Clone)]
enum Naming {
    Link(String, u64),
    Rename(String, String),
    Unlink(String),
}

#[derive(Default)]
struct Medium {
    inodes: HashMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Changes of names that are not synced, by directory.
    namings: Vec<Naming>,
    next_inode: u64,
    operations: u64,
    fault: Option<(u64, Fault)>,
    is_off: bool,
    syncs_fail: bool,
}

#[derive(Clone, Default)]
pub(super) struct Simulated(Arc<Mutex<Medium>>);

struct OpenFile {
    medium: Simulated,
    inode: u64,
}

/// Whether an operation is to be done.
enum Verdict {
    Do,
    /// Do it, or a part of it, and then the machine is off.
    DoAndStop,
    /// Do a part of it if it has parts, and fail.
    Fail,
}

impl Simulated {
    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().unwrap()
    }

    /// The same medium after the machine stopped: of what was not synced, some lasts.
    fn after_crash(&self, dice: &mut Dice) -> Self {
        let medium = self.medium();
        let mut names = medium.durable_names.clone();
        // Any of the changes of names may come to last, and none need to.
        for naming in &medium.namings {
            if dice.flip() {
                rename_in(&mut names, naming);
            }
        }
        let inodes = medium.inodes.iter().map(|(number, inode)| {
            let contents = torn(inode, dice);
            let inode = Inode {
                now: contents.clone(),
                durable: contents,
                pending: vec![],
            };
            (*number, inode)
        });
        Self(Arc::new(Mutex::new(Medium {
            inodes: inodes.collect(),
            durable_names: names.clone(),
            names,
            next_inode: medium.next_inode,
            ..Medium::default()
        })))
    }

    /// The same medium after its server was killed: all that was written is there to be read, and what was not synced
    /// does not last through the next crash.
    fn after_kill(&self) -> Self {
        let medium = self.medium();
        Self(Arc::new(Mutex::new(Medium {
            inodes: medium.inodes.clone(),
            names: medium.names.clone(),
            durable_names: medium.durable_names.clone(),
            namings: medium.namings.clone(),
            next_inode: medium.next_inode,
            ..Medium::default()
        })))
    }

    /// Does `act` while no operation comes to an end.
    pub(super) fn while_it_hangs(&self, act: impl FnOnce()) {
        let _hanging = self.medium();
        act();
    }

    /// From now on nothing can be synced.
    pub(super) fn fail_syncs(&self) {
        self.medium().syncs_fail = true;
    }

    fn with_fault(self, fault: Option<(u64, Fault)>) -> Self {
        self.medium().fault = fault;
        self
    }

    fn operations(&self) -> u64 {
        self.medium().operations
    }
}

fn rename_in(names: &mut BTreeMap<String, u64>, naming: &Naming) {
    match naming {
        Naming::Link(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        Naming::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        Naming::Unlink(name) => {
            names.remove(name);
        }
    }
}

/// What is left of a file: each sector of each write that was not synced lasts or not, in any order.
fn torn(inode: &Inode, dice: &mut Dice) -> Contents {
    let mut contents = inode.durable.clone();
    let mut pieces: Vec<Pending> = Vec::new();
    for pending in &inode.pending {
        match pending {
            Pending::Length(_) => pieces.push(pending.clone()),
            Pending::Write(at, data) => {
                let mut at = *at;
                let mut rest = &data[..];
                while !rest.is_empty() {
                    let length = (SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len());
                    pieces.push(Pending::Write(at, rest[..length].to_vec()));
                    (at, rest) = (at + length, &rest[length..]);
                }
            }
        }
    }
    let in_order = dice.flip();
    while !pieces.is_empty() {
        let at = match in_order {
            true => 0,
            false => usize::try_from(dice.next() % pieces.len() as u64).unwrap(),
        };
        let piece = pieces.remove(at);
        if dice.flip() {
            contents.apply(&piece);
        }
    }
    contents
}

impl Contents {
    fn apply(&mut self, pending: &Pending) {
        match pending {
            Pending::Length(length) => {
                self.bytes.truncate(*length);
                self.length = *length;
            }
            Pending::Write(at, data) => {
                let end = at + data.len();
                if self.bytes.len() < end {
                    self.bytes.resize(end, 0);
                }
                self.bytes[*at..end].copy_from_slice(data);
                self.length = self.length.max(end);
            }
        }
    }

    fn to_vec(&self) -> Vec<u8> {
        let mut all = self.bytes.clone();
        all.resize(self.length, 0);
        all
    }
}

fn off() -> io::Error {
    io::Error::other("the machine is off")
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Medium {
    fn verdict(&mut self) -> io::Result<Verdict> {
        if self.is_off {
            return Err(off());
        }
        let number = self.operations;
        self.operations += 1;
        let Some((at, fault)) = self.fault else {
            return Ok(Verdict::Do);
        };
        match fault {
            Fault::Before if number == at => {
                self.is_off = true;
                Err(off())
            }
            Fault::Amid if number == at => Ok(Verdict::DoAndStop),
            Fault::Once if number == at => Ok(Verdict::Fail),
            Fault::For(count) if (at..at + count).contains(&number) => Ok(Verdict::Fail),
            _ => Ok(Verdict::Do),
        }
    }

    /// Does `act`, unless it is to fail.
    fn operation(&mut self, act: impl FnOnce(&mut Self)) -> io::Result<()> {
        match self.verdict()? {
            Verdict::Do => {
                act(self);
                Ok(())
            }
            Verdict::DoAndStop => {
                act(self);
                self.is_off = true;
                Err(off())
            }
            Verdict::Fail => Err(full()),
        }
    }

    fn name(&mut self, naming: Naming) {
        rename_in(&mut self.names, &naming);
        self.namings.push(naming);
    }
}

fn directory_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(directory, _)| directory)
}

impl Disk for Simulated {
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("simulated").join(name)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let medium = self.medium();
        let inode = medium.names.get(name);
        Ok(inode.map(|inode| medium.inodes[inode].now.to_vec()))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let medium = self.medium();
        let names = medium.names.keys().filter(|n| directory_of(n) == directory);
        let names = names.map(|name| name.rsplit('/').next().unwrap().to_owned());
        Ok(names.collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.medium().names[name];
        Ok(Box::new(OpenFile {
            medium: self.clone(),
            inode,
        }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut medium = self.medium();
        let inode = medium.next_inode;
        medium.operation(|medium| {
            medium.next_inode += 1;
            medium.inodes.insert(inode, Inode::default());
            medium.name(Naming::Link(name.to_owned(), inode));
        })?;
        drop(medium);
        Ok(Box::new(OpenFile {
            medium: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let naming = Naming::Rename(from.to_owned(), to.to_owned());
        self.medium().operation(|medium| medium.name(naming))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut medium = self.medium();
        if !medium.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        medium.operation(|medium| medium.name(Naming::Unlink(name.to_owned())))
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        self.medium().operation(|medium| {
            let is_here = |naming: &Naming| {
                let (Naming::Link(name, _) | Naming::Rename(_, name) | Naming::Unlink(name)) =
                    naming;
                directory_of(name) == directory
            };
            let (here, rest) = medium.namings.drain(..).partition(is_here);
            medium.namings = rest;
            let here: Vec<Naming> = here;
            for naming in here {
                rename_in(&mut medium.durable_names, &naming);
            }
        })
    }
}

impl OpenFile {
    fn change(&self, pending: Pending) -> io::Result<()> {
        let inode = self.inode;
        let mut medium = self.medium.medium();
        let record = |medium: &mut Medium, pending: Pending| {
            let file = medium.inodes.get_mut(&inode).unwrap();
            file.now.apply(&pending);
            file.pending.push(pending);
        };
        let verdict = medium.verdict()?;
        match (verdict, pending) {
            (Verdict::Do, pending) => {
                record(&mut medium, pending);
                Ok(())
            }
            (Verdict::DoAndStop, pending) => {
                record(&mut medium, pending);
                medium.is_off = true;
                Err(off())
            }
            (Verdict::Fail, Pending::Write(at, data)) => {
                // What was written until then stays: half of it, or all.
                let length = match medium.operations % 2 {
                    0 => data.len(),
                    _ => data.len() / 2,
                };
                record(&mut medium, Pending::Write(at, data[..length].to_vec()));
                Err(full())
            }
            (Verdict::Fail, Pending::Length(_)) => Err(full()),
        }
    }
}

impl DiskFile for OpenFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.change(Pending::Write(offset, bytes.to_vec()))
    }

    fn allocate(&mut self, from: u64, to: u64) -> io::Result<()> {
        if from == to {
            return Ok(());
        }
        self.change(Pending::Length(usize::try_from(to).unwrap()))
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.change(Pending::Length(usize::try_from(length).unwrap()))
    }

    fn sync(&mut self) -> io::Result<()> {
        let inode = self.inode;
        if self.medium.medium().syncs_fail {
            return Err(io::Error::other("a broken disk"));
        }
        self.medium.medium().operation(|medium| {
            let file = medium.inodes.get_mut(&inode).unwrap();
            file.durable = file.now.clone();
            file.pending.clear();
        })
    }
}

/// What whoever spoke to the server knows.
#[derive(Default)]
struct Promised {
    /// The newest facts that were acknowledged; those that were sent later and not answered may be there instead.
    nodes: BTreeMap<Identifier, Vec<NodeRegistration>>,
    /// Digests of the generations that were sealed and might have been handed out.
    sealed: BTreeMap<u64, Digest>,
    revision: Revision,
    state: Option<Arc<State>>,
}

fn settings() -> Settings {
    Settings {
        head: LogHead {
            instance: INSTANCE,
            marker: *b"\x01\x02\x03\x04\xff\xfe\xfd\xfc",
            cluster: "devnet".to_owned(),
        },
        history: HISTORY,
    }
}

fn node(name: &str, turn: u64) -> NodeRegistration {
    let node =
        NodeRegistration::without_metadata(name.parse().unwrap(), "10.0.0.1".parse().unwrap());
    // Long enough to span sectors, of which each differs.
    node.with_metadata_value(
        serde_json::json!({ "turn": turn, "padding": format!("{name}{turn}").repeat(300) }),
    )
}

fn generation(state: &State, salt: u64) -> Arc<Generation> {
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
        nodes,
        shared,
    })
}

impl Promised {
    /// Registers nodes in one batch; answers whether the journal goes on.
    fn register(&mut self, journal: &mut Journal, names: &[&str], turn: u64) -> bool {
        let facts: Vec<_> = names.iter().map(|name| node(name, turn)).collect();
        for facts in &facts {
            self.nodes
                .entry(facts.identifier.clone())
                .or_default()
                .push(facts.clone());
        }
        let changes = facts
            .iter()
            .cloned()
            .map(Input::register)
            .map(Change::Input);
        let Some(answers) = self.commit(journal, changes.collect()) else {
            return false;
        };
        for (facts, answer) in facts.iter().zip(answers) {
            if let Ok(Done::Input(Outcome::Changed(_) | Outcome::Unchanged(_))) = answer {
                // Older ones may not come back.
                self.nodes
                    .insert(facts.identifier.clone(), vec![facts.clone()]);
            }
        }
        true
    }

    fn seal(&mut self, journal: &mut Journal, salt: u64) -> bool {
        let generation = generation(&journal.state, salt);
        let ticket = match journal.shelf().put(&generation) {
            Ok(ticket) => ticket,
            Err(Trouble::Refused { .. }) => return true,
            Err(Trouble::Fatal { .. }) => return false,
        };
        let Some(answers) = self.commit(journal, vec![Change::Seal(generation.clone())]) else {
            return false;
        };
        if let [Ok(Done::Seal(Seal::Won))] = &answers[..] {
            let before = self.sealed.insert(generation.number.0, generation.digest);
            assert_eq!(before, None, "a number was given twice");
        }
        drop(ticket);
        journal.keep_house(true).is_ok()
    }

    fn note(&mut self, journal: &mut Journal, name: &str) -> bool {
        let delivered = Record::Delivered {
            identifier: name.parse().unwrap(),
            generation: GenerationNumber(1),
        };
        self.commit(journal, vec![Change::Records(vec![delivered])])
            .is_some()
    }

    fn commit(&mut self, journal: &mut Journal, changes: Vec<Change>) -> Option<Vec<Answer>> {
        let answers = journal.commit(changes).ok()?;
        assert!(journal.state.revision >= self.revision);
        self.revision = journal.state.revision;
        self.state = Some(journal.state.clone());
        Some(answers)
    }

    /// What must hold of a state that is found again.
    /// Everybody sees what a server that was started has.
    fn look(&mut self, journal: &Journal) {
        self.check(&journal.state);
        self.revision = journal.state.revision;
        self.state = Some(journal.state.clone());
    }

    fn check(&mut self, found: &State) {
        assert!(found.revision >= self.revision, "a revision is lost");
        for (identifier, allowed) in &mut self.nodes {
            let kept = found.registrations.get(identifier);
            let kept = kept.map(|kept| NodeRegistration::clone(&kept.registration));
            match kept {
                Some(kept) => {
                    assert!(allowed.contains(&kept), "{identifier} has facts of before");
                    *allowed = vec![kept];
                }
                // Only what was never acknowledged may be missing: those have no revision yet.
                None => assert!(
                    !self
                        .state
                        .as_ref()
                        .is_some_and(|s| s.registrations.contains_key(identifier)),
                    "{identifier} is lost"
                ),
            }
        }
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
            super::artifacts::check(INSTANCE, generation).unwrap();
            assert!(!generation.once.is_empty() && !generation.seats.is_empty());
        }
    }
}

/// One thing that a server does; whether it can go on.
type Step<'a> = &'a dyn Fn(&mut Promised, &mut Journal) -> bool;

/// A server's life: it opens the directory, registers, seals, notes, cuts its log. Ends early when it must.
fn live(disk: &Simulated, promised: &mut Promised, turn: u64) -> Result<(), JournalError> {
    let mut journal = Journal::open(Arc::new(disk.clone()), &settings())?;
    promised.look(&journal);
    let story: [Step<'_>; 9] = [
        &|promised, journal| promised.register(journal, &["a"], turn),
        &|promised, journal| promised.register(journal, &["b", "c", "a"], turn),
        &|promised, journal| promised.seal(journal, turn),
        &|promised, journal| promised.note(journal, "a"),
        &|_, journal| !matches!(journal.snapshot(), Err(Trouble::Fatal { .. })),
        &|promised, journal| promised.register(journal, &["d"], turn),
        &|promised, journal| promised.seal(journal, turn + 1000),
        &|promised, journal| promised.seal(journal, turn),
        &|promised, journal| promised.register(journal, &["a", "e"], turn + 1),
    ];
    for step in story {
        if !step(promised, &mut journal) {
            break;
        }
    }
    Ok(())
}

/// Lives with `fault`, then crashes in several ways, and lives again and again on what is left.
fn survive(fault: Option<(u64, Fault)>) -> u64 {
    let mut operations = 0;
    let crashes = std::env::var("TEST_CRASHES").map(|count| count.parse().unwrap());
    for seed in 0..crashes.unwrap_or(CRASHES_EACH) {
        let mut dice = Dice(seed ^ fault.map_or(0, |(at, _)| at << 8));
        let mut promised = Promised::default();
        let mut disk = Simulated::default().with_fault(fault);
        for turn in 0..3 {
            let lived = live(&disk, &mut promised, turn * 10);
            if turn == 0 {
                operations = disk.operations();
            }
            match lived {
                Ok(()) => {}
                Err(JournalError::Io { .. }) => assert!(turn == 0, "a healthy disk: {lived:?}"),
                Err(error) => panic!("{fault:?}, seed {seed}, turn {turn}: {error}"),
            }
            if turn == 0 && seed % 2 == 0 {
                // Where a server was only killed, the next one reads more than lasts, and shows it to everybody.
                disk = disk.after_kill();
                promised.look(&Journal::open(Arc::new(disk.clone()), &settings()).unwrap());
            }
            disk = disk.after_crash(&mut dice);
        }
    }
    operations
}

#[test]
fn a_crash_or_an_error_at_any_operation_loses_nothing() {
    let operations = survive(None);
    assert!(operations > 40, "{operations}");
    for at in 0..operations {
        for fault in [Fault::Before, Fault::Amid, Fault::Once, Fault::For(6)] {
            survive(Some((at, fault)));
        }
    }
}

#[test]
fn the_state_that_is_read_is_the_state_that_was() {
    let disk = Simulated::default();
    let mut promised = Promised::default();
    for turn in 0..4 {
        live(&disk, &mut promised, turn * 10).unwrap();
        let again = Journal::open(Arc::new(disk.clone()), &settings()).unwrap();
        assert_same(promised.state.as_ref().unwrap(), &again.state);
        assert_eq!(disk.list("generations").unwrap().len(), HISTORY);
    }
}

#[test]
fn a_log_that_has_grown_is_cut_after_a_snapshot() {
    let disk = Simulated::default();
    let mut journal = Journal::open(Arc::new(disk.clone()), &settings()).unwrap();
    let mut before = 0;
    for turn in 0..80 {
        let facts = node(&format!("n{turn}"), turn);
        let facts = facts.with_metadata_value("x".repeat(64 << 10).into());
        journal
            .commit(vec![Change::Input(Input::register(facts))])
            .unwrap();
        journal.keep_house(false).unwrap();
        let length = recover(&disk).unwrap().unwrap().log.end;
        if length < before {
            break;
        }
        before = length;
    }
    assert!(before > 3 << 20, "{before}");
    let found = recover(&disk).unwrap().unwrap();
    // The one without changes.
    assert_eq!(found.log.batches, 1);
    assert_eq!(found.snapshot.unwrap().0, journal.state.revision);
    assert_same(&found.state, &journal.state);
    // Without its snapshot such a directory was taken for one in which nothing had happened yet.
    disk.remove("snapshot").unwrap();
    let missing = recover(&disk).err();
    assert!(
        matches!(missing, Some(JournalError::Damaged { .. })),
        "{missing:?}"
    );
}

#[test]
fn a_full_disk_refuses_changes_and_recovers() {
    let disk = Simulated::default();
    let mut journal = Journal::open(Arc::new(disk.clone()), &settings()).unwrap();
    let register = |journal: &mut Journal, name: &str, turn| {
        let changes = vec![Change::Input(Input::register(node(name, turn)))];
        journal.commit(changes).unwrap().pop().unwrap()
    };
    register(&mut journal, "a", 0).unwrap();
    let at = disk.operations();
    disk.medium().fault = Some((at, Fault::For(100)));
    for turn in 1..4 {
        let refused = register(&mut journal, "b", turn).unwrap_err();
        assert!(refused.to_string().contains("storage"), "{refused}");
        assert!(!refused.to_string().contains("simulated"), "{refused}");
    }
    disk.medium().fault = None;
    // With space taken, it is the write that fails, in the midst or at the end of it.
    for turn in 4..8 {
        register(&mut journal, "a", turn).unwrap();
        let at = disk.operations();
        disk.medium().fault = Some((at, Fault::Once));
        register(&mut journal, "b", turn).unwrap_err();
        let again = Journal::open(Arc::new(disk.clone()), &settings()).unwrap();
        assert_same(&journal.state, &again.state);
    }
    let before = journal.state.clone();
    let at = disk.operations();
    disk.medium().fault = Some((at, Fault::For(100)));
    // What is so already is said still.
    assert!(matches!(
        register(&mut journal, "a", 7),
        Ok(Done::Input(Outcome::Unchanged(_)))
    ));
    assert_same(&before, &journal.state);
    disk.medium().fault = None;
    register(&mut journal, "b", 9).unwrap();
    let again = Journal::open(Arc::new(disk.clone()), &settings()).unwrap();
    assert_same(&journal.state, &again.state);
}

#[test]
fn files_of_a_seal_on_its_way_stay() {
    let disk = Simulated::default();
    let journal = Journal::open(Arc::new(disk.clone()), &settings()).unwrap();
    let generation = generation(&journal.state, 0);
    let ticket = journal.shelf().put(&generation).unwrap();
    journal.shelf().tidy(&journal.state);
    assert_eq!(disk.list("generations").unwrap().len(), 1);
    drop(ticket);
    journal.shelf().tidy(&journal.state);
    assert_eq!(disk.list("generations").unwrap(), [""; 0]);
}

#[test]
fn a_sync_that_fails_is_not_tried_again() {
    let disk = Simulated::default();
    let mut journal = Journal::open(Arc::new(disk.clone()), &settings()).unwrap();
    let register = || vec![Change::Input(Input::register(node("a", 0)))];
    // Space is taken, the frame is written, and then it is synced.
    let at = disk.operations() + 2;
    disk.medium().fault = Some((at, Fault::Once));
    assert!(matches!(
        journal.commit(register()),
        Err(Trouble::Fatal { .. })
    ));
}

#[test]
fn damage_is_refused_with_its_place_and_a_torn_tail_is_cut() {
    let disk = Simulated::default();
    let mut journal = Journal::open(Arc::new(disk.clone()), &settings()).unwrap();
    let mut ends = vec![];
    for (name, turn) in [("a", 0), ("b", 0), ("c", 0)] {
        let changes = vec![Change::Input(Input::register(node(name, turn)))];
        journal.commit(changes).unwrap().pop().unwrap().unwrap();
        let log = disk.read("log").unwrap().unwrap();
        ends.push(log.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    }
    drop(journal);
    let mut whole = disk.read("log").unwrap().unwrap();
    // Of the space that is reserved a little will do.
    whole.truncate(ends[2] + SECTOR_BYTES);
    let open = |log: &[u8]| {
        let disk = disk.after_crash(&mut Dice(0));
        let inode = disk.medium().names["log"];
        disk.medium().inodes.get_mut(&inode).unwrap().now = Contents {
            bytes: log.to_vec(),
            length: log.len(),
        };
        Journal::open(Arc::new(disk), &settings())
    };
    // Any byte of the last frame: what was not finished is cut.
    for at in ends[1]..ends[2] {
        let mut log = whole.clone();
        log[at] ^= 0x40;
        assert_eq!(open(&log).unwrap().state.registrations.len(), 2, "{at}");
    }
    for cut in ends[1]..ends[2] {
        let mut log = whole.clone();
        log[cut..].fill(0);
        assert_eq!(open(&log).unwrap().state.registrations.len(), 2, "{cut}");
        log.truncate(cut);
        assert_eq!(open(&log).unwrap().state.registrations.len(), 2, "{cut}");
    }
    // Any byte before it: no crash does that.
    for at in 0..ends[1] {
        let mut log = whole.clone();
        log[at] ^= 0x40;
        let refused = open(&log).err();
        let place = match refused {
            Some(JournalError::Damaged { offset, .. }) => offset,
            Some(JournalError::Version { .. }) => 0,
            other => panic!("{at}: {other:?}"),
        };
        assert!(usize::try_from(place).unwrap() <= at, "{place} for {at}");
    }
}
