//! Cancels: from the handle, from another process, at any moment.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use siltstone_backup::{
    api::{self, Backups},
    backend::Depth,
    error::ErrorKind,
    options::RestoreOptions,
    state::State,
};

use crate::{
    slow::{End, Slow},
    support::{
        assert_same, content, create, fill, memory, os_store, quick, restore, sim_store, wait_until,
    },
};

#[test]
fn a_canceled_backup_leaves_nothing_and_its_id_is_free() {
    let (_disk, store) = sim_store(20);
    fill(&store, 3000);
    let memory = memory();
    let slow = Slow::over(&memory, Duration::from_millis(20));
    let backups = Backups::new(store.clone()).unwrap();
    let handle = backups.create(&slow, "nightly", quick()).unwrap();
    while handle.status().state != State::Transferring {
        assert!(!handle.status().state.is_final(), "{:?}", handle.status());
        thread::sleep(Duration::from_millis(1));
    }
    handle.cancel();
    assert_eq!(handle.wait().expect_err("canceled").kind(), ErrorKind::Canceled);
    assert_eq!(handle.status().state, State::Canceled);
    let left: Vec<String> =
        memory.list("", Depth::All).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(left, ["repository.json"]);
    create(&store, &memory, "nightly");
}

#[test]
fn another_process_cancels_through_the_journal() {
    let (_disk, store) = sim_store(21);
    fill(&store, 2000);
    let slow = Slow::over(&memory(), Duration::from_millis(50));
    let backups = Backups::new(store.clone()).unwrap();
    let handle = backups.create(&slow, "nightly", quick()).unwrap();
    let status = api::request_cancel(store.env(), "nightly").unwrap();
    assert_eq!(status.attempt, handle.attempt());
    assert_eq!(handle.wait().expect_err("canceled").kind(), ErrorKind::Canceled);
    let statuses = api::statuses(store.env(), None).unwrap();
    assert_eq!(statuses[0].state, State::Canceled);
}

#[test]
fn a_canceled_restore_leaves_the_store_as_it_was() {
    let (_disk, store) = sim_store(22);
    fill(&store, 2000);
    let memory = memory();
    create(&store, &memory, "nightly");
    let (disk, other) = sim_store(23);
    other.flush().unwrap();
    let files = |disk: &siltstone_io::sim::SimDisk| -> Vec<String> {
        disk.paths().into_iter().filter(|path| path.contains(".seg")).collect()
    };
    let before = files(&disk);
    let slow = Slow::over(&memory, Duration::from_millis(50));
    let backups = Backups::new(other.clone()).unwrap();
    let handle = backups.restore(&slow, "nightly", RestoreOptions::default()).unwrap();
    handle.cancel();
    assert_eq!(handle.wait().expect_err("canceled").kind(), ErrorKind::Canceled);
    assert_eq!(files(&disk), before);
    assert!(other.catalog().collections.is_empty());
    restore(&other, &memory, "nightly");
    assert_same(&content(&other), &content(&store));
}

#[test]
fn one_operation_runs_at_a_time_and_the_second_is_told() {
    let (_disk, store) = sim_store(24);
    fill(&store, 1000);
    let memory = memory();
    let slow = Slow::over(&memory, Duration::from_millis(50));
    let backups = Backups::new(store.clone()).unwrap();
    let handle = backups.create(&slow, "first", quick()).unwrap();
    let second = backups.create(&slow, "second", quick());
    assert_eq!(second.expect_err("one runs").kind(), ErrorKind::Busy);
    let elsewhere = Backups::new(store.clone()).unwrap();
    let third = elsewhere.create(&Arc::clone(&memory), "third", quick());
    assert_eq!(third.expect_err("one runs").kind(), ErrorKind::Busy);
    handle.wait().unwrap();
    create(&store, &memory, "second");
}

#[test]
fn a_cancel_at_any_moment_gives_one_end_that_is_true() {
    let (_disk, store) = sim_store(25);
    fill(&store, 300);
    let memory = memory();
    let backups = Backups::new(store).unwrap();
    for round in 0..30_u64 {
        let id = format!("round-{round}");
        let handle = backups.create(&memory, &id, quick()).unwrap();
        thread::sleep(Duration::from_micros(round * 500));
        handle.cancel();
        let ended = handle.wait();
        let state = handle.status().state;
        let is_there = memory.stat(&format!("{id}/backup_config.json")).unwrap().is_some();
        match ended {
            Ok(_) => assert!(state == State::Success && is_there),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Canceled, "{error}");
                assert!(state == State::Canceled && !is_there);
                assert!(memory.list(&format!("{id}/"), Depth::All).unwrap().is_empty());
            }
        }
    }
}

/// What a caller is promised about a cancel, whatever the backend does.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

#[test]
fn a_cancel_is_shown_within_a_second_though_the_backend_never_answers() {
    let folder = tempfile::tempdir().unwrap();
    let store = os_store(&folder.path().join("store"));
    fill(&store, 2000);
    let all = {
        let (counted, requests) = Slow::dying(&memory(), u64::MAX);
        create(&store, &counted, "nightly");
        requests.load(Ordering::SeqCst)
    };
    // In the intent, in a chunk, and in the last part of the descriptor.
    for after in [4, all / 2, all - 3] {
        let memory = memory();
        let (silent, requests) = Slow::ending(&memory, after, End::Silent);
        let backups = Backups::new(store.clone()).unwrap();
        let handle = backups.create(&silent, "nightly", quick()).unwrap();
        wait_until(|| requests.load(Ordering::SeqCst) > after);
        handle.cancel();
        thread::sleep(SHOWN_WITHIN);
        let status = handle.status();
        assert_eq!(status.state, State::Canceled, "after {after}: {status:?}");
        let journal = api::statuses(store.env(), None).unwrap();
        assert_eq!(journal[0].state, State::Canceled, "after {after}");
        assert_eq!(handle.wait().expect_err("canceled").kind(), ErrorKind::Canceled);
        // The id is free, and what was left goes with the next backup to the same place.
        let made = create(&store, &memory, "nightly");
        let chunks = memory.list(".chunks/", Depth::All).unwrap();
        assert_eq!(chunks.len() as u64, made.totals.chunks, "after {after}");
        assert_eq!(memory.list("nightly/", Depth::All).unwrap().len(), 2, "after {after}");
    }
}

#[test]
fn a_start_against_a_silent_backend_fails_within_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let store = os_store(&folder.path().join("store"));
    fill(&store, 10);
    let memory = memory();
    create(&store, &memory, "nightly");
    let (silent, _) = Slow::ending(&memory, 0, End::Silent);
    let backups = Backups::new(store.clone()).unwrap();
    let clock = Arc::clone(&store.env().clock);
    let begun = clock.monotonic();
    let created = backups.create(&silent, "other", quick()).expect_err("no answer");
    let restored = backups.restore(&silent, "nightly", RestoreOptions::default());
    let restored = restored.expect_err("no answer");
    let elapsed = clock.monotonic().saturating_sub(begun);
    assert!(elapsed < Duration::from_secs(12), "{elapsed:?}");
    for error in [created, restored] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("no answer within 5 s"), "{error}");
    }
}

#[test]
fn a_backup_that_pins_too_much_fails_and_the_writers_go_on() {
    let (_disk, store) = sim_store(26);
    fill(&store, 2000);
    store.flush().unwrap();
    let slow = Slow::over(&memory(), Duration::from_millis(200));
    let backups = Backups::new(store.clone()).unwrap();
    let mut options = quick();
    options.pinned_bytes_max = Some(1 << 20);
    let handle = backups.create(&slow, "nightly", options).unwrap();
    wait_until(|| handle.status().state == State::Transferring);
    assert_eq!(store.metrics().pinned_bytes, 0);
    // What the backup still has to read is rewritten under it.
    store.drop_collection("birds").unwrap();
    store.drop_collection("fish").unwrap();
    let error = handle.wait().expect_err("too much is pinned");
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.to_string().contains("over the limit of 1048576"), "{error}");
    let status = handle.status();
    assert!(status.state == State::Failed && status.progress.bytes_pinned > 1 << 20, "{status:?}");
    let journal = api::statuses(store.env(), None).unwrap();
    assert_eq!(journal[0].progress.bytes_pinned, status.progress.bytes_pinned);
    store.create_collection("birds").unwrap();
    wait_until(|| store.metrics().pinned_bytes == 0);
}
