//! The format on disk: what was written once is read for ever, and what is written is read.

use std::{fs, path::Path, sync::Arc};

use proptest::prelude::*;

use super::{
    commit::{Change, Journal, Settings},
    directory::Directory,
    disk::Disk,
    entry::{self, Entry},
    frame::{self, Found, HEAD_BYTES, Kind, Marker, WrongLine},
    log::LogHead,
    recover::{recover, replay_batch},
    simulated_tests::Simulated,
    tests::assert_same,
};
use crate::{Input, Record, State};
use cfgsync_model::{
    ArtifactFile, ArtifactSet, Chunk, Content, Digest, Failure, FailureKind, Generation,
    GenerationNumber, Instance, NodeRegistration, Revision, Seat, generation_digest,
};
use cfgsync_support::clock::Timestamp;

const INSTANCE: Instance = Instance::from_bytes([7; 16]);
const MARKER: Marker = *b"\x91\x02\x03\x04\xff\xfe\xfd\xfc";
/// A directory of format version 1. It is never written again: what comes later is read beside it.
const FIXTURE: &str = "fixtures/state-1";
/// The same, written by an earlier cfgsync, whose log began without a batch that says which snapshot belongs to it.
const EARLIER_FIXTURE: &str = "fixtures/state-1-unmarked";

fn node(name: &str, ip: &str, metadata: serde_json::Value) -> NodeRegistration {
    NodeRegistration::new(name.parse().unwrap(), ip.parse().unwrap()).with_metadata(metadata)
}

fn generation(number: u64, names: &[&str]) -> Arc<Generation> {
    let peers = Chunk::new(format!("peers of {number}\n"));
    let artifacts = names.iter().map(|name| {
        let mesh = Content::from_chunks([Chunk::new(format!("{name}\n")), peers.clone()]);
        let mesh = ArtifactFile {
            content: mesh,
            ..ArtifactFile::new("/peers".parse().unwrap(), "")
        };
        let key = ArtifactFile::new("key".parse().unwrap(), vec![0xff, number.to_le_bytes()[0]]);
        let files = ArtifactSet::new(vec![mesh, key.into_secret()]).unwrap();
        (name.parse().unwrap(), files)
    });
    let empty = ArtifactFile::new("empty".parse().unwrap(), "");
    let shared = Arc::new(ArtifactSet::new(vec![empty]).unwrap());
    let (nodes, digest) = generation_digest(INSTANCE, artifacts.collect(), &shared);
    let seats = nodes
        .keys()
        .zip(0..)
        .map(|(name, at)| (name.clone(), Seat(at)));
    Arc::new(Generation {
        number: GenerationNumber(number),
        digest,
        revision: Revision(number + 1),
        spec: Digest::of(b"spec"),
        sealed_at: "2026-01-31T12:00:00.000000007Z".parse().unwrap(),
        seats: Arc::new(seats.collect()),
        once: Arc::new(serde_json::from_str(r#"{"cookie":"x","at":1.5}"#).unwrap()),
        nodes,
        shared,
    })
}

/// A life with every kind of change in it, on a disk of its own.
fn written() -> (Simulated, Arc<State>) {
    let disk = Simulated::default();
    let settings = Settings {
        head: LogHead {
            instance: INSTANCE,
            marker: MARKER,
            cluster: "devnet".to_owned(),
        },
        history: 2,
    };
    let mut journal = Journal::open(Arc::new(disk.clone()), &settings).unwrap();
    let odd = serde_json::json!({ "port": 9000, "ratio": 0.1 + 0.2, "name": "é\u{1}", "list": [null, -1] });
    let register = |node| Change::Input(Input::register(node));
    let id = |name: &str| name.parse().unwrap();
    let files = |text: &str| {
        let open = ArtifactFile::new("/config.yaml".parse().unwrap(), text.to_owned());
        let secret = ArtifactFile::new("key".parse().unwrap(), text.to_owned());
        ArtifactSet::new(vec![open, secret.into_secret()]).unwrap()
    };
    let over = |name: &str, text: &str| {
        Change::Input(Input::Override {
            identifier: id(name),
            files: files(text),
        })
    };
    let failure = Failure {
        kind: FailureKind::Operator,
        reason: "maintenance".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    };
    let delivered = |name: &str, number| Record::Delivered {
        identifier: id(name),
        generation: GenerationNumber(number),
    };
    let remove = |name: &str| {
        Change::Input(Input::Remove {
            identifier: id(name),
            only_if: None,
        })
    };
    let seal = |journal: &mut Journal, generation: Arc<Generation>| {
        let _on_its_way = journal.shelf().put(&generation).unwrap();
        journal.commit(vec![Change::Seal(generation)]).unwrap();
        journal.keep_house(true).unwrap();
    };
    let first = node("a", "10.0.0.1", odd);
    journal
        .commit(vec![
            register(first),
            register(node("b", "fd00::2", serde_json::json!({}))),
        ])
        .unwrap();
    seal(&mut journal, generation(1, &["a", "b"]));
    journal
        .commit(vec![over("a", "mine"), over("b", "theirs")])
        .unwrap();
    let claimed = |name: &str| Record::Claimed {
        identifier: id(name),
        key: Digest::of(name.as_bytes()),
    };
    let mut notes = vec![delivered("a", 1), delivered("b", 1)];
    notes.extend([claimed("a"), claimed("b")]);
    journal.commit(vec![Change::Records(notes)]).unwrap();
    journal.snapshot().unwrap();
    journal
        .commit(vec![register(node(
            "c",
            "10.0.0.3",
            serde_json::json!("text"),
        ))])
        .unwrap();
    seal(&mut journal, generation(2, &["a", "b", "c"]));
    let end = Change::Input(Input::RemoveOverride(id("b")));
    journal.commit(vec![end, remove("b")]).unwrap();
    seal(&mut journal, generation(3, &["a", "c"]));
    journal
        .commit(vec![
            Change::Records(vec![Record::Reset, Record::Failed(failure)]),
            Change::Records(vec![
                delivered("c", 3),
                claimed("c"),
                Record::Released(id("b")),
            ]),
        ])
        .unwrap();
    (disk, journal.state)
}

/// The files of `disk`, without the space that a log reserves.
fn files_of(disk: &Simulated) -> Vec<(String, Vec<u8>)> {
    let names = ["", "generations"].into_iter().flat_map(|directory| {
        let names = disk.list(directory).unwrap();
        names.into_iter().map(move |name| match directory {
            "" => name,
            directory => format!("{directory}/{name}"),
        })
    });
    let read = |name: String| {
        let mut bytes = disk.read(&name).unwrap().unwrap();
        if name == "log" {
            let end = recover(disk).unwrap().unwrap().log.end;
            bytes.truncate(usize::try_from(end).unwrap());
        }
        (name, bytes)
    };
    names.map(read).collect()
}

#[test]
fn format_version_1_is_read() {
    for fixture in [FIXTURE, EARLIER_FIXTURE] {
        let disk = Directory::look(Path::new(fixture));
        let found = recover(&disk).unwrap().unwrap();
        let (_, state) = written();
        assert_eq!(
            (found.head.instance, &*found.head.cluster),
            (INSTANCE, "devnet")
        );
        assert_same(&found.state, &state);
        assert_eq!(found.state.generations.len(), 2);
        assert_eq!(found.state.keys.len(), 2);
        assert!(found.state.overrides.contains_key("a") && found.state.failure.is_some());
    }
}

/// Who changes the format sees it here, raises the version, and adds a fixture beside the old one.
#[test]
fn what_is_written_is_format_version_1() {
    let (disk, _) = written();
    for (name, bytes) in files_of(&disk) {
        let path = Path::new(FIXTURE).join(&name);
        if std::env::var_os("CFGSYNC_BLESS").is_some() && !path.exists() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(
            fs::read(&path).unwrap() == bytes,
            "{name} is written otherwise"
        );
    }
}

#[test]
fn a_first_line_says_what_a_file_is() {
    let line = frame::first_line(Kind::Log);
    assert_eq!(
        frame::read_first_line(line.as_bytes(), Kind::Log),
        Ok(line.len())
    );
    let read = |line: &str| frame::read_first_line(line.as_bytes(), Kind::Log);
    assert_eq!(read("cfgsync log 2\n"), Err(WrongLine::Version(2)));
    for wrong in [
        "",
        "cfgsync log 1",
        "cfgsync snapshot 1\n",
        "cfgsync log x\n",
        "\n",
    ] {
        assert_eq!(read(wrong), Err(WrongLine::Other), "{wrong:?}");
    }
}

fn sealed_file() -> Vec<u8> {
    let digest = generation(2, &["a", "b", "c"]).digest;
    fs::read(Path::new(FIXTURE).join(super::artifacts::name_of(digest))).unwrap()
}

/// `inspect --verify` said of such a file that every byte of it was intact.
#[test]
fn a_generation_ends_with_its_file() {
    let digest = generation(2, &["a", "b", "c"]).digest;
    let mut file = sealed_file();
    let read = |file: &[u8]| {
        let file = bytes::Bytes::copy_from_slice(file);
        super::artifacts::from_file(&file, digest, || "f".into()).is_ok()
    };
    assert!(read(&file));
    file.push(0);
    assert!(!read(&file));
}

fn metadata() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::btree_map(".*", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn frames_are_read_as_they_were_written(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..6),
        reserved in 0..100_usize,
    ) {
        let mut file = vec![];
        for body in &bodies {
            let start = frame::begin(&mut file, MARKER);
            file.extend_from_slice(body);
            frame::finish(&mut file, start);
        }
        file.resize(file.len() + reserved, 0);
        let (mut at, mut read) = (0, vec![]);
        while let Found::Frame { body, end } = frame::read(&file, at, MARKER) {
            read.push(body.to_vec());
            at = end;
        }
        prop_assert_eq!(frame::read(&file, at, MARKER), Found::End);
        prop_assert_eq!(read, bodies);
    }

    #[test]
    fn a_frame_that_differs_in_a_byte_is_none(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        place in any::<proptest::sample::Index>(),
        change in 1..=255_u8,
    ) {
        let mut file = vec![];
        let start = frame::begin(&mut file, MARKER);
        file.extend_from_slice(&body);
        frame::finish(&mut file, start);
        let place = place.index(file.len());
        file[place] ^= change;
        prop_assert!(matches!(frame::read(&file, 0, MARKER), Found::Bad(_)), "at {}", place);
    }

    #[test]
    fn whatever_stands_there_is_no_panic(file in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut marked = MARKER.to_vec();
        marked.extend_from_slice(&file);
        for file in [&file, &marked] {
            for at in 0..file.len() {
                let _ = frame::read(file, at, MARKER);
                let _ = frame::next_whole(file, at, MARKER);
            }
            if let Ok((change, _)) = entry::read::<Entry>(file) {
                let _ = change.replay(&mut State::default());
            }
            let _ = super::snapshot::read(file, INSTANCE, || "snapshot".into());
            let _ = LogHead::read(file, || "log".into());
        }
    }

    /// Bodies that are almost ours, with checksums that match: what a bug or a hand could have written.
    #[test]
    fn a_body_that_was_altered_is_no_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let alter = |body: &[u8]| {
            let mut body = body.to_vec();
            for (place, byte) in &changes {
                let place = place.index(body.len());
                body[place] = *byte;
            }
            body.truncate(cut.map_or(body.len(), |cut| cut.index(body.len())));
            body
        };
        for (name, kind) in [("log", Kind::Log), ("snapshot", Kind::Snapshot), ("", Kind::Generation)] {
            let file = match kind {
                Kind::Generation => sealed_file(),
                _ => fs::read(Path::new(FIXTURE).join(name)).unwrap(),
            };
            let line = frame::first_line(kind).len();
            let Found::Frame { body, end } = frame::read(&file, line, frame::FIXED_MARKER) else {
                panic!("{name}");
            };
            let altered = frame::whole_file(kind, |out| out.extend(alter(body)));
            match kind {
                Kind::Log => {
                    let _ = LogHead::read(&altered, || name.into());
                    let (mut at, mut state) = (end, State::default());
                    while let Found::Frame { body, end } = frame::read(&file, at, MARKER) {
                        let _ = replay_batch(&alter(body), &mut state);
                        at = end;
                    }
                }
                Kind::Snapshot => {
                    let _ = super::snapshot::read(&altered, INSTANCE, || name.into());
                }
                Kind::Generation => {
                    let digest = generation(2, &["a", "b", "c"]).digest;
                    let _ = super::artifacts::from_file(&altered.into(), digest, || name.into());
                }
            }
        }
    }

    #[test]
    fn facts_are_kept_to_the_last_bit(metadata in metadata()) {
        let facts = node("a", "fd00::1", metadata);
        let input = Input::register(facts.clone());
        let mut body = vec![];
        entry::write(&mut body, &Entry::of_input(&input));
        let (change, rest): (Entry, _) = entry::read(&body).unwrap();
        prop_assert!(rest.is_empty());
        let mut state = State::default();
        change.replay(&mut state).unwrap();
        prop_assert_eq!(&*state.registrations["a"].registration, &facts);
    }
}

#[test]
fn a_frame_that_a_node_sent_is_not_taken_for_one() {
    // The frame of another log, in the metadata of a node, behind which the machine stopped.
    let mut sent = vec![];
    let start = frame::begin(&mut sent, *b"theirs!!");
    sent.extend_from_slice(b"x");
    frame::finish(&mut sent, start);
    let mut file = vec![];
    let start = frame::begin(&mut file, MARKER);
    file.extend_from_slice(&sent);
    frame::finish(&mut file, start);
    file[HEAD_BYTES - 1] ^= 1;
    assert!(matches!(frame::read(&file, 0, MARKER), Found::Bad(_)));
    assert_eq!(frame::next_whole(&file, 0, MARKER), None);
}
