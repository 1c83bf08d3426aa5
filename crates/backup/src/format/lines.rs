//! The lines of a part, as JSON: one object with one field, which says what the line is.
//!
//! Unknown and repeated fields are refused: a line means the same to every reader of its version.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use serde::{Deserialize, Serialize};
use siltstone_lsm::{
    catalog::TenantStatus,
    types::{Counts, Hash, SegmentMeta, TreeId, Uid},
};

use crate::{
    format::{
        chunk::{Chunk, Extent, Frame},
        config::CodecName,
        descriptor::{StoredCollection, StoredSegment, StoredTenant},
        text::{decimal, hex_array, hex_array_option, key, key_option},
    },
    names::{AttemptId, BackupId, ChunkId},
};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Line {
    Part(PartLine),
    Collection(CollectionLine),
    Tenant(TenantLine),
    Chunk(ChunkLine),
    Segment(Box<SegmentLine>),
}

/// The first line of each part.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct PartLine {
    pub(super) id: BackupId,
    pub(super) attempt: AttemptId,
    pub(super) number: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct CollectionLine {
    name: String,
    #[serde(with = "decimal")]
    tree: u64,
}

/// A tenant of the collection whose line came last.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct TenantLine {
    name: String,
    #[serde(with = "decimal")]
    tree: u64,
    status: StatusName,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum StatusName {
    Hot,
    Cold,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ChunkLine {
    id: ChunkId,
    codec: CodecName,
    #[serde(with = "decimal")]
    length: u64,
    frames: Vec<FrameLine>,
}

/// `stored` and `hash` are there if the chunk is compressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FrameLine {
    plain: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex_array_option")]
    hash: Option<[u8; 32]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SegmentLine {
    #[serde(with = "decimal")]
    tree: u64,
    level: u8,
    #[serde(with = "hex_array")]
    uid: [u8; 16],
    #[serde(with = "decimal")]
    length: u64,
    #[serde(with = "hex_array")]
    hash: [u8; 32],
    #[serde(with = "decimal")]
    puts: u64,
    #[serde(with = "decimal")]
    deletes: u64,
    #[serde(with = "decimal")]
    range_deletes: u64,
    #[serde(with = "decimal")]
    sum: u128,
    #[serde(with = "key")]
    key_min: Vec<u8>,
    /// Absent when a range tombstone has no end.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "key_option")]
    key_max: Option<Vec<u8>>,
    #[serde(with = "decimal")]
    sequence_min: u64,
    #[serde(with = "decimal")]
    sequence_max: u64,
    extents: Vec<ExtentLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ExtentLine {
    chunk: ChunkId,
    frame: u32,
    offset: u32,
    #[serde(with = "decimal")]
    length: u64,
}

impl CollectionLine {
    pub(super) fn new(collection: &StoredCollection) -> Self {
        Self { name: collection.name.clone(), tree: collection.tree.0 }
    }
}

impl From<CollectionLine> for StoredCollection {
    fn from(line: CollectionLine) -> Self {
        Self { name: line.name, tree: TreeId(line.tree), tenants: Vec::new() }
    }
}

impl TenantLine {
    pub(super) fn new(tenant: &StoredTenant) -> Self {
        let status = match tenant.status {
            TenantStatus::Cold => StatusName::Cold,
            _ => StatusName::Hot,
        };
        Self { name: tenant.name.clone(), tree: tenant.tree.0, status }
    }
}

impl From<TenantLine> for StoredTenant {
    fn from(line: TenantLine) -> Self {
        let status = match line.status {
            StatusName::Hot => TenantStatus::Hot,
            StatusName::Cold => TenantStatus::Cold,
        };
        Self { name: line.name, tree: TreeId(line.tree), status }
    }
}

impl ChunkLine {
    pub(crate) fn new(chunk: &Chunk) -> Self {
        let frames = chunk.frames.iter().map(FrameLine::new).collect();
        Self { id: chunk.id, codec: chunk.codec.into(), length: chunk.length, frames }
    }
}

impl From<ChunkLine> for Chunk {
    fn from(line: ChunkLine) -> Self {
        let frames = line.frames.into_iter().map(Frame::from).collect();
        Self { id: line.id, codec: line.codec.into(), length: line.length, frames }
    }
}

impl FrameLine {
    fn new(frame: &Frame) -> Self {
        let stored = frame.hash.map(|_| frame.stored);
        Self { plain: frame.plain, stored, hash: frame.hash.map(|hash| hash.0) }
    }
}

impl From<FrameLine> for Frame {
    fn from(line: FrameLine) -> Self {
        let stored = line.stored.unwrap_or(line.plain);
        Self { plain: line.plain, stored, hash: line.hash.map(Hash) }
    }
}

impl SegmentLine {
    /// Bytes of the fields that are not keys, and of one extent, as JSON: a little more than the
    /// longest.
    const FIELDS_BYTES: usize = 640;
    const EXTENT_BYTES: usize = 128;

    /// The most bytes that it takes as JSON.
    pub(crate) fn bytes_max(&self) -> usize {
        let keys = self.key_min.len().saturating_add(self.key_max.as_ref().map_or(0, Vec::len));
        let extents = self.extents.len().saturating_mul(Self::EXTENT_BYTES);
        keys.saturating_mul(2).saturating_add(extents).saturating_add(Self::FIELDS_BYTES)
    }

    pub(crate) fn new(segment: &StoredSegment) -> Self {
        let meta = &segment.meta;
        let extents = segment.extents.iter().map(|extent| ExtentLine {
            chunk: extent.chunk,
            frame: extent.frame,
            offset: extent.offset,
            length: extent.length,
        });
        Self {
            tree: segment.tree.0,
            level: segment.level,
            uid: meta.uid.0,
            length: meta.length,
            hash: meta.hash.0,
            puts: meta.counts.puts,
            deletes: meta.counts.deletes,
            range_deletes: meta.counts.range_deletes,
            sum: meta.sum,
            key_min: meta.key_min.clone(),
            key_max: meta.key_max.clone(),
            sequence_min: meta.sequence_min,
            sequence_max: meta.sequence_max,
            extents: extents.collect(),
        }
    }
}

impl From<SegmentLine> for StoredSegment {
    fn from(line: SegmentLine) -> Self {
        let extents = line.extents.into_iter().map(|extent| Extent {
            chunk: extent.chunk,
            frame: extent.frame,
            offset: extent.offset,
            length: extent.length,
        });
        Self {
            tree: TreeId(line.tree),
            level: line.level,
            meta: SegmentMeta {
                uid: Uid(line.uid),
                length: line.length,
                hash: Hash(line.hash),
                counts: Counts {
                    puts: line.puts,
                    deletes: line.deletes,
                    range_deletes: line.range_deletes,
                },
                sum: line.sum,
                key_min: line.key_min,
                key_max: line.key_max,
                sequence_min: line.sequence_min,
                sequence_max: line.sequence_max,
            },
            extents: extents.collect(),
        }
    }
}
