//! The stores that sections share, made when first needed, and how much is measured.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
#[cfg(feature = "rocksdb")]
use siltstone_peers::rocks::Rocks;
use siltstone_peers::{
    rows::{ROW_BYTES, rows_of},
    stone::Stone,
};

/// The least size of the large store, in bytes.
pub(crate) const SIZE_BYTES_MIN: u64 = 64 << 20;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Bytes of rows of the large store.
    pub(crate) large_bytes: u64,
    /// Rounds of what takes seconds.
    pub(crate) rounds: usize,
    /// Rounds of what takes half a minute.
    pub(crate) slow_rounds: usize,
    /// Seconds of a phase of writers.
    pub(crate) phase: Duration,
    /// Backups under 1 MiB.
    pub(crate) small_backups: usize,
    /// Tenants of the larger of two stores.
    pub(crate) tenants: usize,
}

impl Effort {
    pub(crate) fn full(size: Option<u64>) -> Self {
        Self {
            large_bytes: size.unwrap_or(4 << 30),
            rounds: 10,
            slow_rounds: 3,
            phase: Duration::from_secs(3),
            small_backups: 50,
            tenants: 10_000,
        }
    }

    pub(crate) fn quick(size: Option<u64>) -> Self {
        Self {
            large_bytes: size.unwrap_or(1 << 30),
            rounds: 4,
            slow_rounds: 1,
            phase: Duration::from_secs(2),
            small_backups: 20,
            tenants: 10_000,
        }
    }
}

/// The stores, in a folder that is removed at the end.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) folder: PathBuf,
    pub(crate) effort: Effort,
    /// The peers that are there.
    pub(crate) peers: Vec<&'static str>,
    large: Option<Stone>,
    small: Option<Stone>,
}

/// Which of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Large,
    Small,
}

impl World {
    pub(crate) fn new(folder: PathBuf, effort: Effort, peers: Vec<&'static str>) -> Self {
        Self { folder, effort, peers, large: None, small: None }
    }

    /// Whether a peer is there.
    pub(crate) fn has(&self, peer: &str) -> bool {
        self.peers.contains(&peer)
    }

    /// A path of the temporary folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Rows of a store; the small one holds a quarter.
    pub(crate) fn rows(&self, size: Size) -> u64 {
        match size {
            Size::Large => rows_of(self.effort.large_bytes),
            Size::Small => rows_of(self.effort.large_bytes / 4),
        }
    }

    /// Bytes of keys and values of a store.
    pub(crate) fn bytes(&self, size: Size) -> u64 {
        self.rows(size) * ROW_BYTES
    }

    /// The folder of a store.
    pub(crate) fn stone_folder(&self, size: Size) -> PathBuf {
        self.path(match size {
            Size::Large => "store-large",
            Size::Small => "store-small",
        })
    }

    /// Makes sure that a store of Siltstone is there and open.
    pub(crate) fn load(&mut self, size: Size) -> Result<()> {
        let (folder, rows) = (self.stone_folder(size), self.rows(size));
        let place = match size {
            Size::Large => &mut self.large,
            Size::Small => &mut self.small,
        };
        if place.is_none() {
            let stone = if folder.exists() {
                Stone::open(&folder, rows)
            } else {
                Stone::load(&folder, siltstone_lsm::options::Options::default(), rows)
            };
            *place = Some(stone.context("the store to be measured")?);
        }
        Ok(())
    }

    /// A store that was loaded.
    pub(crate) fn stone(&self, size: Size) -> Result<&Stone> {
        let stone = match size {
            Size::Large => &self.large,
            Size::Small => &self.small,
        };
        stone.as_ref().context("the store is not loaded")
    }

    /// Closes a store whose rows have changed, and removes it.
    pub(crate) fn discard(&mut self, size: Size) -> Result<()> {
        self.close(size);
        clear(&self.stone_folder(size))
    }

    /// Closes a store, so that another process may open it.
    pub(crate) fn close(&mut self, size: Size) {
        match size {
            Size::Large => self.large = None,
            Size::Small => self.small = None,
        }
    }

    /// A store of RocksDB with the same rows, opened or made.
    #[cfg(feature = "rocksdb")]
    pub(crate) fn rocks(&self, size: Size) -> Result<Rocks> {
        let folder = self.rocks_folder(size);
        if folder.exists() {
            Rocks::open(&folder, self.rows(size))
        } else {
            Rocks::load(&folder, self.rows(size))
        }
    }

    /// Removes a store of RocksDB, which must be closed.
    #[cfg(feature = "rocksdb")]
    pub(crate) fn clear_rocks(&self, size: Size) -> Result<()> {
        clear(&self.rocks_folder(size))
    }

    #[cfg(feature = "rocksdb")]
    fn rocks_folder(&self, size: Size) -> PathBuf {
        self.path(match size {
            Size::Large => "rocksdb-large",
            Size::Small => "rocksdb-small",
        })
    }
}

/// Removes a folder or a file, if it is there.
pub(crate) fn clear(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
