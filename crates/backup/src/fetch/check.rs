//! The checker's part of a fetch: decoded frames compared with what the descriptor says, segments
//! hashed, and what is to be done with their bytes, in order.

use bytes::Bytes;
use siltstone_lsm::format::primitives::PieceHasher;

use crate::{
    error::{Error, Result},
    fetch::{
        download::Decoded,
        itinerary::{ChunkMap, Chunks, Want},
    },
    format::{
        chunk::Slot,
        descriptor::StoredSegment,
        tar::{self, EntryName},
    },
    pace::Payer,
};

/// What the sink is to be told.
#[derive(Debug)]
pub(super) enum Step {
    /// The segment at this index follows.
    Begin(usize),
    /// Bytes of the segment at this index.
    Bytes(usize, Bytes),
    /// It is whole and matches its hash.
    End,
}

/// Compares and hashes.
pub(super) struct Checker<'a> {
    pub(super) chunks: &'a Chunks<'a>,
    pub(super) segments: &'a [StoredSegment],
    pub(super) payer: Payer<'a>,
    /// Of the segment that is under way.
    pub(super) hasher: PieceHasher,
}

impl Checker<'_> {
    /// Checks what is wanted from one frame.
    pub(super) fn frame(&mut self, decoded: &Decoded) -> Result<Vec<Step>> {
        let map = self.chunks.get(decoded.visit.chunk)?;
        let mut steps = Vec::new();
        for want in &decoded.visit.wants {
            self.payer.pay()?;
            match want {
                Want::Entry { segment, slot, last } => {
                    self.entry(map, decoded, (*segment, slot), &mut steps)?;
                    if *last {
                        self.end(*segment)?;
                        steps.push(Step::End);
                    }
                }
                Want::EndMark => {
                    let length = u32::try_from(decoded.bytes.len()).unwrap_or(u32::MAX);
                    let mark = part(map, decoded, 0..length)?;
                    if mark.iter().any(|byte| *byte != 0) {
                        return Err(differs(map, decoded.visit.frame, "the end mark"));
                    }
                }
            }
        }
        Ok(steps)
    }

    fn entry(
        &mut self,
        map: &ChunkMap<'_>,
        decoded: &Decoded,
        (index, slot): (usize, &Slot),
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        let Some(segment) = self.segments.get(index) else {
            return Ok(());
        };
        let frame_start = map.starts.get(slot.frame as usize).copied().unwrap_or_default();
        let position = frame_start + u64::from(slot.start);
        let name = EntryName { uid: segment.meta.uid, part: slot.part };
        let header = tar::header(map.chunk.codec, position, name, slot.length);
        if part(map, decoded, slot.start..slot.content)?[..] != header[..] {
            return Err(differs(map, slot.frame, "a tar header"));
        }
        let content_end = slot.content + slot.length;
        let content = part(map, decoded, slot.content..content_end)?;
        let pad = part(map, decoded, content_end..slot.end)?;
        if pad.iter().any(|byte| *byte != 0) {
            return Err(differs(map, slot.frame, "the pad of an entry"));
        }
        if slot.part == 0 {
            self.hasher = PieceHasher::default();
            steps.push(Step::Begin(index));
        }
        self.hasher.update(&content);
        steps.push(Step::Bytes(index, content));
        Ok(())
    }

    fn end(&mut self, index: usize) -> Result<()> {
        let Some(segment) = self.segments.get(index) else {
            return Ok(());
        };
        if std::mem::take(&mut self.hasher).finish() != segment.meta.hash {
            let objects: Vec<String> =
                segment.extents.iter().map(|extent| extent.chunk.object()).collect();
            let what = format!("segment {} in it does not match its hash", segment.meta.uid);
            return Err(Error::corrupt(objects.join("' or '"), what));
        }
        Ok(())
    }
}

/// Bytes of the plain frame, which must be in the window that was fetched.
fn part(map: &ChunkMap<'_>, decoded: &Decoded, range: std::ops::Range<u32>) -> Result<Bytes> {
    let from = decoded.visit.window.start;
    let start = range.start.checked_sub(from).map(|at| at as usize);
    let end = range.end.checked_sub(from).map(|at| at as usize);
    start
        .zip(end)
        .filter(|(start, end)| start <= end && *end <= decoded.bytes.len())
        .map(|(start, end)| decoded.bytes.slice(start..end))
        .ok_or_else(|| differs(map, decoded.visit.frame, "the length of a frame"))
}

fn differs(map: &ChunkMap<'_>, frame: u32, what: &str) -> Error {
    let object = map.chunk.id.object();
    Error::corrupt(object, format_args!("frame {frame}: {what} is not as the descriptor says"))
}
