//! What a backup uploads and what it refers to: pure functions of a cut and earlier backups.

use std::{collections::BTreeSet, sync::Arc};

use siltstone_lsm::{types::TreeId, version::Segment};

use crate::{
    format::{
        chunk::Chunk,
        descriptor::{Descriptor, StoredSegment},
    },
    names::ChunkId,
};

/// Segments that a repository holds already: those of earlier descriptors of the same store.
#[derive(Clone, Debug, Default)]
pub struct Base {}

impl Base {
    /// Adds all chunks and segments of a descriptor.
    pub fn add(&mut self, _descriptor: &Descriptor) {
        todo!()
    }

    /// Adds one chunk and the segments that lie in known chunks only, as from a journal.
    pub fn add_chunk(&mut self, _chunk: Chunk, _segments: &[StoredSegment]) {
        todo!()
    }

    /// Makes all segments of chunk `from` lie in `to`, a copy of the object under another name.
    pub fn replace_chunk(&mut self, _from: ChunkId, _to: ChunkId) {
        todo!()
    }

    /// All chunks, ascending.
    pub fn chunk_ids(&self) -> Vec<ChunkId> {
        todo!()
    }
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

/// What a backup does.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// To be uploaded, in this order: L0 first, then by level, file and offset.
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
pub fn plan(_segments: Vec<Arc<Segment>>, _base: &Base, _usable: &BTreeSet<ChunkId>) -> Plan {
    todo!()
}
