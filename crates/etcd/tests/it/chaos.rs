//! Random operations through three servers while members of etcd are killed and paused and links are cut, and a checker
//! of what the servers answered.
//!
//! `CFGSYNC_CHAOS_SEEDS=1..200` runs these seeds. The seed decides the schedule of a run.

#![allow(clippy::print_stdout, reason = "a run says its seed")]

use std::{
    collections::{BTreeMap, HashMap},
    env,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    etcd::{Etcd, config},
    proxy::{Link, Proxy},
    random::Random,
};
use cfgsync_etcd::{EtcdConfig, EtcdStore, Housekeeping};
use cfgsync_model::{
    ClaimId, Fence, GenerationNumber, Namespace, NodeRegistration, Revision, ValueVersion,
    WriteMode,
};
use cfgsync_store::{
    Change, CommitError, DirectoryConfig, Event, EventBounds, EventKind, MemoryStore, NewClaim,
    Relocation, RunChange, SealOutcome, SetValue, State, Store, ValueBounds, ValueChange,
    conformance, shared_log,
};
use cfgsync_support::clock::Timestamp;

/// The seeds that every test run covers.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;

/// The number of servers.
const SERVERS: usize = 3;

/// The number of clients of each server.
const CLIENTS: u64 = 4;

/// The duration of the operations.
const RUN: Duration = Duration::from_secs(6);

/// The time until all servers show the same state after the faults.
const HEAL_MAX: Duration = Duration::from_secs(30);

/// The answer to one operation, with the times of its request and its answer.
#[derive(Debug)]
struct Answered {
    operation: Operation,
    began: Instant,
    ended: Instant,
    answer: Answer,
}

#[derive(Debug, Clone)]
enum Operation {
    /// Registers a node with a mark that no other operation has.
    Register { name: String, mark: u64 },
    /// Writes a value with a mark, if it has the version that was read before.
    Write { key: u64, mark: u64 },
    /// Removes a node.
    Remove { name: String },
    /// Claims a run, with a claim that no other operation has.
    Claim { mark: u64 },
    /// Ends the run.
    Done { fence: u64 },
    /// Seals a generation with a mark.
    Seal { number: u64, mark: u64 },
}

#[derive(Debug)]
enum Answer {
    /// It took effect at this revision.
    Done(Revision),
    /// It was in effect already, or another one won.
    Unchanged,
    /// It was refused, and changed nothing.
    Refused,
    /// Nobody knows whether it took effect.
    Unknown,
}

/// Runs one operation.
async fn run_one(store: &dyn Store, operation: &Operation) -> Answer {
    let changes = match operation {
        Operation::Register { name, mark } => vec![Change::register(node(name, *mark))],
        Operation::Remove { name } => vec![Change::Remove {
            identifier: name.parse().unwrap(),
            only_if: None,
            joiner: None,
        }],
        Operation::Write { key, mark } => vec![write(&store.state(), *key, *mark)],
        Operation::Claim { mark } => vec![Change::Run(RunChange::Claim(NewClaim {
            name: "init".parse().unwrap(),
            generation: GenerationNumber(0),
            runner: "runner".parse().unwrap(),
            claim: ClaimId(u128::from(*mark).to_le_bytes()),
            tries_max: 100_000,
            replaces: newest_fence(&store.state()),
            at: Timestamp::UNIX_EPOCH,
            runs_max: 8,
        }))],
        Operation::Done { fence } => vec![Change::Run(RunChange::Done {
            name: "init".parse().unwrap(),
            runner: "runner".parse().unwrap(),
            fence: Fence(*fence),
            output: "ok".into(),
            at: Timestamp::UNIX_EPOCH,
        })],
        Operation::Seal { number, mark } => {
            let generation = conformance::generation(*number, &mark.to_string());
            return match store.seal(generation).await {
                Ok(SealOutcome::Won) => Answer::Done(Revision(0)),
                Ok(SealOutcome::Lost(_) | SealOutcome::Outdated) => Answer::Unchanged,
                Err(CommitError::Unknown(_)) => Answer::Unknown,
                Err(CommitError::Rejected(_) | CommitError::Unavailable(_)) => Answer::Refused,
            };
        }
    };
    match store.apply(changes).await {
        Ok(commit) if commit.is_changed() => Answer::Done(commit.revision),
        Ok(_) => Answer::Unchanged,
        Err(CommitError::Unknown(_)) => Answer::Unknown,
        Err(CommitError::Rejected(_) | CommitError::Unavailable(_)) => Answer::Refused,
    }
}

fn node(name: &str, mark: u64) -> NodeRegistration {
    let facts = serde_json::json!({ "mark": mark });
    NodeRegistration::new(name, [10, 0, 0, 1])
        .unwrap()
        .with_metadata_value(facts)
}

fn write(state: &State, key: u64, mark: u64) -> Change {
    let namespace: Namespace = "prod".parse().unwrap();
    let name = format!("k{key}").parse().unwrap();
    let known = state.values.get(namespace.as_str(), &name);
    let if_version = known.map(|(_, known)| known.version);
    Change::Value(ValueChange::Set(SetValue {
        namespace,
        key: name,
        content: ValueVersion {
            bytes: mark.to_string().into(),
            codec: "text".parse().unwrap(),
            value_type: cfgsync_model::ValueType::String,
            version: 0,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
        },
        mode: WriteMode::Upsert,
        if_version,
        within: ValueBounds::NONE,
    }))
}

fn newest_fence(state: &State) -> Option<Fence> {
    state.runs.get("init").map(|run| run.fence)
}

/// The operations of one client.
async fn client(
    store: Arc<dyn Store>,
    mut random: Random,
    id: u64,
    until: Instant,
    answers: Arc<Mutex<Vec<Answered>>>,
) {
    let mut count = 0;
    while Instant::now() < until {
        count += 1;
        let mark = id * 1_000_000 + count;
        let name = format!("n{}", random.below(12));
        let number = store.state().generation().map_or(0, |g| g.number.0) + 1;
        let operation = match random.below(20) {
            0..8 => Operation::Register { name, mark },
            8..10 => Operation::Remove { name },
            10..16 => Operation::Write {
                key: random.below(3),
                mark,
            },
            16 => Operation::Claim { mark },
            17 => Operation::Done {
                fence: newest_fence(&store.state()).map_or(1, |fence| fence.0),
            },
            _ => Operation::Seal { number, mark },
        };
        let began = Instant::now();
        let answer = run_one(&*store, &operation).await;
        let ended = Instant::now();
        answers.lock().unwrap().push(Answered {
            operation,
            began,
            ended,
            answer,
        });
        sleep(Duration::from_millis(random.below(20))).await;
    }
}

/// Makes faults, one after the other, and ends them.
async fn make_faults(etcd: &mut Etcd, proxies: &[Vec<Proxy>], random: &mut Random, until: Instant) {
    let members = etcd.addresses().len();
    while Instant::now() < until {
        sleep(Duration::from_millis(200 + random.below(600))).await;
        let member = usize::try_from(random.below(members as u64)).unwrap();
        let server = usize::try_from(random.below(SERVERS as u64)).unwrap();
        let length = Duration::from_millis(100 + random.below(1500));
        match random.below(6) {
            0 | 1 => {
                let leader = tokio::task::block_in_place(|| etcd.leader());
                let member = if random.below(2) == 0 {
                    leader.unwrap_or(member)
                } else {
                    member
                };
                etcd.kill_member(member);
                sleep(length).await;
                etcd.start_member(member);
            }
            2 => {
                etcd.signal_member(member, "-STOP");
                sleep(length).await;
                etcd.signal_member(member, "-CONT");
            }
            3 => set_all(&proxies[server], Link::Cut, length).await,
            4 => set_all(&proxies[server], Link::Silent, length).await,
            _ => tokio::task::block_in_place(|| etcd.compact()),
        }
    }
}

async fn set_all(proxies: &[Proxy], link: Link, length: Duration) {
    for proxy in proxies {
        proxy.set(link);
    }
    sleep(length).await;
    for proxy in proxies {
        proxy.set(Link::Up);
    }
}

/// Runs clients on `stores` until `until`, and returns the answers.
async fn run_clients(stores: &[Arc<dyn Store>], seed: u64, until: Instant) -> Vec<Answered> {
    let answers = Arc::<Mutex<Vec<Answered>>>::default();
    let mut clients = JoinSet::new();
    for (at, store) in (0_u64..).zip(stores) {
        for number in 0..CLIENTS {
            let id = at * CLIENTS + number + 1;
            let random = Random(seed.wrapping_mul(1000) + id);
            clients.spawn(client(store.clone(), random, id, until, answers.clone()));
        }
    }
    clients.join_all().await;
    Arc::into_inner(answers).unwrap().into_inner().unwrap()
}

/// Waits until all stores show one revision, which all later answers are behind.
async fn settle(stores: &[Arc<dyn Store>]) {
    let begun = Instant::now();
    let mut newest = Revision(0);
    for (at, store) in stores.iter().enumerate() {
        let change = || vec![Change::register(node(&format!("last{at}"), 0))];
        let commit = loop {
            match store.apply(change()).await {
                Ok(commit) => break commit,
                Err(error) => {
                    let freshness = store.freshness();
                    assert!(
                        begun.elapsed() < HEAL_MAX,
                        "server {at}: {error}; {freshness:?}"
                    );
                }
            }
            sleep(Duration::from_millis(100)).await;
        };
        newest = newest.max(commit.revision);
    }
    for store in stores {
        while store.state().revision < newest {
            assert!(begun.elapsed() < HEAL_MAX, "a server does not catch up");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Checks what the servers answered and what they show now.
fn check(stores: &[Arc<dyn Store>], answers: &[Answered]) {
    let instance = stores[0].instance();
    let first = stores[0].state().into_arc();
    for store in &stores[1..] {
        let state = store.state().into_arc();
        let same = shared_log::encode_state(instance, &first, 3)
            == shared_log::encode_state(instance, &state, 3);
        assert!(same, "two servers show different states");
        assert_eq!(
            events(&first),
            events(&state),
            "two servers show different events"
        );
    }
    let events = events(&first);
    check_answers(answers, &marks(&events), &first);
    check_order(answers);
    let done = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::RunDone { .. }));
    assert!(done.count() <= 1, "a run has two successes");
    let fences: Vec<u64> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::RunClaimed { fence, .. } => Some(fence.0),
            _ => None,
        })
        .collect();
    assert!(
        fences.is_sorted_by(|a, b| a < b),
        "fences do not rise: {fences:?}"
    );
}

fn events(state: &State) -> Vec<Event> {
    let events = state
        .events_after(Revision(0))
        .expect("the history is complete");
    events.flat_map(|commit| commit.to_vec()).collect()
}

/// Returns the revision at which each mark took effect.
fn marks(events: &[Event]) -> HashMap<u64, Vec<Revision>> {
    let mut marks = HashMap::<u64, Vec<Revision>>::new();
    for event in events {
        let mark = match &event.kind {
            EventKind::NodeRegistered { registration } => {
                serde_json::to_value(&registration.metadata).unwrap()["mark"].as_u64()
            }
            EventKind::ValueSet { content, .. } => {
                std::str::from_utf8(&content.bytes).unwrap().parse().ok()
            }
            _ => None,
        };
        if let Some(mark) = mark.filter(|mark| *mark > 0) {
            marks.entry(mark).or_default().push(event.revision);
        }
    }
    marks
}

fn check_answers(answers: &[Answered], marks: &HashMap<u64, Vec<Revision>>, state: &State) {
    let mut won = BTreeMap::new();
    for answered in answers {
        let mark = match &answered.operation {
            Operation::Register { mark, .. } | Operation::Write { mark, .. } => *mark,
            Operation::Seal { number, mark } => {
                if matches!(answered.answer, Answer::Done(_)) {
                    let other = won.insert(*number, *mark);
                    assert_eq!(other, None, "generation {number} was sealed twice");
                }
                continue;
            }
            Operation::Remove { .. } | Operation::Claim { .. } | Operation::Done { .. } => continue,
        };
        let found = marks.get(&mark).map(Vec::as_slice).unwrap_or_default();
        assert!(
            found.len() <= 1,
            "{answered:?} took effect twice: {found:?}"
        );
        match answered.answer {
            Answer::Done(revision) => assert_eq!(found, [revision], "{answered:?}"),
            Answer::Refused => assert!(found.is_empty(), "{answered:?}, but {found:?}"),
            Answer::Unchanged | Answer::Unknown => {}
        }
    }
    for generation in state.generations.iter() {
        if let Some(mark) = won.get(&generation.number.0) {
            let expected = conformance::generation(generation.number.0, &mark.to_string());
            assert_eq!(generation.digest, expected.digest);
        }
    }
}

/// Checks that an operation that began after the answer to another one has a higher revision.
fn check_order(answers: &[Answered]) {
    let done = answers.iter().filter_map(|answered| match answered.answer {
        Answer::Done(revision) if revision > Revision(0) => Some((answered, revision)),
        _ => None,
    });
    let mut by_end: Vec<_> = done.collect();
    let mut by_begin = by_end.clone();
    by_end.sort_by_key(|(answered, _)| answered.ended);
    by_begin.sort_by_key(|(answered, _)| answered.began);
    let (mut highest, mut ended) = (Revision(0), by_end.into_iter().peekable());
    for (answered, revision) in by_begin {
        while let Some((_, before)) = ended.next_if(|(other, _)| other.ended < answered.began) {
            highest = highest.max(before);
        }
        assert!(
            revision > highest,
            "{answered:?} began after the answer at revision {highest}"
        );
    }
}

async fn run_on_etcd(seed: u64) {
    let mut etcd = Etcd::start_members(
        3,
        &["--heartbeat-interval", "50", "--election-timeout", "500"],
    )
    .await;
    let mut proxies = Vec::new();
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for server in 0..SERVERS {
        let mut links = Vec::new();
        for address in etcd.addresses() {
            links.push(Proxy::start(address).await);
        }
        let mut addresses: Vec<SocketAddr> = links.iter().map(|proxy| proxy.address).collect();
        addresses.rotate_left(server);
        let config = EtcdConfig {
            write_timeout: Duration::from_secs(2),
            housekeeping: Housekeeping {
                interval: Duration::from_millis(300),
                snapshot_after_bytes: 0,
                snapshot_after_entries: 20,
                unreferenced_max: Duration::from_secs(2),
            },
            ..config("chaos", &addresses)
        };
        let store = EtcdStore::open(config).await.expect("etcd is ready");
        stores.push(Arc::new(store));
        proxies.push(links);
    }
    let until = Instant::now() + RUN;
    let mut random = Random(seed);
    let faults = make_faults(&mut etcd, &proxies, &mut random, until);
    let (answers, ()) = tokio::join!(run_clients(&stores, seed, until), faults);
    settle(&stores).await;
    let done = answers
        .iter()
        .filter(|a| matches!(a.answer, Answer::Done(_)))
        .count();
    let unknown = answers
        .iter()
        .filter(|a| matches!(a.answer, Answer::Unknown))
        .count();
    println!(
        "seed {seed}: {} operations, {done} done, {unknown} unknown",
        answers.len()
    );
    assert!(done > 50, "only {done} operations took effect");
    check(&stores, &answers);
}

fn seeds() -> impl Iterator<Item = u64> {
    let seeds = env::var("CFGSYNC_CHAOS_SEEDS").ok();
    let seeds = seeds.map(|seeds| {
        let (first, last) = seeds.split_once("..").expect("FIRST..LAST");
        first.parse().unwrap()..=last.parse().unwrap()
    });
    seeds.unwrap_or(SEEDS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_hold_while_members_and_links_fail() {
    for seed in seeds() {
        println!("seed {seed}");
        run_on_etcd(seed).await;
    }
}

/// Checks the answers of a store for one server, which cannot fail.
async fn check_without_faults(store: Arc<dyn Store>) {
    let stores = vec![store; SERVERS];
    let until = Instant::now() + Duration::from_secs(1);
    let answers = run_clients(&stores, 1, until).await;
    settle(&stores).await;
    check(&stores, &answers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_a_memory_store_hold() {
    let store = MemoryStore::open(3).expect("there are random numbers");
    check_without_faults(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_a_store_in_a_directory_hold() {
    let directory = tempfile::tempdir().unwrap();
    let config = DirectoryConfig {
        directory: directory.path().join("state"),
        cluster: "chaos".to_owned(),
        history: 3,
        relocation: Relocation::Unstated,
        event_bounds: EventBounds::default(),
    };
    check_without_faults(config.open().unwrap()).await;
}
