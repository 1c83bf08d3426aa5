//! [`Transfer`]: whole operations of a stream, made of what a lane returns.
//!
//! Short results go on where they stopped (rounded down to the alignment while the file is direct),
//! interrupted operations are tried again, and a file system that took `O_DIRECT` when asked but
//! refuses the operation (`EINVAL`) is served through the page cache from then on. All of it for
//! either direction and either engine, in [`next`].

use std::{fs::File, io, sync::Arc};

use super::{
    lane::{Done, Lane, Op, Span, Way},
    memory::Buffer,
    note::{self, Notes},
    sys,
};
use crate::{
    disk::DIRECT_ALIGN,
    error::{Error, ErrorKind, Result},
    path::RelPath,
};

/// Interruptions after which an operation is given up; the kernel has never needed two.
const INTERRUPTIONS_MAX: u8 = 100;

const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
const EINVAL: i32 = 22;
const ECANCELED: i32 = 125;

/// The bytes of one file on their way through a lane.
#[derive(Debug)]
pub(super) struct Transfer {
    lane: Box<dyn Lane>,
    file: File,
    path: RelPath,
    direct: bool,
    under_way: usize,
    notes: Arc<Notes>,
}

/// An open file whose bytes go past the page cache, if they can.
#[derive(Debug)]
pub(super) struct DataFile {
    pub(super) file: File,
    /// Its path, for messages.
    pub(super) path: RelPath,
    /// Whether it is open past the page cache.
    pub(super) direct: bool,
}

/// What to do about a result.
#[derive(Debug)]
enum Next {
    /// Everything needed was moved.
    Finished,
    /// Submit the rest.
    Again(Span),
    /// The file ended.
    Ended,
    /// It will not work.
    Failed(io::Error),
}

impl Transfer {
    /// Moves bytes of `file` through `lane`, which has a duplicate of the same open file.
    pub(super) fn new(lane: Box<dyn Lane>, file: DataFile, notes: &Arc<Notes>) -> Self {
        let DataFile { file, path, direct } = file;
        Self { lane, file, path, direct, under_way: 0, notes: Arc::clone(notes) }
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Its path, for messages.
    pub(super) fn path(&self) -> &RelPath {
        &self.path
    }

    /// Whether another operation is worth starting.
    pub(super) fn has_room(&self) -> bool {
        self.under_way < self.lane.depth()
    }

    /// Operations worth having under way at a time.
    pub(super) fn depth(&self) -> usize {
        self.lane.depth()
    }

    /// Operations under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Starts to move `need` bytes between the buffer and offset `at`, which is aligned; the bytes
    /// up to the next aligned one go along.
    pub(super) fn submit(&mut self, way: Way, buffer: Buffer, at: u64, need: usize) {
        let len = need.next_multiple_of(DIRECT_ALIGN);
        assert!(at.is_multiple_of(DIRECT_ALIGN as u64) && len <= buffer.len(), "aligned, and fits");
        let span = Span { way, at, done: 0, len, need, direct: self.direct, interrupted: 0 };
        self.under_way += 1;
        self.lane.submit(Op { buffer, span });
    }

    /// Waits until an operation has moved all its bytes; returns where it started and its buffer.
    ///
    /// # Errors
    /// `UnexpectedEnd` if the file ends first, or what the system says.
    pub(super) fn wait(&mut self) -> Result<(u64, Buffer)> {
        assert!(self.under_way > 0, "nothing to wait for");
        loop {
            let Done { op, result } = match self.lane.wait() {
                Ok(done) => done,
                Err(error) => {
                    self.under_way = 0;
                    return Err(Error::from_os("go on with", &self.path, error));
                }
            };
            let span = match next(op.span, result) {
                Next::Again(span) if span.direct && !self.direct => Span { direct: false, ..span },
                Next::Again(span) => span,
                over => {
                    self.under_way -= 1;
                    return self.judge(op, over);
                }
            };
            if self.direct && !span.direct {
                sys::clear_direct(&self.file).map_err(|error| self.error(span, error))?;
                self.direct = false;
                self.notes.add(note::NOT_DIRECT);
            }
            self.lane.submit(Op { buffer: op.buffer, span });
        }
    }

    fn judge(&self, op: Op, over: Next) -> Result<(u64, Buffer)> {
        match over {
            Next::Finished | Next::Again(_) => Ok((op.span.at, op.buffer)),
            Next::Ended => Err(Error::new(ErrorKind::UnexpectedEnd, "read", &self.path)
                .at(op.span.offset())
                .because("the file has become shorter")),
            Next::Failed(error) => Err(self.error(op.span, error)),
        }
    }

    fn error(&self, span: Span, error: io::Error) -> Error {
        let operation = match span.way {
            Way::Read => "read",
            Way::Write => "write",
        };
        Error::from_os(operation, &self.path, error).at(span.offset())
    }
}

/// What to do about the result of an operation.
fn next(span: Span, result: io::Result<usize>) -> Next {
    let moved = match result {
        Ok(moved) => moved,
        Err(error) => return after_error(span, error),
    };
    let reached = span.done + moved;
    if reached >= span.need {
        return Next::Finished;
    }
    let done = if span.direct { reached - reached % DIRECT_ALIGN } else { reached };
    match (done > span.done, span.way) {
        (true, _) => Next::Again(Span { done, interrupted: 0, ..span }),
        (false, Way::Read) => Next::Ended,
        (false, Way::Write) => Next::Failed(io::ErrorKind::WriteZero.into()),
    }
}

fn after_error(span: Span, error: io::Error) -> Next {
    match error.raw_os_error() {
        Some(EINTR | EAGAIN | ECANCELED) if span.interrupted < INTERRUPTIONS_MAX => {
            Next::Again(Span { interrupted: span.interrupted + 1, ..span })
        }
        Some(EINVAL) if span.direct => Next::Again(Span { direct: false, ..span }),
        _ => Next::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = Span {
        way: Way::Read,
        at: 1 << 20,
        done: 4096,
        len: 16384,
        need: 13000,
        direct: true,
        interrupted: 0,
    };

    fn again(span: Span, result: io::Result<usize>) -> Span {
        match next(span, result) {
            Next::Again(span) => span,
            other => panic!("{other:?}"),
        }
    }

    fn os(code: i32) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(code))
    }

    #[test]
    fn an_operation_is_over_once_it_has_what_it_needs() {
        assert!(matches!(next(SPAN, Ok(12288)), Next::Finished));
        assert!(matches!(next(SPAN, Ok(13000 - 4096)), Next::Finished));
    }

    #[test]
    fn a_short_direct_result_goes_on_from_an_aligned_byte() {
        assert_eq!(again(SPAN, Ok(8903)).done, 12288);
        assert_eq!(again(SPAN, Ok(4096)).offset(), (1 << 20) + 8192);
        let buffered = Span { direct: false, ..SPAN };
        assert_eq!(again(buffered, Ok(8903)).done, 12999);
    }

    #[test]
    fn no_progress_is_the_end_of_a_read_and_a_failed_write() {
        assert!(matches!(next(SPAN, Ok(0)), Next::Ended));
        assert!(matches!(next(SPAN, Ok(4095)), Next::Ended));
        let write = Span { way: Way::Write, ..SPAN };
        assert!(matches!(next(write, Ok(0)), Next::Failed(_)));
    }

    #[test]
    fn interruptions_are_tried_again_but_not_forever() {
        for code in [EINTR, EAGAIN, ECANCELED] {
            assert_eq!(again(SPAN, os(code)), Span { interrupted: 1, ..SPAN });
            let last = Span { interrupted: INTERRUPTIONS_MAX, ..SPAN };
            assert!(matches!(next(last, os(code)), Next::Failed(_)));
        }
    }

    #[test]
    fn a_refused_direct_operation_goes_through_the_page_cache() {
        let buffered = again(SPAN, os(EINVAL));
        assert_eq!(buffered, Span { direct: false, ..SPAN });
        assert!(matches!(next(buffered, os(EINVAL)), Next::Failed(_)));
    }
}
