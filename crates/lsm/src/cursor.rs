//! [`Cursor`]: a position in a sorted run of entries.
//!
//! Entries are in *internal order*: key ascending, then sequence descending, so the newest version
//! of a key comes first.

use crate::{
    error::Result,
    types::{Entry, Sequence},
};

/// A position between or on entries in internal order. Unpositioned (entry `None`) when made,
/// after running off either end, and after an error.
pub trait Cursor: Send {
    /// Goes to the first entry.
    ///
    /// # Errors
    /// `Corrupt` or `Io` when the bytes cannot be had.
    fn seek_first(&mut self) -> Result<()>;

    /// Goes to the last entry.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    fn seek_last(&mut self) -> Result<()>;

    /// Goes to the first entry at or after `(key, sequence)` in internal order; with sequence
    /// `u64::MAX`, the newest version of the first key `>= key`.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    fn seek(&mut self, key: &[u8], sequence: Sequence) -> Result<()>;

    /// Goes to the last entry before `(key, sequence)` in internal order; with sequence `u64::MAX`,
    /// the oldest version of the last key `< key`.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    fn seek_before(&mut self, key: &[u8], sequence: Sequence) -> Result<()>;

    /// Moves on by one; must be on an entry.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    fn next(&mut self) -> Result<()>;

    /// Moves back by one; must be on an entry.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    fn prev(&mut self) -> Result<()>;

    /// The entry under the cursor.
    fn entry(&self) -> Option<Entry<'_>>;
}
