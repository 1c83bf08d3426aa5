//! A chunk: one object, a run of frames of a tar stream; and where segments lie in it.
//!
//! The plain bytes of all frames in order are an ordinary tar archive. Each frame is stored on its
//! own: compressed (one gzip member or Zstandard frame each) or as it is. So a frame is fetched by range and decoded
//! alone, and plain `tar` reads the whole object.
//!
//! A segment is stored as tar entries named `<uid>.<part>`. One that fits a frame shares it with
//! others and is one entry. A longer one is cut so that each entry fills a frame of its own; it may
//! go on in the next chunk, with the next part number. The last frame of a chunk is the tar end
//! mark alone. Nothing of this is stored twice: descriptors hold the lengths, and headers and pads
//! follow from them, byte by byte.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use siltstone_lsm::{format::primitives::Reason, types::Hash};

use crate::{
    format::tar::{self, END_BYTES},
    names::ChunkId,
};

/// Longest plain frame, in bytes (4 MiB).
pub const FRAME_BYTES_MAX: u32 = 4 << 20;

/// Shortest full frame that options lead to, in bytes (64 KiB).
pub const FRAME_BYTES_MIN: u32 = 64 << 10;

/// Most frames in one chunk.
pub const FRAMES_MAX: usize = 4096;

/// How the frames of a chunk are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// As they are: the object is a `.tar`.
    None,
    /// One gzip member each: the object is a `.tar.gz`.
    Gzip,
    /// One Zstandard frame each: the object is a `.tar.zst`.
    Zstd,
}

/// One frame of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of the tar stream in it.
    pub plain: u32,
    /// Bytes of the object that hold it.
    pub stored: u32,
    /// BLAKE3 of the stored bytes; `None` for [`Codec::None`], where segment hashes and the
    /// comparison of headers and pads cover every byte.
    pub hash: Option<Hash>,
}

/// What is in a chunk object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its identity, and the name of the object.
    pub id: ChunkId,
    /// How its frames are stored.
    pub codec: Codec,
    /// Bytes of the object: the sum of the frames.
    pub length: u64,
    /// All frames, the end mark last.
    pub frames: Vec<Frame>,
}

/// Where a run of a segment's bytes lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// The chunk.
    pub chunk: ChunkId,
    /// The frame in which the first entry of the run starts.
    pub frame: u32,
    /// Where that entry (its header) starts in the plain frame, in bytes.
    pub offset: u32,
    /// Bytes of the segment in the run, without headers and pads.
    pub length: u64,
}

/// Where one entry of a segment lies in a plain frame. All numbers are bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The frame, by its place in the chunk.
    pub frame: u32,
    /// The part of the segment that the entry is.
    pub part: u32,
    /// Where its header starts.
    pub start: u32,
    /// Where its content starts.
    pub content: u32,
    /// Bytes of its content.
    pub length: u32,
    /// Where the zeros after its content end.
    pub end: u32,
}

impl Chunk {
    /// Whether the lengths fit together, so that code which relies on them needs no checks.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn check(&self) -> Result<(), Reason> {
        if self.frames.len() > FRAMES_MAX {
            return Err("a chunk has too many frames");
        }
        if self.frames.last().map(|frame| frame.plain) != Some(END_BYTES) {
            return Err("a chunk lacks its end mark");
        }
        let mut length = 0_u64;
        for frame in &self.frames {
            frame.check(self.codec)?;
            length = length.saturating_add(u64::from(frame.stored));
        }
        if length == self.length { Ok(()) } else { Err("a chunk is not as long as its frames") }
    }

    /// Where each frame starts in the object, in bytes; one more than frames, the last is the end.
    pub fn frame_starts(&self) -> Vec<u64> {
        let mut at = 0_u64;
        let mut starts = Vec::with_capacity(self.frames.len().saturating_add(1));
        starts.push(0);
        for frame in &self.frames {
            at = at.saturating_add(u64::from(frame.stored));
            starts.push(at);
        }
        starts
    }

    /// The entries of an extent in this chunk, whose first is part `part` of its segment. `starts`
    /// are the chunk's own [`Chunk::frame_starts`].
    ///
    /// # Errors
    /// When the extent does not lie in the frames as an entry of a frame, or as entries that fill a
    /// frame each.
    pub fn slots(&self, starts: &[u64], extent: &Extent, part: u32) -> Result<Vec<Slot>, Reason> {
        let mut slots = Vec::new();
        let mut left = extent.length;
        let (mut frame, mut start, mut part) = (extent.frame, extent.offset, part);
        loop {
            let slot = self.slot(starts, (frame, start, part), left)?;
            left = left.saturating_sub(u64::from(slot.length));
            slots.push(slot);
            if left == 0 {
                return Ok(slots);
            }
            frame = frame.checked_add(1).ok_or("an extent passes the end of its chunk")?;
            part = part.checked_add(1).ok_or("a segment has too many parts")?;
            start = 0;
        }
    }

    /// The entry at a place (frame, start, part), when `left` bytes of its segment remain.
    fn slot(&self, starts: &[u64], place: (u32, u32, u32), left: u64) -> Result<Slot, Reason> {
        const PASSES: Reason = "an extent passes the end of its chunk";
        const ILL_FITTING: Reason = "an extent does not fit its frame";
        let (frame, start, part) = place;
        let index = frame as usize;
        let plain = self.frames.get(index).ok_or(PASSES)?.plain;
        let origin = if self.codec == Codec::None { *starts.get(index).ok_or(PASSES)? } else { 0 };
        if !start.is_multiple_of(tar::BLOCK_BYTES) {
            return Err("an entry does not start at a tar block");
        }
        let position = origin.checked_add(u64::from(start)).ok_or(PASSES)?;
        let content =
            start.checked_add(tar::header_bytes(self.codec, position)).ok_or(ILL_FITTING)?;
        let room = plain.checked_sub(content).ok_or(ILL_FITTING)?;
        let length = u32::try_from(left).map_or(room, |left| left.min(room));
        let fills_frame = length == room && length > 0;
        if u64::from(length) < left && !fills_frame {
            return Err(ILL_FITTING);
        }
        let end = content
            .checked_add(length)
            .and_then(|end| end.checked_add(tar::pad_bytes(length)))
            .filter(|end| *end <= plain)
            .ok_or(ILL_FITTING)?;
        Ok(Slot { frame, part, start, content, length, end })
    }
}

impl Frame {
    fn check(&self, codec: Codec) -> Result<(), Reason> {
        let blocks = self.plain.is_multiple_of(tar::BLOCK_BYTES);
        if !blocks || !(1..=FRAME_BYTES_MAX).contains(&self.plain) {
            return Err("a frame has an impossible length");
        }
        let stored_as_said = match codec {
            Codec::None => self.stored == self.plain && self.hash.is_none(),
            Codec::Gzip | Codec::Zstd => {
                let bound = stored_bytes_max(codec, self.plain);
                (1..=bound).contains(&self.stored) && self.hash.is_some()
            }
        };
        if stored_as_said { Ok(()) } else { Err("a frame is not stored as its chunk says") }
    }
}

/// Bytes that a gzip member adds around its deflate stream.
pub const GZIP_WRAP_BYTES: u32 = 18;

/// Bytes of the longest block of deflate that is stored, not compressed.
pub const DEFLATE_STORED_MAX: u32 = 65_535;

/// The most bytes that `plain` bytes take as one gzip member: when they do not compress they are
/// stored in blocks, of which each adds five bytes.
pub const fn gzip_bytes_max(plain: u32) -> u32 {
    let blocks = plain.div_ceil(DEFLATE_STORED_MAX);
    let blocks = if blocks == 0 { 1 } else { blocks };
    plain.saturating_add(blocks.saturating_mul(5)).saturating_add(GZIP_WRAP_BYTES)
}

/// Bytes that a Zstandard frame adds around its blocks at most: header and checksum.
pub const ZSTD_WRAP_BYTES: u32 = 18;

/// Bytes of the longest block of a Zstandard frame.
pub const ZSTD_BLOCK_BYTES_MAX: u32 = 128 << 10;

/// The most bytes that `plain` bytes take as one Zstandard frame: when they do not compress they are
/// raw blocks, of which each adds three bytes; an empty one may follow.
pub const fn zstd_bytes_max(plain: u32) -> u32 {
    let blocks = (plain / ZSTD_BLOCK_BYTES_MAX).saturating_add(2);
    plain.saturating_add(blocks.saturating_mul(3)).saturating_add(ZSTD_WRAP_BYTES)
}

/// The most bytes that a frame of `plain` bytes takes as stored.
pub const fn stored_bytes_max(codec: Codec, plain: u32) -> u32 {
    match codec {
        Codec::None => plain,
        Codec::Gzip => gzip_bytes_max(plain),
        Codec::Zstd => zstd_bytes_max(plain),
    }
}

/// The most bytes that any frame takes as stored.
pub const FRAME_STORED_MAX: u32 = gzip_bytes_max(FRAME_BYTES_MAX);
const _: () = assert!(zstd_bytes_max(FRAME_BYTES_MAX) <= FRAME_STORED_MAX);

/// How large chunks and frames become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSizes {
    chunk_bytes: u64,
    frame_bytes: u32,
}

impl ChunkSizes {
    /// Chunks of at most `mib` MiB as stored; frames of a 32nd of that, within 64 KiB..=4 MiB.
    pub fn from_mib(mib: u64) -> Self {
        let chunk_bytes = mib.saturating_mul(1 << 20);
        let share = u32::try_from(chunk_bytes / 32).unwrap_or(FRAME_BYTES_MAX);
        Self { chunk_bytes, frame_bytes: share.clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX) }
    }

    /// Sizes that no option leads to, so that tests see many chunks of few bytes.
    #[cfg(test)]
    pub(crate) fn tiny(chunk_bytes: u64, frame_bytes: u32) -> Self {
        let whole_blocks = frame_bytes.is_multiple_of(tar::BLOCK_BYTES);
        assert!(whole_blocks && frame_bytes >= 2 * tar::HEADER_BYTES_MAX, "frames hold an entry");
        assert!(chunk_bytes >= 2 * u64::from(gzip_bytes_max(frame_bytes)), "chunks hold a frame");
        Self { chunk_bytes, frame_bytes }
    }

    /// The bound of a stored chunk, in bytes.
    pub fn chunk_bytes(self) -> u64 {
        self.chunk_bytes
    }

    /// The bound of a plain frame, in bytes.
    pub fn frame_bytes(self) -> u32 {
        self.frame_bytes
    }
}
