//! The caller's part of a fetch: decoded frames compared with what the descriptor says, and the
//! segments in them handed to the sink.

use siltstone_io::disk::STREAM_PIECE_BYTES;
use siltstone_lsm::format::primitives::PieceHasher;

use crate::{
    error::{Error, Result},
    fetch::{
        SegmentSink,
        download::Decoded,
        itinerary::{ChunkMap, Chunks, Want},
    },
    format::{
        chunk::Slot,
        descriptor::StoredSegment,
        tar::{self, EntryName},
    },
    pace::{Pace, Payer},
    progress::Progress,
};

pub(super) static T: [std::sync::atomic::AtomicU64;5] = [const {std::sync::atomic::AtomicU64::new(0)};5];
/// Compares, hashes and hands over.
pub(super) struct Delivery<'a> {
    pub(super) chunks: &'a Chunks<'a>,
    pub(super) segments: &'a [StoredSegment],
    pub(super) pace: &'a Pace<'a>,
    pub(super) payer: Payer<'a>,
    pub(super) progress: &'a Progress,
    pub(super) sink: &'a mut dyn SegmentSink,
    /// Of the segment that is being delivered.
    pub(super) hasher: PieceHasher,
}

impl Delivery<'_> {
    /// Takes what is wanted from one frame.
    pub(super) fn frame(&mut self, decoded: &Decoded) -> Result<()> {
        let map = self.chunks.get(decoded.visit.chunk)?;
        for want in &decoded.visit.wants {
            let t=std::time::Instant::now();
            self.payer.pay()?;
            T[3].fetch_add(t.elapsed().as_micros() as u64, std::sync::atomic::Ordering::Relaxed);
            match want {
                Want::Entry { segment, slot, last } => {
                    self.entry(map, decoded, *segment, slot)?;
                    if *last {
                        self.end(*segment)?;
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
        Ok(())
    }

    fn entry(
        &mut self,
        map: &ChunkMap<'_>,
        decoded: &Decoded,
        index: usize,
        slot: &Slot,
    ) -> Result<()> {
        let Some(segment) = self.segments.get(index) else {
            return Ok(());
        };
        let frame_start = map.starts.get(slot.frame as usize).copied().unwrap_or_default();
        let position = frame_start + u64::from(slot.start);
        let name = EntryName { uid: segment.meta.uid, part: slot.part };
        let header = tar::header(map.chunk.codec, position, name, slot.length);
        if part(map, decoded, slot.start..slot.content)? != header {
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
            self.sink.begin(index, segment)?;
        }
        // By pieces, so that the disk has the first while the next are hashed.
        for piece in content.chunks(STREAM_PIECE_BYTES) {
            let t=std::time::Instant::now();
            self.hasher.update(piece);
            T[1].fetch_add(t.elapsed().as_micros() as u64, std::sync::atomic::Ordering::Relaxed);
            let t=std::time::Instant::now();
            self.sink.write(piece)?;
            T[2].fetch_add(t.elapsed().as_micros() as u64, std::sync::atomic::Ordering::Relaxed);
        }
        self.pace.streamed(content.len());
        self.progress.add_done(index, u64::from(slot.length));
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
        self.sink.end()
    }
}

/// Bytes of the plain frame, which must be in the window that was fetched.
fn part<'a>(
    map: &ChunkMap<'_>,
    decoded: &'a Decoded,
    range: std::ops::Range<u32>,
) -> Result<&'a [u8]> {
    let from = decoded.visit.window.start;
    let start = range.start.checked_sub(from).map(|at| at as usize);
    let end = range.end.checked_sub(from).map(|at| at as usize);
    start
        .zip(end)
        .and_then(|(start, end)| decoded.bytes.get(start..end))
        .ok_or_else(|| differs(map, decoded.visit.frame, "the length of a frame"))
}

fn differs(map: &ChunkMap<'_>, frame: u32, what: &str) -> Error {
    let object = map.chunk.id.object();
    Error::corrupt(object, format_args!("frame {frame}: {what} is not as the descriptor says"))
}
