//! The two streams: a file or a range of one, front to back, in pieces of 1 MiB.
//!
//! A reader keeps up to [`Lane::depth`](super::lane::Lane::depth) pieces read or under way, so it
//! holds at most 4 MiB that it has not handed out. It does not wait for pieces that were handed out: who holds them
//! answers for their memory. A writer holds at most 5 MiB: four pieces under way and one being
//! filled. With blocking calls it is one piece, and two.
//!
//! Direct I/O wants aligned offsets, so a reader starts at the aligned byte before its range and
//! trims both ends, and a writer pads its last piece and sets the length when it finishes. Writes
//! beyond the end of a file serialise on its inode, so a writer allocates ahead.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use super::{
    lane::Way,
    memory::{Buffer, Lease},
    sys,
    transfer::Transfer,
};
use crate::{
    buffer::Piece,
    disk::{DIRECT_ALIGN, STREAM_PIECE_BYTES, StreamReader, StreamWriter},
    error::{Error, ErrorKind, Result},
};

/// How far ahead a writer allocates when the final length is unknown or was too small.
const ALLOCATE_BYTES: u64 = 16 << 20;

/// Reads a range of a file.
#[derive(Debug)]
pub(super) struct Reader {
    // Before `lease`: the transfer waits for its operations, whose buffers then go back.
    transfer: Transfer,
    lease: Lease,
    range: Range<u64>,
    /// Where the next operation starts; aligned.
    next_at: u64,
    /// Pieces under way or read, in file order, without gaps.
    ahead: VecDeque<Ahead>,
    failed: bool,
}

#[derive(Debug)]
struct Ahead {
    at: u64,
    need: usize,
    buffer: Option<Buffer>,
}

impl Reader {
    /// Reads `range`, which the caller has checked against the length of the file.
    pub(super) fn new(transfer: Transfer, lease: Lease, range: Range<u64>) -> Self {
        let trimmed = if range.is_empty() { 0 } else { range.start % DIRECT_ALIGN as u64 };
        let next_at = range.start - trimmed; // an empty range has nothing to read
        Self { transfer, lease, range, next_at, ahead: VecDeque::new(), failed: false }
    }

    fn read_ahead(&mut self) {
        while self.ahead.len() < self.transfer.depth() && self.next_at < self.range.end {
            let left = self.range.end - self.next_at;
            let need = usize::try_from(left).unwrap_or(usize::MAX).min(STREAM_PIECE_BYTES);
            let (at, buffer) = (self.next_at, self.lease.take(need));
            self.transfer.submit(Way::Read, buffer, at, need);
            self.ahead.push_back(Ahead { at, need, buffer: None });
            self.next_at += need as u64;
        }
    }

    fn wait_for_front(&mut self) -> Result<Option<Piece>> {
        while let Some(front) = self.ahead.front_mut() {
            if let Some(buffer) = front.buffer.take() {
                let skipped = self.range.start.saturating_sub(front.at);
                let skipped = usize::try_from(skipped).expect("less than the alignment");
                let piece = Piece::new(Arc::new(buffer), skipped..front.need);
                self.ahead.pop_front();
                return Ok(Some(piece));
            }
            let (at, buffer) = self.transfer.wait()?;
            let read = self.ahead.iter_mut().find(|ahead| ahead.at == at);
            read.expect("only what is ahead is under way").buffer = Some(buffer);
        }
        Ok(None)
    }
}

impl StreamReader for Reader {
    fn next_piece(&mut self) -> Result<Option<Piece>> {
        if self.failed {
            return Err(dead("read", &self.transfer));
        }
        self.read_ahead();
        let piece = self.wait_for_front();
        self.failed = piece.is_err();
        piece
    }
}

/// Writes a new file.
#[derive(Debug)]
pub(super) struct Writer {
    // Before `lease`: the transfer waits for its operations, whose buffers then go back.
    transfer: Transfer,
    lease: Lease,
    /// The piece being filled, and how many bytes of it are.
    piece: Option<(Buffer, usize)>,
    /// Where that piece belongs.
    at: u64,
    /// Up to where the file is allocated; `u64::MAX` if its file system cannot.
    allocated: u64,
    failed: bool,
}

impl Writer {
    /// Writes a new and empty file, allocated ahead up to `len_hint` bytes.
    ///
    /// # Errors
    /// `NoSpace` if that much does not fit, or what the system says.
    pub(super) fn new(transfer: Transfer, lease: Lease, len_hint: u64) -> Result<Self> {
        let mut writer = Self { transfer, lease, piece: None, at: 0, allocated: 0, failed: false };
        if len_hint > 0 {
            let end = len_hint.checked_next_multiple_of(DIRECT_ALIGN as u64).unwrap_or(len_hint);
            let file = writer.transfer.file();
            writer.allocated = match sys::allocate(file, 0..end) {
                Ok(true) => end,
                Ok(false) => u64::MAX,
                Err(error) => {
                    let path = writer.transfer.path();
                    return Err(Error::from_os("allocate", path, error)
                        .because(format!("{len_hint} bytes were to be written")));
                }
            };
        }
        Ok(writer)
    }

    /// Allocates on, where the length turned out to be larger. A full disk is not an error yet:
    /// perhaps what is really written still fits.
    fn allocate(&mut self, end: u64) {
        if end > self.allocated {
            let ahead = self.allocated..end.saturating_add(ALLOCATE_BYTES);
            self.allocated = match sys::allocate(self.transfer.file(), ahead.clone()) {
                Ok(true) => ahead.end,
                Ok(false) | Err(_) => u64::MAX,
            };
        }
    }

    fn submit(&mut self, buffer: Buffer, len: usize) -> Result<()> {
        while !self.transfer.has_room() {
            self.transfer.wait()?;
        }
        self.allocate(self.at + len as u64);
        self.transfer.submit(Way::Write, buffer, self.at, len);
        self.at += len as u64;
        Ok(())
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let lease = &self.lease;
            let (mut piece, filled) =
                self.piece.take().unwrap_or_else(|| (lease.take(STREAM_PIECE_BYTES), 0));
            let (now, later) = bytes.split_at(bytes.len().min(STREAM_PIECE_BYTES - filled));
            let end = filled + now.len();
            piece[filled..end].copy_from_slice(now);
            bytes = later;
            if end == STREAM_PIECE_BYTES {
                self.submit(piece, end)?;
            } else {
                self.piece = Some((piece, end));
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<u64> {
        let mut len = self.at;
        if let Some((mut piece, filled)) = self.piece.take() {
            len += filled as u64;
            let padded = filled.next_multiple_of(DIRECT_ALIGN);
            piece[filled..padded].fill(0);
            self.submit(piece, padded)?;
        }
        while self.transfer.under_way() > 0 {
            self.transfer.wait()?;
        }
        let (file, path) = (self.transfer.file(), self.transfer.path());
        file.set_len(len).map_err(|error| Error::from_os("set the length of", path, error))?;
        file.sync_data().map_err(|error| Error::from_os("sync", path, error))?;
        Ok(len)
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.failed {
            return Err(dead("write", &self.transfer));
        }
        let written = self.append(bytes);
        self.failed = written.is_err();
        written
    }

    fn finish(mut self: Box<Self>) -> Result<u64> {
        if self.failed {
            return Err(dead("write", &self.transfer));
        }
        self.complete()
    }
}

fn dead(operation: &'static str, transfer: &Transfer) -> Error {
    Error::new(ErrorKind::Device, operation, transfer.path())
        .because("an earlier operation of this stream has failed")
}
