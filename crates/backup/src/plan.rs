//! What a backup uploads and what it refers to: pure functions of a cut and earlier backups.
//!
//! A segment that the repository holds already, by its hash, is referred to where it lies. Chunks
//! are never rewritten, so a chunk of which little is still needed would keep the rest alive for
//! ever: what is needed of a chunk less than half alive is uploaded again, and the old chunk goes
//! with the last backup that refers to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use siltstone_lsm::{
    types::{Hash, SegmentMeta, TreeId},
    version::Segment,
};

use crate::{
    format::{
        chunk::{Chunk, Extent},
        descriptor::{Descriptor, StoredSegment},
        tar::END_BYTES,
    },
    names::ChunkId,
};

#[cfg(test)]
mod tests;

/// Segments that a repository holds already: those of earlier descriptors of the same store.
#[derive(Clone, Debug, Default)]
pub struct Base {
    chunks: Vec<Chunk>,
    chunks_known: BTreeMap<ChunkId, usize>,
    segments: BTreeMap<Hash, StoredSegment>,
}

impl Base {
    /// Adds all chunks and segments of a descriptor. Of segments with equal bytes the first added
    /// stays.
    pub fn add(&mut self, descriptor: &Descriptor) {
        descriptor.chunks.iter().for_each(|chunk| self.know_chunk(chunk));
        descriptor.segments.iter().for_each(|segment| self.know_segment(segment));
    }

    /// Adds one chunk, as from a journal, and those of `segments` that lie in known chunks.
    pub fn add_chunk(&mut self, chunk: &Chunk, segments: &[StoredSegment]) {
        self.know_chunk(chunk);
        for segment in segments {
            if segment.extents.iter().all(|extent| self.chunks_known.contains_key(&extent.chunk)) {
                self.know_segment(segment);
            }
        }
    }

    /// Makes what lies in chunk `from` lie in `to`, a copy of the object under another name.
    pub fn replace_chunk(&mut self, from: ChunkId, to: ChunkId) {
        let Some(index) = self.chunks_known.remove(&from) else {
            return;
        };
        self.chunks_known.insert(to, index);
        if let Some(chunk) = self.chunks.get_mut(index) {
            chunk.id = to;
        }
        for extent in self.segments.values_mut().flat_map(|segment| &mut segment.extents) {
            if extent.chunk == from {
                extent.chunk = to;
            }
        }
    }

    /// All chunks, in the order they were added.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    fn know_chunk(&mut self, chunk: &Chunk) {
        if let std::collections::btree_map::Entry::Vacant(vacant) =
            self.chunks_known.entry(chunk.id)
        {
            vacant.insert(self.chunks.len());
            self.chunks.push(chunk.clone());
        }
    }

    fn know_segment(&mut self, segment: &StoredSegment) {
        self.segments.entry(segment.meta.hash).or_insert_with(|| segment.clone());
    }

    /// The segments to refer to: those whose chunks are all `usable`, and still at least half alive.
    pub(crate) fn reusable(&self, usable: &BTreeSet<ChunkId>) -> Reusable<'_> {
        let serving = self.half_alive().intersection(usable).copied().collect();
        Reusable { base: self, serving }
    }

    /// The chunks of which at least half is still needed by the segments of the base. The plan
    /// needs no more of them than these do, or it would not find it here.
    fn half_alive(&self) -> BTreeSet<ChunkId> {
        let starts: Vec<Vec<u64>> = self.chunks.iter().map(Chunk::frame_starts).collect();
        let mut live: BTreeMap<ChunkId, u64> = BTreeMap::new();
        for segment in self.segments.values() {
            let mut part = 0;
            for extent in &segment.extents {
                let index = self.chunks_known.get(&extent.chunk).copied();
                let place = index.and_then(|index| Some((&self.chunks[index], starts.get(index)?)));
                let Some((chunk, starts)) = place else {
                    break;
                };
                let (bytes, parts) = footprint(chunk, starts, extent, part);
                *live.entry(extent.chunk).or_default() += bytes;
                part += parts;
            }
        }
        let alive = |chunk: &&Chunk| {
            let live = live.get(&chunk.id).copied().unwrap_or_default();
            is_half_alive(live, chunk)
        };
        self.chunks.iter().filter(alive).map(|chunk| chunk.id).collect()
    }
}

/// Segments of a base that a backup may refer to.
#[derive(Debug)]
pub(crate) struct Reusable<'a> {
    base: &'a Base,
    serving: BTreeSet<ChunkId>,
}

impl Reusable<'_> {
    /// The stored segment with the same bytes.
    pub(crate) fn find(&self, meta: &SegmentMeta) -> Option<&StoredSegment> {
        self.base.segments.get(&meta.hash).filter(|stored| {
            let same = stored.meta.uid == meta.uid && stored.meta.length == meta.length;
            same && stored.extents.iter().all(|extent| self.serving.contains(&extent.chunk))
        })
    }
}

/// Bytes of the tar stream that an extent takes, with headers and pads, and the parts in it.
fn footprint(chunk: &Chunk, starts: &[u64], extent: &Extent, part: u32) -> (u64, u32) {
    let slots = chunk.slots(starts, extent, part).unwrap_or_default();
    let bytes = slots.iter().map(|slot| u64::from(slot.end - slot.start)).sum();
    (bytes, u32::try_from(slots.len()).unwrap_or(u32::MAX))
}

/// Whether `live` bytes are at least half of the tar stream of a chunk, its end mark apart.
fn is_half_alive(live: u64, chunk: &Chunk) -> bool {
    let plain: u64 = chunk.frames.iter().map(|frame| u64::from(frame.plain)).sum();
    live.saturating_mul(2) >= plain.saturating_sub(u64::from(END_BYTES))
}

/// One segment to upload. Its file is pinned until the pipeline lets go of it.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Where its bytes are now.
    pub segment: Arc<Segment>,
    /// The trees and levels it belongs to: more than one after a restore under another name.
    pub homes: Vec<(TreeId, u8)>,
    /// What it may share a chunk with.
    pub group: Group,
}

/// Segments of different groups never share a chunk: the top ones soon die by compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Group {
    /// Levels 0 and 1.
    Top,
    /// All deeper levels.
    Bottom,
}

impl Group {
    /// The group of a level.
    pub fn of_level(level: u8) -> Self {
        if level <= 1 { Self::Top } else { Self::Bottom }
    }
}

/// What a backup does.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// To be uploaded, in this order: by level, L0 first, then by file and offset.
    pub uploads: Vec<Upload>,
    /// Found in the base, with their extents there.
    pub reused: Vec<StoredSegment>,
    /// The chunks of `reused`, in the order of the base. The backup relies on these.
    pub chunks: Vec<Chunk>,
    /// Bytes of the segments in `uploads`.
    pub upload_bytes: u64,
    /// Bytes of the segments in `reused`.
    pub reused_bytes: u64,
}

/// Decides about each segment of a cut: referred to if it lies in `usable` chunks of the base that
/// are still at least half alive, else uploaded.
pub fn plan(mut segments: Vec<Arc<Segment>>, base: &Base, usable: &BTreeSet<ChunkId>) -> Plan {
    segments.sort_by_key(|segment| (segment.level, segment.file.id, segment.offset, segment.tree));
    let reusable = base.reusable(usable);
    let mut plan = Plan::default();
    let mut uploads: BTreeMap<Hash, usize> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for segment in segments {
        let (tree, level, meta) = (segment.tree, segment.level, &segment.meta);
        if let Some(stored) = reusable.find(meta) {
            let extents = stored.extents.clone();
            used.extend(extents.iter().map(|extent| extent.chunk));
            plan.reused_bytes += meta.length;
            plan.reused.push(StoredSegment { tree, level, meta: meta.clone(), extents });
        } else if let Some(upload) = uploads.get(&meta.hash).and_then(|i| plan.uploads.get_mut(*i))
        {
            upload.homes.push((tree, level));
        } else {
            uploads.insert(meta.hash, plan.uploads.len());
            plan.upload_bytes += meta.length;
            let (homes, group) = (vec![(tree, level)], Group::of_level(level));
            plan.uploads.push(Upload { segment, homes, group });
        }
    }
    plan.chunks = base.chunks.iter().filter(|chunk| used.contains(&chunk.id)).cloned().collect();
    plan
}
