//! Checks with concurrent writers on two handles.

use std::sync::Arc;

use super::{Handles, catch_up, claim, id, node, register};
use crate::{Change, CommitError, RejectionReason, Store};

const WRITERS: usize = 64;

pub(super) async fn concurrent_registrations_are_all_kept<S: Store>(handles: Handles<S>) {
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..WRITERS {
        let store: Arc<S> = handles[at % 2].clone();
        tasks.spawn(async move { register(&*store, &format!("n{at}"), "10.0.0.1").await });
    }
    let commits = tasks.join_all().await;
    let newest = commits.iter().map(|commit| commit.revision).max().unwrap();
    for store in &handles {
        catch_up(&**store, newest).await;
        let state = store.state();
        assert_eq!(state.registrations.len(), WRITERS);
        let revisions = state.registrations.values().map(|known| known.revision);
        assert_eq!(revisions.max(), Some(newest));
    }
}

/// When a write is answered, the state already shows it. Later reads never return an older state.
pub(super) async fn writer_reads_its_own_writes<S: Store>(handles: Handles<S>) {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let store: Arc<S> = handles[writer % 2].clone();
        tasks.spawn(async move {
            let name = format!("n{writer}");
            for turn in 0..8 {
                let ip = format!("10.0.0.{turn}");
                let commit = register(&*store, &name, &ip).await;
                let state = store.state();
                assert!(state.revision >= commit.revision);
                let known = &state.registrations[name.as_str()];
                assert_eq!(*known.registration, node(&name, &ip));
                assert_eq!(known.revision, commit.revision);
            }
        });
    }
    tasks.join_all().await;
}

pub(super) async fn one_of_two_keys_owns_a_contested_identifier<S: Store>(handles: Handles<S>) {
    for round in 0..8 {
        let name = format!("n{round}");
        let mut tasks = tokio::task::JoinSet::new();
        for (store, ip) in handles.iter().cloned().zip(["10.0.0.1", "10.0.0.2"]) {
            let changes = vec![claim(&name, ip), Change::register(node(&name, ip))];
            tasks.spawn(async move { (ip, store.apply(changes).await) });
        }
        let mut owners = Vec::new();
        for (ip, answer) in tasks.join_all().await {
            match answer {
                Ok(_) => owners.push(ip),
                Err(CommitError::Rejected(rejection)) => {
                    let different_key = RejectionReason::DifferentKey(id(&name));
                    assert_eq!(rejection.reason, different_key);
                }
                Err(error) => panic!("{error}"),
            }
        }
        let [owner] = owners[..] else {
            panic!("expected one owner of {name}, got {owners:?}");
        };
        let newest = handles.iter().map(|store| store.state().revision).max();
        catch_up(&*handles[0], newest.unwrap()).await;
        let state = handles[0].state();
        let registration = &state.registrations[name.as_str()].registration;
        assert_eq!(**registration, node(&name, owner));
    }
}
