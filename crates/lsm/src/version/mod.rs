//! [`Version`]: which segments make up each tree, by level, and which files hold them.
//!
//! Immutable and shared: a View holds a version for as long as it lives, an edit makes the next one
//! ([`edit`]) and copies only what it touches. A segment holds its file's handle, so whoever holds a
//! segment (a version, a view, a cut) pins the file on disk.
//!
//! Invariants, established by [`edit::VersionEdit::finish`]:
//!
//! 1. Level 0 of a tree is sorted newest first, by `sequence_max`, and may overlap.
//! 2. Every other level is sorted by `key_min`, and neighbours overlap in at most one key: an
//!    exclusive end of a range tombstone counts as inclusive, so it may touch the next `key_min`.
//! 3. A tree is in the version if it has segments, a file if it holds some; the segments of a file
//!    do not overlap and lie within its length.

pub mod edit;
pub mod held;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    task::Waker,
};

use siltstone_io::{
    disk::{BlockSource, Disk, ReadMode},
    error::ErrorKind as IoErrorKind,
};

use crate::{
    cache::BlockCache,
    error::{Error, ErrorKind, Result},
    format::names,
    segment::SegmentReader,
    shared_map::SharedMap,
    types::{FileId, SegmentMeta, TreeId},
};

/// Levels a tree may have.
pub const LEVELS_MAX: u8 = 16;

/// Longest file of segments, in bytes (256 TiB); bounds what a damaged edit can claim.
pub const FILE_BYTES_MAX: u64 = 1 << 48;

/// A file of segments. Its name on disk is derived from the id; the reap job removes it when its
/// handle has no other owner.
#[derive(Debug)]
pub struct FileHandle {
    /// Its identifier.
    pub id: FileId,
    /// Length in bytes, as the manifest says.
    pub length: u64,
    pub(crate) source: OnceLock<Arc<dyn BlockSource>>,
    /// Who waits for the last holder to let go, once no version names the file.
    reaper: OnceLock<Waker>,
}

/// One segment in its place: what the manifest says, and a reader that is opened on first use.
/// Holding it pins the file.
#[derive(Debug)]
pub struct Segment {
    /// Whose rows it holds.
    pub tree: TreeId,
    /// 0 is the newest.
    pub level: u8,
    /// The file that holds it.
    pub file: Arc<FileHandle>,
    /// Byte offset in the file.
    pub offset: u64,
    /// What is known of it.
    pub meta: SegmentMeta,
    pub(crate) reader: OnceLock<Arc<SegmentReader>>,
}

/// What opening a segment needs.
#[derive(Clone, Debug)]
pub struct SegmentOpener {
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
    /// How blocks are read.
    pub mode: ReadMode,
    /// Where blocks are kept.
    pub cache: Arc<BlockCache>,
}

/// The segments of one tree, by level; see the invariants of the module.
#[derive(Clone, Debug, Default)]
pub struct TreeVersion {
    /// From level 0 on; the last is not empty.
    pub levels: Vec<Vec<Arc<Segment>>>,
}

/// What a file is used for.
#[derive(Clone, Debug)]
pub struct FileUse {
    /// The file.
    pub handle: Arc<FileHandle>,
    /// Its live segments by offset.
    pub segments: SharedMap<u64, Arc<Segment>>,
    /// Their bytes; the rest of the file's length is dead.
    pub live_bytes: u64,
}

/// All trees' segments, and the files that hold them. Clones share.
#[derive(Clone, Debug, Default)]
pub struct Version {
    trees: SharedMap<TreeId, Arc<TreeVersion>>,
    files: SharedMap<FileId, FileUse>,
    segment_count: u64,
    /// Wide enough for the sum of whatever lengths a damaged manifest claims.
    segment_bytes: u128,
    /// How many trees have how many segments on level 0; few numbers, as level 0 is kept short.
    level0_lengths: BTreeMap<usize, u64>,
}

impl FileHandle {
    /// A handle to a file that is on disk and durable.
    pub fn new(id: FileId, length: u64) -> Self {
        Self { id, length, source: OnceLock::new(), reaper: OnceLock::new() }
    }

    /// Asks for `reaper` to be woken when the last holder of the file has let go.
    pub(crate) fn wake_when_free(&self, reaper: Waker) {
        self.reaper.get_or_init(|| reaper);
    }

    /// The open file, opened on first use.
    ///
    /// # Errors
    /// `Corrupt` when it is missing or has another length than the manifest says; `Io`.
    pub fn source(&self, opener: &SegmentOpener) -> Result<&Arc<dyn BlockSource>> {
        if let Some(source) = self.source.get() {
            return Ok(source);
        }
        let path = names::file(self.id);
        let source = opener.disk.open_blocks(&path, opener.mode).map_err(|error| {
            if error.kind() == IoErrorKind::NotFound {
                let what = "a file of segments is missing";
                return Error::corrupt(&path, 0, what).caused_by(error);
            }
            Error::from(error)
        })?;
        if source.len() != self.length {
            let what = format!(
                "a file of segments has {} bytes, the manifest says {}",
                source.len(),
                self.length
            );
            return Err(Error::corrupt(&path, source.len().min(self.length), what));
        }
        Ok(self.source.get_or_init(|| source))
    }
}

impl Drop for FileHandle {
    fn drop(&mut self) {
        if let Some(reaper) = self.reaper.take() {
            reaper.wake();
        }
    }
}

impl Segment {
    /// A segment that nobody has opened yet.
    pub fn new(
        tree: TreeId,
        level: u8,
        file: Arc<FileHandle>,
        offset: u64,
        meta: SegmentMeta,
    ) -> Self {
        Self { tree, level, file, offset, meta, reader: OnceLock::new() }
    }

    /// The reader, opened on first use (the footer is checked against the manifest).
    ///
    /// # Errors
    /// `Corrupt` when file or segment are not what the manifest says; `Io`.
    pub fn reader(&self, opener: &SegmentOpener) -> Result<&Arc<SegmentReader>> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        let source = Arc::clone(self.file.source(opener)?);
        let cache = Arc::clone(&opener.cache);
        let reader = SegmentReader::open(source, self.offset, &self.meta, cache)?;
        Ok(self.reader.get_or_init(|| reader))
    }

    /// The byte after its last one in the file.
    pub fn end(&self) -> u64 {
        self.offset + self.meta.length // checked when it entered the version
    }

    /// The same segment at another level; shares the open reader.
    fn at_level(&self, level: u8) -> Self {
        Self {
            tree: self.tree,
            level,
            file: Arc::clone(&self.file),
            offset: self.offset,
            meta: self.meta.clone(),
            reader: self.reader.clone(),
        }
    }
}

impl TreeVersion {
    /// The segments of a level; none if there is no such level.
    pub fn level(&self, level: usize) -> &[Arc<Segment>] {
        self.levels.get(level).map_or(&[], Vec::as_slice)
    }

    /// All segments, level 0 first.
    pub fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.levels.iter().flatten()
    }

    /// The segments of a level that share a key with `start..=end` (`None` = to the last key). On
    /// level 0 this is a superset: all of them.
    pub fn overlapping(&self, level: usize, start: &[u8], end: Option<&[u8]>) -> &[Arc<Segment>] {
        let all = self.level(level);
        if level == 0 {
            return all;
        }
        let ends_before =
            |s: &Arc<Segment>| s.meta.key_max.as_deref().is_some_and(|max| max < start);
        let from = all.partition_point(ends_before);
        let rest = all.get(from..).unwrap_or_default();
        let starts_within =
            |s: &Arc<Segment>| end.is_none_or(|end| s.meta.key_min.as_slice() <= end);
        let found = rest.get(..rest.partition_point(starts_within)).unwrap_or_default();
        debug_assert!(
            all.iter().filter(|s| s.meta.overlaps(start, end)).count() == found.len(),
            "the search skipped a segment that overlaps"
        );
        found
    }

    /// Bytes of the segments of a level.
    pub fn level_bytes(&self, level: usize) -> u64 {
        self.level(level).iter().map(|segment| segment.meta.length).sum()
    }
}

impl Version {
    /// The segments of a tree; `None` if it has none.
    pub fn tree(&self, tree: TreeId) -> Option<&Arc<TreeVersion>> {
        self.trees.get(&tree)
    }

    /// Trees with segments, ascending.
    pub fn trees(&self) -> impl Iterator<Item = (TreeId, &Arc<TreeVersion>)> {
        self.trees.iter().map(|(id, tree)| (*id, tree))
    }

    /// All segments, by tree.
    pub fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.trees.values().flat_map(|tree| tree.segments())
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> u64 {
        self.segment_count
    }

    /// Bytes of all segments.
    pub fn segment_bytes(&self) -> u64 {
        u64::try_from(self.segment_bytes).unwrap_or(u64::MAX)
    }

    /// The most segments that any tree has on level 0.
    pub fn level0_segments_most(&self) -> usize {
        self.level0_lengths.last_key_value().map_or(0, |(length, _)| *length)
    }

    /// Files with live segments, ascending.
    pub fn files(&self) -> impl Iterator<Item = &Arc<FileHandle>> {
        self.files.values().map(|file| &file.handle)
    }

    /// What each file is used for, ascending.
    pub fn file_uses(&self) -> impl Iterator<Item = &FileUse> {
        self.files.values()
    }

    /// What a file is used for; `None` if no live segment is in it.
    pub fn file(&self, file: FileId) -> Option<&FileUse> {
        self.files.get(&file)
    }

    /// How many files there are.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Gives a tree other segments, or none; returns those it had.
    fn replace_tree(&mut self, tree: TreeId, next: TreeVersion) -> Option<Arc<TreeVersion>> {
        if !next.levels.is_empty() {
            *self.level0_lengths.entry(next.level(0).len()).or_default() += 1;
        }
        let before = if next.levels.is_empty() {
            self.trees.remove(&tree)
        } else {
            self.trees.insert(tree, Arc::new(next))
        };
        if let Some(before) = &before {
            let length = before.level(0).len();
            let trees = self.level0_lengths.get_mut(&length).expect("every tree is counted");
            *trees -= 1;
            if *trees == 0 {
                self.level0_lengths.remove(&length);
            }
        }
        before
    }
}

impl FileUse {
    /// Bytes of the file that belong to no live segment (gaps for alignment included).
    pub fn dead_bytes(&self) -> u64 {
        self.handle.length.saturating_sub(self.live_bytes)
    }
}

/// A request that does not fit the version.
fn misfit(message: String) -> Error {
    Error::new(ErrorKind::Invalid, message)
}
