//! A chunk: one object, a run of frames of a tar stream; and where segments lie in it.
//!
//! The plain bytes of all frames in order are an ordinary tar archive. Each frame is stored on its
//! own: compressed (one gzip member each) or as it is. So a frame is fetched by range and decoded
//! alone, and plain `tar` reads the whole object.
//!
//! A segment is stored as tar entries named `<uid>.<part>`. One that fits a frame shares it with
//! others and is one entry. A longer one is cut so that each entry fills a frame of its own; it may
//! go on in the next chunk, with the next part number. The last frame of a chunk is the tar end
//! mark alone. Nothing of this is stored twice: descriptors hold the lengths, and headers and pads
//! follow from them, byte by byte.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use siltstone_lsm::types::Hash;

use crate::names::ChunkId;

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

    /// The bound of a stored chunk, in bytes.
    pub fn chunk_bytes(self) -> u64 {
        self.chunk_bytes
    }

    /// The bound of a plain frame, in bytes.
    pub fn frame_bytes(self) -> u32 {
        self.frame_bytes
    }
}
