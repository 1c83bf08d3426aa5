//! A Bloom filter in lines of one cache line: a lookup touches 64 bytes however large it is.
//!
//! ```text
//!   64 x n  lines    n at least 1
//!   u8      probes   bits set a key, 1..=16
//! ```
//!
//! The upper half of the 64-bit key hash picks the line, the lower half the bits in it. Compared
//! with an unblocked filter the false-positive rate at 10 bits a key rises from 0.8 to about 1 %.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::format::primitives::Reason;

/// Bytes of a line.
pub const LINE_BYTES: usize = 64;

/// Most bits that a key may cost; more buys nothing that can be measured.
pub const BITS_PER_KEY_MAX: u32 = 32;

const PROBES_MAX: u8 = 16;

/// The contents of a filter over the hashes of keys; `None` when it would hold nothing.
pub fn build(hashes: &[u64], bits_per_key: u32) -> Option<Vec<u8>> {
    if hashes.is_empty() || bits_per_key == 0 {
        return None;
    }
    let bits_per_key = bits_per_key.min(BITS_PER_KEY_MAX);
    let probes = probes(bits_per_key);
    let lines = lines(hashes.len(), bits_per_key);
    let mut bytes = vec![0; lines.saturating_mul(LINE_BYTES)];
    for hash in hashes {
        let line = line_of(*hash, lines).saturating_mul(LINE_BYTES);
        for bit in bits_of(*hash, probes) {
            if let Some(byte) = bytes.get_mut(line.saturating_add(bit >> 3)) {
                *byte |= 1 << (bit & 7);
            }
        }
    }
    bytes.push(probes);
    Some(bytes)
}

/// Bytes of a filter over so many keys.
pub fn estimated_bytes(keys: usize, bits_per_key: u32) -> usize {
    if bits_per_key == 0 { 0 } else { lines(keys, bits_per_key).saturating_mul(LINE_BYTES) }
}

/// Whether the key with this hash may be among those the filter was built from.
///
/// # Errors
/// When the bytes are no filter.
pub fn may_contain(filter: &[u8], hash: u64) -> Result<bool, Reason> {
    let (probes, lines) = filter.split_last().ok_or("a filter is empty")?;
    if !lines.len().is_multiple_of(LINE_BYTES) || !(1..=PROBES_MAX).contains(probes) {
        return Err("a filter is not made of whole lines");
    }
    let at = line_of(hash, lines.len() >> LINE_BYTES.ilog2()).saturating_mul(LINE_BYTES);
    let rest = lines.get(at..).unwrap_or_default();
    let line = rest.first_chunk::<LINE_BYTES>().ok_or("a filter is empty")?;
    Ok(bits_of(hash, *probes).all(|bit| {
        let byte = line.get(bit >> 3).copied().unwrap_or_default();
        byte >> (bit & 7) & 1 == 1
    }))
}

/// The probes that make the fewest false positives: ln 2 a bit, a little less as lines fill unevenly.
fn probes(bits_per_key: u32) -> u8 {
    let best = bits_per_key.saturating_mul(64).saturating_add(50) / 100;
    u8::try_from(best).unwrap_or(PROBES_MAX).clamp(1, PROBES_MAX)
}

fn lines(keys: usize, bits_per_key: u32) -> usize {
    keys.saturating_mul(bits_per_key as usize).div_ceil(LINE_BYTES << 3).max(1)
}

/// Maps the upper half of the hash onto `0..lines` without a division.
fn line_of(hash: u64, lines: usize) -> usize {
    ((hash >> 32).wrapping_mul(lines as u64) >> 32) as usize
}

/// The bits of a key in its line: the top nine bits of the lower half, multiplied anew each time.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
fn bits_of(hash: u64, probes: u8) -> impl Iterator<Item = usize> {
    const ODD: u32 = 0x9e37_79b1;
    let mut mixed = hash as u32;
    (0..probes).map(move |_| {
        mixed = mixed.wrapping_mul(ODD);
        (mixed >> 23) as usize
    })
}
