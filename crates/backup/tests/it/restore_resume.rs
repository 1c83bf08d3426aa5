//! Restores that were cut off, and go on: what they fetched whole is not fetched again, and what they
//! left goes when nobody needs it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use siltstone_backup::{
    api::{self, Backups},
    backend::Backend,
    error::ErrorKind,
    operation::Summary,
    options::RestoreOptions,
    state::State,
};
use siltstone_io::{
    env::Env,
    fault::{Fault, FaultDisk, FaultRule},
    sim::SimDisk,
};
use siltstone_lsm::{format::names, store::Store};

use crate::{
    slow::Slow,
    support::{
        Rows, assert_same, content, create, fill, memory, open, open_sim, quick, restore,
        sim_store, wait_until,
    },
};

/// Free space under which an operation gives up.
const RESERVE: u64 = 64 << 20;

/// A file for each segment, but for small ones.
fn small_files() -> RestoreOptions {
    let mut options = RestoreOptions::default();
    options.file_bytes_max = 64 << 10;
    options
}

/// A backup of a store of so many rows a tree, and what is in it.
fn backup(seed: u64, rows: u32) -> (Arc<dyn Backend>, BTreeMap<String, Rows>) {
    let (_disk, store) = sim_store(seed);
    fill(&store, rows);
    let memory = memory();
    create(&store, &memory, "nightly");
    (memory, content(&store))
}

/// Restores into `store`; returns what the summary and the backend say.
fn restored(store: &Store, backend: &Arc<dyn Backend>) -> (Summary, u64) {
    let (counting, fetched) = Slow::counting(backend);
    let backups = Backups::new(store.clone()).unwrap();
    let summary = backups.restore(&counting, "nightly", small_files()).unwrap().wait().unwrap();
    (summary, fetched.load(Ordering::SeqCst))
}

/// A restore whose backend dies after so many requests; `None` if it lived to the end.
fn cut_off(store: &Store, backend: &Arc<dyn Backend>, after: u64) -> Option<ErrorKind> {
    let (dying, _) = Slow::dying(backend, after);
    let backups = Backups::new(store.clone()).unwrap();
    let started = backups.restore(&dying, "nightly", small_files());
    started.and_then(|handle| handle.wait()).err().map(|error| error.kind())
}

/// How many requests it takes until at least `files` files are held, and that restore.
fn cut_off_with(store: &Store, backend: &Arc<dyn Backend>, files: u64) {
    for after in 4.. {
        assert!(cut_off(store, backend, after).is_some(), "{files} files are never held");
        if store.metrics().held_files >= files {
            return;
        }
        store.discard_held().unwrap();
    }
}

fn segment_files(disk: &SimDisk) -> Vec<String> {
    disk.paths().into_iter().filter(|path| path.contains(".seg")).collect()
}

#[test]
fn a_restore_that_lost_its_backend_at_any_request_goes_on_where_it_stopped() {
    let (memory, expected) = backup(80, 3000);
    let (whole, fetched_whole) = restored(&sim_store(81).1, &memory);
    assert_eq!(whole.progress.bytes_reused, 0);
    let (mut reused_most, mut times) = (0, 0);
    for after in 0.. {
        let (_disk, store) = sim_store(82);
        if cut_off(&store, &memory, after).is_none() {
            break;
        }
        assert!(store.catalog().collections.is_empty(), "after {after}");
        let held = store.metrics().held_bytes;
        if let Some(status) = api::statuses(store.env(), None).unwrap().first() {
            assert_eq!(status.state, State::Failed, "after {after}");
            assert_eq!(status.progress.bytes_held, held, "after {after}");
        }
        let (summary, fetched) = restored(&store, &memory);
        let progress = summary.progress;
        assert_eq!(progress.bytes_reused, held, "after {after}: every held byte is of use");
        let all = whole.totals.segment_bytes;
        assert_eq!(progress.bytes_done + progress.bytes_reused, all, "after {after}");
        assert_eq!(summary.totals, whole.totals, "after {after}");
        assert_eq!(fetched < fetched_whole, held > 0, "after {after}: {fetched} bytes");
        reused_most = reused_most.max(held);
        times += u32::from(held > 0);
        assert_eq!((store.metrics().held_bytes, store.held_files().len()), (0, 0));
        assert_same(&content(&store), &expected);
        store.verify(&mut |_, _| ()).unwrap();
    }
    assert!(reused_most > whole.totals.segment_bytes / 2, "{reused_most} of {whole:?}");
    assert!(times > 2, "{times}");
}

#[test]
fn a_restore_goes_on_after_every_failure_of_the_disk() {
    let (memory, expected) = backup(83, 150);
    let (mut failed, mut reused) = (0, 0);
    for nth in 1.. {
        let sim = SimDisk::new(84);
        let faults = Arc::new(FaultDisk::new(Arc::new(sim.clone())));
        let store = open(Env::seeded(Arc::clone(&faults) as _, 84));
        faults.inject(FaultRule::new(Fault::Device).at(nth));
        let ended = Backups::new(store.clone())
            .and_then(|backups| backups.restore(&memory, "nightly", small_files()))
            .and_then(|handle| handle.wait());
        let fired = faults.fired() > 0;
        faults.heal();
        drop(store);
        // It may be poisoned: the next try is that of another process.
        let store = open_sim(&sim, 85);
        if content(&store).is_empty() {
            failed += 1;
            assert!(ended.is_err() && fired, "operation {nth}");
            let (summary, _) = restored(&store, &memory);
            reused += u32::from(summary.progress.bytes_reused > 0);
        }
        assert_same(&content(&store), &expected);
        store.verify(&mut |_, _| ()).unwrap();
        assert_eq!(store.metrics().held_files, 0, "operation {nth}");
        if !fired {
            break;
        }
    }
    assert!(failed > 30 && reused > 10, "{failed} failed, {reused} went on");
}

#[test]
fn a_flipped_bit_in_what_was_left_is_found_and_fetched_again() {
    let (memory, expected) = backup(86, 2500);
    let (disk, store) = sim_store(87);
    cut_off_with(&store, &memory, 3);
    drop(store);
    disk.settle();
    let (whole, _) = restored(&sim_store(88).1, &memory);
    let probe = open_sim(&disk.fork(), 89);
    let held = probe.held_files();
    let bytes = probe.metrics().held_bytes;
    for file in &held {
        for at in [0, file.length / 2, file.length - 1] {
            let damaged = disk.fork();
            damaged.flip(names::file(file.file).as_str(), at, 5).unwrap();
            let store = open_sim(&damaged, 90);
            assert_eq!(store.metrics().held_bytes, bytes, "an open does not look into them");
            let progress = restored(&store, &memory).0.progress;
            assert_eq!(progress.bytes_reused, bytes - file.length);
            assert_eq!(progress.bytes_done, whole.totals.segment_bytes - progress.bytes_reused);
            assert_same(&content(&store), &expected);
            store.verify(&mut |_, _| ()).unwrap();
            assert!(!segment_files(&damaged).contains(&names::file(file.file).to_string()));
        }
    }
}

#[test]
fn what_was_left_survives_the_process_and_goes_with_an_unrelated_restore() {
    let (memory, expected) = backup(91, 2500);
    let (disk, store) = sim_store(92);
    cut_off_with(&store, &memory, 2);
    let bytes = store.metrics().held_bytes;
    drop(store);
    let again = disk.fork();
    for seed in 93..95 {
        let store = open_sim(&again, seed);
        assert_eq!(store.metrics().held_bytes, bytes);
        store.create_collection(&format!("other {seed}")).unwrap();
    }
    let store = open_sim(&again, 95);
    assert_eq!(restored(&store, &memory).0.progress.bytes_reused, bytes);
    let mut found = content(&store);
    found.retain(|name, _| !name.starts_with("other"));
    assert_same(&found, &expected);

    let (other_source, other) = (sim_store(96).1, crate::support::memory());
    let tree = other_source.create_collection("elsewhere").unwrap();
    let durability = siltstone_lsm::options::Durability::Sync;
    other_source.put(tree, b"key", b"value", durability).unwrap();
    create(&other_source, &other, "small");
    let store = open_sim(&disk, 97);
    let held = store.held_files();
    assert_eq!(restore(&store, &other, "small").progress.bytes_reused, 0);
    assert_eq!(store.metrics().held_bytes, 0);
    let left = segment_files(&disk);
    assert!(held.iter().all(|held| !left.contains(&names::file(held.file).to_string())));
    assert_eq!(restored(&store, &memory).0.progress.bytes_reused, 0);
}

#[test]
fn a_canceled_restore_leaves_no_file_of_this_or_an_earlier_try() {
    let (memory, expected) = backup(98, 4000);
    for earlier in [false, true] {
        let (disk, store) = sim_store(99);
        let before = segment_files(&disk);
        if earlier {
            cut_off_with(&store, &memory, 2);
        }
        let held = store.metrics().held_bytes;
        let backups = Backups::new(store.clone()).unwrap();
        let slow = Slow::over(&memory, Duration::from_millis(100));
        let handle = backups.restore(&slow, "nightly", small_files()).unwrap();
        wait_until(|| store.metrics().held_bytes > held || handle.status().state.is_final());
        handle.cancel();
        assert_eq!(handle.wait().expect_err("canceled").kind(), ErrorKind::Canceled);
        assert_eq!((store.metrics().held_files, segment_files(&disk)), (0, before));
        assert_eq!(api::statuses(store.env(), None).unwrap()[0].progress.bytes_held, 0);
        assert_eq!(restored(&store, &memory).0.progress.bytes_reused, 0);
        assert_same(&content(&store), &expected);
    }
}

#[test]
fn a_disk_with_room_for_the_rest_alone_is_enough() {
    let (memory, expected) = backup(100, 3000);
    let (disk, store) = sim_store(101);
    cut_off_with(&store, &memory, 3);
    let held = store.metrics().held_bytes;
    let total = restored(&sim_store(102).1, &memory).0.totals.segment_bytes;
    let rest = total - held;
    disk.set_capacity(1 << 40);
    let used = (1 << 40) - store.env().disk.free_bytes().unwrap();
    disk.set_capacity(used + RESERVE + rest / 2);
    let backups = Backups::new(store.clone()).unwrap();
    let refused = backups.restore(&memory, "nightly", small_files()).expect_err("too little");
    assert_eq!(refused.kind(), ErrorKind::NoSpace);
    assert_eq!(store.metrics().held_bytes, held, "refused before it began");
    // Journal, log and manifest need a little too.
    disk.set_capacity(used + RESERVE + rest + held / 2);
    assert_eq!(restored(&store, &memory).0.progress.bytes_reused, held);
    assert_same(&content(&store), &expected);
}

#[test]
fn an_operator_can_have_the_space_back() {
    let (memory, expected) = backup(104, 2500);
    let (disk, store) = sim_store(105);
    let before = segment_files(&disk);
    cut_off_with(&store, &memory, 3);
    let backups = Backups::new(store.clone()).unwrap();
    let slow = Slow::over(&memory, Duration::from_millis(100));
    let running = backups.restore(&slow, "nightly", small_files()).unwrap();
    let busy = backups.discard_held().expect_err("a restore runs");
    assert_eq!(busy.kind(), ErrorKind::Busy);
    assert!(busy.to_string().starts_with("the restore of 'nightly' runs ("), "{busy}");
    running.cancel();
    running.wait().expect_err("canceled");

    cut_off_with(&store, &memory, 3);
    let held = store.metrics().held_bytes;
    assert_eq!(backups.discard_held().unwrap(), held);
    assert_eq!((backups.discard_held().unwrap(), segment_files(&disk)), (0, before));
    assert_eq!(restored(&store, &memory).0.progress.bytes_reused, 0);
    assert_same(&content(&store), &expected);
    let made = backups.create(&memory, "later", quick()).unwrap().wait().unwrap();
    assert_eq!(made.progress.bytes_pinned, 0);
}
