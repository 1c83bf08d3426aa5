//! [`Cover`]: what range tombstones delete, flattened so that one binary search answers.
//!
//! At one sequence only the newest tombstone over a key matters. So overlapping tombstones are cut
//! at each other's ends and only the newest of each piece is kept: disjoint, ascending pieces.
//! Memtables hand their tombstones out in this form and segments store them in it.

use std::collections::BinaryHeap;

use crate::types::{RangeTombstone, Sequence};

/// Disjoint, ascending range tombstones: the newest over each key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    pieces: Vec<RangeTombstone>,
}

/// A tombstone that the sweep has reached: highest sequence first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Reached {
    sequence: Sequence,
    end: Option<Vec<u8>>,
}

impl Cover {
    /// Flattens `tombstones`, in any order, as of `sequence`: later ones are left out.
    pub fn new(mut tombstones: Vec<RangeTombstone>, sequence: Sequence) -> Self {
        tombstones.retain(|tombstone| {
            tombstone.sequence <= sequence
                && tombstone.end.as_ref().is_none_or(|end| tombstone.start < *end)
        });
        tombstones.sort_unstable();
        if disjoint(&tombstones) {
            tombstones.dedup_by(|right, left| join(left, right));
            return Self { pieces: tombstones };
        }
        let mut cuts: Vec<Vec<u8>> = tombstones
            .iter()
            .flat_map(|t| [Some(t.start.clone()), t.end.clone()])
            .flatten()
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut pieces: Vec<RangeTombstone> = Vec::new();
        let mut reached: BinaryHeap<Reached> = BinaryHeap::new();
        let mut waiting = tombstones.into_iter().peekable();
        for cut in cuts {
            while let Some(next) = waiting.next_if(|next| next.start <= cut) {
                reached.push(Reached { sequence: next.sequence, end: next.end });
            }
            while reached.peek().is_some_and(|top| top.end.as_ref().is_some_and(|end| *end <= cut))
            {
                reached.pop();
            }
            let newest = reached.peek().map(|top| top.sequence);
            let open = pieces.last_mut().filter(|piece| piece.end.is_none());
            if open.as_ref().map(|piece| piece.sequence) == newest {
                continue;
            }
            if let Some(open) = open {
                open.end = Some(cut.clone());
            }
            pieces.extend(newest.map(|sequence| RangeTombstone {
                start: cut,
                end: None,
                sequence,
            }));
        }
        debug_assert!(disjoint(&pieces), "the sweep leaves disjoint pieces");
        Self { pieces }
    }

    /// Whether nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The newest deletion of `key`; 0 if none.
    pub fn at(&self, key: &[u8]) -> Sequence {
        let started = self.pieces.partition_point(|piece| piece.start.as_slice() <= key);
        let last = self.pieces[..started].last().filter(|piece| piece.covers(key));
        last.map_or(0, |piece| piece.sequence)
    }

    /// Whether every key from `first` up to and including `last` (`None`: all after it) is deleted
    /// after `sequence`.
    pub fn deletes_all(&self, first: &[u8], last: Option<&[u8]>, sequence: Sequence) -> bool {
        let mut reached = first;
        for piece in &self.pieces[first_over(&self.pieces, first)..] {
            if piece.start.as_slice() > reached || piece.sequence <= sequence {
                return false;
            }
            match (piece.end.as_deref(), last) {
                (None, _) => return true,
                (Some(end), Some(last)) if last < end => return true,
                (Some(end), _) => reached = end,
            }
        }
        false
    }

    /// The pieces within `from..to` (`None`: to the last key), cut to it.
    pub fn clip<'a>(
        &'a self,
        from: &'a [u8],
        to: Option<&'a [u8]>,
    ) -> impl Iterator<Item = RangeTombstone> + 'a {
        let first = first_over(&self.pieces, from);
        self.pieces[first..]
            .iter()
            .take_while(move |piece| to.is_none_or(|to| piece.start.as_slice() < to))
            .map(move |piece| RangeTombstone {
                start: piece.start.as_slice().max(from).to_vec(),
                end: min_end(piece.end.as_deref(), to).map(<[u8]>::to_vec),
                sequence: piece.sequence,
            })
    }
}

/// Extends `left` over `right` if they touch and delete alike.
fn join(left: &mut RangeTombstone, right: &mut RangeTombstone) -> bool {
    let joins = left.sequence == right.sequence && left.end.as_ref() == Some(&right.start);
    if joins {
        left.end = right.end.take();
    }
    joins
}

/// The earlier of two ends; `None` is after all keys.
fn min_end<'a>(left: Option<&'a [u8]>, right: Option<&'a [u8]>) -> Option<&'a [u8]> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (left, right) => left.or(right),
    }
}

/// The index of the first of some disjoint, ascending pieces that ends after `key`.
fn first_over(pieces: &[RangeTombstone], key: &[u8]) -> usize {
    pieces.partition_point(|piece| piece.end.as_deref().is_some_and(|end| end <= key))
}

/// Whether tombstones are ascending and none overlaps the next.
pub fn disjoint(pieces: &[RangeTombstone]) -> bool {
    pieces.is_sorted_by(|left, right| left.end.as_ref().is_some_and(|end| *end <= right.start))
}
