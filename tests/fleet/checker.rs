//! Checks what clients observed against the events, which have one order for all servers.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use data_encoding::BASE64;
use serde_json::Value;

use crate::{
    history::{Effect, Fetched, Lease, Observation},
    servers::RUN_LEASE,
    watch_client::Event,
};

/// The state of the cluster after the faults, which all servers show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FinalState {
    pub(crate) events: Vec<Event>,
    pub(crate) generations: Value,
    pub(crate) nodes: Value,
}

/// An event that has been read.
struct Change {
    revision: u64,
    name: String,
    data: Value,
}

/// The rendered file.
#[derive(Default)]
struct Inputs {
    nodes: BTreeMap<String, String>,
    values: BTreeMap<String, String>,
}

/// A checker of one run.
pub(crate) struct Checker<'a> {
    state: &'a FinalState,
    changes: Vec<Change>,
    /// The revision of the inputs of each generation, by its number.
    generations: BTreeMap<u64, u64>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(state: &'a FinalState) -> Self {
        let changes = state.events.iter().map(|event| Change {
            revision: crate::http::revision_of(&event.id),
            name: event.name.clone(),
            data: event.json(),
        });
        let generations = state.generations.as_array().unwrap().iter();
        let generations = generations.map(|g| (number(&g["number"]), number(&g["revision"])));
        Self {
            state,
            changes: changes.collect(),
            generations: generations.collect(),
        }
    }

    /// Checks everything. `disturbed` are the times at which leases may have been told late.
    pub(crate) fn check(
        &self,
        observations: &[Observation],
        watched: &[Vec<Event>],
        disturbed: &[(Instant, Instant)],
    ) {
        self.check_generations();
        self.check_values();
        self.check_runs();
        for events in watched {
            let expected = &self.state.events[..events.len()];
            for (event, expected) in events.iter().zip(expected) {
                assert_eq!(
                    event, expected,
                    "a watcher missed an event, or got it twice"
                );
            }
        }
        for observation in observations {
            self.check_observation(observation);
        }
        self.check_fetches(observations);
        check_overlaps(observations, disturbed);
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Change> {
        self.changes
            .iter()
            .filter(move |change| change.name == name)
    }

    /// Generations have consecutive numbers, and the digests of their seals.
    fn check_generations(&self) {
        let sealed = self.named("generation_sealed");
        let sealed =
            sealed.map(|change| (number(&change.data["generation"]), &change.data["digest"]));
        let sealed: Vec<_> = sealed.collect();
        let known = self.state.generations.as_array().unwrap().iter().rev();
        let known: Vec<_> = known
            .map(|g| (number(&g["number"]), &g["digest"]))
            .collect();
        assert_eq!(sealed, known);
        assert!(sealed.iter().map(|(n, _)| *n).eq(1..=sealed.len() as u64));
    }

    /// The versions of each value are consecutive.
    fn check_values(&self) {
        let mut versions = BTreeMap::<&str, u64>::new();
        for change in self.named("set") {
            let version = versions.entry(text(&change.data["key"])).or_default();
            *version += 1;
            assert_eq!(number(&change.data["version"]), *version, "{}", change.data);
        }
    }

    /// Fences rise, and a run has one success, which is that of the newest runner.
    fn check_runs(&self) {
        let mut fences = HashMap::<&str, u64>::new();
        let mut done = HashMap::<&str, u64>::new();
        for change in &self.changes {
            let run = || text(&change.data["name"]);
            let fence = || number(&change.data["fence"]);
            match &*change.name {
                "run_claimed" => {
                    let before = fences.insert(run(), fence());
                    assert!(
                        before.is_none_or(|before| before < fence()),
                        "{}",
                        change.data
                    );
                    assert_eq!(done.get(run()), None, "claimed after its success");
                }
                "run_done" => {
                    assert_eq!(done.insert(run(), fence()), None, "{}", change.data);
                    assert_eq!(fences.get(run()), Some(&fence()));
                }
                _ => {}
            }
        }
    }

    fn check_observation(&self, observation: &Observation) {
        match observation {
            Observation::Registered { node, ip, result } => {
                let found = self.named("node_registered").filter(|change| {
                    change.data["identifier"] == **node && change.data["ip"] == **ip
                });
                check_effect(observation, *result, found);
            }
            Observation::Wrote {
                key,
                value,
                version,
                result,
            } => {
                let content = BASE64.encode(value.as_bytes());
                let found = self
                    .named("set")
                    .filter(|change| change.data["value"] == content);
                let found: Vec<_> = found.collect();
                for change in &found {
                    assert_eq!(change.data["key"], **key);
                    assert_eq!(number(&change.data["version"]), version + 1);
                }
                check_effect(observation, *result, found.into_iter());
            }
            Observation::Removed { node, seen, until } => {
                assert!(
                    self.removal(node, *seen, *until).is_some(),
                    "{observation:?}"
                );
            }
            Observation::Reported { node, generation } => {
                let mut reports = self.named("phase_reported");
                let is_there = reports.any(|change| {
                    change.data["identifier"] == **node
                        && change.data["generation"] == *generation
                        && change.data["phase"] == "healthy"
                });
                assert!(is_there, "{observation:?}");
            }
            Observation::Ended { run, fence, result } => {
                let found = self.named("run_done").filter(|change| {
                    change.data["name"] == **run && change.data["fence"] == *fence
                });
                check_effect(observation, *result, found);
            }
            Observation::Fetched(_) | Observation::Claimed { .. } => {}
        }
    }

    /// Returns the revision of the first removal of the node after `seen`, until `until`.
    fn removal(&self, node: &str, seen: u64, until: u64) -> Option<u64> {
        let removals = self.named("node_removed").filter(|change| {
            change.data["identifier"] == *node && (seen + 1..=until).contains(&change.revision)
        });
        removals.map(|change| change.revision).next()
    }

    /// Files are those of one snapshot, which has the node's own registration, and never go back.
    fn check_fetches(&self, observations: &[Observation]) {
        let mut newest = HashMap::<&str, u64>::new();
        let mut digests = HashMap::<(&str, u64), &str>::new();
        let mut cookie = None;
        for observation in observations {
            let Observation::Fetched(fetched) = observation else {
                continue;
            };
            let newest = newest.entry(&fetched.node).or_default();
            assert!(
                fetched.generation >= *newest,
                "older than {newest}: {fetched:?}"
            );
            *newest = fetched.generation;
            let digest = digests
                .entry((&fetched.node, fetched.generation))
                .or_insert(&fetched.digest);
            assert_eq!(*digest, fetched.digest, "{fetched:?}");
            self.check_files(fetched);
            let drawn = fetched.shared.split_whitespace().last();
            assert_eq!(*cookie.get_or_insert(drawn), drawn);
        }
    }

    fn check_files(&self, fetched: &Fetched) {
        let revision = self.generations[&fetched.generation];
        let inputs = self.inputs_at(revision);
        let shared: Vec<&str> = fetched.shared.split_whitespace().collect();
        let own: Vec<&str> = fetched.own.split_whitespace().collect();
        assert_eq!(own[2..], shared, "files of two generations: {fetched:?}");
        let ip = inputs.nodes.get(&fetched.node).map(String::as_str);
        assert_eq!((own[0], Some(own[1])), (&*fetched.node, ip), "{fetched:?}");
        assert_eq!(shared[..shared.len() - 2], inputs.words(), "{fetched:?}");
        if let Some(ip) = &fetched.registered {
            let mut all = self.named("node_registered");
            let registered =
                all.find(|c| c.data["identifier"] == fetched.node && c.data["ip"] == **ip);
            let registered = registered.unwrap().revision;
            assert!(
                revision >= registered,
                "older than the registration: {fetched:?}"
            );
        }
        if let Some((seen, until)) = fetched.removal {
            let removed = self.removal(&fetched.node, seen, until).unwrap();
            assert!(revision >= removed, "older than the removal: {fetched:?}");
        }
    }

    fn inputs_at(&self, revision: u64) -> Inputs {
        let mut inputs = Inputs::default();
        for change in self
            .changes
            .iter()
            .take_while(|change| change.revision <= revision)
        {
            let data = &change.data;
            let owned = |name: &str| text(&data[name]).to_owned();
            match &*change.name {
                "node_registered" => {
                    inputs.nodes.insert(owned("identifier"), owned("ip"));
                }
                "node_removed" => {
                    inputs.nodes.remove(text(&data["identifier"]));
                }
                "set" => {
                    let value = BASE64.decode(text(&data["value"]).as_bytes()).unwrap();
                    inputs
                        .values
                        .insert(owned("key"), String::from_utf8(value).unwrap());
                }
                _ => {}
            }
        }
        inputs
    }
}

impl Inputs {
    /// Returns the words of the fragment of the spec that names all inputs.
    fn words(&self) -> Vec<&str> {
        let nodes = self.nodes.iter().flat_map(|(name, ip)| [&**name, ip]);
        let values = ["k0", "k1"].into_iter().flat_map(|key| {
            let value = self.values.get(key).map_or("-", String::as_str);
            [key, value]
        });
        nodes.chain(values).collect()
    }
}

/// An acknowledged change took effect once, and a refused one never.
fn check_effect<'a>(
    observation: &Observation,
    result: Effect,
    found: impl Iterator<Item = &'a Change>,
) {
    let found: Vec<u64> = found.map(|change| change.revision).collect();
    match result {
        Effect::Done { by } => {
            assert_eq!(found.len(), 1, "{observation:?}: {found:?}");
            assert!(found[0] <= by, "{observation:?} took effect at {found:?}");
        }
        Effect::Refused => assert!(found.is_empty(), "{observation:?} took effect: {found:?}"),
        Effect::Unknown => assert!(found.len() <= 1, "{observation:?}: {found:?}"),
    }
}

/// Runs overlap only when a runner was silent for its lease, or when servers could not tell each other of its lease.
fn check_overlaps(observations: &[Observation], disturbed: &[(Instant, Instant)]) {
    let claims = observations
        .iter()
        .filter_map(|observation| match observation {
            Observation::Claimed { run, fence, lease } => Some((run, *fence, *lease)),
            _ => None,
        });
    let claims: Vec<(&String, u64, Lease)> = claims.collect();
    for (run, fence, lease) in &claims {
        let later = claims.iter().filter(|(r, f, _)| r == run && f > fence);
        for (_, next, other) in later {
            let overlaps = other.claimed < lease.ended;
            let is_silent = other.claimed >= lease.renewed + RUN_LEASE;
            let is_disturbed = disturbed
                .iter()
                .any(|(begin, end)| *begin <= other.claimed && *end + RUN_LEASE >= lease.claimed);
            assert!(
                !overlaps || is_silent || is_disturbed,
                "{run}: {next} began while {fence} ran"
            );
        }
    }
}

fn number(value: &Value) -> u64 {
    let number = value.as_u64();
    number.unwrap_or_else(|| panic!("{value} is not a number"))
}

fn text(value: &Value) -> &str {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("{value} is not a text"))
}
