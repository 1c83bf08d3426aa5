//! What the writer and recovery make of a disk that fails, of a floor and of markers.

use std::sync::Arc;

use siltstone_io::{
    env::Env,
    fault::{Fault, FaultDisk, FaultRule},
    sim::{Crash, SimDisk, SimOptions, SyncFailure},
    tap::Operation,
};

use super::support::{Bench, Owned, STORE_ID, env, noise, path, recovered, recovered_from};
use crate::{
    error::{Error, ErrorKind},
    format::wal::FRAMES_START,
    options::Durability,
    types::LogId,
    wal::{Position, ReadyLog, RecoveryReport, ReplayRange, Wal, recover},
};

/// A WAL on a disk that fails on command.
fn faulty() -> (Bench, Arc<FaultDisk>) {
    let sim = SimDisk::new(1);
    let faults = Arc::new(FaultDisk::new(Arc::new(sim.clone())));
    let bench = Bench::over(sim, Env::seeded(Arc::clone(&faults) as _, 7)).unwrap();
    (bench, faults)
}

fn assert_poisoned(bench: &mut Bench) {
    assert_eq!(bench.wal.check().unwrap_err().kind(), ErrorKind::Poisoned);
    for durability in [Durability::Sync, Durability::Buffered] {
        let refused = bench.append(&[b"late"], durability).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Poisoned);
    }
    assert_eq!(bench.wal.zero_ahead().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(bench.wal.close().unwrap_err().kind(), ErrorKind::Poisoned);
    let elsewhere = ReadyLog::create(&env(&SimDisk::new(2)), STORE_ID, LogId(99)).unwrap();
    assert_eq!(bench.wal.rotate(&elsewhere).unwrap_err().kind(), ErrorKind::Poisoned);
}

#[test]
fn what_was_appended_comes_back() {
    let mut bench = Bench::new();
    bench.append(&[b"one", b"two"], Durability::Buffered).unwrap();
    bench.commit(&noise(1, 5000));
    let big = noise(2, 3 << 20);
    bench.append(&[&big, b"", b"after"], Durability::Sync).unwrap();
    let marker = Owned::Marker { sequence: bench.next_sequence(), number: 9 };
    bench.append_owned(&[marker], Durability::Buffered).unwrap();
    bench.rotate().unwrap();
    bench.append(&[b"in the next log"], Durability::Buffered).unwrap();
    bench.wal.close().unwrap();

    let (found, report) = recovered(&bench.disk, bench.last_log).unwrap();
    assert_eq!(found, bench.appended);
    assert_eq!(report.last_sequence, bench.next_sequence() - 1);
    assert_eq!(report.commits, bench.appended.len() as u64);
    assert_eq!(report.dropped, []);
}

#[test]
fn an_empty_log_recovers_to_nothing() {
    let bench = Bench::new();
    let ready = ReadyLog::create(&bench.env, STORE_ID, LogId(2)).unwrap();
    assert_eq!(ready.id(), LogId(2));
    let nothing = (Vec::new(), RecoveryReport::default());
    assert_eq!(recovered(&bench.disk, LogId(2)).unwrap(), nothing);
    let none = ReplayRange { floor: (LogId(1), 0), last: LogId(0) };
    assert_eq!(recovered_from(&bench.disk, none).unwrap(), nothing);
}

#[test]
fn a_closed_log_takes_no_more() {
    let mut bench = Bench::new();
    bench.append(&[b"buffered"], Durability::Buffered).unwrap();
    bench.wal.close().unwrap();
    let refused = bench.append(&[b"late"], Durability::Sync).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert_eq!(bench.rotate().unwrap_err().kind(), ErrorKind::Unavailable);
    let crashed = bench.disk.crash(Crash::Nothing);
    assert_eq!(recovered(&crashed, LogId(1)).unwrap().0, bench.appended);
}

#[test]
fn a_failed_sync_poisons_before_anyone_is_acknowledged() {
    for failure in [SyncFailure::KeepCache, SyncFailure::RevertCache, SyncFailure::Shutdown] {
        let mut bench = Bench::new();
        let durable = bench.append(&[b"durable"], Durability::Sync).unwrap();
        bench.wal.sync_to(durable).unwrap();
        let buffered = bench.append(&[b"buffered"], Durability::Buffered).unwrap();
        let lost = bench.append(&[b"lost"], Durability::Sync).unwrap();
        bench.disk.fail_sync(1, failure);
        for position in [lost, buffered, lost] {
            let error = bench.wal.sync_to(position).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Indeterminate, "{failure:?}: {error}");
        }
        bench.wal.sync_to(durable).unwrap();
        assert_poisoned(&mut bench);

        let (found, _) = recovered(&bench.disk.crash(Crash::Nothing), LogId(1)).unwrap();
        assert_eq!(found, bench.appended[..1], "{failure:?}");
    }
}

#[test]
fn a_failed_write_is_indeterminate_and_poisons() {
    for fault in [Fault::Device, Fault::DeviceAfter] {
        let (mut bench, faults) = faulty();
        let before = bench.append(&[b"before"], Durability::Buffered).unwrap();
        faults.inject(FaultRule::new(fault).on(&[Operation::LogWrite]));
        let error = bench.append(&[b"now"], Durability::Sync).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Indeterminate);
        faults.heal();
        let error = bench.wal.sync_to(before).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Indeterminate, "nothing is acknowledged any more");
        assert_poisoned(&mut bench);

        let (found, _) = recovered(&bench.disk, LogId(1)).unwrap();
        assert_eq!(found[..1], bench.appended);
        assert_eq!(found.len(), if fault == Fault::DeviceAfter { 2 } else { 1 });
    }
}

#[test]
fn a_full_disk_refuses_and_the_log_goes_on() {
    let (mut bench, faults) = faulty();
    bench.commit(b"before");
    let full = FaultRule::new(Fault::NoSpace).on(&[Operation::LogWrite]).forever();
    for size in [10, 5000, 3 << 20] {
        faults.inject(full.clone());
        let error = bench.append(&[&noise(1, size)], Durability::Sync).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert!(!bench.wal.zero_ahead().unwrap(), "no zeros on a full disk");
        faults.heal();
        bench.wal.check().unwrap();
        bench.append(&[b"still packed"], Durability::Buffered).unwrap();
    }
    bench.commit(b"after");
    assert_eq!(recovered(&bench.disk, LogId(1)).unwrap().0, bench.appended);
}

#[test]
fn a_disk_that_fills_up_within_a_group_poisons() {
    let options = SimOptions { capacity_bytes: 3 << 20, ..SimOptions::default() };
    let mut bench = Bench::on(SimDisk::with_options(options)).unwrap();
    bench.commit(b"before");
    let error = bench.append(&[&noise(1, 8 << 20)], Durability::Sync).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Indeterminate);
    assert_poisoned(&mut bench);
    let (found, report) = recovered(&bench.disk, LogId(1)).unwrap();
    assert_eq!(found, bench.appended);
    assert!(!report.dropped.is_empty());
}

#[test]
fn a_refused_rotation_can_be_tried_again() {
    let (mut bench, faults) = faulty();
    bench.commit(b"before");
    let next = ReadyLog::create(&bench.env, STORE_ID, LogId(2)).unwrap();
    faults.inject(FaultRule::new(Fault::NoSpace).on(&[Operation::LogWrite]));
    assert_eq!(bench.wal.rotate(&next).unwrap_err().kind(), ErrorKind::NoSpace);
    bench.commit(b"in the old log");
    bench.wal.rotate(&next).unwrap();
    bench.commit(b"in the new log");
    assert_eq!(recovered(&bench.disk, LogId(2)).unwrap().0, bench.appended);

    // After the seal there is no way back.
    let third = ReadyLog::create(&bench.env, STORE_ID, LogId(3)).unwrap();
    faults.inject(FaultRule::new(Fault::NoSpace).on(&[Operation::LogWrite]).at(2));
    bench.wal.rotate(&third).unwrap_err();
    assert_poisoned(&mut bench);
    assert_eq!(recovered(&bench.disk, LogId(3)).unwrap().0, bench.appended);
}

#[test]
fn a_log_that_could_not_be_made_can_be_made_later() {
    for nth in 1.. {
        let (bench, faults) = faulty();
        faults.inject(FaultRule::new(Fault::Device).at(nth));
        let result = ReadyLog::create(&bench.env, STORE_ID, LogId(2));
        if faults.fired() == 0 {
            result.unwrap();
            assert!(nth > 4, "create, write, sync and sync of the folder were failed");
            break;
        }
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Io);
        ReadyLog::create(&bench.env, STORE_ID, LogId(2)).unwrap();
        assert!(recovered(&bench.disk, LogId(2)).is_ok());
    }
}

#[test]
fn a_failed_zero_or_its_sync_poisons() {
    for operation in [Operation::LogWrite, Operation::LogSync] {
        let (mut bench, faults) = faulty();
        bench.commit(b"durable");
        let pending = bench.append(&[b"pending"], Durability::Sync).unwrap();
        faults.inject(FaultRule::new(Fault::Device).on(&[operation]));
        bench.wal.zero_ahead().unwrap_err();
        let error = bench.wal.sync_to(pending).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Indeterminate);
        assert_poisoned(&mut bench);
    }
}

#[test]
fn a_failed_read_or_sync_fails_recovery() {
    let mut bench = Bench::new();
    bench.append(&[&noise(1, 3 << 20)], Durability::Buffered).unwrap();
    bench.rotate().unwrap();
    bench.commit(b"last");
    let mut fired = 0;
    for operation in [Operation::OpenLog, Operation::LogLen, Operation::LogRead, Operation::LogSync]
    {
        for nth in 1.. {
            let faults = Arc::new(FaultDisk::new(Arc::new(bench.disk.fork())));
            faults.inject(FaultRule::new(Fault::Device).on(&[operation]).at(nth));
            let env = Env::seeded(Arc::clone(&faults) as _, 7);
            let range = ReplayRange { floor: (LogId(1), 0), last: LogId(2) };
            let result = recover(&env, STORE_ID, range, &|_| true, &mut |_| Ok(()));
            if faults.fired() == 0 {
                result.unwrap();
                break;
            }
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Io, "{operation} {nth}");
            fired += 1;
        }
    }
    assert!(fired > 10, "{fired} operations were failed");
}

#[test]
fn recovery_syncs_what_it_relies_on() {
    let mut bench = Bench::new();
    bench.append(&[b"in the page cache"], Durability::Buffered).unwrap();
    let killed = bench.disk.crash(Crash::All);
    assert_eq!(recovered(&killed, LogId(1)).unwrap().0, bench.appended);
    let lost_power = killed.crash(Crash::Nothing);
    assert_eq!(recovered(&lost_power, LogId(1)).unwrap().0, bench.appended);
}

#[test]
fn only_logs_with_syncs_are_zeroed_and_padded() {
    let mut bench = Bench::new();
    let position = bench.append(&[b"buffered"], Durability::Buffered).unwrap();
    assert!(position.offset < FRAMES_START + 512, "packed");
    bench.wal.sync_to(position).unwrap();
    assert!(!bench.wal.zero_ahead().unwrap());
    assert_eq!(bench.disk.read_file(&bench.path()).unwrap().len(), 8192);

    let position = bench.append(&[b"sync"], Durability::Sync).unwrap();
    assert_eq!(position.offset, 8192, "padded");
    assert!(bench.wal.zero_ahead().unwrap());
    assert!(!bench.wal.zero_ahead().unwrap(), "enough lies ahead");
    let bytes = bench.disk.read_file(&bench.path()).unwrap();
    assert_eq!(bytes.len(), 8192 + (1 << 20));
    assert!(bytes[8192..].iter().all(|&byte| byte == 0));

    for index in 0..300 {
        bench.commit(&noise(index, 5000));
        bench.wal.zero_ahead().unwrap();
        let ahead = bench.disk.read_file(&bench.path()).unwrap().len() as u64;
        assert!(ahead >= bench.wal.end().offset + (1 << 20) - 8192, "the file grew before");
    }
    assert_eq!(recovered(&bench.disk, LogId(1)).unwrap().0, bench.appended);
}

#[test]
fn replay_starts_at_the_floor() {
    let mut bench = Bench::new();
    let pair = Owned::Batch { first: 1, operations: 3, encoded: b"three".to_vec() };
    bench.append_owned(&[pair], Durability::Buffered).unwrap();
    bench.append(&[b"4"], Durability::Buffered).unwrap();
    bench.append_owned(&[Owned::Marker { sequence: 5, number: 1 }], Durability::Buffered).unwrap();
    bench.rotate().unwrap();
    bench.append(&[b"6"], Durability::Buffered).unwrap();
    let cases = [((1, 0), 0), ((1, 1), 0), ((1, 4), 1), ((1, 5), 2), ((1, 6), 3), ((2, 6), 3)];
    for ((log, sequence), skipped) in cases {
        let range = ReplayRange { floor: (LogId(log), sequence), last: LogId(2) };
        let (found, report) = recovered_from(&bench.disk, range).unwrap();
        assert_eq!(found, bench.appended[skipped..], "from {sequence}");
        assert_eq!((report.last_sequence, report.commits), (6, found.len() as u64));
    }
    let above = ReplayRange { floor: (LogId(2), 7), last: LogId(2) };
    assert_eq!(
        recovered_from(&bench.disk, above).unwrap(),
        (Vec::new(), RecoveryReport::default())
    );
    for inside in [2, 3] {
        let range = ReplayRange { floor: (LogId(1), inside), last: LogId(2) };
        let error = recovered_from(&bench.disk, range).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn the_prefix_ends_at_a_marker_without_its_edit() {
    let mut bench = Bench::new();
    bench.commit(b"1");
    bench.append_owned(&[Owned::Marker { sequence: 2, number: 10 }], Durability::Sync).unwrap();
    let place = bench.wal.end();
    bench.append_owned(&[Owned::Marker { sequence: 3, number: 11 }], Durability::Sync).unwrap();
    bench.commit(b"4");
    bench.rotate().unwrap();
    bench.commit(b"5"); // synced, but never acknowledged: it is behind the marker
    let recover_with = |durable: u64| {
        let mut found = Vec::new();
        let range = ReplayRange { floor: (LogId(1), 0), last: LogId(2) };
        let edit_is_durable = |number| number <= durable;
        let report =
            recover(&env(&bench.disk), STORE_ID, range, &edit_is_durable, &mut |payload| {
                found.push(Owned::of(payload));
                Ok(())
            });
        (found, report.unwrap())
    };
    let (found, report) = recover_with(11);
    assert_eq!((found.as_slice(), report.dropped.len()), (bench.appended.as_slice(), 0));
    let (found, report) = recover_with(10);
    assert_eq!((found.as_slice(), report.last_sequence), (&bench.appended[..2], 2));
    assert_eq!(report.dropped[0].0, place);
    assert_eq!(report.dropped[1].0, Position { log: LogId(2), offset: FRAMES_START });
    let (found, _) = recover_with(9);
    assert_eq!(found, bench.appended[..1]);
}

#[test]
fn a_log_begun_before_the_floor_was_raised_is_dropped() {
    let mut bench = Bench::new();
    bench.commit(b"kept");
    bench.append(&[b"kept too"], Durability::Buffered).unwrap();
    let next = ReadyLog::create(&bench.env, STORE_ID, LogId(2)).unwrap();
    let begun = Wal::start(&next).unwrap();
    begun.append(&[bench.appended[0].payload()], Durability::Buffered).unwrap();
    let (found, report) = recovered(&bench.disk, LogId(2)).unwrap();
    assert_eq!(found, bench.appended);
    assert_eq!(report.dropped.len(), 1);
}

#[test]
fn an_error_of_the_visitor_ends_recovery() {
    let mut bench = Bench::new();
    bench.commit(b"1");
    bench.commit(b"2");
    let range = ReplayRange { floor: (LogId(1), 0), last: LogId(1) };
    let mut visits = 0;
    let error = recover(&env(&bench.disk), STORE_ID, range, &|_| true, &mut |_| {
        visits += 1;
        Err(Error::new(ErrorKind::Invalid, "enough"))
    });
    assert_eq!((error.unwrap_err().kind(), visits), (ErrorKind::Invalid, 1));
}

#[test]
fn a_log_of_a_newer_format_says_so() {
    let bench = Bench::new();
    let mut bytes = bench.disk.read_file(&path(LogId(1))).unwrap();
    bytes[8] = 9;
    let crc = crate::format::primitives::crc32(0, &[&bytes[..52]]);
    bytes[52..56].copy_from_slice(&crc.to_le_bytes());
    bench.disk.write_file(&path(LogId(1)), &bytes).unwrap();
    let error = recovered(&bench.disk, LogId(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerFormat);
}
