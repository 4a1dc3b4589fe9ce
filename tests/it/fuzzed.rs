//! What `make fuzz` fuzzes, for every run of the tests: each target on its whole corpus, and on what comes of that
//! when it is cut, spliced and scribbled in.

#[path = "../../fuzz/src/targets.rs"]
#[expect(unreachable_pub, reason = "public to the fuzzers")]
mod targets;

use std::{fs, path::Path};

use cfgsync_store::DirectoryContents;
use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestRunner};

/// How many inputs are made for each target; more with `CFGSYNC_FUZZ_CASES`.
const CASES: u32 = 1_000;

/// One thing that is done to an input.
#[derive(Debug, Clone)]
enum Change {
    /// The bytes from here to there are left out.
    Cut(Index, Index),
    /// These are put in.
    Insert(Index, Vec<u8>),
    /// A byte is another.
    Scribble(Index, u8),
    /// From here on it goes on like another seed from there on.
    Splice(Index, Index, Index),
    /// A piece comes many times.
    Repeat(Index, usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    // What stands out to whoever reads text.
    let loud: [&[u8]; 14] = [
        b"{{",
        b"}}",
        b"{%",
        b"%}",
        b"\"",
        b"\\u0000",
        b"../",
        b"\n",
        b": ",
        b"- ",
        b"\xff",
        b"\0",
        b"99999999999999999999",
        "é\u{1F600}".as_bytes(),
    ];
    let loud = proptest::sample::select(loud.map(<[u8]>::to_vec).to_vec());
    prop_oneof![
        (at(), at()).prop_map(|(from, to)| Change::Cut(from, to)),
        (at(), loud).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at(), vec(any::<u8>(), 0..8)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Scribble(at, byte)),
        (at(), at(), at()).prop_map(|(at, seed, from)| Change::Splice(at, seed, from)),
        (at(), 1..8usize, 2..200usize)
            .prop_map(|(at, length, times)| Change::Repeat(at, length, times)),
    ]
}

impl Change {
    fn apply(&self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let place = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        match self {
            Self::Cut(from, to) => {
                let (from, to) = (place(from, input), place(to, input));
                input.drain(from.min(to)..from.max(to));
            }
            Self::Insert(at, bytes) => {
                let at = place(at, input);
                input.splice(at..at, bytes.iter().copied());
            }
            Self::Scribble(at, byte) if !input.is_empty() => {
                let at = at.index(input.len());
                input[at] = *byte;
            }
            Self::Scribble(..) => {}
            Self::Splice(at, seed, from) => {
                let seed = &seeds[seed.index(seeds.len())];
                input.truncate(place(at, input));
                input.extend_from_slice(&seed[place(from, seed)..]);
            }
            Self::Repeat(at, length, times) => {
                let at = place(at, input);
                let end = (at + length).min(input.len());
                let piece = input[at..end].repeat(*times);
                input.splice(at..at, piece);
            }
        }
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let files = fs::read_dir(corpus.join(target)).unwrap();
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no corpus");
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn no_target_breaks_its_promises() {
    let cases = std::env::var("CFGSYNC_FUZZ_CASES");
    let cases = cases.map_or(CASES, |cases| cases.parse().unwrap());
    std::thread::scope(|scope| {
        for (name, target) in targets::TARGETS {
            let run = move || {
                let seeds = seeds(name);
                for seed in &seeds {
                    target(seed);
                }
                let config = ProptestConfig {
                    cases,
                    failure_persistence: None,
                    ..ProptestConfig::default()
                };
                let strategy = (any::<Index>(), vec(change(), 1..6));
                let outcome = TestRunner::new(config).run(&strategy, |(seed, changes)| {
                    let mut input = seeds[seed.index(seeds.len())].clone();
                    for change in changes {
                        change.apply(&mut input, &seeds);
                    }
                    target(&input);
                    Ok(())
                });
                outcome.unwrap_or_else(|failure| panic!("{name}: {failure}"));
            };
            let thread = std::thread::Builder::new().name((*name).to_owned());
            thread.spawn_scoped(scope, run).unwrap();
        }
    });
}

#[test]
fn what_lies_behind_the_journals_checksums_is_fuzzed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (seed, fixture) in [
        ("state-1", Some("crates/store/fixtures/state-1-unmarked")),
        ("state-2", Some("crates/store/fixtures/state-2")),
        ("a-life", None),
    ] {
        let seed = fs::read(root.join("fuzz/corpus/journal").join(seed)).unwrap();
        let files = targets::state_directory::files(&seed[1..]);
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("generations")).unwrap();
        for (name, bytes) in files {
            if let Some(fixture) = fixture {
                assert_eq!(fs::read(root.join(fixture).join(&name)).unwrap(), bytes);
            }
            fs::write(directory.path().join(name), bytes).unwrap();
        }
        let contents = DirectoryContents::read(directory.path()).unwrap();
        contents.verify().unwrap();
        assert!(contents.state.generation().is_some());
    }
}

#[test]
fn every_target_can_be_fuzzed() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut names: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    let files = |directory: &str| {
        let entries = fs::read_dir(fuzz.join(directory)).unwrap();
        let mut files: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.trim_end_matches(".rs").to_owned())
            .collect();
        files.sort();
        files
    };
    assert_eq!(files("fuzz_targets"), names);
    assert_eq!(files("corpus"), names);
}
