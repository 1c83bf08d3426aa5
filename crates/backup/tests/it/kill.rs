//! Backends that stop at every request; a repository whose disk loses power. (Power loss under the
//! store itself: `tests/faults/power.rs`.)

use std::sync::{Arc, atomic::Ordering};

use siltstone_backup::{
    api::Backups,
    backend::{self, Backend, Depth},
    error::ErrorKind,
    options::RestoreOptions,
};
use siltstone_io::{
    env::Env,
    sim::{Crash, SimDisk},
};

use crate::{
    slow::Slow,
    support::{assert_same, content, create, fill, memory, quick, restore, sim_store},
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
