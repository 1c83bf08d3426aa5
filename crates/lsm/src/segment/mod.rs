//! Segments: one sorted run of one tree, self-contained and position-independent.
//!
//! A [`SegmentBuilder`] streams entries into a file and tells what it wrote as a
//! [`SegmentMeta`](crate::types::SegmentMeta); a [`SegmentReader`] opens that range of the file
//! against the meta. The bytes are specified in [`crate::format::segment`].
//!
//! Invariants:
//!
//! 1. Memory is bounded. A builder holds the current block, the index, a hash a key and the
//!    tombstones. An open reader holds its tombstones and at most [`ROOT_PINNED_BYTES_MAX`] bytes of
//!    index; everything else passes through the block cache. A cursor holds one data block, one
//!    index leaf, and a read-ahead window while it moves forward over uncached blocks.
//! 2. No byte is believed before its checksum, and no length before it is known to lie inside the
//!    segment. A failure names the file and the offset in it.
//! 3. A reader never writes and never changes: threads share it without locks.
//!
//! Blocks of a mapped file are copied out of the map like those of any other: what the cache and a
//! [`ValueRef`] hold must stay the bytes that were checked, whatever happens to the file.

mod blocks;
mod builder;
mod cursor;
mod index;
mod reader;
mod verify;

#[cfg(test)]
mod tests;

use std::{fmt, ops::Range, sync::Arc};

use crate::options::Options;

pub use builder::SegmentBuilder;
pub use reader::{ROOT_PINNED_BYTES_MAX, SegmentReader};

/// How a segment is written.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Target size of a data block and of an index leaf, in bytes. A larger entry has a block of its
    /// own.
    pub block_bytes: usize,
    /// Bloom filter bits a key; 0 for no filter.
    pub filter_bits_per_key: u32,
}

impl From<&Options> for BuildOptions {
    fn from(options: &Options) -> Self {
        Self { block_bytes: options.block_bytes, filter_bits_per_key: options.filter_bits_per_key }
    }
}

/// Whether blocks read by a cursor pass through the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FillCache {
    /// They are looked for in the cache and enter it: for reads that may come again.
    Yes,
    /// They are read from the disk, far ahead, and leave the cache alone: for compaction and
    /// verification.
    No,
}

/// A value pinned in its block, uncopied. Holding it keeps the block in memory.
#[derive(Clone)]
pub struct ValueRef {
    block: Arc<[u8]>,
    range: Range<usize>,
}

impl AsRef<[u8]> for ValueRef {
    fn as_ref(&self) -> &[u8] {
        &self.block[self.range.clone()]
    }
}

impl fmt::Debug for ValueRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueRef({} bytes)", self.range.len())
    }
}
