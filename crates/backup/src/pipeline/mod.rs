//! The upload: read, frame, compress, store, in bounded memory.

use siltstone_io::env::Env;

use crate::{
    backend::Backend,
    cancel::Cancel,
    error::Result,
    format::{
        chunk::{Chunk, ChunkSizes},
        descriptor::StoredSegment,
    },
    options::Compression,
    plan::Upload,
    progress::Progress,
};

/// How the pipeline works.
#[derive(Clone, Copy, Debug)]
pub struct PipelineOptions {
    /// How chunks are compressed.
    pub compression: Compression,
    /// How large chunks and frames become.
    pub sizes: ChunkSizes,
    /// Threads that compress.
    pub workers: usize,
    /// Bound of its memory, in bytes.
    pub memory_bytes_max: u64,
}

/// What a pipeline works with.
#[derive(Clone, Copy, Debug)]
pub struct Pipeline<'a> {
    /// The disk of the store, and where chunk identities come from.
    pub env: &'a Env,
    /// Where chunks go.
    pub backend: &'a dyn Backend,
    /// Asks it to stop.
    pub cancel: &'a Cancel,
    /// Counts what it did.
    pub progress: &'a Progress,
    /// How it works.
    pub options: PipelineOptions,
}

/// What was stored.
#[derive(Clone, Debug, Default)]
pub struct Uploaded {
    /// The chunks, in the order they were written.
    pub chunks: Vec<Chunk>,
    /// One for each home of each upload, in the order of the uploads.
    pub segments: Vec<StoredSegment>,
}

/// One chunk that the backend acknowledged.
#[derive(Debug)]
pub struct StoredChunk<'a> {
    /// The chunk.
    pub chunk: &'a Chunk,
    /// The segments that are complete with it; they may have begun in earlier chunks.
    pub segments: &'a [StoredSegment],
}

impl Pipeline<'_> {
    /// Stores all uploads, in order; blocks until done. Each segment is let go when the chunk that
    /// ends it is acknowledged and `on_chunk` returned.
    ///
    /// # Errors
    /// `Corrupt` naming the file when local bytes do not match their hash; `Canceled`; `Invalid`
    /// when the memory does not suffice; and those of the backend, the disk and `on_chunk`. Chunks
    /// already acknowledged stay in the repository.
    pub fn run(
        &self,
        _uploads: Vec<Upload>,
        _on_chunk: &mut (dyn FnMut(StoredChunk<'_>) -> Result<()> + Send),
    ) -> Result<Uploaded> {
        todo!()
    }
}
