//! [`MergeCursor`]: the union of several cursors, in internal order, in both directions.
//!
//! The children sit in a binary heap of indices. A step moves the child on top and sinks it; most
//! steps of real data stay in one child, and then cost one or two comparisons.
//!
//! The classic trap is a change of direction: going forward, the other children stand *after* the
//! current entry, going backward *before* it. So a change sends every other child across the current
//! entry by a seek, and only then is the heap built again in the other order.

use std::{cmp::Ordering, fmt};

use crate::{
    cursor::Cursor,
    error::Result,
    types::{Entry, Sequence},
};

pub mod cover;
pub mod level;
pub mod visible;

#[cfg(test)]
mod tests;

/// A cursor over all entries of several cursors. Where two hold the same entry (same key and
/// sequence), going forward the one given first comes first.
pub struct MergeCursor {
    children: Vec<Box<dyn Cursor>>,
    /// Indices of positioned children; the first stands on the current entry.
    heap: Vec<usize>,
    direction: Direction,
    /// Scratch for the current key while children move across it.
    key: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

impl MergeCursor {
    /// Merges `children`; unpositioned.
    pub fn new(children: Vec<Box<dyn Cursor>>) -> Self {
        let heap = Vec::with_capacity(children.len());
        Self { children, heap, direction: Direction::Forward, key: Vec::new() }
    }

    /// Positions every child anew.
    fn position(
        &mut self,
        direction: Direction,
        mut place: impl FnMut(&mut dyn Cursor) -> Result<()>,
    ) -> Result<()> {
        self.heap.clear(); // an error leaves the cursor unpositioned
        for child in &mut self.children {
            place(&mut **child)?;
        }
        self.direction = direction;
        self.rebuild();
        Ok(())
    }

    /// Moves on by one in `direction`.
    fn step(&mut self, direction: Direction) -> Result<()> {
        let top = *self.heap.first().expect("a cursor moves from an entry");
        let turning = direction != self.direction;
        if turning {
            self.send_others_across(top, direction)?;
        }
        let child = &mut self.children[top];
        let moved = match direction {
            Direction::Forward => child.next(),
            Direction::Backward => child.prev(),
        };
        if let Err(error) = moved {
            self.heap.clear();
            return Err(error);
        }
        if turning {
            self.direction = direction;
            self.rebuild();
        } else if self.children[top].entry().is_some() {
            self.sink(0);
        } else {
            self.heap.swap_remove(0);
            if !self.heap.is_empty() {
                self.sink(0);
            }
        }
        Ok(())
    }

    /// Sends all children but `top` to the other side of the current entry.
    fn send_others_across(&mut self, top: usize, direction: Direction) -> Result<()> {
        let entry = self.children[top].entry().expect("children in the heap are positioned");
        let sequence = entry.sequence;
        self.key.clear();
        self.key.extend_from_slice(entry.key);
        for (index, child) in self.children.iter_mut().enumerate() {
            if index == top {
                continue;
            }
            let sent = match direction {
                Direction::Forward => child.seek(&self.key, sequence),
                Direction::Backward => child.seek_before(&self.key, sequence),
            };
            if let Err(error) = sent {
                self.heap.clear();
                return Err(error);
            }
        }
        Ok(())
    }

    fn rebuild(&mut self) {
        self.heap.clear();
        let children = &self.children;
        self.heap.extend((0..children.len()).filter(|i| children[*i].entry().is_some()));
        for at in (0..self.heap.len() / 2).rev() {
            self.sink(at);
        }
    }

    /// Sinks the child at `at` of the heap to its place.
    fn sink(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut first = at;
            if left < self.heap.len() && self.precedes(left, first) {
                first = left;
            }
            if right < self.heap.len() && self.precedes(right, first) {
                first = right;
            }
            if first == at {
                return;
            }
            self.heap.swap(at, first);
            at = first;
        }
    }

    /// Whether, in the current direction, the child at `left` of the heap comes before that at
    /// `right`.
    fn precedes(&self, left: usize, right: usize) -> bool {
        let (left, right) = (self.heap[left], self.heap[right]);
        let order = compare(self.at(left), self.at(right)).then(left.cmp(&right));
        match self.direction {
            Direction::Forward => order.is_lt(),
            Direction::Backward => order.is_gt(),
        }
    }

    fn at(&self, child: usize) -> Entry<'_> {
        self.children[child].entry().expect("children in the heap are positioned")
    }
}

/// Internal order: key ascending, then newest first.
pub fn compare(left: Entry<'_>, right: Entry<'_>) -> Ordering {
    left.key.cmp(right.key).then_with(|| right.sequence.cmp(&left.sequence))
}

impl Cursor for MergeCursor {
    fn seek_first(&mut self) -> Result<()> {
        self.position(Direction::Forward, |child| child.seek_first())
    }

    fn seek_last(&mut self) -> Result<()> {
        self.position(Direction::Backward, |child| child.seek_last())
    }

    fn seek(&mut self, key: &[u8], sequence: Sequence) -> Result<()> {
        self.position(Direction::Forward, |child| child.seek(key, sequence))
    }

    fn seek_before(&mut self, key: &[u8], sequence: Sequence) -> Result<()> {
        self.position(Direction::Backward, |child| child.seek_before(key, sequence))
    }

    fn next(&mut self) -> Result<()> {
        self.step(Direction::Forward)
    }

    fn prev(&mut self) -> Result<()> {
        self.step(Direction::Backward)
    }

    fn entry(&self) -> Option<Entry<'_>> {
        self.children[*self.heap.first()?].entry()
    }
}

impl fmt::Debug for MergeCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MergeCursor({} children, {:?})", self.children.len(), self.direction)
    }
}
