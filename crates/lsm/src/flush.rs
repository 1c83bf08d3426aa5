//! Writing a sealed memtable into one file of many segments.
//!
//! However many trees have writes in the memtable, the result is one file: 10,000 tenants with one
//! row each cost one flush, one sync and one edit.

use std::{collections::BTreeSet, sync::Arc};

use siltstone_io::env::Env;

use crate::{
    cache::BlockCache,
    error::Result,
    manifest::Record,
    memtable::Memtable,
    merge::cover::Cover,
    options::Options,
    output::{
        Limits, Outputs,
        rewrite::{Target, Tombstones, rewrite},
    },
    types::{FileId, SegmentMeta, Sequence, TreeId},
};

/// What a flush wrote: a durable file (synced, folder synced) and its segments.
#[derive(Debug)]
pub struct Flushed {
    /// The file.
    pub file: FileId,
    /// Its length in bytes.
    pub length: u64,
    /// Tree, byte offset and facts of each segment, ascending by tree, then by key.
    pub segments: Vec<(TreeId, u64, SegmentMeta)>,
}

impl Flushed {
    /// The records that make the file and its segments part of the store, in level 0.
    pub fn records(&self) -> Vec<Record> {
        let segment = |(tree, offset, meta): &(TreeId, u64, SegmentMeta)| Record::AddSegment {
            tree: *tree,
            level: 0,
            file: self.file,
            offset: *offset,
            meta: meta.clone(),
        };
        let file = Record::AddFile { file: self.file, length: self.length };
        std::iter::once(file).chain(self.segments.iter().map(segment)).collect()
    }
}

/// Where a flush writes.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The disk, and identifiers for the segments.
    pub env: &'a Env,
    /// Sizes and filters.
    pub options: &'a Options,
    /// Takes the blocks that are written: readers were just served from the memtable.
    pub cache: Option<&'a Arc<BlockCache>>,
}

/// Writes the newest version of each key of the memtable (older versions are unreachable: readers
/// that need them hold the memtable) for the trees in `trees`. `None` when nothing was left to
/// write.
///
/// # Errors
/// `NoSpace` or `Io`; the file is removed.
pub fn write(
    context: Context<'_>,
    memtable: &Arc<Memtable>,
    trees: &BTreeSet<TreeId>,
    file: FileId,
) -> Result<Option<Flushed>> {
    let Context { env, options, cache } = context;
    let limits = Limits { segment_bytes_max: options.segment_bytes_max, file_bytes_max: u64::MAX };
    let mut only_file = || file;
    let expected_bytes = memtable.bytes() as u64;
    let mut outputs =
        Outputs::new(env, options, limits, expected_bytes, &mut only_file).caching(cache);
    for tree in memtable.trees().into_iter().filter(|tree| trees.contains(tree)) {
        let cover = Cover::new(memtable.range_tombstones(tree, Sequence::MAX), Sequence::MAX);
        let target = Target { tree, level: 0, tombstones: Tombstones::Keep };
        let mut run = memtable.cursor(tree);
        let ended = rewrite(&mut *run, &cover, target, &mut outputs, &mut || true)?;
        debug_assert!(ended, "a flush is never cancelled");
    }
    let written = outputs.finish()?;
    let Some((file, length)) = written.files.first().copied() else { return Ok(None) };
    debug_assert_eq!(written.files.len(), 1, "a flush writes one file");
    let segments = written.segments.into_iter();
    let segments = segments.map(|segment| (segment.tree, segment.offset, segment.meta)).collect();
    Ok(Some(Flushed { file, length, segments }))
}

#[cfg(test)]
mod tests {
    use siltstone_io::{disk::Disk, sim::SimDisk};

    use super::*;
    use crate::format::names;

    #[test]
    fn blocks_of_a_flush_are_in_the_cache() {
        let disk = SimDisk::new(1);
        disk.create_dir(&names::top(names::FILES)).unwrap();
        let env = Env::seeded(Arc::new(disk), 1);
        let memtable = Arc::new(Memtable::new());
        memtable.put(TreeId(3), b"key", 1, b"value");
        let (options, trees) = (Options::default(), BTreeSet::from([TreeId(3)]));
        let cache = Arc::new(BlockCache::new(1 << 20));
        let context = |cache| Context { env: &env, options: &options, cache };
        let flush = |file, cache| write(context(cache), &memtable, &trees, FileId(file));
        let uid = |flushed: &Flushed| flushed.segments[0].2.uid;
        let cached = flush(1, Some(&cache)).unwrap().unwrap();
        assert!(cache.get(uid(&cached), 0).is_some());
        let past = flush(2, None).unwrap().unwrap();
        assert!(cache.get(uid(&past), 0).is_none());
    }
}
