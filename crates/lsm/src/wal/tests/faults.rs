//! Errors of the disk, and what the writer and recovery make of them.

use siltstone_io::sim::{Crash, SimDisk, SyncFailure};

use super::support::{Bench, Owned, STORE_ID, env, noise, path, recovered, recovered_from};
use crate::{
    error::{Error, ErrorKind},
    options::Durability,
    types::LogId,
    wal::{Payload, Position, ReadyLog, ReplayRange, Wal, recover},
};

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
    assert_eq!(recovered(&bench.disk, LogId(2)).unwrap(), Default::default());
    let none = ReplayRange { floor: (LogId(1), 0), last: LogId(0) };
    assert_eq!(recovered_from(&bench.disk, none).unwrap(), Default::default());
}
