//! Frames: the pages in which an edit is written, made so that a torn write can be told from
//! damage.
//!
//! An edit is one frame or several; it counts only with its last one. A frame is 1 to
//! [`FRAME_PAGES_MAX`] whole pages. Every 512-byte sector of it begins with a *stamp* that follows
//! from the salt and the sector's offset; what is left of the sectors, one after another, is the
//! frame's head (in the first sector) and the payload: whole records, then zeroes.
//!
//! A disk writes a sector whole or not at all, and each page of a manifest is written once. So when
//! a frame is not what was written, its stamps say why. A sector without its stamp never reached
//! the disk: the write was **torn** by a crash, and was never acknowledged. If all stamps are there
//! and a checksum is wrong, the bytes were written and have changed since: **damage**. A stamp is
//! 32 bits and their complement, so whatever a file system shows in place of unwritten sectors
//! (zeroes, ones, stale data) is far from it, and a stamp with a few flipped bits is still near.
//!
//! This file only says what it sees. The reader, which also sees what comes later, decides.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::format::{
    layout::{Field, fills},
    manifest::PAGE_BYTES,
    primitives::{Decoder, Reason, crc_seed, crc32},
};

/// What a disk writes whole or not at all, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// Bytes of the stamp at the front of each sector.
pub const STAMP_BYTES: usize = 8;

/// Bytes of a frame's head, the stamp of the first sector included.
pub const FRAME_HEAD_BYTES: usize = 40;

/// Pages of the longest frame (1 MiB).
pub const FRAME_PAGES_MAX: usize = 256;

/// Longest payload of one frame, in bytes.
pub const PAYLOAD_BYTES_MAX: usize =
    FRAME_PAGES_MAX * (PAGE_BYTES / SECTOR_BYTES) * ROOM_BYTES - (FRAME_HEAD_BYTES - STAMP_BYTES);

/// Bytes of a sector behind its stamp.
const ROOM_BYTES: usize = SECTOR_BYTES - STAMP_BYTES;

/// How many bits of a stamp may be wrong for the sector to count as written: damage to one byte,
/// and far below the 32 bits by which zeroes or ones differ.
const STAMP_BITS_WRONG_MAX: u32 = 8;

/// The first sector of a frame, up to its payload.
pub const FRAME_HEAD: [Field; 9] = [
    ("stamp", 0, 8),
    ("head_crc", 8, 4),
    ("frame_crc", 12, 4),
    ("edit", 16, 8),
    ("part", 24, 4),
    ("pages", 28, 4),
    ("payload_bytes", 32, 4),
    ("last", 36, 1),
    ("zero", 37, 3),
];
const _: () = assert!(fills(&FRAME_HEAD, FRAME_HEAD_BYTES));
const _: () = assert!(super::edit::RECORD_BYTES_MAX <= PAYLOAD_BYTES_MAX);

/// A place in a manifest: its salt and a byte offset, the start of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The manifest's salt.
    pub salt: &'a [u8; 16],
    /// Byte offset in the file.
    pub offset: u64,
}

/// Which part of which edit a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The number of the edit in this manifest; 0 is the snapshot.
    pub edit: u64,
    /// 0, 1, 2... within the edit.
    pub part: u32,
    /// Whether the edit ends here.
    pub last: bool,
}

/// A frame's head that passed its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// What the frame is.
    pub part: Part,
    /// Its pages, 1..=[`FRAME_PAGES_MAX`].
    pub pages: usize,
    payload_bytes: usize,
    frame_crc: u32,
}

/// What a page looks like where a frame could begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// A frame begins here.
    Frame(FrameHead),
    /// Nothing was written here.
    Unwritten,
    /// Something was written here that is not a frame's head: damage, or the middle of a frame.
    Damaged(Reason),
}

/// What a frame looks like whose head is good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// What was written.
    Payload(Vec<u8>),
    /// Some of its sectors never reached the disk.
    Torn,
    /// All of them did, and they have changed since.
    Damaged(Reason),
}

/// The pages of one frame.
///
/// # Panics
/// When the payload is longer than [`PAYLOAD_BYTES_MAX`].
pub fn encode(place: Place<'_>, part: Part, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "a frame holds at most its limit");
    let room = FRAME_HEAD_BYTES.saturating_sub(STAMP_BYTES).saturating_add(payload.len());
    let pages = room.div_ceil(ROOM_BYTES).div_ceil(PAGE_BYTES / SECTOR_BYTES);
    let mut content = vec![0; FRAME_HEAD_BYTES.saturating_sub(STAMP_BYTES)];
    content.extend_from_slice(payload);
    content.resize(pages.saturating_mul(PAGE_BYTES / SECTOR_BYTES * ROOM_BYTES), 0);
    let mut frame = Vec::with_capacity(pages.saturating_mul(PAGE_BYTES));
    for room in content.chunks(ROOM_BYTES) {
        frame.extend_from_slice(&stamp(place, frame.len()));
        frame.extend_from_slice(room);
    }
    let (head, body) = frame.split_at_mut(FRAME_HEAD_BYTES);
    let seed = crc_seed(place.salt, place.offset);
    let mut fields = Vec::with_capacity(FRAME_HEAD_BYTES);
    fields.extend_from_slice(&crc32(seed, &[body]).to_le_bytes());
    fields.extend_from_slice(&part.edit.to_le_bytes());
    fields.extend_from_slice(&part.part.to_le_bytes());
    for field in [pages, payload.len()] {
        let field = u32::try_from(field).expect("a frame is at most 1 MiB");
        fields.extend_from_slice(&field.to_le_bytes());
    }
    fields.extend_from_slice(&[u8::from(part.last), 0, 0, 0]);
    let crc = crc32(seed, &[&fields]).to_le_bytes();
    let (_, rest) = head.split_at_mut(STAMP_BYTES);
    let (at_crc, at_fields) = rest.split_at_mut(crc.len());
    at_crc.copy_from_slice(&crc);
    at_fields.copy_from_slice(&fields);
    frame
}

/// Looks at the page at `place`; `page` may be short where the file ends.
pub fn start(place: Place<'_>, page: &[u8]) -> Start {
    let Some((head, _)) = page.split_at_checked(FRAME_HEAD_BYTES) else { return Start::Unwritten };
    let near = stamp_bits_wrong(place, 0, page);
    match decode_head(place, head) {
        Ok(head) if near == 0 => Start::Frame(head),
        Ok(_) => Start::Damaged("the stamp of a frame is wrong"),
        Err(_) if near > STAMP_BITS_WRONG_MAX => Start::Unwritten,
        Err(reason) => Start::Damaged(reason),
    }
}

fn decode_head(place: Place<'_>, head: &[u8]) -> Result<FrameHead, Reason> {
    let mut from = Decoder::new(head);
    from.bytes(STAMP_BYTES)?;
    let head_crc = from.u32()?;
    if crc32(crc_seed(place.salt, place.offset), &[from.rest()]) != head_crc {
        return Err("the head of a frame failed its checksum");
    }
    let frame_crc = from.u32()?;
    let (edit, part) = (from.u64()?, from.u32()?);
    let (pages, payload_bytes) = (from.u32()? as usize, from.u32()? as usize);
    let last = match from.u8()? {
        0 => false,
        1 => true,
        _ => return Err("the mark of a last frame is neither 0 nor 1"),
    };
    if pages == 0 || pages > FRAME_PAGES_MAX || payload_bytes > PAYLOAD_BYTES_MAX {
        return Err("the head of a frame is out of its limits");
    }
    Ok(FrameHead { part: Part { edit, part, last }, pages, payload_bytes, frame_crc })
}

/// Looks at all pages of the frame with this head; `frame` may be short where the file ends.
pub fn body(place: Place<'_>, head: &FrameHead, frame: &[u8]) -> Body {
    let bytes = head.pages.saturating_mul(PAGE_BYTES);
    let whole = frame.split_at_checked(bytes).map_or(frame, |(frame, _)| frame);
    let written =
        whole.split_at_checked(FRAME_HEAD_BYTES).map(|(_, body)| body).unwrap_or_default();
    let crc = crc32(crc_seed(place.salt, place.offset), &[written]);
    if whole.len() == bytes && crc == head.frame_crc {
        return payload(head, whole);
    }
    let mut sectors = 0_usize;
    for (at, sector) in whole.chunks(SECTOR_BYTES).enumerate() {
        let within = at.saturating_mul(SECTOR_BYTES);
        let near = stamp_bits_wrong(place, within, sector) <= STAMP_BITS_WRONG_MAX;
        if sector.len() == SECTOR_BYTES && near {
            sectors = sectors.saturating_add(1);
        }
    }
    if sectors.saturating_mul(SECTOR_BYTES) < bytes {
        return Body::Torn;
    }
    Body::Damaged("a frame failed its checksum")
}

fn payload(head: &FrameHead, frame: &[u8]) -> Body {
    let mut content = Vec::with_capacity(frame.len());
    for sector in frame.chunks(SECTOR_BYTES) {
        let room = sector.split_at_checked(STAMP_BYTES).map(|(_, room)| room);
        content.extend_from_slice(room.unwrap_or_default());
    }
    content.drain(..FRAME_HEAD_BYTES.saturating_sub(STAMP_BYTES).min(content.len()));
    if head.payload_bytes > content.len() {
        return Body::Damaged("the payload of a frame is longer than the frame");
    }
    content.truncate(head.payload_bytes);
    Body::Payload(content)
}

/// The stamp of the sector `within` bytes into the frame at `place`.
fn stamp(place: Place<'_>, within: usize) -> [u8; STAMP_BYTES] {
    let seed = crc_seed(place.salt, place.offset.wrapping_add(within as u64));
    (u64::from(seed) | (u64::from(!seed) << 32)).to_le_bytes()
}

/// By how many bits the sector's stamp differs from what it should be.
fn stamp_bits_wrong(place: Place<'_>, within: usize, sector: &[u8]) -> u32 {
    let Some((found, _)) = sector.split_first_chunk::<STAMP_BYTES>() else { return u32::MAX };
    (u64::from_le_bytes(*found) ^ u64::from_le_bytes(stamp(place, within))).count_ones()
}
