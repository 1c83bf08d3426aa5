//! Torn tails: whatever sectors of the last writes are missing, the exact prefix comes back.

use super::support::{Bench, Owned, noise, path, recovered};
use crate::{
    format::wal::{FRAMES_START, Place, SECTOR_BYTES},
    options::Durability,
    types::LogId,
};

/// Where the frames of `group`, appended at `position`, lie: from gap to trailer.
fn extents(mut position: u64, group: &[Owned]) -> Vec<std::ops::Range<usize>> {
    let mut extents = Vec::new();
    for owned in group {
        let Owned::Batch { encoded, .. } = owned else {
            panic!("these tests append batches of one frame");
        };
        let place = Place::of(position, encoded.len());
        extents.push(place.start as usize..place.end as usize);
        position = place.end;
    }
    extents
}

fn padded(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
    bytes.resize(len, 0);
    bytes
}

/// Appends one group and tries every subset of the sectors it changed as lost.
fn every_subset_leaves_the_exact_prefix(mut bench: Bench, group: &[&[u8]], durability: Durability) {
    let path = bench.path();
    let before = bench.disk.read_file(&path).unwrap();
    let (kept, position) = (bench.appended.len(), bench.wal.end().offset);
    bench.append(group, durability).unwrap();
    let after = bench.disk.read_file(&path).unwrap();
    let before = padded(before, after.len());
    let frames = extents(position, &bench.appended[kept..]);

    let sector = SECTOR_BYTES as usize;
    let changed: Vec<usize> = (0..after.len() / sector)
        .filter(|s| before[s * sector..(s + 1) * sector] != after[s * sector..(s + 1) * sector])
        .collect();
    assert!((1..=10).contains(&changed.len()), "{} sectors", changed.len());

    for subset in 0_u32..1 << changed.len() {
        let mut bytes = after.clone();
        for (bit, s) in changed.iter().enumerate() {
            if subset & (1 << bit) != 0 {
                let lost = s * sector..(s + 1) * sector;
                bytes[lost.clone()].copy_from_slice(&before[lost]);
            }
        }
        let intact = frames.iter().take_while(|f| bytes[(*f).clone()] == after[(*f).clone()]);
        let expected = kept + intact.count();
        bench.disk.write_file(&path, &bytes).unwrap();
        let (found, report) = recovered(&bench.disk, bench.last_log)
            .unwrap_or_else(|error| panic!("lost {subset:#b} of {changed:?}: {error}"));
        assert_eq!(found, bench.appended[..expected], "lost {subset:#b} of {changed:?}");
        let something_left =
            frames[expected - kept..].iter().any(|f| bytes[f.clone()] != before[f.clone()]);
        assert_eq!(!report.dropped.is_empty(), something_left, "lost {subset:#b} of {changed:?}");
    }
}

#[test]
fn small_group_in_a_fresh_page() {
    for durability in [Durability::Sync, Durability::Buffered] {
        let mut bench = Bench::new();
        bench.commit(b"durable");
        let group = [noise(1, 900), noise(2, 10), noise(3, 1500), noise(4, 700)];
        let group: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
        every_subset_leaves_the_exact_prefix(bench, &group, durability);
    }
}

#[test]
fn group_that_shares_its_first_page_with_synced_frames() {
    for used in [10, 400, 440, 448, 456, 504, 2000, 3900] {
        let mut bench = Bench::new();
        let position = bench.append(&[&noise(9, used)], Durability::Buffered).unwrap();
        bench.wal.sync_to(position).unwrap();
        let group = [noise(1, 600), noise(2, 330), noise(3, 1200)];
        let group: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
        every_subset_leaves_the_exact_prefix(bench, &group, Durability::Sync);
    }
}

#[test]
fn sparse_payloads() {
    let mut one_bit = vec![0; 2000];
    one_bit[900] = 0x40;
    let mut few_bits = vec![0; 1800];
    few_bits[700] = 0x41;
    few_bits[1300] = 1;
    let zeros = vec![0; 900];
    let mut bench = Bench::new();
    bench.commit(b"durable");
    let group: [&[u8]; 3] = [&one_bit, &few_bits, &zeros[..300]];
    every_subset_leaves_the_exact_prefix(bench, &group, Durability::Sync);
    for payload in [&one_bit, &few_bits, &zeros, &vec![0xff; 1500], &vec![0x5a; 1500]] {
        let mut bench = Bench::new();
        bench.commit(b"durable");
        every_subset_leaves_the_exact_prefix(bench, &[payload], Durability::Sync);
    }
}

#[test]
fn first_group_of_a_successor() {
    let mut bench = Bench::new();
    bench.commit(b"durable");
    bench.rotate().unwrap();
    let group = [noise(1, 900), noise(2, 1000)];
    let group: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
    every_subset_leaves_the_exact_prefix(bench, &group, Durability::Sync);
}

#[test]
fn a_long_batch_with_a_lost_sector_is_dropped_whole() {
    let mut bench = Bench::new();
    bench.commit(b"durable");
    let from = bench.wal.end().offset as usize;
    bench.append(&[&noise(5, 3 << 20)], Durability::Sync).unwrap();
    let path = bench.path();
    let whole = bench.disk.read_file(&path).unwrap();
    let sectors = (whole.len() - from) / 512;
    for lost in [0, 1, 2, 700, 2047, 2048, 2049, 4000, 6000, sectors - 9] {
        let mut bytes = whole.clone();
        bytes[from + lost * 512..from + (lost + 1) * 512].fill(0);
        bench.disk.write_file(&path, &bytes).unwrap();
        let (found, report) = recovered(&bench.disk, bench.last_log).unwrap();
        assert_eq!(found, bench.appended[..1], "sector {lost}");
        assert_eq!(report.dropped.len(), 1);
        let (place, bytes) = report.dropped[0];
        assert_eq!(place.offset as usize, from, "the report begins with the batch");
        assert!(bytes > 3 << 20, "and has all of it");
    }
}

/// A log of Sync and Buffered groups; returns its bytes and where each frame ends.
fn mixed_log() -> (Bench, Vec<u8>, Vec<usize>) {
    let mut bench = Bench::new();
    let mut ends = Vec::new();
    let groups: [(&[usize], Durability); 4] = [
        (&[30, 700], Durability::Sync),
        (&[400, 20], Durability::Buffered),
        (&[300], Durability::Sync),
        (&[90, 650], Durability::Buffered),
    ];
    for (lens, durability) in groups {
        let (kept, position) = (bench.appended.len(), bench.wal.end().offset);
        let payloads: Vec<Vec<u8>> = lens.iter().map(|&len| noise(len as u64, len)).collect();
        let group: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let end = bench.append(&group, durability).unwrap();
        bench.wal.sync_to(end).unwrap();
        ends.extend(extents(position, &bench.appended[kept..]).iter().map(|frame| frame.end));
    }
    let bytes = bench.disk.read_file(&bench.path()).unwrap();
    (bench, bytes, ends)
}

#[test]
fn every_truncation_leaves_the_exact_prefix() {
    let (bench, bytes, ends) = mixed_log();
    for len in FRAMES_START as usize..=bytes.len() {
        let expected = ends.iter().take_while(|&&end| end <= len).count();
        for shape in [bytes[..len].to_vec(), padded(bytes[..len].to_vec(), bytes.len())] {
            bench.disk.write_file(&path(LogId(1)), &shape).unwrap();
            let (found, _) = recovered(&bench.disk, LogId(1))
                .unwrap_or_else(|error| panic!("cut at {len}: {error}"));
            assert_eq!(found, bench.appended[..expected], "cut at {len}");
        }
    }
    for len in 0..56 {
        bench.disk.write_file(&path(LogId(1)), &bytes[..len]).unwrap();
        assert!(recovered(&bench.disk, LogId(1)).is_err(), "no header page");
    }
}

#[test]
fn a_log_that_lost_its_seal_ends_the_prefix() {
    let mut bench = Bench::new();
    bench.commit(b"durable");
    bench.append(&[b"not yet"], Durability::Buffered).unwrap();
    let before = bench.disk.read_file(&path(LogId(1))).unwrap();
    bench.rotate().unwrap();
    bench.append(&[b"after"], Durability::Buffered).unwrap();
    bench.disk.write_file(&path(LogId(1)), &before).unwrap(); // the seal was not synced

    let (found, report) = recovered(&bench.disk, LogId(2)).unwrap();
    assert_eq!(found, bench.appended[..2]);
    assert_eq!(report.last_sequence, 2);
    let dropped: Vec<_> =
        report.dropped.iter().map(|(place, _)| (place.log, place.offset)).collect();
    assert_eq!(dropped, [(LogId(2), FRAMES_START)]);
}
