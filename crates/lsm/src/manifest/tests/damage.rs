//! Bytes that are not what was written: an error that names the place, or a shorter history whose
//! missing part was never acknowledged. Never a panic, never another state.

use super::*;
use crate::format::manifest::{
    CURRENT_BYTES, Head,
    frame::{self, Part, Place, SECTOR_BYTES},
};

/// A durable store of three edits, and the states after 0, 1, 2 and 3 of them.
fn three_edits() -> (SimDisk, Vec<Vec<String>>) {
    let (disk, manifest) = created();
    let mut states = vec![describe(&manifest.state())];
    for number in 1..=3 {
        states.push(describe(&manifest.commit(edit(number)).unwrap().state));
    }
    (disk, states)
}

fn damaged(disk: &SimDisk, damage: impl Fn(&mut Vec<u8>), path: &str) -> SimDisk {
    let copy = disk.fork();
    let mut bytes = copy.read_file(path).unwrap();
    damage(&mut bytes);
    copy.write_file(path, &bytes).unwrap();
    copy
}

/// Every byte of both files, by a different bit each; every bit of a frame is tried in its format.
#[test]
fn every_flip_is_detected_also_in_the_last_edit() {
    let (disk, _) = three_edits();
    for path in [names::CURRENT.to_owned(), manifest_path(&disk)] {
        let length = disk.read_file(&path).unwrap().len();
        for (at, bit) in (0..length).zip((0..8).cycle()) {
            let flipped = disk.fork();
            flipped.flip(&path, at as u64, bit).unwrap();
            let error = open(&flipped).expect_err(&format!("{path} at byte {at}"));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{path} at byte {at}: {error}");
            let (place, offset) = error.place().expect("it names the place");
            assert_eq!(place, path);
            assert_eq!(offset, at as u64 / PAGE * PAGE);
        }
    }
}

#[test]
fn every_truncation_is_an_error_or_an_earlier_state() {
    let (disk, states) = three_edits();
    let path = manifest_path(&disk);
    let length = disk.read_file(&path).unwrap().len();
    assert_eq!(length, 5 * PAGE_BYTES);
    for cut in (0..length).filter(|cut| cut % 64 == 0 || cut % PAGE_BYTES < 48) {
        let short = damaged(&disk, |bytes| bytes.truncate(cut), &path);
        match open(&short) {
            Ok(manifest) => {
                let edits = cut / PAGE_BYTES - 2;
                assert_eq!(describe(&manifest.state()), states[edits], "{cut} bytes");
                let dropped = cut % PAGE_BYTES;
                assert_eq!(manifest.dropped_bytes(), dropped as u64);
                let rolled = manifest_path(&short) != path;
                assert_eq!(rolled, edits > 0 || dropped > 0, "what was torn is not appended to");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                assert!(cut < 2 * PAGE_BYTES, "head and snapshot were synced: {cut} bytes");
            }
        }
    }
    for cut in 0..CURRENT_BYTES {
        let short = damaged(&disk, |bytes| bytes.truncate(cut), names::CURRENT);
        assert_eq!(open(&short).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

/// Zeroes the sectors of one edit in every combination.
#[test]
fn missing_sectors_are_torn_only_in_the_last_edit() {
    let (disk, states) = three_edits();
    let path = manifest_path(&disk);
    for number in 0..=3 {
        for missing in 1..1_u32 << 8 {
            let from = (1 + number) * PAGE_BYTES;
            let zero = |bytes: &mut Vec<u8>| {
                for sector in (0..8).filter(|sector| missing & (1 << sector) != 0) {
                    let at = from + sector * SECTOR_BYTES;
                    bytes[at..at + SECTOR_BYTES].fill(0);
                }
            };
            let holed = damaged(&disk, zero, &path);
            match open(&holed) {
                Ok(manifest) => {
                    assert_eq!((number, describe(&manifest.state())), (3, states[2].clone()));
                    assert_eq!(manifest.dropped_bytes(), PAGE);
                }
                Err(error) => {
                    assert!(number < 3, "{error}");
                    assert_eq!(error.place(), Some((path.as_str(), from as u64)));
                }
            }
        }
    }
}

#[test]
fn a_lost_current_is_not_an_empty_folder() {
    let (disk, _) = three_edits();
    let without = disk.fork();
    without.delete_file(names::CURRENT).unwrap();
    let error = open(&without).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("CURRENT"), "{error}");
    let error = Manifest::create(&env(&without), STORE_ID, LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "nor is a store made over it: {error}");
    for bytes in [vec![], vec![0; CURRENT_BYTES], vec![0xff; 2 * CURRENT_BYTES]] {
        disk.write_file(names::CURRENT, &bytes).unwrap();
        assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::Corrupt);
        let again = Manifest::create(&env(&disk), STORE_ID, LONG).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn any_file_of_a_store_forbids_a_new_one() {
    let root = RelPath::root();
    for path in
        ["wal-0000000000000001.log", "files/0000000000000001.seg", "manifest-0000000000000002"]
    {
        let disk = SimDisk::new(1);
        disk.create_dir(&names::top(names::FILES)).unwrap();
        disk.sync_dir(&root).unwrap();
        disk.write_file("notes.txt", b"not ours").unwrap();
        assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::NotFound);
        disk.write_file(path, b"").unwrap();
        let error = open(&disk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(path), "{error}");
    }
}

#[test]
fn a_store_is_created_once() {
    let (disk, _) = created();
    let error = Manifest::create(&env(&disk), STORE_ID, LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
}

#[test]
fn a_missing_or_foreign_manifest_is_an_error() {
    let (disk, _) = three_edits();
    let path = manifest_path(&disk);
    let missing = disk.fork();
    missing.delete_file(&path).unwrap();
    let error = open(&missing).unwrap_err();
    assert_eq!((error.kind(), error.place()), (ErrorKind::Corrupt, Some((path.as_str(), 0))));
    let foreign = SimDisk::new(2);
    Manifest::create(&env(&foreign), [8; 16], LONG).unwrap();
    disk.write_file(&path, &foreign.read_file(&path).unwrap()).unwrap();
    assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Appends a well-formed frame with the payload, as edit `number`.
fn append(disk: &SimDisk, part: Part, payload: &[u8]) -> SimDisk {
    let path = manifest_path(disk);
    let add = |bytes: &mut Vec<u8>| {
        let head = Head::decode(&bytes[..PAGE_BYTES]).unwrap();
        let place = Place { salt: &head.salt, offset: bytes.len() as u64 };
        bytes.extend(frame::encode(place, part, payload));
    };
    damaged(disk, add, &path)
}

#[test]
fn records_of_a_later_version_say_so() {
    let (disk, _) = three_edits();
    let newer = append(&disk, Part { edit: 4, part: 0, last: true }, &[200, 1, 2]);
    let error = open(&newer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerFormat, "{error}");
}

#[test]
fn well_formed_frames_that_make_no_sense_are_damage() {
    let (disk, states) = three_edits();
    let part = |edit, part, last| Part { edit, part, last };
    let again = [2, 9]; // drops a collection that there is not
    let cases: [(Part, &[u8]); 6] = [
        (part(4, 0, true), &again),
        (part(4, 0, true), &[0]),
        (part(4, 0, true), &[1]),
        (part(5, 0, true), &[]),
        (part(4, 1, true), &[]),
        (part(3, 0, true), &[]),
    ];
    for (part, payload) in cases {
        let error = open(&append(&disk, part, payload)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{part:?} {payload:?}: {error}");
    }
    let first_of_two = append(&disk, part(4, 0, false), &[2, 1]);
    let opened = open(&first_of_two).unwrap();
    assert_eq!(describe(&opened.state()), states[3], "an edit counts only with its last frame");
    assert_eq!(opened.dropped_bytes(), PAGE);
}

#[test]
fn stale_bytes_after_the_end_are_dropped() {
    let (disk, states) = three_edits();
    let path = manifest_path(&disk);
    let (other, _) = three_edits();
    let manifest = open(&other).unwrap(); // another salt
    manifest.commit(edit(4)).unwrap();
    let stale = other.read_file(&manifest_path(&other)).unwrap();
    for tail in [vec![0; 5_000], vec![0xff; 5_000], stale] {
        let longer = damaged(&disk, |bytes| bytes.extend_from_slice(&tail), &path);
        let opened = open(&longer).unwrap();
        assert_eq!(describe(&opened.state()), states[3]);
        assert_eq!(opened.dropped_bytes(), tail.len() as u64);
    }
}
