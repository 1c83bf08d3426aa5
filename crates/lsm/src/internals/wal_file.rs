//! Two write-ahead logs of any bytes, recovered.

use std::sync::Arc;

use siltstone_io::{env::Env, sim::SimDisk};

use crate::{
    batch::Batch,
    error::ErrorKind,
    format::{
        names,
        primitives::{crc_seed, crc32},
        wal::{FRAME_HEADER_BYTES, FRAMES_START, FrameHeader, LogHeader, Place, Salt, TRAILER},
    },
    types::{LogId, Sequence},
    wal::{Payload, RecoveryReport, ReplayRange, recover},
};

/// The store that the logs of the corpus belong to.
pub(super) const STORE_ID: [u8; 16] = *b"a fuzzing corpus";

/// The salt of resealed logs.
const SALT: Salt = [7; 16];

/// Longest payload of a resealed frame, so that a short input has many frames.
const PAYLOAD_BYTES_MAX: usize = 3000;

/// Recovers `data` as two logs: the length of the first (4 bytes), its file, the file of the second.
/// Then again with the checksums and places of its frames put right, so that what they guard is
/// reached.
///
/// # Panics
/// When recovery gives sequences out of order, or not the same twice, or fails for a reason that
/// bytes cannot be.
pub fn wal_file(data: &[u8]) {
    let Some((length, files)) = data.split_first_chunk::<4>() else {
        return;
    };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (first, second) = files.split_at(length.min(files.len()));
    recover_both(first, second);
    recover_both(&resealed(LogId(1), first), &resealed(LogId(2), second));
}

fn recover_both(first: &[u8], second: &[u8]) {
    let disk = SimDisk::new(0);
    for (log, bytes) in [(LogId(1), first), (LogId(2), second)] {
        disk.write_file(names::log(log).as_str(), bytes).expect("the name is plain");
    }
    let last = if second.is_empty() { LogId(1) } else { LogId(2) };
    let found = recovered(&disk, last);
    assert_eq!(found, recovered(&disk, last), "recovery changes nothing");
}

/// What recovery reports, and every sequence with the number of its operations that decode.
type Found = Option<(RecoveryReport, Vec<(Sequence, usize)>)>;

fn recovered(disk: &SimDisk, last: LogId) -> Found {
    let env = Env::seeded(Arc::new(disk.clone()), 0);
    let range = ReplayRange { floor: (LogId(1), 0), last };
    let mut found: Vec<(Sequence, usize)> = Vec::new();
    let mut last_sequence = 0;
    let edit_is_durable = |number: u64| number % 8 != 7;
    let report = recover(&env, STORE_ID, range, &edit_is_durable, &mut |payload| {
        let (first, operations, decoded) = match payload {
            Payload::Batch { first_sequence, operations, encoded } => {
                let decoded = Batch::decode(encoded).flatten().count();
                (first_sequence, operations, decoded)
            }
            Payload::Marker { sequence, .. } => (sequence, 1, 0),
        };
        assert!(first > last_sequence && operations > 0, "sequences grow");
        last_sequence = first + u64::from(operations) - 1;
        found.push((first, decoded));
        Ok(())
    });
    match report {
        Ok(report) => {
            assert_eq!(report.last_sequence, last_sequence);
            assert_eq!(report.commits, found.len() as u64);
            Some((report, found))
        }
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NewerFormat), "{error}");
            assert!(error.place().is_some(), "{error}");
            None
        }
    }
}

/// The bytes as a log whose header page is good and whose frames follow each other. What the frames
/// say of parts, sequences and synced places stays as it is.
fn resealed(log: LogId, bytes: &[u8]) -> Vec<u8> {
    let mut file = LogHeader { store_id: STORE_ID, log, salt: SALT }.encode();
    file.extend_from_slice(bytes.get(file.len()..).unwrap_or_default());
    let (mut at, mut rolling_crc) = (FRAMES_START, 0);
    while let Some(header) = reseal(log, &mut file, at, rolling_crc) {
        (at, rolling_crc) = (header.next(), header.rolling_crc_after());
    }
    file
}

/// Puts the frame at `at` right; `None` when there is no room or it says what no frame does.
fn reseal(log: LogId, file: &mut [u8], at: u64, rolling_crc: u32) -> Option<FrameHeader> {
    let told = Place::of(at, 0).start;
    let told = file.get(usize::try_from(told).ok()?..)?.get(8..12)?.first_chunk::<4>()?;
    let payload_bytes = usize::try_from(u32::from_le_bytes(*told)).ok()? % PAYLOAD_BYTES_MAX;
    let place = Place::of(at, payload_bytes);
    let start = usize::try_from(place.start).ok()?;
    let frame = file.get_mut(start..)?.get_mut(..place.bytes())?;
    let head = FRAME_HEADER_BYTES + place.bitmap_bytes;
    frame[8..12].copy_from_slice(&u32::try_from(payload_bytes).ok()?.to_le_bytes());
    frame[12] = 1 + frame[12].wrapping_sub(1) % 4;
    frame[13] = 1 + frame[13].wrapping_sub(1) % 4;
    frame[14] &= 1;
    frame[16..18].copy_from_slice(&place.gap.to_le_bytes());
    frame[18..20].copy_from_slice(&u16::try_from(place.bitmap_bytes).ok()?.to_le_bytes());
    frame[48..52].copy_from_slice(&rolling_crc.to_le_bytes());
    frame[52..64].fill(0);
    let trailer = frame.len() - TRAILER.len();
    frame[trailer..].copy_from_slice(&TRAILER);
    let seed = crc_seed(&SALT, place.start);
    let payload_crc = crc32(seed, &[&frame[head..]]);
    frame[4..8].copy_from_slice(&payload_crc.to_le_bytes());
    let header_crc = crc32(seed, &[&frame[4..head]]);
    frame[..4].copy_from_slice(&header_crc.to_le_bytes());
    FrameHeader::decode(log, &SALT, place.start, frame)
}
