//! A block of entries in internal order, with prefix compression: data blocks and index blocks.
//!
//! ```text
//!   varint   sequence_base   sequence of the first entry
//!   entries, one after another:
//!     varint   shared        bytes of the key that equal the start of the key before
//!     varint   unshared      bytes of the key that follow
//!     varint   tag           zigzag(sequence - sequence_base) * 4 + kind
//!     varint   value length  only for a put
//!     bytes    key, then value
//!   u32 x n  restarts        offset in the block of every 16th entry, whose `shared` is 0
//!   u32      n               at least 1
//! ```
//!
//! A search compares restart keys in place, then walks at most 16 entries.
//!
//! In an index block an entry stands for a block below: its key and sequence are a *separator*,
//! above everything in the blocks before and not above anything in the block itself; its value is a
//! [`Handle`]. The separator is the shortest start of the block's first key that does it, with
//! sequence [`SEQUENCE_MAX`]; only where versions of one key continue from the block before is it
//! the first key and sequence themselves. So one search rule, "the last separator at or below the
//! target", finds the block that holds the target whether or not versions straddle.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::{cmp::Ordering, ops::Range, sync::Arc};

use crate::{
    format::{
        primitives::{Decoder, Reason, put_varint},
        segment::seal,
    },
    types::{Entry, EntryKind, KEY_BYTES_MAX, SEQUENCE_MAX, Sequence, VALUE_BYTES_MAX},
};

/// Entries from one restart point to the next.
pub const RESTART_INTERVAL: usize = 16;

/// Low bits of a tag that hold the kind.
const KIND_BITS: u32 = 2;

/// Bytes of one restart offset and of their count.
const OFFSET_BYTES: usize = 4;

/// The order of entries: key ascending, then sequence descending.
pub fn internal_order(a: (&[u8], Sequence), b: (&[u8], Sequence)) -> Ordering {
    a.0.cmp(b.0).then(b.1.cmp(&a.1))
}

/// The separator of a block whose first entry is `first` and whose predecessor ends in `last`.
pub fn separator<'a>(last: (&[u8], Sequence), first: (&'a [u8], Sequence)) -> (&'a [u8], Sequence) {
    if last.0 == first.0 {
        return first;
    }
    let differ = shared_prefix(last.0, first.0).saturating_add(1);
    (first.0.get(..differ).unwrap_or(first.0), SEQUENCE_MAX)
}

/// The order of the key `head` + `tail` relative to `key`.
fn split_key_order(head: &[u8], tail: &[u8], key: &[u8]) -> Ordering {
    match key.split_at_checked(head.len()) {
        Some((front, back)) => head.cmp(front).then_with(|| tail.cmp(back)),
        // The key is shorter than the head: equal as far as it goes means that it comes first.
        None => head.cmp(key),
    }
}

fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Where a stored block lies: offset in the segment and length in bytes, trailer included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// Bytes from the start of the segment.
    pub offset: u64,
    /// Bytes of the stored block.
    pub length: usize,
}

impl Handle {
    /// Appends the handle as two varints.
    pub fn encode(self, out: &mut Vec<u8>) {
        put_varint(out, self.offset);
        put_varint(out, self.length as u64);
    }

    /// Takes the handle that is all of `bytes`; the block must end at or before `limit`.
    ///
    /// # Errors
    /// When the bytes are no handle, or it leads past `limit`.
    pub fn decode(bytes: &[u8], limit: u64) -> Result<Self, Reason> {
        let mut decoder = Decoder::new(bytes);
        let offset = decoder.varint()?;
        let length = decoder.length(seal::BLOCK_BYTES_MAX)?;
        let end = offset.checked_add(length as u64);
        if !decoder.is_empty() || length <= seal::TRAILER_BYTES {
            return Err("an index entry is no block handle");
        }
        if end.is_none_or(|end| end > limit) {
            return Err("an index entry leads outside its section");
        }
        Ok(Self { offset, length })
    }

    /// The first byte after the block.
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.length as u64)
    }
}

/// Collects the entries of one block.
#[derive(Clone, Debug, Default)]
pub struct BlockBuilder {
    contents: Vec<u8>,
    restarts: Vec<u32>,
    entries: usize,
    base: Sequence,
    last_key: Vec<u8>,
    last_sequence: Sequence,
}

impl BlockBuilder {
    /// Whether it holds no entry.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Key and sequence of the last entry added.
    pub fn last(&self) -> (&[u8], Sequence) {
        (&self.last_key, self.last_sequence)
    }

    /// The stored block's size if it were finished now.
    pub fn stored_bytes(&self) -> usize {
        let restarts = self.restarts.len().saturating_add(1).saturating_mul(OFFSET_BYTES);
        self.contents.len().saturating_add(restarts).saturating_add(seal::TRAILER_BYTES)
    }

    /// Adds the next entry; the caller keeps them in internal order.
    #[expect(clippy::cast_possible_truncation, reason = "a block is under BLOCK_BYTES_MAX")]
    pub fn add(&mut self, entry: Entry<'_>) {
        if self.is_empty() {
            self.base = entry.sequence;
            put_varint(&mut self.contents, self.base);
        }
        let restart = self.entries.is_multiple_of(RESTART_INTERVAL);
        if restart {
            self.restarts.push(self.contents.len() as u32);
        }
        let shared = if restart { 0 } else { shared_prefix(&self.last_key, entry.key) };
        let suffix = entry.key.get(shared..).unwrap_or_default();
        put_varint(&mut self.contents, shared as u64);
        put_varint(&mut self.contents, suffix.len() as u64);
        put_varint(&mut self.contents, tag(entry.sequence, self.base, entry.kind));
        if entry.kind == EntryKind::Put {
            put_varint(&mut self.contents, entry.value.len() as u64);
        }
        self.contents.extend_from_slice(suffix);
        self.contents.extend_from_slice(entry.value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(suffix);
        self.last_sequence = entry.sequence;
        self.entries = self.entries.saturating_add(1);
    }

    /// Hands out the contents of the block, to be sealed, and starts over. The last key stays, for
    /// the separator of the next block.
    #[expect(clippy::cast_possible_truncation, reason = "a block is under BLOCK_BYTES_MAX")]
    pub fn finish(&mut self) -> Vec<u8> {
        let mut contents = std::mem::take(&mut self.contents);
        for offset in &self.restarts {
            contents.extend_from_slice(&offset.to_le_bytes());
        }
        contents.extend_from_slice(&(self.restarts.len() as u32).to_le_bytes());
        self.restarts.clear();
        self.entries = 0;
        contents
    }
}

/// Zigzag puts small differences of either sign into few bits; both sequences are below 2^56.
fn tag(sequence: Sequence, base: Sequence, kind: EntryKind) -> u64 {
    let difference = sequence.cast_signed().wrapping_sub(base.cast_signed());
    let zigzag = difference.wrapping_shl(1) ^ difference.wrapping_shr(63);
    zigzag.cast_unsigned() << KIND_BITS | kind as u64
}

fn untag(tag: u64, base: Sequence) -> Result<(Sequence, EntryKind), Reason> {
    let kind = match tag & 3 {
        1 => EntryKind::Put,
        2 => EntryKind::Delete,
        _ => return Err("an entry is neither put nor delete"),
    };
    let zigzag = tag >> KIND_BITS;
    let difference = (zigzag >> 1).cast_signed() ^ (zigzag & 1).cast_signed().wrapping_neg();
    let sequence = base.checked_add_signed(difference).filter(|found| *found <= SEQUENCE_MAX);
    Ok((sequence.ok_or("a sequence is out of range")?, kind))
}

/// One entry as it lies in the block, its key still in two parts.
#[derive(Clone, Debug)]
struct Parts {
    at: usize,
    shared: usize,
    suffix: Range<usize>,
    value: Range<usize>,
    sequence: Sequence,
    kind: EntryKind,
}

impl Parts {
    /// Where the next entry starts.
    fn end(&self) -> usize {
        self.value.end
    }
}

/// A position in one block; owns the block. Total: bytes that no builder made give a [`Reason`] or
/// entries in some order, never a panic or an endless walk. After a failure it is on no entry.
#[derive(Clone, Debug)]
pub struct BlockCursor {
    block: Arc<[u8]>,
    base: Sequence,
    entries: Range<usize>,
    restarts: usize,
    /// The current entry, and its key put together.
    current: Option<Parts>,
    key: Vec<u8>,
}

impl BlockCursor {
    /// Takes a stored block whose trailer was checked; on no entry yet. `key` is spare memory.
    ///
    /// # Errors
    /// When the restart array does not fit the block.
    pub fn new(block: Arc<[u8]>, mut key: Vec<u8>) -> Result<Self, Reason> {
        let bytes = seal::contents(&block);
        let (front, count) = bytes.split_last_chunk::<4>().ok_or("a block is too short")?;
        let restarts = u32::from_le_bytes(*count) as usize;
        let array = restarts.checked_mul(OFFSET_BYTES).ok_or("a restart count is too large")?;
        let end = front.len().checked_sub(array).ok_or("a restart count is too large")?;
        let mut decoder = Decoder::new(front.get(..end).unwrap_or_default());
        let base = decoder.varint()?;
        let start = end.saturating_sub(decoder.rest().len());
        if restarts == 0 || start == end || base > SEQUENCE_MAX {
            return Err("a block holds no entries");
        }
        key.clear();
        Ok(Self { block, base, entries: start..end, restarts, current: None, key })
    }

    /// Takes the key memory back for another cursor.
    pub fn into_key_memory(self) -> Vec<u8> {
        self.key
    }

    /// The block.
    pub fn block(&self) -> &Arc<[u8]> {
        &self.block
    }

    /// The entry under the cursor.
    pub fn entry(&self) -> Option<Entry<'_>> {
        let parts = self.current.as_ref()?;
        Some(Entry {
            key: &self.key,
            sequence: parts.sequence,
            kind: parts.kind,
            value: self.block.get(parts.value.clone())?,
        })
    }

    /// Where the value of the current entry lies in the block.
    pub fn value_range(&self) -> Range<usize> {
        self.current.as_ref().map_or(0..0, |parts| parts.value.clone())
    }

    /// Goes to the first entry.
    ///
    /// # Errors
    /// When the bytes are no block.
    pub fn seek_first(&mut self) -> Result<(), Reason> {
        let first = self.read_restart(0)?;
        self.enter(first)
    }

    /// Goes to the last entry.
    ///
    /// # Errors
    /// When the bytes are no block.
    pub fn seek_last(&mut self) -> Result<(), Reason> {
        let restart = self.read_restart(self.restarts.saturating_sub(1))?;
        self.enter(restart)?;
        self.walk_while(|_, _, _| true)
    }

    /// Goes to the last entry whose order relative to the target satisfies `accepts`, which is true
    /// for a front part of the block; on no entry if it is true for none.
    ///
    /// # Errors
    /// When the bytes are no block.
    pub fn seek_last_where(
        &mut self,
        target: (&[u8], Sequence),
        accepts: fn(Ordering) -> bool,
    ) -> Result<(), Reason> {
        self.current = None;
        let (mut low, mut high) = (0, self.restarts); // accepted below low, not from high on
        let mut found = None;
        while low < high {
            let middle = low.midpoint(high);
            let parts = self.read_restart(middle)?;
            let key = self.block.get(parts.suffix.clone()).unwrap_or_default();
            if accepts(internal_order((key, parts.sequence), target)) {
                found = Some(parts);
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        let Some(restart) = found else {
            return Ok(());
        };
        self.enter(restart)?;
        self.walk_while(|head, tail, sequence| {
            accepts(split_key_order(head, tail, target.0).then(target.1.cmp(&sequence)))
        })
    }

    /// Goes to the first entry at or after the target; on no entry if there is none.
    ///
    /// # Errors
    /// When the bytes are no block.
    pub fn seek(&mut self, key: &[u8], sequence: Sequence) -> Result<(), Reason> {
        self.seek_last_where((key, sequence), Ordering::is_lt)?;
        if self.current.is_some() { self.advance() } else { self.seek_first() }
    }

    /// Walks the whole block and checks that its restarts are where a builder puts them, so that a
    /// search finds whatever a walk does. On no entry afterwards.
    ///
    /// # Errors
    /// When they are not, or the bytes are no block.
    pub fn check_restarts(&mut self) -> Result<(), Reason> {
        let mut entries = 0_usize;
        self.seek_first()?;
        while let Some(current) = &self.current {
            if entries.is_multiple_of(RESTART_INTERVAL) {
                let restart = self.read_restart(entries.div_euclid(RESTART_INTERVAL))?;
                if restart.at != current.at {
                    return Err("a restart is not at its entry");
                }
            }
            entries = entries.saturating_add(1);
            self.advance()?;
        }
        if entries.div_ceil(RESTART_INTERVAL) == self.restarts {
            return Ok(());
        }
        Err("a block has more restarts than its entries need")
    }

    /// Moves on by one, to no entry after the last.
    ///
    /// # Errors
    /// When the bytes are no block.
    pub fn advance(&mut self) -> Result<(), Reason> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        if current.end() == self.entries.end {
            return Ok(());
        }
        let next = self.read(current.end())?;
        self.enter(next)
    }

    /// Moves back by one, to no entry before the first.
    ///
    /// # Errors
    /// When the bytes are no block.
    pub fn retreat(&mut self) -> Result<(), Reason> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        if current.at == self.entries.start {
            return Ok(());
        }
        let (mut low, mut high) = (0, self.restarts);
        while low < high {
            let middle = low.midpoint(high);
            if self.restart(middle)? < current.at {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        let restart = self.read_restart(low.saturating_sub(1))?;
        self.enter(restart)?;
        while let Some(parts) = &self.current {
            if parts.end() == current.at {
                return Ok(());
            }
            if parts.end() > current.at {
                break;
            }
            self.advance()?;
        }
        self.current = None;
        Err("a restart does not lead to the entry after it")
    }

    /// Moves on while the next entry, seen as the two parts of its key and its sequence, satisfies
    /// `accepts`.
    fn walk_while(
        &mut self,
        accepts: impl Fn(&[u8], &[u8], Sequence) -> bool,
    ) -> Result<(), Reason> {
        while let Some(current) = &self.current {
            if current.end() == self.entries.end {
                break;
            }
            let next = self.read(current.end()).inspect_err(|_| self.current = None)?;
            let head = self.key.get(..next.shared).unwrap_or(&self.key);
            let tail = self.block.get(next.suffix.clone()).unwrap_or_default();
            if !accepts(head, tail, next.sequence) {
                break;
            }
            self.enter(next)?;
        }
        Ok(())
    }

    /// Makes `parts` current; the key of the entry before it is in `self.key`.
    fn enter(&mut self, parts: Parts) -> Result<(), Reason> {
        self.current = None;
        let length = parts.shared.saturating_add(parts.suffix.len());
        if parts.shared > self.key.len() || length > KEY_BYTES_MAX {
            return Err("a key is longer than it can be");
        }
        self.key.truncate(parts.shared);
        self.key.extend_from_slice(self.block.get(parts.suffix.clone()).unwrap_or_default());
        self.current = Some(parts);
        Ok(())
    }

    /// Decodes the entry at `at`, which is inside the entries.
    fn read(&self, at: usize) -> Result<Parts, Reason> {
        let bytes = self.block.get(at..self.entries.end).ok_or("an entry passes the end")?;
        let mut decoder = Decoder::new(bytes);
        let shared = decoder.length(KEY_BYTES_MAX)?;
        let unshared = decoder.length(KEY_BYTES_MAX)?;
        let (sequence, kind) = untag(decoder.varint()?, self.base)?;
        let value = if kind == EntryKind::Put { decoder.length(VALUE_BYTES_MAX)? } else { 0 };
        let suffix = self.entries.end.saturating_sub(decoder.rest().len());
        decoder.bytes(unshared)?;
        let middle = self.entries.end.saturating_sub(decoder.rest().len());
        decoder.bytes(value)?;
        let end = self.entries.end.saturating_sub(decoder.rest().len());
        Ok(Parts { at, shared, suffix: suffix..middle, value: middle..end, sequence, kind })
    }

    /// Decodes the entry at a restart point: its key is whole.
    fn read_restart(&self, index: usize) -> Result<Parts, Reason> {
        let at = self.restart(index)?;
        let parts = self.read(at)?;
        if parts.shared == 0 { Ok(parts) } else { Err("a key at a restart is not whole") }
    }

    /// The offset of a restart point, checked to lie inside the entries.
    fn restart(&self, index: usize) -> Result<usize, Reason> {
        let array = self.block.get(self.entries.end..).unwrap_or_default();
        let skipped = index.checked_mul(OFFSET_BYTES).ok_or("a restart is missing")?;
        let bytes = array.get(skipped..).and_then(|rest| rest.first_chunk::<4>());
        let at = u32::from_le_bytes(*bytes.ok_or("a restart is missing")?) as usize;
        if self.entries.contains(&at) { Ok(at) } else { Err("a restart is outside the block") }
    }
}
