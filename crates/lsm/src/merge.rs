//! Merging cursors, and the visible rows among their entries.
//! skeleton: owner of memtable/, merge.rs, view.rs, compaction/, flush.rs

use crate::{cursor::Cursor, types::{RangeTombstone, Sequence}};

/// A cursor over the union of several cursors (all entries, all versions, internal order).
pub struct MergeCursor {}

impl MergeCursor {
    pub fn new(_children: Vec<Box<dyn Cursor>>) -> Self {
        todo!()
    }
}

/// The newest visible put of each key at `sequence`, range tombstones applied.
pub struct VisibleCursor {}

impl VisibleCursor {
    pub fn new(_merge: MergeCursor, _tombstones: Vec<RangeTombstone>, _sequence: Sequence) -> Self {
        todo!()
    }
}
