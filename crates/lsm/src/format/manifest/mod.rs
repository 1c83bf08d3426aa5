//! The manifest's bytes: the head page of a manifest, the file `CURRENT`, and, in submodules, the
//! frames ([`frame`]) that carry the records ([`edit`]).
//!
//! A manifest is a head page and then frames, each whole 4 KiB pages, each page written once. The
//! head holds a random salt that takes part in every checksum of the file together with the
//! offset: bytes of another manifest, or of another place in this one, never pass.
//!
//! Both heads begin with magic and version and end in a checksum over everything before it, so a
//! later version can be told from damage.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod edit;
pub mod frame;

use crate::format::{
    layout::{Field, fills},
    primitives::{Decoder, Reason, crc32},
};

/// Bytes of a page: the unit in which manifests are written.
pub const PAGE_BYTES: usize = 4096;

/// The version of both layouts that this program writes.
pub const VERSION: u32 = 1;

/// First bytes of a manifest.
pub const HEAD_MAGIC: [u8; 8] = *b"SILTMANI";

/// First bytes of `CURRENT`.
pub const CURRENT_MAGIC: [u8; 8] = *b"SILTCURR";

/// Bytes of `CURRENT`.
pub const CURRENT_BYTES: usize = 40;

/// The head page of a manifest.
pub const HEAD: [Field; 7] = [
    ("magic", 0, 8),
    ("version", 8, 4),
    ("number", 12, 8),
    ("store_id", 20, 16),
    ("salt", 36, 16),
    ("zero", 52, PAGE_BYTES - 56),
    ("crc", PAGE_BYTES - 4, 4),
];
const _: () = assert!(fills(&HEAD, PAGE_BYTES));

/// The file `CURRENT`.
pub const CURRENT: [Field; 5] =
    [("magic", 0, 8), ("version", 8, 4), ("number", 12, 8), ("store_id", 20, 16), ("crc", 36, 4)];
const _: () = assert!(fills(&CURRENT, CURRENT_BYTES));

/// What the head page of a manifest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number in the file's name.
    pub number: u64,
    /// The store it belongs to.
    pub store_id: [u8; 16],
    /// Random; part of every checksum of the file.
    pub salt: [u8; 16],
}

/// What `CURRENT` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// The number of the manifest in use.
    pub number: u64,
    /// The store it belongs to.
    pub store_id: [u8; 16],
}

/// Why a head could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// Whole, but of a version that this program does not know.
    Newer {
        /// The version.
        version: u32,
    },
    /// Bytes that no version writes.
    Damaged(Reason),
}

impl From<Reason> for HeadError {
    fn from(reason: Reason) -> Self {
        Self::Damaged(reason)
    }
}

impl Head {
    /// The head page.
    pub fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(PAGE_BYTES);
        page.extend_from_slice(&HEAD_MAGIC);
        page.extend_from_slice(&VERSION.to_le_bytes());
        page.extend_from_slice(&self.number.to_le_bytes());
        page.extend_from_slice(&self.store_id);
        page.extend_from_slice(&self.salt);
        page.resize(PAGE_BYTES.saturating_sub(4), 0);
        seal(&mut page);
        page
    }

    /// Decodes a head page.
    ///
    /// # Errors
    /// When it is damaged or of a newer version.
    pub fn decode(page: &[u8]) -> Result<Self, HeadError> {
        let mut from = open(page, PAGE_BYTES, HEAD_MAGIC)?;
        Ok(Self { number: from.u64()?, store_id: from.array()?, salt: from.array()? })
    }
}

impl Current {
    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CURRENT_BYTES);
        bytes.extend_from_slice(&CURRENT_MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.store_id);
        seal(&mut bytes);
        bytes
    }

    /// Decodes the bytes of the file.
    ///
    /// # Errors
    /// When they are damaged or of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        let mut from = open(bytes, CURRENT_BYTES, CURRENT_MAGIC)?;
        Ok(Self { number: from.u64()?, store_id: from.array()? })
    }
}

/// Appends the checksum of all bytes so far.
fn seal(bytes: &mut Vec<u8>) {
    let crc = crc32(0, &[bytes]);
    bytes.extend_from_slice(&crc.to_le_bytes());
}

/// Checks length, magic, checksum and version; leaves the cursor behind them.
fn open(bytes: &[u8], length: usize, magic: [u8; 8]) -> Result<Decoder<'_>, HeadError> {
    if bytes.len() != length {
        return Err(HeadError::Damaged("it has the wrong length"));
    }
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or("it has the wrong length")?;
    let mut from = Decoder::new(body);
    if from.array::<8>()? != magic {
        return Err(HeadError::Damaged("it does not begin with its magic bytes"));
    }
    if crc32(0, &[body]) != u32::from_le_bytes(*crc) {
        return Err(HeadError::Damaged("its checksum does not match"));
    }
    match from.u32()? {
        VERSION => Ok(from),
        0 => Err(HeadError::Damaged("it has version 0")),
        version => Err(HeadError::Newer { version }),
    }
}

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "the operands are chosen here")]
mod tests;
