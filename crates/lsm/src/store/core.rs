//! [`Core`]: the shared heart of an open store.
//!
//! Locks, always taken in this order: `log` (the leader's state), `ready_log`, `install` (changes
//! of the published view), then the small ones (`sealed`, `obsolete`, `claimed`), which are held for a few
//! instructions. The manifest and the WAL have locks of their own below all of
//! these. No lock but `log` and `ready_log` is held across I/O.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
};

use arc_swap::ArcSwap;
use siltstone_io::{disk::LockGuard, env::Env};

use crate::{
    catalog::Catalog,
    commit::{order::Order, queue::Queue},
    error::{Error, ErrorKind, Result},
    manifest::Manifest,
    memtable::Memtable,
    options::Options,
    store::{
        collector::Collector,
        metrics::Counters,
        obsolete::Obsolete,
        poison::Poison,
        pressure::{LastFailure, Stall},
        reserved::Reserved,
        signal::Signal,
        work::{Committed, Work},
    },
    types::{FileId, LogId, Sequence, TreeId},
    version::{FileHandle, SegmentOpener},
    view::View,
    wal::{ReadyLog, RecoveryReport, Wal},
};

/// Everything that the parts of an open store share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) env: Env,
    pub(crate) options: Options,
    pub(crate) store_id: [u8; 16],
    pub(crate) report: RecoveryReport,
    pub(crate) opener: SegmentOpener,
    pub(crate) manifest: Manifest,
    pub(crate) wal: Wal,
    pub(crate) queue: Queue<Work, Committed>,
    pub(crate) order: Order,
    pub(crate) log: Mutex<LogState>,
    /// The next log, created and named by the manifest, or `None` until the keeper made one.
    pub(crate) ready_log: Mutex<Option<ReadyLog>>,
    pub(crate) published: ArcSwap<Published>,
    pub(crate) install: Mutex<()>,
    /// The last published sequence: readers see everything up to it.
    pub(crate) visible: AtomicU64,
    /// Sealed memtables, oldest first, until their flush is installed.
    pub(crate) sealed: Mutex<VecDeque<Arc<Sealed>>>,
    pub(crate) next_file: AtomicU64,
    /// Files that no version names, to be removed once nothing pins them.
    pub(crate) obsolete: Obsolete,
    /// Held files that a running restore has taken or made: nobody else takes or releases them.
    pub(crate) claimed: Mutex<BTreeSet<FileId>>,
    pub(crate) poison: Poison,
    pub(crate) stall: Stall,
    pub(crate) flush_failure: LastFailure,
    pub(crate) compaction_failure: LastFailure,
    /// The oldest log that may still be on disk.
    pub(crate) oldest_log: Mutex<LogId>,
    pub(crate) closing: AtomicBool,
    /// Flush, compaction, or something that waits for them has news.
    pub(crate) signal: Arc<Signal>,
    /// A memtable was sealed, and the threads have not been told.
    pub(crate) untold: AtomicBool,
    /// The log keeper has something to do.
    pub(crate) log_signal: Signal,
    pub(crate) counters: Counters,
    /// One flush, one compaction, one cut at a time, whoever runs them.
    pub(crate) flushing: Mutex<()>,
    pub(crate) compacting: Mutex<()>,
    pub(crate) cutting: Mutex<()>,
    pub(crate) _lock: Box<dyn LockGuard>,
}

/// What the commit leader owns while it holds the log lock. It may be ahead of what is published.
#[derive(Debug)]
pub(crate) struct LogState {
    pub(crate) next_sequence: Sequence,
    /// Sequences below this are reserved in the manifest.
    pub(crate) reserved_upto: Sequence,
    /// Number of the next group in the publishing order.
    pub(crate) next_group: u64,
    pub(crate) next_queue_edit: u64,
    /// The log offset at which the zeroer is woken next.
    pub(crate) wake_zeroer_at: u64,
    pub(crate) next_tree: TreeId,
    pub(crate) next_collection: u64,
    pub(crate) active: Arc<Memtable>,
    /// The catalog after all edits placed so far.
    pub(crate) catalog: Arc<Catalog>,
    /// Names that running restores and offloads have claimed.
    pub(crate) reserved: Reserved,
}

/// A memtable that takes no more writes.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) memtable: Arc<Memtable>,
    /// The last sequence that can be in it.
    pub(crate) last_sequence: Sequence,
    /// The log that follows the one which holds its writes.
    pub(crate) next_log: LogId,
    /// Cuts that wait for its segments.
    pub(crate) collectors: Mutex<Vec<Arc<Collector>>>,
}

/// What readers see.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) view: Arc<View>,
    /// The most level-0 segments any tree has, for back-pressure.
    pub(crate) level0_segments: usize,
}

impl Core {
    /// Fails when the store is poisoned or closing.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.poison.check()?;
        if self.closing.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Unavailable, "the store is closed"));
        }
        Ok(())
    }

    /// Poisons the store if the error says that durability is unknown.
    pub(crate) fn note_failure(&self, error: &Error) {
        if matches!(error.kind(), ErrorKind::Indeterminate | ErrorKind::Poisoned) {
            self.poison.set(error);
            self.order.fail();
            self.signal.notify();
            self.log_signal.notify();
        }
    }

    /// A file identifier that no other caller gets.
    pub(crate) fn take_file_id(&self) -> FileId {
        FileId(self.next_file.fetch_add(1, Ordering::Relaxed))
    }

    /// The identifier that an edit must record as used up.
    pub(crate) fn next_file_id(&self) -> FileId {
        FileId(self.next_file.load(Ordering::Relaxed))
    }

    /// Publishes the manifest's current version and catalog with the memtables that `change`
    /// leaves (newest first).
    pub(crate) fn install(&self, change: impl FnOnce(&mut Vec<Arc<Memtable>>)) {
        let installing = lock(&self.install);
        let state = self.manifest.state();
        let mut memtables = self.published.load().view.memtables.clone();
        change(&mut memtables);
        let level0_segments = state.version.level0_segments_most();
        let view = View { memtables, version: state.version, catalog: state.catalog };
        let new = Published { view: Arc::new(view), level0_segments };
        let old = self.published.swap(Arc::new(new));
        drop(installing);
        drop(old); // with thousands of trees that takes milliseconds
    }

    /// Publishes a new active memtable; version and catalog stay.
    pub(crate) fn install_active(&self, active: Arc<Memtable>, sealed: Arc<Sealed>) {
        let _installing = lock(&self.install);
        let Published { view, level0_segments } = &*self.published.load_full();
        let memtables = std::iter::once(active).chain(view.memtables.iter().map(Arc::clone));
        let view = View { memtables: memtables.collect(), ..View::clone(view) };
        let new = Published { view: Arc::new(view), level0_segments: *level0_segments };
        self.published.store(Arc::new(new));
        lock(&self.sealed).push_back(sealed);
    }

    /// Adds files to the list that the reap job works off.
    pub(crate) fn retire(&self, files: Vec<Arc<FileHandle>>) {
        if !files.is_empty() {
            let reaper = Waker::from(Arc::clone(&self.signal));
            self.obsolete.retire(files, self.env.clock.monotonic(), &reaper);
            self.signal.notify();
        }
    }
}

/// Locks; a panic elsewhere has not left the guarded state half-changed, because every change of it
/// is a few assignments without a panicking call between.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
