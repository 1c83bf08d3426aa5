//! The store-wide memtable: the newest writes of all trees, in internal order per tree.
//!
//! Invariants:
//!
//! 1. One writer at a time (the commit leader, under the log lock), any number of readers; readers
//!    never wait for the writer except while a range tombstone is looked up.
//! 2. Entries are only ever added. A key written again is a new entry with a higher sequence, so a
//!    reader that brings its sequence sees the same rows however much is written meanwhile.
//! 3. [`Memtable::bytes`] counts everything that grows with writes, fragments of range tombstones
//!    included, so the limit at which a memtable is sealed bounds its memory whatever is written.
//!
//! Why one memtable for all trees: sealing is one pointer swap and a flush is one file, be there
//! one dirty tree or ten thousand.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    cursor::Cursor,
    memtable::{
        arena::Arena,
        cursor::MemtableCursor,
        list::{List, Record},
        ranges::Ranges,
    },
    types::{EntryKind, RangeTombstone, Sequence, TreeId},
};

mod arena;
mod cursor;
mod list;
mod ranges;
#[cfg(test)]
mod tests;

/// Memory of one entry beside its key and value, in bytes: list node with its tower (about 100) and
/// what the allocator adds.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// One memtable for all trees.
#[derive(Default)]
pub struct Memtable {
    arena: Arena,
    list: List,
    ranges: Ranges,
    bytes: AtomicUsize,
}

/// A value shared with the memtable, uncopied. It keeps the chunk it lies in, of 1 MiB.
#[derive(Clone)]
pub struct SharedBytes(Record);

impl Memtable {
    /// An empty memtable.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key. `sequence` must be new to the key.
    pub fn put(&self, tree: TreeId, key: &[u8], sequence: Sequence, value: &[u8]) {
        self.add((tree, sequence, EntryKind::Put), key, value);
    }

    /// Removes a key. `sequence` must be new to the key.
    pub fn delete(&self, tree: TreeId, key: &[u8], sequence: Sequence) {
        self.add((tree, sequence, EntryKind::Delete), key, &[]);
    }

    /// Removes the keys of a range; a range that ends before it starts is empty.
    pub fn delete_range(&self, tree: TreeId, tombstone: RangeTombstone) {
        let added = self.ranges.add(tree, tombstone);
        self.bytes.fetch_add(added, Ordering::Relaxed);
    }

    fn add(&self, what: (TreeId, Sequence, EntryKind), key: &[u8], value: &[u8]) {
        let bytes = self.arena.copy(key, value);
        let added = bytes.len() + ENTRY_OVERHEAD_BYTES;
        self.list.add(Record::new(what, bytes, key.len()));
        self.bytes.fetch_add(added, Ordering::Relaxed);
    }

    /// The newest version of `key` with a sequence of at most `sequence`; range tombstones are the
    /// caller's to apply ([`Memtable::covering`]).
    pub fn get(
        &self,
        tree: TreeId,
        key: &[u8],
        sequence: Sequence,
    ) -> Option<(Sequence, EntryKind, SharedBytes)> {
        let record = self.list.newest(tree, key, sequence)?;
        Some((record.sequence(), record.kind(), SharedBytes(record)))
    }

    /// The highest sequence, at most `sequence`, of a range tombstone over `key`; 0 if none.
    pub fn covering(&self, tree: TreeId, key: &[u8], sequence: Sequence) -> Sequence {
        self.ranges.covering(tree, key, sequence)
    }

    /// The range tombstones of a tree as of `sequence`: disjoint, ascending, the newest of each
    /// range.
    pub fn range_tombstones(&self, tree: TreeId, sequence: Sequence) -> Vec<RangeTombstone> {
        self.ranges.as_of(tree, sequence)
    }

    /// A cursor over the entries of one tree, those added later included.
    pub fn cursor(self: &Arc<Self>, tree: TreeId) -> Box<dyn Cursor> {
        Box::new(MemtableCursor::new(Arc::clone(self), tree))
    }

    /// Trees with entries or range tombstones, ascending.
    pub fn trees(&self) -> Vec<TreeId> {
        let mut trees = self.list.trees();
        trees.extend(self.ranges.trees());
        trees.sort_unstable();
        trees.dedup();
        trees
    }

    /// Memory held, in bytes: keys, values, range tombstones, and the overhead of each.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }
}

impl fmt::Debug for Memtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memtable({} bytes)", self.bytes())
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.value()
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.value()
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBytes({} bytes)", self.len())
    }
}
