//! A position among the entries of a segment, and the [`Cursor`] over it.

use std::{cmp::Ordering, sync::Arc};

use crate::{
    cursor::Cursor,
    error::Result,
    format::segment::{
        Decoded,
        block::{BlockCursor, Handle},
    },
    segment::{
        FillCache, ValueRef,
        blocks::Window,
        index::{IndexCursor, Placed},
        reader::SegmentReader,
    },
    types::{Entry, EntryKind, SEQUENCE_MAX, Sequence},
};

/// A position in the segment of the reader that is passed to every method.
#[derive(Debug)]
pub(super) struct Position {
    index: Option<IndexCursor>,
    data: Option<Placed>,
    window: Window,
}

impl Position {
    pub(super) fn new(fill: FillCache) -> Self {
        Self { index: None, data: None, window: Window::new(fill) }
    }

    /// The entry here.
    pub(super) fn entry(&self) -> Option<Entry<'_>> {
        self.data.as_ref()?.cursor.entry()
    }

    /// The version here, if it is one of `key`.
    pub(super) fn value_of(&self, key: &[u8]) -> Option<(Sequence, EntryKind, ValueRef)> {
        let cursor = &self.data.as_ref()?.cursor;
        let entry = cursor.entry().filter(|entry| entry.key == key)?;
        let value = ValueRef { block: Arc::clone(cursor.block()), range: cursor.value_range() };
        Some((entry.sequence, entry.kind, value))
    }

    /// Goes to the newest version of `key` at or below `sequence`; else anywhere but a version of
    /// `key`. Looks into a second block only when versions of `key` continue there.
    pub(super) fn seek_key(
        &mut self,
        reader: &SegmentReader,
        key: &[u8],
        sequence: Sequence,
    ) -> Result<()> {
        let target = (key, sequence.min(SEQUENCE_MAX));
        let handle = self.index(reader)?.floor(reader, target)?;
        self.enter(reader, handle, |data| data.seek(target.0, target.1))?;
        if self.entry().is_some() {
            return Ok(());
        }
        let index = self.index(reader)?;
        let handle = index.next(reader)?;
        if index.separator().is_some_and(|(start, _)| start == key) {
            self.enter(reader, handle, BlockCursor::seek_first)?;
        }
        Ok(())
    }

    pub(super) fn first(&mut self, reader: &SegmentReader) -> Result<()> {
        let handle = self.index(reader)?.first(reader)?;
        self.enter(reader, handle, BlockCursor::seek_first)
    }

    pub(super) fn last(&mut self, reader: &SegmentReader) -> Result<()> {
        let handle = self.index(reader)?.last(reader)?;
        self.enter(reader, handle, BlockCursor::seek_last)
    }

    /// Goes to the first entry at or after the target.
    pub(super) fn seek(&mut self, reader: &SegmentReader, target: (&[u8], Sequence)) -> Result<()> {
        let handle = self.index(reader)?.floor(reader, target)?;
        self.enter(reader, handle, |data| data.seek(target.0, target.1))?;
        if self.entry().is_none() { self.next_block(reader) } else { Ok(()) }
    }

    /// Goes to the last entry before the target.
    pub(super) fn seek_before(
        &mut self,
        reader: &SegmentReader,
        target: (&[u8], Sequence),
    ) -> Result<()> {
        let handle = self.index(reader)?.floor(reader, target)?;
        self.enter(reader, handle, |data| data.seek_last_where(target, Ordering::is_lt))?;
        if self.entry().is_none() { self.prev_block(reader) } else { Ok(()) }
    }

    pub(super) fn next(&mut self, reader: &SegmentReader) -> Result<()> {
        let Some(data) = &mut self.data else {
            return Ok(());
        };
        reader.blocks.located(data.offset, data.cursor.advance())?;
        if self.entry().is_none() { self.next_block(reader) } else { Ok(()) }
    }

    pub(super) fn prev(&mut self, reader: &SegmentReader) -> Result<()> {
        let Some(data) = &mut self.data else {
            return Ok(());
        };
        reader.blocks.located(data.offset, data.cursor.retreat())?;
        if self.entry().is_none() { self.prev_block(reader) } else { Ok(()) }
    }

    fn next_block(&mut self, reader: &SegmentReader) -> Result<()> {
        let handle = self.index(reader)?.next(reader)?;
        self.enter(reader, handle, BlockCursor::seek_first)
    }

    fn prev_block(&mut self, reader: &SegmentReader) -> Result<()> {
        let handle = self.index(reader)?.prev(reader)?;
        self.enter(reader, handle, BlockCursor::seek_last)
    }

    /// Goes to no entry, keeping nothing but the settings.
    fn forget(&mut self) {
        *self = Self::new(self.window.fill);
    }

    /// The current data block, as stored.
    pub(super) fn block(&self) -> Option<(u64, &Arc<[u8]>)> {
        self.data.as_ref().map(|data| (data.offset, data.cursor.block()))
    }

    /// The index, on the entry of the current data block.
    pub(super) fn index_cursor(&self) -> Option<&IndexCursor> {
        self.index.as_ref()
    }

    fn index(&mut self, reader: &SegmentReader) -> Result<&mut IndexCursor> {
        match &mut self.index {
            Some(index) => Ok(index),
            none => Ok(none.insert(IndexCursor::new(reader, self.window.fill)?)),
        }
    }

    /// Goes into the data block at `handle`, if any, and to a place in it.
    fn enter(
        &mut self,
        reader: &SegmentReader,
        handle: Option<Handle>,
        go: impl FnOnce(&mut BlockCursor) -> Decoded<()>,
    ) -> Result<()> {
        let old = self.data.take();
        let Some(handle) = handle else {
            return Ok(());
        };
        let mut data = match old {
            Some(data) if data.offset == handle.offset => data,
            old => {
                let key = old.map_or_else(Vec::new, |data| data.cursor.into_key_memory());
                let limit = reader.sections.blocks.end;
                let block = reader.blocks.next(handle, &mut self.window, limit)?;
                reader.place(handle, block, key)?
            }
        };
        reader.blocks.located(data.offset, go(&mut data.cursor))?;
        self.data = Some(data);
        Ok(())
    }
}

/// A cursor over all entries of a segment.
#[derive(Debug)]
pub(super) struct SegmentCursor {
    reader: Arc<SegmentReader>,
    position: Position,
}

impl SegmentCursor {
    pub(super) fn new(reader: Arc<SegmentReader>, fill: FillCache) -> Self {
        Self { reader, position: Position::new(fill) }
    }

    /// Moves; after a failure the cursor is on no entry and forgets where it was.
    fn go(&mut self, go: impl FnOnce(&mut Position, &SegmentReader) -> Result<()>) -> Result<()> {
        let result = go(&mut self.position, &self.reader);
        if result.is_err() {
            self.position.forget();
        }
        result
    }
}

impl Cursor for SegmentCursor {
    fn seek_first(&mut self) -> Result<()> {
        self.go(Position::first)
    }

    fn seek_last(&mut self) -> Result<()> {
        self.go(Position::last)
    }

    fn seek(&mut self, key: &[u8], sequence: Sequence) -> Result<()> {
        // No entry is above the limit, so this is the same place, found without a look into the
        // block before.
        let target = (key, sequence.min(SEQUENCE_MAX));
        self.go(|position, reader| position.seek(reader, target))
    }

    fn seek_before(&mut self, key: &[u8], sequence: Sequence) -> Result<()> {
        let target = (key, sequence.min(SEQUENCE_MAX));
        self.go(|position, reader| position.seek_before(reader, target))
    }

    fn next(&mut self) -> Result<()> {
        self.go(Position::next)
    }

    fn prev(&mut self) -> Result<()> {
        self.go(Position::prev)
    }

    fn entry(&self) -> Option<Entry<'_>> {
        self.position.entry()
    }
}
