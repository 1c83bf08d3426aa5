//! Tar headers: the bytes before an entry's content, which follow from its place and are compared
//! byte by byte when a chunk is read.
//!
//! An entry of a compressed chunk is one ustar block and its content. In an uncompressed chunk a
//! PAX header comes first; its one record, a comment of blanks, is as long as it takes for the
//! content to start at a multiple of 4 KiB of the object, so that a restore can read and write it
//! directly. Content is padded with zeros to 512 bytes. Two blocks of zeros end the archive.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;

use siltstone_lsm::{
    format::layout::{Field, fills},
    types::Uid,
};

use crate::format::chunk::Codec;

/// Bytes of one tar block.
pub const BLOCK_BYTES: u32 = 512;

/// Bytes of the end mark.
pub const END_BYTES: u32 = 2 * BLOCK_BYTES;

/// Bytes of a PAX header beside its record, in bytes: its own block and the ustar block.
const PAX_BLOCKS_BYTES: u32 = 2 * BLOCK_BYTES;

/// In an uncompressed chunk, content starts at a multiple of this many bytes of the object.
pub const CONTENT_ALIGN: u64 = 4096;

/// Longest header, in bytes: a PAX header of two blocks or more, and a ustar block.
pub const HEADER_BYTES_MAX: u32 = 5120;

/// Shortest header with a PAX record, in bytes.
const PAX_HEADER_BYTES_MIN: u64 = 3 * BLOCK_BYTES as u64;

/// The fields of a ustar block.
pub const USTAR: [Field; 17] = [
    ("name", 0, 100),
    ("mode", 100, 8),
    ("user id", 108, 8),
    ("group id", 116, 8),
    ("size", 124, 12),
    ("modification time", 136, 12),
    ("checksum", 148, 8),
    ("type", 156, 1),
    ("link name", 157, 100),
    ("magic", 257, 6),
    ("version", 263, 2),
    ("user name", 265, 32),
    ("group name", 297, 32),
    ("device major", 329, 8),
    ("device minor", 337, 8),
    ("prefix", 345, 155),
    ("zeros", 500, 12),
];
const _: () = assert!(fills(&USTAR, BLOCK_BYTES as usize));

/// The name of an entry: part `part` of segment `uid`. Eight digits, so that names sort as parts
/// follow and `cat <uid>.*` puts a segment together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryName {
    /// The segment.
    pub uid: Uid,
    /// Counted from 0 over all chunks that hold the segment.
    pub part: u32,
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:08}", self.uid, self.part)
    }
}

/// Bytes of the header of an entry that starts at `position` of the tar stream of its chunk, a
/// multiple of 512.
pub fn header_bytes(codec: Codec, position: u64) -> u32 {
    let bytes = match codec {
        Codec::Gzip | Codec::Zstd => u64::from(BLOCK_BYTES),
        Codec::None => {
            let earliest = position.saturating_add(PAX_HEADER_BYTES_MIN);
            earliest
                .checked_next_multiple_of(CONTENT_ALIGN)
                .map_or(0, |at| at.saturating_sub(position))
        }
    };
    u32::try_from(bytes).unwrap_or(HEADER_BYTES_MAX)
}

/// The header of an entry of `content` bytes that starts at `position`.
pub fn header(codec: Codec, position: u64, name: EntryName, content: u32) -> Vec<u8> {
    let length = header_bytes(codec, position);
    let mut out = Vec::with_capacity(length as usize);
    if codec == Codec::None {
        let record = length.saturating_sub(PAX_BLOCKS_BYTES);
        out.extend_from_slice(&block(&format!("PaxHeaders/{name}"), record, b'x'));
        out.extend_from_slice(&comment(record));
    }
    out.extend_from_slice(&block(&name.to_string(), content, b'0'));
    out
}

/// Bytes of zeros after `content` bytes.
pub fn pad_bytes(content: u32) -> u32 {
    content.wrapping_neg() % BLOCK_BYTES
}

/// A PAX record of exactly `length` bytes, 512 or more, that says nothing.
fn comment(length: u32) -> Vec<u8> {
    let mut record = format!("{length} comment=").into_bytes();
    record.resize((length as usize).saturating_sub(1), b' ');
    record.push(b'\n');
    record
}

type Block = [u8; BLOCK_BYTES as usize];

fn block(name: &str, size: u32, kind: u8) -> Block {
    let mut block: Block = [0; BLOCK_BYTES as usize];
    put(&mut block, 0, name.as_bytes());
    put(&mut block, 100, b"0000600\0");
    put(&mut block, 108, b"0000000\0");
    put(&mut block, 116, b"0000000\0");
    put(&mut block, 124, format!("{size:011o}\0").as_bytes());
    put(&mut block, 136, b"00000000000\0");
    put(&mut block, 148, b"        ");
    put(&mut block, 156, &[kind]);
    put(&mut block, 257, b"ustar\x0000");
    let sum = block.iter().fold(0_u32, |sum, byte| sum.saturating_add(u32::from(*byte)));
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Writes `bytes` over the block from `offset`; both come from this file and fit.
fn put(block: &mut Block, offset: usize, bytes: &[u8]) {
    let slot = block.get_mut(offset..).and_then(|rest| rest.get_mut(..bytes.len()));
    slot.expect("fields lie within the block").copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const NAME: EntryName = EntryName { uid: Uid([0xab; 16]), part: 7 };

    #[test]
    fn headers_are_pinned() {
        let gzip = header(Codec::Gzip, 1024, NAME, 1000);
        let mut expected = [0_u8; 512];
        expected[..41].copy_from_slice(b"abababababababababababababababab.00000007");
        expected[100..124].copy_from_slice(b"0000600\x000000000\x000000000\0");
        expected[124..148].copy_from_slice(b"00000001750\x0000000000000\0");
        expected[148..157].copy_from_slice(b"014707\0 0");
        expected[257..265].copy_from_slice(b"ustar\x0000");
        assert_eq!(gzip, expected);

        let plain = header(Codec::None, 1024, NAME, 1000);
        assert_eq!(plain.len(), 3072);
        assert_eq!(&plain[..52], b"PaxHeaders/abababababababababababababababab.00000007");
        assert_eq!(plain[156], b'x');
        assert_eq!(&plain[512..526], b"2048 comment= ");
        assert_eq!(plain[2559], b'\n');
        assert_eq!(&plain[2560..], expected);
    }

    #[test]
    fn uncompressed_content_starts_at_4_kib() {
        for position in (0..3 * 4096).step_by(BLOCK_BYTES as usize) {
            let length = header_bytes(Codec::None, position);
            assert!((1536..=HEADER_BYTES_MAX).contains(&length), "{position}");
            assert_eq!((position + u64::from(length)) % CONTENT_ALIGN, 0, "{position}");
            let header = header(Codec::None, position, NAME, 3);
            assert_eq!(header.len(), length as usize, "{position}");
        }
        for (content, pad) in [(0, 0), (1, 511), (512, 0), (513, 511)] {
            assert_eq!(pad_bytes(content), pad);
        }
    }

    #[test]
    fn another_reader_accepts_the_headers() {
        for codec in [Codec::None, Codec::Gzip, Codec::Zstd] {
            for position in (0..4096).step_by(BLOCK_BYTES as usize) {
                let mut archive = header(codec, position, NAME, 5);
                archive.extend_from_slice(b"bytes");
                archive.resize(archive.len() + (pad_bytes(5) + END_BYTES) as usize, 0);
                let mut reader = ::tar::Archive::new(archive.as_slice());
                let mut entries = reader.entries().unwrap();
                let mut entry = entries.next().expect("one entry").unwrap();
                assert_eq!(entry.path().unwrap().to_str(), Some(NAME.to_string().as_str()));
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                assert_eq!(content, b"bytes");
                assert!(entries.next().is_none());
            }
        }
    }

    #[test]
    fn fields_match_the_document() {
        let document = include_str!("../../../../docs/format.md");
        let table = siltstone_lsm::format::layout::render(&USTAR);
        assert!(document.contains(&table), "docs/format.md lacks:\n{table}");
    }
}
