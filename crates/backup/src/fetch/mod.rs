//! The download: frames by range, checked, decoded, and the segments in them handed out.
//!
//! Workers make requests, check the hash of each frame and decompress; the checker takes the answers
//! in order, compares every header and pad with what the descriptor says and hashes each segment;
//! the caller's thread hands them to a sink. What is ahead of the sink is bounded, so memory is.

use std::{collections::VecDeque, thread};

use crossbeam_channel::{Receiver, Sender, bounded};
use siltstone_lsm::format::primitives::PieceHasher;

use self::{
    check::{Checker, Step},
    download::Job,
    itinerary::{Chunks, LEG_BYTES_MAX, LEG_PLAIN_MAX, Legs},
};
use crate::{
    backend::Backend,
    cancel::Cancel,
    codec::DECODER_BYTES,
    error::{Error, ErrorKind, Result},
    format::{chunk::Chunk, descriptor::StoredSegment},
    pace::{Host, Limits, Pace},
    parallel::{join, spawn},
    progress::Progress,
};

mod check;
mod download;
pub mod files;
mod itinerary;
#[cfg(test)]
mod tests;

/// What the sink may hold: the buffers of two file streams, in bytes.
const SINK_BYTES: u64 = 12 << 20;

/// Frames that are checked and wait for the sink.
const FRAMES_CHECKED: usize = 1;

/// What the sink has before it: those, and the one it takes, each with the answer it is part of.
const CHECKED_BYTES: u64 = (FRAMES_CHECKED as u64 + 1) * LEG_BYTES_MAX;

/// What one request holds at most: its answer, twice while the backend puts it together, and the
/// frames in it, with what decodes them.
const LEG_BYTES: u64 = 2 * LEG_BYTES_MAX + LEG_PLAIN_MAX + DECODER_BYTES;

/// Requests under way even where the share of the processors is that of one thread: the next bytes
/// come while the last are looked at, and a store far away answers several in the time of one.
const REQUESTS_MIN: usize = 4;

/// What a fetch works with.
#[derive(Clone, Copy, Debug)]
pub struct Fetch<'a> {
    /// The clock, and the disk that the sink writes to.
    pub host: Host<'a>,
    /// Where chunks are.
    pub backend: &'a dyn Backend,
    /// Asks it to stop.
    pub cancel: &'a Cancel,
    /// Counts what it did.
    pub progress: &'a Progress,
    /// How fast it may go.
    pub limits: Limits,
    /// Threads that fetch, check and decompress; `None` for enough to use its share of the
    /// processors, and to have several requests under way.
    pub workers: Option<usize>,
    /// Bound of its memory, in bytes.
    pub memory_bytes_max: u64,
}

/// Takes the segments of a fetch, one after another.
pub trait SegmentSink {
    /// The bytes of the segment at `index` of the request follow. Each index comes once, in the
    /// order in which the segments lie in the chunks.
    ///
    /// # Errors
    /// Whatever should end the fetch; also below.
    fn begin(&mut self, index: usize, segment: &StoredSegment) -> Result<()>;

    /// The next bytes of the segment.
    ///
    /// # Errors
    /// As [`SegmentSink::begin`].
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// The segment is whole and matches its hash.
    ///
    /// # Errors
    /// As [`SegmentSink::begin`].
    fn end(&mut self) -> Result<()>;
}

/// Takes segments and forgets them: a fetch into it verifies.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSink;

impl SegmentSink for NoSink {
    fn begin(&mut self, _: usize, _: &StoredSegment) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Fetch<'_> {
    /// Fetches `segments`, whose chunks must be in `chunks`, into `sink`; blocks until done. Where
    /// a chunk's last segment is wanted, its end mark is checked too: a fetch of all segments of a
    /// chunk checks every byte of it.
    ///
    /// # Errors
    /// `Corrupt` naming the chunk when a byte is not as written; `Canceled`; `Invalid` when the
    /// memory does not suffice; and those of the backend and the sink.
    pub fn run(
        &self,
        chunks: &[Chunk],
        segments: &[StoredSegment],
        sink: &mut dyn SegmentSink,
    ) -> Result<()> {
        let legs_max = self.legs_max()?;
        let chunks = &Chunks::new(chunks);
        let legs = Legs::new(chunks, segments)?;
        let pace = &Pace::new(self.host, self.backend, self.cancel, self.limits);
        let (jobs_in, jobs) = bounded(legs_max);
        let (checked_in, checked) = bounded(FRAMES_CHECKED);
        thread::scope(|scope| {
            for _ in 0..self.workers().clamp(1, legs_max) {
                let jobs = jobs.clone();
                let work = move || download::work(self.backend, pace, chunks, &jobs);
                spawn(scope, "backup-fetch", work)?;
            }
            let checker = spawn(scope, "backup-check", move || {
                let (payer, hasher) = (pace.payer(), PieceHasher::default());
                let checker = Checker { chunks, segments, payer, hasher };
                check_all(legs, checker, (&jobs_in, legs_max), &checked_in)
            })?;
            let delivered = self.deliver(pace, segments, &checked, sink);
            drop(checked); // the checker ends, and the workers after it
            let check = join(checker);
            delivered.and(check)
        })
    }

    /// Hands to the sink what has been checked, until nothing more comes.
    fn deliver(
        &self,
        pace: &Pace<'_>,
        segments: &[StoredSegment],
        checked: &Receiver<Vec<Step>>,
        sink: &mut dyn SegmentSink,
    ) -> Result<()> {
        let mut payer = pace.payer();
        for step in checked.iter().flatten() {
            match step {
                Step::Begin(index) => {
                    payer.pay()?;
                    sink.begin(index, &segments[index])?;
                }
                Step::Bytes(index, bytes) => {
                    sink.write(&bytes)?;
                    pace.streamed(bytes.len());
                    self.progress.add_done(index, bytes.len() as u64);
                }
                Step::End => sink.end()?,
            }
        }
        Ok(())
    }

    /// A thread waits for its request most of the time, so there may be more than its share.
    fn workers(&self) -> usize {
        self.workers.unwrap_or_else(|| self.limits.workers().max(REQUESTS_MIN))
    }

    /// How many requests may be under way or in hand.
    fn legs_max(&self) -> Result<usize> {
        let beside = SINK_BYTES + CHECKED_BYTES;
        let legs = self.memory_bytes_max.saturating_sub(beside) / LEG_BYTES;
        let legs = usize::try_from(legs).unwrap_or(usize::MAX).min(self.workers().max(1) + 2);
        if legs == 0 {
            let bound = self.memory_bytes_max;
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("memory bound {bound} bytes is under the {LEG_BYTES} of one request"),
            ));
        }
        assert!(beside + legs as u64 * LEG_BYTES <= self.memory_bytes_max, "the bound holds");
        Ok(legs)
    }
}

/// Keeps up to `legs_max` requests under way, and checks their answers in order.
fn check_all(
    mut legs: Legs<'_>,
    mut checker: Checker<'_>,
    (jobs, legs_max): (&Sender<Job>, usize),
    checked: &Sender<Vec<Step>>,
) -> Result<()> {
    let mut ahead = VecDeque::with_capacity(legs_max);
    loop {
        while ahead.len() < legs_max
            && let Some(leg) = legs.next()?
        {
            let (reply, answer) = bounded(1);
            jobs.send(Job { leg, reply }).map_err(stopped)?;
            ahead.push_back(answer);
        }
        let Some(answer) = ahead.pop_front() else {
            return Ok(());
        };
        for decoded in answer.recv().map_err(stopped)?? {
            let steps = checker.frame(&decoded)?;
            checked.send(steps).map_err(stopped)?;
        }
    }
}

fn stopped(cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, format!("the threads of the fetch have stopped: {cause}"))
}
