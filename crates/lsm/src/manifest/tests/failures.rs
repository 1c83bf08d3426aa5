//! Operations that fail while the machine goes on.

use siltstone_io::{
    check::CheckDisk,
    fault::{Fault, FaultDisk, FaultRule},
    sim::SyncFailure,
    tap::Operation,
};

use super::*;

const SYNC_FAILURES: [SyncFailure; 3] =
    [SyncFailure::KeepCache, SyncFailure::RevertCache, SyncFailure::Shutdown];

#[test]
fn a_failed_sync_poisons_and_the_state_stays() {
    for failure in SYNC_FAILURES {
        let (disk, manifest) = created();
        manifest.commit(edit(1)).unwrap();
        let before = describe(&manifest.state());
        disk.fail_sync(1, failure);
        let error = manifest.commit(edit(2)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Indeterminate, "{error}");
        assert_eq!(describe(&manifest.state()), before);
        let operations = disk.operations();
        for _ in 0..2 {
            assert_eq!(manifest.commit(edit(2)).unwrap_err().kind(), ErrorKind::Poisoned);
            assert_eq!(manifest.roll().unwrap_err().kind(), ErrorKind::Poisoned);
            assert!(!manifest.should_roll());
        }
        assert_eq!(disk.operations(), operations, "a poisoned manifest touches nothing");
        let after = describe(&State::new(STORE_ID).apply(&both()).unwrap().state);
        if failure != SyncFailure::Shutdown {
            // The process alone starts again, and reads what may only be in the page cache.
            let running = disk.fork();
            let opened = describe(&open(&running).unwrap().state());
            let kept = open(&running.crash(Crash::Nothing)).unwrap();
            assert_eq!(describe(&kept.state()), opened, "{failure:?}");
        }
        for crash in Crash::matrix(5) {
            let left = disk.crash(crash);
            let opened = describe(&open(&left).unwrap().state());
            assert!(opened == before || opened == after, "{failure:?} {crash:?}");
            let again = describe(&open(&left.crash(Crash::Nothing)).unwrap().state());
            assert_eq!(again, opened, "what was opened is durable");
        }
    }
}

fn both() -> Edit {
    Edit { records: [edit(1).records, edit(2).records].concat() }
}

#[test]
fn a_full_disk_refuses_the_edit_and_later_ones_succeed() {
    let sim = SimDisk::new(1);
    let disk = Arc::new(FaultDisk::new(Arc::new(sim.clone())));
    let env = env_on(Arc::clone(&disk) as Arc<dyn Disk>);
    let manifest = Manifest::create(&env, STORE_ID, LONG).unwrap();
    manifest.commit(edit(1)).unwrap();
    disk.inject(FaultRule::new(Fault::NoSpace).forever());
    for _ in 0..3 {
        let before = describe(&manifest.state());
        assert_eq!(manifest.commit(edit(2)).unwrap_err().kind(), ErrorKind::NoSpace);
        assert_eq!(describe(&manifest.state()), before);
        assert!(manifest.should_roll(), "its end is spoiled");
        let left = sim.fork();
        assert_eq!(describe(&open(&left).unwrap().state()), before, "the edit is not there");
    }
    disk.heal();
    manifest.commit(edit(2)).unwrap();
    assert_eq!(manifest_path(&sim), "manifest-0000000000000002");
    assert_eq!(describe(&open(&sim).unwrap().state()), describe(&manifest.state()));
}

/// As on a real disk: the first pages fit, the rest does not.
#[test]
fn an_edit_that_fits_in_part_is_not_there() {
    let (disk, manifest) = created();
    manifest.commit(edit(1)).unwrap();
    let before = describe(&manifest.state());
    disk.set_capacity(4 * PAGE + 2 * PAGE);
    let long = |state: &State| {
        let names: Vec<String> = (0..200).map(|n| format!("{n:0>250}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let records = state.catalog.create_tenants("collection 1", &names, state.next_tree)?;
        Ok(Edit { records })
    };
    assert_eq!(manifest.commit_with(&mut |s| long(s)).unwrap_err().kind(), ErrorKind::NoSpace);
    disk.set_capacity(1 << 30);
    assert_eq!(describe(&open(&disk.fork()).unwrap().state()), before);
    manifest.commit_with(&mut |state| long(state)).unwrap();
    assert_eq!(describe(&open(&disk).unwrap().state()), describe(&manifest.state()));
}

#[test]
fn a_roll_that_fails_before_the_switch_leaves_the_old_manifest_in_use() {
    let before_the_switch =
        [Operation::CreateLog, Operation::LogWrite, Operation::LogSync, Operation::SyncDir];
    for operation in before_the_switch {
        for fault in [Fault::Device, Fault::DeviceAfter] {
            let sim = SimDisk::new(1);
            let disk = Arc::new(FaultDisk::new(Arc::new(sim.clone())));
            let env = env_on(Arc::clone(&disk) as Arc<dyn Disk>);
            let manifest = Manifest::create(&env, STORE_ID, LONG).unwrap();
            manifest.commit(edit(1)).unwrap();
            disk.inject(FaultRule::new(fault).on(&[operation]));
            assert_eq!(manifest.roll().unwrap_err().kind(), ErrorKind::Io, "{operation}");
            manifest.commit(edit(2)).unwrap();
            assert_eq!(describe(&open(&sim.fork()).unwrap().state()), describe(&manifest.state()));
            manifest.roll().unwrap();
            assert_eq!(describe(&open(&sim).unwrap().state()), describe(&manifest.state()));
        }
    }
}

#[test]
fn a_switch_that_fails_poisons() {
    for fault in [Fault::Device, Fault::DeviceAfter] {
        let sim = SimDisk::new(1);
        let disk = Arc::new(FaultDisk::new(Arc::new(sim.clone())));
        let env = env_on(Arc::clone(&disk) as Arc<dyn Disk>);
        let manifest = Manifest::create(&env, STORE_ID, LONG).unwrap();
        manifest.commit(edit(1)).unwrap();
        disk.inject(FaultRule::new(fault).on(&[Operation::Rename]));
        assert_eq!(manifest.roll().unwrap_err().kind(), ErrorKind::Indeterminate);
        assert_eq!(manifest.commit(edit(2)).unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(describe(&open(&sim).unwrap().state()), describe(&manifest.state()));
    }
}

/// Fails each operation of a script once, then opens on a healthy disk.
#[test]
fn every_failed_operation_leaves_a_store_that_opens() {
    for fault in [Fault::Device, Fault::DeviceAfter, Fault::NoSpace, Fault::Short] {
        for nth in 1.. {
            let sim = SimDisk::new(1);
            let checked = Arc::new(CheckDisk::new(Arc::new(sim.clone())));
            let disk = Arc::new(FaultDisk::new(checked));
            disk.inject(FaultRule::new(fault).at(nth));
            let env = env_on(Arc::clone(&disk) as Arc<dyn Disk>);
            let mut acknowledged = State::new(STORE_ID);
            let outcome = script(&env, &mut acknowledged);
            if disk.fired() == 0 {
                outcome.unwrap();
                break;
            }
            assert!(fault != Fault::Short || outcome.is_ok(), "short I/O is no failure");
            let opened = match open(&sim) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Manifest::create(&env, STORE_ID, LONG).unwrap()
                }
                opened => opened.unwrap_or_else(|error| panic!("{fault:?} at {nth}: {error}")),
            };
            let opened = opened.state();
            let next = acknowledged.next_collection;
            let after = acknowledged.apply(&edit(next)).unwrap().state;
            let (old, new) = (describe(&acknowledged), describe(&after));
            let opened = describe(&opened);
            assert!(opened == old || opened == new, "{fault:?} at {nth}");
        }
    }
}

fn script(env: &Env, acknowledged: &mut State) -> Result<()> {
    let manifest = Manifest::create(env, STORE_ID, LONG)?;
    *acknowledged = manifest.commit(edit(1))?.state;
    manifest.roll()?;
    *acknowledged = manifest.commit(edit(2))?.state;
    drop(manifest);
    let manifest = Manifest::open(env, LONG)?;
    *acknowledged = manifest.commit(edit(3))?.state;
    Ok(())
}
