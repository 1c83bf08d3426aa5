//! Tests of the frames' encoding.

#![expect(clippy::arithmetic_side_effects, reason = "tests place frames by adding offsets")]

use proptest::prelude::*;

use super::*;
use crate::format::layout::render;

const SALT: Salt = *b"0123456789abcdef";
const LOG: LogId = LogId(3);

fn meta() -> Meta {
    Meta {
        kind: FrameKind::Batch,
        part: Part::Full,
        padded: true,
        operations: 2,
        first_sequence: 77,
        synced_upto: Position { log: LogId(2), offset: 8192 },
        rolling_crc: 0x0102_0304,
    }
}

/// A frame appended at `position`: the gap and the frame.
fn encoded(position: u64, meta: &Meta, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(&mut out, position, &SALT, (meta, payload));
    out
}

/// The header and the bytes of the frame that was appended at `position`.
fn decoded(position: u64, bytes: &[u8], payload_bytes: usize) -> (FrameHeader, &[u8]) {
    let place = Place::of(position, payload_bytes);
    let frame = &bytes[usize::from(place.gap)..];
    let header = FrameHeader::decode(LOG, &SALT, place.start, frame).expect("a header");
    assert_eq!(header.place, place);
    (header, frame)
}

fn payload_of(header: &FrameHeader, frame: &[u8]) -> Vec<u8> {
    let mut payload = header.stored_payload(frame).to_vec();
    apply_mask(&mut payload, header.mask());
    payload
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn tables_match_the_format_document() {
    let document = include_str!("../../../../../docs/format.md");
    for table in [&LOG_HEADER[..], &FRAME_HEADER, &START] {
        assert!(document.contains(&render(table)), "docs/format.md lacks\n{}", render(table));
    }
    for constant in ["siltwal\\n", "<settled"] {
        assert!(document.contains(constant), "docs/format.md lacks {constant}");
    }
}

#[test]
fn header_page_bytes_are_pinned() {
    let header = LogHeader { store_id: *b"the store's name", log: LogId(0x0102), salt: SALT };
    let page = header.encode();
    assert_eq!(page.len() as u64, PAGE_BYTES);
    assert_eq!(
        hex(&page[..LOG_HEADER_BYTES]),
        concat!(
            "73696c7477616c0a010000007468652073746f72652773206e616d65020100000000000030313233",
            "343536373839616263646566019f80ed",
        )
    );
    assert!(is_zero(&page[LOG_HEADER_BYTES..]));
    assert_eq!(LogHeader::decode(&page), Ok(header));
}

#[test]
fn frame_bytes_are_pinned() {
    let bytes = encoded(4096, &meta(), b"payload");
    assert_eq!(
        hex(&bytes),
        concat!(
            "ca83f318a7220fa2070000000101010000000000020000004d000000000000000200000000000000",
            "0020000000000000040302010000000000000000000000007061796c6f6164003c736574746c6564",
        )
    );
    // 504 bytes into a sector there is no room for a header: a gap. Nine sectors: a bitmap.
    let long = [[7; 512].as_slice(), &[0; 1024], &[9; 2600]].concat();
    let bytes = encoded(4600, &meta(), &long);
    assert_eq!(
        hex(&bytes[..8 + 72]),
        concat!(
            "0000000000000000253afc64c797268b281000000101010008000800020000004d00000000000000",
            "02000000000000000020000000000000040302010000000000000000000000000200000000000000",
        )
    );
    assert_eq!(crc32(0, &[&bytes]), 0x33fb_4031);
}

#[test]
fn a_later_version_is_told_from_damage() {
    let mut page = LogHeader { store_id: [1; 16], log: LOG, salt: SALT }.encode();
    page[8] = 2;
    assert!(matches!(LogHeader::decode(&page), Err(HeaderError::Damaged(_))));
    let crc = crc32(0, &[&page[..LOG_HEADER_BYTES - 4]]);
    page[LOG_HEADER_BYTES - 4..LOG_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(LogHeader::decode(&page), Err(HeaderError::Newer(2)));
}

#[test]
fn every_flip_and_truncation_of_the_header_page_is_damaged() {
    let header = LogHeader { store_id: [1; 16], log: LOG, salt: SALT };
    let page = header.encode();
    for bit in 0..LOG_HEADER_BYTES * 8 {
        let mut flipped = page.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(LogHeader::decode(&flipped), Err(HeaderError::Damaged(_))), "bit {bit}");
    }
    for len in 0..LOG_HEADER_BYTES {
        assert!(LogHeader::decode(&page[..len]).is_err(), "{len} bytes");
    }
    assert!(LogHeader::decode(&[0; 4096]).is_err());
}

#[test]
fn every_flip_of_a_frame_is_damage_and_never_a_loss() {
    // The middle sectors hold no bit, one bit, two bits, and bytes that a mask makes sparse.
    let mut payload = vec![0; 3000];
    payload[1000] = 0x10;
    payload[1600] = 0x11;
    payload[2100..2700].fill(0x5a);
    let bytes = encoded(4096, &meta(), &payload);
    let (whole, _) = decoded(4096, &bytes, payload.len());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Some(header) = FrameHeader::decode(LOG, &SALT, 4096, &flipped) else {
            let in_header = bit / 8 < FRAME_HEADER_BYTES + whole.place.bitmap_bytes;
            assert!(in_header && !is_zero(&flipped[..FRAME_HEADER_BYTES]), "bit {bit}");
            continue;
        };
        assert!(!header.is_whole(&SALT, &flipped), "bit {bit}");
        assert_eq!(header.lost_sectors(&flipped), None, "bit {bit}");
    }
}

#[test]
fn a_loss_shows_also_in_sectors_of_one_bit() {
    for sparse in [0x00_u8, 0x5a, 0xa5, 0xff] {
        let mut payload = vec![sparse; 5 * 512];
        payload[700] ^= 4;
        payload[1300] ^= 0x80;
        let bytes = encoded(4096, &meta(), &payload);
        let (header, frame) = decoded(4096, &bytes, payload.len());
        assert_eq!(payload_of(&header, frame), payload);
        for sector in 1..bytes.len().div_ceil(512) {
            let mut torn = bytes.clone();
            let end = torn.len().min((sector + 1) * 512);
            torn[sector * 512..end].fill(0);
            if torn == bytes {
                continue; // nothing was lost
            }
            let at = 4096 + sector as u64 * 512;
            assert!(!header.is_whole(&SALT, &torn));
            assert_eq!(header.lost_sectors(&torn), Some((at, at)), "{sparse:#x}, sector {sector}");
        }
    }
}

#[test]
fn a_frame_passes_only_at_its_place() {
    let bytes = encoded(4096, &meta(), b"payload");
    assert!(FrameHeader::decode(LOG, &SALT, 4096, &bytes).is_some());
    assert!(FrameHeader::decode(LOG, &SALT, 4608, &bytes).is_none());
    assert!(FrameHeader::decode(LOG, b"another salt 123", 4096, &bytes).is_none());
    // What it says is proven must lie before it.
    assert!(FrameHeader::decode(LogId(1), &SALT, 4096, &bytes).is_none());
}

#[test]
fn the_longest_payload_fits_a_frame() {
    for position in [4096, 4096 + 8, 4096 + 440, 4096 + 448, 4096 + 504] {
        let place = Place::of(position, PAYLOAD_BYTES_MAX);
        assert!(place.bytes() <= FRAME_BYTES_MAX && place.bitmap_bytes <= BITMAP_BYTES_MAX);
    }
}

#[test]
fn predecessor_decodes_to_what_was_encoded() {
    let predecessor =
        Predecessor { log: LOG, length: 4800, last_sequence: 12, rolling_crc: 0xabcd };
    let mut payload = predecessor.encode();
    assert_eq!(Predecessor::decode(&payload), Ok(Some(predecessor)));
    assert_eq!(Predecessor::decode(&[]), Ok(None));
    assert!(Predecessor::decode(&payload[..27]).is_err());
    payload.push(0);
    assert!(Predecessor::decode(&payload).is_err());
}

proptest! {
    #[test]
    fn decoding_inverts_encoding(
        words in 0_u64..2000,
        payload in proptest::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..5000),
        padded: bool,
    ) {
        let position = FRAMES_START + words * 8;
        let meta = Meta { padded, ..meta() };
        let bytes = encoded(position, &meta, &payload);
        let (header, frame) = decoded(position, &bytes, payload.len());
        prop_assert_eq!(header.meta, meta);
        prop_assert!(header.is_whole(&SALT, frame));
        prop_assert_eq!(header.lost_sectors(frame), None);
        prop_assert_eq!(payload_of(&header, frame), payload);
        prop_assert_eq!(header.next().is_multiple_of(if padded { PAGE_BYTES } else { 8 }), true);
        prop_assert_eq!(position + bytes.len() as u64, header.place.end);
        let head = FRAME_HEADER_BYTES + header.place.bitmap_bytes;
        prop_assert!(header.place.start % SECTOR_BYTES + head as u64 <= SECTOR_BYTES);
        prop_assert!(is_zero(&bytes[..usize::from(header.place.gap)]));
    }

    #[test]
    fn any_bytes_decode_or_fail(
        offset in prop_oneof![any::<u64>(), 0_u64..10_000],
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        prop_assert!(FrameHeader::decode(LOG, &SALT, offset, &bytes).is_none());
        prop_assert!(LogHeader::decode(&bytes).is_err());
        prop_assert!(bytes.is_empty() || bytes.len() == 28 || Predecessor::decode(&bytes).is_err());
    }
}
