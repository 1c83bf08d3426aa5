//! RocksDB as a peer, and its `BackupEngine`. The door to rocksdb.
//!
//! Settings are RocksDB's own defaults but for these: no compression (as Siltstone has none inside
//! segments), two background jobs (for two processors), 10 bits of filter a key in blocks of 4 KiB
//! (as Siltstone has). Backups are synced, which is `BackupEngine`'s default.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rocksdb::{
    BlockBasedOptions, DB, DBCompressionType, Env, IteratorMode, Options, WaitForCompactOptions,
    WriteBatch, WriteOptions,
    backup::{BackupEngine, BackupEngineOptions, RestoreOptions},
};

use crate::{
    machine::files_below,
    pace::{Puts, Safety},
    rows::{Checker, FIRST_VERSION, key, value},
};

/// Rows of one batch of the load.
const LOAD_ROWS: u64 = 500;

/// An open store of RocksDB that holds the first `rows` rows.
pub struct Rocks {
    db: DB,
    rows: u64,
    folder: PathBuf,
}

impl fmt::Debug for Rocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rocks({} rows)", self.rows)
    }
}

impl Rocks {
    /// Makes a store, loads it, and lets it come to rest.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn load(folder: &Path, rows: u64) -> Result<Self> {
        let rocks = Self::open(folder, rows)?;
        let mut next = 0;
        while next < rows {
            let end = rows.min(next + LOAD_ROWS);
            let mut batch = WriteBatch::default();
            for index in next..end {
                batch.put(key(index), value(index, FIRST_VERSION));
            }
            rocks.db.write(batch)?;
            next = end;
        }
        rocks.settle()?;
        Ok(rocks)
    }

    /// Opens a store that was loaded or restored.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn open(folder: &Path, rows: u64) -> Result<Self> {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::None);
        options.set_max_background_jobs(2);
        options.set_block_based_table_factory(&blocks);
        let db = DB::open(&options, folder).context("RocksDB cannot be opened")?;
        Ok(Self { db, rows, folder: folder.to_path_buf() })
    }

    /// Reads every row and checks it.
    ///
    /// # Errors
    /// Names the first row that is wrong.
    pub fn check(&self) -> Result<()> {
        let mut checker = Checker::default();
        for row in self.db.iterator(IteratorMode::Start) {
            let (key, value) = row?;
            checker.row(&key, &value)?;
        }
        checker.end(self.rows)
    }

    /// Bytes of its tables on disk.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn table_bytes(&self) -> Result<u64> {
        let is_table = |path: &Path| path.extension().is_some_and(|extension| extension == "sst");
        let files = files_below(&self.folder)?;
        Ok(files.iter().filter(|(path, _)| is_table(path)).map(|(_, length)| length).sum())
    }

    /// A backup into a new folder, by so many threads.
    ///
    /// # Errors
    /// Those of RocksDB.
    pub fn back_up(&self, to: &Path, threads: i32) -> Result<()> {
        let mut engine = engine(to, threads)?;
        engine.create_new_backup_flush(&self.db, true).context("BackupEngine failed")
    }
}

/// Restores the newest backup of a folder into a new folder, by so many threads.
///
/// # Errors
/// Those of RocksDB.
pub fn restore(from: &Path, to: &Path, threads: i32) -> Result<()> {
    let mut engine = engine(from, threads)?;
    let restored = engine.restore_from_latest_backup(to, to, &RestoreOptions::default());
    restored.context("BackupEngine cannot restore")
}

fn engine(folder: &Path, threads: i32) -> Result<BackupEngine> {
    let mut options = BackupEngineOptions::new(folder)?;
    options.set_sync(true);
    options.set_max_background_operations(threads);
    BackupEngine::open(&options, &Env::new()?).context("BackupEngine cannot be opened")
}

impl Puts for Rocks {
    fn put(&self, key: &[u8], value: &[u8], safety: Safety) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(safety == Safety::Sync);
        Ok(self.db.put_opt(key, value, &options)?)
    }

    fn settle(&self) -> Result<()> {
        self.db.flush()?;
        Ok(self.db.wait_for_compact(&WaitForCompactOptions::default())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_store_has_all_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let rocks = Rocks::load(&path("store"), 2000).unwrap();
        rocks.check().unwrap();
        rocks.back_up(&path("backup"), 2).unwrap();
        restore(&path("backup"), &path("restored"), 2).unwrap();
        Rocks::open(&path("restored"), 2000).unwrap().check().unwrap();
        assert!(Rocks::open(&path("restored"), 2001).unwrap().check().is_err());
    }
}
