//! The download: frames by range, checked, decompressed, and the segments in them written out.

use crate::{
    backend::Backend,
    cancel::Cancel,
    error::Result,
    format::{chunk::Chunk, descriptor::StoredSegment},
    progress::Progress,
};

/// What a fetch works with.
#[derive(Clone, Copy, Debug)]
pub struct Fetch<'a> {
    /// Where chunks are.
    pub backend: &'a dyn Backend,
    /// Asks it to stop.
    pub cancel: &'a Cancel,
    /// Counts what it did.
    pub progress: &'a Progress,
    /// Threads that fetch, check and decompress.
    pub workers: usize,
    /// Bound of its memory, in bytes.
    pub memory_bytes_max: u64,
}

/// Takes the segments of a fetch, one after another.
pub trait SegmentSink {
    /// The bytes of the segment at `index` of the request follow. Each index comes once, in an
    /// order of the fetch's choosing.
    ///
    /// # Errors
    /// Whatever should end the fetch; also below.
    fn begin(&mut self, index: usize, segment: &StoredSegment) -> Result<()>;

    /// The next bytes of the segment.
    ///
    /// # Errors
    /// As [`SegmentSink::begin`].
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// The segment is whole and matches its hash.
    ///
    /// # Errors
    /// As [`SegmentSink::begin`].
    fn end(&mut self) -> Result<()>;
}

impl Fetch<'_> {
    /// Fetches `segments`, whose chunks must be in `chunks`, into `sink`; blocks until done.
    ///
    /// # Errors
    /// `Corrupt` naming the chunk when a byte is not as written; `Canceled`; and those of the
    /// backend and the sink.
    pub fn run(
        &self,
        _chunks: &[Chunk],
        _segments: &[StoredSegment],
        _sink: &mut dyn SegmentSink,
    ) -> Result<()> {
        todo!()
    }
}
