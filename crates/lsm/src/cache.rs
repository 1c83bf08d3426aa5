//! The block cache: uncompressed blocks, filters and index blocks under one byte budget.
//! skeleton: owner of segment/.

use std::sync::Arc;

use crate::types::Uid;

/// A cache shared by all segments of a store.
#[derive(Debug)]
pub struct BlockCache {}

impl BlockCache {
    /// A cache that holds at most `bytes_max` bytes of block contents.
    pub fn new(_bytes_max: u64) -> Self {
        todo!()
    }
    /// The block of segment `uid` at `offset` in the segment.
    pub fn get(&self, _uid: Uid, _offset: u64) -> Option<Arc<[u8]>> {
        todo!()
    }
    /// Keeps a block.
    pub fn insert(&self, _uid: Uid, _offset: u64, _block: Arc<[u8]>) {
        todo!()
    }
}
