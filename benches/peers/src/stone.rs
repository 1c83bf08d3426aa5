//! The stores of Siltstone that are measured: loaded, compacted, and checked row by row.

use std::{
    fmt,
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use siltstone_backup::{
    api::Backups,
    backend::{self, Backend, BackendConfig},
    operation::Summary,
    options::{Compression, CreateOptions, RestoreOptions},
};
use siltstone_lsm::{
    batch::Batch,
    format::names,
    options::{Durability, Options},
    store::Store,
    types::TreeId,
};

use crate::{
    machine,
    pace::{Puts, Safety},
    rows::{Checker, FIRST_VERSION, key, value},
};

/// The collection of all rows.
pub const COLLECTION: &str = "rows";

/// Rows of one batch of the load.
const LOAD_ROWS: u64 = 500;

/// An open store that holds the first `rows` rows.
pub struct Stone {
    /// The store.
    pub store: Store,
    /// Its backups.
    pub backups: Backups,
    /// Where its rows are.
    pub tree: TreeId,
    /// How many there are.
    pub rows: u64,
    folder: PathBuf,
}

impl fmt::Debug for Stone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stone({} rows)", self.rows)
    }
}

impl Stone {
    /// Makes a store, loads it, and lets it come to rest.
    ///
    /// # Errors
    /// Those of the store.
    pub fn load(folder: &Path, options: Options, rows: u64) -> Result<Self> {
        let store = Store::open(folder, options)?;
        let tree = store.create_collection(COLLECTION)?;
        let stone = Self::new(store, tree, rows, folder)?;
        stone.append(0..rows)?;
        stone.settle()?;
        Ok(stone)
    }

    /// Opens a store that was loaded.
    ///
    /// # Errors
    /// Those of the store.
    pub fn open(folder: &Path, rows: u64) -> Result<Self> {
        let store = Store::open(folder, Options::default())?;
        let tree = store.tree(COLLECTION, None)?;
        Self::new(store, tree, rows, folder)
    }

    fn new(store: Store, tree: TreeId, rows: u64, folder: &Path) -> Result<Self> {
        let backups = Backups::new(store.clone())?;
        Ok(Self { store, backups, tree, rows, folder: folder.to_path_buf() })
    }

    /// Writes rows, buffered, in batches.
    ///
    /// # Errors
    /// Those of the store.
    pub fn append(&self, rows: std::ops::Range<u64>) -> Result<()> {
        let mut next = rows.start;
        while next < rows.end {
            let end = rows.end.min(next + LOAD_ROWS);
            let mut batch = Batch::new();
            for index in next..end {
                batch.put(self.tree, &key(index), &value(index, FIRST_VERSION))?;
            }
            self.store.write(batch, Durability::Buffered)?;
            next = end;
        }
        Ok(())
    }

    /// Reads every row and checks it.
    ///
    /// # Errors
    /// Names the first row that is wrong.
    pub fn check(&self) -> Result<()> {
        let mut checker = Checker::default();
        let everything = (Bound::Unbounded, Bound::Unbounded);
        for row in self.store.snapshot().scan(self.tree, everything)? {
            let (key, value) = row?;
            checker.row(&key, &value)?;
        }
        checker.end(self.rows)
    }

    /// The folder of its segment files.
    pub fn files(&self) -> PathBuf {
        self.folder.join(names::FILES)
    }

    /// The lengths of its segment files, in bytes.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn file_lengths(&self) -> Result<Vec<u64>> {
        let files = machine::files_below(&self.files())?;
        Ok(files.into_iter().map(|(_, length)| length).collect())
    }

    /// Makes a backup with what is the default of everything but the compression.
    ///
    /// # Errors
    /// Those of the backup.
    pub fn back_up(
        &self,
        backend: &Arc<dyn Backend>,
        id: &str,
        compression: Compression,
    ) -> Result<Summary> {
        let mut options = CreateOptions::default();
        options.compression = compression;
        Ok(self.backups.create(backend, id, options)?.wait()?)
    }

    /// Restores a backup into a new store.
    ///
    /// # Errors
    /// Those of the restore.
    pub fn restore(backend: &Arc<dyn Backend>, id: &str, to: &Path, rows: u64) -> Result<Self> {
        let store = Store::open(to, Options::default())?;
        let backups = Backups::new(store.clone())?;
        backups.restore(backend, id, RestoreOptions::default())?.wait()?;
        let tree = store.tree(COLLECTION, None)?;
        Self::new(store, tree, rows, to)
    }
}

impl Puts for Stone {
    fn put(&self, key: &[u8], value: &[u8], safety: Safety) -> Result<()> {
        let durability = match safety {
            Safety::Buffered => Durability::Buffered,
            Safety::Sync => Durability::Sync,
        };
        self.store.put(self.tree, key, value, durability)?;
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.store.flush()?;
        self.store.compact()?;
        Ok(self.store.reap()?)
    }
}

/// A folder as a backend, made if need be.
///
/// # Errors
/// Those of the system.
pub fn folder_backend(folder: &Path) -> Result<Arc<dyn Backend>> {
    let made = std::fs::create_dir_all(folder);
    made.with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(backend::open(&BackendConfig::Folder(folder.to_path_buf()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_store_has_all_rows_and_a_missing_one_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut stone = Stone::load(&path("store"), Options::default(), 2000).unwrap();
        stone.check().unwrap();
        let backend = folder_backend(&path("backups")).unwrap();
        stone.back_up(&backend, "one", Compression::None).unwrap();
        let restored = Stone::restore(&backend, "one", &path("restored"), 2000).unwrap();
        restored.check().unwrap();
        stone.rows += 1;
        assert!(stone.check().is_err());
    }
}
