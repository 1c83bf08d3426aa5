//! What a caller chooses for a backup or a restore, and the checks of those choices.

use std::num::NonZero;

use crate::{
    error::{Error, ErrorKind, Result},
    names::NodeName,
};

/// Smallest chunk, in MiB.
pub const CHUNK_MIB_MIN: u64 = 2;

/// Largest chunk, in MiB.
pub const CHUNK_MIB_MAX: u64 = 512;

/// Least memory of a pipeline, in bytes: below it reader and uploader would wait for each other.
pub const MEMORY_BYTES_MIN: u64 = 48 << 20;

/// Most workers by default: beyond them memory is better spent on deeper queues.
const WORKERS_MAX: usize = 8;

/// How chunks are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// As they are: plain tar.
    None,
    /// gzip, fastest.
    GzipBestSpeed,
    /// gzip, its usual level.
    #[default]
    GzipDefault,
    /// gzip, smallest.
    GzipBestCompression,
}

/// What an operation concerns, by name: `COLLECTION`, or `COLLECTION/TENANT`. In either part `*` stands
/// for any characters and `?` for one, unless a name is spelled so. At most one list may hold names;
/// with neither, it is everything.
///
/// A collection of which only tenants are included has no rows of its own in the result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these.
    pub include: Vec<String>,
    /// All but these.
    pub exclude: Vec<String>,
}

/// Choices for a backup.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CreateOptions {
    /// Which collections and tenants. Default all.
    pub selection: Selection,
    /// How chunks are compressed. Default gzip.
    pub compression: Compression,
    /// Bound of a stored chunk in MiB, 2..=512. Default 128.
    pub chunk_mib: u64,
    /// Bound of the memory of the pipeline in bytes, 48 MiB or more. Default 64 MiB.
    pub memory_bytes_max: u64,
    /// Bytes of files that the store no longer needs and that only backups, snapshots and readers
    /// keep on its disk: past this the backup fails, so that writers never do. Default no limit but
    /// the reserve of free space.
    pub pinned_bytes_max: Option<u64>,
    /// The name of this node in the repository. Default `node1`.
    pub node: NodeName,
    /// Threads that read, frame and compress. Default: half of those of the machine, 1 to 8, since
    /// a live store goes on beside them.
    pub workers: usize,
}

/// Choices for a restore.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// Which collections and tenants of the backup. Default all.
    pub selection: Selection,
    /// Names of nodes: (in the backup, here). Accepted where it names the one node of the backup; the
    /// backup of one node is restored onto a node of any name without it.
    pub node_mapping: Vec<(String, String)>,
    /// New names: (`COLLECTION` or `COLLECTION/TENANT` in the backup, the new name of that alone).
    pub rename: Vec<(String, String)>,
    /// Bound of the memory of the download in bytes. Default 64 MiB.
    pub memory_bytes_max: u64,
    /// Threads that fetch, check and decompress. Default: those of the machine, at most 8.
    pub workers: usize,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            compression: Compression::default(),
            chunk_mib: 128,
            memory_bytes_max: 64 << 20,
            pinned_bytes_max: None,
            node: NodeName::default(),
            workers: (threads() / 2).clamp(1, WORKERS_MAX),
        }
    }
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            rename: Vec::new(),
            node_mapping: Vec::new(),
            memory_bytes_max: 64 << 20,
            workers: threads().min(WORKERS_MAX),
        }
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

impl CreateOptions {
    /// Checks the limits that do not depend on a store.
    ///
    /// # Errors
    /// `Invalid`, naming the option and its limits.
    pub fn check(&self) -> Result<()> {
        if !(CHUNK_MIB_MIN..=CHUNK_MIB_MAX).contains(&self.chunk_mib) {
            return Err(invalid(format!(
                "chunk size {} MiB is outside {CHUNK_MIB_MIN}..={CHUNK_MIB_MAX} MiB",
                self.chunk_mib
            )));
        }
        check_resources(self.memory_bytes_max, self.workers)
    }
}

impl RestoreOptions {
    /// Checks the limits that do not depend on a backup.
    ///
    /// # Errors
    /// `Invalid`, naming the option and its limits.
    pub fn check(&self) -> Result<()> {
        check_resources(self.memory_bytes_max, self.workers)
    }
}

fn check_resources(memory_bytes_max: u64, workers: usize) -> Result<()> {
    if memory_bytes_max < MEMORY_BYTES_MIN {
        return Err(invalid(format!(
            "memory bound {memory_bytes_max} bytes is under the least of {MEMORY_BYTES_MIN}"
        )));
    }
    if workers == 0 {
        return Err(invalid("workers must be 1 or more".to_owned()));
    }
    Ok(())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_options_are_checked() {
        assert!(CreateOptions::default().check().is_ok());
        assert!(RestoreOptions::default().check().is_ok());
        let chunk = CreateOptions { chunk_mib: 1, ..CreateOptions::default() };
        assert!(chunk.check().expect_err("small chunk").to_string().contains("2..=512"));
        let memory = CreateOptions { memory_bytes_max: 1, ..CreateOptions::default() };
        assert_eq!(memory.check().expect_err("little memory").kind(), ErrorKind::Invalid);
        let workers = RestoreOptions { workers: 0, ..RestoreOptions::default() };
        assert_eq!(workers.check().expect_err("no worker").kind(), ErrorKind::Invalid);
    }
}
