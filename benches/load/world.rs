//! The store under load, and what is known about each of its rows.
//!
//! A row is written by one writer alone, with versions 1, 2, 3... Before a version is handed to the
//! store it is noted as assigned, and once acknowledged as that. So a read is right exactly if its
//! value is whole, names its row, and is a version between the one acknowledged before the read
//! began and the one assigned when it had ended: neither older, nor from nowhere.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context, Result, ensure};
use siltstone_benches::{key, version_of};
use siltstone_io::env::{Clock, SystemClock};
use siltstone_lsm::{options::Options, store::Store, types::TreeId};

use crate::Args;

const COLLECTION: &str = "rows";

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) tree: TreeId,
    pub(crate) clock: SystemClock,
    pub(crate) writers: u64,
    pub(crate) readers: u64,
    pub(crate) keys: u64,
    pub(crate) seed: u64,
    pub(crate) value_bytes: usize,
    folder: PathBuf,
    /// By row, the last version handed to the store, and the last acknowledged.
    assigned: Vec<AtomicU64>,
    acknowledged: Vec<AtomicU64>,
}

impl World {
    /// An empty store in a folder to be made.
    pub(crate) fn create(folder: &Path, args: &Args) -> Result<Self> {
        let store = Store::open(folder, Options::default())?;
        let versions = || (0..args.keys).map(|_| AtomicU64::new(0)).collect();
        Ok(Self {
            tree: store.create_collection(COLLECTION)?,
            store,
            clock: SystemClock::default(),
            writers: args.writers,
            readers: args.readers,
            keys: args.keys,
            seed: args.seed,
            value_bytes: usize::try_from(args.value_bytes)?,
            folder: folder.to_path_buf(),
            assigned: versions(),
            acknowledged: versions(),
        })
    }

    /// Closes the store and opens it again.
    pub(crate) fn reopen(self) -> Result<Self> {
        self.store.close()?;
        let Self { store, folder, .. } = self;
        drop(store); // frees the lock
        let store = Store::open(&folder, Options::default())?;
        Ok(Self { tree: store.tree(COLLECTION, None)?, store, folder, ..self })
    }

    /// How streams run, if not on io_uring with direct I/O.
    pub(crate) fn stream_engine_note(&self) -> Option<String> {
        self.store.env().disk.stream_engine_note()
    }

    /// Bytes of one row.
    pub(crate) fn row_bytes(&self) -> u64 {
        (siltstone_benches::KEY_BYTES + self.value_bytes) as u64
    }

    /// Time since some fixed moment, in nanoseconds.
    pub(crate) fn nanos(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Takes the next version of a row, which the caller alone writes.
    pub(crate) fn assign(&self, index: u64) -> u64 {
        cell(&self.assigned, index).fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Notes that the store has acknowledged a version.
    pub(crate) fn acknowledge(&self, index: u64, version: u64) {
        cell(&self.acknowledged, index).store(version, Ordering::SeqCst);
    }

    /// The version of a row that was acknowledged last.
    pub(crate) fn acknowledged(&self, index: u64) -> u64 {
        cell(&self.acknowledged, index).load(Ordering::SeqCst)
    }

    /// Checks what a read has given; `least` is what was acknowledged before it began.
    pub(crate) fn check(
        &self,
        index: u64,
        least: u64,
        value: Option<&[u8]>,
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let most = cell(&self.assigned, index).load(Ordering::SeqCst);
        let name = String::from_utf8_lossy(&key(index)).into_owned();
        let value = value.with_context(|| format!("row {index} ({name}) is gone"))?;
        ensure!(value.len() == self.value_bytes, "row {index} ({name}) has {} bytes", value.len());
        let version = version_of(value, index, scratch);
        let version = version.with_context(|| format!("row {index} ({name}) is damaged"))?;
        ensure!(
            (least..=most).contains(&version),
            "row {index} ({name}) has version {version}, not {least} to {most}"
        );
        Ok(())
    }
}

fn cell(cells: &[AtomicU64], index: u64) -> &AtomicU64 {
    &cells[usize::try_from(index).expect("rows are counted in memory")]
}
