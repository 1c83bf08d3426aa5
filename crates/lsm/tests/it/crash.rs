//! Power loss and kill -9 at every operation of all scripts, and again during the recovery.
//!
//! For each boundary between two disk operations the script is run once and stopped there; each
//! policy of [`Crash::matrix`] then builds the disk that a restart would find. The store must open,
//! hold a prefix of the commits that lacks nothing durable, verify, take a write, and open again
//! unchanged. A second crash at a moment inside that recovery must leave the same choice of states.

use std::sync::Arc;

use siltstone_io::{
    disk::Disk,
    env::{Env, SeededEntropy},
    sim::{Crash, SimDisk},
};
use siltstone_lsm::store::Store;

use crate::held;
use crate::script::{
    Change, Op, Run, Runner, State, buffered, dump, place, put, small_options, write,
};

/// What one enumeration tried.
#[derive(Debug, Default)]
struct Tried {
    boundaries: u64,
    recoveries: u64,
    double_crashes: u64,
}

/// Runs a script with a crash at every operation.
fn enumerate(name: &str, script: &[Op]) {
    let whole = SimDisk::new(1);
    let run = Runner::new(Arc::new(whole.clone()), small_options()).run(script);
    assert_eq!(run.error, None, "the script runs on a healthy disk");
    let mut tried = Tried::default();
    for stop in 0..=whole.operations() {
        let disk = SimDisk::new(1);
        disk.stop_after(stop);
        let run = Runner::new(Arc::new(disk.clone()), small_options()).run(script);
        tried.boundaries += 1;
        for crash in Crash::matrix(stop) {
            let context = format!("{name}: stopped after {stop} operations, then {crash:?}");
            recover(&disk.crash(crash), &run, crash, &context);
            tried.recoveries += 1;
            crash_again(&disk.crash(crash), &run, (crash, stop), &context);
            tried.double_crashes += 1;
        }
    }
    crate::script::say(&format!("{name}: {tried:?}"));
}

/// The number of commits that a crash may not take.
fn least(run: &Run, crash: Crash) -> usize {
    if crash == Crash::All { run.acknowledged } else { run.durable }
}

/// Opens what is left and holds it against the oracle.
fn recover(disk: &SimDisk, run: &Run, crash: Crash, context: &str) {
    let store = open(disk, 90).unwrap_or_else(|error| panic!("{context}: {error}"));
    held::check(&store, run.held, context);
    let found = dump(&store).unwrap_or_else(|error| panic!("{context}: {error}"));
    check(&found, run, least(run, crash), context);
    store.verify(&mut |_, _| ()).unwrap_or_else(|error| panic!("{context}: {error}"));
    drop(store);
    let again = open(disk, 91).unwrap_or_else(|error| panic!("{context}: {error}"));
    let found_again = dump(&again).unwrap_or_else(|error| panic!("{context}: {error}"));
    // Reading activates COLD tenants, so only rows are compared here.
    let rows = |state: &State| -> Vec<_> {
        state.iter().filter(|(place, _)| !place.0.contains('/')).map(|(_, r)| r.clone()).collect()
    };
    assert_eq!(rows(&found_again), rows(&found), "{context}: a second open changes nothing");
    again.create_collection("after the crash").unwrap_or_else(|e| panic!("{context}: {e}"));
    let leftovers = |path: &String| path.contains(".tmp");
    assert!(!disk.paths().iter().any(leftovers), "{context}: {:?}", disk.paths());
}

fn check(found: &State, run: &Run, least: usize, context: &str) {
    let allowed = &run.states[least..];
    assert!(
        allowed.contains(found),
        "{context}: recovered a state that is none of the {} allowed ones (commits {least}..={}):\n\
         found    {found:?}\nexpected {:?}\n   up to {:?}",
        allowed.len(),
        run.states.len() - 1,
        allowed.first(),
        allowed.last(),
    );
}

/// Stops the recovery itself at a seeded operation, crashes in a seeded way, and recovers.
fn crash_again(disk: &SimDisk, run: &Run, (crash, stop): (Crash, u64), context: &str) {
    let before = disk.operations();
    let probe = disk.fork();
    drop(open(&probe, 91));
    let operations = probe.operations() - before;
    let random = SeededEntropy::new(stop ^ operations);
    let second_stop = random.below(operations + 1);
    disk.stop_after(before + second_stop);
    drop(open(disk, 91));
    let policies = Crash::matrix(random.next_u64());
    let second = policies[usize::try_from(random.below(policies.len() as u64)).expect("small")];
    let context = format!("{context}; recovery stopped after {second_stop}, then {second:?}");
    let least = if second == Crash::All { least(run, crash) } else { run.durable };
    let left = disk.crash(second);
    let store = open(&left, 92).unwrap_or_else(|error| panic!("{context}: {error}"));
    held::check(&store, run.held, &context);
    let found = dump(&store).unwrap_or_else(|error| panic!("{context}: {error}"));
    check(&found, run, least, &context);
}

fn open(disk: &SimDisk, seed: u64) -> siltstone_lsm::error::Result<Store> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::open_on(Env::seeded(disk, seed), small_options())
}

fn filler(count: usize, round: usize) -> Vec<Change> {
    let value = format!("{round}-").repeat(20);
    (0..count).map(|i| put("a", &format!("key-{i:03}"), &value)).collect()
}

#[test]
fn durable_writes_survive_every_crash() {
    enumerate(
        "write",
        &[
            Op::Create("a"),
            Op::Create("b"),
            write(&[put("a", "k1", "v1"), put("b", "k1", "w1")]),
            write(&[put("a", "k2", "v2"), Change::Delete(place("b"), b"k1".to_vec())]),
            write(&[put("a", "k1", &"long".repeat(400))]),
        ],
    );
}

#[test]
fn buffered_and_synced_writes_leave_a_prefix() {
    let mut script = vec![Op::Create("a"), Op::Create("b")];
    for round in 0..6 {
        script.push(buffered(&[
            put("a", &format!("k{round}"), "v"),
            put("b", "last", &format!("{round}")),
        ]));
        script.push(buffered(&[put("b", &format!("k{round}"), &"x".repeat(300))]));
        if round % 3 == 2 {
            script.push(write(&[put("a", "synced", &format!("{round}"))]));
        }
    }
    script.push(Op::Sync);
    script.push(buffered(&[put("a", "tail", "t")]));
    enumerate("buffered and sync", &script);
}

#[test]
fn rotations_with_buffered_tails_leave_a_prefix() {
    let mut script = vec![Op::Create("a")];
    for round in 0..5 {
        script.push(buffered(&filler(12, round)));
        script.push(buffered(&[put("a", "round", &format!("{round}"))]));
        if round == 3 {
            script.push(write(&[put("a", "synced", "yes")]));
        }
    }
    enumerate("rotation", &script);
}

#[test]
fn a_flush_is_all_or_nothing() {
    enumerate(
        "flush",
        &[
            Op::Create("a"),
            Op::Create("b"),
            write(&filler(8, 0)),
            write(&[put("b", "k", "v")]),
            Op::Flush,
            write(&[put("a", "after", "flush")]),
            Op::Flush,
            Op::Steps(8),
        ],
    );
}

#[test]
fn a_compaction_is_all_or_nothing() {
    let mut script = vec![Op::Create("a")];
    for round in 0..4 {
        script.push(write(&filler(10, round)));
        script.push(write(&[Change::Delete(place("a"), format!("key-{round:03}").into_bytes())]));
        script.push(Op::Flush);
    }
    script.extend([Op::Compact, Op::Steps(20), write(&[put("a", "after", "compaction")])]);
    enumerate("compaction", &script);
}

#[test]
fn a_manifest_roll_switches_whole() {
    let mut script = vec![Op::Create("a")];
    for round in 0..6 {
        script.push(write(&filler(6, round)));
        script.push(Op::Flush);
        script.push(Op::Steps(3));
    }
    script.push(Op::Steps(20));
    enumerate("manifest roll", &script);
}

#[test]
fn drop_and_clear_never_resurrect() {
    enumerate(
        "drop and clear",
        &[
            Op::Create("a"),
            Op::Create("b"),
            write(&[put("a", "k1", "v1"), put("b", "k1", "v1")]),
            Op::Flush,
            write(&[put("b", "k2", "v2")]),
            write(&[Change::DeleteRange(place("a"), Vec::new(), None)]),
            write(&[put("a", "k3", "v3")]),
            Op::Drop("b"),
            Op::Create("b"),
            write(&[put("b", "new", "b")]),
            Op::Rename("b", "c"),
            Op::Flush,
            write(&[Change::DeleteRange(place("c"), b"n".to_vec(), Some(b"o".to_vec()))]),
            Op::Steps(20),
        ],
    );
}

#[test]
fn tenants_keep_their_rows_and_states() {
    enumerate(
        "tenants",
        &[
            Op::Create("a"),
            Op::CreateTenant("a", "t1"),
            Op::CreateTenant("a", "t2"),
            write(&[put("a/t1", "k", "1"), put("a/t2", "k", "2"), put("a", "k", "own")]),
            Op::Cold("a", "t1"),
            write(&[put("a/t2", "k2", "2")]),
            Op::Flush,
            Op::RenameTenant("a", "t1", "t9"),
            Op::Hot("a", "t9"),
            Op::DropTenant("a", "t2"),
            write(&[put("a/t9", "k2", "1")]),
            Op::RenameTenant("a", "t9", "t2"),
            Op::Flush,
            Op::Steps(20),
        ],
    );
}

#[test]
fn a_restore_is_all_or_nothing() {
    enumerate(
        "restore",
        &[
            Op::Create("a"),
            Op::CreateTenant("a", "t1"),
            write(&[put("a", "k1", "v1"), put("a/t1", "k", "t")]),
            Op::Flush,
            write(&[put("a", "k2", "v2")]),
            Op::Restore("copy of "),
            write(&[put("copy of a", "k3", "v3"), put("a", "k3", "other")]),
            Op::Flush,
            Op::Steps(20),
        ],
    );
}

#[test]
fn held_files_stay_whole_until_a_restore_takes_them_or_they_are_discarded() {
    enumerate(
        "held files",
        &[
            Op::Create("a"),
            Op::CreateTenant("a", "t1"),
            write(&[put("a", "k1", "v1"), put("a/t1", "k", "t")]),
            Op::Hold,
            write(&[put("a", "k2", "v2")]),
            Op::Hold,
            Op::Reopen,
            Op::Steps(20),
            Op::Restore("copy of "),
            write(&[put("copy of a", "k3", "v3"), put("a", "k3", "other")]),
            Op::Steps(20),
            Op::Hold,
            Op::Discard,
            Op::Steps(20),
        ],
    );
}

#[test]
fn a_tenant_restored_into_a_live_collection_is_there_whole_or_not_at_all() {
    enumerate(
        "tenant into a live collection",
        &[
            Op::Create("a"),
            Op::CreateTenant("a", "t1"),
            write(&[put("a", "k1", "v1"), put("a/t1", "k", "t")]),
            Op::Flush,
            buffered(&[put("a/t1", "k2", "t2")]),
            Op::RestoreTenant("a", "t1", "t2"),
            write(&[put("a/t2", "k3", "new"), put("a/t1", "k", "old"), put("a", "k2", "own")]),
            Op::RestoreTenant("a", "t2", "t3"),
            Op::Flush,
            Op::Steps(20),
        ],
    );
}

#[test]
fn an_offloaded_tenant_is_whole_here_or_whole_elsewhere() {
    enumerate(
        "offload",
        &[
            Op::Create("a"),
            Op::CreateTenant("a", "t1"),
            Op::CreateTenant("a", "t2"),
            write(&[put("a/t1", "k", "1"), put("a/t2", "k", "2")]),
            Op::Flush,
            buffered(&[put("a/t1", "k2", "1"), Change::Delete(place("a/t1"), b"k".to_vec())]),
            Op::Freeze("a", "t1"),
            write(&[put("a/t2", "k2", "2")]),
            Op::RenameTenant("a", "t1", "t9"),
            Op::Rename("a", "b"),
            Op::Flush,
            Op::Steps(20),
            Op::FetchBack("b", "t9"),
            write(&[put("b/t9", "k3", "3"), put("b/t2", "k3", "3")]),
            Op::Freeze("b", "t9"),
            Op::FetchBack("b", "t9"),
            Op::Freeze("b", "t2"),
            Op::DropTenant("b", "t2"),
            Op::Flush,
            Op::Steps(20),
        ],
    );
}

#[test]
fn close_reopen_and_cuts_lose_nothing() {
    enumerate(
        "reopen",
        &[
            Op::Create("a"),
            buffered(&[put("a", "k1", "v1")]),
            Op::Cut,
            buffered(&[put("a", "k2", "v2")]),
            Op::Reopen,
            write(&[put("a", "k3", "v3")]),
            Op::Close,
            buffered(&[put("a", "k4", "v4")]),
            Op::Drop("a"),
            Op::Cut,
            Op::Steps(20),
        ],
    );
}
