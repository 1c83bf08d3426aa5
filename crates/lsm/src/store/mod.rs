//! [`Store`]: open, write, read, snapshot, catalog, cut, restore.
//! skeleton: owner of store/

use std::{ops::Bound, path::Path, sync::Arc};

use siltstone_io::env::Env;

use crate::{
    batch::Batch,
    catalog::{Catalog, TenantStatus},
    cut::Cut,
    error::Result,
    options::{Durability, Options},
    restore::RestoreTicket,
    types::{Sequence, TreeId},
    view::{Scan, Value, View},
    wal::RecoveryReport,
};

/// An open store. Clones share it; it closes when the last is dropped or by `close`.
#[derive(Clone, Debug)]
pub struct Store {}

/// The store at one sequence.
#[derive(Clone, Debug)]
pub struct Snapshot {}

/// What one background step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step { Flushed, Compacted, Reaped, RolledManifest, PreparedLog, Idle }

/// Counters and sizes.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub commits: u64,
    pub groups: u64,
    pub wal_bytes: u64,
    pub flushes: u64,
    pub flushed_bytes: u64,
    pub compactions: u64,
    pub compacted_bytes: u64,
    pub segments: u64,
    pub files: u64,
    pub segment_bytes: u64,
    pub memtable_bytes: u64,
    pub sealed_memtables: u64,
    pub stall_nanos: u64,
    pub stalls: u64,
    pub obsolete_files: u64,
    pub pinned_obsolete_bytes: u64,
}

impl Store {
    /// Opens a folder of the operating system.
    pub fn open(_folder: &Path, _options: Options) -> Result<Self> { todo!() }
    /// Opens on any disk.
    pub fn open_on(_env: Env, _options: Options) -> Result<Self> { todo!() }
    pub fn recovery_report(&self) -> &RecoveryReport { todo!() }
    pub fn store_id(&self) -> [u8; 16] { todo!() }
    pub fn catalog(&self) -> Arc<Catalog> { todo!() }
    pub fn create_collection(&self, _name: &str) -> Result<TreeId> { todo!() }
    pub fn drop_collection(&self, _name: &str) -> Result<()> { todo!() }
    pub fn rename_collection(&self, _from: &str, _to: &str) -> Result<()> { todo!() }
    /// Creates many tenants in one edit.
    pub fn create_tenants(&self, _collection: &str, _names: &[&str]) -> Result<Vec<TreeId>> { todo!() }
    pub fn drop_tenants(&self, _collection: &str, _names: &[&str]) -> Result<()> { todo!() }
    pub fn set_tenant_status(&self, _collection: &str, _names: &[&str], _status: TenantStatus) -> Result<()> { todo!() }
    /// The tree of a collection, or of one HOT tenant. NotFound / Unavailable (COLD).
    pub fn tree(&self, _collection: &str, _tenant: Option<&str>) -> Result<TreeId> { todo!() }
    pub fn put(&self, _tree: TreeId, _key: &[u8], _value: &[u8], _durability: Durability) -> Result<Sequence> { todo!() }
    pub fn delete(&self, _tree: TreeId, _key: &[u8], _durability: Durability) -> Result<Sequence> { todo!() }
    /// Removes all rows of a tree (one range tombstone in the WAL).
    pub fn clear(&self, _tree: TreeId, _durability: Durability) -> Result<Sequence> { todo!() }
    /// Commits a batch; returns its last sequence.
    pub fn write(&self, _batch: &Batch, _durability: Durability) -> Result<Sequence> { todo!() }
    /// Makes all earlier Buffered commits durable.
    pub fn sync(&self) -> Result<()> { todo!() }
    pub fn get(&self, _tree: TreeId, _key: &[u8]) -> Result<Option<Value>> { todo!() }
    pub fn snapshot(&self) -> Snapshot { todo!() }
    /// Seals the active memtable and waits until all sealed ones are in segments.
    pub fn flush(&self) -> Result<()> { todo!() }
    /// Compacts until the picker finds nothing.
    pub fn compact(&self) -> Result<()> { todo!() }
    /// One background step (Background::Manual).
    pub fn step(&self) -> Result<Step> { todo!() }
    /// The whole store at one instant. Waits for the flush of what the memtables hold.
    pub fn cut(&self) -> Result<Cut> { todo!() }
    /// Reserves names for a restore. `Exists` (naming all conflicts) if any is taken.
    pub fn begin_restore(&self, _names: &[String]) -> Result<RestoreTicket> { todo!() }
    pub fn metrics(&self) -> Metrics { todo!() }
    /// Reads and checks every segment, and the manifest's sums.
    pub fn verify(&self, _progress: &mut dyn FnMut(u64, u64)) -> Result<()> { todo!() }
    /// Flushes and closes; later calls fail with Unavailable.
    pub fn close(&self) -> Result<()> { todo!() }
    /// The disk under the store, for backup reads of pinned files (path: `format::names::file`).
    pub fn env(&self) -> &Env { todo!() }
}

impl Snapshot {
    pub fn sequence(&self) -> Sequence { todo!() }
    pub fn catalog(&self) -> &Arc<Catalog> { todo!() }
    pub fn get(&self, _tree: TreeId, _key: &[u8]) -> Result<Option<Value>> { todo!() }
    pub fn scan(&self, _tree: TreeId, _range: (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Result<Scan> { todo!() }
    pub fn view(&self) -> &Arc<View> { todo!() }
}
