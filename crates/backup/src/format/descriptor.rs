//! The descriptor of a node: catalog, chunks and segments, as lines of JSON in parts.
//!
//! A part is at most 16 MiB and is read line by line, never as a whole document. All collections
//! come first, each followed by its tenants, then all chunks, then all segments; so each line
//! refers only to earlier ones, and a reference to nothing is refused where it stands.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::{collections::BTreeMap, sync::Arc};

use siltstone_lsm::{
    catalog::{Collection, Tenant, TenantStatus},
    types::{SegmentMeta, TreeId},
};

use crate::{
    format::{
        chunk::{Chunk, Extent},
        config::Config,
    },
    names::ChunkId,
};

pub use self::{
    reader::DescriptorReader,
    writer::{Part, PartsWriter},
};

mod reader;
#[cfg(test)]
mod tests;
mod writer;

/// Largest part of a descriptor, in bytes (16 MiB).
pub const PART_BYTES_MAX: u64 = 16 << 20;

/// Longest line of a part, in bytes (4 MiB).
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// A whole backup, as its descriptors tell.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// The descriptor object itself.
    pub config: Config,
    /// The catalog, by name.
    pub collections: Vec<StoredCollection>,
    /// Every chunk that a segment uses, in the order they were written.
    pub chunks: Vec<Chunk>,
    /// All segments of all trees.
    pub segments: Vec<StoredSegment>,
}

/// One collection of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCollection {
    /// Its name.
    pub name: String,
    /// The tree of its own rows, in the store it was taken of.
    pub tree: TreeId,
    /// Its tenants, by name.
    pub tenants: Vec<StoredTenant>,
}

impl From<&Collection> for StoredCollection {
    fn from(collection: &Collection) -> Self {
        let tenant = |(name, tenant): (&Arc<str>, &Tenant)| StoredTenant {
            name: name.to_string(),
            tree: tenant.tree,
            status: tenant.status,
        };
        let tenants = collection.tenants.iter().map(tenant).collect();
        Self { name: collection.name.to_string(), tree: collection.tree, tenants }
    }
}

/// One tenant of a collection of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTenant {
    /// Its name.
    pub name: String,
    /// Its tree, in the store it was taken of.
    pub tree: TreeId,
    /// HOT or COLD at the cut.
    pub status: TenantStatus,
}

/// One segment of a backup, and where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSegment {
    /// The tree it belongs to, in the store it was taken of.
    pub tree: TreeId,
    /// The level it was on.
    pub level: u8,
    /// Identity, length, hash, counts, sum, ranges.
    pub meta: SegmentMeta,
    /// Its bytes, in order; never empty.
    pub extents: Vec<Extent>,
}

impl Descriptor {
    /// Chunks by identity.
    pub fn chunks_by_id(&self) -> BTreeMap<ChunkId, &Chunk> {
        self.chunks.iter().map(|chunk| (chunk.id, chunk)).collect()
    }
}
