//! The trailer that ends every block: which codec, and a checksum tied to the block's place.
//!
//! A *stored block* is contents followed by the trailer. Blocks stay in this form in memory too: the
//! trailer is five bytes, and stripping it would cost a copy.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::{
    format::{
        layout::{Field, fills},
        primitives::{Reason, crc_seed, crc32},
    },
    types::{KEY_BYTES_MAX, Uid, VALUE_BYTES_MAX},
};

/// The trailer of a block.
pub const TRAILER: [Field; 2] = [("codec", 0, 1), ("crc32", 1, 4)];

/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 5;
const _: () = assert!(fills(&TRAILER, TRAILER_BYTES));

/// Longest stored data or index block, in bytes: one entry of the largest key and value with room
/// for everything around them. (A filter may be longer.)
pub const BLOCK_BYTES_MAX: usize = VALUE_BYTES_MAX + KEY_BYTES_MAX + 1024;

/// How the contents of a block are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// As they are.
    Plain,
    /// A codec that this version does not read: its number. 1 is LZ4, 2 Zstandard, 3 Deflate.
    Unknown(u8),
}

/// Turns the contents in `block` into a stored block that lies at `offset` of segment `uid`.
pub fn seal(block: &mut Vec<u8>, uid: Uid, offset: u64) {
    block.push(0);
    let crc = crc32(crc_seed(&uid.0, offset), &[block]);
    block.extend_from_slice(&crc.to_le_bytes());
}

/// Checks the checksum of a stored block and tells its codec.
///
/// # Errors
/// When these are not the bytes that were sealed for this place.
pub fn check(block: &[u8], uid: Uid, offset: u64) -> Result<Codec, Reason> {
    let (covered, stored) = block.split_last_chunk::<4>().ok_or("a block is too short")?;
    let codec = covered.last().ok_or("a block is too short")?;
    if crc32(crc_seed(&uid.0, offset), &[covered]) != u32::from_le_bytes(*stored) {
        return Err("a block failed its checksum");
    }
    Ok(if *codec == 0 { Codec::Plain } else { Codec::Unknown(*codec) })
}

/// The contents of a stored block; empty if it is too short to be one.
pub fn contents(block: &[u8]) -> &[u8] {
    block.split_last_chunk::<TRAILER_BYTES>().map_or(&[], |(contents, _)| contents)
}
