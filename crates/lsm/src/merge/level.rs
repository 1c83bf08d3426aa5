//! [`LevelCursor`]: the segments of one sorted level as one cursor, each opened when it is reached.
//!
//! Invariant: the segments are ascending and no two hold the same key. The bounds of neighbours may
//! touch: where a range tombstone was cut between two segments, its exclusive end is the highest key
//! of the left one and may be the lowest key of the right one.

use std::{fmt, sync::Arc};

use crate::{
    cursor::Cursor,
    error::Result,
    segment::FillCache,
    types::{Entry, Sequence},
    version::{Segment, SegmentOpener},
};

/// A position in the segments of a level.
pub struct LevelCursor {
    segments: Vec<Arc<Segment>>,
    opener: SegmentOpener,
    fill_cache: FillCache,
    /// The segment that is open and its cursor.
    open: Option<(usize, Box<dyn Cursor>)>,
}

impl LevelCursor {
    /// A cursor over `segments`, ascending and disjoint; unpositioned.
    pub fn new(segments: Vec<Arc<Segment>>, opener: SegmentOpener, fill_cache: FillCache) -> Self {
        debug_assert!(
            segments.is_sorted_by(|left, right| {
                left.meta.key_max.as_ref().is_some_and(|max| *max <= right.meta.key_min)
            }),
            "the segments of a level are ascending"
        );
        Self { segments, opener, fill_cache, open: None }
    }

    /// Places the cursor by `place` in the segments from `index` on until one has an entry there.
    fn forward(
        &mut self,
        index: usize,
        mut place: impl FnMut(&mut dyn Cursor) -> Result<()>,
    ) -> Result<()> {
        for index in index..self.segments.len() {
            if self.place(index, &mut place)? {
                return Ok(());
            }
        }
        self.open = None;
        Ok(())
    }

    /// As [`LevelCursor::forward`], in the segments before `end`, last first.
    fn backward(
        &mut self,
        end: usize,
        mut place: impl FnMut(&mut dyn Cursor) -> Result<()>,
    ) -> Result<()> {
        for index in (0..end).rev() {
            if self.place(index, &mut place)? {
                return Ok(());
            }
        }
        self.open = None;
        Ok(())
    }

    /// Opens segment `index` and places its cursor; whether it has an entry there.
    fn place(
        &mut self,
        index: usize,
        place: &mut dyn FnMut(&mut dyn Cursor) -> Result<()>,
    ) -> Result<bool> {
        let mut cursor = match self.open.take() {
            Some((open, cursor)) if open == index => cursor,
            _ => self.segments[index].reader(&self.opener)?.cursor(self.fill_cache),
        };
        place(&mut *cursor)?;
        let found = cursor.entry().is_some();
        self.open = Some((index, cursor));
        Ok(found)
    }

    fn on_entry(&mut self) -> (usize, &mut dyn Cursor) {
        let (index, cursor) = self.open.as_mut().expect("a cursor moves from an entry");
        (*index, &mut **cursor)
    }
}

impl Cursor for LevelCursor {
    fn seek_first(&mut self) -> Result<()> {
        self.forward(0, |cursor| cursor.seek_first())
    }

    fn seek_last(&mut self) -> Result<()> {
        self.backward(self.segments.len(), |cursor| cursor.seek_last())
    }

    fn seek(&mut self, key: &[u8], sequence: Sequence) -> Result<()> {
        let first = self.segments.partition_point(|segment| {
            segment.meta.key_max.as_deref().is_some_and(|max| max < key)
        });
        self.forward(first, |cursor| cursor.seek(key, sequence))
    }

    fn seek_before(&mut self, key: &[u8], sequence: Sequence) -> Result<()> {
        let end = self.segments.partition_point(|segment| segment.meta.key_min.as_slice() <= key);
        self.backward(end, |cursor| cursor.seek_before(key, sequence))
    }

    fn next(&mut self) -> Result<()> {
        let (index, cursor) = self.on_entry();
        let moved = cursor.next();
        let found = cursor.entry().is_some();
        if moved.is_err() {
            self.open = None;
        } else if !found {
            return self.forward(index + 1, |cursor| cursor.seek_first());
        }
        moved
    }

    fn prev(&mut self) -> Result<()> {
        let (index, cursor) = self.on_entry();
        let moved = cursor.prev();
        let found = cursor.entry().is_some();
        if moved.is_err() {
            self.open = None;
        } else if !found {
            return self.backward(index, |cursor| cursor.seek_last());
        }
        moved
    }

    fn entry(&self) -> Option<Entry<'_>> {
        self.open.as_ref().and_then(|(_, cursor)| cursor.entry())
    }
}

impl fmt::Debug for LevelCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LevelCursor({} segments)", self.segments.len())
    }
}
