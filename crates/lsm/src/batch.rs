//! [`Batch`]: operations that commit together or not at all, also across collections.
//!
//! The encoded form is the payload of WAL frames; `docs/format.md` has the layout.
//! skeleton: owner of wal/ fills this in (encoding in `format::batch`).

use crate::{
    error::Result,
    types::{Entry, RangeTombstone, TreeId},
};

/// Operations in order; each takes one sequence when the batch commits.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    encoded: Vec<u8>,
    operations: u32,
}

/// One operation of a batch, borrowed from the encoded bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation<'a> {
    /// Sets a key.
    Put { tree: TreeId, key: &'a [u8], value: &'a [u8] },
    /// Removes a key.
    Delete { tree: TreeId, key: &'a [u8] },
    /// Removes all keys in `start..end`; empty start = first key, `None` end = to the last.
    DeleteRange { tree: TreeId, start: &'a [u8], end: Option<&'a [u8]> },
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets a key. # Errors Invalid when key, value or batch limit is exceeded; batch unchanged.
    pub fn put(&mut self, _tree: TreeId, _key: &[u8], _value: &[u8]) -> Result<()> {
        todo!()
    }
    /// Removes a key.
    pub fn delete(&mut self, _tree: TreeId, _key: &[u8]) -> Result<()> {
        todo!()
    }
    /// Removes a range of keys.
    pub fn delete_range(&mut self, _tree: TreeId, _start: &[u8], _end: Option<&[u8]>) -> Result<()> {
        todo!()
    }
    /// Number of operations = number of sequences the commit takes.
    pub fn operations(&self) -> u32 {
        self.operations
    }
    /// The encoded bytes (input for the WAL).
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }
    /// Reads the operations back from encoded bytes; total: never panics.
    pub fn decode(_encoded: &[u8]) -> impl Iterator<Item = std::result::Result<Operation<'_>, &'static str>> {
        std::iter::empty()
    }
}

#[expect(dead_code, reason = "skeleton")]
fn unused(_: Entry<'_>, _: RangeTombstone) {}
