use proptest::prelude::*;

use super::{
    arbitrary::record,
    edit::{self, Record, RecordError, kind},
    frame::{
        self, Body, FRAME_HEAD, FRAME_HEAD_BYTES, PAYLOAD_BYTES_MAX, Part, Place, SECTOR_BYTES,
        STAMP_BYTES, Start,
    },
    *,
};
use crate::{
    format::layout::render,
    types::{Counts, FileId, Hash, LogId, SegmentMeta, TenantStatus, TreeId, Uid},
};

const DOCUMENT: &str = include_str!("../../../../../docs/format.md");

const HEAD_OF_ONE: Head = Head { number: 7, store_id: [0x11; 16], salt: [0x22; 16] };
const CURRENT_OF_ONE: Current = Current { number: 7, store_id: [0x11; 16] };
const SALT: [u8; 16] = [0x5a; 16];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn place(offset: u64) -> Place<'static> {
    Place { salt: &SALT, offset }
}

#[test]
fn layouts_and_kinds_match_docs_format_md() {
    for table in [render(&HEAD), render(&CURRENT), render(&FRAME_HEAD)] {
        assert!(DOCUMENT.contains(&table), "docs/format.md lacks\n{table}");
    }
    for (name, number) in kind::ALL {
        let line = format!("{number:>4}  {name} ");
        assert!(DOCUMENT.contains(&line), "docs/format.md lacks '{line}'");
    }
}

#[test]
fn head_and_current_bytes_are_pinned() {
    let head = HEAD_OF_ONE.encode();
    assert_eq!(
        hex(&head[..56]),
        "53494c544d414e4901000000070000000000000011111111111111111111111111111111\
         2222222222222222222222222222222200000000"
    );
    assert_eq!(hex(&head[PAGE_BYTES - 4..]), "04f62836");
    assert_eq!(
        hex(&CURRENT_OF_ONE.encode()),
        "53494c5443555252010000000700000000000000111111111111111111111111111111114e96efef"
    );
    assert_eq!(Head::decode(&head), Ok(HEAD_OF_ONE));
    assert_eq!(Current::decode(&CURRENT_OF_ONE.encode()), Ok(CURRENT_OF_ONE));
}

#[test]
fn every_single_bit_flip_of_a_head_is_damaged() {
    let (head, current) = (HEAD_OF_ONE.encode(), CURRENT_OF_ONE.encode());
    for bit in 0..head.len() * 8 {
        let mut flipped = head.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(Head::decode(&flipped), Err(HeadError::Damaged(_))), "bit {bit}");
    }
    for bit in 0..current.len() * 8 {
        let mut flipped = current.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(Current::decode(&flipped), Err(HeadError::Damaged(_))), "bit {bit}");
    }
    for length in 0..current.len() {
        assert!(Current::decode(&current[..length]).is_err(), "{length} bytes");
    }
    assert!(Current::decode(&[0; CURRENT_BYTES]).is_err());
}

#[test]
fn a_head_of_a_later_version_says_so() {
    for version in [0_u32, 2] {
        let mut bytes = CURRENT_OF_ONE.encode();
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        bytes.truncate(CURRENT_BYTES - 4);
        seal(&mut bytes);
        let expected = match version {
            0 => HeadError::Damaged("it has version 0"),
            version => HeadError::Newer { version },
        };
        assert_eq!(Current::decode(&bytes), Err(expected));
    }
}

fn one_of_each() -> Vec<Record> {
    let meta = SegmentMeta {
        uid: Uid([0xa1; 16]),
        length: 300,
        hash: Hash([0xb2; 32]),
        counts: Counts { puts: 3, deletes: 2, range_deletes: 1 },
        sum: 0xc3,
        key_min: b"a".to_vec(),
        key_max: Some(b"zz".to_vec()),
        sequence_min: 5,
        sequence_max: 200,
    };
    let (tree, file, offset) = (TreeId(4), FileId(5), 4096);
    let name = || "n".to_owned();
    vec![
        Record::CreateCollection { id: 1, name: name(), tree },
        Record::DropCollection { id: 1 },
        Record::RenameCollection { id: 1, name: name() },
        Record::CreateTenant { collection: 1, name: name(), tree, status: TenantStatus::Hot },
        Record::SetTenantStatus { collection: 1, name: name(), status: TenantStatus::Cold },
        Record::DropTenant { collection: 1, name: name() },
        Record::AddFile { file, length: 8192 },
        Record::AddSegment { tree, level: 1, file, offset, meta: meta.clone() },
        Record::RemoveSegment { tree, file, offset },
        Record::MoveSegment { tree, file, offset, level: 2 },
        Record::ReplayFloor { log: LogId(9), sequence: 300 },
        Record::LogReady { log: LogId(10) },
        Record::ReserveSequences { upto: 1 << 24 },
        Record::QueueEdit { number: 11 },
        Record::NextIds { tree: TreeId(12), file: FileId(13), collection: 14 },
        Record::AddSegment {
            tree,
            level: 0,
            file,
            offset: 0,
            meta: SegmentMeta { key_min: Vec::new(), key_max: None, ..meta.clone() },
        },
        Record::RenameTenant { collection: 1, name: name(), to: "to".to_owned() },
        Record::FrozenTenant { collection: 1, name: name(), tree, location: "far".to_owned() },
        Record::HoldFile { file, length: 8192 },
        Record::HoldSegment { file, offset, meta },
        Record::ReleaseFile { file },
    ]
}

#[test]
fn record_bytes_are_pinned() {
    let ids = format!("{}{}c3{}", "a1".repeat(16), "b2".repeat(32), "00".repeat(15));
    let expected = [
        "010104016e",
        "0201",
        "0301016e",
        "04010401016e",
        "050102016e",
        "0601016e",
        "07058040",
        &format!("080401058020{ids}ac0203020105c801016101027a7a"),
        "0904058020",
        "0a0405802002",
        "0b09ac02",
        "0c0a",
        "0d80808008",
        "0e0b",
        "0f0c0d0e",
        &format!("0804000500{ids}ac0203020105c8010000"),
        "1001016e02746f",
        "110104016e03666172",
        "12058040",
        &format!("13058020{ids}ac0203020105c801016101027a7a"),
        "1405",
    ];
    let lines: Vec<_> = one_of_each().iter().map(|record| hex(&encoded(record))).collect();
    assert_eq!(lines, expected);
}

#[test]
fn frame_bytes_are_pinned() {
    let part = Part { edit: 3, part: 0, last: true };
    let bytes = frame::encode(place(PAGE_BYTES as u64), part, &[0xee; 600]);
    assert_eq!(bytes.len(), PAGE_BYTES);
    assert_eq!(
        hex(&bytes[..48]),
        "9111f6bc6eee0943b3532d73a55e6800030000000000000000000000010000005802000001000000eeeeeeeeeeeeeeee"
    );
    assert_eq!(hex(&bytes[SECTOR_BYTES..SECTOR_BYTES + 16]), "b800692b47ff96d4eeeeeeeeeeeeeeee");
    assert_eq!(&bytes[PAGE_BYTES - 8..], &[0; 8]);
}

fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    edit::encode(record, &mut bytes);
    bytes
}

#[test]
fn an_unknown_kind_is_a_newer_version_and_0_is_damage() {
    for kind in 21..=255 {
        let decoded = edit::decode(&mut Decoder::new(&[kind, 0, 0]));
        assert_eq!(decoded, Err(RecordError::Newer { kind }));
    }
    assert!(matches!(edit::decode(&mut Decoder::new(&[0])), Err(RecordError::Damaged(_))));
}

proptest! {
    #[test]
    fn decode_inverts_encode(records in prop::collection::vec(record(), 0..20)) {
        let mut bytes = Vec::new();
        for record in &records {
            edit::encode(record, &mut bytes);
        }
        let mut from = Decoder::new(&bytes);
        for record in &records {
            prop_assert_eq!(edit::decode(&mut from), Ok(record.clone()));
        }
        prop_assert!(from.is_empty());
        for length in 0..bytes.len().min(400) {
            let mut from = Decoder::new(&bytes[..length]);
            while !from.is_empty() && edit::decode(&mut from).is_ok() {}
        }
    }

    #[test]
    fn decoded_bytes_are_the_only_encoding(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for start in 1..=20_u8 {
            let bytes: Vec<u8> = std::iter::once(start).chain(bytes.iter().copied()).collect();
            let mut from = Decoder::new(&bytes);
            if let Ok(record) = edit::decode(&mut from) {
                let taken = bytes.len() - from.rest().len();
                prop_assert_eq!(encoded(&record), &bytes[..taken]);
            }
        }
    }

    #[test]
    fn no_bytes_make_a_frame_or_head_panic(bytes in prop::collection::vec(any::<u8>(), 0..9_000)) {
        prop_assert!(Head::decode(&bytes).is_err() && Current::decode(&bytes).is_err());
        prop_assert!(!matches!(frame::start(place(0), &bytes), Start::Frame(_)));
        let Start::Frame(head) = frame::start(place(0), &frame::encode(place(0), PART, &bytes))
        else {
            return Err(TestCaseError::fail("a frame is a frame"));
        };
        prop_assert!(!matches!(frame::body(place(0), &head, &bytes), Body::Payload(_)));
    }

    #[test]
    fn frames_give_back_their_payload(
        length in prop_oneof![0..2_000_usize, PAYLOAD_BYTES_MAX - 3..=PAYLOAD_BYTES_MAX],
        page in 1..1_000_u64,
    ) {
        let payload: Vec<u8> = (0..=254).cycle().take(length).collect();
        let at = place(page * PAGE_BYTES as u64);
        let mut bytes = frame::encode(at, PART, &payload);
        prop_assert_eq!(bytes.len() % PAGE_BYTES, 0);
        prop_assert!(bytes.len() <= frame::FRAME_PAGES_MAX * PAGE_BYTES);
        let Start::Frame(head) = frame::start(at, &bytes[..PAGE_BYTES]) else {
            return Err(TestCaseError::fail("a frame is a frame"));
        };
        prop_assert_eq!((head.part, head.pages * PAGE_BYTES), (PART, bytes.len()));
        prop_assert_eq!(frame::start(place(0), &bytes[..PAGE_BYTES]), Start::Unwritten);
        bytes.extend_from_slice(b"what follows does not matter");
        prop_assert_eq!(frame::body(at, &head, &bytes), Body::Payload(payload));
    }
}

const PART: Part = Part { edit: 9, part: 2, last: false };

fn look(bytes: &[u8]) -> Result<Body, Start> {
    match frame::start(place(0), bytes) {
        Start::Frame(head) => Ok(frame::body(place(0), &head, bytes)),
        other => Err(other),
    }
}

#[test]
fn every_single_bit_flip_of_a_frame_is_damaged() {
    let frame = frame::encode(place(0), PART, &[0xab; 1_000]);
    for bit in 0..frame.len() * 8 {
        let mut flipped = frame.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let seen = look(&flipped);
        assert!(
            matches!(seen, Ok(Body::Damaged(_)) | Err(Start::Damaged(_))),
            "bit {bit} is seen as {seen:?}"
        );
    }
}

#[test]
fn every_byte_changed_at_will_is_damaged() {
    let frame = frame::encode(place(0), PART, &[0xab; 1_000]);
    for at in 0..frame.len() {
        for change in [0xff, 0x0f, 0xaa, frame[at]].into_iter().filter(|change| *change != 0) {
            let mut changed = frame.clone();
            changed[at] ^= change;
            let seen = look(&changed);
            assert!(matches!(seen, Ok(Body::Damaged(_)) | Err(Start::Damaged(_))), "byte {at}");
        }
    }
}

/// Whatever a file system shows in place of sectors that were never written.
#[test]
fn every_set_of_missing_sectors_is_torn() {
    let frame = frame::encode(place(0), PART, &[0xab; 1_000]);
    let sectors = frame.len() / SECTOR_BYTES;
    let stale = frame::encode(Place { salt: &[0x77; 16], offset: 0 }, PART, &[0xab; 1_000]);
    let fills: [&dyn Fn(usize) -> u8; 3] = [&|_| 0, &|_| 0xff, &|at| stale[at]];
    for fill in fills {
        for missing in 1..1_u32 << sectors {
            let mut torn = frame.clone();
            for sector in (0..sectors).filter(|sector| missing & (1 << sector) != 0) {
                let from = sector * SECTOR_BYTES;
                (from..from + SECTOR_BYTES).for_each(|at| torn[at] = fill(at));
            }
            let expected = if missing & 1 == 0 { Ok(Body::Torn) } else { Err(Start::Unwritten) };
            assert_eq!(look(&torn), expected, "without the sectors {missing:b}");
        }
    }
}

#[test]
fn every_truncation_of_a_frame_is_torn() {
    let frame = frame::encode(place(0), PART, &[0xab; 5_000]);
    for length in 0..frame.len() {
        let expected =
            if length < FRAME_HEAD_BYTES { Err(Start::Unwritten) } else { Ok(Body::Torn) };
        assert_eq!(look(&frame[..length]), expected, "{length} bytes");
    }
    assert_eq!(STAMP_BYTES, 8);
}
