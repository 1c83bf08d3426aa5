//! [`DirectBlocks`]: positioned reads past the page cache.
//!
//! The kernel wants aligned offsets and memory, the caller has neither, so a read is rounded out to
//! whole blocks of 4 KiB into a scratch buffer of its thread and the middle is copied. A scratch
//! buffer grows to at most [`SCRATCH_BYTES_MAX`]; longer reads are short ones.
//!
//! Limitation: `read_batch` reads one by one, on the caller's thread.

use std::{
    cell::RefCell,
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    memory::Buffer,
    note::{self, Notes},
    sys,
    transfer::DataFile,
};
use crate::{
    disk::{BlockSource, DIRECT_ALIGN},
    error::{Error, Result},
    path::RelPath,
};

/// Most bytes of one direct read, and of scratch memory a thread keeps.
const SCRATCH_BYTES_MAX: usize = 128 << 10;

const EINVAL: i32 = 22;

thread_local! {
    static SCRATCH: RefCell<Option<Buffer>> = const { RefCell::new(None) };
}

/// A file of an [`OsDisk`](super::OsDisk), read in blocks.
#[derive(Debug)]
pub(super) struct DirectBlocks {
    file: File,
    path: RelPath,
    len: u64,
    /// Whether the file is open past the page cache; its file system may refuse.
    direct: AtomicBool,
    notes: Arc<Notes>,
}

impl DirectBlocks {
    /// Reads a file of `len` bytes.
    pub(super) fn new(file: DataFile, len: u64, notes: &Arc<Notes>) -> Self {
        let DataFile { file, path, direct } = file;
        Self { file, path, len, direct: AtomicBool::new(direct), notes: Arc::clone(notes) }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if self.direct.load(Ordering::Relaxed) {
            match self.read_direct(offset, buf) {
                Err(error) if error.raw_os_error() == Some(EINVAL) => {
                    sys::clear_direct(&self.file)?;
                    self.direct.store(false, Ordering::Relaxed);
                    self.notes.add(note::NOT_DIRECT);
                }
                read => return read,
            }
        }
        sys::uninterrupted(|| self.file.read_at(buf, offset))
    }

    fn read_direct(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rounded = Rounded::new(offset, buf.len());
        SCRATCH.with_borrow_mut(|scratch| {
            let scratch = grown(scratch, rounded.len);
            let into = &mut scratch[..rounded.len];
            let read = sys::uninterrupted(|| self.file.read_at(into, rounded.start))?;
            let found = &scratch[rounded.head.min(read)..read];
            let len = found.len().min(buf.len());
            buf[..len].copy_from_slice(&found[..len]);
            match len {
                // The caller would take it for the end of the file.
                0 => Err(io::Error::other("the device gave less than one block")),
                len => Ok(len),
            }
        })
    }
}

/// A read rounded out to whole blocks.
#[derive(Debug, PartialEq, Eq)]
struct Rounded {
    /// The aligned offset to read from.
    start: u64,
    /// Bytes before the first that was asked for.
    head: usize,
    /// Aligned bytes to read.
    len: usize,
}

impl Rounded {
    fn new(offset: u64, wanted: usize) -> Self {
        let head = offset % DIRECT_ALIGN as u64;
        let start = offset - head;
        let head = usize::try_from(head).expect("less than the alignment");
        let wanted = wanted.min(SCRATCH_BYTES_MAX - head);
        Self { start, head, len: (head + wanted).next_multiple_of(DIRECT_ALIGN) }
    }
}

fn grown(scratch: &mut Option<Buffer>, len: usize) -> &mut Buffer {
    debug_assert!(len <= SCRATCH_BYTES_MAX, "reads are cut to the scratch memory");
    let large_enough = scratch.take().filter(|scratch| scratch.len() >= len);
    scratch.insert(large_enough.unwrap_or_else(|| Buffer::alone(len.next_power_of_two())))
}

impl BlockSource for DirectBlocks {
    fn path(&self) -> &RelPath {
        &self.path
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if offset >= self.len || buf.is_empty() {
            return Ok(0);
        }
        let read = self.read(offset, buf);
        read.map_err(|error| Error::from_os("read", &self.path, error).at(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_rounded_out_to_whole_blocks() {
        let rounded = |start, head, len| Rounded { start, head, len };
        assert_eq!(Rounded::new(0, 1), rounded(0, 0, 4096));
        assert_eq!(Rounded::new(4095, 1), rounded(0, 4095, 4096));
        assert_eq!(Rounded::new(4095, 2), rounded(0, 4095, 8192));
        assert_eq!(Rounded::new(8192, 4096), rounded(8192, 0, 4096));
        assert_eq!(Rounded::new(8193, 4096), rounded(8192, 1, 8192));
    }

    #[test]
    fn long_reads_are_cut_to_the_scratch_memory() {
        for offset in [0, 1, 4095] {
            assert_eq!(Rounded::new(offset, 10 << 20).len, SCRATCH_BYTES_MAX);
        }
    }
}
