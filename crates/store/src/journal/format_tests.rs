//! Tests of the format on disk: older formats stay readable, and every change of the current format fails a test.

use std::{collections::HashSet, fs, path::Path, sync::Arc};

use proptest::prelude::*;

use super::{
    commit::{Journal, Request, Settings},
    directory::Directory,
    disk::Disk,
    entry_v1::EntryV1,
    generation_files,
    log::LogHead,
    place::PLACE,
    recover::{recover, replay_frame, replay_frame_v1},
    simulated_disk::SimulatedDisk,
    state_files::EVENTS,
    tests::assert_same,
};
use crate::{Bounds, Change, EventBounds, Relocation, State};
use crate::{
    directory_error::DirectoryError,
    encoding::{
        commit_entry::CommitEntry,
        entry,
        error::DecodeError,
        frame::{self, FIXED_MARKER, FrameRead, HEAD_BYTES, Marker},
        generation_file,
        header::{self, FORMAT, FileKind, HeaderError, PROGRAM_VERSION},
        snapshot,
    },
};
use cfgsync_model::{
    Account, ArtifactFile, ArtifactSet, Chunk, Content, Digest, Failure, FailureKind, Generation,
    GenerationNumber, Identifier, Instance, NodeRegistration, Ownership, Revision, Seat,
    generation_digest,
};
use cfgsync_support::clock::Timestamp;

const INSTANCE: Instance = Instance::from_bytes([7; 16]);
const MARKER: Marker = *b"\x91\x02\x03\x04\xff\xfe\xfd\xfc";

/// A directory of the current format.
const FIXTURE: &str = "fixtures/state-2";
/// A directory of format 1, which this program no longer writes.
pub(super) const FIXTURE_V1: &str = "fixtures/state-1";
/// A directory that the first programs of format 1 wrote. Its log has no frame that names the snapshot before it.
const FIXTURE_V1_FIRST: &str = "fixtures/state-1-unmarked";

fn node(name: &str, ip: &str, metadata: serde_json::Value) -> NodeRegistration {
    NodeRegistration::without_metadata(name.parse().unwrap(), ip.parse().unwrap())
        .with_metadata_value(metadata)
}

/// The owners and groups of files are a second value, so that files without any stay as they were.
#[test]
fn ownership_of_files_is_kept() {
    let plain = generation(1, &["a", "b"]);
    let account = |text: &str| Some(Account::new(text).unwrap());
    let mut owned = (*plain).clone();
    let own = |files: &ArtifactSet, ownership: Option<Arc<Ownership>>| {
        let files = files.files().iter().cloned();
        let files = files.map(|file| ArtifactFile {
            ownership: ownership.clone(),
            ..file
        });
        ArtifactSet::new(files.collect()).unwrap()
    };
    owned.shared = Arc::new(own(&plain.shared, Ownership::of(account("1000"), None)));
    let b: Identifier = "b".parse().unwrap();
    let of_b = own(
        &plain.nodes[&b].local,
        Ownership::of(account("app"), account("web")),
    );
    let sets = plain.nodes.iter().map(|(name, files)| {
        let files = if *name == b {
            of_b.clone()
        } else {
            files.local.clone()
        };
        (name.clone(), files)
    });
    (owned.nodes, owned.digest) = generation_digest(INSTANCE, sets.collect(), &owned.shared);
    assert_ne!(owned.digest, plain.digest);
    let file = generation_file::to_file(&owned).into();
    let read = generation_file::from_file(&file, owned.digest, || "f".into()).unwrap();
    let read = read.complete(&owned);
    generation_files::verify_digests(INSTANCE, &read).unwrap();
    assert_eq!(read.shared, owned.shared);
    for (name, files) in &owned.nodes {
        assert_eq!(read.nodes[name].local, files.local);
    }
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
        provenance: Arc::default(),
        nodes,
        shared,
    })
}

/// Returns a directory with every kind of change, and its state.
fn written() -> (SimulatedDisk, Arc<State>) {
    let disk = SimulatedDisk::default();
    let settings = Settings {
        head: LogHead {
            instance: INSTANCE,
            marker: MARKER,
            cluster: "devnet".to_owned(),
            has_place: false,
        },
        history: 2,
        relocation: Relocation::Unstated,
        event_bounds: EventBounds::default(),
    };
    let mut journal = Journal::open(Arc::new(disk.clone()), &settings).unwrap();
    let odd = serde_json::json!({ "port": 9000, "ratio": 0.1 + 0.2, "name": "é\u{1}", "list": [null, -1] });
    let register = |node| Request::Apply(vec![Change::register(node)]);
    let id = |name: &str| name.parse().unwrap();
    let files = |text: &str| {
        let open = ArtifactFile::new("/config.yaml".parse().unwrap(), text.to_owned());
        let secret = ArtifactFile::new("key".parse().unwrap(), text.to_owned());
        ArtifactSet::new(vec![open, secret.into_secret()]).unwrap()
    };
    let set_override = |name: &str, text: &str| {
        Request::Apply(vec![Change::Override {
            identifier: id(name),
            files: files(text),
        }])
    };
    let failure = Failure {
        kind: FailureKind::Operator,
        reason: "maintenance".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    };
    let delivered = |name: &str, number| Change::Deliver {
        at: None,
        identifier: id(name),
        generation: GenerationNumber(number),
    };
    let remove = |name: &str| {
        Request::Apply(vec![Change::Remove {
            identifier: id(name),
            only_if: None,
            joiner: None,
        }])
    };
    let seal = |journal: &mut Journal, generation: Arc<Generation>| {
        let _pending = journal.generations().write(&generation).unwrap();
        journal
            .commit(vec![Request::Seal(
                generation,
                crate::SealCondition::default(),
            )])
            .unwrap();
        journal.maintain(true).unwrap();
    };
    let claimed = |name: &str| Change::Claim {
        identifier: id(name),
        key: Digest::of(name.as_bytes()),
        within: Bounds::NONE,
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
        .commit(vec![set_override("a", "mine"), set_override("b", "theirs")])
        .unwrap();
    let mut records = vec![delivered("a", 1), delivered("b", 1)];
    records.extend([claimed("a"), claimed("b")]);
    journal.commit(vec![Request::Apply(records)]).unwrap();
    journal.snapshot().unwrap();
    journal
        .commit(vec![register(node(
            "c",
            "10.0.0.3",
            serde_json::json!("text"),
        ))])
        .unwrap();
    seal(&mut journal, generation(2, &["a", "b", "c"]));
    let end = Request::Apply(vec![Change::RemoveOverride(id("b"))]);
    journal.commit(vec![end, remove("b")]).unwrap();
    seal(&mut journal, generation(3, &["a", "c"]));
    journal
        .commit(vec![
            Request::Apply(vec![Change::Reset, Change::Fail(failure)]),
            Request::Apply(vec![
                delivered("c", 3),
                claimed("c"),
                Change::Release(id("b")),
            ]),
        ])
        .unwrap();
    (disk, journal.state)
}

/// Returns the files of `disk`, without the space that the log reserves.
fn files_of(disk: &SimulatedDisk) -> Vec<(String, Vec<u8>)> {
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
fn reads_all_formats() {
    let (_, state) = written();
    for (fixture, format) in [(FIXTURE_V1_FIRST, 1), (FIXTURE_V1, 1), (FIXTURE, 2)] {
        let disk = Directory::open_unlocked(Path::new(fixture));
        let found = recover(&disk).unwrap().unwrap();
        assert_eq!(
            (found.format, found.head.instance, &*found.head.cluster),
            (format, INSTANCE, "devnet")
        );
        assert_same(&found.state, &state);
        assert_eq!(found.state.generations.len(), 2);
        assert_eq!(found.state.keys.len(), 2);
        assert!(found.state.overrides.contains_key("a") && found.state.failure.is_some());
    }
}

/// If this fails, the format has changed: raise the format version, and add a fixture beside the old ones.
#[test]
fn writes_format_2() {
    assert_eq!(FORMAT, 2);
    let (disk, _) = written();
    // The record of the place and the history of events are not part of format 2, whose first programs did not write them.
    for (name, bytes) in files_of(&disk)
        .into_iter()
        .filter(|(name, _)| name != PLACE && name != EVENTS)
    {
        let path = Path::new(FIXTURE).join(&name);
        if std::env::var_os("CFGSYNC_BLESS").is_some() && !path.exists() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).unwrap() == bytes, "{name} has changed");
    }
}

#[test]
fn header_names_kind_format_and_program() {
    let lines = header::lines(FileKind::Log);
    let written = header::read_lines(lines.as_bytes(), FileKind::Log).unwrap();
    assert_eq!((written.format, written.length), (FORMAT, lines.len()));
    let read = |text: &'static str| header::read_lines(text.as_bytes(), FileKind::Log);
    let old = read("cfgsync log 1\n").unwrap();
    assert_eq!((old.format, old.length), (1, 14));
    let newer = |format, writer| Err(HeaderError::NewerFormat { format, writer });
    assert_eq!(
        read("cfgsync log 3\nwritten by cfgsync 0.9.1\nmore"),
        newer(3, Some("0.9.1"))
    );
    assert_eq!(read("cfgsync log 3\n"), newer(3, None));
    for wrong in [
        "",
        "cfgsync log 1",
        "cfgsync log 0\n",
        "cfgsync log 2\n",
        "cfgsync log 2\nwritten by cfgsync 0.9.1",
        "cfgsync log 2\nwritten by another 0.9.1\n",
        "cfgsync snapshot 1\n",
        "cfgsync log x\n",
        "\n",
    ] {
        assert_eq!(read(wrong), Err(HeaderError::Invalid), "{wrong:?}");
    }
}

/// Opens a directory in which one file was written by a newer program.
fn open_with_newer(name: &str) -> DirectoryError {
    let (disk, _) = written();
    let text = disk.read(name).unwrap().unwrap();
    let kind = name.split('/').next().unwrap().trim_end_matches('s');
    let old_lines = format!("cfgsync {kind} 2\nwritten by cfgsync {PROGRAM_VERSION}\n");
    assert!(text.starts_with(old_lines.as_bytes()), "{name}");
    let mut newer = format!("cfgsync {kind} 3\nwritten by cfgsync 7.8.9\n").into_bytes();
    newer.extend_from_slice(b"anything");
    disk.overwrite(name, &newer);
    let before = all_files(&disk);
    let settings = Settings {
        head: LogHead {
            instance: INSTANCE,
            marker: MARKER,
            cluster: "devnet".to_owned(),
            has_place: false,
        },
        history: 2,
        relocation: Relocation::Unstated,
        event_bounds: EventBounds::default(),
    };
    let error = Journal::open(Arc::new(disk.clone()), &settings)
        .err()
        .unwrap();
    assert!(all_files(&disk) == before, "the directory was changed");
    error
}

/// Returns all files of `disk`.
fn all_files(disk: &SimulatedDisk) -> Vec<(String, Option<Vec<u8>>)> {
    let mut names = disk.list("").unwrap();
    let generations = disk.list("generations").unwrap();
    names.extend(generations.iter().map(|name| format!("generations/{name}")));
    let read = |name: String| {
        let bytes = disk.read(&name).unwrap();
        (name, bytes)
    };
    names.into_iter().map(read).collect()
}

#[test]
fn newer_format_refuses_the_start_and_names_the_program() {
    let generation = generation_files::name_of(generation(3, &["a", "c"]).digest);
    for name in ["log", "snapshot", &generation] {
        let error = open_with_newer(name);
        assert_eq!(
            error.to_string(),
            format!(
                "simulated/{name} has format 3 and was written by cfgsync 7.8.9; this is cfgsync 1.2.3, which reads \
                 formats up to 2"
            )
        );
    }
}

/// Returns the body of a frame from `begin` to `end` with one commit for each revision.
fn frame_body(begin: u64, end: u64, revisions: &[u64]) -> Vec<u8> {
    let mut body = vec![];
    entry::write(&mut body, &(begin, end));
    for revision in revisions {
        let node = node(&format!("n{revision}"), "10.0.0.1", serde_json::json!({}));
        let changes = [Change::register(node)];
        entry::write(
            &mut body,
            &CommitEntry::of_changes(Revision(*revision), &changes),
        );
    }
    body
}

fn replay(body: &[u8], state: &mut State) -> Result<(), DecodeError> {
    replay_frame(body, state, &mut HashSet::new())
}

#[test]
fn replays_revisions_with_gaps() {
    let mut state = State::default();
    replay(&frame_body(0, 9, &[5, 9]), &mut state).unwrap();
    replay(&frame_body(9, 20, &[12, 20]), &mut state).unwrap();
    // A crash can leave frames whose commits are already in the snapshot.
    replay(&frame_body(0, 9, &[5, 9]), &mut state).unwrap();
    replay(&frame_body(9, 30, &[12, 20, 30]), &mut state).unwrap();
    let revisions: Vec<u64> = state
        .registrations
        .values()
        .map(|known| known.revision.0)
        .collect();
    assert_eq!(
        (revisions, state.revision),
        (vec![12, 20, 30, 5, 9], Revision(30))
    );
}

#[test]
fn missing_frame_or_commit_is_damage() {
    let mut state = State::default();
    replay(&frame_body(0, 9, &[5, 9]), &mut state).unwrap();
    for (body, expected) in [
        (
            frame_body(12, 20, &[20]),
            "a frame follows revision 12, and the changes before it end at revision 9",
        ),
        (
            frame_body(9, 20, &[12]),
            "a frame ends at revision 20, and its last commit has revision 12",
        ),
        (frame_body(0, u64::MAX, &[u64::MAX]), "is not a revision"),
    ] {
        let error = replay(&body, &mut state.clone()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

fn sealed_file() -> Vec<u8> {
    let digest = generation(2, &["a", "b", "c"]).digest;
    fs::read(Path::new(FIXTURE).join(generation_files::name_of(digest))).unwrap()
}

#[test]
fn bytes_after_a_generation_are_damage() {
    let digest = generation(2, &["a", "b", "c"]).digest;
    let mut file = sealed_file();
    let read = |file: &[u8]| {
        let file = bytes::Bytes::copy_from_slice(file);
        generation_file::from_file(&file, digest, || "f".into()).is_ok()
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
    fn frames_round_trip(
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
        while let FrameRead::Frame { body, end } = frame::read(&file, at, MARKER) {
            read.push(body.to_vec());
            at = end;
        }
        prop_assert_eq!(frame::read(&file, at, MARKER), FrameRead::End);
        prop_assert_eq!(read, bodies);
    }

    #[test]
    fn frame_with_a_changed_byte_is_invalid(
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
        prop_assert!(matches!(frame::read(&file, 0, MARKER), FrameRead::Invalid(_)), "at {}", place);
    }

    #[test]
    fn arbitrary_bytes_cause_no_panic(file in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut marked = MARKER.to_vec();
        marked.extend_from_slice(&file);
        for file in [&file, &marked] {
            for at in 0..file.len() {
                let _ = frame::read(file, at, MARKER);
                let _ = frame::find_frame_after(file, at, MARKER);
            }
            if let Ok((commit, _)) = entry::read::<CommitEntry>(file) {
                let _ = commit.replay(&mut State::default());
            }
            if let Ok((entry, _)) = entry::read::<EntryV1>(file) {
                let _ = entry.replay(&mut State::default(), Revision(1));
            }
            let _ = snapshot::read(file, INSTANCE, || "snapshot".into());
            let _ = LogHead::read(file, || "log".into());
        }
    }

    /// A bug or an editor could write bodies that are almost valid, with matching checksums.
    #[test]
    fn changed_bodies_cause_no_panic(
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
        let digest = generation(2, &["a", "b", "c"]).digest;
        let name = generation_files::name_of(digest);
        for fixture in [FIXTURE_V1, FIXTURE] {
            for (name, kind) in [
                ("log", FileKind::Log),
                ("snapshot", FileKind::Snapshot),
                (&*name, FileKind::Generation),
            ] {
                let file = fs::read(Path::new(fixture).join(name)).unwrap();
                let lines = header::read_lines(&file, kind).unwrap().length;
                let FrameRead::Frame { body, end } = frame::read(&file, lines, FIXED_MARKER) else {
                    panic!("{name}");
                };
                let mut altered = file[..lines].to_vec();
                let start = frame::begin(&mut altered, FIXED_MARKER);
                altered.extend(alter(body));
                frame::finish(&mut altered, start);
                match kind {
                    FileKind::Log => {
                        let _ = LogHead::read(&altered, || name.into());
                        let (mut at, mut state) = (end, State::default());
                        let replay = if fixture == FIXTURE { replay_frame } else { replay_frame_v1 };
                        while let FrameRead::Frame { body, end } = frame::read(&file, at, MARKER) {
                            let _ = replay(&alter(body), &mut state, &mut HashSet::new());
                            at = end;
                        }
                    }
                    FileKind::Snapshot => {
                        let _ = snapshot::read(&altered, INSTANCE, || name.into());
                    }
                    FileKind::Generation => {
                        let _ = generation_file::from_file(&altered.into(), digest, || name.into());
                    }
                    FileKind::Clean | FileKind::Place | FileKind::Events | FileKind::Transfer => {
                        unreachable!("not in the list")
                    }
                }
            }
        }
    }

    #[test]
    fn facts_round_trip_exactly(metadata in metadata()) {
        let facts = node("a", "fd00::1", metadata);
        let changes = [Change::register(facts.clone())];
        let mut body = vec![];
        entry::write(&mut body, &CommitEntry::of_changes(Revision(1), &changes));
        let (commit, rest): (CommitEntry, _) = entry::read(&body).unwrap();
        prop_assert!(rest.is_empty());
        let mut state = State::default();
        commit.replay(&mut state).unwrap();
        prop_assert_eq!(&*state.registrations["a"].registration, &facts);
    }
}

#[test]
fn frame_in_metadata_is_not_read_as_a_frame() {
    // A node sends the frame of another log as metadata, and the machine stops while the metadata is written.
    let mut sent = vec![];
    let start = frame::begin(&mut sent, *b"theirs!!");
    sent.extend_from_slice(b"x");
    frame::finish(&mut sent, start);
    let mut file = vec![];
    let start = frame::begin(&mut file, MARKER);
    file.extend_from_slice(&sent);
    frame::finish(&mut file, start);
    file[HEAD_BYTES - 1] ^= 1;
    assert!(matches!(
        frame::read(&file, 0, MARKER),
        FrameRead::Invalid(_)
    ));
    assert_eq!(frame::find_frame_after(&file, 0, MARKER), None);
}
