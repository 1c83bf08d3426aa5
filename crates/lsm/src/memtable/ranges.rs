//! The range tombstones of a memtable, cut into fragments that do not overlap.
//!
//! Each fragment runs from its start to the start of the next one and lists the sequences that
//! delete it, so a lookup is one search among the fragments and one among the sequences, however
//! many tombstones overlap. A memtable without range tombstones answers from one atomic flag.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::types::{RangeTombstone, Sequence, TreeId};

/// Memory of one fragment beside its start, and of one sequence in it, in bytes.
const FRAGMENT_OVERHEAD_BYTES: usize = 96;
const SEQUENCE_BYTES: usize = size_of::<Sequence>();

/// All range tombstones, by tree.
#[derive(Default)]
pub(super) struct Ranges {
    any: AtomicBool,
    trees: RwLock<BTreeMap<TreeId, Fragments>>,
}

impl Ranges {
    /// Adds a tombstone; returns the bytes of memory it took.
    pub(super) fn add(&self, tree: TreeId, tombstone: RangeTombstone) -> usize {
        let RangeTombstone { start, end, sequence } = tombstone;
        if end.as_ref().is_some_and(|end| *end <= start) {
            return 0;
        }
        let mut trees = self.trees.write().expect("no code panics while holding it");
        let added = trees.entry(tree).or_default().add(&start, end.as_deref(), sequence);
        drop(trees);
        // Before the commit is published, so a reader that may see the tombstone sees the flag.
        self.any.store(true, Ordering::Release);
        added
    }

    /// The highest sequence up to `sequence` that deletes `key`; 0 if none.
    pub(super) fn covering(&self, tree: TreeId, key: &[u8], sequence: Sequence) -> Sequence {
        self.read(tree, |fragments| fragments.covering(key, sequence)).unwrap_or(0)
    }

    /// The tombstones of a tree up to `sequence`: disjoint, ascending, the newest of each range.
    pub(super) fn as_of(&self, tree: TreeId, sequence: Sequence) -> Vec<RangeTombstone> {
        self.read(tree, |fragments| fragments.as_of(sequence)).unwrap_or_default()
    }

    /// Trees with tombstones, ascending.
    pub(super) fn trees(&self) -> Vec<TreeId> {
        let trees = self.trees.read().expect("no code panics while holding it");
        trees.keys().copied().collect()
    }

    fn read<T>(&self, tree: TreeId, ask: impl FnOnce(&Fragments) -> T) -> Option<T> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let trees = self.trees.read().expect("no code panics while holding it");
        trees.get(&tree).map(ask)
    }
}

/// The fragments of one tree: start of each, and the sequences that delete it, ascending (none: a
/// gap).
#[derive(Default)]
struct Fragments(BTreeMap<Vec<u8>, Vec<Sequence>>);

impl Fragments {
    fn add(&mut self, start: &[u8], end: Option<&[u8]>, sequence: Sequence) -> usize {
        let mut added = self.split(start);
        if let Some(end) = end {
            added += self.split(end);
        }
        let last = end.map_or(Bound::Unbounded, Bound::Excluded);
        for (_, sequences) in self.0.range_mut::<[u8], _>((Bound::Included(start), last)) {
            let at = sequences.partition_point(|other| *other < sequence);
            sequences.insert(at, sequence);
            added += SEQUENCE_BYTES;
        }
        added
    }

    /// Makes a fragment start at `at`; returns the bytes it took.
    fn split(&mut self, at: &[u8]) -> usize {
        if self.0.contains_key(at) {
            return 0;
        }
        let sequences = self.at(at).cloned().unwrap_or_default();
        let added = FRAGMENT_OVERHEAD_BYTES + at.len() + sequences.len() * SEQUENCE_BYTES;
        self.0.insert(at.to_vec(), sequences);
        added
    }

    /// The sequences of the fragment that holds `key`.
    fn at(&self, key: &[u8]) -> Option<&Vec<Sequence>> {
        let upto = (Bound::Unbounded, Bound::Included(key));
        self.0.range::<[u8], _>(upto).next_back().map(|(_, sequences)| sequences)
    }

    fn covering(&self, key: &[u8], sequence: Sequence) -> Sequence {
        self.at(key).map_or(0, |sequences| newest(sequences, sequence))
    }

    fn as_of(&self, sequence: Sequence) -> Vec<RangeTombstone> {
        let mut tombstones: Vec<RangeTombstone> = Vec::new();
        let mut open: Option<RangeTombstone> = None;
        for (start, sequences) in &self.0 {
            let newest = newest(sequences, sequence);
            if open.as_ref().is_some_and(|open| open.sequence == newest) {
                continue;
            }
            tombstones.extend(
                open.take().map(|open| RangeTombstone { end: Some(start.clone()), ..open }),
            );
            open = (newest > 0).then(|| RangeTombstone {
                start: start.clone(),
                end: None,
                sequence: newest,
            });
        }
        tombstones.extend(open);
        tombstones
    }
}

/// The highest of some ascending sequences that is at most `upto`; 0 if none.
fn newest(sequences: &[Sequence], upto: Sequence) -> Sequence {
    let visible = sequences.partition_point(|other| *other <= upto);
    sequences[..visible].last().copied().unwrap_or(0)
}
