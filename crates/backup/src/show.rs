//! [`Contents`]: everything that a backup says of itself, without its bytes.

use std::{collections::BTreeMap, sync::Arc};

use siltstone_lsm::{
    catalog::TenantStatus,
    types::{Counts, SegmentMeta, TreeId},
};

use crate::{
    backend::Backend,
    error::Result,
    format::{
        chunk::{Chunk, Codec},
        config::Config,
        descriptor::Descriptor,
    },
    names::{BackupId, ChunkId},
    repository::Repository,
};

/// What is in a backup.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Contents {
    /// The descriptor of the whole: id, attempt, store, node, times, cut, totals.
    pub config: Config,
    /// Its collections, by name.
    pub collections: Vec<CollectionContents>,
    /// Its chunks, in the order they were written.
    pub chunks: Vec<ChunkContents>,
}

/// One collection of a backup.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CollectionContents {
    /// Its name.
    pub name: String,
    /// Its own rows, those of tenants apart.
    pub own: TreeContents,
    /// Its tenants, by name.
    pub tenants: Vec<TenantContents>,
}

/// One tenant of a backup.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TenantContents {
    /// Its name.
    pub name: String,
    /// HOT or COLD at the cut.
    pub status: TenantStatus,
    /// Its rows.
    pub rows: TreeContents,
}

/// What is stored of the rows of a collection or tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeContents {
    /// Segments.
    pub segments: u64,
    /// Bytes of its segments, before compression for the backup.
    pub bytes: u64,
    /// Entries by kind. Those that newer ones replace count until compaction drops them: there are
    /// at most as many rows as puts.
    pub entries: Counts,
    /// Wrapping sum of the sums of its segments.
    pub sum: u128,
}

/// One chunk of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChunkContents {
    /// Its identity.
    pub id: ChunkId,
    /// How its frames are stored.
    pub codec: Codec,
    /// Bytes as stored.
    pub bytes: u64,
    /// Bytes of the tar archive in it.
    pub plain_bytes: u64,
    /// Frames.
    pub frames: u64,
}

impl TreeContents {
    /// Counts one segment more.
    pub(crate) fn add(&mut self, meta: &SegmentMeta) {
        self.segments += 1;
        self.bytes += meta.length;
        self.entries.puts += meta.counts.puts;
        self.entries.deletes += meta.counts.deletes;
        self.entries.range_deletes += meta.counts.range_deletes;
        self.sum = self.sum.wrapping_add(meta.sum);
    }
}

impl Contents {
    /// Bytes of its chunks that earlier backups had stored.
    pub fn reused_bytes(&self) -> u64 {
        self.config.totals.chunk_bytes.saturating_sub(self.config.totals.uploaded_bytes)
    }

    /// Bytes of the archives in all its chunks, before compression.
    pub fn plain_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.plain_bytes).sum()
    }
}

/// Everything that a backup says of itself.
///
/// # Errors
/// `Invalid` for an id that cannot be; `NotFound` without the repository or the backup; `Corrupt`,
/// `NewerFormat`, and those of the backend.
pub fn show(backend: &Arc<dyn Backend>, id: &str) -> Result<Contents> {
    let repository = Repository::open(backend)?;
    let config = repository.backup(&BackupId::new(id)?)?;
    Ok(contents(repository.descriptor(config)?))
}

/// What a descriptor says, by collection and tenant.
pub(crate) fn contents(descriptor: Descriptor) -> Contents {
    let mut trees: BTreeMap<TreeId, TreeContents> = BTreeMap::new();
    for segment in &descriptor.segments {
        trees.entry(segment.tree).or_default().add(&segment.meta);
    }
    let rows = |tree: TreeId| trees.get(&tree).copied().unwrap_or_default();
    let collections = descriptor.collections.into_iter().map(|collection| CollectionContents {
        own: rows(collection.tree),
        tenants: (collection.tenants.into_iter())
            .map(|tenant| TenantContents {
                rows: rows(tenant.tree),
                name: tenant.name,
                status: tenant.status,
            })
            .collect(),
        name: collection.name,
    });
    Contents {
        collections: collections.collect(),
        chunks: descriptor.chunks.iter().map(chunk_contents).collect(),
        config: descriptor.config,
    }
}

fn chunk_contents(chunk: &Chunk) -> ChunkContents {
    ChunkContents {
        id: chunk.id,
        codec: chunk.codec,
        bytes: chunk.length,
        plain_bytes: chunk.frames.iter().map(|frame| u64::from(frame.plain)).sum(),
        frames: chunk.frames.len() as u64,
    }
}
