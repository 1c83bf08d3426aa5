//! The store-wide memtable: all trees' newest writes in memory, in internal order per tree.
//! skeleton: owner of memtable/, merge.rs, view.rs, compaction/, flush.rs

use std::sync::Arc;

use crate::{
    cursor::Cursor,
    types::{EntryKind, RangeTombstone, Sequence, TreeId},
};

/// One memtable for all trees. One writer (the commit leader), any number of readers.
/// The implementation behind it (crossbeam-skiplist now) is private to this module.
#[derive(Debug)]
pub struct Memtable {}

/// A value shared with the memtable, uncopied.
#[derive(Clone, Debug)]
pub struct SharedBytes {}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        todo!()
    }
}

impl Memtable {
    pub fn new() -> Self {
        todo!()
    }
    pub fn put(&self, _tree: TreeId, _key: &[u8], _sequence: Sequence, _value: &[u8]) {
        todo!()
    }
    pub fn delete(&self, _tree: TreeId, _key: &[u8], _sequence: Sequence) {
        todo!()
    }
    pub fn delete_range(&self, _tree: TreeId, _tombstone: RangeTombstone) {
        todo!()
    }
    /// Newest version of `key` with sequence <= `sequence`, range tombstones NOT applied.
    pub fn get(&self, _tree: TreeId, _key: &[u8], _sequence: Sequence) -> Option<(Sequence, EntryKind, SharedBytes)> {
        todo!()
    }
    /// The highest sequence, at most `sequence`, of a range tombstone over `key`; 0 if none.
    pub fn covering(&self, _tree: TreeId, _key: &[u8], _sequence: Sequence) -> Sequence {
        todo!()
    }
    /// The range tombstones of a tree as of `sequence`: disjoint, ascending, the newest of each range.
    pub fn range_tombstones(&self, _tree: TreeId, _sequence: Sequence) -> Vec<RangeTombstone> {
        todo!()
    }
    /// A cursor over one tree's entries.
    pub fn cursor(self: &Arc<Self>, _tree: TreeId) -> Box<dyn Cursor> {
        todo!()
    }
    /// Trees with entries or tombstones, ascending.
    pub fn trees(&self) -> Vec<TreeId> {
        todo!()
    }
    /// Accounted bytes: keys, values and the overhead of entries.
    pub fn bytes(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
}
