//! The open files of a simulated disk: log, streams, blocks and the lock.
//!
//! A handle holds its file, not its name: a removed file keeps its bytes until the last handle is
//! dropped. After a crash the handles of the old disk fail, like those of a dead process.

use std::{
    io::IoSlice,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    content::index,
    names::Inode,
    state::{Context, State},
};
use crate::{
    buffer::Piece,
    disk::{BlockSource, DIRECT_ALIGN, LockGuard, Log, StreamReader, StreamWriter},
    error::{Error, ErrorKind, Result},
    exact::joined,
    path::RelPath,
};

/// The machine, shared by the disk and its handles.
#[derive(Debug)]
pub(super) struct Machine(Mutex<State>);

impl Machine {
    pub(super) fn new(state: State) -> Self {
        Self(Mutex::new(state))
    }

    /// A test that failed under the lock must not hide its reason behind a poisoned one.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open file.
#[derive(Debug)]
pub(super) struct Handle {
    machine: Arc<Machine>,
    inode: Inode,
    path: RelPath,
}

impl Handle {
    /// Opens a file within a call that already holds the machine.
    pub(super) fn new(
        machine: &Arc<Machine>,
        state: &mut State,
        inode: Inode,
        path: &RelPath,
    ) -> Self {
        state.open(inode);
        Self { machine: Arc::clone(machine), inode, path: path.clone() }
    }

    fn context(&self, operation: &'static str) -> Context<'_> {
        Context { operation, path: &self.path }
    }

    fn len(&self) -> Result<u64> {
        let state = self.machine.state();
        state.alive(self.context("measure"))?;
        Ok(state.file(self.inode).shown.len())
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut state = self.machine.state();
        state.alive(self.context("read"))?;
        let served = state.share(buf.len());
        Ok(state.file(self.inode).shown.read(offset, &mut buf[..served]))
    }

    /// Writes all bytes in one step, as far as there is room.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        let context = self.context("write");
        let mut state = self.machine.state();
        state.step(context)?;
        state.write(context, self.inode, offset, bytes)
    }

    fn sync(&self) -> Result<()> {
        let context = self.context("sync");
        let mut state = self.machine.state();
        state.step(context)?;
        state.sync(context, self.inode)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let context = self.context("set the length of");
        let mut state = self.machine.state();
        state.step(context)?;
        state.set_len(context, self.inode, len)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.machine.state().close(self.inode);
    }
}

#[derive(Debug)]
pub(super) struct SimLog(pub(super) Handle);

impl Log for SimLog {
    fn path(&self) -> &RelPath {
        &self.0.path
    }

    fn len(&self) -> Result<u64> {
        self.0.len()
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<usize> {
        let bytes = joined(parts);
        if bytes.is_empty() {
            return Ok(0);
        }
        let served = self.0.machine.state().share_of_write(offset, bytes.len());
        self.0.write(offset, &bytes[..served])
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.0.read(offset, buf)
    }

    fn sync(&self) -> Result<()> {
        self.0.sync()
    }
}

/// Gathers bytes into pieces and writes each in one step, like direct I/O; the last is padded to
/// [`DIRECT_ALIGN`] and the length set afterwards.
#[derive(Debug)]
pub(super) struct SimStreamWriter {
    handle: Handle,
    piece_bytes: usize,
    buffer: Vec<u8>,
    written: u64,
    dead: bool,
}

impl SimStreamWriter {
    pub(super) fn new(handle: Handle, piece_bytes: usize) -> Self {
        Self { handle, piece_bytes, buffer: Vec::new(), written: 0, dead: false }
    }

    fn check(&self) -> Result<()> {
        if !self.dead {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Device, "write", &self.handle.path)
            .because("an earlier write of the stream failed"))
    }

    fn write_whole_pieces(&mut self) -> Result<()> {
        while self.buffer.len() >= self.piece_bytes {
            let rest = self.buffer.split_off(self.piece_bytes);
            let piece = std::mem::replace(&mut self.buffer, rest);
            self.write_piece(&piece)?;
        }
        Ok(())
    }

    fn write_piece(&mut self, piece: &[u8]) -> Result<()> {
        let mut left = piece;
        while !left.is_empty() {
            let done = self.handle.write(self.written, left)?;
            self.written += done as u64;
            left = &left[done..];
        }
        Ok(())
    }

    fn finish_file(&mut self) -> Result<u64> {
        self.check()?;
        let len = self.written + self.buffer.len() as u64;
        if !self.buffer.is_empty() {
            let mut tail = std::mem::take(&mut self.buffer);
            let padded = len.next_multiple_of(DIRECT_ALIGN as u64);
            tail.resize(index(padded - self.written), 0);
            self.write_piece(&tail)?;
        }
        if self.handle.len()? != len {
            self.handle.set_len(len)?;
        }
        self.handle.sync()?;
        Ok(len)
    }
}

impl StreamWriter for SimStreamWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.check()?;
        self.buffer.extend_from_slice(bytes);
        let result = self.write_whole_pieces();
        self.dead = result.is_err();
        result
    }

    fn finish(mut self: Box<Self>) -> Result<u64> {
        self.finish_file()
    }
}

#[derive(Debug)]
pub(super) struct SimStreamReader {
    handle: Handle,
    left: Range<u64>,
    piece_bytes: usize,
}

impl SimStreamReader {
    pub(super) fn new(handle: Handle, range: Range<u64>, piece_bytes: usize) -> Self {
        Self { handle, left: range, piece_bytes }
    }
}

impl StreamReader for SimStreamReader {
    fn next_piece(&mut self) -> Result<Option<Piece>> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let wanted = index((self.left.end - self.left.start).min(self.piece_bytes as u64));
        let mut piece = vec![0; wanted];
        let read = self.handle.read(self.left.start, &mut piece)?;
        if read == 0 {
            let error = Error::new(ErrorKind::UnexpectedEnd, "read", &self.handle.path);
            return Err(error.at(self.left.start));
        }
        piece.truncate(read);
        self.left.start += read as u64;
        Ok(Some(Piece::from(piece)))
    }
}

#[derive(Debug)]
pub(super) struct SimBlocks {
    handle: Handle,
    len: u64,
    mapped: Option<Vec<u8>>,
}

impl SimBlocks {
    pub(super) fn new(handle: Handle, len: u64, mapped: Option<Vec<u8>>) -> Self {
        Self { handle, len, mapped }
    }
}

impl BlockSource for SimBlocks {
    fn path(&self) -> &RelPath {
        &self.handle.path
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.handle.read(offset, buf)
    }

    fn mapped(&self) -> Option<&[u8]> {
        self.mapped.as_deref()
    }
}

/// Frees the lock when dropped.
#[derive(Debug)]
pub(super) struct SimLock(pub(super) Handle);

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.machine.state().locks.remove(&self.0.inode);
    }
}
