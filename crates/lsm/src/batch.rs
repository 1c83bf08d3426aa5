//! [`Batch`]: operations that commit together or not at all, also across collections.
//!
//! The encoded form is the payload of WAL frames; `format::batch` has the encoding.

pub use crate::format::batch::{Operation, Operations};
use crate::{
    error::{Error, ErrorKind, Result},
    format::batch,
    types::{BATCH_BYTES_MAX, TreeId},
};

/// Operations in order; each takes one sequence when the batch commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    encoded: Vec<u8>,
    operations: u32,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    ///
    /// # Errors
    /// `Invalid` when the key, the value or the batch is over its limit; the batch is unchanged.
    pub fn put(&mut self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<()> {
        self.push(Operation::Put { tree, key, value })
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn delete(&mut self, tree: TreeId, key: &[u8]) -> Result<()> {
        self.push(Operation::Delete { tree, key })
    }

    /// Removes all keys in `start..end`; an empty start is the first key, no end goes to the last.
    ///
    /// # Errors
    /// As [`Batch::put`]; `Invalid` also when the range is empty.
    pub fn delete_range(&mut self, tree: TreeId, start: &[u8], end: Option<&[u8]>) -> Result<()> {
        self.push(Operation::DeleteRange { tree, start, end })
    }

    /// Adds one operation.
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn push(&mut self, operation: Operation<'_>) -> Result<()> {
        operation.check().map_err(|reason| Error::new(ErrorKind::Invalid, reason))?;
        let fits = batch::encoded_bytes(&operation) <= BATCH_BYTES_MAX - self.encoded.len();
        if !fits || self.operations == u32::MAX {
            let message = format!("a batch may encode to {BATCH_BYTES_MAX} bytes; split it");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        batch::encode(&mut self.encoded, &operation);
        self.operations += 1;
        debug_assert!(self.encoded.len() <= BATCH_BYTES_MAX, "the size was computed before");
        Ok(())
    }

    /// Number of operations, which is the number of sequences that the commit takes.
    pub fn operations(&self) -> u32 {
        self.operations
    }

    /// Whether there are no operations.
    pub fn is_empty(&self) -> bool {
        self.operations == 0
    }

    /// Removes all operations and keeps the memory.
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.operations = 0;
    }

    /// The encoded bytes, as the WAL stores them.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Reads the operations back from encoded bytes; ends after the first error.
    pub fn decode(encoded: &[u8]) -> Operations<'_> {
        Operations::new(encoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

    const TREE: TreeId = TreeId(7);

    #[test]
    fn operations_come_back_in_order() {
        let mut batch = Batch::new();
        batch.put(TREE, b"key", b"value").unwrap();
        batch.delete(TreeId(u64::MAX), b"gone").unwrap();
        batch.delete_range(TREE, b"", None).unwrap();
        batch.delete_range(TREE, b"a", Some(b"b")).unwrap();
        assert_eq!(batch.operations(), 4);
        let decoded: Vec<_> =
            Batch::decode(batch.encoded()).map(std::result::Result::unwrap).collect();
        assert_eq!(
            decoded,
            [
                Operation::Put { tree: TREE, key: b"key", value: b"value" },
                Operation::Delete { tree: TreeId(u64::MAX), key: b"gone" },
                Operation::DeleteRange { tree: TREE, start: b"", end: None },
                Operation::DeleteRange { tree: TREE, start: b"a", end: Some(b"b") },
            ]
        );
    }

    #[test]
    fn a_refused_operation_leaves_the_batch_unchanged() {
        let mut batch = Batch::new();
        batch.put(TREE, b"key", b"value").unwrap();
        let before = batch.clone();
        let long_key = vec![1; KEY_BYTES_MAX + 1];
        let long_value = vec![1; VALUE_BYTES_MAX + 1];
        let refused = [
            batch.put(TREE, b"", b"value"),
            batch.put(TREE, &long_key, b""),
            batch.put(TREE, b"key", &long_value),
            batch.delete(TREE, b""),
            batch.delete(TREE, &long_key),
            batch.delete_range(TREE, &long_key, None),
            batch.delete_range(TREE, b"", Some(&long_key)),
            batch.delete_range(TREE, b"b", Some(b"b")),
            batch.delete_range(TREE, b"", Some(b"")),
        ];
        for result in refused {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid);
        }
        assert_eq!(batch, before);
    }

    #[test]
    fn a_full_batch_takes_no_more() {
        let mut batch = Batch::new();
        let value = vec![1; VALUE_BYTES_MAX];
        batch.put(TREE, b"key", &value).unwrap();
        let refused = batch.put(TREE, b"key", &value).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert_eq!(batch.operations(), 1);
        batch.put(TREE, b"key", &value[..VALUE_BYTES_MAX - 1024]).unwrap();
        assert_eq!(batch.operations(), 2);
    }
}
