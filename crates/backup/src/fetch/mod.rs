//! The download: frames by range, checked, decoded, and the segments in them handed out.
//!
//! Workers make requests, check the hash of each frame and decompress; the caller's thread takes
//! the answers in order, compares every header and pad with what the descriptor says, hashes each
//! segment and hands it to a sink. Requests ahead are bounded, so memory is.

use std::{collections::VecDeque, thread};

use crossbeam_channel::{Sender, bounded};
use siltstone_lsm::format::primitives::PieceHasher;

use self::{
    deliver::Delivery,
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
    progress::Progress,
};

mod deliver;
mod download;
pub mod files;
mod itinerary;
#[cfg(test)]
mod tests;

/// What the sink may hold: the buffers of two file streams, in bytes.
const SINK_BYTES: u64 = 12 << 20;

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
        let (progress, hasher, payer) = (self.progress, PieceHasher::default(), pace.payer());
        let delivery = Delivery { chunks, segments, pace, payer, progress, sink, hasher };
        let (jobs_in, jobs) = bounded(legs_max);
        thread::scope(|scope| {
            for _ in 0..self.workers().clamp(1, legs_max) {
                let jobs = jobs.clone();
                let work = move || download::work(self.backend, pace, chunks, &jobs);
                let worker = thread::Builder::new().name("backup-fetch".to_owned());
                worker.spawn_scoped(scope, work).map_err(|error| {
                    Error::new(
                        ErrorKind::Io,
                        format!("cannot start a thread of the fetch: {error}"),
                    )
                })?;
            }
            let delivered = deliver_all(legs, delivery, &jobs_in, legs_max);
            drop(jobs_in); // the workers end
            delivered
        })
    }

    /// A thread waits for its request most of the time, so there may be more than its share.
    fn workers(&self) -> usize {
        self.workers.unwrap_or_else(|| self.limits.workers().max(REQUESTS_MIN))
    }

    /// How many requests may be under way or in hand.
    fn legs_max(&self) -> Result<usize> {
        let legs = self.memory_bytes_max.saturating_sub(SINK_BYTES) / LEG_BYTES;
        let legs = usize::try_from(legs).unwrap_or(usize::MAX).min(self.workers().max(1) + 2);
        if legs == 0 {
            let bound = self.memory_bytes_max;
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("memory bound {bound} bytes is under the {LEG_BYTES} of one request"),
            ));
        }
        assert!(SINK_BYTES + legs as u64 * LEG_BYTES <= self.memory_bytes_max, "the bound holds");
        Ok(legs)
    }
}

/// Keeps up to `legs_max` requests under way, and takes their answers in order.
fn deliver_all(
    mut legs: Legs<'_>,
    mut delivery: Delivery<'_>,
    jobs: &Sender<Job>,
    legs_max: usize,
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
            eprintln!("recv {:?} hash, write, pay, get_range", deliver::T);
            return Ok(());
        };
        let t=std::time::Instant::now();
        let got = answer.recv().map_err(stopped)??;
        deliver::T[0].fetch_add(t.elapsed().as_micros() as u64, std::sync::atomic::Ordering::Relaxed);
        for decoded in got {
            delivery.frame(&decoded)?;
        }
    }
}

fn stopped(cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, format!("the threads of the fetch have stopped: {cause}"))
}
