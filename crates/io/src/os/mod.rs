//! [`OsDisk`]: a folder of the operating system.
//!
//! - Names: system calls relative to the open folder (`sys`), modes 0700 and 0600, symbolic links
//!   never followed.
//! - Logs: buffered `pwritev` and `fdatasync` (`log`).
//! - Streams: direct I/O (`stream`) on one io_uring (`ring`) whose thread starts with the first
//!   stream of the disk and sleeps when none has anything to do. Where the kernel does not allow
//!   io_uring, blocking calls do the same work with the same results (`lane`).
//! - Blocks: direct positioned reads (`blocks`), or a map (`map`).
//!
//! A file system without direct I/O is read and written through the page cache, with blocking
//! calls. [`Disk::stream_engine_note`] says which of these happened and why.
//!
//! Memory. Streams borrow pieces of 1 MiB from one pool (`memory`): a reader has at most 4 MiB
//! that it has not handed out, a writer at most 5 MiB. At most 8 MiB stay registered with the kernel
//! once a stream was opened; the rest is freed when the last stream closes.

mod allocator;
mod blocks;
mod lane;
mod lock;
mod log;
mod map;
mod memory;
mod note;
mod ring;
mod stream;
mod sys;
#[cfg(test)]
mod tests;
mod transfer;

use std::{
    fs::File,
    io,
    ops::Range,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use self::{
    blocks::DirectBlocks,
    lane::{BlockingLane, Lane},
    log::OsLog,
    map::MappedBlocks,
    memory::{Lease, Pool},
    note::Notes,
    ring::{Ring, RingSettings},
    stream::{Reader, Writer},
    sys::Access,
    transfer::{DataFile, Transfer},
};
use crate::{
    disk::{
        BlockSource, DirEntry, Disk, LockGuard, Log, ReadMode, Rename, StreamReader, StreamWork,
        StreamWriter,
    },
    error::{Error, ErrorKind, Result},
    path::RelPath,
};

pub use self::allocator::return_large_blocks;
pub use self::sys::lower_priority;
pub(crate) use self::sys::thread_cpu;

/// How [`OsDisk`] moves streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEngine {
    /// io_uring where the kernel allows it, else blocking calls;
    /// [`Disk::stream_engine_note`] says so.
    #[default]
    Auto,
    /// Blocking calls only.
    Blocking,
}

/// A folder of the operating system.
#[derive(Debug)]
pub struct OsDisk {
    root: File,
    settings: Settings,
    ring: OnceLock<Option<Arc<Ring>>>,
    pool: Arc<Pool>,
    notes: Arc<Notes>,
}

/// What tests change.
#[derive(Clone, Copy, Debug, Default)]
struct Settings {
    engine: StreamEngine,
    ring: RingSettings,
    caching: Caching,
}

/// Whether file data goes through the page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Caching {
    /// Past it, where the file system can.
    #[default]
    Direct,
    /// Through it, as on a file system that cannot do better.
    #[cfg(test)]
    Buffered,
}

impl OsDisk {
    /// Opens a folder, creating it (one level, mode 0700) if it does not exist.
    ///
    /// # Errors
    /// `NotFound` if the parent does not exist either, or what the system says.
    pub fn open(root: &Path, engine: StreamEngine) -> Result<Self> {
        match sys::create_root(root) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::from_os("create", root.display(), error)),
        }
        Self::open_existing(root, engine)
    }

    /// Opens a folder that exists.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    pub fn open_existing(root: &Path, engine: StreamEngine) -> Result<Self> {
        Self::with_settings(root, Settings { engine, ..Settings::default() })
    }

    fn with_settings(root: &Path, settings: Settings) -> Result<Self> {
        let opened = sys::open_root(root);
        let root = opened.map_err(|error| Error::from_os("open", root.display(), error))?;
        Ok(Self {
            root,
            settings,
            ring: OnceLock::new(),
            pool: Arc::default(),
            notes: Arc::default(),
        })
    }

    /// The ring, started if this is the first stream; `None` where blocking calls must do.
    fn ring(&self) -> Option<&Arc<Ring>> {
        let ring = self.ring.get_or_init(|| match self.settings.engine {
            StreamEngine::Auto => self.start_ring(),
            StreamEngine::Blocking => None,
        });
        ring.as_ref()
    }

    fn start_ring(&self) -> Option<Arc<Ring>> {
        match Ring::start(&self.pool, self.settings.ring) {
            Ok((ring, refusal)) => {
                if let Some(error) = refusal {
                    self.notes.add(format!(
                        "no memory could be registered with io_uring ({error}); \
                         raise the limit of locked memory (ulimit -l)"
                    ));
                }
                Some(Arc::new(ring))
            }
            Err(error) => {
                let note = format!("io_uring is not available ({error}); blocking calls are used");
                self.notes.add(note);
                None
            }
        }
    }

    fn open_file(&self, path: &RelPath, access: Access) -> Result<File> {
        let operation = if access == Access::Create { "create" } else { "open" };
        named(sys::open_file(&self.root, path, access), operation, path)
    }

    /// Switches the file to direct I/O if its file system can.
    fn make_direct(&self, file: File, path: &RelPath) -> Result<DataFile> {
        let direct = match self.settings.caching {
            Caching::Direct => named(sys::set_direct(&file), "open", path)?,
            #[cfg(test)]
            Caching::Buffered => false,
        };
        if !direct {
            self.notes.add(note::NOT_DIRECT);
        }
        Ok(DataFile { file, path: path.clone(), direct })
    }

    fn transfer(&self, file: File, path: &RelPath) -> Result<Transfer> {
        let file = self.make_direct(file, path)?;
        let duplicate = named(file.file.try_clone(), "open", path)?;
        let ring = if file.direct { self.ring() } else { None };
        let lane: Box<dyn Lane> = match ring {
            Some(ring) => Box::new(ring.lane(duplicate)),
            None => Box::new(BlockingLane::new(duplicate)),
        };
        Ok(Transfer::new(lane, file, &self.notes))
    }

    fn open_to_read(&self, path: &RelPath) -> Result<(File, u64)> {
        let file = self.open_file(path, Access::Read)?;
        let len = named(file.metadata(), "open", path)?.len();
        Ok((file, len))
    }
}

/// Puts the operation and the path into an error of the system.
fn named<T>(result: io::Result<T>, operation: &'static str, path: &RelPath) -> Result<T> {
    result.map_err(|error| Error::from_os(operation, path, error))
}

impl Disk for OsDisk {
    fn create_dir(&self, path: &RelPath) -> Result<()> {
        named(sys::create_dir(&self.root, path), "create the folder", path)
    }

    fn list(&self, dir: &RelPath) -> Result<Vec<DirEntry>> {
        named(sys::list(&self.root, dir), "list", dir)
    }

    fn rename(&self, from: &RelPath, to: &RelPath, mode: Rename) -> Result<()> {
        sys::rename(&self.root, from, to, mode)
            .map_err(|error| Error::from_os("rename", from, error).because(format!("to '{to}'")))
    }

    fn remove(&self, path: &RelPath) -> Result<()> {
        named(sys::remove(&self.root, path), "remove", path)
    }

    fn remove_dir(&self, path: &RelPath) -> Result<()> {
        named(sys::remove_dir(&self.root, path), "remove the folder", path)
    }

    fn sync_dir(&self, dir: &RelPath) -> Result<()> {
        let synced = sys::open_dir(&self.root, dir).and_then(|folder| folder.sync_all());
        named(synced, "sync the folder", dir)
    }

    fn file_len(&self, path: &RelPath) -> Result<u64> {
        named(sys::file_len(&self.root, path), "measure", path)
    }

    fn modified(&self, path: &RelPath) -> Result<Option<Duration>> {
        named(sys::modified(&self.root, path), "look up", path)
    }

    fn free_bytes(&self) -> Result<u64> {
        named(sys::free_bytes(&self.root), "measure the free space of", &RelPath::root())
    }

    fn stream_engine_note(&self) -> Option<String> {
        self.notes.joined()
    }

    fn stream_work(&self) -> StreamWork {
        let ring = self.ring.get().and_then(Option::as_ref);
        ring.map_or_else(StreamWork::default, |ring| ring.work())
    }

    fn lock(&self, path: &RelPath, note: &str) -> Result<Box<dyn LockGuard>> {
        let created = match self.open_file(path, Access::Create) {
            Err(error) if error.kind() == ErrorKind::Exists => {
                self.open_file(path, Access::ReadWrite) // never removed, so it stays there
            }
            created => created,
        };
        lock::take(created?, path, note)
    }

    fn create_log(&self, path: &RelPath) -> Result<Arc<dyn Log>> {
        Ok(Arc::new(OsLog::new(self.open_file(path, Access::Create)?, path)))
    }

    fn open_log(&self, path: &RelPath) -> Result<Arc<dyn Log>> {
        Ok(Arc::new(OsLog::new(self.open_file(path, Access::ReadWrite)?, path)))
    }

    fn create_stream(&self, path: &RelPath, len_hint: u64) -> Result<Box<dyn StreamWriter>> {
        let file = self.open_file(path, Access::Create)?;
        let writer = self
            .transfer(file, path)
            .and_then(|transfer| Writer::new(transfer, Lease::new(&self.pool), len_hint));
        match writer {
            Ok(writer) => Ok(Box::new(writer)),
            Err(error) => {
                self.remove(path)?; // a create that failed leaves no file
                Err(error)
            }
        }
    }

    fn open_stream(&self, path: &RelPath, range: Range<u64>) -> Result<Box<dyn StreamReader>> {
        let (file, len) = self.open_to_read(path)?;
        if range.start > range.end {
            return Err(Error::new(ErrorKind::Invalid, "read", path).at(range.start));
        }
        if range.end > len {
            return Err(Error::new(ErrorKind::UnexpectedEnd, "read", path)
                .at(len)
                .because(format!("the range ends at byte {}", range.end)));
        }
        let transfer = self.transfer(file, path)?;
        Ok(Box::new(Reader::new(transfer, Lease::new(&self.pool), range)))
    }

    fn open_blocks(&self, path: &RelPath, mode: ReadMode) -> Result<Arc<dyn BlockSource>> {
        let (file, len) = self.open_to_read(path)?;
        if mode == ReadMode::Map {
            return Ok(Arc::new(named(MappedBlocks::new(&file, len, path), "map", path)?));
        }
        Ok(Arc::new(DirectBlocks::new(self.make_direct(file, path)?, len, &self.notes)))
    }
}
