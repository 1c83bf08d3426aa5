//! Segments: one sorted run of one tree, self-contained and position-independent.
//! skeleton: owner of segment/.

use std::sync::Arc;

use siltstone_io::disk::{BlockSource, StreamWriter};

use crate::{
    cache::BlockCache,
    cursor::Cursor,
    error::Result,
    types::{Entry, EntryKind, RangeTombstone, SegmentMeta, Sequence, Uid},
};

/// How a segment is written.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Target data-block size in bytes.
    pub block_bytes: usize,
    /// Bloom bits a key; 0 = no filter.
    pub filter_bits_per_key: u32,
}

/// Writes one segment into a file stream; hashes and counts while it writes.
/// Entries come in internal order, at most one... any number of versions a key.
#[derive(Debug)]
pub struct SegmentBuilder {}

impl SegmentBuilder {
    pub fn new(_uid: Uid, _options: BuildOptions) -> Self {
        todo!()
    }
    /// Adds the next entry. Panics (programmer error) when out of order.
    pub fn add(&mut self, _entry: Entry<'_>, _out: &mut dyn StreamWriter) -> Result<()> {
        todo!()
    }
    /// Adds a range tombstone (any order, before finish).
    pub fn add_range_tombstone(&mut self, _tombstone: RangeTombstone) {
        todo!()
    }
    /// Bytes written so far plus what is buffered: the estimated size if finished now.
    pub fn estimated_bytes(&self) -> u64 {
        todo!()
    }
    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    /// Writes filter, index, tombstones, properties, footer; returns what the manifest keeps.
    pub fn finish(self, _out: &mut dyn StreamWriter) -> Result<SegmentMeta> {
        todo!()
    }
}

/// Reads one segment at a range of a file.
#[derive(Debug)]
pub struct SegmentReader {}

impl SegmentReader {
    /// Opens and checks footer, properties, root index, tombstones against `meta`.
    pub fn open(
        _source: Arc<dyn BlockSource>,
        _offset: u64,
        _meta: &SegmentMeta,
        _cache: Arc<BlockCache>,
    ) -> Result<Arc<Self>> {
        todo!()
    }
    /// The newest version of `key` with sequence <= `sequence`. `found` gets it while the block is held.
    pub fn get(&self, _key: &[u8], _sequence: Sequence) -> Result<Option<(Sequence, EntryKind, ValueRef)>> {
        todo!()
    }
    /// Range tombstones, sorted.
    pub fn range_tombstones(&self) -> &[RangeTombstone] {
        todo!()
    }
    /// A cursor over all entries. `fill_cache` false for compaction and verification.
    pub fn cursor(self: &Arc<Self>, _fill_cache: FillCache) -> Box<dyn Cursor> {
        todo!()
    }
    /// Reads everything: every block CRC, order, counts, sum, hash of the segment against the meta.
    pub fn verify(&self) -> Result<()> {
        todo!()
    }
}

/// Whether blocks read enter the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillCache { Yes, No }

/// A value pinned in its block, uncopied.
#[derive(Clone, Debug)]
pub struct ValueRef {}

impl AsRef<[u8]> for ValueRef {
    fn as_ref(&self) -> &[u8] {
        todo!()
    }
}
