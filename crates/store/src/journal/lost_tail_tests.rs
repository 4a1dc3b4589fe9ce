//! Tests of a log that has lost its end: the state then continues as a new instance, and nothing else looks like it.

use std::sync::Arc;

use super::{
    clean_mark::CLEAN,
    commit::{Journal, Request},
    disk::Disk,
    generation_files,
    place::PLACE,
    recover::recover,
    simulated_disk::{Random, SimulatedDisk},
    simulated_tests::{
        INSTANCE, NEW_INSTANCE, generation, hit_each_start, node, open, open_with_fault, register,
        settings,
    },
    tests::assert_same,
};
use crate::{
    Change, Relocation, State, directory_error::DirectoryError, encoding::generation_file,
};
use cfgsync_model::GenerationNumber;

/// A server that has registered nodes and sealed generations, with the states in between.
struct Used {
    disk: SimulatedDisk,
    /// The end of each frame in the log, and the state after it. The head of the log comes first.
    frames: Vec<(usize, Arc<State>)>,
}

fn seal(journal: &mut Journal, salt: u64) {
    let generation = generation(&journal.state, salt);
    let pending = journal.generations().write(&generation).unwrap();
    journal
        .commit(vec![Request::Seal(
            generation,
            crate::SealCondition::default(),
        )])
        .unwrap();
    drop(pending);
    journal.maintain(true).unwrap();
}

/// Runs a server without a snapshot, and stops it cleanly if `is_clean`.
fn used(is_clean: bool) -> Used {
    let disk = SimulatedDisk::default();
    let journal = open(&disk).unwrap();
    use_journal(disk, journal, is_clean)
}

fn use_journal(disk: SimulatedDisk, mut journal: Journal, is_clean: bool) -> Used {
    let mut frames = vec![];
    let mut note = |journal: &Journal| {
        let end = recover(&disk).unwrap().unwrap().log.end;
        frames.push((usize::try_from(end).unwrap(), journal.state.clone()));
    };
    note(&journal);
    for (turn, name) in [(1, "a"), (2, "b"), (3, "c")] {
        journal.commit(vec![register(node(name, turn))]).unwrap();
        note(&journal);
        seal(&mut journal, turn);
        note(&journal);
    }
    if is_clean {
        journal.close();
    }
    Used { disk, frames }
}

/// Returns `disk` with its log cut to `length` bytes.
fn cut(disk: &SimulatedDisk, length: usize) -> SimulatedDisk {
    let disk = disk.after_kill();
    let log = disk.read("log").unwrap().unwrap();
    disk.overwrite("log", &log[..length]);
    disk
}

/// Returns what shows that the end of the log is lost.
fn lost_tail(disk: &SimulatedDisk) -> String {
    let found = recover(disk).unwrap().unwrap();
    found.lost_tail.unwrap().to_string()
}

/// Checks that `journal` continues `before` as the new instance.
fn assert_continues(journal: &Journal, before: &State) {
    assert_eq!(journal.instance, NEW_INSTANCE);
    let (found, newest) = (&journal.state, before.generation());
    assert_eq!(found.registrations, before.registrations);
    assert_eq!(found.revision, before.revision);
    assert!(found.deliveries.is_empty());
    assert_eq!(found.generations.len(), usize::from(newest.is_some()));
    if let (Some(found), Some(newest)) = (found.generation(), newest) {
        assert_eq!(found.number, GenerationNumber(1));
        assert_ne!(found.digest, newest.digest);
        assert_eq!((&found.once, &found.seats), (&newest.once, &newest.seats));
        generation_files::verify_digests(NEW_INSTANCE, found).unwrap();
    }
}

#[test]
fn log_that_ends_before_the_clean_stop_continues_as_a_new_instance() {
    let used = used(true);
    let (_, newest) = used.frames.last().unwrap();
    for (length, before) in &used.frames[..used.frames.len() - 1] {
        let disk = cut(&used.disk, *length);
        // The file of generation 1 was removed when generation 3 was sealed.
        if before
            .generation()
            .is_some_and(|newest| newest.number.0 == 1)
        {
            let error = open(&disk).err();
            let is_damage = matches!(error, Some(DirectoryError::Damaged { .. }));
            assert!(is_damage, "{error:?}");
            continue;
        }
        let lost = lost_tail(&disk);
        let at = format!(
            "the end of the log is lost: the log ends at revision {}, but the last server stopped at revision {} with generation 3",
            before.revision, newest.revision
        );
        assert!(lost.starts_with(&at), "{lost}");
        let mut journal = open(&disk).unwrap();
        assert_continues(&journal, before);
        // The new instance is kept, and nothing is in doubt any more.
        journal.commit(vec![register(node("new", 9))]).unwrap();
        seal(&mut journal, 9);
        let state = journal.state.clone();
        journal.close();
        let again = open(&disk.after_crash(&mut Random(0))).unwrap();
        assert_eq!(again.instance, NEW_INSTANCE);
        assert_same(&again.state, &state);
    }
    let intact = open(&used.disk).unwrap();
    assert_eq!(intact.instance, INSTANCE);
    assert_same(&intact.state, newest);
}

#[test]
fn damaged_last_frame_after_a_clean_stop_is_a_lost_tail() {
    let used = used(true);
    let [.., (before, _), (end, _)] = &used.frames[..] else {
        panic!("no frames");
    };
    let disk = used.disk.after_kill();
    let mut log = disk.read("log").unwrap().unwrap();
    log[(before + end) / 2] ^= 1;
    disk.overwrite("log", &log);
    let found = recover(&disk).unwrap().unwrap();
    assert!(found.log.is_torn && found.lost_tail.is_some());
    assert_eq!(open(&disk).unwrap().instance, NEW_INSTANCE);
}

#[test]
fn sealed_file_that_the_log_does_not_name_shows_a_lost_tail() {
    // Without a clean stop, the sealed files are the only evidence.
    let used = used(false);
    for (length, before) in &used.frames[..2] {
        let disk = cut(&used.disk, *length);
        let lost = lost_tail(&disk);
        let start = format!(
            "the end of the log is lost: the log ends at revision {}, and the log does not name the sealed file gen",
            before.revision
        );
        assert!(lost.starts_with(&start), "{lost}");
        assert_continues(&open(&disk).unwrap(), before);
    }
    let after_crash = used.disk.after_crash(&mut Random(0));
    assert_eq!(open(&after_crash).unwrap().instance, INSTANCE);
}

#[test]
fn log_that_was_cut_after_a_snapshot_continues_as_a_new_instance() {
    let disk = SimulatedDisk::default();
    let mut journal = open(&disk).unwrap();
    journal.commit(vec![register(node("a", 0))]).unwrap();
    seal(&mut journal, 0);
    journal.snapshot().unwrap();
    let before = journal.state.clone();
    let start = recover(&disk).unwrap().unwrap().log.start;
    journal.commit(vec![register(node("b", 0))]).unwrap();
    seal(&mut journal, 1);
    journal.close();
    let disk = cut(&disk, usize::try_from(start).unwrap());
    assert_continues(&open(&disk).unwrap(), &before);
}

#[test]
fn crash_at_any_operation_of_a_new_instance_continues_or_begins_another() {
    let used = used(true);
    let (length, before) = &used.frames[used.frames.len() - 2];
    hit_each_start(|fault, seed| {
        let disk = cut(&used.disk, *length);
        open_with_fault(&disk, fault);
        let operations = disk.operations();
        let mut random = Random(seed);
        for _ in 0..2 {
            let disk = disk.after_crash(&mut random);
            let journal = open(&disk).unwrap();
            assert_continues(&journal, before);
            let again = open(&disk.after_crash(&mut random)).unwrap();
            assert_same(&again.state, &journal.state);
        }
        operations
    });
}

#[test]
fn pending_file_is_no_evidence() {
    let disk = SimulatedDisk::default();
    let mut journal = open(&disk).unwrap();
    journal.commit(vec![register(node("a", 0))]).unwrap();
    let written = journal.generations().write(&generation(&journal.state, 0));
    assert!(written.is_ok());
    // The server is killed before the seal.
    let disk = disk.after_kill();
    assert_eq!(open(&disk).unwrap().instance, INSTANCE);
    assert_eq!(disk.list("generations").unwrap(), [""; 0]);
}

#[test]
fn directory_of_an_older_program_opens_as_before() {
    let disk = SimulatedDisk::default();
    let mut older = settings(INSTANCE);
    older.head.has_place = false;
    let journal = Journal::open(Arc::new(disk.clone()), &older).unwrap();
    let used = use_journal(disk, journal, false);
    used.disk.lose(PLACE);
    // Older programs gave a file its final name before the seal, so this can be the work of a crash.
    let (end, state) = &used.frames[used.frames.len() - 2];
    let disk = cut(&used.disk, *end);
    let oldest = generation_files::name_of(state.generations[0].digest);
    disk.restore(&oldest, &generation_file::to_file(&state.generations[0]));
    let journal = open(&disk).unwrap();
    assert_eq!(journal.instance, INSTANCE);
    assert_same(&journal.state, state);
    // With an empty log, everything that was acknowledged is lost.
    let disk = cut(&used.disk, used.frames[0].0);
    assert_eq!(open(&disk).unwrap().instance, NEW_INSTANCE);
}

#[test]
fn directory_that_lost_its_place_is_refused_until_the_operator_says_how_to_continue() {
    let used = used(true);
    used.disk.lose(PLACE);
    used.disk.lose(CLEAN);
    let (_, newest) = used.frames.last().unwrap();
    for (length, _) in &used.frames[1..] {
        let disk = cut(&used.disk, *length);
        let error = open(&disk).err();
        let is_refused = matches!(
            error,
            Some(DirectoryError::NoPlace { .. } | DirectoryError::Damaged { .. })
        );
        assert!(is_refused, "{length}: {error:?}");
    }
    for (relocation, instance) in [
        (Relocation::Moved, INSTANCE),
        (Relocation::Restored, NEW_INSTANCE),
    ] {
        let disk = used.disk.after_kill();
        let mut told = settings(NEW_INSTANCE);
        told.relocation = relocation;
        let journal = Journal::open(Arc::new(disk.clone()), &told).unwrap();
        assert_eq!(journal.instance, instance);
        assert_eq!(journal.state.registrations, newest.registrations);
        drop(journal);
        assert_eq!(open(&disk).unwrap().instance, instance);
    }
    // With `--moved`, a log that was cut is still noticed.
    let (length, _) = used.frames[used.frames.len() - 2];
    let disk = cut(&used.disk, length);
    assert!(lost_tail(&disk).contains("does not name the sealed file"));
}

#[test]
fn clean_mark_is_removed_before_the_first_change() {
    let used = used(true);
    let has_mark = || used.disk.read(CLEAN).unwrap().is_some();
    assert!(has_mark());
    let mut journal = open(&used.disk).unwrap();
    // A start without a change keeps the mark, so that it still protects the log.
    assert!(has_mark());
    let unchanged = register(node("c", 3));
    journal.commit(vec![unchanged]).unwrap();
    assert!(has_mark());
    journal.commit(vec![register(node("d", 4))]).unwrap();
    assert!(!has_mark());
    let crashed = used.disk.after_crash(&mut Random(1));
    assert!(crashed.read(CLEAN).unwrap().is_none());
    let journal = open(&crashed).unwrap();
    let revision = journal.state.revision;
    journal.close();
    let found = recover(&crashed).unwrap().unwrap();
    assert_eq!((found.state.revision, found.lost_tail), (revision, None));
}

#[test]
fn crash_at_any_operation_after_a_clean_stop_is_no_lost_tail() {
    let used = used(true);
    hit_each_start(|fault, seed| {
        let disk = used.disk.after_kill();
        disk.set_fault(fault);
        let mut acknowledged = used.frames.last().unwrap().1.clone();
        if let Ok(mut journal) = open(&disk) {
            for name in ["d", "e"] {
                let Ok(answers) = journal.commit(vec![register(node(name, seed))]) else {
                    break;
                };
                if answers[0].is_ok() {
                    acknowledged = journal.state.clone();
                }
            }
            journal.close();
        }
        let operations = disk.operations();
        let crashed = open(&disk.after_crash(&mut Random(seed))).unwrap();
        assert_eq!(crashed.instance, INSTANCE, "{fault:?}");
        assert!(crashed.state.revision >= acknowledged.revision, "{fault:?}");
        operations
    });
}

#[test]
fn directory_without_its_log_is_refused_if_it_was_used() {
    for name in [CLEAN, PLACE] {
        let used = used(true);
        for other in ["log", CLEAN, PLACE] {
            if other != name {
                used.disk.lose(other);
            }
        }
        for file in used.disk.list("generations").unwrap() {
            used.disk.lose(&format!("generations/{file}"));
        }
        let error = open(&used.disk).err();
        assert!(
            matches!(error, Some(DirectoryError::Damaged { .. })),
            "{name}: {error:?}"
        );
    }
}

#[test]
fn change_is_refused_if_the_clean_mark_cannot_be_removed() {
    let used = used(true);
    let mut journal = open(&used.disk).unwrap();
    let full = super::simulated_disk::Fault::FailOnce;
    used.disk.set_fault(Some((used.disk.operations(), full)));
    let request = || Request::Apply(vec![Change::register(node("d", 4))]);
    assert!(journal.commit(vec![request()]).unwrap()[0].is_err());
    used.disk.set_fault(None);
    assert!(journal.commit(vec![request()]).unwrap()[0].is_ok());
}
