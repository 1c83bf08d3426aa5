//! The storing end: frames into chunk objects, and what is known once a chunk is acknowledged.

use bytes::Bytes;
use crossbeam_channel::{Receiver, SendError, Sender};
use siltstone_lsm::types::Hash;

use crate::{
    backend::ObjectWriter,
    codec::codec_of,
    error::{Error, Result},
    format::{
        chunk::{Chunk, Codec, Extent, FRAMES_MAX, Frame},
        descriptor::StoredSegment,
        tar::END_BYTES,
    },
    names::ChunkId,
    pace::{Pace, Payer},
    pipeline::{
        Halt, OnChunk, Pipeline, StoredChunk, Uploaded,
        budget::WRITE_BYTES,
        framer::{FramePlan, Place},
        pack::{Event, Packed},
    },
    plan::Upload,
};

/// Writes frames into chunks.
#[derive(Debug)]
pub(super) struct Storer<'a> {
    pipeline: &'a Pipeline<'a>,
    pace: &'a Pace<'a>,
    payer: Payer<'a>,
    codec: Codec,
    /// The last frame of every chunk: its bytes as stored, and its hash if compressed.
    end_mark: (Bytes, Option<Hash>),
    chunk: Option<OpenChunk>,
    closed: Sender<Closed>,
    /// Filled when a chunk is settled; read only where chunks must not overlap.
    settled: Option<Receiver<()>>,
    /// Gives back the right to have a frame under way.
    tokens: Sender<()>,
}

/// A chunk that is being written.
#[derive(Debug)]
struct OpenChunk {
    writer: Box<dyn ObjectWriter>,
    chunk: Chunk,
    extents: Vec<(usize, Extent)>,
    ended: Vec<usize>,
}

/// A chunk whose bytes are all written, but not acknowledged.
#[derive(Debug)]
pub(super) struct Closed(OpenChunk);

/// The channels of a [`Storer`].
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) closed: Sender<Closed>,
    pub(super) settled: Option<Receiver<()>>,
    pub(super) tokens: Sender<()>,
}

impl<'a> Storer<'a> {
    /// Starts without a chunk. `end_mark` is the stored last frame of every chunk.
    pub(super) fn new(
        pipeline: &'a Pipeline<'a>,
        pace: &'a Pace<'a>,
        end_mark: (Bytes, Option<Hash>),
        ends: Ends,
    ) -> Self {
        let Ends { closed, settled, tokens } = ends;
        let codec = codec_of(pipeline.options.compression);
        let payer = pace.payer();
        Self { pipeline, pace, payer, codec, end_mark, chunk: None, closed, settled, tokens }
    }

    /// Stores all that comes; if it ends early, the reader knows why.
    pub(super) fn store_all(mut self, events: &Receiver<Event>) -> std::result::Result<(), Halt> {
        let result = self.store(events);
        if let Some(open) = self.chunk.take() {
            // An abort that fails leaves parts that prune removes; the first failure is what counts.
            let aborted = open.writer.abort();
            return match (result, aborted) {
                (Ok(()) | Err(Halt::Stopped), Err(error)) => Err(error.into()),
                (Ok(()), Ok(())) => Err(Halt::Stopped),
                (result, _) => result,
            };
        }
        result
    }

    fn store(&mut self, events: &Receiver<Event>) -> std::result::Result<(), Halt> {
        loop {
            let event = events.recv()?;
            self.payer.pay()?;
            match event {
                Event::Begin(place) => {
                    if place == Place::NewChunk {
                        self.end_chunk()?;
                    }
                    self.open_chunk()?;
                }
                Event::Bytes(bytes) => self.write(bytes)?,
                Event::End(frame) => {
                    let stored = frame.plain;
                    self.add_frame(&frame, stored, None)?;
                }
                Event::Packed { place, frame, packed } => {
                    let packed = packed.recv()?;
                    self.add_packed(place, &frame, &packed)?;
                    drop(packed);
                    self.tokens.send(()).unwrap_or_default(); // a reader that is done takes none
                }
                Event::Done => return self.end_chunk(),
            }
        }
    }

    fn add_packed(
        &mut self,
        place: Place,
        frame: &FramePlan,
        packed: &Packed,
    ) -> std::result::Result<(), Halt> {
        let stored = u32::try_from(packed.stored.len()).expect("frames have 32 bits");
        if place == Place::NewChunk || !self.has_room(stored) {
            self.end_chunk()?;
        }
        for part in packed.stored.chunks(WRITE_BYTES) {
            self.write(Bytes::copy_from_slice(part))?;
        }
        self.add_frame(frame, stored, Some(packed.hash))?;
        Ok(())
    }

    fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.pace.transfer(bytes.len())?;
        self.open_chunk()?.writer.write(bytes)
    }

    /// Whether a frame and the end mark fit the open chunk.
    fn has_room(&self, stored: u32) -> bool {
        let bytes_max = self.pipeline.options.sizes.chunk_bytes();
        self.chunk.as_ref().is_none_or(|open| {
            let length = open.chunk.length + u64::from(stored) + self.end_mark.0.len() as u64;
            length <= bytes_max && open.chunk.frames.len() + 2 <= FRAMES_MAX
        })
    }

    fn open_chunk(&mut self) -> Result<&mut OpenChunk> {
        match &mut self.chunk {
            Some(open) => Ok(open),
            none => {
                let id = ChunkId(self.pipeline.env.unique_id());
                let writer = self.pipeline.backend.writer(&id.object())?;
                let chunk = Chunk { id, codec: self.codec, length: 0, frames: Vec::new() };
                let (extents, ended) = (Vec::new(), Vec::new());
                Ok(none.insert(OpenChunk { writer, chunk, extents, ended }))
            }
        }
    }

    fn add_frame(&mut self, frame: &FramePlan, stored: u32, hash: Option<Hash>) -> Result<()> {
        self.open_chunk()?.add_frame(frame, stored, hash);
        for entry in &frame.entries {
            self.pipeline.progress.add_done(entry.upload, u64::from(entry.length));
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> std::result::Result<(), Halt> {
        let Some(open) = &mut self.chunk else {
            return Ok(());
        };
        let (bytes, hash) = self.end_mark.clone();
        let stored = u32::try_from(bytes.len()).expect("an end mark is short");
        open.writer.write(bytes)?;
        open.add_frame(&FramePlan { plain: END_BYTES, entries: Vec::new() }, stored, hash);
        assert!(
            open.chunk.length <= self.pipeline.options.sizes.chunk_bytes(),
            "a chunk keeps its bound"
        );
        if let Some(open) = self.chunk.take()
            && let Err(SendError(Closed(open))) = self.closed.send(Closed(open))
        {
            self.chunk = Some(open); // to be aborted
            return Err(Halt::Stopped);
        }
        if let Some(settled) = &self.settled {
            settled.recv()?;
        }
        Ok(())
    }
}

impl OpenChunk {
    fn add_frame(&mut self, frame: &FramePlan, stored: u32, hash: Option<Hash>) {
        let index = u32::try_from(self.chunk.frames.len()).expect("a chunk has few frames");
        self.chunk.frames.push(Frame { plain: frame.plain, stored, hash });
        self.chunk.length += u64::from(stored);
        for entry in &frame.entries {
            match self.extents.last_mut() {
                Some((upload, extent)) if *upload == entry.upload => {
                    extent.length += u64::from(entry.length);
                }
                _ => {
                    let (chunk, length) = (self.chunk.id, u64::from(entry.length));
                    let extent = Extent { chunk, frame: index, offset: entry.start, length };
                    self.extents.push((entry.upload, extent));
                }
            }
            if entry.last {
                self.ended.push(entry.upload);
            }
        }
    }
}

/// Finishes chunks and settles what they hold.
pub(super) struct Settler<'a> {
    pub(super) pipeline: &'a Pipeline<'a>,
    /// The uploads that are not complete, with the extents known so far.
    pub(super) pending: Vec<Option<(Upload, Vec<Extent>)>>,
    pub(super) on_chunk: &'a mut OnChunk<'a>,
    pub(super) uploaded: Uploaded,
}

impl Settler<'_> {
    /// Settles chunks until no more come; tells `settled` about each, where it is listened to.
    pub(super) fn settle_all(
        mut self,
        closed: &Receiver<Closed>,
        settled: Option<&Sender<()>>,
        pace: &Pace<'_>,
    ) -> Result<Uploaded> {
        let mut payer = pace.payer();
        for Closed(open) in closed {
            self.settle(open)?;
            payer.pay()?;
            if settled.is_some_and(|settled| settled.send(()).is_err()) {
                break; // the storer has stopped, and says why
            }
        }
        Ok(self.uploaded)
    }

    fn settle(&mut self, open: OpenChunk) -> Result<()> {
        let OpenChunk { writer, chunk, extents, ended } = open;
        let length = writer.finish()?;
        if length != chunk.length {
            let what = format!("{} bytes were written, {length} arrived", chunk.length);
            return Err(Error::corrupt(chunk.id.object(), what));
        }
        debug_assert_eq!(chunk.check(), Ok(()), "a chunk made here passes its own check");
        for (upload, extent) in extents {
            let pending = self.pending.get_mut(upload).and_then(Option::as_mut);
            pending.expect("an upload is pending until its last chunk").1.push(extent);
        }
        let first = self.uploaded.segments.len();
        let mut released = Vec::with_capacity(ended.len());
        for upload in ended {
            let pending = self.pending.get_mut(upload).and_then(Option::take);
            let (upload, extents) = pending.expect("an upload ends once");
            for &(tree, level) in &upload.homes {
                let (meta, extents) = (upload.segment.meta.clone(), extents.clone());
                self.uploaded.segments.push(StoredSegment { tree, level, meta, extents });
            }
            released.push(upload);
        }
        let segments = self.uploaded.segments.get(first..).unwrap_or_default();
        (self.on_chunk)(StoredChunk { chunk: &chunk, segments })?;
        self.pipeline.progress.add_chunk(chunk.length);
        self.uploaded.chunks.push(chunk);
        drop(released);
        Ok(())
    }
}
