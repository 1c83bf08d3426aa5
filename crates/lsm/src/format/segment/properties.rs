//! The properties of a segment: the part of [`SegmentMeta`] that its bytes repeat.
//!
//! ```text
//!   varint  puts
//!   varint  deletes
//!   varint  range_deletes
//!   16      sum
//!   varint  sequence_min
//!   varint  sequence_max - sequence_min
//!   varint  key_min length, then its bytes
//!   u8      1 if key_max follows, 0 if the segment has no upper end
//!   varint  key_max length, then its bytes
//! ```

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::{
    format::primitives::{Decoder, Reason, put_prefixed, put_varint},
    types::{Counts, KEY_BYTES_MAX, SEQUENCE_MAX, SegmentMeta, Sequence},
};

/// Longest bound of a key range: a range may end right after the longest key.
pub const BOUND_BYTES_MAX: usize = KEY_BYTES_MAX + 1;

/// What a segment says about itself; see [`SegmentMeta`] for the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Entries by kind.
    pub counts: Counts,
    /// Wrapping sum over entries and range tombstones.
    pub sum: u128,
    /// Lowest key.
    pub key_min: Vec<u8>,
    /// Highest key.
    pub key_max: Option<Vec<u8>>,
    /// Lowest sequence.
    pub sequence_min: Sequence,
    /// Highest sequence.
    pub sequence_max: Sequence,
}

impl Properties {
    /// The contents of the properties block.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.counts.puts);
        put_varint(&mut out, self.counts.deletes);
        put_varint(&mut out, self.counts.range_deletes);
        out.extend_from_slice(&self.sum.to_le_bytes());
        put_varint(&mut out, self.sequence_min);
        put_varint(&mut out, self.sequence_max.saturating_sub(self.sequence_min));
        put_prefixed(&mut out, &self.key_min);
        out.push(u8::from(self.key_max.is_some()));
        if let Some(key_max) = &self.key_max {
            put_prefixed(&mut out, key_max);
        }
        out
    }

    /// Reads the contents of a properties block.
    ///
    /// # Errors
    /// When the bytes are no properties.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reason> {
        let mut decoder = Decoder::new(bytes);
        let counts = Counts {
            puts: decoder.varint()?,
            deletes: decoder.varint()?,
            range_deletes: decoder.varint()?,
        };
        let sum = decoder.u128()?;
        let sequence_min = decoder.varint()?;
        let sequence_max = sequence_min
            .checked_add(decoder.varint()?)
            .filter(|max| *max <= SEQUENCE_MAX)
            .ok_or("a sequence is out of range")?;
        let key_min = decoder.prefixed(BOUND_BYTES_MAX)?.to_vec();
        let key_max = match decoder.u8()? {
            0 => None,
            1 => Some(decoder.prefixed(BOUND_BYTES_MAX)?.to_vec()),
            _ => return Err("a key range is neither open nor closed"),
        };
        if !decoder.is_empty() {
            return Err("properties are followed by other bytes");
        }
        Ok(Self { counts, sum, key_min, key_max, sequence_min, sequence_max })
    }

    /// Whether they are those of the segment that `meta` describes.
    pub fn agree_with(&self, meta: &SegmentMeta) -> bool {
        self.counts == meta.counts
            && self.sum == meta.sum
            && self.key_min == meta.key_min
            && self.key_max == meta.key_max
            && self.sequence_min == meta.sequence_min
            && self.sequence_max == meta.sequence_max
    }
}
