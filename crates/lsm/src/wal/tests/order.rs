//! The order of operations, and many threads at once.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use siltstone_io::{env::Env, exact::write_all_at, sim::SimDisk, trace::TraceDisk};

use super::support::{Bench, Owned, STORE_ID, noise, recovered};
use crate::{
    options::Durability,
    types::LogId,
    wal::{ReadyLog, Wal, stream::Zeroed},
};

#[test]
fn logs_whose_commits_are_in_segments_are_not_synced() {
    let mut bench = Bench::new();
    for rows in [b"1", b"2", b"3"] {
        bench.append(&[rows], Durability::Buffered).unwrap();
        bench.rotate().unwrap();
    }
    bench.wal.forget_before(LogId(3));
    assert_eq!(bench.wal.syncs(), 0);
    let position = bench.append(&[b"4"], Durability::Sync).unwrap();
    bench.wal.sync_to(position).unwrap();
    assert_eq!(bench.wal.syncs(), 2, "the third log and the fourth");
    bench.wal.forget_before(LogId(4));
    bench.wal.sync_to(position).unwrap();
    assert_eq!(bench.wal.syncs(), 2, "what is durable stays so");
}

#[test]
fn the_order_of_operations_is_pinned() {
    let sim = SimDisk::new(1);
    let trace = Arc::new(TraceDisk::new(Arc::new(sim.clone())));
    let mut bench = Bench::over(sim, Env::seeded(Arc::clone(&trace) as _, 7)).unwrap();
    trace.note("a Sync group");
    let position = bench.append(&[b"1", b"2"], Durability::Sync).unwrap();
    bench.wal.sync_to(position).unwrap();
    trace.note("two Buffered groups");
    bench.append(&[b"3"], Durability::Buffered).unwrap();
    bench.append(&[b"4"], Durability::Buffered).unwrap();
    trace.note("a rotation");
    bench.rotate().unwrap();
    trace.note("a sync over both logs");
    let position = bench.append(&[b"5"], Durability::Sync).unwrap();
    bench.wal.sync_to(position).unwrap();
    bench.wal.sync_to(position).unwrap();
    trace.note("zeros");
    bench.wal.zero_ahead().unwrap();
    trace.note("the end");
    bench.wal.close().unwrap();
    assert_eq!(trace.text(), GOLDEN);
}

const GOLDEN: &str = "\
create_log wal-0000000000000001.log
write wal-0000000000000001.log 0+8192
sync wal-0000000000000001.log
sync_dir .
write wal-0000000000000001.log 4096+4096
# a Sync group
write wal-0000000000000001.log 4096+4096
sync wal-0000000000000001.log
# two Buffered groups
write wal-0000000000000001.log 8192+4096
write wal-0000000000000001.log 8192+4096
# a rotation
create_log wal-0000000000000002.log
write wal-0000000000000002.log 0+8192
sync wal-0000000000000002.log
sync_dir .
write wal-0000000000000001.log 8192+4096
write wal-0000000000000002.log 4096+4096
# a sync over both logs
write wal-0000000000000002.log 4096+4096
sync wal-0000000000000001.log
sync wal-0000000000000002.log
# zeros
write wal-0000000000000002.log 8192+1048576
sync wal-0000000000000002.log
# the end
write wal-0000000000000002.log 8192+4096
sync wal-0000000000000002.log
";

#[test]
fn a_writer_waits_for_zeros_in_its_way() {
    let mut bench = Bench::new();
    bench.commit(b"the first sync asks for zeros");
    let claim = bench.wal.stream.claim_zeros().unwrap().expect("no zeros lie ahead yet");
    let owned = [Owned::Batch { first: 2, operations: 1, encoded: noise(1, 2 << 20) }];
    thread::scope(|scope| {
        let append = scope.spawn(|| bench.wal.append(&[owned[0].payload()], Durability::Sync));
        thread::sleep(Duration::from_millis(50));
        assert!(!append.is_finished(), "the claim is in its way");
        write_all_at(&*claim.log, claim.range.start, &[&vec![0; 1 << 20]]).unwrap();
        bench.wal.stream.end_claim(&claim, Zeroed::Written);
        append.join().unwrap().unwrap();
    });
    bench.appended.extend(owned);
    assert_eq!(recovered(&bench.disk, LogId(1)).unwrap().0, bench.appended);
}

#[test]
fn threads_share_syncs_and_lose_nothing() {
    const WRITERS: usize = 8;
    const COMMITS: usize = 60;
    let bench = Bench::new();
    let Bench { disk, env, wal, .. } = bench;
    let before = disk.operations();
    let queue = Mutex::new((Vec::<Owned>::new(), LogId(1)));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn({
                    let (wal, queue, env) = (&wal, &queue, &env);
                    move || write(writer, COMMITS, (wal, queue, env))
                })
            })
            .collect();
        let (wal, done) = (&wal, &done);
        let zeroer = scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                wal.zero_ahead().unwrap();
                thread::yield_now();
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        zeroer.join().unwrap();
    });
    let (appended, last_log) = queue.into_inner().unwrap();
    assert_eq!(appended.len(), WRITERS * COMMITS);
    assert_eq!(recovered(&disk, last_log).unwrap().0, appended);
    assert!(disk.operations() > before);
}

fn write(
    writer: usize,
    commits: usize,
    (wal, queue, env): (&Wal, &Mutex<(Vec<Owned>, LogId)>, &Env),
) {
    for commit in 0..commits {
        let durability = if commit % 3 == 0 { Durability::Buffered } else { Durability::Sync };
        let position = {
            let mut queue = queue.lock().unwrap();
            if commit % 20 == 19 && writer == 0 {
                queue.1 = queue.1.next();
                wal.rotate(&ReadyLog::create(env, STORE_ID, queue.1).unwrap()).unwrap();
            }
            let first = queue.0.last().map_or(1, |last| last.last() + 1);
            let encoded = vec![writer as u8; 100 * commit];
            let owned = Owned::Batch { first, operations: 2, encoded };
            let position = wal.append(&[owned.payload()], durability).unwrap();
            queue.0.push(owned);
            position
        };
        if durability == Durability::Sync {
            wal.sync_to(position).unwrap();
        }
    }
}
