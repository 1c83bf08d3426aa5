//! Writing a sealed memtable into one file of many segments.
//! skeleton: owner of memtable/, merge.rs, view.rs, compaction/, flush.rs

use std::{collections::BTreeSet, sync::Arc};

use siltstone_io::env::Env;

use crate::{error::Result, manifest::Record, memtable::Memtable, options::Options, types::{FileId, SegmentMeta, TreeId}};

/// What a flush wrote: a durable file (synced, folder synced) and its segments.
#[derive(Debug)]
pub struct Flushed {
    pub file: FileId,
    pub length: u64,
    /// (tree, offset, meta), ascending by tree.
    pub segments: Vec<(TreeId, u64, SegmentMeta)>,
}

/// Writes the newest version of each key of the memtable (older versions are unreachable: readers that need them
/// hold the memtable) for the trees in `trees`. `None` when nothing was left to write.
pub fn write(_env: &Env, _options: &Options, _memtable: &Arc<Memtable>, _trees: &BTreeSet<TreeId>, _file: FileId) -> Result<Option<Flushed>> {
    todo!()
}

#[expect(dead_code, reason = "skeleton")]
fn unused(_: Record) {}
