//! What all formats are made of: a total decoding cursor, varints, checksums and hashes.
//!
//! Integers are little-endian. Nothing here panics on any input or allocates by a length that it
//! read: [`Decoder`] only hands out what is there. This is the one door to crc32fast, blake3 and
//! xxhash-rust.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::types::{EntryKind, Hash, Sequence};

/// Bytes of one piece of the segment hash: each piece is hashed alone, then the list of hashes.
pub const HASH_PIECE_BYTES: usize = 1 << 20;

/// Longest varint, in bytes: 64 bits in groups of seven.
pub const VARINT_BYTES_MAX: usize = 10;

/// Why bytes could not be decoded; the reader adds file and offset.
pub type Reason = &'static str;

/// Takes fields off the front of a byte slice; every method fails, rather than panics, when the
/// bytes are not there.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not yet taken.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether all bytes are taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes `len` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Reason> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or("a field passes the end")?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes an array.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or("a field passes the end")?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// When none is left.
    pub fn u8(&mut self) -> Result<u8, Reason> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Takes a 16-bit integer.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn u16(&mut self) -> Result<u16, Reason> {
        self.array().map(u16::from_le_bytes)
    }

    /// Takes a 32-bit integer.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn u32(&mut self) -> Result<u32, Reason> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes a 64-bit integer.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn u64(&mut self) -> Result<u64, Reason> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes a 128-bit integer.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn u128(&mut self) -> Result<u128, Reason> {
        self.array().map(u128::from_le_bytes)
    }

    /// Takes a varint: seven bits a byte, lowest first, the high bit says that more follow.
    ///
    /// # Errors
    /// When it has no end, passes 64 bits, or is longer than needed (so that each number has one
    /// encoding).
    pub fn varint(&mut self) -> Result<u64, Reason> {
        let mut value = 0_u64;
        let mut shift = 0_u32;
        loop {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits.checked_shl(shift).ok_or("a varint is too long")?;
            if shifted.checked_shr(shift) != Some(bits) {
                return Err("a varint passes 64 bits");
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                let padded = byte == 0 && shift > 0;
                return if padded { Err("a varint is longer than needed") } else { Ok(value) };
            }
            shift = shift.checked_add(7).ok_or("a varint is too long")?;
        }
    }

    /// Takes a varint that must fit a `usize` and be at most `max`.
    ///
    /// # Errors
    /// As [`Decoder::varint`], or when it is larger than `max`.
    pub fn length(&mut self, max: usize) -> Result<usize, Reason> {
        match usize::try_from(self.varint()?) {
            Ok(length) if length <= max => Ok(length),
            _ => Err("a length is over its limit"),
        }
    }

    /// Takes a length (a varint, at most `max`) and that many bytes.
    ///
    /// # Errors
    /// As [`Decoder::length`], or when fewer bytes are left.
    pub fn prefixed(&mut self, max: usize) -> Result<&'a [u8], Reason> {
        let length = self.length(max)?;
        self.bytes(length)
    }
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        let [low, ..] = value.to_le_bytes();
        out.push(low | 0x80);
        value >>= 7;
    }
    let [low, ..] = value.to_le_bytes();
    out.push(low);
}

/// Appends a length as a varint, then the bytes.
pub fn put_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// CRC-32 (IEEE) of the parts in order, started from `seed`: the place of the bytes takes part, so
/// the right bytes in the wrong place fail.
pub fn crc32(seed: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// The CRC seed for bytes at `offset` in something identified by `identity`.
pub fn crc_seed(identity: &[u8], offset: u64) -> u32 {
    crc32(0, &[identity, &offset.to_le_bytes()])
}

/// BLAKE3 of some bytes.
pub fn hash(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}

/// BLAKE3 of bytes that come in parts of any size.
#[derive(Clone, Debug, Default)]
pub struct PlainHasher(blake3::Hasher);

impl PlainHasher {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all bytes added.
    pub fn finish(&self) -> Hash {
        Hash(*self.0.finalize().as_bytes())
    }
}

/// The hash of a segment: BLAKE3 of the list of BLAKE3s of its 1 MiB pieces. The same at flush,
/// backup, verify and restore, however the bytes are split on the way.
#[derive(Clone, Debug, Default)]
pub struct PieceHasher {
    list: blake3::Hasher,
    piece: blake3::Hasher,
    piece_bytes: usize,
    /// Short inputs, until there are enough of them.
    pending: Vec<u8>,
}

/// Bytes that are hashed at once. BLAKE3 is several times faster on many of its 1 KiB chunks side
/// by side than on the single block of a segment.
const HASH_RUN_BYTES: usize = 64 << 10;

impl PieceHasher {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if bytes.len() < HASH_RUN_BYTES {
            self.pending.extend_from_slice(bytes);
            if self.pending.len() >= HASH_RUN_BYTES {
                self.add_pending();
            }
        } else {
            self.add_pending();
            self.add(bytes);
        }
    }

    fn add_pending(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        self.add(&pending);
        pending.clear();
        self.pending = pending;
    }

    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = HASH_PIECE_BYTES.saturating_sub(self.piece_bytes).min(bytes.len());
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.piece.update(now);
            self.piece_bytes = self.piece_bytes.saturating_add(now.len());
            if self.piece_bytes == HASH_PIECE_BYTES {
                self.end_piece();
            }
            bytes = later;
        }
    }

    /// The hash of all bytes added.
    pub fn finish(mut self) -> Hash {
        self.add_pending();
        if self.piece_bytes > 0 {
            self.end_piece();
        }
        Hash(*self.list.finalize().as_bytes())
    }

    fn end_piece(&mut self) {
        self.list.update(self.piece.finalize().as_bytes());
        self.piece.reset();
        self.piece_bytes = 0;
    }
}

/// XXH3-128 of one entry, lengths included; sums of these (wrapping) identify a set of entries.
pub fn entry_sum(key: &[u8], sequence: Sequence, kind: EntryKind, value: &[u8]) -> u128 {
    sum_of(kind as u8, sequence, key, value)
}

/// XXH3-128 of one range tombstone; an absent end counts as empty, which no real end is.
pub fn range_tombstone_sum(start: &[u8], end: Option<&[u8]>, sequence: Sequence) -> u128 {
    sum_of(RANGE_TOMBSTONE, sequence, start, end.unwrap_or_default())
}

/// The kind byte of a range tombstone in sums; entries use [`EntryKind`].
const RANGE_TOMBSTONE: u8 = 3;

fn sum_of(kind: u8, sequence: Sequence, key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    hasher.update(&[kind]);
    hasher.update(&sequence.to_le_bytes());
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(&(value.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.digest128()
}

/// XXH3-64 of a key: the hash behind filters.
pub fn key_hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_have_one_encoding() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut decoder = Decoder::new(&bytes);
            assert_eq!(decoder.varint(), Ok(value));
            assert!(decoder.is_empty());
        }
        assert!(Decoder::new(&[0x80, 0x00]).varint().is_err());
        assert!(Decoder::new(&[0xff; 11]).varint().is_err());
        assert!(Decoder::new(&[0x80]).varint().is_err());
    }

    #[test]
    fn piece_hash_does_not_depend_on_the_split() {
        let bytes: Vec<u8> = (0..=250_u8).cycle().take(HASH_PIECE_BYTES * 2 + 77).collect();
        let mut whole = PieceHasher::default();
        whole.update(&bytes);
        let mut split = PieceHasher::default();
        let mut rest = bytes.as_slice();
        for length in [1, 4097, 70_000, 0, HASH_RUN_BYTES, 10].into_iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(length));
            split.update(now);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let (whole, split) = (whole.finish(), split.finish());
        assert_eq!(whole, split);
        let mut list = blake3::Hasher::new();
        for piece in bytes.chunks(HASH_PIECE_BYTES) {
            list.update(blake3::hash(piece).as_bytes());
        }
        assert_eq!(whole, Hash(*list.finalize().as_bytes()));
    }

    #[test]
    fn sums_are_pinned() {
        assert_eq!(
            entry_sum(b"key", 7, EntryKind::Put, b"value"),
            entry_sum(b"key", 7, EntryKind::Put, b"value")
        );
        assert_ne!(
            entry_sum(b"ab", 7, EntryKind::Put, b"c"),
            entry_sum(b"a", 7, EntryKind::Put, b"bc")
        );
    }
}
