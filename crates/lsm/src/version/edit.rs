//! [`VersionEdit`]: the changes of one edit on their way into the next [`Version`].
//!
//! Files are changed at once, because each change must be checked against the others of the same
//! edit. Trees are collected and rebuilt once at the end: an edit costs one pass over the segments
//! of each tree it touches, however many records name it, and a level may overlap while the
//! outputs of a compaction are in and its inputs not yet out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    error::Result,
    shared_map::SharedMap,
    types::{FileId, KEY_BYTES_MAX, SEQUENCE_MAX, SegmentMeta, TreeId},
    version::{
        FILE_BYTES_MAX, FileHandle, FileUse, LEVELS_MAX, Segment, TreeVersion, Version, misfit,
    },
};

/// Most entries of one kind that a segment may claim; far above what fits, and sums do not overflow.
const COUNT_MAX: u64 = 1 << 56;

/// Where a segment is.
type PlaceInFile = (FileId, u64);

/// A version being changed.
#[derive(Debug)]
pub struct VersionEdit {
    version: Version,
    trees: BTreeMap<TreeId, TreeEdit>,
    files: BTreeSet<FileId>,
}

/// What changes in one tree.
#[derive(Debug, Default)]
struct TreeEdit {
    /// Places whose segment, as of the version before, is out.
    removed: BTreeSet<PlaceInFile>,
    added: BTreeMap<PlaceInFile, Arc<Segment>>,
}

impl VersionEdit {
    /// Starts from a version.
    pub fn new(version: Version) -> Self {
        Self { version, trees: BTreeMap::new(), files: BTreeSet::new() }
    }

    /// Adds a file without segments.
    ///
    /// # Errors
    /// When it is there already, or its length is beyond the limit.
    pub fn add_file(&mut self, file: FileId, length: u64) -> Result<()> {
        if length > FILE_BYTES_MAX {
            return Err(misfit(format!("{file} has {length} bytes, over the limit")));
        }
        if self.version.files.contains_key(&file) {
            return Err(misfit(format!("{file} is added twice")));
        }
        let handle = Arc::new(FileHandle::new(file, length));
        let new = FileUse { handle, segments: SharedMap::new(), live_bytes: 0 };
        self.version.files.insert(file, new);
        self.files.insert(file);
        Ok(())
    }

    /// Whether the version names this file.
    pub fn has_file(&self, file: FileId) -> bool {
        self.version.files.contains_key(&file)
    }

    /// Adds a segment in a file of the version to a tree (that the caller knows to exist).
    ///
    /// # Errors
    /// When the file is unknown, the place is taken or beyond the file, or the meta makes no sense.
    pub fn add_segment(
        &mut self,
        tree: TreeId,
        level: u8,
        (file, offset): PlaceInFile,
        meta: SegmentMeta,
    ) -> Result<()> {
        check_level(level)?;
        check_meta(&meta).map_err(|why| misfit(format!("segment {}: {why}", meta.uid)))?;
        let Some(found) = self.version.files.get_mut(&file) else {
            return Err(misfit(format!("segment {} is in {file}, which is unknown", meta.uid)));
        };
        let end = offset.checked_add(meta.length).filter(|end| *end <= found.handle.length);
        let Some(end) = end else {
            return Err(misfit(format!("segment {} passes the end of {file}", meta.uid)));
        };
        let before = found.segments.last_before(&end);
        if before.is_some_and(|(_, segment)| segment.end() > offset) {
            return Err(misfit(format!("segment {} overlaps another of {file}", meta.uid)));
        }
        let segment = Segment::new(tree, level, Arc::clone(&found.handle), offset, meta);
        found.live_bytes += segment.meta.length; // disjoint parts of a bounded file
        let segment = Arc::new(segment);
        found.segments.insert(offset, Arc::clone(&segment));
        self.version.segment_count += 1;
        self.version.segment_bytes += u128::from(segment.meta.length);
        self.trees.entry(tree).or_default().added.insert((file, offset), segment);
        Ok(())
    }

    /// Removes the segment at a place from its tree.
    ///
    /// # Errors
    /// When the tree has no segment there.
    pub fn remove_segment(&mut self, tree: TreeId, place: PlaceInFile) -> Result<()> {
        self.take(tree, place)?;
        let change = self.trees.entry(tree).or_default();
        if change.added.remove(&place).is_none() {
            change.removed.insert(place);
        }
        Ok(())
    }

    /// Moves the segment at a place to another level of its tree.
    ///
    /// # Errors
    /// When the tree has no segment there, or the level is beyond the limit.
    pub fn move_segment(&mut self, tree: TreeId, place: PlaceInFile, level: u8) -> Result<()> {
        check_level(level)?;
        let (file, offset) = place;
        let moved = Arc::new(self.segment(tree, place)?.at_level(level));
        if let Some(found) = self.version.files.get_mut(&file) {
            found.segments.insert(offset, Arc::clone(&moved));
        }
        let change = self.trees.entry(tree).or_default();
        if change.added.insert(place, moved).is_none() {
            change.removed.insert(place);
        }
        Ok(())
    }

    /// Removes all segments of a tree.
    ///
    /// # Errors
    /// None in a sound version.
    pub fn drop_tree(&mut self, tree: TreeId) -> Result<()> {
        let change = self.trees.remove(&tree).unwrap_or_default();
        let before = self.version.replace_tree(tree, TreeVersion::default());
        let old = before.iter().flat_map(|tree| tree.segments()).map(|s| (s.file.id, s.offset));
        let kept = old.filter(|place| !change.removed.contains(place));
        kept.chain(change.added.keys().copied()).try_for_each(|place| self.take(tree, place))
    }

    /// The next version, and the files that it no longer names.
    ///
    /// # Errors
    /// When two segments of a level from 1 on overlap.
    pub fn finish(mut self) -> Result<(Version, Vec<Arc<FileHandle>>)> {
        for (tree, change) in std::mem::take(&mut self.trees) {
            let before = self.version.trees.get(&tree);
            let next = rebuild(before.map(|tree| &**tree), change);
            check_disjoint(tree, &next)?;
            self.version.replace_tree(tree, next);
        }
        let mut obsolete = Vec::new();
        for file in self.files {
            if self.version.files.get(&file).is_some_and(|file| file.segments.is_empty()) {
                obsolete.extend(self.version.files.remove(&file).map(|file| file.handle));
            }
        }
        Ok((self.version, obsolete))
    }

    fn segment(&self, tree: TreeId, (file, offset): PlaceInFile) -> Result<&Arc<Segment>> {
        let found = self.version.files.get(&file).and_then(|file| file.segments.get(&offset));
        found
            .filter(|segment| segment.tree == tree)
            .ok_or_else(|| misfit(format!("{tree} has no segment in {file} at byte {offset}")))
    }

    /// Takes a segment out of its file.
    fn take(&mut self, tree: TreeId, place: PlaceInFile) -> Result<()> {
        let length = self.segment(tree, place)?.meta.length;
        let (file, offset) = place;
        if let Some(found) = self.version.files.get_mut(&file) {
            found.segments.remove(&offset);
            found.live_bytes -= length;
        }
        self.files.insert(file);
        self.version.segment_count -= 1;
        self.version.segment_bytes -= u128::from(length);
        Ok(())
    }
}

fn rebuild(before: Option<&TreeVersion>, change: TreeEdit) -> TreeVersion {
    let mut next = TreeVersion::default();
    for (level, segments) in before.into_iter().flat_map(|tree| tree.levels.iter().enumerate()) {
        let kept = |s: &&Arc<Segment>| !change.removed.contains(&(s.file.id, s.offset));
        let kept = segments.iter().filter(kept).map(Arc::clone).collect();
        place(&mut next.levels, level, kept);
    }
    let mut unsorted = BTreeSet::new();
    for segment in change.added.into_values() {
        let level = usize::from(segment.level);
        place(&mut next.levels, level, vec![segment]);
        unsorted.insert(level);
    }
    for level in unsorted {
        let segments = &mut next.levels[level];
        if level == 0 {
            segments.sort_by_key(|s| Reverse((s.meta.sequence_max, s.file.id, s.offset)));
        } else {
            let key = |s: &Arc<Segment>| (s.file.id, s.offset);
            segments.sort_by(|a, b| {
                a.meta.key_min.cmp(&b.meta.key_min).then_with(|| key(a).cmp(&key(b)))
            });
        }
    }
    while next.levels.last().is_some_and(Vec::is_empty) {
        next.levels.pop();
    }
    next
}

fn place(levels: &mut Vec<Vec<Arc<Segment>>>, level: usize, segments: Vec<Arc<Segment>>) {
    while levels.len() <= level {
        levels.push(Vec::new());
    }
    levels[level].extend(segments);
}

fn check_disjoint(tree: TreeId, next: &TreeVersion) -> Result<()> {
    for (level, segments) in next.levels.iter().enumerate().skip(1) {
        for pair in segments.windows(2) {
            let [left, right] = pair else { continue };
            let max = left.meta.key_max.as_deref();
            if max.is_none_or(|max| max > right.meta.key_min.as_slice()) {
                let (left, right) = (left.meta.uid, right.meta.uid);
                return Err(misfit(format!(
                    "segments {left} and {right} of level {level} of {tree} overlap"
                )));
            }
        }
    }
    Ok(())
}

fn check_level(level: u8) -> Result<()> {
    if level < LEVELS_MAX {
        return Ok(());
    }
    Err(misfit(format!("level {level} is beyond the limit of {LEVELS_MAX} levels")))
}

pub(super) fn check_meta(meta: &SegmentMeta) -> std::result::Result<(), &'static str> {
    let counts = [meta.counts.puts, meta.counts.deletes, meta.counts.range_deletes];
    let key_max = meta.key_max.as_deref();
    if meta.length == 0 {
        Err("its length is 0")
    } else if counts.iter().any(|count| *count > COUNT_MAX) {
        Err("it claims more entries than can be")
    } else if meta.sequence_min > meta.sequence_max || meta.sequence_max > SEQUENCE_MAX {
        Err("its sequences are out of order or range")
    } else if meta.key_min.len() > KEY_BYTES_MAX || key_max.is_some_and(|k| k.len() > KEY_BYTES_MAX)
    {
        Err("one of its keys is too long")
    } else if key_max.is_some_and(|max| meta.key_min.as_slice() > max) {
        Err("its highest key is below its lowest")
    } else {
        Ok(())
    }
}
