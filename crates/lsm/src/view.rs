//! [`View`]: the memtables and segments that make up the store at one moment. Get, scan, snapshot
//! and backup all hold one; there is no second consistency mechanism.
//! skeleton: owner of memtable/, merge.rs, view.rs, compaction/, flush.rs

use std::{ops::Bound, sync::Arc};

use crate::{
    catalog::Catalog,
    error::Result,
    memtable::{Memtable, SharedBytes},
    segment::ValueRef,
    types::{Sequence, TreeId},
    version::{SegmentOpener, Version},
};

/// What the store consists of at one moment; immutable but for the growing active memtable, whose
/// newer entries are hidden by the sequence a reader brings.
#[derive(Clone, Debug)]
pub struct View {
    /// Newest first; the first is active.
    pub memtables: Vec<Arc<Memtable>>,
    pub version: Arc<Version>,
    pub catalog: Arc<Catalog>,
}

/// A value read, pinned where it lives.
#[derive(Clone, Debug)]
pub enum Value {
    Memtable(SharedBytes),
    Segment(ValueRef),
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        todo!()
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

impl View {
    /// Reads all rows of a tree as of `sequence` and sums them up.
    pub fn digest(self: &Arc<Self>, _opener: &SegmentOpener, _tree: TreeId, _sequence: Sequence) -> Result<Digest> {
        todo!()
    }
    /// The value of `key` in `tree` as of `sequence`.
    pub fn get(&self, _opener: &SegmentOpener, _tree: TreeId, _key: &[u8], _sequence: Sequence) -> Result<Option<Value>> {
        todo!()
    }
    /// Rows of a key range in order; double-ended.
    pub fn scan(self: &Arc<Self>, _opener: &SegmentOpener, _tree: TreeId, _range: (Bound<Vec<u8>>, Bound<Vec<u8>>), _sequence: Sequence) -> Result<Scan> {
        todo!()
    }
}

/// Rows of a scan: `Iterator` and `DoubleEndedIterator` of `Result<(Vec<u8>, Vec<u8>)>`.
pub struct Scan {}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
