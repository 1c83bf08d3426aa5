//! Damage to what was durable: detected, or without consequence.

use proptest::prelude::*;

use super::support::{Bench, Owned, noise, path, recovered};
use crate::{
    error::ErrorKind,
    format::{
        names,
        wal::{FRAMES_START, PAGE_BYTES},
    },
    options::Durability,
    types::LogId,
};

/// Two logs of Sync groups, the first sealed.
fn two_logs() -> Bench {
    let mut bench = Bench::new();
    bench.commit(&noise(1, 40));
    bench.append(&[&noise(2, 500)], Durability::Buffered).unwrap();
    bench.commit(&noise(3, 700));
    bench.rotate().unwrap();
    bench.commit(&[0; 30]);
    let position = bench.append(&[&noise(4, 100), &[0; 1200]], Durability::Sync).unwrap();
    bench.wal.sync_to(position).unwrap();
    bench
}

fn paths(bench: &Bench) -> Vec<String> {
    (1..=bench.last_log.0).map(|log| path(LogId(log))).collect()
}

#[test]
fn every_single_bit_flip_is_detected_or_harmless() {
    let bench = two_logs();
    for path in paths(&bench) {
        let bytes = bench.disk.read_file(&path).unwrap();
        let mut harmless = 0;
        for byte in 0..bytes.len() {
            // All bits of what was written; one bit a byte of what was left zero.
            let bits = if bytes[byte] == 0 { 1 } else { 8 };
            for bit in 0..bits {
                bench.disk.flip(&path, byte as u64, bit).unwrap();
                match recovered(&bench.disk, bench.last_log) {
                    Ok((found, _)) => {
                        assert_eq!(found, bench.appended, "{path}, byte {byte}, bit {bit}");
                        harmless += 1;
                        assert_eq!(bytes[byte], 0, "{path}: byte {byte} is of no use");
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {byte}, bit {bit}");
                        let (place, offset) = error.place().expect("a place");
                        assert!(place.starts_with("wal-") && offset <= bytes.len() as u64);
                    }
                }
                bench.disk.flip(&path, byte as u64, bit).unwrap();
            }
        }
        assert!(harmless > 0, "padding was tried");
    }
    assert_eq!(recovered(&bench.disk, bench.last_log).unwrap().0, bench.appended);
}

#[test]
fn flips_of_an_unsynced_tail_leave_what_was_synced() {
    let mut bench = Bench::new();
    bench.commit(&noise(1, 40));
    bench.append(&[&noise(2, 300)], Durability::Buffered).unwrap();
    bench.append(&[&noise(3, 30)], Durability::Buffered).unwrap();
    let path = bench.path();
    let bytes = bench.disk.read_file(&path).unwrap();
    for byte in FRAMES_START as usize..bytes.len() {
        bench.disk.flip(&path, byte as u64, 3).unwrap();
        if let Ok((found, _)) = recovered(&bench.disk, bench.last_log) {
            assert!(!found.is_empty() && bench.appended.starts_with(&found), "byte {byte}");
        }
        bench.disk.flip(&path, byte as u64, 3).unwrap();
    }
}

#[test]
fn lost_pages_below_a_proven_place_are_corruption() {
    let bench = two_logs();
    for path in paths(&bench) {
        let whole = bench.disk.read_file(&path).unwrap();
        let pages = whole.len() / PAGE_BYTES as usize;
        // The last page of the last log is the one group that nothing proves.
        let last = path == bench.path();
        for page in 1..if last { pages - 1 } else { pages } {
            for sectors in [1, 8] {
                let mut bytes = whole.clone();
                let from = page * PAGE_BYTES as usize;
                bytes[from..from + sectors * 512].fill(0);
                bench.disk.write_file(&path, &bytes).unwrap();
                let error = recovered(&bench.disk, bench.last_log).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{path}, page {page}");
                assert_eq!(error.place().unwrap().0, path);
            }
        }
        bench.disk.write_file(&path, &whole).unwrap();
    }
}

#[test]
fn a_missing_log_is_corruption() {
    let mut bench = two_logs();
    bench.rotate().unwrap();
    for log in 1..=3 {
        let path = path(LogId(log));
        let bytes = bench.disk.read_file(&path).unwrap();
        bench.disk.delete_file(&path).unwrap();
        let error = recovered(&bench.disk, bench.last_log).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.place().unwrap().0, path);
        bench.disk.write_file(&path, &bytes).unwrap();
    }
    assert!(recovered(&bench.disk, bench.last_log).is_ok());
}

#[test]
fn a_log_in_the_wrong_place_is_corruption() {
    let bench = two_logs();
    let other = Bench::new();
    for bytes in [
        bench.disk.read_file(&path(LogId(1))).unwrap(), // another log of the store
        Vec::new(),
        vec![0; 8192],
    ] {
        other.disk.write_file(&path(LogId(2)), &bytes).unwrap();
        let error = recovered(&other.disk, LogId(2)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.place(), Some((names::log(LogId(2)).as_str(), 0)));
    }
}

#[test]
fn a_cut_predecessor_is_corruption_once_its_successor_synced() {
    let bench = two_logs();
    let path = path(LogId(1));
    let whole = bench.disk.read_file(&path).unwrap();
    for pages in 1..whole.len() / PAGE_BYTES as usize {
        bench.disk.write_file(&path, &whole[..pages * PAGE_BYTES as usize]).unwrap();
        let error = recovered(&bench.disk, bench.last_log).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{pages} pages");
    }
}

#[test]
fn frames_carried_in_a_value_prove_nothing() {
    let source = two_logs();
    let carried = source.disk.read_file(&source.path()).unwrap();
    let mut bench = Bench::new();
    bench.commit(b"durable");
    let from = bench.wal.end().offset as usize;
    bench.append(&[&carried], Durability::Sync).unwrap();
    let path = bench.path();
    let mut bytes = bench.disk.read_file(&path).unwrap();
    bytes[from..from + 512].fill(0); // its header is torn off
    bench.disk.write_file(&path, &bytes).unwrap();
    let (found, report) = recovered(&bench.disk, bench.last_log).unwrap();
    assert_eq!(found, bench.appended[..1]);
    assert_eq!(report.dropped[0].0.offset as usize, from);
}

/// What was appended, as the one truth that recovery may return a prefix of.
fn assert_prefix(bench: &Bench) -> Result<(), TestCaseError> {
    if let Ok((found, report)) = recovered(&bench.disk, bench.last_log) {
        prop_assert!(bench.appended.starts_with(&found), "{} found", found.len());
        prop_assert_eq!(report.last_sequence, found.last().map_or(0, Owned::last));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_recover_or_fail(
        bytes in proptest::collection::vec(any::<u8>(), 0..9000),
        header: bool,
    ) {
        let bench = Bench::new();
        let mut file = bench.disk.read_file(&bench.path()).unwrap();
        if header {
            file.truncate(PAGE_BYTES as usize);
            file.extend_from_slice(&bytes);
        } else {
            file = bytes;
        }
        bench.disk.write_file(&bench.path(), &file).unwrap();
        assert_prefix(&bench)?;
    }

    #[test]
    fn damaged_logs_never_give_what_was_not_written(
        damage in proptest::collection::vec((any::<u16>(), any::<u16>(), 1_usize..700), 1..4),
        log in 1_u64..=2,
    ) {
        let bench = two_logs();
        let path = path(LogId(log));
        let mut bytes = bench.disk.read_file(&path).unwrap();
        for (from, to, len) in damage {
            let len = len.min(bytes.len());
            let from = usize::from(from) % (bytes.len() - len + 1);
            let to = usize::from(to) % (bytes.len() - len + 1);
            bytes.copy_within(from..from + len, to);
        }
        bench.disk.write_file(&path, &bytes).unwrap();
        assert_prefix(&bench)?;
    }
}
