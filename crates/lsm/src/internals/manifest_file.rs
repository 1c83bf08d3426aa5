//! A manifest of any bytes: opened, rolled, and opened again.

use std::sync::Arc;

use siltstone_io::{env::Env, sim::SimDisk};

use crate::{
    error::ErrorKind,
    format::{
        manifest::{
            Current, Head, edit,
            frame::{self, FRAME_HEAD_BYTES, Part, Place, SECTOR_BYTES, STAMP_BYTES},
        },
        names,
        primitives::Decoder,
    },
    manifest::{Manifest, Record},
};

/// The store that the manifests of the corpus belong to.
pub(super) const STORE_ID: [u8; 16] = *b"a fuzzing corpus";

/// The number in the name of the manifest.
pub(super) const NUMBER: u64 = 1;

/// The salt of resealed manifests.
const SALT: [u8; 16] = [7; 16];

/// Longest payload of a resealed frame, so that a short input has many frames.
const PAYLOAD_BYTES_MAX: usize = 8000;

/// Opens `data` as a manifest; as one whose head page, stamps and checksums fit, so that what they
/// guard is reached; and decodes it as records.
///
/// # Panics
/// When a manifest that was opened is another one after it was rolled, when records have two
/// encodings, or when opening fails for a reason that bytes cannot be.
pub fn manifest(data: &[u8]) {
    open(data);
    open(&resealed(data));
    decode_records(data);
}

/// Opens a manifest that `CURRENT` names; whether it could be.
pub(super) fn open(bytes: &[u8]) -> bool {
    let disk = SimDisk::new(0);
    let current = Current { number: NUMBER, store_id: STORE_ID }.encode();
    for (path, bytes) in [(names::top(names::CURRENT), &*current), (names::manifest(NUMBER), bytes)]
    {
        disk.write_file(path.as_str(), bytes).expect("the name is plain");
    }
    let reopened = || Manifest::open(&Env::seeded(Arc::new(disk.clone()), 0), u64::MAX);
    match reopened() {
        Ok(manifest) => {
            let found = records(&manifest);
            manifest.roll().expect("memory takes all");
            drop(manifest);
            let again = reopened().expect("what was written can be read");
            assert!(found == records(&again), "a roll changes the state");
            assert_eq!(again.dropped_bytes(), 0);
            true
        }
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NewerFormat), "{error}");
            assert!(error.place().is_some(), "{error}");
            false
        }
    }
}

fn records(manifest: &Manifest) -> Vec<Record> {
    manifest.state().snapshot().collect()
}

/// Decodes records one after another; each must come back as the bytes it was.
fn decode_records(data: &[u8]) {
    let mut from = Decoder::new(data);
    loop {
        let before = from.rest();
        let Ok(record) = edit::decode(&mut from) else { return };
        let read = before.len() - from.rest().len();
        let mut encoded = Vec::new();
        edit::encode(&record, &mut encoded);
        assert_eq!(encoded, before[..read], "{record:?} has one encoding");
    }
}

/// The bytes as a manifest whose head page is good and whose frames follow each other. What the
/// frames say of their lengths and of the end of an edit is taken as far as it can be, their records
/// stay as they are.
pub(super) fn resealed(bytes: &[u8]) -> Vec<u8> {
    let mut file = Head { number: NUMBER, store_id: STORE_ID, salt: SALT }.encode();
    let mut part = Part { edit: 0, part: 0, last: false };
    while let Some((last, payload)) = contents(bytes.get(file.len()..).unwrap_or_default()) {
        part.last = last;
        let place = Place { salt: &SALT, offset: file.len() as u64 };
        file.extend_from_slice(&frame::encode(place, part, &payload));
        part = if last {
            Part { edit: part.edit + 1, part: 0, last }
        } else {
            Part { part: part.part + 1, ..part }
        };
    }
    file
}

/// Whether the frame at the front of `bytes` says that it is the last of its edit, and its payload.
fn contents(bytes: &[u8]) -> Option<(bool, Vec<u8>)> {
    let head = bytes.get(..FRAME_HEAD_BYTES)?;
    let told = u32::from_le_bytes(*head[32..36].first_chunk()?);
    let length = usize::try_from(told).ok()? % (PAYLOAD_BYTES_MAX + 1);
    let sectors = bytes.chunks(SECTOR_BYTES).filter_map(|sector| sector.get(STAMP_BYTES..));
    let rooms = sectors.flatten().skip(FRAME_HEAD_BYTES - STAMP_BYTES);
    Some((head[36] & 1 == 1, rooms.take(length).copied().collect()))
}
