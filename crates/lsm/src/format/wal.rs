//! The bytes of a write-ahead log: one header page, then frames.
//!
//! The layouts are the tables below; `docs/format.md` holds the same tables and says how a reader
//! decides. This file only encodes, decodes and measures. Whether damage is a torn tail or
//! corruption is for the reader of all logs to say, who knows what was proven durable.
//!
//! Invariants:
//!
//! 1. A frame starts at a multiple of 8, and its header with the bitmap lies in one sector. Where it
//!    would not, it starts at the next sector and `gap` says how many zero bytes lie before it.
//! 2. A header of zeros is no frame, since space that was never written reads as zeros. A written
//!    frame ends in a trailer that is not zero and crosses no sector.
//! 3. Checksums start from the salt of the log and the place in the file, so bytes of another log,
//!    or of this one carried in a value, are no frames.
//! 4. Power loss takes whole sectors and leaves zeros where the frame was. The bitmap names the
//!    sectors in which the frame's own bytes have fewer than two bits set: all others show their
//!    loss, and one flipped bit never looks like a loss. Payloads with a sector of exactly one bit
//!    are stored under a mask, if one helps, so that these too show their loss.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod mask;

pub use self::mask::apply_mask;
use self::mask::{bits_upto_two, choose_mask};
use crate::{
    format::{
        layout::{Field, fills},
        primitives::{Decoder, Reason, crc_seed, crc32},
    },
    types::{LogId, SEQUENCE_MAX, Sequence},
};

/// The unit that a disk writes whole or not at all.
pub const SECTOR_BYTES: u64 = SECTOR as u64;
const SECTOR: usize = 512;

/// The unit of writes; groups that sync end at a multiple of it.
pub const PAGE_BYTES: u64 = 4096;

/// Where the frames start: after the header page.
pub const FRAMES_START: u64 = PAGE_BYTES;

/// Longest frame, header to trailer.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Longest payload of a frame: the rest has room for the header, the bitmap and the trailer.
pub const PAYLOAD_BYTES_MAX: usize = FRAME_BYTES_MAX - SECTOR;

/// The version of this format.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"siltwal\n";

/// The last bytes of a frame; aligned to 8, so in one sector.
pub const TRAILER: [u8; 8] = *b"<settled";

/// The header page: these fields, then zeros.
pub const LOG_HEADER: [Field; 6] = [
    ("magic", 0, 8),
    ("version", 8, 4),
    ("store_id", 12, 16),
    ("log", 28, 8),
    ("salt", 36, 16),
    ("crc", 52, 4),
];
const LOG_HEADER_BYTES: usize = 56;
const _: () = assert!(fills(&LOG_HEADER, LOG_HEADER_BYTES));

/// The fixed part of a frame's header; the bitmap follows it.
pub const FRAME_HEADER: [Field; 15] = [
    ("header_crc", 0, 4),
    ("payload_crc", 4, 4),
    ("payload_bytes", 8, 4),
    ("kind", 12, 1),
    ("part", 13, 1),
    ("flags", 14, 1),
    ("mask", 15, 1),
    ("gap", 16, 2),
    ("bitmap_bytes", 18, 2),
    ("operations", 20, 4),
    ("first_sequence", 24, 8),
    ("synced_log", 32, 8),
    ("synced_offset", 40, 8),
    ("rolling_crc", 48, 4),
    ("reserved", 52, 12),
];
/// Bytes of the fixed part of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 64;
const _: () = assert!(fills(&FRAME_HEADER, FRAME_HEADER_BYTES));

/// The payload of the first frame of a log that has a predecessor.
pub const START: [Field; 4] =
    [("log", 0, 8), ("length", 8, 8), ("last_sequence", 16, 8), ("rolling_crc", 24, 4)];
const START_BYTES: usize = 28;
const _: () = assert!(fills(&START, START_BYTES));

/// A header and its bitmap fit a sector, the bitmap covers the longest frame, and that frame fits.
const BITMAP_BYTES_MAX: usize = 256;
const _: () = assert!(FRAME_HEADER_BYTES + BITMAP_BYTES_MAX <= SECTOR);
const _: () = assert!(BITMAP_BYTES_MAX * 8 >= FRAME_BYTES_MAX / SECTOR);
const _: () = assert!(
    FRAME_HEADER_BYTES + BITMAP_BYTES_MAX + PAYLOAD_BYTES_MAX + TRAILER.len() <= FRAME_BYTES_MAX
);
const _: () = assert!(PAYLOAD_BYTES_MAX.is_multiple_of(8));

/// A place in the logs: everything before it was handed to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The log.
    pub log: LogId,
    /// Bytes from its start.
    pub offset: u64,
}

/// The random bytes of one log that its checksums start from.
pub type Salt = [u8; 16];

/// What the header page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHeader {
    /// The store that it belongs to.
    pub store_id: [u8; 16],
    /// Its identifier.
    pub log: LogId,
    /// Its salt.
    pub salt: Salt,
}

/// Why a header page was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// It is not what was written.
    Damaged(Reason),
    /// A later program wrote it, in this version of the format.
    Newer(u32),
}

impl LogHeader {
    /// The header page.
    pub fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(usize_of(PAGE_BYTES));
        page.extend_from_slice(&MAGIC);
        page.extend_from_slice(&VERSION.to_le_bytes());
        page.extend_from_slice(&self.store_id);
        page.extend_from_slice(&self.log.0.to_le_bytes());
        page.extend_from_slice(&self.salt);
        let crc = crc32(0, &[&page]);
        page.extend_from_slice(&crc.to_le_bytes());
        page.resize(usize_of(PAGE_BYTES), 0);
        page
    }

    /// Reads a header page.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn decode(page: &[u8]) -> Result<Self, HeaderError> {
        let fields = Self::fields(page).map_err(HeaderError::Damaged)?;
        match fields.0 {
            VERSION => Ok(fields.1),
            newer => Err(HeaderError::Newer(newer)),
        }
    }

    fn fields(page: &[u8]) -> Result<(u32, Self), Reason> {
        let mut decoder = Decoder::new(page);
        if decoder.array::<8>()? != MAGIC {
            return Err("the file does not begin as a write-ahead log");
        }
        let version = decoder.u32()?;
        let store_id = decoder.array()?;
        let log = LogId(decoder.u64()?);
        let salt = decoder.array()?;
        let crc = decoder.u32()?;
        let covered = page.get(..LOG_HEADER_BYTES.saturating_sub(4)).unwrap_or_default();
        if crc32(0, &[covered]) != crc || version == 0 {
            return Err("the header of the log fails its checksum");
        }
        Ok((version, Self { store_id, log, salt }))
    }
}

/// What a frame is for. Stored as this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum FrameKind {
    /// An encoded batch, or a part of one.
    Batch = 1,
    /// The place of a queue edit; the payload is its number.
    Marker = 2,
    /// The end of a log, for good; no payload, `first_sequence` is the last of the log.
    Seal = 3,
    /// The beginning of a log; the payload is [`Predecessor`] if it has one.
    Start = 4,
}

impl FrameKind {
    fn decode(byte: u8) -> Option<Self> {
        [Self::Batch, Self::Marker, Self::Seal, Self::Start]
            .into_iter()
            .find(|&kind| kind as u8 == byte)
    }
}

/// Which part of its batch a frame holds. Stored as this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Part {
    /// All of it.
    Full = 1,
    /// The beginning.
    First = 2,
    /// Neither beginning nor end.
    Middle = 3,
    /// The end.
    Last = 4,
}

impl Part {
    fn decode(byte: u8) -> Option<Self> {
        [Self::Full, Self::First, Self::Middle, Self::Last]
            .into_iter()
            .find(|&part| part as u8 == byte)
    }
}

/// How one log ended, told by the first frame of its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// The log.
    pub log: LogId,
    /// Where it ends, its seal included.
    pub length: u64,
    /// The last sequence in it or before it.
    pub last_sequence: Sequence,
    /// The checksum over all its frames.
    pub rolling_crc: u32,
}

impl Predecessor {
    /// The payload of a start frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(START_BYTES);
        out.extend_from_slice(&self.log.0.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.last_sequence.to_le_bytes());
        out.extend_from_slice(&self.rolling_crc.to_le_bytes());
        out
    }

    /// Reads the payload of a start frame; `None` when the log has no predecessor.
    ///
    /// # Errors
    /// When the payload has another length.
    pub fn decode(payload: &[u8]) -> Result<Option<Self>, Reason> {
        if payload.is_empty() {
            return Ok(None);
        }
        let mut decoder = Decoder::new(payload);
        let predecessor = Self {
            log: LogId(decoder.u64()?),
            length: decoder.u64()?,
            last_sequence: decoder.u64()?,
            rolling_crc: decoder.u32()?,
        };
        if decoder.is_empty() { Ok(Some(predecessor)) } else { Err("a start frame is too long") }
    }
}

/// What a frame says beside its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// What it is for.
    pub kind: FrameKind,
    /// Which part of its batch it holds.
    pub part: Part,
    /// Whether the log goes on at the next page rather than right after it.
    pub padded: bool,
    /// Operations of the whole batch.
    pub operations: u32,
    /// The sequence of the batch's first operation.
    pub first_sequence: Sequence,
    /// Everything before this place was proven durable when the frame was built.
    pub synced_upto: Position,
    /// The checksum over all frames before it in the log.
    pub rolling_crc: u32,
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Zero bytes before it.
    pub gap: u16,
    /// Where it starts, in bytes of the file.
    pub start: u64,
    /// Bytes of its bitmap: a bit for each sector it touches after the first, in words of 8 bytes.
    pub bitmap_bytes: usize,
    /// Where it ends.
    pub end: u64,
}

impl Place {
    /// The place of a frame appended at `position`, which is a multiple of 8.
    pub fn of(position: u64, payload_bytes: usize) -> Self {
        debug_assert!(position.is_multiple_of(8), "frames are aligned");
        let here = Self::starting_at(position, payload_bytes);
        let header = (FRAME_HEADER_BYTES.saturating_add(here.bitmap_bytes)) as u64;
        if position.checked_rem(SECTOR_BYTES).unwrap_or(0).saturating_add(header) <= SECTOR_BYTES {
            return here;
        }
        let start = next_sector(position);
        let gap = u16::try_from(start.saturating_sub(position)).unwrap_or(u16::MAX);
        Self { gap, ..Self::starting_at(start, payload_bytes) }
    }

    fn starting_at(start: u64, payload_bytes: usize) -> Self {
        let content = FRAME_HEADER_BYTES
            .saturating_add(payload_bytes.next_multiple_of(8))
            .saturating_add(TRAILER.len());
        let mut bitmap_bytes = 0_usize;
        loop {
            let end = start.saturating_add(content as u64).saturating_add(bitmap_bytes as u64);
            let sectors = sector_of(end.saturating_sub(1)).saturating_sub(sector_of(start));
            let needed = usize_of(sectors).div_ceil(8).next_multiple_of(8);
            if needed <= bitmap_bytes {
                return Self { gap: 0, start, bitmap_bytes, end };
            }
            bitmap_bytes = needed; // a longer bitmap may touch one more sector
        }
    }

    fn payload_start(&self) -> u64 {
        let header = FRAME_HEADER_BYTES.saturating_add(self.bitmap_bytes);
        self.start.saturating_add(header as u64)
    }

    /// Bytes from start to end.
    pub fn bytes(&self) -> usize {
        usize_of(self.end.saturating_sub(self.start))
    }
}

/// Where the sector after the one of `position` starts.
pub fn next_sector(position: u64) -> u64 {
    sector_of(position).saturating_add(1).saturating_mul(SECTOR_BYTES)
}

/// The first page boundary at or after `position`.
pub fn page_up(position: u64) -> u64 {
    position.checked_next_multiple_of(PAGE_BYTES).unwrap_or(u64::MAX)
}

/// The last page boundary at or before `position`.
pub fn page_down(position: u64) -> u64 {
    position.saturating_sub(position.checked_rem(PAGE_BYTES).unwrap_or(0))
}

fn sector_of(position: u64) -> u64 {
    position.checked_div(SECTOR_BYTES).unwrap_or(0)
}

/// The checksum over the frames up to and including one, from that of the frames before it.
fn roll(rolling_crc: u32, header_crc: u32, payload_crc: u32) -> u32 {
    crc32(rolling_crc, &[&header_crc.to_le_bytes(), &payload_crc.to_le_bytes()])
}

/// Appends one frame to `out`, whose first byte lies at `base` in the file. Returns the rolling
/// checksum after it.
///
/// # Panics
/// When the payload is longer than [`PAYLOAD_BYTES_MAX`].
pub fn encode_frame(out: &mut Vec<u8>, base: u64, salt: &Salt, frame: (&Meta, &[u8])) -> u32 {
    let (meta, payload) = frame;
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "the caller splits long payloads");
    let place = Place::of(base.saturating_add(out.len() as u64), payload.len());
    let body_start = usize_of(place.payload_start().saturating_sub(base));
    out.resize(body_start, 0);
    out.extend_from_slice(payload);
    out.resize(out.len().next_multiple_of(8), 0);
    out.extend_from_slice(&TRAILER);
    assert!(base.saturating_add(out.len() as u64) == place.end, "a frame fills its place");

    let (head, body) = out.split_at_mut(body_start);
    let mask = choose_mask(place.payload_start(), body, payload.len());
    if let Some(stored) = body.get_mut(..payload.len()) {
        apply_mask(stored, mask);
    }
    let bitmap = bitmap_of(&place, body);
    let seed = crc_seed(salt, place.start);
    let payload_crc = crc32(seed, &[body]);
    let mut fixed = Vec::with_capacity(FRAME_HEADER_BYTES);
    fixed.extend_from_slice(&payload_crc.to_le_bytes());
    fixed.extend_from_slice(&narrow::<u32>(payload.len()).to_le_bytes());
    fixed.extend_from_slice(&[meta.kind as u8, meta.part as u8, u8::from(meta.padded), mask]);
    fixed.extend_from_slice(&place.gap.to_le_bytes());
    fixed.extend_from_slice(&narrow::<u16>(place.bitmap_bytes).to_le_bytes());
    fixed.extend_from_slice(&meta.operations.to_le_bytes());
    fixed.extend_from_slice(&meta.first_sequence.to_le_bytes());
    fixed.extend_from_slice(&meta.synced_upto.log.0.to_le_bytes());
    fixed.extend_from_slice(&meta.synced_upto.offset.to_le_bytes());
    fixed.extend_from_slice(&meta.rolling_crc.to_le_bytes());
    fixed.extend_from_slice(&[0; 12]);
    let header_crc = crc32(seed, &[&fixed, &bitmap]);
    let header = [header_crc.to_le_bytes().as_slice(), &fixed, &bitmap].concat();
    let at = head.len().saturating_sub(header.len());
    if let Some(room) = head.get_mut(at..) {
        room.copy_from_slice(&header);
    }
    roll(meta.rolling_crc, header_crc, payload_crc)
}

/// The header of a frame, checked; its payload is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What it says.
    pub meta: Meta,
    /// Where it lies.
    pub place: Place,
    payload_bytes: usize,
    payload_crc: u32,
    header_crc: u32,
    mask: u8,
    bitmap: Vec<u8>,
}

impl FrameHeader {
    /// Reads the header at `offset` of log `log` from the bytes there; `None` if there is none.
    ///
    /// `bytes` should reach to the end of the sector; more are not looked at.
    pub fn decode(log: LogId, salt: &Salt, offset: u64, bytes: &[u8]) -> Option<Self> {
        let mut decoder = Decoder::new(bytes);
        let header_crc = decoder.u32().ok()?;
        let payload_crc = decoder.u32().ok()?;
        let payload_bytes = usize::try_from(decoder.u32().ok()?).ok()?;
        let kind = FrameKind::decode(decoder.u8().ok()?)?;
        let part = Part::decode(decoder.u8().ok()?)?;
        let flags = decoder.u8().ok()?;
        let mask = decoder.u8().ok()?;
        let gap = decoder.u16().ok()?;
        let bitmap_bytes = usize::from(decoder.u16().ok()?);
        let operations = decoder.u32().ok()?;
        let first_sequence = decoder.u64().ok()?;
        let synced_upto = Position { log: LogId(decoder.u64().ok()?), offset: decoder.u64().ok()? };
        let rolling_crc = decoder.u32().ok()?;
        let reserved = decoder.array::<12>().ok()?;
        if payload_bytes > PAYLOAD_BYTES_MAX || flags > 1 || reserved != [0; 12] {
            return None; // also keeps the sums below small
        }
        let position = offset.checked_sub(u64::from(gap))?;
        let place = Place::of(position.checked_next_multiple_of(8)?, payload_bytes);
        let sound = place.start == offset
            && place.gap == gap
            && place.bitmap_bytes == bitmap_bytes
            && synced_upto <= (Position { log, offset })
            && synced_upto.offset.is_multiple_of(PAGE_BYTES)
            && first_sequence <= SEQUENCE_MAX;
        let bitmap = decoder.bytes(bitmap_bytes).ok()?;
        let covered = bytes.get(4..FRAME_HEADER_BYTES.checked_add(bitmap_bytes)?)?;
        if !sound || crc32(crc_seed(salt, offset), &[covered]) != header_crc {
            return None;
        }
        let padded = flags == 1;
        let meta =
            Meta { kind, part, padded, operations, first_sequence, synced_upto, rolling_crc };
        let bitmap = bitmap.to_vec();
        Some(Self { meta, place, payload_bytes, payload_crc, header_crc, mask, bitmap })
    }

    /// Where the next frame is appended.
    pub fn next(&self) -> u64 {
        if self.meta.padded { page_up(self.place.end) } else { self.place.end }
    }

    /// The rolling checksum after this frame.
    pub fn rolling_crc_after(&self) -> u32 {
        roll(self.meta.rolling_crc, self.header_crc, self.payload_crc)
    }

    /// The stored payload, padding and trailer within the bytes of the whole frame.
    fn body<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let head = FRAME_HEADER_BYTES.saturating_add(self.bitmap.len());
        frame.get(head..self.place.bytes()).unwrap_or_default()
    }

    /// Whether the payload is what was written; `frame` is the whole frame.
    pub fn is_whole(&self, salt: &Salt, frame: &[u8]) -> bool {
        let body = self.body(frame);
        body.ends_with(&TRAILER)
            && crc32(crc_seed(salt, self.place.start), &[body]) == self.payload_crc
    }

    /// The payload as it is stored; masked if [`FrameHeader::mask`] is not 0.
    pub fn stored_payload<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        self.body(frame).get(..self.payload_bytes).unwrap_or_default()
    }

    /// The mask that the payload is stored under.
    pub fn mask(&self) -> u8 {
        self.mask
    }

    /// The first and last sector (as offsets in the file) that show that they were never written:
    /// the frame's bytes in them are zero though others were to be written, or the end is missing
    /// (of the trailer's last byte no single flip makes a zero).
    pub fn lost_sectors(&self, frame: &[u8]) -> Option<(u64, u64)> {
        let body = self.body(frame);
        let start = self.place.payload_start();
        let mut lost = None;
        let mut note = |sector: u64| {
            let at = sector.saturating_mul(SECTOR_BYTES);
            lost = Some(lost.map_or((at, at), |(first, _)| (first, at)));
        };
        for (sector, bytes) in sectors(start, body) {
            let bit = sector.saturating_sub(sector_of(self.place.start)).checked_sub(1);
            let silent = bit.is_none_or(|bit| bit_at(&self.bitmap, bit));
            if !silent && is_zero(bytes) {
                note(sector);
            }
        }
        if body.last().is_none_or(|&byte| byte == 0) {
            note(sector_of(self.place.end.saturating_sub(1)));
        }
        lost
    }
}

/// Whether all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| *word == [0; 8]) && rest.iter().all(|&byte| byte == 0)
}

fn bitmap_of(place: &Place, body: &[u8]) -> Vec<u8> {
    let mut bitmap = vec![0_u8; place.bitmap_bytes];
    for (sector, bytes) in sectors(place.payload_start(), body) {
        let bit = sector.saturating_sub(sector_of(place.start)).checked_sub(1);
        let Some(bit) = bit.filter(|_| bits_upto_two(bytes, 0) < 2) else {
            continue;
        };
        if let Some(byte) = bitmap.get_mut(usize_of(bit >> 3)) {
            *byte |= 1 << (bit & 7);
        }
    }
    bitmap
}

fn bit_at(bitmap: &[u8], bit: u64) -> bool {
    bitmap.get(usize_of(bit >> 3)).is_some_and(|byte| byte & (1 << (bit & 7)) != 0)
}

/// The bytes from file offset `start`, cut where sectors end, with the number of the sector.
fn sectors(start: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let into_sector = usize_of(start.checked_rem(SECTOR_BYTES).unwrap_or(0));
    let first_len = SECTOR.saturating_sub(into_sector).min(bytes.len());
    let (first, rest) = bytes.split_at_checked(first_len).unwrap_or((bytes, &[]));
    let parts = std::iter::once(first).chain(rest.chunks(SECTOR));
    (sector_of(start)..).zip(parts)
}

/// A size of a frame as its header stores it.
fn narrow<T: TryFrom<usize>>(size: usize) -> T {
    T::try_from(size).ok().expect("a frame keeps its limits")
}

/// Offsets within what is in memory fit a `usize`.
fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
