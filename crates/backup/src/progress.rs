//! [`Progress`]: how far an operation is, readable from any thread while it runs.

use std::sync::{
    Arc,
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
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgressReport {
    /// Bytes of segments that the operation must move; 0 until it is planned.
    pub bytes_total: u64,
    /// Bytes of segments moved so far, of `bytes_total`.
    pub bytes_done: u64,
    /// Bytes of segments that the repository held already; not part of `bytes_total`.
    pub bytes_reused: u64,
    /// Bytes of chunks as stored, after compression.
    pub bytes_stored: u64,
    /// Chunks finished.
    pub chunks_done: u64,
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

    /// Counts bytes of segments that were moved.
    pub fn add_done(&self, bytes: u64) {
        self.0.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts one finished chunk of `bytes_stored` bytes.
    pub fn add_chunk(&self, bytes_stored: u64) {
        self.0.bytes_stored.fetch_add(bytes_stored, Ordering::Relaxed);
        self.0.chunks_done.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters now; each is exact, together they may be a moment apart.
    pub fn report(&self) -> ProgressReport {
        ProgressReport {
            bytes_total: self.0.bytes_total.load(Ordering::Relaxed),
            bytes_done: self.0.bytes_done.load(Ordering::Relaxed),
            bytes_reused: self.0.bytes_reused.load(Ordering::Relaxed),
            bytes_stored: self.0.bytes_stored.load(Ordering::Relaxed),
            chunks_done: self.0.chunks_done.load(Ordering::Relaxed),
        }
    }
}
