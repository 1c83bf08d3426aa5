//! [`SimDisk`]: a disk in memory that can lose power, replayed from a seed.
//!
//! It answers every call as the real disk does, and it remembers what of all that is durable: bytes
//! after a sync of their file, names after a sync of their folder, nothing else. [`SimDisk::crash`]
//! builds the disk that a restarted machine would find, under a chosen [`Crash`]. An [`Explorer`]
//! tries every operation at which the machine can stop, and every crash there:
//!
//! ```
//! use siltstone_io::{disk::Disk, exact, path::RelPath, sim::{Explorer, SimDisk}};
//!
//! fn script(disk: &dyn Disk) -> siltstone_io::error::Result<()> {
//!     let log = disk.create_log(&RelPath::new("log")?)?;
//!     exact::write_all_at(&*log, 0, &[b"hello"])?;
//!     log.sync()?;
//!     disk.sync_dir(&RelPath::root())
//! }
//!
//! Explorer::new(&SimDisk::new(1), 7).run(
//!     |disk| script(disk).is_ok(),
//!     |left, &acknowledged, moment| {
//!         let kept = left.read_file("log") == Some(b"hello".to_vec());
//!         assert!(kept || !acknowledged, "{moment}");
//!     },
//! );
//! ```
//!
//! What it does not model: more than one name for a file, symbolic links, permissions, and writes
//! that a device acknowledges in a sync and then loses.

mod content;
mod crash;
mod explore;
mod file;
mod handles;
mod names;
mod seed;
mod state;
#[cfg(test)]
mod tests;

use std::{ops::Range, sync::Arc, time::Duration};

use self::{
    content::Content,
    handles::{Handle, Machine, SimBlocks, SimLock, SimLog, SimStreamReader, SimStreamWriter},
    state::{Context, State, errno},
};
pub use self::{
    crash::Crash,
    explore::{Explorer, Moment},
};
use crate::{
    disk::{
        BlockSource, DirEntry, Disk, LockGuard, Log, ReadMode, Rename, STREAM_PIECE_BYTES,
        StreamReader, StreamWriter,
    },
    error::{Error, ErrorKind, Result},
    path::RelPath,
};

/// How a simulated disk behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimOptions {
    /// Decides the order of listings, the places of short reads and writes, and nothing else.
    pub seed: u64,
    /// Bytes of one write or read of a stream. Default [`STREAM_PIECE_BYTES`]; a small value gives
    /// a short script many places to stop.
    pub stream_piece_bytes: usize,
    /// Bytes the disk holds, counted in pages of 4 KiB. Default: no limit that a test could reach.
    pub capacity_bytes: u64,
    /// Whether one call in four is served only in part. Default off.
    pub short_io: bool,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            stream_piece_bytes: STREAM_PIECE_BYTES,
            capacity_bytes: 1 << 60,
            short_io: false,
        }
    }
}

/// What a file system does when a sync of a file fails, as measured on real ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncFailure {
    /// As ext4: reads go on seeing the new bytes, which will never be written, and the next sync
    /// reports success.
    KeepCache,
    /// As btrfs: reads see the old bytes again, and the next sync reports success.
    RevertCache,
    /// As XFS: the file system shuts down, and every later call fails.
    Shutdown,
}

/// A folder in memory.
///
/// Clones are handles of the same disk; [`SimDisk::fork`] makes a disk of its own.
#[derive(Clone, Debug)]
pub struct SimDisk {
    machine: Arc<Machine>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self::with_options(SimOptions { seed, ..SimOptions::default() })
    }

    /// An empty disk that behaves as `options` say.
    ///
    /// # Panics
    /// When a piece of a stream holds no byte.
    pub fn with_options(options: SimOptions) -> Self {
        assert!(options.stream_piece_bytes > 0, "a piece holds a byte");
        Self::from_state(State::new(options))
    }

    fn from_state(state: State) -> Self {
        Self { machine: Arc::new(Machine::new(state)) }
    }

    /// How many operations were tried that change something: creations, renames, removals, writes,
    /// new lengths and syncs. Reads do not count.
    pub fn operations(&self) -> u64 {
        self.machine.state().steps()
    }

    /// Stops the machine after `operations` changing operations (counted since the disk was made):
    /// the next one, and everything after it, fails with `Device` and changes nothing.
    pub fn stop_after(&self, operations: u64) {
        self.machine.state().stop_after(operations);
    }

    /// Whether the machine has stopped.
    pub fn is_stopped(&self) -> bool {
        self.machine.state().is_stopped()
    }

    /// Stops this machine, if it still runs, and returns the disk that a restarted one would find.
    ///
    /// May be called again with another policy: the stopped disk no longer changes.
    #[must_use]
    pub fn crash(&self, crash: Crash) -> Self {
        let mut state = self.machine.state();
        state.stop();
        Self::from_state(state.after(crash))
    }

    /// An independent running disk in the same state, what is pending included; nothing is open or
    /// locked on it.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::from_state(self.machine.state().restarted())
    }

    /// Lets the `nth` sync of a file from now on fail (1 is the next; the end of a stream syncs,
    /// too).
    ///
    /// # Panics
    /// When `nth` is 0.
    pub fn fail_sync(&self, nth: u64, failure: SyncFailure) {
        self.machine.state().fail_sync(nth, failure);
    }

    /// Changes how many bytes the disk holds.
    pub fn set_capacity(&self, bytes: u64) {
        self.machine.state().options.capacity_bytes = bytes;
    }

    /// Makes everything durable, as an orderly shutdown of the machine does.
    pub fn settle(&self) {
        self.machine.state().settle();
    }
}

/// What a test does from outside: looking at files and damaging them. Nothing here counts as an
/// operation, and all of it works on a stopped disk.
impl SimDisk {
    /// The paths of all files, in order.
    pub fn paths(&self) -> Vec<String> {
        let paths = self.machine.state().names.file_paths();
        paths.into_iter().map(|(path, _)| path).collect()
    }

    /// The bytes that a reader of the file sees; `None` where there is no such file.
    pub fn read_file(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.machine.state();
        let inode = state.names.find(path).ok()?;
        (!state.names.is_folder(inode)).then(|| state.file(inode).shown.to_vec())
    }

    /// Puts a file on the device, in place of the one there.
    ///
    /// # Errors
    /// `Invalid` path, or `NotFound` where its folder is missing.
    pub fn write_file(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let path = RelPath::new(path)?;
        let mut content = Content::default();
        content.write(0, bytes);
        self.machine.state().plant(Context { operation: "plant", path: &path }, content)
    }

    /// Takes a file off the device.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn delete_file(&self, path: &str) -> Result<()> {
        let path = RelPath::new(path)?;
        self.machine.state().uproot(Context { operation: "uproot", path: &path })
    }

    /// Flips one bit of a file, in the cache and on the device.
    ///
    /// # Errors
    /// `NotFound`; `UnexpectedEnd` past the end.
    ///
    /// # Panics
    /// When `bit` is over 7.
    pub fn flip(&self, path: &str, offset: u64, bit: u8) -> Result<()> {
        assert!(bit < 8, "a byte has eight bits");
        self.damage("flip a bit of", path, offset, move |content| {
            let mut byte = [0];
            if content.read(offset, &mut byte) == 1 {
                content.write(offset, &[byte[0] ^ (1 << bit)]);
            }
        })
    }

    /// Cuts a file to `len` bytes, in the cache and on the device.
    ///
    /// # Errors
    /// `NotFound`; `UnexpectedEnd` where it is no longer than that.
    pub fn truncate(&self, path: &str, len: u64) -> Result<()> {
        self.damage("truncate", path, len, move |content| {
            if content.len() > len {
                content.set_len(len);
            }
        })
    }

    fn damage(
        &self,
        operation: &'static str,
        path: &str,
        offset: u64,
        change: impl Fn(&mut Content),
    ) -> Result<()> {
        let path = RelPath::new(path)?;
        let mut state = self.machine.state();
        let inode = state.find_file(Context { operation, path: &path })?;
        if offset >= state.file(inode).shown.len() {
            return Err(Error::new(ErrorKind::UnexpectedEnd, operation, &path).at(offset));
        }
        state.file_mut(inode).rot(change);
        Ok(())
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &RelPath) -> Result<()> {
        let context = Context { operation: "create", path };
        let mut state = self.machine.state();
        state.step(context)?;
        let place = state.free_place(context)?;
        state.create_folder(place);
        Ok(())
    }

    fn list(&self, dir: &RelPath) -> Result<Vec<DirEntry>> {
        let context = Context { operation: "list", path: dir };
        let mut state = self.machine.state();
        state.alive(context)?;
        let folder = state.find(context)?;
        let entries = state.names.entries(folder);
        let mut entries = entries.ok_or_else(|| context.error(errno::NOT_A_FOLDER))?;
        for last in (1..entries.len()).rev() {
            let other = state.draw(last + 1);
            entries.swap(last, other);
        }
        let entry = |(name, inode)| DirEntry { name, is_dir: state.names.is_folder(inode) };
        Ok(entries.into_iter().map(entry).collect())
    }

    fn rename(&self, from: &RelPath, to: &RelPath, mode: Rename) -> Result<()> {
        let context = Context { operation: "rename", path: from };
        let target = Context { operation: "rename to", path: to };
        let mut state = self.machine.state();
        state.step(context)?;
        let inode = state.find_file(context)?;
        let from = state.place(context)?;
        let to = state.place(target)?;
        match state.names.at(&to) {
            Some(_) if mode == Rename::NoReplace => return Err(target.error(errno::EXISTS)),
            Some(there) if state.names.is_folder(there) => {
                return Err(target.error(errno::IS_A_FOLDER));
            }
            Some(there) if there == inode => return Ok(()),
            _ => {}
        }
        state.change_names(inode, Some(from), Some(to));
        Ok(())
    }

    fn remove(&self, path: &RelPath) -> Result<()> {
        let context = Context { operation: "remove", path };
        let mut state = self.machine.state();
        state.step(context)?;
        let inode = state.find_file(context)?;
        let place = state.place(context)?;
        state.change_names(inode, Some(place), None);
        Ok(())
    }

    fn remove_dir(&self, path: &RelPath) -> Result<()> {
        let context = Context { operation: "remove", path };
        let mut state = self.machine.state();
        state.step(context)?;
        let inode = state.find(context)?;
        if path.as_str().is_empty() {
            return Err(context.error(errno::INVALID));
        }
        match state.names.entries(inode) {
            None => return Err(context.error(errno::NOT_A_FOLDER)),
            Some(entries) if !entries.is_empty() => return Err(context.error(errno::NOT_EMPTY)),
            Some(_) => {}
        }
        let place = state.place(context)?;
        state.change_names(inode, Some(place), None);
        Ok(())
    }

    fn sync_dir(&self, dir: &RelPath) -> Result<()> {
        let context = Context { operation: "sync", path: dir };
        let mut state = self.machine.state();
        state.step(context)?;
        let folder = state.find(context)?;
        if !state.names.is_folder(folder) {
            return Err(context.error(errno::NOT_A_FOLDER));
        }
        state.sync_folder(folder);
        Ok(())
    }

    fn file_len(&self, path: &RelPath) -> Result<u64> {
        let context = Context { operation: "measure", path };
        let state = self.machine.state();
        state.alive(context)?;
        let inode = state.find_file(context)?;
        Ok(state.file(inode).shown.len())
    }

    fn modified(&self, path: &RelPath) -> Result<Option<Duration>> {
        let context = Context { operation: "look up", path };
        let state = self.machine.state();
        state.alive(context)?;
        state.find_file(context)?;
        Ok(None) // time enters through the clock of the environment, which a disk does not see
    }

    fn free_bytes(&self) -> Result<u64> {
        let root = RelPath::root();
        let state = self.machine.state();
        state.alive(Context { operation: "measure the space of", path: &root })?;
        Ok(state.free_bytes())
    }

    fn lock(&self, path: &RelPath, note: &str) -> Result<Box<dyn LockGuard>> {
        let context = Context { operation: "lock", path };
        let mut state = self.machine.state();
        state.step(context)?;
        let place = state.place(context)?;
        let inode = match state.names.at(&place) {
            Some(_) => state.find_file(context)?,
            None => state.create_file(place),
        };
        if let Some(holder) = state.locks.get(&inode) {
            let error = Error::new(ErrorKind::Locked, "lock", path);
            return Err(error.because(format!("held by {holder}")));
        }
        state.set_len(context, inode, 0)?;
        if !note.is_empty() {
            state.write(context, inode, 0, note.as_bytes())?;
        }
        state.locks.insert(inode, note.to_owned());
        Ok(Box::new(SimLock(Handle::new(&self.machine, &mut state, inode, path))))
    }

    fn create_log(&self, path: &RelPath) -> Result<Arc<dyn Log>> {
        let context = Context { operation: "create", path };
        let mut state = self.machine.state();
        state.step(context)?;
        let place = state.free_place(context)?;
        let inode = state.create_file(place);
        Ok(Arc::new(SimLog(Handle::new(&self.machine, &mut state, inode, path))))
    }

    fn open_log(&self, path: &RelPath) -> Result<Arc<dyn Log>> {
        let context = Context { operation: "open", path };
        let mut state = self.machine.state();
        state.alive(context)?;
        let inode = state.find_file(context)?;
        Ok(Arc::new(SimLog(Handle::new(&self.machine, &mut state, inode, path))))
    }

    fn create_stream(&self, path: &RelPath, len_hint: u64) -> Result<Box<dyn StreamWriter>> {
        let context = Context { operation: "create", path };
        let mut state = self.machine.state();
        state.step(context)?;
        let place = state.free_place(context)?;
        if len_hint > state.room() {
            return Err(context.error(errno::FULL));
        }
        let inode = state.create_file(place);
        if len_hint > 0 {
            state.set_len(context, inode, len_hint)?;
        }
        let handle = Handle::new(&self.machine, &mut state, inode, path);
        Ok(Box::new(SimStreamWriter::new(handle, state.options.stream_piece_bytes)))
    }

    fn open_stream(&self, path: &RelPath, range: Range<u64>) -> Result<Box<dyn StreamReader>> {
        let context = Context { operation: "open", path };
        let mut state = self.machine.state();
        state.alive(context)?;
        let inode = state.find_file(context)?;
        let len = state.file(inode).shown.len();
        if range.start > range.end {
            return Err(Error::new(ErrorKind::Invalid, "read", path).at(range.start));
        }
        if range.end > len {
            let error = Error::new(ErrorKind::UnexpectedEnd, "read", path).at(len);
            return Err(error.because(format!("the range ends at byte {}", range.end)));
        }
        let piece_bytes = state.options.stream_piece_bytes.min(STREAM_PIECE_BYTES);
        let handle = Handle::new(&self.machine, &mut state, inode, path);
        Ok(Box::new(SimStreamReader::new(handle, range, piece_bytes)))
    }

    fn open_blocks(&self, path: &RelPath, mode: ReadMode) -> Result<Arc<dyn BlockSource>> {
        let context = Context { operation: "open", path };
        let mut state = self.machine.state();
        state.alive(context)?;
        let inode = state.find_file(context)?;
        let shown = Arc::clone(&state.file(inode).shown);
        let mapped = (mode == ReadMode::Map).then(|| shown.to_vec());
        let handle = Handle::new(&self.machine, &mut state, inode, path);
        Ok(Arc::new(SimBlocks::new(handle, shown.len(), mapped)))
    }
}
