//! The seam: what Siltstone asks of a disk.
//!
//! Three doors carry data. A [`Log`] is written at positions and synced (WAL, manifest, journal). A
//! [`StreamWriter`] or [`StreamReader`] moves a file or a range of one in sequence, in large pieces
//! (flush, compaction, backup, restore). A [`BlockSource`] answers positioned reads of an immutable
//! file. Folders have operations of their own, and a name is durable only after
//! [`Disk::sync_dir`] of its folder.
//!
//! Reads and writes of [`Log`] and [`BlockSource`] may be short, as the operating system's are;
//! [`crate::exact`] is the one place that loops.

use std::{fmt, io::IoSlice, ops::Range, sync::Arc, time::Duration};

use crate::{buffer::Piece, error::Result, path::RelPath};

/// Bytes of one stream piece: large enough to run a device at its speed with four in flight.
pub const STREAM_PIECE_BYTES: usize = 1 << 20;

/// Alignment of direct I/O in files and in memory, in bytes.
pub const DIRECT_ALIGN: usize = 4096;

/// A folder on some disk, real or simulated.
///
/// All paths are relative to the folder. Nothing here is durable by itself: file data is after a
/// sync of the file, names are after [`Disk::sync_dir`] of their folder.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Creates one folder, mode 0700.
    ///
    /// # Errors
    /// `Exists`, `NotFound` (no parent), or what the system says.
    fn create_dir(&self, path: &RelPath) -> Result<()>;

    /// Lists a folder, in no particular order (the simulated disk shuffles).
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn list(&self, dir: &RelPath) -> Result<Vec<DirEntry>>;

    /// Renames a file within the disk; `mode` says what to do when `to` exists.
    ///
    /// # Errors
    /// `NotFound`; `Exists` under [`Rename::NoReplace`]; or what the system says.
    fn rename(&self, from: &RelPath, to: &RelPath, mode: Rename) -> Result<()>;

    /// Removes a file. Open readers keep their bytes.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn remove(&self, path: &RelPath) -> Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn remove_dir(&self, path: &RelPath) -> Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the system says; afterwards the names are in an unknown state.
    fn sync_dir(&self, dir: &RelPath) -> Result<()>;

    /// The length of a file in bytes.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn file_len(&self, path: &RelPath) -> Result<u64>;

    /// When a file was last written, since 1970-01-01 UTC by the disk's clock; `None` on a disk that
    /// has no clock. Nothing of the engine is ordered by it.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn modified(&self, path: &RelPath) -> Result<Option<Duration>>;

    /// Bytes that an ordinary user may still write.
    ///
    /// # Errors
    /// What the system says.
    fn free_bytes(&self) -> Result<u64>;

    /// Why streams do not run as fast as they could, if they do not: io_uring is not allowed, its
    /// buffers could not be registered, or the file system does not take direct I/O. Known once the
    /// first stream was opened. For a log or a status page, once.
    fn stream_engine_note(&self) -> Option<String> {
        None
    }

    /// What the disk's own threads have done for streams since it was opened. Zero where streams
    /// run on their callers' threads alone.
    fn stream_work(&self) -> StreamWork {
        StreamWork::default()
    }

    /// Takes the exclusive lock file `path`, creating it if absent, and writes `note` (such as the
    /// process id) into it. Freed when the guard drops or the process dies.
    ///
    /// # Errors
    /// `Locked`, with the holder's note in the message, when another holder is alive.
    fn lock(&self, path: &RelPath, note: &str) -> Result<Box<dyn LockGuard>>;

    /// Creates a log file, mode 0600; it must not exist.
    ///
    /// # Errors
    /// `Exists`, `NoSpace`, or what the system says.
    fn create_log(&self, path: &RelPath) -> Result<Arc<dyn Log>>;

    /// Opens an existing log file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn open_log(&self, path: &RelPath) -> Result<Arc<dyn Log>>;

    /// Creates a file to be written once, front to back, mode 0600; it must not exist.
    /// `len_hint` is the expected final length in bytes, allocated ahead; 0 if unknown.
    ///
    /// # Errors
    /// `Exists`, `NoSpace`, or what the system says.
    fn create_stream(&self, path: &RelPath, len_hint: u64) -> Result<Box<dyn StreamWriter>>;

    /// Reads a byte range of an immutable file front to back. Neither end need be aligned.
    ///
    /// # Errors
    /// `NotFound`, `UnexpectedEnd` if the range passes the end of the file, or what the system says.
    fn open_stream(&self, path: &RelPath, range: Range<u64>) -> Result<Box<dyn StreamReader>>;

    /// Opens an immutable file for positioned reads.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn open_blocks(&self, path: &RelPath, mode: ReadMode) -> Result<Arc<dyn BlockSource>>;
}

/// What the threads of a disk have done for all streams together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamWork {
    /// Processor time they used.
    pub cpu: Duration,
    /// Bytes they moved.
    pub bytes: u64,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The last component of the path.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
}

/// What [`Disk::rename`] does when the target exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rename {
    /// The target is replaced in one step.
    Replace,
    /// The target makes the rename fail with `Exists`.
    NoReplace,
}

/// How positioned reads of a file are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadMode {
    /// Direct reads past the page cache: a device error is an error of that read alone.
    #[default]
    Direct,
    /// A memory map: no copy, but a device read error kills the process (SIGBUS).
    Map,
}

/// Holds a lock file until dropped.
pub trait LockGuard: fmt::Debug + Send + Sync {}

/// A file written at positions and synced: WAL, manifest, journal.
///
/// Bytes never written read as zero; reads past the end are short. One writer at a time is the
/// caller's promise; reads may run beside it.
#[expect(clippy::len_without_is_empty, reason = "nobody asks whether a log is empty")]
pub trait Log: fmt::Debug + Send + Sync {
    /// The path on its disk, for messages.
    fn path(&self) -> &RelPath;

    /// The current length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> Result<u64>;

    /// Writes the parts one after another from `offset`; returns the bytes written, maybe fewer
    /// than asked, never 0 for a non-empty write. Extends the file where needed.
    ///
    /// # Errors
    /// `NoSpace`, or what the system says.
    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<usize>;

    /// Reads from `offset`; returns the bytes read, maybe fewer than asked, 0 at the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Makes all written bytes and the length durable (`fdatasync`).
    ///
    /// After an error what is durable is unknown, and a retry that succeeds proves nothing:
    /// the caller must stop using the log.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self) -> Result<()>;
}

/// A new file, written front to back.
///
/// Dropping it unfinished abandons the file: its content is undefined and the caller removes it.
pub trait StreamWriter: fmt::Debug + Send {
    /// Appends bytes; they may reach the disk later.
    ///
    /// # Errors
    /// `NoSpace`, or what the system says; also errors of earlier writes. The stream is then dead.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Writes what is left, sets the final length and syncs the file (not its folder). Returns the
    /// length in bytes.
    ///
    /// # Errors
    /// As [`StreamWriter::write`]; the caller then removes the file.
    fn finish(self: Box<Self>) -> Result<u64>;
}

/// A range of an immutable file, read front to back.
pub trait StreamReader: fmt::Debug + Send {
    /// The next piece in file order, 1 to [`STREAM_PIECE_BYTES`] bytes; `None` after the last.
    /// Holding many pieces holds the reader's buffers: drop them to let it go on.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEnd` if the file is shorter than the range.
    fn next_piece(&mut self) -> Result<Option<Piece>>;
}

/// An immutable file that answers positioned reads from many threads.
pub trait BlockSource: fmt::Debug + Send + Sync {
    /// The path on its disk, for messages.
    fn path(&self) -> &RelPath;

    /// The length in bytes when it was opened.
    fn len(&self) -> u64;

    /// Whether the file is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads from `offset`; returns the bytes read, maybe fewer than asked, 0 at the end. Neither
    /// offset nor buffer need be aligned.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Serves many reads at once; each gets its own result, and each may be short.
    fn read_batch(&self, reads: &mut [BlockRead<'_>]) {
        for read in reads {
            read.result = self.read_at(read.offset, read.buf);
        }
    }

    /// The whole file as mapped memory, when it is open in [`ReadMode::Map`].
    fn mapped(&self) -> Option<&[u8]> {
        None
    }
}

/// One read of a batch.
#[derive(Debug)]
pub struct BlockRead<'a> {
    /// Where to read, in bytes from the start of the file.
    pub offset: u64,
    /// Where to put the bytes.
    pub buf: &'a mut [u8],
    /// The bytes read, set by [`BlockSource::read_batch`].
    pub result: Result<usize>,
}
