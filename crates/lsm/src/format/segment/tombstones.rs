//! The range tombstones of a segment, sorted by start, end and sequence.
//!
//! ```text
//!   varint  count, at least 1, then for each:
//!     varint  start length, then its bytes
//!     varint  end length, then its bytes; an empty end means to the last key
//!     varint  sequence
//! ```

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::{
    format::{
        primitives::{Decoder, Reason, put_prefixed, put_varint},
        segment::properties::BOUND_BYTES_MAX,
    },
    types::{RangeTombstone, SEQUENCE_MAX},
};

/// The contents of the tombstone block.
pub fn encode(tombstones: &[RangeTombstone]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, tombstones.len() as u64);
    for tombstone in tombstones {
        put_prefixed(&mut out, &tombstone.start);
        put_prefixed(&mut out, tombstone.end.as_deref().unwrap_or_default());
        put_varint(&mut out, tombstone.sequence);
    }
    out
}

/// Reads the contents of a tombstone block.
///
/// # Errors
/// When the bytes are no sorted tombstones.
pub fn decode(bytes: &[u8]) -> Result<Vec<RangeTombstone>, Reason> {
    let mut decoder = Decoder::new(bytes);
    let count = decoder.varint()?;
    let mut tombstones: Vec<RangeTombstone> = Vec::new();
    while !decoder.is_empty() {
        let start = decoder.prefixed(BOUND_BYTES_MAX)?.to_vec();
        let end = decoder.prefixed(BOUND_BYTES_MAX)?;
        let end = if end.is_empty() { None } else { Some(end.to_vec()) };
        let sequence = decoder.varint()?;
        if sequence > SEQUENCE_MAX || end.as_ref().is_some_and(|end| *end <= start) {
            return Err("a range tombstone covers nothing");
        }
        let tombstone = RangeTombstone { start, end, sequence };
        if tombstones.last().is_some_and(|last| *last > tombstone) {
            return Err("range tombstones are out of order");
        }
        tombstones.push(tombstone);
    }
    if count == 0 || tombstones.len() as u64 != count {
        return Err("range tombstones are missing");
    }
    Ok(tombstones)
}
