//! Siltstone's storage engine: an LSM store whose immutable segments make live backups cheap.

#![forbid(unsafe_code)]

pub mod batch;
pub mod cache;
pub mod catalog;
pub mod commit;
pub mod compaction;
pub mod cursor;
pub mod cut;
pub mod error;
pub mod flush;
pub mod format;
#[cfg(any(test, feature = "internals"))]
pub mod internals;
pub mod manifest;
pub mod memtable;
pub mod merge;
pub mod options;
pub mod output;
pub mod restore;
pub mod segment;
pub mod shared_map;
pub mod store;
pub mod types;
pub mod version;
pub mod view;
pub mod wal;
