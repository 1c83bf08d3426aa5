//! [`View`]: the memtables and segments that make up the store at one moment. Get, scan, snapshot
//! and backup all hold one; there is no second consistency mechanism.
//!
//! Sources go from new to old: memtables, level 0 newest first, then one segment a level. For any
//! key, all that a source says is newer than all that the sources after it say; flush and compaction
//! keep that true, for range tombstones too. So the first source that knows the key, or covers it
//! with a range tombstone, decides, and nothing older is read.

use std::{
    ops::{Bound, ControlFlow, Deref},
    sync::Arc,
};

use crate::{
    catalog::Catalog,
    error::Result,
    format::primitives::entry_sum,
    memtable::{Memtable, SharedBytes},
    segment::ValueRef,
    types::{EntryKind, Sequence, TreeId},
    version::{Segment, SegmentOpener, TreeVersion, Version},
    view::scan::KeyRange,
};

pub mod scan;
#[cfg(test)]
mod tests;

pub use scan::Scan;

/// What the store consists of at one moment; immutable but for the growing active memtable, whose
/// newer entries are hidden by the sequence a reader brings.
#[derive(Clone, Debug)]
pub struct View {
    /// Newest first; the first is active.
    pub memtables: Vec<Arc<Memtable>>,
    /// The segments of each tree.
    pub version: Arc<Version>,
    /// The collections.
    pub catalog: Arc<Catalog>,
}

/// A value read, pinned where it lives: it keeps a block of a segment, or 1 MiB of a memtable.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Value {
    /// In a memtable.
    Memtable(SharedBytes),
    /// In a block of a segment.
    Segment(ValueRef),
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Memtable(bytes) => bytes.as_ref(),
            Self::Segment(value) => value.as_ref(),
        }
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

/// What a tree holds at a sequence, in short: equal digests mean equal rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Live rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Wrapping sum of the XXH3-128 of each row (sequence left out).
    pub sum: u128,
}

/// What one source says of a key.
struct Said<V> {
    entry: Option<(Sequence, EntryKind, V)>,
    /// The newest visible range tombstone over the key; 0 if none.
    covering: Sequence,
}

impl<V> Said<V> {
    /// Breaks off with the value, or with none, if the source decides.
    fn verdict(self) -> ControlFlow<Option<V>> {
        match self.entry {
            Some((sequence, EntryKind::Put, value)) if sequence > self.covering => {
                ControlFlow::Break(Some(value))
            }
            None if self.covering == 0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(None),
        }
    }
}

impl View {
    /// The value of `key` in `tree` as of `sequence`.
    ///
    /// # Errors
    /// `Corrupt` or `Io` when a segment cannot be read.
    pub fn get(
        &self,
        opener: &SegmentOpener,
        tree: TreeId,
        key: &[u8],
        sequence: Sequence,
    ) -> Result<Option<Value>> {
        for memtable in &self.memtables {
            let said = Said {
                entry: memtable.get(tree, key, sequence),
                covering: memtable.covering(tree, key, sequence),
            };
            if let ControlFlow::Break(value) = said.verdict() {
                return Ok(value.map(Value::Memtable));
            }
        }
        let Some(segments) = self.version.tree(tree) else { return Ok(None) };
        for segment in holding(segments, key) {
            if let ControlFlow::Break(value) = ask(segment, opener, key, sequence)?.verdict() {
                return Ok(value.map(Value::Segment));
            }
        }
        Ok(None)
    }

    /// The rows of a key range in order, from both ends.
    ///
    /// # Errors
    /// `Corrupt` or `Io` when the range tombstones of a segment cannot be read.
    pub fn scan(
        self: &Arc<Self>,
        opener: &SegmentOpener,
        tree: TreeId,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        sequence: Sequence,
    ) -> Result<Scan> {
        Scan::new(self, opener, tree, KeyRange::from(range), sequence)
    }

    /// Reads all rows of a tree as of `sequence` and sums them up.
    ///
    /// # Errors
    /// `Corrupt` or `Io` when a segment cannot be read.
    pub fn digest(
        self: &Arc<Self>,
        opener: &SegmentOpener,
        tree: TreeId,
        sequence: Sequence,
    ) -> Result<Digest> {
        let mut digest = Digest::default();
        let mut rows = Scan::new(self, opener, tree, KeyRange::default(), sequence)?.cursor()?;
        rows.seek_first()?;
        while let Some((key, value)) = rows.row() {
            digest.rows += 1;
            digest.bytes += (key.len() + value.len()) as u64;
            digest.sum = digest.sum.wrapping_add(entry_sum(key, 0, EntryKind::Put, value));
            rows.next()?;
        }
        Ok(digest)
    }
}

/// The segments whose bounds hold `key`, newest first. Below level 0 that is mostly one a level;
/// neighbours may touch where a range tombstone was cut.
fn holding<'a>(tree: &'a TreeVersion, key: &'a [u8]) -> impl Iterator<Item = &'a Arc<Segment>> {
    (0..tree.levels.len())
        .flat_map(move |level| tree.overlapping(level, key, Some(key)))
        .filter(move |segment| segment.meta.overlaps(key, Some(key)))
}

fn ask(
    segment: &Segment,
    opener: &SegmentOpener,
    key: &[u8],
    sequence: Sequence,
) -> Result<Said<ValueRef>> {
    let reader = segment.reader(opener)?;
    let covering =
        if segment.meta.counts.range_deletes == 0 { 0 } else { reader.covering(key, sequence) };
    Ok(Said { entry: reader.get(key, sequence)?, covering })
}
