//! The descriptor of a node: catalog, chunks and segments, as lines of JSON in parts.
//!
//! A part is at most 16 MiB and is read line by line, never as a whole document. All collections
//! come first, each followed by its tenants, then all chunks, then all segments; so each line
//! refers only to earlier ones, and a reference to nothing is refused where it stands.

use std::collections::BTreeMap;

use siltstone_lsm::{
    catalog::TenantStatus,
    types::{SegmentMeta, TreeId},
};

use crate::{
    error::Result,
    format::{
        chunk::{Chunk, Extent},
        config::{Config, PartInfo, Totals},
    },
    names::{AttemptId, BackupId, ChunkId},
};

/// Largest part of a descriptor, in bytes (16 MiB).
pub const PART_BYTES_MAX: u64 = 16 << 20;

/// Longest line of a part, in bytes (4 MiB).
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// A whole backup, as its descriptors tell.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// The descriptor object itself.
    pub config: Config,
    /// The catalog, by name.
    pub collections: Vec<StoredCollection>,
    /// Every chunk that a segment uses, in the order they were written.
    pub chunks: Vec<Chunk>,
    /// All segments of all trees.
    pub segments: Vec<StoredSegment>,
}

/// One collection of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCollection {
    /// Its name.
    pub name: String,
    /// The tree of its own rows, in the store it was taken of.
    pub tree: TreeId,
    /// Its tenants, by name.
    pub tenants: Vec<StoredTenant>,
}

/// One tenant of a collection of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTenant {
    /// Its name.
    pub name: String,
    /// Its tree, in the store it was taken of.
    pub tree: TreeId,
    /// HOT or COLD at the cut.
    pub status: TenantStatus,
}

/// One segment of a backup, and where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSegment {
    /// The tree it belongs to, in the store it was taken of.
    pub tree: TreeId,
    /// The level it was on.
    pub level: u8,
    /// Identity, length, hash, counts, sum, ranges.
    pub meta: SegmentMeta,
    /// Its bytes, in order; never empty.
    pub extents: Vec<Extent>,
}

/// Writes the lines of a descriptor into parts.
#[derive(Debug)]
pub struct PartsWriter {}

/// One part, ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Counted from 0.
    pub number: u32,
    /// The object's bytes.
    pub bytes: Vec<u8>,
}

impl PartsWriter {
    /// Starts the descriptor of one attempt.
    pub fn new(_id: BackupId, _attempt: AttemptId) -> Self {
        todo!()
    }

    /// Adds a collection with its tenants. Returns a part when one is full.
    ///
    /// # Errors
    /// `Invalid` when a limit of the format is passed; also for the methods below.
    pub fn collection(&mut self, _collection: &StoredCollection) -> Result<Vec<Part>> {
        todo!()
    }

    /// Adds a chunk, after all collections.
    ///
    /// # Errors
    /// As [`PartsWriter::collection`].
    pub fn chunk(&mut self, _chunk: &Chunk) -> Result<Option<Part>> {
        todo!()
    }

    /// Adds a segment, after all chunks.
    ///
    /// # Errors
    /// As [`PartsWriter::collection`].
    pub fn segment(&mut self, _segment: &StoredSegment) -> Result<Option<Part>> {
        todo!()
    }

    /// The last part, and what the config says of all parts; `uploaded_bytes` is left 0.
    pub fn finish(self) -> (Part, Vec<PartInfo>, Totals) {
        todo!()
    }
}

/// Reads and checks the parts of a descriptor, one at a time.
#[derive(Debug)]
pub struct DescriptorReader {}

impl DescriptorReader {
    /// Starts from the config.
    pub fn new(_config: Config) -> Self {
        todo!()
    }

    /// The object of the next part and its length; `None` when all were added.
    pub fn next_part(&self) -> Option<(String, u64)> {
        todo!()
    }

    /// Adds the next part.
    ///
    /// # Errors
    /// `Corrupt`, naming the object and the line.
    pub fn add(&mut self, _bytes: &[u8]) -> Result<()> {
        todo!()
    }

    /// The whole, once all parts are added.
    ///
    /// # Errors
    /// `Corrupt` when parts, lines or totals are missing or do not agree.
    pub fn finish(self) -> Result<Descriptor> {
        todo!()
    }
}

impl Descriptor {
    /// Chunks by identity.
    pub fn chunks_by_id(&self) -> BTreeMap<ChunkId, &Chunk> {
        self.chunks.iter().map(|chunk| (chunk.id, chunk)).collect()
    }
}
