//! How a store is opened.

use siltstone_io::disk::ReadMode;

/// Options of a store. All are runtime choices: none changes a file format.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Create the store if the folder holds none. Default true.
    pub create: bool,
    /// Bytes of writes the active memtable holds before it is sealed and flushed. More means fewer,
    /// larger segments and a longer recovery. Default 32 MiB.
    pub memtable_bytes_max: usize,
    /// Sealed memtables that may wait for the flush before writers stop. Default 2.
    pub sealed_memtables_max: usize,
    /// Bytes of uncompressed blocks, filters and indexes kept in memory. Default 32 MiB.
    pub cache_bytes_max: u64,
    /// Target size of a data block in bytes. Default 4 KiB.
    pub block_bytes: usize,
    /// Bytes after which compaction starts a new segment and file. Default 64 MiB.
    pub segment_bytes_max: u64,
    /// Level-0 segments of a tree that start a compaction. Default 4.
    pub level0_segments_compact: usize,
    /// Level-0 segments of a tree at which writers stop until compaction catches up. Default 20.
    pub level0_segments_stop: usize,
    /// Target bytes of level 1 of a tree; each further level holds `level_ratio` times more.
    /// Default 256 MiB.
    pub level1_bytes: u64,
    /// Size ratio between neighbouring levels. Default 10.
    pub level_ratio: u64,
    /// Bloom filter bits a key; 0 for none. Default 10.
    pub filter_bits_per_key: u32,
    /// Bytes after which the manifest is rolled into a fresh snapshot, if that is also four times
    /// the last snapshot. Default 4 MiB.
    pub manifest_roll_bytes: u64,
    /// How blocks are read. Default direct.
    pub read_mode: ReadMode,
    /// Who runs flush, compaction and clean-up. Default threads.
    pub background: Background,
}

/// Who runs the background jobs of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Background {
    /// Threads of the store: one for flushes and clean-up, one for compaction.
    #[default]
    Threads,
    /// The caller, one step at a time (`Store::step`): runs replay from a seed. A writer that must
    /// wait for a flush runs the steps itself.
    Manual,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            create: true,
            memtable_bytes_max: 32 << 20,
            sealed_memtables_max: 2,
            cache_bytes_max: 32 << 20,
            block_bytes: 4096,
            segment_bytes_max: 64 << 20,
            level0_segments_compact: 4,
            level0_segments_stop: 20,
            level1_bytes: 256 << 20,
            level_ratio: 10,
            filter_bits_per_key: 10,
            manifest_roll_bytes: 4 << 20,
            read_mode: ReadMode::Direct,
            background: Background::Threads,
        }
    }
}

/// When a commit is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// After `fdatasync` of the WAL: survives power loss.
    #[default]
    Sync,
    /// After the write to the operating system: survives a killed process; power loss may take the
    /// commits since the last sync (always a suffix of the commit order, never a hole).
    Buffered,
}
