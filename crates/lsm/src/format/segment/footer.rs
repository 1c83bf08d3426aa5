//! The footer: the last 64 bytes of a segment, from which all else is found.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use crate::{
    format::{
        layout::{Field, fills},
        primitives::{Decoder, Reason, crc_seed, crc32},
    },
    types::Uid,
};

/// The layout of the footer.
pub const FOOTER: [Field; 12] = [
    ("uid", 0, 16),
    ("segment length", 16, 8),
    ("filter length", 24, 8),
    ("root length", 32, 4),
    ("tombstones length", 36, 4),
    ("properties length", 40, 4),
    ("index height", 44, 1),
    ("zero", 45, 1),
    ("format version", 46, 2),
    ("zero", 48, 4),
    ("crc32", 52, 4),
    ("magic", 56, 8),
];

/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 64;
const _: () = assert!(fills(&FOOTER, FOOTER_BYTES));

/// The last bytes of every segment.
pub const MAGIC: [u8; 8] = *b"SILTSEG1";

/// The version of the segment format that this program writes.
pub const VERSION: u16 = 1;

/// Bytes that the checksum covers before itself; the magic after it is compared.
const COVERED_BYTES: usize = 52;

/// What the footer says. Sections with length 0 are absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The segment's identity.
    pub uid: Uid,
    /// Bytes of the whole segment, footer included.
    pub length: u64,
    /// Bytes of the stored filter.
    pub filter: u64,
    /// Bytes of the stored root of the index.
    pub root: u32,
    /// Bytes of the stored range tombstones.
    pub tombstones: u32,
    /// Bytes of the stored properties.
    pub properties: u32,
    /// Levels of the index: 0 without entries, 1 if the root leads to data blocks, 2 if to leaves.
    pub height: u8,
}

/// Where the sections of a segment lie, in bytes from its start. They follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sections {
    /// Data blocks, then index leaves.
    pub blocks: Range<u64>,
    /// The filter.
    pub filter: Range<u64>,
    /// The root of the index.
    pub root: Range<u64>,
    /// The range tombstones.
    pub tombstones: Range<u64>,
    /// The properties.
    pub properties: Range<u64>,
}

/// Why a footer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The bytes are not what was written.
    Damaged(Reason),
    /// It was written by a newer version, this one.
    Newer(u16),
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::Damaged(reason)
    }
}

impl Footer {
    /// The footer as stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        out.extend_from_slice(&self.uid.0);
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.filter.to_le_bytes());
        out.extend_from_slice(&self.root.to_le_bytes());
        out.extend_from_slice(&self.tombstones.to_le_bytes());
        out.extend_from_slice(&self.properties.to_le_bytes());
        out.extend_from_slice(&[self.height, 0]);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let crc = crc32(self.seed(), &[&out]);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&MAGIC);
        out
    }

    /// Reads the footer of a segment of `length` bytes.
    ///
    /// # Errors
    /// When the bytes are not a footer that was written for a segment of this length, or are one of
    /// a newer version.
    pub fn decode(bytes: &[u8], length: u64) -> Result<Self, Refused> {
        let mut decoder = Decoder::new(bytes);
        let covered = bytes.get(..COVERED_BYTES).ok_or("a footer is too short")?;
        let uid = Uid(decoder.array()?);
        let stored_length = decoder.u64()?;
        let filter = decoder.u64()?;
        let [root, tombstones, properties] = [decoder.u32()?, decoder.u32()?, decoder.u32()?];
        let [height, zero] = decoder.array()?;
        let version = decoder.u16()?;
        let zeros = decoder.u32()?;
        let crc = decoder.u32()?;
        if decoder.rest() != MAGIC.as_slice() {
            return Err(Refused::Damaged("no segment ends here"));
        }
        let footer =
            Self { uid, length: stored_length, filter, root, tombstones, properties, height };
        if crc32(footer.seed(), &[covered]) != crc {
            return Err(Refused::Damaged("a segment footer failed its checksum"));
        }
        if version > VERSION {
            return Err(Refused::Newer(version));
        }
        let consistent = (root == 0) == (height == 0) && height <= 2 && properties > 0;
        if version == 0 || zero != 0 || zeros != 0 || stored_length != length || !consistent {
            return Err(Refused::Damaged("a segment footer contradicts itself"));
        }
        Ok(footer)
    }

    /// Where the sections lie.
    ///
    /// # Errors
    /// When they do not fit into the segment.
    pub fn sections(&self) -> Result<Sections, Reason> {
        const REASON: Reason = "the sections of a segment pass its start";
        let before =
            |end: u64, length: u64| end.checked_sub(length).map(|start| start..end).ok_or(REASON);
        let footer = before(self.length, FOOTER_BYTES as u64)?;
        let properties = before(footer.start, u64::from(self.properties))?;
        let tombstones = before(properties.start, u64::from(self.tombstones))?;
        let root = before(tombstones.start, u64::from(self.root))?;
        let filter = before(root.start, self.filter)?;
        Ok(Sections { blocks: 0..filter.start, filter, root, tombstones, properties })
    }

    /// The footer's checksum is tied to the identity and the place, as that of a block is.
    fn seed(&self) -> u32 {
        crc_seed(&self.uid.0, self.length.saturating_sub(FOOTER_BYTES as u64))
    }
}
