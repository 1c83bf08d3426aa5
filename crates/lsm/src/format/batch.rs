//! The encoding of a batch: operations one after another, nothing around them.
//!
//! ```text
//!   size    field
//!      1    kind     1 put, 2 delete, 3 delete range
//!   varint  tree
//!   ...     put:          key (length, bytes), value (length, bytes)
//!           delete:       key (length, bytes)
//!           delete range: start (length, bytes), end (length, bytes)
//! ```
//!
//! Lengths are varints. An empty start is the first key; an empty end is no end, since nothing is
//! below the empty key. Limits are checked on both sides, so that what was accepted can be read
//! back and what is read back would be accepted.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::{
    format::primitives::{Decoder, Reason, VARINT_BYTES_MAX, put_prefixed, put_varint},
    types::{KEY_BYTES_MAX, TreeId, VALUE_BYTES_MAX},
};

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;

/// One operation of a batch, borrowed from the encoded bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation<'a> {
    /// Sets a key.
    Put {
        /// The tree that holds the key.
        tree: TreeId,
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// Removes a key.
    Delete {
        /// The tree that holds the key.
        tree: TreeId,
        /// The key.
        key: &'a [u8],
    },
    /// Removes all keys in `start..end`.
    DeleteRange {
        /// The tree that holds the keys.
        tree: TreeId,
        /// The first key removed; empty means from the first key.
        start: &'a [u8],
        /// The first key kept; `None` means to the last key.
        end: Option<&'a [u8]>,
    },
}

impl Operation<'_> {
    /// The tree that it changes.
    pub fn tree(&self) -> TreeId {
        match *self {
            Self::Put { tree, .. } | Self::Delete { tree, .. } | Self::DeleteRange { tree, .. } => {
                tree
            }
        }
    }

    /// Whether it keeps the limits.
    ///
    /// # Errors
    /// Says which limit it breaks.
    pub fn check(&self) -> Result<(), Reason> {
        match *self {
            Self::Put { key, value, .. } => {
                check_key(key)?;
                if value.len() > VALUE_BYTES_MAX {
                    return Err("a value may have 64 MiB at most");
                }
                Ok(())
            }
            Self::Delete { key, .. } => check_key(key),
            Self::DeleteRange { start, end, .. } => {
                if start.len() > KEY_BYTES_MAX || end.is_some_and(|end| end.len() > KEY_BYTES_MAX) {
                    return Err("a key may have 65535 bytes at most");
                }
                if end.is_some_and(|end| end <= start) {
                    return Err("the range to delete is empty: its end must be after its start");
                }
                Ok(())
            }
        }
    }
}

fn check_key(key: &[u8]) -> Result<(), Reason> {
    match key.len() {
        0 => Err("a key may not be empty"),
        1..=KEY_BYTES_MAX => Ok(()),
        _ => Err("a key may have 65535 bytes at most"),
    }
}

/// An upper bound of the bytes that [`encode`] appends.
pub fn encoded_bytes(operation: &Operation<'_>) -> usize {
    let content = match *operation {
        Operation::Put { key, value, .. } => key.len().saturating_add(value.len()),
        Operation::Delete { key, .. } => key.len(),
        Operation::DeleteRange { start, end, .. } => {
            start.len().saturating_add(end.map_or(0, <[u8]>::len))
        }
    };
    content.saturating_add(OVERHEAD_BYTES_MAX)
}

/// The kind, the tree and two lengths.
const OVERHEAD_BYTES_MAX: usize = 1 + 3 * VARINT_BYTES_MAX;

/// Appends one operation that keeps the limits.
pub fn encode(out: &mut Vec<u8>, operation: &Operation<'_>) {
    debug_assert_eq!(operation.check(), Ok(()), "the caller checked the operation");
    match *operation {
        Operation::Put { tree, key, value } => {
            out.push(PUT);
            put_varint(out, tree.0);
            put_prefixed(out, key);
            put_prefixed(out, value);
        }
        Operation::Delete { tree, key } => {
            out.push(DELETE);
            put_varint(out, tree.0);
            put_prefixed(out, key);
        }
        Operation::DeleteRange { tree, start, end } => {
            out.push(DELETE_RANGE);
            put_varint(out, tree.0);
            put_prefixed(out, start);
            put_prefixed(out, end.unwrap_or_default());
        }
    }
}

/// Reads operations off the front of encoded bytes; ends after the first error.
#[derive(Clone, Debug)]
pub struct Operations<'a> {
    decoder: Decoder<'a>,
}

impl<'a> Operations<'a> {
    /// Starts at the front of an encoded batch.
    pub fn new(encoded: &'a [u8]) -> Self {
        Self { decoder: Decoder::new(encoded) }
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Result<Operation<'a>, Reason>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.decoder.is_empty() {
            return None;
        }
        let operation = decode(&mut self.decoder);
        if operation.is_err() {
            self.decoder = Decoder::new(&[]);
        }
        Some(operation)
    }
}

fn decode<'a>(decoder: &mut Decoder<'a>) -> Result<Operation<'a>, Reason> {
    let kind = decoder.u8()?;
    let tree = TreeId(decoder.varint()?);
    let operation = match kind {
        PUT => {
            let key = decoder.prefixed(KEY_BYTES_MAX)?;
            Operation::Put { tree, key, value: decoder.prefixed(VALUE_BYTES_MAX)? }
        }
        DELETE => Operation::Delete { tree, key: decoder.prefixed(KEY_BYTES_MAX)? },
        DELETE_RANGE => {
            let start = decoder.prefixed(KEY_BYTES_MAX)?;
            let end = decoder.prefixed(KEY_BYTES_MAX)?;
            Operation::DeleteRange { tree, start, end: (!end.is_empty()).then_some(end) }
        }
        _ => return Err("an operation is of an unknown kind"),
    };
    operation.check()?;
    Ok(operation)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_are_pinned() {
        let mut out = Vec::new();
        encode(&mut out, &Operation::Put { tree: TreeId(300), key: b"k", value: b"vv" });
        encode(&mut out, &Operation::Delete { tree: TreeId(1), key: b"k" });
        encode(&mut out, &Operation::DeleteRange { tree: TreeId(1), start: b"", end: Some(b"z") });
        encode(&mut out, &Operation::DeleteRange { tree: TreeId(1), start: b"a", end: None });
        let golden = b"\x01\xac\x02\x01k\x02vv\x02\x01\x01k\x03\x01\x00\x01z\x03\x01\x01a\x00";
        assert_eq!(out, golden);
    }

    #[test]
    fn decoding_ends_after_the_first_error() {
        let mut operations = Operations::new(b"\x02\x01\x01k\x09\x01\x02\x01\x01k");
        assert!(operations.next().is_some_and(|operation| operation.is_ok()));
        assert_eq!(operations.next(), Some(Err("an operation is of an unknown kind")));
        assert_eq!(operations.next(), None);
    }

    #[test]
    fn limits_hold_when_reading() {
        for bad in [
            b"\x01\x01\x00\x00".as_slice(), // an empty key
            b"\x02\x01\x00",
            b"\x03\x01\x01b\x01a",   // a range that ends before it starts
            b"\x02\x01\x80\x80\x04", // a key of 65,536 bytes
            b"\x01\x01\x01k\x81\x80\x80\x20", // a value over 64 MiB
            b"\x01\x01\x01k",
        ] {
            assert!(Operations::new(bad).any(|operation| operation.is_err()), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut again = Vec::new();
            let mut whole = true;
            for operation in Operations::new(&bytes) {
                match operation {
                    Ok(operation) => encode(&mut again, &operation),
                    Err(_) => whole = false,
                }
            }
            prop_assert!(bytes.starts_with(&again));
            prop_assert!(!whole || again == bytes, "each batch has one encoding");
        }
    }
}
