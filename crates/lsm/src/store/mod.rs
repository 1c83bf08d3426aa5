//! [`Store`]: the engine as its users see it.
//!
//! The parts, bottom up: `work` (what waits in the queue), `core` (the shared state), `pressure`
//! and `commit` (what a leader does), `jobs` (flush, compaction, upkeep), `edits`, `cutting`,
//! `restoring` with `holding`, and `freezing` (what goes through the queue besides batches), `open`, and `threads`.

mod collector;
mod commit;
mod core;
mod cutting;
mod edits;
mod freezing;
mod holding;
mod jobs;
mod metrics;
mod obsolete;
mod open;
mod poison;
mod pressure;
mod reserved;
mod restoring;
mod signal;
mod threads;
mod work;

use std::{
    collections::BTreeSet,
    fmt,
    ops::Bound,
    path::Path,
    sync::{Arc, Mutex, atomic::Ordering},
};

use siltstone_io::{
    env::Env,
    error as io,
    os::{OsDisk, StreamEngine},
};

use self::{
    core::{Core, Published, lock},
    metrics::read,
    threads::Threads,
    work::Work,
};
pub use self::{
    freezing::FreezeTicket,
    metrics::{Metrics, StallReason},
    restoring::RestoreTicket,
};
use crate::{
    batch::Batch,
    catalog::{Catalog, TenantStatus},
    cut::Cut,
    error::{Error, ErrorKind, Result},
    options::{Background, Durability, Options},
    restore::{HeldFile, RestoreTarget},
    types::{Sequence, TreeId},
    view::{Digest, Scan, Value, View},
    wal::RecoveryReport,
};

/// An open store. Clones share it; the last one dropped closes it, without a flush: acknowledged
/// commits are in the WAL. [`Store::close`] flushes first, so that the next open has nothing to
/// replay.
///
/// # Examples
///
/// ```
/// use siltstone_lsm::{options::{Durability, Options}, store::Store};
///
/// # fn main() -> siltstone_lsm::error::Result<()> {
/// # let folder = std::env::temp_dir().join(format!("siltstone-doc-{}", std::process::id()));
/// let store = Store::open(&folder, Options::default())?;
/// let birds = store.create_collection("birds")?;
/// store.put(birds, b"heron", b"tall", Durability::Sync)?;
/// assert_eq!(store.get(birds, b"heron")?.as_deref(), Some(&b"tall"[..]));
/// store.close()?;
/// # drop(store);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    threads: Mutex<Option<Threads>>,
}

/// What one background step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// A sealed memtable became segments.
    Flushed,
    /// Segments were merged or moved down a level.
    Compacted,
    /// A file that nothing uses was removed.
    Reaped,
    /// The manifest was rolled into a fresh snapshot.
    RolledManifest,
    /// The next log was made ready.
    PreparedLog,
    /// Sequences were reserved.
    Reserved,
    /// There was nothing to do.
    Idle,
}

impl Store {
    /// Opens a store in a folder of the operating system; with [`Options::create`] makes one if
    /// the folder holds none.
    ///
    /// # Errors
    /// `Locked` when it is open elsewhere, `NotFound` when there is none, `Corrupt` or
    /// `NewerFormat` when its files are damaged or newer, `NoSpace`, `Io`.
    pub fn open(folder: &Path, options: Options) -> Result<Self> {
        let create = options.create;
        let open = if create { OsDisk::open } else { OsDisk::open_existing };
        let disk = open(folder, StreamEngine::Auto).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let step = if create { "make the folder above it, or " } else { "" };
                Error::new(ErrorKind::NotFound, format!("{error}; {step}check the path"))
            }
            io::ErrorKind::Invalid => Error::new(ErrorKind::Invalid, error.to_string()),
            _ => error.into(),
        })?;
        Self::open_on(Env::system(Arc::new(disk)), options)
    }

    /// Opens a store on any disk.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(env: Env, options: Options) -> Result<Self> {
        let background = options.background;
        let core = Arc::new(open::open(env, options)?);
        let threads = match background {
            Background::Threads => Some(Threads::start(&core)?),
            Background::Manual => None,
        };
        Ok(Self { inner: Arc::new(Inner { core, threads: Mutex::new(threads) }) })
    }

    /// What recovery found when the store was opened.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.core().report
    }

    /// The identity of the store, made when it was created.
    pub fn store_id(&self) -> [u8; 16] {
        self.core().store_id
    }

    /// The world the store lives in; backups read pinned files through its disk, at the paths of
    /// `format::names::file`.
    pub fn env(&self) -> &Env {
        &self.core().env
    }

    /// The collections and tenants.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.core().published.load().view.catalog)
    }

    /// Creates a collection and returns the tree of its own rows.
    ///
    /// # Errors
    /// `Exists`, `Invalid` (name), or what [`Store::write`] says.
    pub fn create_collection(&self, name: &str) -> Result<TreeId> {
        self.core().create_collection(name)
    }

    /// Drops a collection with all its tenants and rows. Running backups keep what they cut.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable` while a restore or an offload concerns one of its tenants, or what [`Store::write`] says.
    pub fn drop_collection(&self, name: &str) -> Result<()> {
        self.core().drop_collection(name)
    }

    /// Gives a collection another name.
    ///
    /// # Errors
    /// `NotFound`, `Exists`, `Invalid` (name), or what [`Store::write`] says.
    pub fn rename_collection(&self, from: &str, to: &str) -> Result<()> {
        self.core().rename_collection(from, to)
    }

    /// Creates tenants of a collection, HOT, all in one edit; returns their trees.
    ///
    /// # Errors
    /// `NotFound` (collection), `Exists`, `Invalid` (name), or what [`Store::write`] says.
    pub fn create_tenants(&self, collection: &str, names: &[&str]) -> Result<Vec<TreeId>> {
        self.core().create_tenants(collection, names)
    }

    /// Drops tenants and their rows, all in one edit. What a FROZEN one has elsewhere stays there;
    /// [`Collection::location`](crate::catalog::Collection::location) says where that is.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable` while a restore or an offload concerns one of them, or what [`Store::write`] says.
    pub fn drop_tenants(&self, collection: &str, names: &[&str]) -> Result<()> {
        self.core().drop_tenants(collection, names)
    }

    /// Gives a tenant another name within its collection.
    ///
    /// # Errors
    /// `NotFound`, `Exists`, `Invalid` (name), or what [`Store::write`] says.
    pub fn rename_tenant(&self, collection: &str, from: &str, to: &str) -> Result<()> {
        self.core().rename_tenant(collection, from, to)
    }

    /// Activates or deactivates tenants, all in one edit. The trees of COLD tenants answer
    /// nothing; backups include them.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` for a FROZEN tenant, or while a restore or an offload concerns one;
    /// `Invalid` for the status FROZEN ([`Store::begin_freeze`] leads there); or what [`Store::write`] says.
    pub fn set_tenant_status(
        &self,
        collection: &str,
        names: &[&str],
        status: TenantStatus,
    ) -> Result<()> {
        self.core().set_tenant_status(collection, names, status)
    }

    /// The tree of a collection's own rows, or of one of its tenants.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` for a COLD or FROZEN tenant.
    pub fn tree(&self, collection: &str, tenant: Option<&str>) -> Result<TreeId> {
        self.core().tree(collection, tenant)
    }

    /// Sets one key.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn put(
        &self,
        tree: TreeId,
        key: &[u8],
        value: &[u8],
        durability: Durability,
    ) -> Result<Sequence> {
        let mut batch = Batch::new();
        batch.put(tree, key, value)?;
        self.write(batch, durability)
    }

    /// Removes one key.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn delete(&self, tree: TreeId, key: &[u8], durability: Durability) -> Result<Sequence> {
        let mut batch = Batch::new();
        batch.delete(tree, key)?;
        self.write(batch, durability)
    }

    /// Removes all rows of a tree. Cost: one commit, whatever the tree holds.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn clear(&self, tree: TreeId, durability: Durability) -> Result<Sequence> {
        let mut batch = Batch::new();
        batch.delete_range(tree, &[], None)?;
        self.write(batch, durability)
    }

    /// Commits a batch whole; returns the sequence of its last operation. An empty batch returns
    /// at once.
    ///
    /// # Errors
    /// `Invalid` (limits), `NotFound` (a tree that was dropped or does not answer: the batch fails whole),
    /// `NoSpace` (nothing was written), `Indeterminate` (it may or may not be there after the next
    /// open), `Poisoned`, `Unavailable` (closed).
    pub fn write(&self, batch: Batch, durability: Durability) -> Result<Sequence> {
        if batch.operations() == 0 {
            return Ok(self.core().visible.load(Ordering::Acquire));
        }
        Ok(self.core().submit(Work::Write { batch, durability })?.sequence)
    }

    /// Makes all commits acknowledged before the call durable, `Buffered` ones too.
    ///
    /// # Errors
    /// `Indeterminate` when the sync fails, `Poisoned`.
    pub fn sync(&self) -> Result<()> {
        let core = self.core();
        core.check_writable()?;
        core.wal.sync_to(core.wal.end()).inspect_err(|error| core.note_failure(error))
    }

    /// The newest value of a key.
    ///
    /// # Errors
    /// `NotFound` (a tree that was dropped or does not answer), `Corrupt` (naming file and offset), `Io`.
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Value>> {
        let core = self.core();
        // The view first, then the sequence: everything visible is then in the view.
        let published = core.published.load();
        let sequence = core.visible.load(Ordering::Acquire);
        published.check(tree)?;
        published.view.get(&core.opener, tree, key, sequence)
    }

    /// The store as it is now, for reads that must agree with each other. Pins what it needs, in
    /// memory and on disk, until dropped.
    pub fn snapshot(&self) -> Snapshot {
        let core = Arc::clone(&self.inner.core);
        let published = core.published.load_full();
        let sequence = core.visible.load(Ordering::Acquire);
        Snapshot { core, published, sequence }
    }

    /// The store at a cut, while [`Cut::view`] is there.
    pub fn snapshot_at(&self, cut: &Cut) -> Option<Snapshot> {
        let view = Arc::clone(cut.view.as_ref()?);
        let published = Arc::new(Published { view, level0_segments: 0 });
        Some(Snapshot { core: Arc::clone(&self.inner.core), published, sequence: cut.sequence })
    }

    /// Removes files that nothing uses any more, without waiting for the background.
    ///
    /// # Errors
    /// `Io`.
    pub fn reap(&self) -> Result<()> {
        while self.core().reap_step()? {}
        Ok(())
    }

    /// Writes what the memtables hold into segments, and waits for it.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Poisoned`, `Unavailable`.
    pub fn flush(&self) -> Result<()> {
        self.core().flush()
    }

    /// Compacts until nothing is out of shape.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Corrupt`, `Poisoned`.
    pub fn compact(&self) -> Result<()> {
        while self.core().compaction_step()? {}
        Ok(())
    }

    /// Runs one background step ([`Background::Manual`]).
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Corrupt`, `Poisoned`.
    pub fn step(&self) -> Result<Step> {
        self.core().step()
    }

    /// Cuts the store at one instant for a backup; writes go on. Cost: one rotation and the flush
    /// of what the memtables hold; with nothing new, neither.
    ///
    /// # Errors
    /// As [`Store::flush`].
    pub fn cut(&self) -> Result<Cut> {
        self.core().cut()
    }

    /// Reserves the names of new collections for a restore.
    ///
    /// # Errors
    /// `Exists`, naming all conflicts; `Unavailable` while another restore makes them; `Poisoned`.
    pub fn begin_restore(&self, names: &[String]) -> Result<RestoreTicket> {
        self.begin_restore_into(names.iter().cloned().map(RestoreTarget::Collection).collect())
    }

    /// Reserves what a restore makes: new collections, new tenants of collections that are there,
    /// and the rows of FROZEN tenants. While the ticket lives, others can neither take these names
    /// nor drop or rename the collections and tenants concerned.
    ///
    /// # Errors
    /// `Exists`, naming all conflicts; `NotFound` for tenants of a collection that is not there;
    /// `Invalid` for one that should be FROZEN and is not; `Unavailable` while another restore or
    /// offload concerns them; `Poisoned`.
    pub fn begin_restore_into(&self, targets: Vec<RestoreTarget>) -> Result<RestoreTicket> {
        RestoreTicket::begin(&self.inner.core, targets)
    }

    /// What restores that failed or were killed have completed, for the next to take
    /// ([`RestoreTicket::take_held`]); without what a running restore has. Ascending by file.
    pub fn held_files(&self) -> Vec<Arc<HeldFile>> {
        self.core().held_files()
    }

    /// Removes [`Store::held_files`] and says how many bytes that were. The next restore fetches
    /// everything.
    ///
    /// # Errors
    /// `NoSpace` (the manifest must say so first), `Io`, `Poisoned`, `Unavailable`: they stay.
    pub fn discard_held(&self) -> Result<u64> {
        self.core().claim_held(&BTreeSet::new())
    }

    /// Begins to take the rows of a tenant off this disk: makes it COLD, so that nothing changes any
    /// more, and hands out its segments to be copied elsewhere. While the ticket lives, others can
    /// neither activate, drop nor rename it, nor drop or rename its collection.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when it is FROZEN already; `Unavailable` when it is being restored,
    /// offloaded or fetched back; or as [`Store::flush`] and [`Store::write`]: the tenant is then what
    /// it was, or COLD where the store takes no edit any more.
    pub fn begin_freeze(&self, collection: &str, tenant: &str) -> Result<FreezeTicket> {
        FreezeTicket::begin(&self.inner.core, collection, tenant)
    }

    /// Counters and sizes since the store was opened. Cost: a few loads and one pass over the files
    /// that are obsolete, whatever the store holds.
    pub fn metrics(&self) -> Metrics {
        self.core().metrics()
    }

    /// Reads every live segment and checks it against its checksums, its hash and the manifest.
    /// `progress` gets the bytes done and the bytes in all.
    ///
    /// # Errors
    /// `Corrupt`, naming file and offset of the first damage; `Io`.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let core = self.core();
        let view = Arc::clone(&core.published.load().view);
        let total = view.version.segments().map(|segment| segment.meta.length).sum();
        let mut done = 0;
        for segment in view.version.segments() {
            segment.reader(&core.opener)?.verify()?;
            done += segment.meta.length;
            progress(done, total);
        }
        Ok(())
    }

    /// Flushes, stops the background threads, and refuses all later writes. Snapshots and reads go
    /// on until the last clone is dropped, which frees the lock.
    ///
    /// # Errors
    /// As [`Store::flush`]; the store is closed all the same.
    pub fn close(&self) -> Result<()> {
        let flushed = self.core().flush();
        drop(lock(&self.inner.threads).take());
        self.core().closing.store(true, Ordering::Release);
        flushed?;
        self.core().wal.close()
    }

    fn core(&self) -> &Core {
        &self.inner.core
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

/// The store at one sequence.
#[derive(Clone)]
pub struct Snapshot {
    core: Arc<Core>,
    published: Arc<Published>,
    sequence: Sequence,
}

impl Snapshot {
    /// The last sequence it shows.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The collections and tenants at that moment.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.published.view.catalog
    }

    /// The view behind it.
    pub fn view(&self) -> &Arc<View> {
        &self.published.view
    }

    /// The value of a key.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Value>> {
        self.published.check(tree)?;
        self.published.view.get(&self.core.opener, tree, key, self.sequence)
    }

    /// All rows of a tree, summed up. Cost: reads the whole tree.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn digest(&self, tree: TreeId) -> Result<Digest> {
        self.published.view.digest(&self.core.opener, tree, self.sequence)
    }

    /// The rows of a key range, in order, from both ends.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn scan(&self, tree: TreeId, range: (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Result<Scan> {
        self.published.check(tree)?;
        self.published.view.scan(&self.core.opener, tree, range, self.sequence)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl Published {
    fn check(&self, tree: TreeId) -> Result<()> {
        if self.view.catalog.answers(tree) { Ok(()) } else { Err(commit::not_there(tree)) }
    }
}

impl Core {
    fn metrics(&self) -> Metrics {
        let view = Arc::clone(&self.published.load().view);
        let pinned = self.obsolete.pinned(self.env.clock.monotonic());
        let held = self.manifest.state().held;
        let count = |n: usize| n as u64;
        Metrics {
            commits: read(&self.counters.commits),
            groups: read(&self.counters.groups),
            syncs: self.wal.syncs(),
            batch_bytes: read(&self.counters.batch_bytes),
            flushes: read(&self.counters.flushes),
            flushed_bytes: read(&self.counters.flushed_bytes),
            compactions: read(&self.counters.compactions),
            compacted_bytes: read(&self.counters.compacted_bytes),
            cuts: read(&self.counters.cuts),
            cut_lead_nanos: read(&self.counters.cut_lead_nanos),
            cut_sync_nanos: read(&self.counters.cut_sync_nanos),
            stalls: read(&self.counters.stalls),
            stall_nanos: read(&self.counters.stall_nanos),
            stalled_by: self.stall.get(),
            background_failures: read(&self.counters.background_failures),
            segments: view.version.segment_count(),
            files: count(view.version.file_count()),
            segment_bytes: view.version.segment_bytes(),
            memtable_bytes: view.memtables.iter().map(|memtable| count(memtable.bytes())).sum(),
            sealed_memtables: count(lock(&self.sealed).len()),
            pinned_files: pinned.files,
            pinned_bytes: pinned.bytes,
            pinned_nanos: u64::try_from(pinned.oldest.as_nanos()).unwrap_or(u64::MAX),
            held_files: count(held.file_count()),
            held_bytes: held.bytes(),
            visible_sequence: self.visible.load(Ordering::Acquire),
        }
    }
}
