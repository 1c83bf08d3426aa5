//! Backends that stop at every request; power loss at every operation of the disk.

use std::sync::{Arc, atomic::Ordering};

use siltstone_backup::{
    api::{self, Backups},
    backend::{self, Backend, Depth},
    error::ErrorKind,
    handle::Status,
    options::RestoreOptions,
    state::State,
};
use siltstone_io::{
    env::Env,
    sim::{Crash, SimDisk},
};

use crate::{
    slow::Slow,
    support::{assert_same, content, create, fill, memory, open_sim, quick, restore, sim_store},
};

fn is_there(backend: &Arc<dyn Backend>, id: &str) -> bool {
    backend.stat(&format!("{id}/backup_config.json")).unwrap().is_some()
}

#[test]
fn a_backend_that_dies_at_any_request_never_spoils_a_backup() {
    let (_disk, store) = sim_store(40);
    fill(&store, 600);
    let expected = content(&store);
    let count = {
        let (counted, requests) = Slow::dying(&memory(), u64::MAX);
        create(&store, &counted, "nightly");
        requests.load(Ordering::SeqCst)
    };
    assert!(count > 10, "{count}");
    for after in 0..count {
        let memory = memory();
        let (dying, _) = Slow::dying(&memory, after);
        let backups = Backups::new(store.clone()).unwrap();
        let ended = backups.create(&dying, "nightly", quick()).and_then(|handle| handle.wait());
        assert_eq!(ended.is_ok(), is_there(&memory, "nightly"), "after {after}: {ended:?}");
        // What is left does not stand in the way, and goes with the next operation.
        create(&store, &memory, if ended.is_ok() { "later" } else { "nightly" });
        let (_other_disk, other) = sim_store(41);
        restore(&other, &memory, "nightly");
        assert_same(&content(&other), &expected);
        let orphans = memory.list("nightly/", Depth::All).unwrap();
        assert_eq!(orphans.len(), 3, "after {after}: {orphans:?}");
    }
}

#[test]
fn a_backend_that_dies_at_any_request_never_spoils_a_restore() {
    let (_disk, store) = sim_store(42);
    fill(&store, 300);
    let expected = content(&store);
    let memory = memory();
    create(&store, &memory, "nightly");
    for after in 0.. {
        let (_other_disk, other) = sim_store(43);
        let (dying, requests) = Slow::dying(&memory, after);
        let backups = Backups::new(other.clone()).unwrap();
        let started = backups.restore(&dying, "nightly", RestoreOptions::default());
        match started.and_then(|handle| handle.wait()) {
            Ok(_) => assert_same(&content(&other), &expected),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Denied, "after {after}: {error}");
                assert!(other.catalog().collections.is_empty());
                restore(&other, &memory, "nightly");
                assert_same(&content(&other), &expected);
            }
        }
        if requests.load(Ordering::SeqCst) <= after {
            break; // it lived to the end
        }
    }
}

#[test]
fn a_machine_that_dies_in_a_backup_recovers_to_a_true_state() {
    let (filled, store) = sim_store(44);
    fill(&store, 300);
    let expected = content(&store);
    store.close().unwrap();
    drop(store);
    filled.settle();
    let whole = filled.fork();
    let begun = {
        let store = open_sim(&whole, 45);
        let begun = whole.operations();
        create(&store, &memory(), "nightly");
        begun
    };
    for steps in begun..=whole.operations() {
        let (disk, memory) = (filled.fork(), memory());
        {
            let store = open_sim(&disk, 45);
            disk.stop_after(steps);
            if let Ok(backups) = Backups::new(store.clone()) {
                let ended = backups.create(&memory, "nightly", quick());
                drop(ended.and_then(|handle| handle.wait()));
            }
        }
        for (index, crash) in Crash::matrix(steps).into_iter().enumerate() {
            let store = open_sim(&disk.crash(crash), 46);
            check_statuses(&store, &memory);
            assert_same(&content(&store), &expected);
            create(&store, &memory, &format!("after-{index}"));
        }
        let made = is_there(&memory, "nightly");
        for id in ["after-0", "nightly"].iter().take(1 + usize::from(made)) {
            let (_other_disk, other) = sim_store(47);
            restore(&other, &memory, id);
            assert_same(&content(&other), &expected);
        }
    }
}

/// After a reopen no operation is left half-way, and SUCCESS is said exactly where it is true.
fn check_statuses(store: &siltstone_lsm::store::Store, backend: &Arc<dyn Backend>) {
    drop(Backups::new(store.clone()).unwrap());
    let present = is_there(backend, "nightly");
    for status in api::statuses(store.env(), Some(backend)).unwrap() {
        assert!(status.state.is_final(), "{status:?}");
        assert_eq!(status.state == State::Success, present, "{status:?}");
    }
}

#[test]
fn a_machine_that_dies_in_a_restore_has_all_of_it_or_nothing() {
    let (_disk, store) = sim_store(48);
    fill(&store, 200);
    let expected = content(&store);
    let memory = memory();
    create(&store, &memory, "nightly");
    let whole = SimDisk::new(49);
    let begun = {
        let store = open_sim(&whole, 49);
        let begun = whole.operations();
        restore(&store, &memory, "nightly");
        begun
    };
    for steps in begun..=whole.operations() {
        let disk = SimDisk::new(49);
        {
            let store = open_sim(&disk, 49);
            disk.stop_after(steps);
            if let Ok(backups) = Backups::new(store.clone()) {
                let ended = backups.restore(&memory, "nightly", RestoreOptions::default());
                drop(ended.and_then(|handle| handle.wait()));
            }
        }
        for crash in Crash::matrix(steps) {
            let disk = disk.crash(crash);
            let store = open_sim(&disk, 50);
            let backups = Backups::new(store.clone()).unwrap();
            let found = content(&store);
            if found.is_empty() {
                let again = backups.restore(&memory, "nightly", RestoreOptions::default());
                again.unwrap().wait().unwrap();
            }
            assert_same(&content(&store), &expected);
            let success = |status: &Status| status.state == State::Success;
            let statuses = api::statuses(store.env(), Some(&memory)).unwrap();
            assert!(statuses.iter().all(|status| status.state.is_final()), "{statuses:?}");
            assert_eq!(statuses.iter().filter(|status| success(status)).count(), 1);
        }
    }
}

#[test]
fn a_repository_on_a_disk_that_loses_power_after_success_restores() {
    let (_disk, store) = sim_store(51);
    fill(&store, 500);
    let expected = content(&store);
    let disk = SimDisk::new(52);
    let folder = backend::open_disk(Env::seeded(Arc::new(disk.clone()), 52)).unwrap();
    create(&store, &folder, "nightly");
    for crash in Crash::matrix(52) {
        let after = Env::seeded(Arc::new(disk.crash(crash)), 53);
        let folder = backend::open_disk(after).unwrap();
        let (_other_disk, other) = sim_store(54);
        restore(&other, &folder, "nightly");
        assert_same(&content(&other), &expected);
    }
}
