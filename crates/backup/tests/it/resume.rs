//! Backups that were cut off, and go on.

use std::sync::atomic::Ordering;

use siltstone_backup::{
    api::Backups, backend::Depth, error::ErrorKind, operation::Summary, state::State,
};
use siltstone_lsm::store::Store;

use crate::{
    slow::{End, Slow},
    support::{assert_same, content, create, fill, memory, quick, restore, sim_store},
};

/// How many requests a whole backup makes, and the backup.
fn requests_of_a_backup(store: &Store) -> (u64, Summary) {
    let (counted, requests) = Slow::dying(&memory(), u64::MAX);
    let whole = create(store, &counted, "nightly");
    (requests.load(Ordering::SeqCst), whole)
}

#[test]
fn a_backup_that_lost_its_backend_goes_on_where_it_stopped() {
    let (_disk, store) = sim_store(60);
    fill(&store, 3000);
    let expected = content(&store);
    let (all, whole) = requests_of_a_backup(&store);
    let mut reused_at_most = 0;
    for after in (4..all).step_by(13) {
        let memory = memory();
        let (dying, _) = Slow::ending(&memory, after, End::Fails(ErrorKind::Unavailable));
        let backups = Backups::new(store.clone()).unwrap();
        let handle = backups.create(&dying, "nightly", quick()).unwrap();
        if handle.wait().is_ok() {
            continue; // it died after the commit
        }
        assert_eq!(handle.status().state, State::Failed, "after {after}");
        let left = memory.list(".chunks/", Depth::All).unwrap().len() as u64;
        let made = create(&store, &memory, "nightly");
        let progress = made.progress;
        reused_at_most = reused_at_most.max(progress.bytes_reused);
        assert_eq!(
            progress.bytes_done + progress.bytes_reused,
            whole.totals.segment_bytes,
            "after {after}"
        );
        assert!(left < 2 || progress.bytes_reused > 0, "after {after}: {left} chunks, {made:?}");
        // Nothing of the first attempt is left but what the second uses.
        let chunks = memory.list(".chunks/", Depth::All).unwrap();
        assert_eq!(chunks.len() as u64, made.totals.chunks, "after {after}");
        assert_eq!(memory.list("nightly/", Depth::All).unwrap().len(), 2, "after {after}");
        let (_other_disk, other) = sim_store(61);
        restore(&other, &memory, "nightly");
        assert_same(&content(&other), &expected);
    }
    assert!(reused_at_most > whole.totals.segment_bytes / 2, "{reused_at_most}: {whole:?}");
}

#[test]
fn a_chunk_that_vanished_meanwhile_is_stored_again() {
    let (_disk, store) = sim_store(62);
    fill(&store, 3000);
    let (memory, (all, _)) = (memory(), requests_of_a_backup(&store));
    let (dying, _) = Slow::ending(&memory, all * 2 / 3, End::Fails(ErrorKind::Unavailable));
    let backups = Backups::new(store.clone()).unwrap();
    backups.create(&dying, "nightly", quick()).unwrap().wait().expect_err("the backend is gone");
    let chunks = memory.list(".chunks/", Depth::All).unwrap();
    assert!(!chunks.is_empty());
    memory.delete(&chunks[0].name).unwrap();
    create(&store, &memory, "nightly");
    let (_other_disk, other) = sim_store(63);
    restore(&other, &memory, "nightly");
    assert_same(&content(&other), &content(&store));
}

#[test]
fn chunks_of_a_try_that_failed_again_still_go_in_the_end() {
    let (_disk, store) = sim_store(64);
    fill(&store, 3000);
    let (memory, (all, _)) = (memory(), requests_of_a_backup(&store));
    let backups = Backups::new(store.clone()).unwrap();
    let (dying, _) = Slow::ending(&memory, all * 2 / 3, End::Fails(ErrorKind::Unavailable));
    backups.create(&dying, "nightly", quick()).unwrap().wait().expect_err("the backend is gone");
    assert!(!memory.list(".chunks/", Depth::All).unwrap().is_empty());
    let (dying, _) = Slow::ending(&memory, all / 3, End::Fails(ErrorKind::Denied));
    backups.create(&dying, "nightly", quick()).unwrap().wait().expect_err("the backend is gone");
    create(&store, &memory, "nightly");
    let made = create(&store, &memory, "later");
    let chunks = memory.list(".chunks/", Depth::All).unwrap();
    assert_eq!(chunks.len() as u64, made.totals.chunks);
}
