//! The local disk is full, fails, or has rotten.

use std::sync::Arc;

use siltstone_backup::{
    api::{self, Backups},
    error::ErrorKind,
    options::RestoreOptions,
    state::State,
};
use siltstone_io::{
    env::Env,
    fault::{Fault, FaultDisk, FaultRule},
    sim::SimDisk,
    tap::Operation,
};
use siltstone_loopback::s3::S3;
use siltstone_lsm::{options::Durability, store::Store};

use crate::{
    site::{assert_error, bucket, check, fresh_store},
    support::{
        assert_same, content, create, fill, memory, open, open_sim, quick, restore, sim_store,
    },
};

/// A store on a simulated disk whose calls can be made to fail.
fn failing(sim: &SimDisk, seed: u64) -> (Arc<FaultDisk>, Store) {
    let disk = Arc::new(FaultDisk::new(Arc::new(sim.clone())));
    let store = open(Env::seeded(Arc::clone(&disk) as _, seed));
    (disk, store)
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.paths().into_iter().filter(|path| path.contains(".seg")).collect()
}

#[test]
fn fault_24_a_full_disk_fails_the_restore_and_leaves_a_healthy_store() {
    let (_disk, source) = sim_store(240);
    fill(&source, 500);
    let (memory, expected) = (memory(), content(&source));
    create(&source, &memory, "nightly");
    let mut failures = 0;
    for nth in 1.. {
        let sim = SimDisk::new(241);
        let (faults, target) = failing(&sim, 241);
        let mine = target.create_collection("mine").unwrap();
        target.put(mine, b"key", b"value", Durability::Sync).unwrap();
        target.flush().unwrap();
        let before = segments(&sim);
        let backups = Backups::new(target.clone()).unwrap();
        faults.inject(FaultRule::new(Fault::NoSpace).at(nth).forever().path(".seg"));
        let started = backups.restore(&memory, "nightly", RestoreOptions::default());
        let ended = started.and_then(|handle| handle.wait());
        let fired = faults.fired();
        faults.heal();
        if fired == 0 {
            ended.unwrap();
            break;
        }
        failures += 1;
        let error = ended.expect_err("the disk is full");
        assert_eq!(error.kind(), ErrorKind::NoSpace, "operation {nth}: {error}");
        let status = &api::statuses(target.env(), None).unwrap()[0];
        assert_eq!(status.state, State::Failed, "operation {nth}: {status:?}");
        assert_eq!(segments(&sim), before, "operation {nth}: nothing stays");
        // The store takes writes, and the restore when there is space again.
        target.put(mine, b"later", b"value", Durability::Sync).unwrap();
        backups.restore(&memory, "nightly", RestoreOptions::default()).unwrap().wait().unwrap();
        let mut found = content(&target);
        assert_eq!(found.remove("mine").unwrap().len(), 2);
        assert_same(&found, &expected);
        target.verify(&mut |_, _| ()).unwrap();
    }
    assert!(failures > 5, "{failures} operations failed in turn");

    // What is known beforehand to be too much is refused before any chunk is fetched.
    let s3 = S3::start().unwrap();
    create(&source, &bucket(&s3), "nightly");
    let (disk, target) = fresh_store();
    disk.set_capacity(1 << 20);
    let (requests, backups) = (s3.requests(), Backups::new(target.clone()).unwrap());
    let refused = backups.restore(&bucket(&s3), "nightly", RestoreOptions::default());
    let error = refused.expect_err("there is no room");
    assert_error(&error, ErrorKind::NoSpace, &["bytes on the disk of the store", "free space"]);
    assert!(s3.seen()[requests..].iter().all(|it| !it.object.starts_with(".chunks/")));
    disk.set_capacity(1 << 40);
    restore(&target, &bucket(&s3), "nightly");
    assert_same(&content(&target), &expected);
}

#[test]
fn fault_25_a_source_disk_that_fails_fails_the_backup_and_keeps_every_commit() {
    let (start, store) = sim_store(250);
    fill(&store, 300);
    let expected = content(&store);
    store.close().unwrap();
    drop(store);
    let faults_of = [
        (Fault::NoSpace, Operation::CreateStream),
        (Fault::NoSpace, Operation::StreamWrite),
        (Fault::Device, Operation::StreamWrite),
        (Fault::Device, Operation::StreamFinish),
        (Fault::Device, Operation::LogSync),
        (Fault::Device, Operation::StreamRead),
        (Fault::Device, Operation::SyncDir),
    ];
    let mut failures = 0;
    for (fault, operation) in faults_of {
        for nth in 1..=3 {
            let (sim, memory) = (start.fork(), memory());
            let (faults, store) = failing(&sim, 251);
            let birds = store.tree("birds", None).unwrap();
            store.put(birds, b"late", b"row", Durability::Sync).unwrap();
            let backups = Backups::new(store.clone()).unwrap();
            faults.inject(FaultRule::new(fault).at(nth).on(&[operation]));
            let started = backups.create(&memory, "nightly", quick());
            let ended = started.and_then(|handle| handle.wait());
            let fired = faults.fired() > 0;
            faults.heal();
            let context = format!("{fault:?} of {operation:?} {nth}: {ended:?}");
            let committed = memory.stat("nightly/backup_config.json").unwrap().is_some();
            assert_eq!(ended.is_ok(), committed, "{context}");
            failures += u32::from(fired && ended.is_err());
            // Reads go on whatever happened; every acknowledged commit is there after a reopen.
            assert_eq!(
                store.get(birds, b"late").unwrap().as_deref(),
                Some(&b"row"[..]),
                "{context}"
            );
            drop((backups, store));
            let reopened = open_sim(&sim, 252);
            let mut rows = content(&reopened);
            create(&reopened, &memory, "after");
            check(&memory, "after", &rows);
            if committed {
                check(&memory, "nightly", &rows);
            }
            assert!(rows.get_mut("birds").unwrap().remove(&b"late"[..]).is_some(), "{context}");
            assert_same(&rows, &expected);
        }
    }
    assert!(failures >= 6, "{failures} backups failed");
}

#[test]
fn fault_26_a_rotten_segment_fails_the_backup_and_names_the_file() {
    let (disk, store) = sim_store(260);
    fill(&store, 300);
    store.flush().unwrap();
    store.close().unwrap();
    drop(store);
    disk.settle();
    let store = open_sim(&disk, 261);
    let expected = content(&store);
    for path in segments(&disk) {
        let length = disk.read_file(&path).unwrap().len() as u64;
        for step in 0..24 {
            // From the first byte to the last: blocks, filter, index, footer.
            let at = (length - 1) * step / 23;
            let backend = memory();
            disk.flip(&path, at, 3).unwrap();
            let backups = Backups::new(store.clone()).unwrap();
            let ended = backups.create(&backend, "nightly", quick()).unwrap().wait();
            disk.flip(&path, at, 3).unwrap();
            match ended {
                Err(error) => assert_error(&error, ErrorKind::Corrupt, &[&path]),
                // Bytes between segments are of no segment: no backup holds them.
                Ok(_) => check(&backend, "nightly", &expected),
            }
            let committed = backend.stat("nightly/backup_config.json").unwrap();
            if committed.is_none() {
                create(&store, &backend, "nightly");
                check(&backend, "nightly", &expected);
            }
        }
    }
}
