//! Counters of an open store.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Counters that the store's parts add to.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) batch_bytes: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flushed_bytes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compacted_bytes: AtomicU64,
    pub(crate) cuts: AtomicU64,
    pub(crate) cut_lead_nanos: AtomicU64,
    pub(crate) cut_sync_nanos: AtomicU64,
    pub(crate) stalls: AtomicU64,
    pub(crate) stall_nanos: AtomicU64,
    pub(crate) background_failures: AtomicU64,
}

/// Adds to a counter; counters order nothing, so relaxed is enough.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// Adds the time from one moment to another, in nanoseconds.
pub(crate) fn add_time(counter: &AtomicU64, from: Duration, to: Duration) {
    add(counter, u64::try_from(to.saturating_sub(from).as_nanos()).unwrap_or(u64::MAX));
}

/// Reads a counter.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Counters and sizes of a store since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Batches committed.
    pub commits: u64,
    /// WAL writes that carried them.
    pub groups: u64,
    /// Syncs of the WAL; one serves all commits written before it.
    pub syncs: u64,
    /// Encoded bytes of the batches.
    pub batch_bytes: u64,
    /// Memtables flushed.
    pub flushes: u64,
    /// Bytes of segment files written by flushes.
    pub flushed_bytes: u64,
    /// Compactions finished.
    pub compactions: u64,
    /// Bytes of segment files written by compactions.
    pub compacted_bytes: u64,
    /// Cuts that were taken.
    pub cuts: u64,
    /// Nanoseconds that they held the commit queue together: nothing else could be written.
    pub cut_lead_nanos: u64,
    /// Nanoseconds from there until they were published together: what was written behind them could
    /// not be acknowledged before.
    pub cut_sync_nanos: u64,
    /// Times a writer was stopped because flush or compaction was behind.
    pub stalls: u64,
    /// Nanoseconds those stops took together.
    pub stall_nanos: u64,
    /// Why writers are stopped at this moment, if they are.
    pub stalled_by: Option<StallReason>,
    /// Background steps that failed and will be tried again.
    pub background_failures: u64,
    /// Live segments.
    pub segments: u64,
    /// Files that hold them.
    pub files: u64,
    /// Bytes of live segments.
    pub segment_bytes: u64,
    /// Accounted bytes of the active and the sealed memtables.
    pub memtable_bytes: u64,
    /// Memtables waiting for their flush.
    pub sealed_memtables: u64,
    /// Files that are no longer part of the store and stay on disk only because a view, a
    /// snapshot, a cut or a backup holds a segment of them.
    pub pinned_files: u64,
    /// Their lengths in bytes: what the disk gets back when all holders let go. A file counts whole
    /// while one of its segments is held, and not at all while one is part of the store.
    pub pinned_bytes: u64,
    /// Nanoseconds since the first of them left the store: its holder is at least that old. 0 when
    /// nothing is pinned.
    pub pinned_nanos: u64,
    /// Complete files of restores, running or not, that are not part of the store yet.
    pub held_files: u64,
    /// Their lengths in bytes: what [`Store::discard_held`](crate::store::Store::discard_held) gives
    /// back to the disk when no restore runs.
    pub held_bytes: u64,
    /// The last published sequence.
    pub visible_sequence: u64,
}

/// What writers wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StallReason {
    /// `Options::sealed_memtables_max` memtables wait for the flush.
    Flush,
    /// A tree has `Options::level0_segments_stop` segments in level 0.
    Compaction,
}
