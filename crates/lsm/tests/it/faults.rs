//! The n-th disk operation fails, for every n, in every way: no panic, no false acknowledgement,
//! and on a healthy disk afterwards nothing that was acknowledged is missing.

use std::sync::Arc;

use siltstone_io::{
    disk::Disk,
    env::Env,
    fault::{Fault, FaultDisk, FaultRule},
    sim::{Crash, SimDisk, SyncFailure},
    tap::Operation,
};
use siltstone_lsm::{error::ErrorKind, store::Store};

use crate::held;
use crate::script::{Change, Op, Run, Runner, buffered, dump, place, put, small_options, write};

fn script() -> Vec<Op> {
    let mut script = vec![Op::Create("a"), Op::Create("b"), Op::CreateTenant("a", "t")];
    for round in 0..4 {
        let value = format!("{round}").repeat(60);
        script.push(write(&(0..8).map(|i| put("a", &format!("k{i}"), &value)).collect::<Vec<_>>()));
        script.push(buffered(&[put("b", "x", &value), Change::Delete(place("a"), b"k1".to_vec())]));
        script.push(Op::Flush);
        script.push(Op::Steps(4));
    }
    script.extend([Op::Drop("b"), Op::Hold, Op::Steps(3), Op::Restore("r"), Op::Compact]);
    script.extend([Op::Hold, Op::Discard, Op::Steps(20), Op::Close]);
    script
}

/// Tenants that leave, come back, and are restored into a collection that is in use.
fn script_of_travels() -> Vec<Op> {
    let mut script = vec![Op::Create("a"), Op::CreateTenant("a", "t"), Op::CreateTenant("a", "u")];
    for (round, copy) in ["c0", "c1", "c2"].into_iter().enumerate() {
        let value = format!("{round}").repeat(60);
        let puts: Vec<_> = (0..6).map(|i| put("a/t", &format!("k{i}"), &value)).collect();
        script.push(write(&puts));
        script.push(buffered(&[put("a", "x", &value), put("a/u", "y", &value)]));
        script.extend([Op::Freeze("a", "t"), Op::Steps(4)]);
        // Life goes on beside a tenant that is away.
        script.push(write(&[put("a", "z", &value), Change::Delete(place("a/u"), b"y".to_vec())]));
        script.extend([Op::RestoreTenant("a", "u", copy), Op::Flush]);
        script.extend([Op::FetchBack("a", "t"), Op::RestoreTenant("a", "t", &copy[1..])]);
        script.extend([write(&[put("a/t", "after", &value)]), Op::Steps(6)]);
    }
    script.extend([Op::Freeze("a", "t"), Op::DropTenant("a", "u"), Op::Compact, Op::Steps(20)]);
    script.extend([Op::Close, Op::FetchBack("a", "t"), Op::Close]);
    script
}

/// After a failure the disk is healthy again: the store must open with a state that was possible.
fn check_recovery(disk: &SimDisk, run: &Run, crash: Crash, context: &str) {
    let disk: Arc<dyn Disk> = Arc::new(disk.crash(crash));
    let store = Store::open_on(Env::seeded(disk, 5), small_options())
        .unwrap_or_else(|error| panic!("{context}: {error}"));
    held::check(&store, run.held, context);
    let found = dump(&store).unwrap_or_else(|error| panic!("{context}: {error}"));
    let least = if crash == Crash::All { run.acknowledged } else { run.durable };
    assert!(run.states[least..].contains(&found), "{context}: {found:?}");
    store.verify(&mut |_, _| ()).unwrap_or_else(|error| panic!("{context}: {error}"));
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    Once,
    ForEver,
}

fn fail_each(script: &[Op], fault: Fault, how: Lasts) {
    let mut tried = 0;
    for nth in 1.. {
        let sim = SimDisk::new(1);
        let faults = Arc::new(FaultDisk::new(Arc::new(sim.clone())));
        let rule = FaultRule::new(fault).at(nth);
        faults.inject(if how == Lasts::ForEver { rule.forever() } else { rule });
        let run = Runner::new(Arc::clone(&faults) as _, small_options()).run(script);
        if faults.fired() == 0 {
            assert_eq!(run.error, None, "without a fault the script runs");
            break;
        }
        tried += 1;
        let context = format!("{fault:?} at operation {nth} ({how:?})");
        assert_ne!(run.error, Some(ErrorKind::Invalid), "{context}");
        check_recovery(&sim, &run, Crash::All, &context);
        check_recovery(&sim, &run, Crash::Nothing, &context);
    }
    crate::script::say(&format!("{fault:?}, {how:?}: {tried} operations failed in turn"));
    assert!(tried > 100, "the script is long enough: {tried}");
}

#[test]
fn a_device_error_at_any_operation_loses_nothing() {
    fail_each(&script(), Fault::Device, Lasts::Once);
}

#[test]
fn a_dead_device_from_any_operation_on_loses_nothing() {
    fail_each(&script(), Fault::Device, Lasts::ForEver);
}

#[test]
fn a_full_disk_at_any_operation_loses_nothing() {
    fail_each(&script(), Fault::NoSpace, Lasts::Once);
}

#[test]
fn a_disk_that_stays_full_from_any_operation_on_loses_nothing() {
    fail_each(&script(), Fault::NoSpace, Lasts::ForEver);
}

#[test]
fn a_device_error_at_any_operation_leaves_a_travelling_tenant_whole() {
    fail_each(&script_of_travels(), Fault::Device, Lasts::Once);
}

#[test]
fn a_dead_device_from_any_operation_on_leaves_a_travelling_tenant_whole() {
    fail_each(&script_of_travels(), Fault::Device, Lasts::ForEver);
}

#[test]
fn a_full_disk_at_any_operation_leaves_a_travelling_tenant_whole() {
    fail_each(&script_of_travels(), Fault::NoSpace, Lasts::Once);
}

#[test]
fn a_disk_that_stays_full_from_any_operation_on_leaves_a_travelling_tenant_whole() {
    fail_each(&script_of_travels(), Fault::NoSpace, Lasts::ForEver);
}

#[test]
fn a_freeze_that_cannot_begin_leaves_the_tenant_as_it_was() {
    let (sim, mut tried) = (SimDisk::new(3), 0);
    let faults = Arc::new(FaultDisk::new(Arc::new(sim)));
    let mut runner = Runner::new(Arc::clone(&faults) as _, small_options());
    runner.open().unwrap();
    runner.apply(&Op::Create("a")).unwrap();
    runner.apply(&Op::CreateTenant("a", "t")).unwrap();
    for round in 0..20 {
        runner.apply(&write(&[put("a/t", "k", &format!("{round}"))])).unwrap();
        faults.inject(FaultRule::new(Fault::NoSpace).path("files/"));
        let failed = runner.store.as_ref().unwrap().begin_freeze("a", "t");
        faults.heal();
        let store = runner.store.as_ref().unwrap();
        match failed {
            Ok(ticket) => ticket.abandon().unwrap(),
            Err(error) => {
                tried += 1;
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
            }
        }
        let tree = store.tree("a", Some("t")).expect("it is HOT");
        let found = store.get(tree, b"k").unwrap();
        assert_eq!(found.as_deref(), Some(format!("{round}").as_bytes()));
    }
    assert!(tried > 10, "{tried} could not begin");
}

#[test]
fn a_short_transfer_at_any_operation_changes_nothing() {
    for nth in 1.. {
        let sim = SimDisk::new(1);
        let faults = Arc::new(FaultDisk::new(Arc::new(sim.clone())));
        faults.inject(FaultRule::new(Fault::Short).at(nth));
        let run = Runner::new(Arc::clone(&faults) as _, small_options()).run(&script());
        assert_eq!(run.error, None, "short transfer {nth}");
        check_recovery(&sim, &run, Crash::All, &format!("short transfer {nth}"));
        if faults.fired() == 0 {
            break;
        }
    }
}

#[test]
fn a_failed_sync_poisons_and_loses_nothing_acknowledged() {
    for failure in [SyncFailure::KeepCache, SyncFailure::RevertCache, SyncFailure::Shutdown] {
        for nth in 1.. {
            let sim = SimDisk::new(1);
            sim.fail_sync(nth, failure);
            let run = Runner::new(Arc::new(sim.clone()), small_options()).run(&script());
            if run.error.is_none() {
                break;
            }
            let context = format!("sync {nth} fails, {failure:?}");
            check_recovery(&sim, &run, Crash::Nothing, &context);
        }
    }
}

#[test]
fn after_a_failed_log_sync_writes_are_refused_and_reads_go_on() {
    let sim = SimDisk::new(1);
    let faults = Arc::new(FaultDisk::new(Arc::new(sim)));
    let mut runner = Runner::new(Arc::clone(&faults) as _, small_options());
    runner.open().unwrap();
    runner.apply(&Op::Create("a")).unwrap();
    runner.apply(&write(&[put("a", "k", "v")])).unwrap();
    faults.inject(FaultRule::new(Fault::Device).path(".log").on(&[Operation::LogSync]));
    let failed = runner.apply(&write(&[put("a", "k", "lost")])).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Indeterminate);
    faults.heal();
    let refused = runner.apply(&write(&[put("a", "k2", "v")])).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Poisoned, "{refused}");
    let store = runner.store.as_ref().unwrap();
    let tree = store.tree("a", None).unwrap();
    let value = store.get(tree, b"k").unwrap().unwrap();
    assert_eq!(value.as_ref(), b"v", "an indeterminate commit is not visible");
}

#[test]
fn a_full_disk_is_left_without_a_restart() {
    let sim = SimDisk::new(1);
    let mut runner = Runner::new(Arc::new(sim.clone()), small_options());
    runner.open().unwrap();
    runner.apply(&Op::Create("a")).unwrap();
    runner.apply(&write(&[put("a", "k", "v")])).unwrap();
    sim.set_capacity(0);
    let mut refused = None;
    for round in 0..200 {
        let value = format!("{round}").repeat(200);
        if let Err(error) = runner.apply(&write(&[put("a", &format!("k{round}"), &value)])) {
            refused = Some(error);
            break;
        }
    }
    let refused = refused.expect("the disk fills up");
    assert_eq!(refused.kind(), ErrorKind::NoSpace, "{refused}");
    sim.set_capacity(u64::MAX);
    runner.apply(&write(&[put("a", "after", "the disk was full")])).unwrap();
    let found = dump(runner.store.as_ref().unwrap()).unwrap();
    assert_eq!(found, runner.state());
}
