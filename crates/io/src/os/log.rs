//! [`OsLog`]: `pwritev` and `fdatasync` on an ordinary descriptor.
//!
//! No ring and no direct I/O: with one write under way at a time both cost more than they bring
//! (measured). The page cache serves the few reads.

use std::{fs::File, io, io::IoSlice, os::unix::fs::FileExt};

use super::sys;
use crate::{
    disk::Log,
    error::{Error, Result},
    path::RelPath,
};

/// A log file of an [`OsDisk`](super::OsDisk).
#[derive(Debug)]
pub(super) struct OsLog {
    file: File,
    path: RelPath,
}

impl OsLog {
    /// Reads and writes `file`.
    pub(super) fn new(file: File, path: &RelPath) -> Self {
        Self { file, path: path.clone() }
    }
}

impl Log for OsLog {
    fn path(&self) -> &RelPath {
        &self.path
    }

    fn len(&self) -> Result<u64> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(|error| Error::from_os("measure", &self.path, error))?.len())
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<usize> {
        let failed = |error| Error::from_os("write", &self.path, error).at(offset);
        match sys::write_parts(&self.file, offset, parts).map_err(failed)? {
            0 if parts.iter().any(|part| !part.is_empty()) => {
                Err(failed(io::ErrorKind::WriteZero.into()))
            }
            written => Ok(written),
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let read = sys::uninterrupted(|| self.file.read_at(buf, offset));
        read.map_err(|error| Error::from_os("read", &self.path, error).at(offset))
    }

    fn sync(&self) -> Result<()> {
        // Not tried again, whatever it says: a second sync that succeeds proves nothing.
        self.file.sync_data().map_err(|error| Error::from_os("sync", &self.path, error))
    }
}
