//! The workers' part of a fetch: one request, its frames checked and decoded.

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use siltstone_lsm::format::primitives::hash;

use crate::{
    backend::Backend,
    codec::decode,
    error::{Error, Result},
    fetch::itinerary::{Chunks, Leg, Visit},
    format::chunk::{Codec, Frame},
    pace::Pace,
};

/// A request, and where its answer goes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) leg: Leg,
    pub(super) reply: Sender<Result<Vec<Decoded>>>,
}

/// A frame as the tar stream has it; the bytes are those of the visit's window.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) visit: Visit,
    pub(super) bytes: Bytes,
}

/// Answers requests until no more come.
pub(super) fn work(
    backend: &dyn Backend,
    pace: &Pace<'_>,
    chunks: &Chunks<'_>,
    jobs: &Receiver<Job>,
) {
    let mut payer = pace.payer();
    while let Ok(Job { leg, reply }) = jobs.recv() {
        let mut go_on = || payer.pay();
        let answer = go_on().and_then(|()| {
            pace.transfer(leg.stored_bytes())?;
            download(backend, &mut go_on, chunks, leg)
        });
        if reply.send(answer).is_err() {
            return; // nobody waits for more
        }
    }
}

fn download(
    backend: &dyn Backend,
    go_on: &mut dyn FnMut() -> Result<()>,
    chunks: &Chunks<'_>,
    leg: Leg,
) -> Result<Vec<Decoded>> {
    let map = chunks.get(leg.chunk)?;
    let object = leg.chunk.object();
    let wanted = leg.range.end - leg.range.start;
    let bytes = backend.get_range(&object, leg.range)?;
    if bytes.len() as u64 != wanted {
        let what = format_args!("{} of {wanted} bytes arrived", bytes.len());
        return Err(Error::corrupt(&object, what));
    }
    let mut decoded = Vec::with_capacity(leg.visits.len());
    for (visit, range) in leg.visits {
        let stored = bytes.slice(range);
        let frame = map.chunk.frames.get(visit.frame as usize);
        let frame = frame.ok_or_else(|| Error::corrupt(&object, "a frame is missing"))?;
        go_on()?;
        let bytes = check(map.chunk.codec, frame, stored).map_err(|reason| {
            Error::corrupt(&object, format_args!("frame {}: {reason}", visit.frame))
        })?;
        decoded.push(Decoded { visit, bytes });
    }
    Ok(decoded)
}

fn check(codec: Codec, frame: &Frame, stored: Bytes) -> std::result::Result<Bytes, &'static str> {
    match frame.hash {
        None => Ok(stored),
        Some(expected) if hash(&stored) == expected => decode(codec, &stored, frame.plain),
        Some(_) => Err("it does not match its hash"),
    }
}
