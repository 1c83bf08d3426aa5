//! [`Scan`]: the rows of a key range, read from both ends until they meet.
//!
//! Each end has a cursor of its own, made when that end is first asked, so a scan in one direction
//! pays for one. An error is returned once and ends the scan.

use std::{fmt, ops::Bound, sync::Arc};

use crate::{
    cursor::Cursor,
    error::Result,
    merge::{MergeCursor, cover::Cover, level::LevelCursor, visible::VisibleCursor},
    segment::FillCache,
    types::{RangeTombstone, Sequence, TreeId},
    version::{Segment, SegmentOpener, TreeVersion},
    view::View,
};

/// Keys `start..end`; no end means to the last key.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyRange {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl From<(Bound<Vec<u8>>, Bound<Vec<u8>>)> for KeyRange {
    fn from((start, end): (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Self {
        let start = match start {
            Bound::Included(key) => key,
            Bound::Excluded(key) => successor(key),
            Bound::Unbounded => Vec::new(),
        };
        let end = match end {
            Bound::Included(key) => Some(successor(key)),
            Bound::Excluded(key) => Some(key),
            Bound::Unbounded => None,
        };
        Self { start, end }
    }
}

impl KeyRange {
    fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// The segments of a level that may hold a key of the range.
    fn within(&self, tree: &TreeVersion, level: usize) -> Vec<Arc<Segment>> {
        let (start, end) = (self.start.as_slice(), self.end.as_deref());
        let found = tree.overlapping(level, start, end).iter();
        found.filter(|segment| segment.meta.overlaps(start, end)).map(Arc::clone).collect()
    }
}

/// The first key after `key`.
fn successor(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// Rows of a key range in order: `Iterator` and `DoubleEndedIterator` over keys and values.
#[must_use]
pub struct Scan {
    view: Arc<View>,
    opener: SegmentOpener,
    tree: TreeId,
    range: KeyRange,
    sequence: Sequence,
    cover: Arc<Cover>,
    front: End,
    back: End,
    done: bool,
}

/// One end of a scan.
#[derive(Default)]
struct End {
    cursor: Option<VisibleCursor>,
    /// The last key it returned.
    reached: Option<Vec<u8>>,
}

/// What a scan yields.
type Row = Result<(Vec<u8>, Vec<u8>)>;

impl Scan {
    pub(super) fn new(
        view: &Arc<View>,
        opener: &SegmentOpener,
        tree: TreeId,
        range: KeyRange,
        sequence: Sequence,
    ) -> Result<Self> {
        let tombstones = tombstones(view, opener, tree, &range, sequence)?;
        Ok(Self {
            view: Arc::clone(view),
            opener: opener.clone(),
            tree,
            done: range.is_empty(),
            range,
            sequence,
            cover: Arc::new(Cover::new(tombstones, sequence)),
            front: End::default(),
            back: End::default(),
        })
    }

    /// A cursor over the visible rows of all sources that hold a part of the range.
    pub(super) fn cursor(&self) -> Result<VisibleCursor> {
        let mut sources: Vec<Box<dyn Cursor>> =
            self.view.memtables.iter().map(|memtable| memtable.cursor(self.tree)).collect();
        let segments = self.view.version.tree(self.tree);
        for (tree, level) in
            segments.iter().flat_map(|tree| (0..tree.levels.len()).map(move |l| (tree, l)))
        {
            let within = self.range.within(tree, level);
            if level == 0 || within.len() == 1 {
                for segment in within {
                    sources.push(segment.reader(&self.opener)?.cursor(FillCache::Yes));
                }
            } else if !within.is_empty() {
                let opener = self.opener.clone();
                sources.push(Box::new(LevelCursor::new(within, opener, FillCache::Yes)));
            }
        }
        let merge = MergeCursor::new(sources);
        Ok(VisibleCursor::new(merge, Arc::clone(&self.cover), self.sequence))
    }

    fn advance_front(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        if let Some(cursor) = &mut self.front.cursor {
            cursor.next()?;
        } else {
            let mut cursor = self.cursor()?;
            cursor.seek(&self.range.start)?;
            self.front.cursor = Some(cursor);
        }
        let row = self.front.cursor.as_ref().and_then(VisibleCursor::row);
        let Some((key, value)) = row else { return Ok(None) };
        let limit = self.back.reached.as_ref().or(self.range.end.as_ref());
        if limit.is_some_and(|limit| key >= limit.as_slice()) {
            return Ok(None);
        }
        remember(&mut self.front.reached, key);
        Ok(Some((key.to_vec(), value.to_vec())))
    }

    fn advance_back(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        if let Some(cursor) = &mut self.back.cursor {
            cursor.prev()?;
        } else {
            let mut cursor = self.cursor()?;
            match &self.range.end {
                Some(end) => cursor.seek_before(end)?,
                None => cursor.seek_last()?,
            }
            self.back.cursor = Some(cursor);
        }
        let row = self.back.cursor.as_ref().and_then(VisibleCursor::row);
        let Some((key, value)) = row else { return Ok(None) };
        let before_start = key < self.range.start.as_slice();
        let met = self.front.reached.as_ref().is_some_and(|reached| key <= reached.as_slice());
        if before_start || met {
            return Ok(None);
        }
        remember(&mut self.back.reached, key);
        Ok(Some((key.to_vec(), value.to_vec())))
    }

    /// Turns a step into what the iterator yields; the end and an error end the scan.
    fn yielded(&mut self, row: Result<Option<(Vec<u8>, Vec<u8>)>>) -> Option<Row> {
        let row = row.transpose();
        if !matches!(row, Some(Ok(_))) {
            self.done = true;
            self.front = End::default();
            self.back = End::default();
        }
        row
    }
}

fn remember(reached: &mut Option<Vec<u8>>, key: &[u8]) {
    let reached = reached.get_or_insert_default();
    reached.clear();
    reached.extend_from_slice(key);
}

/// The range tombstones of every source that may reach into the range.
fn tombstones(
    view: &View,
    opener: &SegmentOpener,
    tree: TreeId,
    range: &KeyRange,
    sequence: Sequence,
) -> Result<Vec<RangeTombstone>> {
    let mut tombstones = Vec::new();
    for memtable in &view.memtables {
        tombstones.extend(memtable.range_tombstones(tree, sequence));
    }
    for segment in view.version.tree(tree).iter().flat_map(|tree| tree.segments()) {
        let within = segment.meta.overlaps(&range.start, range.end.as_deref());
        if within && segment.meta.counts.range_deletes > 0 {
            tombstones.extend_from_slice(segment.reader(opener)?.range_tombstones());
        }
    }
    Ok(tombstones)
}

impl Iterator for Scan {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        if self.done {
            return None;
        }
        let row = self.advance_front();
        self.yielded(row)
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Row> {
        if self.done {
            return None;
        }
        let row = self.advance_back();
        self.yielded(row)
    }
}

impl std::iter::FusedIterator for Scan {}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scan({} at sequence {})", self.tree, self.sequence)
    }
}
