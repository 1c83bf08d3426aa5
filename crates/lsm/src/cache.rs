//! The block cache: uncompressed blocks, filters and index blocks under one byte budget.
//!
//! Blocks are kept as stored (contents and trailer), checked before they enter. A block is known by
//! the segment's uid and its offset there; a uid is never reused, so blocks of removed segments
//! need no invalidation: nobody asks for them and they age out.
//!
//! This is the one door to `quick_cache`. Its hash is fixed, not seeded at random: what is evicted
//! decides what is read from the disk, and runs on the simulated disk must replay.

use std::{
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::Arc,
};

use quick_cache::{
    OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::{format::primitives::key_hash, types::Uid};

/// Bytes that an entry of the cache costs besides its block: key, pointer, counts, table slots.
const ENTRY_BYTES: u64 = 96;

/// Bytes of budget for one more shard. A block enters only if its shard can hold it, so shards are
/// few and large rather than many.
const SHARD_BYTES: u64 = 8 << 20;

const SHARDS_MAX: u64 = 16;

/// A typical block, to size the table.
const TYPICAL_BYTES: u64 = 4096;

/// A cache shared by all segments of a store.
pub struct BlockCache {
    /// `None` for a budget of 0.
    blocks: Option<Blocks>,
}

type Blocks = Cache<
    BlockId,
    Arc<[u8]>,
    ByteWeighter,
    BuildHasherDefault<Passed>,
    DefaultLifecycle<BlockId, Arc<[u8]>>,
>;

impl BlockCache {
    /// A cache that holds at most `bytes_max` bytes of blocks, its own overhead included.
    ///
    /// # Panics
    /// Never: the options below are complete.
    pub fn new(bytes_max: u64) -> Self {
        if bytes_max == 0 {
            return Self { blocks: None };
        }
        let shards = (bytes_max / SHARD_BYTES).clamp(1, SHARDS_MAX).next_power_of_two();
        let items = (bytes_max / (TYPICAL_BYTES + ENTRY_BYTES)).max(1);
        let options = OptionsBuilder::new()
            .shards(usize::try_from(shards).unwrap_or(1))
            .estimated_items_capacity(usize::try_from(items).unwrap_or(usize::MAX))
            .weight_capacity(bytes_max - bytes_max % shards)
            .build()
            .expect("both capacities are given");
        let blocks = Cache::with_options(
            options,
            ByteWeighter,
            BuildHasherDefault::default(),
            DefaultLifecycle::default(),
        );
        Self { blocks: Some(blocks) }
    }

    /// The stored block of segment `uid` at `offset` in the segment.
    pub fn get(&self, uid: Uid, offset: u64) -> Option<Arc<[u8]>> {
        self.blocks.as_ref()?.get(&BlockId { uid, offset })
    }

    /// Keeps a stored block whose checksum was checked. A block larger than the budget of a shard
    /// is not kept.
    pub fn insert(&self, uid: Uid, offset: u64, block: Arc<[u8]>) {
        if let Some(blocks) = &self.blocks
            && entry_bytes(&block) <= blocks.shard_capacity()
        {
            blocks.insert(BlockId { uid, offset }, block);
        }
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.blocks.as_ref().map_or(0, Cache::weight)
    }
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockCache({} bytes)", self.bytes())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BlockId {
    uid: Uid,
    offset: u64,
}

impl Hash for BlockId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.uid.0);
        bytes[16..].copy_from_slice(&self.offset.to_le_bytes());
        state.write_u64(key_hash(&bytes));
    }
}

/// Passes on the hash that [`BlockId`] computed.
#[derive(Clone, Copy, Debug, Default)]
struct Passed(u64);

impl Hasher for Passed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = key_hash(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[derive(Clone, Copy, Debug)]
struct ByteWeighter;

impl Weighter<BlockId, Arc<[u8]>> for ByteWeighter {
    fn weight(&self, _id: &BlockId, block: &Arc<[u8]>) -> u64 {
        entry_bytes(block)
    }
}

fn entry_bytes(block: &Arc<[u8]>) -> u64 {
    block.len() as u64 + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bytes: usize) -> Arc<[u8]> {
        Arc::from(vec![7; bytes])
    }

    #[test]
    fn budget_is_never_exceeded() {
        for budget in [1 << 16, 1 << 20, 20 << 20] {
            let cache = BlockCache::new(budget);
            for i in 0..3000_u32 {
                let bytes = 1000 + (i as usize * 7919) % 30_000;
                cache.insert(Uid([i.to_le_bytes()[0]; 16]), u64::from(i) * 4096, block(bytes));
                assert!(cache.bytes() <= budget, "{} of {budget}", cache.bytes());
            }
            assert!(cache.bytes() >= budget / 2, "{} of {budget} used", cache.bytes());
        }
    }

    #[test]
    fn blocks_larger_than_the_budget_are_not_kept() {
        let cache = BlockCache::new(10_000);
        cache.insert(Uid([1; 16]), 0, block(100));
        cache.insert(Uid([1; 16]), 4096, block(10_000));
        assert!(cache.get(Uid([1; 16]), 4096).is_none());
        assert_eq!(cache.get(Uid([1; 16]), 0).map(|block| block.len()), Some(100));
    }

    #[test]
    fn segments_do_not_share_blocks() {
        let cache = BlockCache::new(1 << 20);
        cache.insert(Uid([1; 16]), 0, block(1));
        assert!(cache.get(Uid([2; 16]), 0).is_none());
        assert!(cache.get(Uid([1; 16]), 1).is_none());
    }

    #[test]
    fn budget_of_zero_keeps_nothing() {
        let cache = BlockCache::new(0);
        cache.insert(Uid([1; 16]), 0, block(1));
        assert!(cache.get(Uid([1; 16]), 0).is_none());
        assert_eq!(cache.bytes(), 0);
    }
}
