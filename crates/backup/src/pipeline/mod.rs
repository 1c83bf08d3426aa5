//! The upload: read, frame, compress, store, in bounded memory.
//!
//! ```text
//!   disk -> read -> framer ----------(pieces)----------> store -> chunks -> settle
//!                      \---> workers (packed frames) ---/
//! ```
//!
//! One thread reads and hashes; workers compress whole frames, each frame alone; one thread writes
//! frames in their order into chunks; one finishes chunks and settles what they hold.
//! All queues are bounded, and `budget` computes from the options how much may be under way: a slow
//! backend pushes back to the disk.
//!
//! A stage that fails drops its ends of the queues; its neighbours then stop without an error of
//! their own, so exactly the first failure comes out.

use std::thread::{self, Scope, ScopedJoinHandle};

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvError, SendError, Sender, bounded};
use siltstone_io::env::Env;
use siltstone_lsm::format::primitives::hash;

use self::{
    budget::{Budget, PIECES_QUEUED},
    framer::{Framer, Place},
    pack::{Event, PackedOut, PlainOut},
    read::{Reading, Source},
    store::{Ends, Settler, Storer},
};
use crate::{
    backend::Backend,
    cancel::Cancel,
    codec::{codec_of, encoder},
    error::{Error, ErrorKind, Result},
    format::{
        chunk::{Chunk, ChunkSizes, Codec},
        descriptor::StoredSegment,
        tar::END_BYTES,
    },
    options::Compression,
    pace::{Host, Limits, Pace},
    parallel::{join, spawn},
    plan::Upload,
    progress::Progress,
};

mod budget;
mod framer;
mod pack;
mod read;
mod store;
#[cfg(test)]
mod tests;

/// How the pipeline works.
#[derive(Clone, Copy, Debug)]
pub struct PipelineOptions {
    /// How chunks are compressed.
    pub compression: Compression,
    /// How large chunks and frames become.
    pub sizes: ChunkSizes,
    /// How fast it may go.
    pub limits: Limits,
    /// Threads that compress; `None` for enough to use its share of the processors.
    pub workers: Option<usize>,
    /// Bound of its memory, in bytes.
    pub memory_bytes_max: u64,
}

/// What a pipeline works with.
#[derive(Clone, Copy, Debug)]
pub struct Pipeline<'a> {
    /// The disk of the store, and where chunk identities come from.
    pub env: &'a Env,
    /// Where chunks go.
    pub backend: &'a dyn Backend,
    /// Asks it to stop.
    pub cancel: &'a Cancel,
    /// Counts what it did.
    pub progress: &'a Progress,
    /// How it works.
    pub options: PipelineOptions,
}

/// What was stored.
#[derive(Clone, Debug, Default)]
pub struct Uploaded {
    /// The chunks, in the order they were written.
    pub chunks: Vec<Chunk>,
    /// One for each home of each upload, in the order in which they became complete.
    pub segments: Vec<StoredSegment>,
    /// Bytes of segments that were copied on their way from the disk's buffers to the backend or the
    /// compressor: those of small segments and of the ends of large ones.
    pub copied_bytes: u64,
}

/// One chunk that the backend acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct StoredChunk<'a> {
    /// The chunk.
    pub chunk: &'a Chunk,
    /// The segments that are complete with it; they may have begun in earlier chunks.
    pub segments: &'a [StoredSegment],
}

/// Is told about each chunk, on a thread of the pipeline.
pub type OnChunk<'a> = dyn FnMut(StoredChunk<'_>) -> Result<()> + Send + 'a;

impl Pipeline<'_> {
    /// Stores all uploads, in order; blocks until done. Each segment is let go when the chunk that
    /// ends it is acknowledged and `on_chunk` returned.
    ///
    /// # Errors
    /// `Corrupt` naming the file when local bytes do not match their hash; `Canceled`; `Invalid`
    /// when the memory does not suffice; and those of the backend, the disk and `on_chunk`. Chunks
    /// already acknowledged stay in the repository.
    pub fn run(&self, uploads: Vec<Upload>, on_chunk: &mut OnChunk<'_>) -> Result<Uploaded> {
        let PipelineOptions { compression, sizes, limits, workers, memory_bytes_max } =
            self.options;
        let workers = workers.unwrap_or_else(|| limits.workers());
        let budget = Budget::new(compression, sizes, workers, memory_bytes_max)?;
        let pace = &Pace::new(Host::from(self.env), self.backend, self.cancel, limits);
        let sources: Vec<Source> =
            uploads.iter().enumerate().map(|(index, upload)| Source::new(index, upload)).collect();
        let pending = uploads.into_iter().map(|upload| Some((upload, Vec::new()))).collect();
        let uploaded = Uploaded::default();
        let settler = Settler { pipeline: self, pending, on_chunk, uploaded };
        let stages = Stages { pipeline: self, pace, budget };
        thread::scope(|scope| stages.run(scope, &sources, settler))
    }
}

/// The threads of a run, and what they share.
#[derive(Clone, Copy, Debug)]
struct Stages<'a> {
    pipeline: &'a Pipeline<'a>,
    pace: &'a Pace<'a>,
    budget: Budget,
}

impl<'a> Stages<'a> {
    /// Starts the stages and joins them: the first failure wins.
    fn run<'scope>(
        self,
        scope: &'scope Scope<'scope, 'a>,
        sources: &'a [Source],
        settler: Settler<'a>,
    ) -> Result<Uploaded> {
        let Self { pipeline, pace, budget } = self;
        let (token_back, tokens) = bounded(budget.frames.max(1));
        for _ in 0..budget.frames {
            token_back.send(()).expect("the queue holds a token for each frame");
        }
        let (events_in, events) = bounded(PIECES_QUEUED.max(budget.frames));
        let (closed_in, closed) = bounded(0);
        let serial = (!budget.overlap).then(|| bounded(1));
        let (settled_in, settled) = serial.unzip();
        let settling = spawn(scope, "backup-settle", move || {
            settler.settle_all(&closed, settled_in.as_ref(), pace)
        })?;
        let reading = self.spawn_reader(scope, sources, (events_in, tokens))?;
        let ends = Ends { closed: closed_in, settled, tokens: token_back };
        let storing = spawn(scope, "backup-store", move || {
            let end_mark = end_mark(pipeline.options.compression);
            Storer::new(pipeline, pace, end_mark, ends).store_all(&events)
        })?;
        let stored = join(storing);
        let read = join(reading);
        let settled = join(settling);
        conclude(read, stored, settled)
    }

    fn spawn_reader<'scope>(
        self,
        scope: &'scope Scope<'scope, 'a>,
        sources: &'a [Source],
        (events, tokens): (Sender<Event>, Receiver<()>),
    ) -> Result<ScopedJoinHandle<'scope, std::result::Result<u64, Halt>>> {
        let Self { pipeline, pace, budget } = self;
        let PipelineOptions { compression, sizes, .. } = pipeline.options;
        let (disk, codec) = (&*pipeline.env.disk, codec_of(compression));
        if codec == Codec::None {
            return spawn(scope, "backup-read", move || {
                let framer = Framer::new(PlainOut(events), codec, sizes);
                let mut reading = Reading::new(disk, pace);
                let PlainOut(events) = reading.read_all(sources, framer)?;
                events.send(Event::Done)?;
                Ok(reading.copied_bytes)
            });
        }
        let (jobs_in, jobs) = bounded(budget.frames);
        for encoder in (0..budget.workers).filter_map(|_| encoder(compression)) {
            let jobs = jobs.clone();
            spawn(scope, "backup-pack", move || pack::work(encoder, &jobs, pace))?;
        }
        spawn(scope, "backup-read", move || {
            let (place, parts) = (Place::NewChunk, Vec::new());
            let out = PackedOut { events, jobs: jobs_in, tokens, place, parts };
            let framer = Framer::new(out, codec, sizes);
            let mut reading = Reading::new(disk, pace);
            let out = reading.read_all(sources, framer)?;
            out.events.send(Event::Done)?;
            Ok(reading.copied_bytes)
        })
    }
}

/// The first failure, or the result if every stage saw the end of the one before it.
fn conclude(
    read: std::result::Result<u64, Halt>,
    stored: std::result::Result<(), Halt>,
    settled: Result<Uploaded>,
) -> Result<Uploaded> {
    match (read, stored, settled) {
        (Err(Halt::Failed(error)), ..)
        | (_, Err(Halt::Failed(error)), _)
        | (Err(Halt::Stopped), _, Err(error))
        | (_, Err(Halt::Stopped), Err(error)) => Err(error),
        (Ok(copied_bytes), Ok(()), Ok(uploaded)) => Ok(Uploaded { copied_bytes, ..uploaded }),
        (Ok(_), Ok(()), failed) => failed,
        (.., Ok(_)) => Err(Error::new(ErrorKind::Io, "a stage of the backup stopped by itself")),
    }
}

/// The last frame of a chunk, as stored.
fn end_mark(compression: Compression) -> (Bytes, Option<siltstone_lsm::types::Hash>) {
    let plain = Bytes::from_static(&[0; END_BYTES as usize]);
    match encoder(compression) {
        None => (plain, None),
        Some(mut encoder) => {
            let stored = encoder.encode(&[plain], &mut || true);
            let hash = hash(&stored);
            (Bytes::from(stored), Some(hash))
        }
    }
}

/// Why a stage ended early.
#[derive(Debug)]
enum Halt {
    /// A neighbour has gone; it knows why.
    Stopped,
    /// This stage failed.
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<T> From<SendError<T>> for Halt {
    fn from(_: SendError<T>) -> Self {
        Self::Stopped
    }
}

impl From<RecvError> for Halt {
    fn from(_: RecvError) -> Self {
        Self::Stopped
    }
}
