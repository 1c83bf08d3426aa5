//! Random groups, rotations, syncs and zeroing, stopped anywhere and crashed in every way: recovery
//! gives a prefix of what was appended that holds all that was acknowledged as durable.

use proptest::prelude::*;
use siltstone_io::sim::{Crash, SimDisk, SimOptions};

use super::support::{Bench, Owned, noise, recovered};
use crate::{error::ErrorKind, options::Durability, types::LogId};

#[derive(Clone, Debug)]
enum Step {
    /// Batches of these lengths, or markers where there is none, as one group.
    Group(Vec<Option<usize>>, Durability),
    Sync,
    Zero,
    Rotate,
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = prop_oneof![
        10 => 0_usize..120,
        5 => 300_usize..1500,
        2 => 3000_usize..9000,
        1 => Just((1 << 20) + 700), // more than one frame
    ];
    let group = proptest::collection::vec(proptest::option::weighted(0.9, len), 1..5);
    let durability = prop_oneof![Just(Durability::Sync), Just(Durability::Buffered)];
    let step = prop_oneof![
        8 => (group, durability).prop_map(|(lens, durability)| Step::Group(lens, durability)),
        1 => Just(Step::Sync),
        2 => Just(Step::Zero),
        2 => Just(Step::Rotate),
    ];
    (proptest::collection::vec(step, 1..14), any::<bool>()).prop_map(|(mut steps, close)| {
        if close {
            steps.push(Step::Close);
        }
        steps
    })
}

/// What a run left: what was appended, what may be there though its append failed, how many are
/// acknowledged, and the last log that was ready.
#[derive(Debug, Default)]
struct Run {
    appended: Vec<Owned>,
    in_flight: Vec<Owned>,
    durable: usize,
    last_log: LogId,
    finished: bool,
}

fn run(disk: &SimDisk, steps: &[Step]) -> Run {
    let mut run = Run::default();
    let Ok(mut bench) = Bench::on(disk.clone()) else {
        return run;
    };
    run.finished = steps.iter().all(|step| take(&mut bench, &mut run, step));
    run.last_log = bench.last_log;
    run.appended = bench.appended;
    run
}

/// `false` when the disk has stopped.
fn take(bench: &mut Bench, run: &mut Run, step: &Step) -> bool {
    match step {
        Step::Group(lens, durability) => {
            let group = group(bench, lens);
            match bench.append_owned(&group, *durability) {
                Ok(position) if *durability == Durability::Sync => {
                    let synced = bench.wal.sync_to(position).is_ok();
                    if synced {
                        run.durable = bench.appended.len();
                    }
                    synced
                }
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Indeterminate);
                    assert_eq!(bench.wal.check().unwrap_err().kind(), ErrorKind::Poisoned);
                    run.in_flight = group;
                    false
                }
            }
        }
        Step::Sync => {
            let synced = bench.wal.sync_to(bench.wal.end()).is_ok();
            if synced {
                run.durable = bench.appended.len();
            }
            synced
        }
        Step::Zero => bench.wal.zero_ahead().is_ok(),
        Step::Rotate => bench.rotate().is_ok(),
        Step::Close => {
            let closed = bench.wal.close().is_ok();
            if closed {
                run.durable = bench.appended.len();
            }
            closed
        }
    }
}

fn group(bench: &Bench, lens: &[Option<usize>]) -> Vec<Owned> {
    let mut next = bench.next_sequence();
    let mut group = Vec::new();
    for len in lens {
        let owned = match len {
            None => Owned::Marker { sequence: next, number: next },
            Some(len) => {
                let operations = 1 + (*len % 3) as u32;
                // Every third payload is sparse: nearly all zeros.
                let mut encoded = noise(next, *len);
                if next.is_multiple_of(3) {
                    encoded.iter_mut().enumerate().for_each(|(i, byte)| {
                        *byte = if i % 700 == 3 { 16 } else { 0 };
                    });
                }
                Owned::Batch { first: next, operations, encoded }
            }
        };
        next = owned.last() + 1;
        group.push(owned);
    }
    group
}

fn check(crashed: &SimDisk, run: &Run, crash: Crash) -> Result<(), TestCaseError> {
    if run.last_log == LogId(0) {
        return Ok(()); // nothing was begun
    }
    let recovery = recovered(crashed, run.last_log);
    prop_assert!(recovery.is_ok(), "{crash:?}: {}", recovery.unwrap_err());
    let (found, report) = recovery.unwrap_or_default();
    let written = [run.appended.as_slice(), &run.in_flight].concat();
    prop_assert!(written.starts_with(&found), "{crash:?}: not a prefix");
    prop_assert!(found.len() >= run.durable, "{crash:?}: {} < {}", found.len(), run.durable);
    if crash == Crash::All {
        prop_assert!(found.len() >= run.appended.len(), "a killed process loses nothing");
    }
    prop_assert_eq!(report.last_sequence, found.last().map_or(0, Owned::last));
    let again = recovered(crashed, run.last_log);
    prop_assert_eq!(again.ok(), Some((found, report)), "recovery is repeatable");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_crash_leaves_a_prefix_with_all_that_was_acknowledged(
        steps in steps(),
        seed: u64,
        stops in proptest::collection::vec(any::<u64>(), 3),
        short_io: bool,
    ) {
        let options = SimOptions { seed, short_io, ..SimOptions::default() };
        let whole = SimDisk::with_options(options.clone());
        let finished = run(&whole, &steps);
        prop_assert!(finished.finished);
        for stop in stops {
            let disk = SimDisk::with_options(options.clone());
            disk.stop_after(stop % (whole.operations() + 1));
            let run = run(&disk, &steps);
            for crash in Crash::matrix(seed ^ stop) {
                check(&disk.crash(crash), &run, crash)?;
            }
        }
    }
}
