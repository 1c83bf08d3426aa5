//! The machine stops at every operation, in every way: what opens is the state before the edit that
//! was under way or the one after it, and an acknowledged edit is always there.

use super::*;

/// How far a script came: the states that were acknowledged, and the one under way.
#[derive(Debug)]
struct Progress {
    created: bool,
    acknowledged: Vec<String>,
    under_way: Vec<String>,
}

/// Creates, commits, rolls, opens again and commits, until the machine stops.
fn script(disk: &SimDisk) -> Progress {
    let empty = describe(&State::new(STORE_ID));
    let mut progress = Progress { created: false, acknowledged: empty.clone(), under_way: empty };
    // Any failure is the machine stopping; the progress so far is what counts.
    let stopped = run(disk, &mut progress).err();
    assert_eq!(stopped.is_some(), disk.is_stopped(), "{stopped:?}");
    progress
}

fn run(disk: &SimDisk, progress: &mut Progress) -> Result<()> {
    let manifest = Manifest::create(&env(disk), STORE_ID, LONG)?;
    progress.created = true;
    commit(&manifest, 1, progress)?;
    commit(&manifest, 2, progress)?;
    manifest.roll()?;
    commit(&manifest, 3, progress)?;
    drop(manifest);
    let manifest = Manifest::open(&env(disk), LONG)?;
    commit(&manifest, 4, progress)
}

fn commit(manifest: &Manifest, number: u64, progress: &mut Progress) -> Result<()> {
    let edit = edit(number);
    progress.under_way = describe(&manifest.state().apply(&edit)?.state);
    let outcome = manifest.commit(edit)?;
    progress.acknowledged = describe(&outcome.state);
    Ok(())
}

/// Opens what a crash left; returns the state.
fn recover(disk: &SimDisk, progress: &Progress) -> Vec<String> {
    let manifest = match open(disk) {
        Err(error) if error.kind() == ErrorKind::NotFound && !progress.created => {
            Manifest::create(&env(disk), STORE_ID, LONG).expect("an empty folder takes a store")
        }
        outcome => outcome.expect("what a crash left opens"),
    };
    assert_eq!(manifests(disk).len(), 1, "leftovers are removed");
    assert_eq!(disk.read_file(names::CURRENT_TMP), None);
    describe(&manifest.state())
}

#[test]
fn every_crash_leaves_the_old_state_or_the_new() {
    let whole = SimDisk::new(1);
    script(&whole);
    let operations = whole.operations();
    let mut seen_new = 0;
    for steps in 0..=operations {
        let disk = SimDisk::new(1);
        disk.stop_after(steps);
        let progress = script(&disk);
        for crash in Crash::matrix(steps) {
            let left = disk.crash(crash);
            let state = recover(&left, &progress);
            let new = state == progress.under_way;
            assert!(new || state == progress.acknowledged, "{crash:?} after {steps}: {state:#?}");
            seen_new += u64::from(new && state != progress.acknowledged);
            // What was opened is relied on: it must be durable by now.
            let again = recover(&left.crash(Crash::Nothing), &progress);
            assert_eq!(again, state, "{crash:?} after {steps}, then again");
        }
    }
    assert!(seen_new > 0, "an edit under way sometimes gets through");
}

#[test]
fn every_crash_while_recovering_from_one_is_no_worse() {
    let whole = SimDisk::new(1);
    script(&whole);
    for steps in 0..=whole.operations() {
        let disk = SimDisk::new(1);
        disk.stop_after(steps);
        let progress = script(&disk);
        for crash in [Crash::Nothing, Crash::All, Crash::Subset { seed: steps }] {
            let left = disk.crash(crash);
            let full = left.fork();
            recover(&full, &progress);
            let before = left.operations();
            for more in 0..=full.operations().saturating_sub(before) {
                let second = left.fork();
                second.stop_after(second.operations() + more);
                let opened = open(&second).map(|manifest| describe(&manifest.state())).ok();
                for crash in [Crash::Nothing, Crash::All, Crash::Subset { seed: more }] {
                    let state = recover(&second.crash(crash), &progress);
                    let fine = state == progress.under_way || state == progress.acknowledged;
                    assert!(fine, "{crash:?} after {steps} and {more}");
                    assert!(opened.as_ref().is_none_or(|opened| *opened == state));
                }
            }
        }
    }
}

/// An edit of three frames, written in three pieces before one sync.
#[test]
fn an_edit_of_many_frames_is_there_whole_or_not_at_all() {
    let tenants = |state: &State| -> Edit {
        let names: Vec<String> = (0..10_000).map(|n| format!("{n:0>250}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let records = state.catalog.create_tenants("collection 1", &names, state.next_tree);
        Edit { records: records.unwrap() }
    };
    let ready = || {
        let (disk, manifest) = created();
        manifest.commit(edit(1)).unwrap();
        (disk, manifest)
    };
    let (disk, manifest) = ready();
    let before = disk.operations();
    manifest.commit_with(&mut |state| Ok(tenants(state))).unwrap();
    let operations = disk.operations() - before;
    assert_eq!(operations, 4, "three writes and a sync");
    for steps in 0..=operations {
        let (disk, manifest) = ready();
        disk.stop_after(disk.operations() + steps);
        let acknowledged = manifest.commit_with(&mut |state| Ok(tenants(state))).is_ok();
        for crash in Crash::matrix(steps) {
            let state = open(&disk.crash(crash)).unwrap().state();
            let tenants = state.catalog.collection("collection 1").unwrap().tenants.len();
            assert!(tenants == 10_000 || (tenants == 0 && !acknowledged), "{crash:?}: {tenants}");
        }
    }
}
