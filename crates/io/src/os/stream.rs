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

#[cfg(test)]
mod tests {
    use std::{fs::File, io};

    use super::*;
    use crate::{
        os::{
            lane::{BlockingLane, Done, Lane, Op},
            memory::Pool,
            note::{self, Notes},
            transfer::DataFile,
        },
        path::RelPath,
    };

    const EINTR: i32 = 4;
    const EIO: i32 = 5;
    const EINVAL: i32 = 22;
    const ENOSPC: i32 = 28;

    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Works,
        Short(usize),
        Fails(i32),
    }

    /// Blocking calls, to the first of which things happen.
    #[derive(Debug)]
    struct Fated {
        inner: BlockingLane,
        fates: VecDeque<Fate>,
        failed: VecDeque<Done>,
    }

    impl Lane for Fated {
        fn depth(&self) -> usize {
            1
        }

        fn submit(&mut self, op: Op) {
            match self.fates.pop_front().unwrap_or(Fate::Works) {
                Fate::Works => self.inner.submit(op),
                Fate::Short(len) => {
                    let whole = op.span;
                    let mut short = op;
                    short.span.len = (whole.done + len).min(whole.len);
                    self.inner.submit(short);
                    let mut done = self.inner.wait().unwrap();
                    done.op.span = whole;
                    self.failed.push_back(done);
                }
                Fate::Fails(code) => {
                    let result = Err(io::Error::from_raw_os_error(code));
                    self.failed.push_back(Done { op, result });
                }
            }
        }

        fn wait(&mut self) -> io::Result<Done> {
            self.failed.pop_front().map_or_else(|| self.inner.wait(), Ok)
        }
    }

    fn fated(file: &File, fates: &[Fate], notes: &Arc<Notes>) -> (Transfer, Lease) {
        let lane = Box::new(Fated {
            inner: BlockingLane::new(file.try_clone().unwrap()),
            fates: fates.iter().copied().collect(),
            failed: VecDeque::new(),
        });
        let file = file.try_clone().unwrap();
        let direct = sys::set_direct(&file).unwrap();
        let file = DataFile { file, path: RelPath::new("file").unwrap(), direct };
        (Transfer::new(lane, file, notes), Lease::new(&Arc::new(Pool::default())))
    }

    fn writer(file: &File, fates: &[Fate]) -> Writer {
        let (transfer, lease) = fated(file, fates, &Arc::default());
        Writer::new(transfer, lease, 0).unwrap()
    }

    #[test]
    fn short_interrupted_and_refused_operations_lose_no_byte() {
        let fates = [
            Fate::Short(8192),
            Fate::Fails(EINTR),
            Fate::Short(4096),
            Fate::Works,
            Fate::Fails(EINVAL),
            Fate::Short(100),
            Fate::Short(1),
        ];
        let bytes: Vec<u8> = (0..3_000_001_u32).map(|at| (at % 251).to_le_bytes()[0]).collect();
        let file = tempfile::tempfile().unwrap();
        let mut writer = writer(&file, &fates);
        writer.write(&bytes).unwrap();
        assert_eq!(Box::new(writer).finish().unwrap(), bytes.len() as u64);

        let notes = Arc::new(Notes::default());
        let (transfer, lease) = fated(&file, &fates, &notes);
        let mut reader = Reader::new(transfer, lease, 4097..3_000_001);
        let mut read = Vec::new();
        while let Some(piece) = reader.next_piece().unwrap() {
            read.extend_from_slice(&piece);
        }
        assert!(read == bytes[4097..]);
        assert_eq!(notes.joined().as_deref(), Some(note::NOT_DIRECT));
    }

    #[test]
    fn a_full_disk_ends_the_writer_with_no_space() {
        let file = tempfile::tempfile().unwrap();
        let mut writer = writer(&file, &[Fate::Works, Fate::Fails(ENOSPC)]);
        let piece = vec![1; STREAM_PIECE_BYTES];
        let error = std::iter::repeat_with(|| writer.write(&piece)).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert_eq!((error.path(), error.offset()), ("file", Some(1 << 20)));
        assert!(writer.write(b"more").is_err());
        assert!(Box::new(writer).finish().is_err(), "a dead stream never says it is complete");
    }

    #[test]
    fn an_error_in_the_last_piece_fails_the_finish() {
        let file = tempfile::tempfile().unwrap();
        let mut writer = writer(&file, &[Fate::Fails(EIO)]);
        writer.write(b"a few bytes").unwrap();
        let error = Box::new(writer).finish().unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Device, Some(0)));
    }

    #[test]
    fn a_device_error_ends_the_reader() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(5000).unwrap();
        let (transfer, lease) = fated(&file, &[Fate::Fails(EIO)], &Arc::default());
        let mut reader = Reader::new(transfer, lease, 0..5000);
        assert_eq!(reader.next_piece().unwrap_err().kind(), ErrorKind::Device);
        assert!(reader.next_piece().is_err(), "an error does not turn into an end");
    }
}
