//! [`Version`]: which segments make up each tree, by level; immutable, shared by views.
//! skeleton: owner of version.rs, catalog.rs, manifest/.

use std::sync::{Arc, OnceLock};

use siltstone_io::{disk::{BlockSource, Disk, ReadMode}};

use crate::{
    cache::BlockCache,
    error::Result,
    segment::SegmentReader,
    types::{FileId, SegmentMeta, TreeId},
};

/// A file of segments. Its name on disk is derived from the id; it is removed by the reap job when
/// no version and no view uses it (the handle's only owner is the obsolete list).
#[derive(Debug)]
pub struct FileHandle {
    pub id: FileId,
    /// Length in bytes, as the manifest says.
    pub length: u64,
    pub(crate) source: OnceLock<Arc<dyn BlockSource>>,
}

/// One segment in its place: what the manifest says plus a lazily opened reader. Holding it pins the file.
#[derive(Debug)]
pub struct Segment {
    pub tree: TreeId,
    pub level: u8,
    pub file: Arc<FileHandle>,
    /// Byte offset in the file.
    pub offset: u64,
    pub meta: SegmentMeta,
    pub(crate) reader: OnceLock<Arc<SegmentReader>>,
}

/// What opening a segment needs.
#[derive(Clone, Debug)]
pub struct SegmentOpener {
    pub disk: Arc<dyn Disk>,
    pub mode: ReadMode,
    pub cache: Arc<BlockCache>,
}

impl Segment {
    /// The reader, opened on first use (footer checked against the manifest).
    pub fn reader(&self, _opener: &SegmentOpener) -> Result<&Arc<SegmentReader>> {
        todo!()
    }
}

/// The segments of one tree. Level 0: newest first (by sequence_max), may overlap. Levels >= 1: sorted by key_min,
/// disjoint.
#[derive(Clone, Debug, Default)]
pub struct TreeVersion {
    pub levels: Vec<Vec<Arc<Segment>>>,
}

/// All trees' segments. A persistent map: an edit costs O(trees touched).
#[derive(Clone, Debug, Default)]
pub struct Version {}

impl Version {
    pub fn tree(&self, _tree: TreeId) -> Option<&Arc<TreeVersion>> {
        todo!()
    }
    /// Trees with segments, ascending.
    pub fn trees(&self) -> impl Iterator<Item = (TreeId, &Arc<TreeVersion>)> {
        std::iter::empty()
    }
    pub fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        std::iter::empty()
    }
}
