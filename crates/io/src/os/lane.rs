//! [`Lane`]: where the operations of one stream run, and the lane of blocking calls.
//!
//! A lane runs each [`Op`] once, as the kernel does it: results may be short, interrupted or
//! refused. [`Transfer`](super::transfer::Transfer) makes whole operations of them.

use std::{collections::VecDeque, fmt, fs::File, io, os::unix::fs::FileExt};

use super::memory::Buffer;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the file to the buffer.
    Read,
    /// From the buffer to the file.
    Write,
}

/// What an operation moves: the bytes `done..len` of a buffer whose first byte belongs at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Which way.
    pub(super) way: Way,
    /// Where the buffer's first byte belongs in the file.
    pub(super) at: u64,
    /// Bytes of the buffer already moved; aligned while the file is direct.
    pub(super) done: usize,
    /// Bytes of the buffer to move in all; aligned while the file is direct.
    pub(super) len: usize,
    /// Bytes that must have been moved at the end; a read to the end of a file has fewer than `len`.
    pub(super) need: usize,
    /// Whether it was submitted past the page cache.
    pub(super) direct: bool,
    /// How often it was interrupted.
    pub(super) interrupted: u8,
}

impl Span {
    /// Where in the file the operation starts.
    pub(super) fn offset(&self) -> u64 {
        self.at + self.done as u64
    }
}

/// One operation; it owns its buffer until it has completed.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) buffer: Buffer,
    pub(super) span: Span,
}

/// A completed operation and the bytes it moved.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) op: Op,
    pub(super) result: io::Result<usize>,
}

/// Runs the operations of one stream. Dropping it waits for those under way.
pub(super) trait Lane: fmt::Debug + Send {
    /// Operations worth having under way at a time.
    fn depth(&self) -> usize;

    /// Starts an operation.
    fn submit(&mut self, op: Op);

    /// Waits for any operation under way, of which there must be one; fails only if the lane is
    /// broken, and then forever.
    fn wait(&mut self) -> io::Result<Done>;
}

/// Blocking calls on the caller's thread.
#[derive(Debug)]
pub(super) struct BlockingLane {
    file: File,
    done: VecDeque<Done>,
}

impl BlockingLane {
    /// Reads and writes `file`.
    pub(super) fn new(file: File) -> Self {
        Self { file, done: VecDeque::new() }
    }
}

impl Lane for BlockingLane {
    fn depth(&self) -> usize {
        1
    }

    fn submit(&mut self, op: Op) {
        let Op { mut buffer, span } = op;
        let bytes = &mut buffer[span.done..span.len];
        let result = match span.way {
            Way::Read => self.file.read_at(bytes, span.offset()),
            Way::Write => self.file.write_at(bytes, span.offset()),
        };
        self.done.push_back(Done { op: Op { buffer, span }, result });
    }

    fn wait(&mut self) -> io::Result<Done> {
        self.done.pop_front().ok_or_else(|| io::Error::other("no operation is under way"))
    }
}
