//! Which frames to fetch in which order: pure functions of chunks and segments.
//!
//! Segments are visited in the order in which they lie in the chunks, each whole before the next,
//! so a sink writes one at a time. Frames that follow each other are asked for together.

use std::{
    collections::{BTreeMap, VecDeque},
    iter::Peekable,
    ops::Range,
    vec,
};

use siltstone_lsm::format::primitives::Reason;

use crate::{
    error::{Error, Result},
    format::{
        chunk::{Chunk, Codec, FRAME_BYTES_MAX, FRAME_STORED_MAX, Slot},
        descriptor::StoredSegment,
        tar::END_BYTES,
    },
    names::ChunkId,
};

/// Most bytes of the frames of one request, decoded: a full frame and an end mark.
pub(super) const LEG_PLAIN_MAX: u64 = FRAME_BYTES_MAX as u64 + END_BYTES as u64;

/// Unneeded bytes that are fetched rather than making another request.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// Most bytes of one request.
pub(super) const LEG_BYTES_MAX: u64 = FRAME_STORED_MAX as u64 + GAP_BYTES_MAX;

const SOME_MIB: &str = "a request is for some MiB";

/// A chunk, and where its frames start.
#[derive(Debug)]
pub(super) struct ChunkMap<'a> {
    pub(super) chunk: &'a Chunk,
    pub(super) starts: Vec<u64>,
    /// Its place in the descriptor, by which visits are ordered.
    rank: usize,
}

/// All chunks by identity.
#[derive(Debug)]
pub(super) struct Chunks<'a>(BTreeMap<ChunkId, ChunkMap<'a>>);

/// One frame to visit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) chunk: ChunkId,
    pub(super) frame: u32,
    /// The bytes of the plain frame that are fetched: all of it, if it is compressed.
    pub(super) window: Range<u32>,
    /// What to take from it, in order.
    pub(super) wants: Vec<Want>,
}

/// What to take from a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// One entry of a segment of the request.
    Entry { segment: usize, slot: Slot, last: bool },
    /// The end of the archive, checked when the frame before it is.
    EndMark,
}

/// Frames that one request brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leg {
    pub(super) chunk: ChunkId,
    /// Bytes of the object.
    pub(super) range: Range<u64>,
    /// Each with where its window starts in the range, and its length as stored.
    pub(super) visits: Vec<(Visit, Range<usize>)>,
}

impl Leg {
    /// Bytes of the request.
    pub(super) fn stored_bytes(&self) -> usize {
        usize::try_from(self.range.end - self.range.start).expect(SOME_MIB)
    }
}

impl<'a> Chunks<'a> {
    pub(super) fn new(chunks: &'a [Chunk]) -> Self {
        let map = |(rank, chunk): (usize, &'a Chunk)| {
            (chunk.id, ChunkMap { chunk, starts: chunk.frame_starts(), rank })
        };
        Self(chunks.iter().enumerate().map(map).collect())
    }

    pub(super) fn get(&self, id: ChunkId) -> Result<&ChunkMap<'a>> {
        self.0.get(&id).ok_or_else(|| Error::corrupt(id.object(), "no descriptor describes it"))
    }
}

/// Where a segment starts: rank of the chunk, frame, offset; and its place in the request.
type Place = (usize, u32, u32, usize);

/// The requests for `segments`, made as they are asked for.
#[derive(Debug)]
pub(super) struct Legs<'a> {
    chunks: &'a Chunks<'a>,
    segments: &'a [StoredSegment],
    order: Peekable<vec::IntoIter<Place>>,
    /// Visits that are not in a request yet; the last may still grow.
    visits: VecDeque<Visit>,
}

impl<'a> Legs<'a> {
    pub(super) fn new(chunks: &'a Chunks<'a>, segments: &'a [StoredSegment]) -> Result<Self> {
        let mut order = Vec::with_capacity(segments.len());
        for (index, segment) in segments.iter().enumerate() {
            let first = segment.extents.first();
            let first = first.ok_or_else(|| damaged(segment, "it has no extents"))?;
            order.push((chunks.get(first.chunk)?.rank, first.frame, first.offset, index));
        }
        order.sort_unstable();
        let order = order.into_iter().peekable();
        Ok(Self { chunks, segments, order, visits: VecDeque::new() })
    }

    /// The next request; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Leg>> {
        let Some(first) = self.next_visit()? else {
            return Ok(None);
        };
        let map = self.chunks.get(first.chunk)?;
        let mut range = stored_range(map, &first);
        let mut plain = u64::from(plain_bytes(map.chunk, &first));
        let mut stored = vec![range.clone()];
        let mut visits = vec![first];
        while let Some(next) = self.peek_visit()? {
            let last_frame = visits.last().map_or(0, |visit| visit.frame);
            if next.chunk != map.chunk.id || next.frame <= last_frame {
                break;
            }
            let next_range = stored_range(map, next);
            let next_plain = plain + u64::from(plain_bytes(map.chunk, next));
            let gap = next_range.start - range.end;
            let length = next_range.end - range.start;
            if gap > GAP_BYTES_MAX || length > LEG_BYTES_MAX || next_plain > LEG_PLAIN_MAX {
                break;
            }
            range.end = next_range.end;
            plain = next_plain;
            stored.push(next_range);
            visits.extend(self.next_visit()?);
        }
        let within = |part: Range<u64>| {
            let at = |byte: u64| usize::try_from(byte - range.start);
            at(part.start).expect(SOME_MIB)..at(part.end).expect(SOME_MIB)
        };
        let visits = visits.into_iter().zip(stored.into_iter().map(within)).collect();
        Ok(Some(Leg { chunk: map.chunk.id, range, visits }))
    }

    fn peek_visit(&mut self) -> Result<Option<&Visit>> {
        self.prepare()?;
        Ok(self.visits.front())
    }

    fn next_visit(&mut self) -> Result<Option<Visit>> {
        self.prepare()?;
        Ok(self.visits.pop_front())
    }

    /// Makes the first visit complete: segments are taken up until a second one is begun.
    fn prepare(&mut self) -> Result<()> {
        while self.visits.len() < 2 {
            let Some((.., index)) = self.order.next() else {
                break;
            };
            self.add_segment(index)?;
        }
        Ok(())
    }

    fn add_segment(&mut self, index: usize) -> Result<()> {
        let Some(segment) = self.segments.get(index) else {
            return Ok(());
        };
        let next = self.order.peek().copied();
        let mut part = 0_u32;
        let mut left = segment.extents.len();
        for extent in &segment.extents {
            left -= 1;
            let map = self.chunks.get(extent.chunk)?;
            let slots = map.chunk.slots(&map.starts, extent, part);
            let slots = slots.map_err(|reason| damaged(segment, reason))?;
            part = part.saturating_add(u32::try_from(slots.len()).unwrap_or(u32::MAX));
            let count = slots.len();
            for (at, slot) in slots.into_iter().enumerate() {
                let last = left == 0 && at + 1 == count;
                self.add_entry(map.chunk, Want::Entry { segment: index, slot, last }, slot);
            }
            let (end_frame, id) = (end_frame(map.chunk), map.chunk.id);
            let stays = left == 0
                && next.is_some_and(|(rank, frame, ..)| {
                    rank == map.rank && frame.checked_add(1) == Some(end_frame)
                });
            let at_end = self.visits.back().is_some_and(|visit| {
                visit.chunk == id && visit.frame.checked_add(1) == Some(end_frame)
            });
            if at_end && !stays {
                self.add_end_mark(map.chunk, end_frame);
            }
        }
        Ok(())
    }

    fn add_entry(&mut self, chunk: &Chunk, want: Want, slot: Slot) {
        let window = match chunk.codec {
            Codec::None => slot.start..slot.end,
            Codec::Gzip | Codec::Zstd => {
                0..chunk.frames.get(slot.frame as usize).map_or(0, |frame| frame.plain)
            }
        };
        match self.visits.back_mut() {
            Some(visit) if visit.chunk == chunk.id && visit.frame == slot.frame => {
                let (start, end) = (visit.window.start, visit.window.end);
                visit.window = start.min(window.start)..end.max(window.end);
                visit.wants.push(want);
            }
            _ => {
                let (chunk, frame) = (chunk.id, slot.frame);
                self.visits.push_back(Visit { chunk, frame, window, wants: vec![want] });
            }
        }
    }

    fn add_end_mark(&mut self, chunk: &Chunk, frame: u32) {
        let window = 0..chunk.frames.last().map_or(0, |frame| frame.plain);
        let wants = vec![Want::EndMark];
        self.visits.push_back(Visit { chunk: chunk.id, frame, window, wants });
    }
}

fn end_frame(chunk: &Chunk) -> u32 {
    u32::try_from(chunk.frames.len().saturating_sub(1)).unwrap_or(u32::MAX)
}

/// Bytes of the object that hold the window of a visit.
fn stored_range(map: &ChunkMap<'_>, visit: &Visit) -> Range<u64> {
    let index = visit.frame as usize;
    let at = |index: usize| map.starts.get(index).copied().unwrap_or(map.chunk.length);
    let start = at(index);
    match map.chunk.codec {
        Codec::Gzip | Codec::Zstd => start..at(index + 1),
        Codec::None => start + u64::from(visit.window.start)..start + u64::from(visit.window.end),
    }
}

fn plain_bytes(chunk: &Chunk, visit: &Visit) -> u32 {
    chunk.frames.get(visit.frame as usize).map_or(0, |frame| frame.plain)
}

fn damaged(segment: &StoredSegment, reason: Reason) -> Error {
    let chunk = segment.extents.first().map_or_else(String::new, |extent| extent.chunk.object());
    Error::corrupt(chunk, format_args!("the place of segment {}: {reason}", segment.meta.uid))
}
