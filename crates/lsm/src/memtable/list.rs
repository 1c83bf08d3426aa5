//! The sorted list of a memtable's entries, and the one door to crossbeam-skiplist.
//!
//! The list is used in the one way that is free of leaks in crossbeam-skiplist 0.1.3: entries are
//! never overwritten and never removed; all of them go when the list is dropped.
//!
//! Dropping it gives way to other threads between runs of entries: a whole memtable takes some ten
//! milliseconds, which a writer on the same processor would wait.
//!
//! An entry holds the first eight bytes of its key as a number beside it, so that most comparisons
//! of a search touch nothing but the list's own nodes.

use std::{borrow::Borrow, cmp::Ordering, ops::Bound, thread};

use bytes::Bytes;
use crossbeam_skiplist::SkipMap;

use crate::types::{Entry, EntryKind, KEY_BYTES_MAX, Sequence, TreeId};

/// Entries freed before other threads get their turn: some ten microseconds.
const ENTRIES_PER_TURN: usize = 64;

/// All entries, by tree, then in internal order.
#[derive(Default)]
pub(super) struct List {
    records: SkipMap<Record, ()>,
}

/// One entry; clones share its bytes.
#[derive(Clone)]
pub(super) struct Record {
    tree: TreeId,
    head: u64,
    sequence: Sequence,
    /// The key, then the value.
    bytes: Bytes,
    key_bytes: u16,
    kind: EntryKind,
}

/// A place in the order of the list.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    tree: TreeId,
    head: u64,
    key: &'a [u8],
    sequence: Sequence,
}

impl List {
    /// Adds an entry whose place is not taken.
    pub(super) fn add(&self, record: Record) {
        // Not `insert`: that would replace, and leak, should the promise ever be broken.
        self.records.get_or_insert(record, ());
    }

    /// The newest version of a key with a sequence of at most `sequence`.
    pub(super) fn newest(&self, tree: TreeId, key: &[u8], sequence: Sequence) -> Option<Record> {
        let place = Place::new(tree, key, sequence);
        let found = self.records.lower_bound::<dyn Placed>(Bound::Included(&place))?;
        let record = found.key();
        (record.tree == tree && record.key() == key).then(|| record.clone())
    }

    /// Up to `limit` entries of the tree of `from`, onwards from there, ascending.
    pub(super) fn onwards(
        &self,
        from: Bound<Place<'_>>,
        tree: TreeId,
        limit: usize,
    ) -> Vec<Record> {
        let mut records = Vec::with_capacity(limit);
        let found = match &from {
            Bound::Included(place) => {
                self.records.lower_bound::<dyn Placed>(Bound::Included(place))
            }
            Bound::Excluded(place) => {
                self.records.lower_bound::<dyn Placed>(Bound::Excluded(place))
            }
            Bound::Unbounded => {
                let place = Place::first_of(tree);
                self.records.lower_bound::<dyn Placed>(Bound::Included(&place))
            }
        };
        let Some(mut entry) = found else { return records };
        while entry.key().tree == tree {
            records.push(entry.key().clone());
            if records.len() == limit || !entry.move_next() {
                break;
            }
        }
        records
    }

    /// Up to `limit` entries of `tree`, the last ones before `before`, ascending.
    pub(super) fn backwards(
        &self,
        before: Option<Place<'_>>,
        tree: TreeId,
        limit: usize,
    ) -> Vec<Record> {
        let mut records = Vec::with_capacity(limit);
        let found = match (&before, tree.0.checked_add(1)) {
            (Some(place), _) => self.records.upper_bound::<dyn Placed>(Bound::Excluded(place)),
            (None, Some(next)) => {
                let place = Place::first_of(TreeId(next));
                self.records.upper_bound::<dyn Placed>(Bound::Excluded(&place))
            }
            (None, None) => self.records.back(),
        };
        let Some(mut entry) = found else { return records };
        while entry.key().tree == tree {
            records.push(entry.key().clone());
            if records.len() == limit || !entry.move_prev() {
                break;
            }
        }
        records.reverse();
        records
    }

    /// Trees with entries, ascending: one search a tree.
    pub(super) fn trees(&self) -> Vec<TreeId> {
        let mut trees = Vec::new();
        let mut found = self.records.front();
        while let Some(entry) = found {
            let tree = entry.key().tree;
            trees.push(tree);
            found = tree.0.checked_add(1).and_then(|next| {
                let place = Place::first_of(TreeId(next));
                self.records.lower_bound::<dyn Placed>(Bound::Included(&place))
            });
        }
        trees
    }
}

impl Drop for List {
    fn drop(&mut self) {
        for (number, _record) in std::mem::take(&mut self.records).into_iter().enumerate() {
            if number % ENTRIES_PER_TURN == 0 {
                thread::yield_now();
            }
        }
    }
}

impl Record {
    /// An entry over the key and the value behind it in `bytes`.
    pub(super) fn new(
        (tree, sequence, kind): (TreeId, Sequence, EntryKind),
        bytes: Bytes,
        key_bytes: usize,
    ) -> Self {
        assert!((1..=KEY_BYTES_MAX).contains(&key_bytes), "a key of {key_bytes} bytes");
        let head = head_of(&bytes[..key_bytes]);
        let key_bytes = u16::try_from(key_bytes).expect("the longest key fits 16 bits");
        Self { tree, head, sequence, bytes, key_bytes, kind }
    }

    pub(super) fn sequence(&self) -> Sequence {
        self.sequence
    }

    pub(super) fn kind(&self) -> EntryKind {
        self.kind
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..usize::from(self.key_bytes)]
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.bytes[usize::from(self.key_bytes)..]
    }

    pub(super) fn entry(&self) -> Entry<'_> {
        Entry { key: self.key(), sequence: self.sequence, kind: self.kind, value: self.value() }
    }
}

impl<'a> Place<'a> {
    pub(super) fn new(tree: TreeId, key: &'a [u8], sequence: Sequence) -> Self {
        Self { tree, head: head_of(key), key, sequence }
    }

    /// Before all entries of a tree.
    fn first_of(tree: TreeId) -> Self {
        Self { tree, head: 0, key: &[], sequence: Sequence::MAX }
    }
}

/// The first eight bytes of a key as a number that orders as they do; short keys are padded with
/// zero, so equal heads say nothing.
fn head_of(key: &[u8]) -> u64 {
    let mut head = [0; 8];
    let len = key.len().min(8);
    head[..len].copy_from_slice(&key[..len]);
    u64::from_le_bytes(head).swap_bytes()
}

/// What has a place in the list: lets a search borrow its key instead of making a [`Record`].
pub(super) trait Placed {
    fn place(&self) -> Place<'_>;
}

impl Placed for Record {
    fn place(&self) -> Place<'_> {
        Place { tree: self.tree, head: self.head, key: self.key(), sequence: self.sequence }
    }
}

impl Placed for Place<'_> {
    fn place(&self) -> Place<'_> {
        *self
    }
}

fn compare(left: Place<'_>, right: Place<'_>) -> Ordering {
    left.tree
        .cmp(&right.tree)
        .then_with(|| left.head.cmp(&right.head))
        .then_with(|| left.key.cmp(right.key))
        .then_with(|| right.sequence.cmp(&left.sequence))
}

impl<'a> Borrow<dyn Placed + 'a> for Record {
    fn borrow(&self) -> &(dyn Placed + 'a) {
        self
    }
}

impl Ord for dyn Placed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.place(), other.place())
    }
}

impl PartialOrd for dyn Placed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Placed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for dyn Placed + '_ {}

impl Ord for Record {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.place(), other.place())
    }
}

impl PartialOrd for Record {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Record {}
