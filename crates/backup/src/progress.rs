//! [`Progress`]: how far an operation is, readable from any thread while it runs.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// Counters of one operation; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    bytes_reused: AtomicU64,
    bytes_stored: AtomicU64,
    chunks_done: AtomicU64,
    bytes_pinned: AtomicU64,
    bytes_held: AtomicU64,
    trees: OnceLock<Trees>,
}

/// The counters by tree.
#[derive(Debug)]
struct Trees {
    reports: Vec<TreeReport>,
    /// Of each tree, in the order of `reports`.
    bytes_done: Vec<AtomicU64>,
    /// The tree of each segment that is moved, in their order.
    of_segment: Vec<u32>,
}

/// How far one collection, or one tenant, is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeReport {
    /// The collection.
    pub collection: String,
    /// The tenant; `None` for the collection's own rows.
    pub tenant: Option<String>,
    /// Bytes of its segments that the operation must move.
    pub bytes_total: u64,
    /// Bytes moved so far.
    pub bytes_done: u64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgressReport {
    /// Bytes of segments that the operation must move; 0 until it is planned.
    pub bytes_total: u64,
    /// Bytes of segments moved so far, of `bytes_total`.
    pub bytes_done: u64,
    /// Bytes of segments that were there already, in the repository or, for a restore, on the disk
    /// of the store from an earlier try; not part of `bytes_total`.
    pub bytes_reused: u64,
    /// Bytes of chunks as stored, after compression.
    pub bytes_stored: u64,
    /// Chunks finished.
    pub chunks_done: u64,
    /// Bytes of files that the store itself no longer needs and that stay on its disk only because
    /// a backup, a snapshot or a reader holds them.
    pub bytes_pinned: u64,
    /// Bytes of complete files of a restore on the disk of its store: if it fails, the next one need
    /// not fetch them again.
    pub bytes_held: u64,
}

impl Progress {
    /// Counters at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what the plan found: bytes to move, and bytes that are there already.
    pub fn plan(&self, bytes_total: u64, bytes_reused: u64) {
        self.0.bytes_total.store(bytes_total, Ordering::Relaxed);
        self.0.bytes_reused.store(bytes_reused, Ordering::Relaxed);
    }

    /// Sets which trees there are, and the tree of each segment that is moved: its place in
    /// `reports`, and its bytes. Without it nothing is counted by tree.
    pub(crate) fn plan_trees(
        &self,
        mut reports: Vec<TreeReport>,
        segments: impl Iterator<Item = (u32, u64)>,
    ) {
        let of_segment = segments.map(|(tree, bytes)| {
            if let Some(report) = reports.get_mut(tree as usize) {
                report.bytes_total += bytes;
            }
            tree
        });
        let of_segment = of_segment.collect();
        let bytes_done = reports.iter().map(|_| AtomicU64::new(0)).collect();
        self.0.trees.get_or_init(|| Trees { reports, bytes_done, of_segment });
    }

    /// Counts bytes that were moved, of the segment in this place of those that are.
    pub fn add_done(&self, segment: usize, bytes: u64) {
        self.0.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        let tree = self.0.trees.get().and_then(|trees| {
            let tree = *trees.of_segment.get(segment)?;
            trees.bytes_done.get(tree as usize)
        });
        if let Some(done) = tree {
            done.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// How far each collection and tenant is, by name; empty until the operation is planned.
    pub fn trees(&self) -> Vec<TreeReport> {
        let Some(trees) = self.0.trees.get() else { return Vec::new() };
        let done = trees.bytes_done.iter().map(|done| done.load(Ordering::Relaxed));
        let with_done =
            |(report, bytes_done): (&TreeReport, u64)| TreeReport { bytes_done, ..report.clone() };
        trees.reports.iter().zip(done).map(with_done).collect()
    }

    /// Counts one finished chunk of `bytes_stored` bytes.
    pub fn add_chunk(&self, bytes_stored: u64) {
        self.0.bytes_stored.fetch_add(bytes_stored, Ordering::Relaxed);
        self.0.chunks_done.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets how much is pinned now.
    pub fn set_pinned(&self, bytes: u64) {
        self.0.bytes_pinned.store(bytes, Ordering::Relaxed);
    }

    /// Sets how much is held now.
    pub(crate) fn set_held(&self, bytes: u64) {
        self.0.bytes_held.store(bytes, Ordering::Relaxed);
    }

    /// The counters now; each is exact, together they may be a moment apart.
    pub fn report(&self) -> ProgressReport {
        ProgressReport {
            bytes_total: self.0.bytes_total.load(Ordering::Relaxed),
            bytes_done: self.0.bytes_done.load(Ordering::Relaxed),
            bytes_reused: self.0.bytes_reused.load(Ordering::Relaxed),
            bytes_stored: self.0.bytes_stored.load(Ordering::Relaxed),
            chunks_done: self.0.chunks_done.load(Ordering::Relaxed),
            bytes_pinned: self.0.bytes_pinned.load(Ordering::Relaxed),
            bytes_held: self.0.bytes_held.load(Ordering::Relaxed),
        }
    }
}
