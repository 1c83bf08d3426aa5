//! The middle: frames on their way from the framer to the uploader, compressed by workers or not.

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use siltstone_lsm::{format::primitives::PlainHasher, types::Hash};

use crate::{
    codec::Encoder,
    pace::Pace,
    parallel::{TURN_BYTES, give_way},
    pipeline::{
        Halt,
        framer::{FrameOut, FramePlan, Place},
    },
};

/// What the uploader gets, in order.
#[derive(Debug)]
pub(super) enum Event {
    /// An uncompressed frame begins.
    Begin(Place),
    /// Bytes of the uncompressed frame.
    Bytes(Bytes),
    /// The uncompressed frame is complete.
    End(FramePlan),
    /// A compressed frame, as soon as a worker is done with it.
    Packed { place: Place, frame: FramePlan, packed: Receiver<Packed> },
    /// Nothing follows, and nothing is missing.
    Done,
}

/// One compressed frame.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) stored: Vec<u8>,
    pub(super) hash: Hash,
}

/// Work for a worker: the parts of one plain frame.
#[derive(Debug)]
pub(super) struct Job {
    parts: Vec<Bytes>,
    reply: Sender<Packed>,
}

/// Compresses frames until no more come.
pub(super) fn work(mut encoder: Box<dyn Encoder>, jobs: &Receiver<Job>, pace: &Pace<'_>) {
    let mut payer = pace.payer();
    while let Ok(Job { parts, reply }) = jobs.recv() {
        let stored = encoder.encode(&parts, &mut || payer.pay().is_ok());
        drop(parts);
        let mut hasher = PlainHasher::default();
        for run in stored.chunks(TURN_BYTES) {
            hasher.update(run);
            give_way();
        }
        let hash = hasher.finish();
        // Also after a cancel, which the uploader then notices: a worker never ends before it.
        if reply.send(Packed { stored, hash }).is_err() {
            return; // the uploader has stopped
        }
    }
}

/// Passes frames on in pieces.
#[derive(Debug)]
pub(super) struct PlainOut(pub(super) Sender<Event>);

impl FrameOut for PlainOut {
    fn begin(&mut self, place: Place) -> Result<(), Halt> {
        Ok(self.0.send(Event::Begin(place))?)
    }

    fn bytes(&mut self, bytes: Bytes) -> Result<(), Halt> {
        Ok(self.0.send(Event::Bytes(bytes))?)
    }

    fn end(&mut self, frame: FramePlan) -> Result<(), Halt> {
        Ok(self.0.send(Event::End(frame))?)
    }
}

/// Gathers frames and hands them to workers; the uploader gets them in the order they were begun.
#[derive(Debug)]
pub(super) struct PackedOut {
    pub(super) events: Sender<Event>,
    pub(super) jobs: Sender<Job>,
    /// One for each frame that may be under way; the uploader gives it back.
    pub(super) tokens: Receiver<()>,
    pub(super) place: Place,
    pub(super) parts: Vec<Bytes>,
}

impl FrameOut for PackedOut {
    fn begin(&mut self, place: Place) -> Result<(), Halt> {
        self.tokens.recv()?;
        self.place = place;
        Ok(())
    }

    fn bytes(&mut self, bytes: Bytes) -> Result<(), Halt> {
        self.parts.push(bytes);
        Ok(())
    }

    fn end(&mut self, frame: FramePlan) -> Result<(), Halt> {
        let parts = std::mem::take(&mut self.parts);
        let (reply, packed) = bounded(1);
        self.jobs.send(Job { parts, reply })?;
        Ok(self.events.send(Event::Packed { place: self.place, frame, packed })?)
    }
}
