//! Requests that meet each other: the same id twice, other ids, a backup in a restore, names that
//! are taken.

use std::{sync::Arc, time::Duration};

use siltstone_backup::{
    api::Backups, backend::Backend, error::ErrorKind, options::RestoreOptions, state::State,
};
use siltstone_loopback::s3::{Operation, S3};
use siltstone_lsm::options::Durability;

use crate::{
    site::{
        Site, assert_error, assert_unchanged, bucket, check, durable_files, fresh_store,
        still_store,
    },
    slow::Slow,
    support::{assert_same, content, create, fill, memory, quick, sim_store},
};

fn slow(backend: &Arc<dyn Backend>) -> Arc<dyn Backend> {
    Slow::over(backend, Duration::from_millis(20))
}

#[test]
fn fault_13_of_one_id_asked_for_twice_one_backup_is_made() {
    // By one store: the second is told at once.
    let (_disk, store) = sim_store(130);
    fill(&store, 1000);
    let memory = memory();
    let backups = Backups::new(store.clone()).unwrap();
    let first = backups.create(&slow(&memory), "nightly", quick()).unwrap();
    let second = backups.create(&memory, "nightly", quick()).expect_err("one runs");
    assert_eq!(second.kind(), ErrorKind::Busy, "{second}");
    first.wait().unwrap();
    check(&memory, "nightly", &content(&store));
    let third = backups.create(&memory, "nightly", quick()).expect_err("it is there");
    assert_error(&third, ErrorKind::Exists, &["'nightly' exists already"]);

    // By two stores: both run, one wins, and what is there is the winner's alone.
    let (_disk, other) = sim_store(131);
    fill(&other, 400);
    let birds = other.tree("birds", None).unwrap();
    other.put(birds, b"whose", b"other", Durability::Sync).unwrap();
    let stores = [store, other];
    let contents = stores.each_ref().map(content);
    let mut wins = [0, 0];
    for round in 0..12 {
        let s3 = S3::start().unwrap();
        let pick = |index: usize| {
            let backend = bucket(&s3);
            let late = round % 3 == index; // so that now this one is behind, now that one
            if late { slow(&backend) } else { backend }
        };
        let handles = [0, 1].map(|index| {
            let backups = Backups::new(stores[index].clone()).unwrap();
            backups.create(&pick(index), "nightly", quick())
        });
        let outcomes = handles.map(|handle| handle.and_then(|handle| handle.wait()));
        let winners: Vec<usize> = (0..2).filter(|index| outcomes[*index].is_ok()).collect();
        let [winner] = winners[..] else { panic!("one wins: {outcomes:?}") };
        let loser = outcomes[1 - winner].as_ref().expect_err("it lost");
        assert_error(loser, ErrorKind::Exists, &["'nightly' exists already"]);
        check(&bucket(&s3), "nightly", &contents[winner]);
        wins[winner] += 1;
    }
    assert!(wins.iter().all(|wins| *wins > 0), "{wins:?}");
}

#[test]
fn fault_14_other_ids_wait_their_turn_and_other_stores_do_not() {
    let (_disk, store) = sim_store(140);
    fill(&store, 1000);
    let memory = memory();
    let backups = Backups::new(store.clone()).unwrap();
    let first = backups.create(&slow(&memory), "first", quick()).unwrap();
    for id in ["second", "third"] {
        let error = backups.create(&memory, id, quick()).expect_err("one runs");
        assert_error(&error, ErrorKind::Busy, &["the backup '", "runs (", "cancel it"]);
    }
    // Another store into the same repository is in nobody's way.
    let (_disk, other) = sim_store(141);
    fill(&other, 300);
    create(&other, &memory, "second");
    first.wait().unwrap();
    create(&store, &memory, "third");
    for (id, store) in [("first", &store), ("second", &other), ("third", &store)] {
        check(&memory, id, &content(store));
    }
}

#[test]
fn fault_15_backup_and_restore_of_a_store_exclude_each_other() {
    let (_disk, store) = sim_store(150);
    fill(&store, 1000);
    let expected = content(&store);
    let memory = memory();
    create(&store, &memory, "nightly");

    let (_disk, target) = fresh_store();
    let backups = Backups::new(target.clone()).unwrap();
    let restoring = backups.restore(&slow(&memory), "nightly", RestoreOptions::default()).unwrap();
    let error = backups.create(&memory, "meanwhile", quick()).expect_err("a restore runs");
    assert_error(&error, ErrorKind::Busy, &["the restore of 'nightly' runs ("]);
    restoring.wait().unwrap();
    assert_same(&content(&target), &expected);

    let making = backups.create(&slow(&memory), "reverse", quick()).unwrap();
    let mut options = RestoreOptions::default();
    options.rename = vec![("birds".to_owned(), "more".to_owned())];
    options.selection.include = vec!["birds".to_owned()];
    let error = backups.restore(&memory, "nightly", options.clone()).expect_err("a backup runs");
    assert_error(&error, ErrorKind::Busy, &["the backup 'reverse' runs ("]);
    making.wait().unwrap();
    check(&memory, "reverse", &expected);
    backups.restore(&memory, "nightly", options).unwrap().wait().unwrap();
    assert_eq!(content(&target)["more"], expected["birds"]);
}

#[test]
fn fault_17_a_restore_onto_names_that_exist_fetches_and_changes_nothing() {
    let site = Site::filled(1000);
    let s3 = S3::start().unwrap();
    site.succeeds(&bucket(&s3), quick());
    let (disk, target) = still_store();
    let fish = target.create_collection("fish").unwrap();
    target.put(fish, b"mine", b"old", Durability::Sync).unwrap();
    let backups = Backups::new(target.clone()).unwrap();
    let (before, sequence) = (durable_files(&disk), target.snapshot().sequence());
    let requests = s3.requests();
    let restored = backups.restore(&bucket(&s3), "nightly", RestoreOptions::default());
    assert_error(&restored.expect_err("fish is there"), ErrorKind::Exists, &["fish"]);
    let seen = s3.seen().split_off(requests);
    let fetched = seen.iter().filter(|it| it.object.starts_with(".chunks/")).count();
    assert_eq!(fetched, 0, "{seen:?}");
    let wrote = |operation| seen.iter().any(|it| it.operation == operation);
    assert!(!wrote(Operation::Put) && !wrote(Operation::Delete));
    assert_unchanged(&disk, &before);
    assert_eq!(target.snapshot().sequence(), sequence);
    assert_eq!(content(&target).len(), 1);
    let state = siltstone_backup::api::statuses(target.env(), None).unwrap();
    assert!(state.iter().all(|status| status.state != State::Success), "{state:?}");
}
