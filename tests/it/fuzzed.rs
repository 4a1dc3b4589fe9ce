//! Runs each fuzz target with every test run: on its whole corpus, and on random mutations of the corpus.

#[path = "../../fuzz/src/targets.rs"]
#[expect(unreachable_pub, reason = "the fuzz binaries need it public")]
mod targets;

use std::{fs, path::Path};

use cfgsync_store::DirectoryContents;
use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestRunner};

/// Number of mutated inputs for each target. `CFGSYNC_FUZZ_CASES` overrides it.
const CASES: u32 = 1_000;

/// One mutation of an input.
#[derive(Debug, Clone)]
enum Mutation {
    /// Removes the bytes between two positions.
    Cut(Index, Index),
    /// Inserts these bytes at a position.
    Insert(Index, Vec<u8>),
    /// Overwrites the byte at a position.
    Overwrite(Index, u8),
    /// Replaces the rest from a position by the rest of another seed from its position.
    Splice(Index, Index, Index),
    /// Inserts many copies of a piece in front of it: position, length in bytes, number of copies.
    Repeat(Index, usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    // Byte sequences that parsers treat specially.
    let special: [&[u8]; 14] = [
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
    let special = proptest::sample::select(special.map(<[u8]>::to_vec).to_vec());
    prop_oneof![
        (at(), at()).prop_map(|(from, to)| Mutation::Cut(from, to)),
        (at(), special).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (at(), vec(any::<u8>(), 0..8)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Overwrite(at, byte)),
        (at(), at(), at()).prop_map(|(at, seed, from)| Mutation::Splice(at, seed, from)),
        (at(), 1..8usize, 2..200usize)
            .prop_map(|(at, length, times)| Mutation::Repeat(at, length, times)),
    ]
}

impl Mutation {
    fn apply(&self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let position = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        match self {
            Self::Cut(from, to) => {
                let (from, to) = (position(from, input), position(to, input));
                input.drain(from.min(to)..from.max(to));
            }
            Self::Insert(at, bytes) => {
                let at = position(at, input);
                input.splice(at..at, bytes.iter().copied());
            }
            Self::Overwrite(at, byte) if !input.is_empty() => {
                let at = at.index(input.len());
                input[at] = *byte;
            }
            Self::Overwrite(..) => {}
            Self::Splice(at, seed, from) => {
                let seed = &seeds[seed.index(seeds.len())];
                input.truncate(position(at, input));
                input.extend_from_slice(&seed[position(from, seed)..]);
            }
            Self::Repeat(at, length, times) => {
                let at = position(at, input);
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
fn targets_hold_on_corpus_and_mutations() {
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
                let strategy = (any::<Index>(), vec(mutation(), 1..6));
                let outcome = TestRunner::new(config).run(&strategy, |(seed, mutations)| {
                    let mut input = seeds[seed.index(seeds.len())].clone();
                    for mutation in mutations {
                        mutation.apply(&mut input, &seeds);
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
fn journal_seeds_with_valid_checksums_open_as_state_directories() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (seed, fixture) in [
        ("state-1", Some("crates/store/fixtures/state-1-unmarked")),
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
fn each_target_has_a_fuzz_binary_and_a_corpus() {
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
