//! [`TapDisk`]: a disk seen through a [`Tap`], which is shown every call before and after it runs.
//!
//! One place forwards the whole seam; what the wrappers of this crate do with a call (fail it, write
//! it down, judge it) is a tap each: [`crate::fault`], [`crate::trace`], [`crate::check`].

mod handles;

use std::{
    fmt,
    io::IoSlice,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use self::handles::{OpenFile, TapBlocks, TapLog, TapStreamReader, TapStreamWriter};
use crate::{
    disk::{
        BlockSource, DirEntry, Disk, LockGuard, Log, ReadMode, Rename, StreamReader, StreamWork,
        StreamWriter,
    },
    error::{Error, ErrorKind, Result},
    path::RelPath,
};

/// The kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`Disk::create_dir`].
    CreateDir,
    /// [`Disk::list`].
    List,
    /// [`Disk::rename`].
    Rename,
    /// [`Disk::remove`].
    Remove,
    /// [`Disk::remove_dir`].
    RemoveDir,
    /// [`Disk::sync_dir`].
    SyncDir,
    /// [`Disk::file_len`].
    FileLen,
    /// [`Disk::free_bytes`].
    FreeBytes,
    /// [`Disk::lock`].
    Lock,
    /// [`Disk::create_log`].
    CreateLog,
    /// [`Disk::open_log`].
    OpenLog,
    /// [`Log::len`].
    LogLen,
    /// [`Log::write_at`].
    LogWrite,
    /// [`Log::read_at`].
    LogRead,
    /// [`Log::sync`].
    LogSync,
    /// [`Disk::create_stream`].
    CreateStream,
    /// [`StreamWriter::write`].
    StreamWrite,
    /// [`StreamWriter::finish`].
    StreamFinish,
    /// [`Disk::open_stream`].
    OpenStream,
    /// [`StreamReader::next_piece`].
    StreamRead,
    /// [`Disk::open_blocks`].
    OpenBlocks,
    /// [`BlockSource::read_at`], and each read of a [`BlockSource::read_batch`].
    BlockRead,
}

impl Operation {
    /// Whether it changes what is on the disk, or what of it is durable.
    pub fn changes(self) -> bool {
        self.takes_space()
            || matches!(self, Self::Remove | Self::RemoveDir | Self::Rename)
            || matches!(self, Self::SyncDir | Self::LogSync)
    }

    /// Whether it can find the disk full.
    pub fn takes_space(self) -> bool {
        matches!(
            self,
            Self::CreateDir
                | Self::Lock
                | Self::CreateLog
                | Self::LogWrite
                | Self::CreateStream
                | Self::StreamWrite
                | Self::StreamFinish
        )
    }

    /// Whether it may be served in part.
    pub fn may_be_short(self) -> bool {
        matches!(self, Self::LogWrite | Self::LogRead | Self::BlockRead)
    }

    /// The name that traces use.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateDir => "create_dir",
            Self::List => "list",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::RemoveDir => "remove_dir",
            Self::SyncDir => "sync_dir",
            Self::FileLen => "file_len",
            Self::FreeBytes => "free_bytes",
            Self::Lock => "lock",
            Self::CreateLog => "create_log",
            Self::OpenLog => "open_log",
            Self::LogLen => "len",
            Self::LogWrite => "write",
            Self::LogRead => "read",
            Self::LogSync => "sync",
            Self::CreateStream => "create_stream",
            Self::StreamWrite => "stream",
            Self::StreamFinish => "finish",
            Self::OpenStream => "open_stream",
            Self::StreamRead => "read_stream",
            Self::OpenBlocks => "open_blocks",
            Self::BlockRead => "read_block",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One call, as a tap sees it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Call<'a> {
    /// What is called.
    pub operation: Operation,
    /// On which file or folder; of a rename, the old name.
    pub path: &'a RelPath,
    /// Of a rename, the new name.
    pub to: Option<&'a RelPath>,
    /// Which open file, from 1 in the order of opening; 0 for calls on names. A created or opened
    /// file shows its number in [`Tap::after`].
    pub handle: u64,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// Bytes asked for: to read, to write, or the expected length of a new stream.
    pub len: u64,
    /// The bytes to write.
    pub data: &'a [IoSlice<'a>],
}

impl<'a> Call<'a> {
    fn on(operation: Operation, path: &'a RelPath) -> Self {
        Self { operation, path, to: None, handle: 0, offset: 0, len: 0, data: &[] }
    }

    fn with_handle(self, handle: u64) -> Self {
        Self { handle, ..self }
    }

    fn with_len(self, len: u64) -> Self {
        Self { len, ..self }
    }

    fn with_data(self, offset: u64, data: &'a [IoSlice<'a>]) -> Self {
        let len = data.iter().map(|part| part.len() as u64).sum();
        Self { offset, len, data, ..self }
    }

    /// The error of a tap that fails this call.
    pub fn error(&self, kind: ErrorKind, detail: &str) -> Error {
        let error = Error::new(kind, self.operation.name(), self.path).because(detail);
        if self.operation.may_be_short() { error.at(self.offset) } else { error }
    }
}

/// How a call goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// As it was asked for.
    Run,
    /// With about half of its bytes, at least one.
    RunShort,
    /// It runs, and then the caller is told this error.
    RunThenFail(Error),
    /// It does not run, and the caller is told this error.
    Fail(Error),
}

/// What looks at every call.
pub trait Tap: fmt::Debug + Send + Sync {
    /// Called before a call runs; decides how it goes on.
    fn before(&self, _call: &Call<'_>) -> Verdict {
        Verdict::Run
    }

    /// Called after a call has run. `outcome` is the number of bytes moved, or the length found, or
    /// 0. `disk` is the disk behind the tap.
    fn after(
        &self,
        _call: &Call<'_>,
        _outcome: std::result::Result<u64, &Error>,
        _disk: &dyn Disk,
    ) {
    }
}

/// A disk behind a tap. Clones share both.
#[derive(Debug)]
pub struct TapDisk<T>(Arc<Tapped<T>>);

#[derive(Debug)]
struct Tapped<T> {
    disk: Arc<dyn Disk>,
    tap: T,
    handles: AtomicU64,
}

impl<T> Clone for TapDisk<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Tap> TapDisk<T> {
    /// Shows every call on `disk` to `tap`.
    pub fn tapping(disk: Arc<dyn Disk>, tap: T) -> Self {
        Self(Arc::new(Tapped { disk, tap, handles: AtomicU64::new(0) }))
    }

    /// The tap.
    pub fn tap(&self) -> &T {
        &self.0.tap
    }

    /// The disk behind the tap.
    pub fn inner(&self) -> &Arc<dyn Disk> {
        &self.0.disk
    }
}

impl<T: Tap> Tapped<T> {
    fn next_handle(&self) -> u64 {
        self.handles.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Runs a call that is served whole or not at all.
    fn run<R>(&self, call: &Call<'_>, run: impl FnOnce() -> Result<R>) -> Result<R> {
        self.run_counted(call, |_| 0, |_| run())
    }

    /// Runs a call; `amount` is what of its answer [`Tap::after`] sees, and the closure is told how
    /// many bytes to serve.
    fn run_counted<R>(
        &self,
        call: &Call<'_>,
        amount: impl FnOnce(&R) -> u64,
        run: impl FnOnce(u64) -> Result<R>,
    ) -> Result<R> {
        let (served, failure) = match self.tap.before(call) {
            Verdict::Run => (call.len, None),
            Verdict::RunShort => (call.len.div_ceil(2), None),
            Verdict::RunThenFail(error) => (call.len, Some(error)),
            Verdict::Fail(error) => return Err(error),
        };
        let answer = run(served);
        self.tap.after(call, answer.as_ref().map(amount), &*self.disk);
        match failure {
            Some(error) => Err(error),
            None => answer,
        }
    }
}

impl<T: Tap + 'static> TapDisk<T> {
    fn open<R>(
        &self,
        call: &Call<'_>,
        open: impl FnOnce(&dyn Disk) -> Result<R>,
    ) -> Result<(R, OpenFile<T>)> {
        let handle = self.0.next_handle();
        let opened = self.0.run(&call.with_handle(handle), || open(&*self.0.disk))?;
        let path = call.path.clone();
        Ok((opened, OpenFile { tapped: Arc::clone(&self.0), path, handle }))
    }
}

impl<T: Tap + 'static> Disk for TapDisk<T> {
    fn create_dir(&self, path: &RelPath) -> Result<()> {
        self.0.run(&Call::on(Operation::CreateDir, path), || self.0.disk.create_dir(path))
    }

    fn list(&self, dir: &RelPath) -> Result<Vec<DirEntry>> {
        self.0.run(&Call::on(Operation::List, dir), || self.0.disk.list(dir))
    }

    fn rename(&self, from: &RelPath, to: &RelPath, mode: Rename) -> Result<()> {
        let call = Call { to: Some(to), ..Call::on(Operation::Rename, from) };
        self.0.run(&call, || self.0.disk.rename(from, to, mode))
    }

    fn remove(&self, path: &RelPath) -> Result<()> {
        self.0.run(&Call::on(Operation::Remove, path), || self.0.disk.remove(path))
    }

    fn remove_dir(&self, path: &RelPath) -> Result<()> {
        self.0.run(&Call::on(Operation::RemoveDir, path), || self.0.disk.remove_dir(path))
    }

    fn sync_dir(&self, dir: &RelPath) -> Result<()> {
        self.0.run(&Call::on(Operation::SyncDir, dir), || self.0.disk.sync_dir(dir))
    }

    fn file_len(&self, path: &RelPath) -> Result<u64> {
        let call = Call::on(Operation::FileLen, path);
        self.0.run_counted(&call, |&len| len, |_| self.0.disk.file_len(path))
    }

    fn modified(&self, path: &RelPath) -> Result<Option<Duration>> {
        self.0.disk.modified(path)
    }

    fn free_bytes(&self) -> Result<u64> {
        let root = RelPath::root();
        let call = Call::on(Operation::FreeBytes, &root);
        self.0.run_counted(&call, |&bytes| bytes, |_| self.0.disk.free_bytes())
    }

    fn stream_engine_note(&self) -> Option<String> {
        self.0.disk.stream_engine_note()
    }

    fn stream_work(&self) -> StreamWork {
        self.0.disk.stream_work()
    }

    fn lock(&self, path: &RelPath, note: &str) -> Result<Box<dyn LockGuard>> {
        self.0.run(&Call::on(Operation::Lock, path), || self.0.disk.lock(path, note))
    }

    fn create_log(&self, path: &RelPath) -> Result<Arc<dyn Log>> {
        let call = Call::on(Operation::CreateLog, path);
        let (inner, file) = self.open(&call, |disk| disk.create_log(path))?;
        Ok(Arc::new(TapLog { inner, file }))
    }

    fn open_log(&self, path: &RelPath) -> Result<Arc<dyn Log>> {
        let call = Call::on(Operation::OpenLog, path);
        let (inner, file) = self.open(&call, |disk| disk.open_log(path))?;
        Ok(Arc::new(TapLog { inner, file }))
    }

    fn create_stream(&self, path: &RelPath, len_hint: u64) -> Result<Box<dyn StreamWriter>> {
        let call = Call::on(Operation::CreateStream, path).with_len(len_hint);
        let (inner, file) = self.open(&call, |disk| disk.create_stream(path, len_hint))?;
        Ok(Box::new(TapStreamWriter::new(inner, file)))
    }

    fn open_stream(&self, path: &RelPath, range: Range<u64>) -> Result<Box<dyn StreamReader>> {
        let call = Call::on(Operation::OpenStream, path);
        let offset = range.start;
        let (inner, file) = self.open(&call, |disk| disk.open_stream(path, range))?;
        Ok(Box::new(TapStreamReader { inner, file, offset }))
    }

    fn open_blocks(&self, path: &RelPath, mode: ReadMode) -> Result<Arc<dyn BlockSource>> {
        let call = Call::on(Operation::OpenBlocks, path);
        let (inner, file) = self.open(&call, |disk| disk.open_blocks(path, mode))?;
        Ok(Arc::new(TapBlocks { inner, file }))
    }
}
