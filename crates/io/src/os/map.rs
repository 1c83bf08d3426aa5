//! [`MappedBlocks`]: an immutable file as memory.
//!
//! Reads cost no copy and no call, but a device that cannot deliver a page kills the process
//! (`SIGBUS`), and so would a file that is truncated while mapped. The second never happens:
//! published files are not written again, and the lock file keeps other engines out.

#![expect(unsafe_code, reason = "maps a file; see `MappedBlocks::new`")]

use std::{fs::File, io};

use memmap2::Mmap;

use crate::{disk::BlockSource, error::Result, path::RelPath};

/// A mapped file of an [`OsDisk`](super::OsDisk).
#[derive(Debug)]
pub(super) struct MappedBlocks {
    /// `None` if the file is empty: no bytes cannot be mapped.
    map: Option<Mmap>,
    path: RelPath,
}

impl MappedBlocks {
    /// Maps the whole file.
    pub(super) fn new(file: &File, len: u64, path: &RelPath) -> io::Result<Self> {
        let map = if len == 0 {
            None
        } else {
            // SAFETY: The bytes of a map must not change while it lives. The file is immutable once
            // it is published, which is the contract of `Disk::open_blocks`; removing its name
            // changes no byte. Other programs that write to the folder of a store break more than
            // this.
            Some(unsafe { Mmap::map(file) }?)
        };
        Ok(Self { map, path: path.clone() })
    }

    fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }
}

impl BlockSource for MappedBlocks {
    fn path(&self) -> &RelPath {
        &self.path
    }

    fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let bytes = self.bytes();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let len = buf.len().min(bytes.len() - start);
        buf[..len].copy_from_slice(&bytes[start..start + len]);
        Ok(len)
    }

    fn mapped(&self) -> Option<&[u8]> {
        Some(self.bytes())
    }
}
