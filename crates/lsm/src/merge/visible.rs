//! [`VisibleCursor`]: the rows that a reader at one sequence sees among the entries of a merge.
//!
//! Of each key the newest version up to the sequence counts; it is a row if it is a put that no
//! later range tombstone covers.
//!
//! Going forward the newest version comes first, so a row is read in place. Going backward it comes
//! last, and whether it was the last is known only one step later, so the row is kept as a copy and
//! the merge stands before all its versions.

use std::{fmt, sync::Arc};

use crate::{
    cursor::Cursor,
    error::Result,
    merge::{MergeCursor, cover::Cover},
    types::{Entry, EntryKind, Sequence},
};

/// Versions of one key stepped over before a seek is worth more.
const STEPS_MAX: u32 = 8;

/// A position among the visible rows of a merge.
pub struct VisibleCursor {
    merge: MergeCursor,
    cover: Arc<Cover>,
    sequence: Sequence,
    state: State,
    /// The key of the row.
    key: Vec<u8>,
    /// The value of the row, in [`State::Before`].
    value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// On no row.
    Off,
    /// The merge stands on the row's entry.
    On,
    /// The merge stands before all versions of the row's key.
    Before,
}

impl VisibleCursor {
    /// The rows of `merge` at `sequence`; `cover` is made of all range tombstones of its sources as
    /// of that sequence. Unpositioned.
    pub fn new(merge: MergeCursor, cover: Arc<Cover>, sequence: Sequence) -> Self {
        let (key, value) = (Vec::new(), Vec::new());
        Self { merge, cover, sequence, state: State::Off, key, value }
    }

    /// The key and value of the current row.
    pub fn row(&self) -> Option<(&[u8], &[u8])> {
        match self.state {
            State::Off => None,
            State::On => self.merge.entry().map(|entry| (entry.key, entry.value)),
            State::Before => Some((&self.key, &self.value)),
        }
    }

    /// Goes to the first row.
    ///
    /// # Errors
    /// `Corrupt` or `Io` when the bytes cannot be had; the cursor is then on no row.
    pub fn seek_first(&mut self) -> Result<()> {
        self.state = State::Off;
        self.merge.seek_first()?;
        self.settle_forward()
    }

    /// Goes to the last row.
    ///
    /// # Errors
    /// As [`VisibleCursor::seek_first`].
    pub fn seek_last(&mut self) -> Result<()> {
        self.state = State::Off;
        self.merge.seek_last()?;
        self.settle_backward()
    }

    /// Goes to the first row whose key is `key` or after it.
    ///
    /// # Errors
    /// As [`VisibleCursor::seek_first`].
    pub fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.state = State::Off;
        self.merge.seek(key, Sequence::MAX)?;
        self.settle_forward()
    }

    /// Goes to the last row whose key is before `key`.
    ///
    /// # Errors
    /// As [`VisibleCursor::seek_first`].
    pub fn seek_before(&mut self, key: &[u8]) -> Result<()> {
        self.state = State::Off;
        self.merge.seek_before(key, Sequence::MAX)?;
        self.settle_backward()
    }

    /// Moves on to the next row.
    ///
    /// # Errors
    /// As [`VisibleCursor::seek_first`].
    ///
    /// # Panics
    /// When it is on no row.
    #[expect(clippy::should_implement_trait, reason = "named as in `Cursor`; no iterator lends")]
    pub fn next(&mut self) -> Result<()> {
        assert_ne!(self.state, State::Off, "a cursor moves from a row");
        if self.state == State::Before {
            self.merge.seek(&self.key, 0)?;
        }
        self.state = State::Off;
        self.pass_key()?;
        self.settle_forward()
    }

    /// Moves back to the row before.
    ///
    /// # Errors
    /// As [`VisibleCursor::seek_first`].
    ///
    /// # Panics
    /// When it is on no row.
    pub fn prev(&mut self) -> Result<()> {
        assert_ne!(self.state, State::Off, "a cursor moves from a row");
        if self.state == State::On {
            self.merge.seek_before(&self.key, Sequence::MAX)?;
        }
        self.state = State::Off;
        self.settle_backward()
    }

    /// Finds the first row at or after the merge's position.
    fn settle_forward(&mut self) -> Result<()> {
        let mut steps = 0;
        while let Some(entry) = self.merge.entry() {
            if entry.sequence > self.sequence {
                steps += 1;
                if steps < STEPS_MAX {
                    self.merge.next()?;
                } else {
                    steps = 0;
                    self.key.clear();
                    self.key.extend_from_slice(entry.key);
                    self.merge.seek(&self.key, self.sequence)?;
                }
                continue;
            }
            self.key.clear();
            self.key.extend_from_slice(entry.key);
            if entry.kind == EntryKind::Put && self.cover.at(entry.key) < entry.sequence {
                self.state = State::On;
                return Ok(());
            }
            self.pass_key()?;
        }
        Ok(())
    }

    /// Moves the merge past the remaining versions of the current key.
    fn pass_key(&mut self) -> Result<()> {
        let mut steps = 0;
        while self.merge.entry().is_some_and(|entry| entry.key == self.key) {
            steps += 1;
            if steps == STEPS_MAX {
                self.merge.seek(&self.key, 0)?;
            } else {
                self.merge.next()?;
            }
        }
        Ok(())
    }

    /// Finds the last row at or before the merge's position.
    fn settle_backward(&mut self) -> Result<()> {
        while let Some(entry) = self.merge.entry() {
            self.key.clear();
            self.key.extend_from_slice(entry.key);
            let newest = self.take_newest_backward()?;
            if newest.is_some_and(|put| self.cover.at(&self.key) < put) {
                self.state = State::Before;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Moves the merge before all versions of the current key, and takes a copy of the newest
    /// visible one; its sequence if it is a put.
    fn take_newest_backward(&mut self) -> Result<Option<Sequence>> {
        let mut newest = None;
        let mut steps = 0;
        while let Some(entry) = self.merge.entry().filter(|entry| entry.key == self.key) {
            if entry.sequence <= self.sequence {
                newest = take(&mut self.value, entry);
            }
            steps += 1;
            if steps == STEPS_MAX {
                self.merge.seek(&self.key, self.sequence)?;
                if let Some(entry) = self.merge.entry().filter(|entry| entry.key == self.key) {
                    newest = take(&mut self.value, entry);
                }
                self.merge.seek_before(&self.key, Sequence::MAX)?;
                break;
            }
            self.merge.prev()?;
        }
        Ok(newest)
    }
}

/// Copies the value of a put; its sequence, or `None` for a delete.
fn take(value: &mut Vec<u8>, entry: Entry<'_>) -> Option<Sequence> {
    if entry.kind != EntryKind::Put {
        return None;
    }
    value.clear();
    value.extend_from_slice(entry.value);
    Some(entry.sequence)
}

impl fmt::Debug for VisibleCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VisibleCursor({:?} at sequence {})", self.state, self.sequence)
    }
}
