//! [`Budget`]: how many frames and chunks may be under way within a bound of memory.
//!
//! What the pipeline holds at most, and where:
//!
//! - the stream: pieces under way, and the one being cut;
//! - frames: plain, and compressed beside it, from when a frame is begun until it is written;
//!   uncompressed payload is not gathered into frames but flows in pieces;
//! - encoders: one a worker;
//! - writers: the parts of one object, and of a second one while the first is being finished.
//!
//! Each is counted at its worst, so the sum is a bound and not an estimate.

use siltstone_io::disk::STREAM_PIECE_BYTES;

use crate::{
    backend::{PART_BYTES, PARTS_IN_FLIGHT},
    codec::{codec_of, encoder_bytes},
    error::{Error, ErrorKind, Result},
    format::chunk::{ChunkSizes, stored_bytes_max},
    options::Compression,
};

/// Pieces that a stream keeps under way, and the one in the reader's hand.
const STREAM_PIECES: u64 = 5;

/// A piece is passed on uncopied if at least 15/16 of a full one are used, so what it pins is at
/// most 16/15 of what it carries.
pub(super) const PIECE_BYTES_MIN: usize = STREAM_PIECE_BYTES / 16 * 15;

/// Uncompressed pieces between reader and uploader.
pub(super) const PIECES_QUEUED: usize = 4;

/// Compressed frames go to a writer in copies of this size, so that a part of an object pins little
/// beyond its own bytes.
pub(super) const WRITE_BYTES: usize = 256 << 10;

/// How much may be under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// Compressed frames between their first byte read and their last byte written.
    pub(super) frames: usize,
    /// Threads that compress; 0 if nothing is compressed.
    pub(super) workers: usize,
    /// Whether a chunk may be written while the one before is being finished.
    pub(super) overlap: bool,
    /// The most bytes the pipeline holds.
    pub(super) bytes_max: u64,
}

impl Budget {
    /// The best use of `memory_bytes_max` for at most `workers` threads.
    pub(super) fn new(
        compression: Compression,
        sizes: ChunkSizes,
        workers: usize,
        memory_bytes_max: u64,
    ) -> Result<Self> {
        let plan = match compression {
            Compression::None => Self::plain(sizes, memory_bytes_max),
            packed => Self::packed(packed, sizes, workers, memory_bytes_max),
        };
        let budget = plan.ok_or_else(|| too_little(compression, sizes, memory_bytes_max))?;
        assert!(budget.bytes_max <= memory_bytes_max, "a budget keeps its bound");
        Ok(budget)
    }

    fn plain(sizes: ChunkSizes, limit: u64) -> Option<Self> {
        let piece = STREAM_PIECE_BYTES as u64;
        let queue = pinned(PIECES_QUEUED as u64 * piece);
        let writer = writer_bytes(sizes, 2 * piece);
        let one = STREAM_PIECES * piece + queue + writer;
        let overlap = one + writer <= limit;
        let bytes_max = if overlap { one + writer } else { one };
        (bytes_max <= limit).then_some(Self { frames: 0, workers: 0, overlap, bytes_max })
    }

    fn packed(
        compression: Compression,
        sizes: ChunkSizes,
        workers: usize,
        limit: u64,
    ) -> Option<Self> {
        let (plain, encoder) = (sizes.frame_bytes(), encoder_bytes(compression));
        let stored = stored_bytes_max(codec_of(compression), plain);
        let frame = pinned(u64::from(plain)) + u64::from(stored);
        let writer = writer_bytes(sizes, 2 * WRITE_BYTES as u64);
        let fixed = STREAM_PIECES * STREAM_PIECE_BYTES as u64 + writer;
        let room = limit.checked_sub(fixed + frame + encoder)?;
        // Each further worker needs a frame and an encoder; two more frames are being read and
        // written meanwhile.
        let more_workers = (room / (frame + encoder)).min(workers.max(1) as u64 - 1);
        let room = room - more_workers * (frame + encoder);
        let more_frames = (room / frame).min(2);
        let room = room - more_frames * frame;
        let overlap = room >= writer;
        let room = if overlap { room - writer } else { room };
        let workers = 1 + usize::try_from(more_workers).ok()?;
        let frames = workers + usize::try_from(more_frames).ok()?;
        Some(Self { frames, workers, overlap, bytes_max: limit - room })
    }
}

/// What `bytes` in uncopied pieces pin at most.
fn pinned(bytes: u64) -> u64 {
    bytes.div_ceil(15) * 16
}

/// What a writer holds at most, when each part pins up to `slack` bytes beyond its own.
fn writer_bytes(sizes: ChunkSizes, slack: u64) -> u64 {
    let parts = (PARTS_IN_FLIGHT as u64 + 1) * (PART_BYTES as u64 + slack);
    parts.min(sizes.chunk_bytes() + slack)
}

fn too_little(compression: Compression, sizes: ChunkSizes, memory_bytes_max: u64) -> Error {
    let frame = sizes.frame_bytes();
    Error::new(
        ErrorKind::Invalid,
        format!(
            "memory bound {memory_bytes_max} bytes is too little for {compression} chunks with \
             frames of {frame} bytes: raise it, or choose smaller chunks"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{CHUNK_MIB_MAX, CHUNK_MIB_MIN, MEMORY_BYTES_MIN};

    #[test]
    fn defaults_fit_64_mib_and_use_two_workers() {
        let sizes = ChunkSizes::from_mib(128);
        for compression in Compression::ALL {
            let budget = Budget::new(compression, sizes, 2, 64 << 20).unwrap();
            let workers = if compression == Compression::None { 0 } else { 2 };
            assert_eq!(budget.workers, workers, "{compression}");
            assert!(budget.frames >= workers);
        }
        let gzip = Budget::new(Compression::GzipDefault, sizes, 2, 64 << 20).unwrap();
        assert_eq!(gzip.frames, 3);
        let sizes = ChunkSizes::from_mib(8);
        let small = Budget::new(Compression::GzipDefault, sizes, 8, 64 << 20).unwrap();
        assert_eq!((small.workers, small.frames, small.overlap), (8, 10, true));
    }

    #[test]
    fn every_allowed_option_gets_a_budget_within_its_bound() {
        for mib in CHUNK_MIB_MIN..=CHUNK_MIB_MAX {
            for workers in [1, 2, 8, 64] {
                for memory in [MEMORY_BYTES_MIN, 64 << 20, 1 << 30] {
                    for compression in Compression::ALL {
                        let sizes = ChunkSizes::from_mib(mib);
                        let budget = Budget::new(compression, sizes, workers, memory).unwrap();
                        assert!(budget.bytes_max <= memory);
                        let none = compression == Compression::None;
                        assert!(none || (1..=workers).contains(&budget.workers));
                        assert!(budget.frames >= budget.workers);
                    }
                }
            }
        }
    }

    #[test]
    fn too_little_memory_is_refused_with_the_way_out() {
        for compression in Compression::ALL {
            let refused = Budget::new(compression, ChunkSizes::from_mib(128), 1, 16 << 20);
            let error = refused.expect_err("16 MiB do not suffice");
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains("smaller chunks"), "{error}");
        }
    }
}
