//! The door to flate2: one plain frame to one gzip member and back.
//!
//! The gzip wrapper is fixed (no name, no time), so that a member depends on its bytes and the
//! compressor alone. A frame that does not compress is stored in deflate's own blocks: the bound of
//! [`gzip_bytes_max`] always holds. Decoding is total and writes exactly as many bytes as were
//! declared, so a bomb has no room to go off.
//!
//! Each member is decoded again and compared before it is handed out, and stored uncompressed if it
//! differs: a backup is not to depend on the compressor being without fault. (zlib-rs 0.6.8 was not:
//! at level 1, after a reset in the middle of a stream, its next stream is damaged. Encoders are
//! therefore replaced, not reset, when a stream was given up.) This costs about a tenth of the
//! compression.

use bytes::Bytes;
use flate2::{Compress, Crc, Decompress, FlushCompress, FlushDecompress, Status};
use siltstone_lsm::format::primitives::Reason;

use super::{Encoder, GoOn, compare::Compare};
use crate::format::chunk::{DEFLATE_STORED_MAX, GZIP_WRAP_BYTES, gzip_bytes_max};

/// Memory of one encoder beyond its output, in bytes: deflate's window, tables and pending output.
pub(super) const ENCODER_BYTES: u64 = 512 << 10;

/// The fixed start of a member: magic, deflate, no flags, no time, no hint, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Bytes after the deflate stream: CRC-32 and length of the plain bytes.
const TRAILER_BYTES: usize = 8;
const _: () = assert!(HEADER.len() + TRAILER_BYTES == GZIP_WRAP_BYTES as usize);

/// Compresses frames, one after another.
#[derive(Debug)]
pub(super) struct GzipEncoder {
    level: flate2::Compression,
    deflate: Compress,
    /// Where members are decoded to be compared.
    window: Vec<u8>,
}

/// Bytes decoded at a time to be compared.
const WINDOW_BYTES: usize = 64 << 10;

/// Bytes compressed in one step: at most some hundred microseconds at the default level.
const STEP_BYTES: usize = 8 << 10;

impl GzipEncoder {
    /// An encoder of a level of zlib, 1 to 9.
    pub(super) fn new(level: u32) -> Self {
        let level = flate2::Compression::new(level);
        Self { level, deflate: Compress::new(level, false), window: vec![0; WINDOW_BYTES] }
    }
}

impl Encoder for GzipEncoder {
    fn encode(&mut self, parts: &[Bytes], go_on: &mut GoOn<'_>) -> Vec<u8> {
        let plain: usize = parts.iter().map(Bytes::len).sum();
        let plain = u32::try_from(plain).expect("frames are at most 4 MiB");
        let bytes_max = gzip_bytes_max(plain) as usize;
        let mut out = Vec::with_capacity(bytes_max);
        out.extend_from_slice(&HEADER);
        self.deflate.reset();
        let fits =
            self.deflate_parts(parts, &mut out, go_on) && out.len() + TRAILER_BYTES <= bytes_max;
        if !fits {
            self.deflate = Compress::new(self.level, false);
        }
        if !fits || !decodes_to(&out[HEADER.len()..], parts, (&mut self.window, go_on)) {
            out.truncate(HEADER.len());
            store_parts(parts, plain, &mut out);
        }
        let mut crc = Crc::new();
        for part in parts {
            crc.update(part);
        }
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&plain.to_le_bytes());
        debug_assert!(out.len() <= bytes_max, "a member keeps its bound");
        out.shrink_to_fit();
        out
    }
}

impl GzipEncoder {
    /// Whether all of it went into the room that `out` has.
    fn deflate_parts(&mut self, parts: &[Bytes], out: &mut Vec<u8>, go_on: &mut GoOn<'_>) -> bool {
        for step in parts.iter().flat_map(|part| part.chunks(STEP_BYTES)) {
            if !go_on() {
                return false;
            }
            let mut rest = step;
            while !rest.is_empty() {
                let before = self.deflate.total_in();
                if self.deflate.compress_vec(rest, out, FlushCompress::None).is_err() {
                    return false;
                }
                let taken = index(self.deflate.total_in() - before);
                if taken == 0 {
                    return false;
                }
                rest = &rest[taken..];
            }
        }
        matches!(self.deflate.compress_vec(&[], out, FlushCompress::Finish), Ok(Status::StreamEnd))
    }
}

/// Whether a deflate stream decodes to the parts and nothing else; no if it may not go on.
fn decodes_to(body: &[u8], parts: &[Bytes], (window, go_on): (&mut [u8], &mut GoOn<'_>)) -> bool {
    let mut inflate = Decompress::new(false);
    let mut compare = Compare::new(parts);
    while go_on() {
        let (took, made) = (index(inflate.total_in()), inflate.total_out());
        let status = inflate.decompress(&body[took..], window, FlushDecompress::None);
        if !compare.next(&window[..index(inflate.total_out() - made)]) {
            return false;
        }
        match status {
            Ok(Status::StreamEnd) => {
                return index(inflate.total_in()) == body.len() && compare.is_at_end();
            }
            Ok(_) if inflate.total_out() > made || index(inflate.total_in()) > took => {}
            _ => return false,
        }
    }
    false
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a frame is some MiB")
}

/// Deflate without compression: blocks of a kind byte, length, inverted length, bytes.
fn store_parts(parts: &[Bytes], plain: u32, out: &mut Vec<u8>) {
    let mut left = plain;
    let mut block_left = 0_u32;
    if plain == 0 {
        out.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    }
    for part in parts {
        let mut rest = &part[..];
        while !rest.is_empty() {
            if block_left == 0 {
                block_left = left.min(DEFLATE_STORED_MAX);
                let length = u16::try_from(block_left).expect("a block's length has 16 bits");
                out.push(u8::from(block_left == left));
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(&(!length).to_le_bytes());
            }
            let (now, later) = rest.split_at(rest.len().min(block_left as usize));
            out.extend_from_slice(now);
            let taken = u32::try_from(now.len()).expect("no more than the block");
            block_left -= taken;
            left -= taken;
            rest = later;
        }
    }
}

/// The `plain` bytes in one gzip member, which must hold exactly these and nothing else.
///
/// # Errors
/// Says what is wrong with the member. Never writes more than `plain` bytes.
pub(super) fn gunzip(stored: &[u8], plain: u32) -> Result<Vec<u8>, Reason> {
    let body = stored.strip_prefix(&HEADER).ok_or("a gzip member has another header")?;
    let (body, length) = body.split_last_chunk::<4>().ok_or("a gzip member is cut short")?;
    let (body, sum) = body.split_last_chunk::<4>().ok_or("a gzip member is cut short")?;
    let mut out = vec![0; plain as usize];
    inflate(body, &mut out)?;
    let mut crc = Crc::new();
    crc.update(&out);
    let whole = crc.sum().to_le_bytes() == *sum && plain.to_le_bytes() == *length;
    if whole { Ok(out) } else { Err("a gzip member does not match its checksum") }
}

fn inflate(body: &[u8], out: &mut [u8]) -> Result<(), Reason> {
    let mut inflate = Decompress::new(false);
    let status = inflate.decompress(body, out, FlushDecompress::Finish);
    let took = usize::try_from(inflate.total_in()).ok();
    let made = usize::try_from(inflate.total_out()).ok();
    match status {
        Ok(Status::StreamEnd) if took == Some(body.len()) && made == Some(out.len()) => Ok(()),
        Ok(Status::StreamEnd) => Err("a gzip member is shorter than declared"),
        Ok(_) if made == Some(out.len()) => Err("a gzip member is longer than declared"),
        Ok(_) => Err("a gzip member is cut short"),
        Err(_) => Err("a gzip member is not valid deflate"),
    }
}

/// All members of a chunk as one stream of plain bytes, as any gunzip reads them.
#[cfg(test)]
pub(super) fn read_members(object: &[u8]) -> impl std::io::Read {
    flate2::read::MultiGzDecoder::new(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_members_are_pinned() {
        let mut out = Vec::new();
        store_parts(&[Bytes::from_static(b"ab"), Bytes::from_static(b"c")], 3, &mut out);
        assert_eq!(out, [1, 3, 0, 0xfc, 0xff, b'a', b'b', b'c']);
        let frame = [Bytes::from_static(&[0xe1, 0x7c, 0x33])];
        let member = GzipEncoder::new(1).encode(&frame, &mut || true);
        assert_eq!(&member[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        assert_eq!(&member[member.len() - 4..], [3, 0, 0, 0]);
    }

    #[test]
    fn members_that_decode_to_other_bytes_are_noticed() {
        let bytes = Bytes::from(b"some bytes, some bytes, and more bytes".repeat(5000));
        let member = GzipEncoder::new(1).encode(std::slice::from_ref(&bytes), &mut || true);
        let body = &member[HEADER.len()..member.len() - TRAILER_BYTES];
        let mut window = vec![0; 1000];
        let parts: Vec<Bytes> = bytes.chunks(777).map(Bytes::copy_from_slice).collect();
        assert!(decodes_to(body, &parts, (&mut window, &mut || true)));
        assert!(!decodes_to(body, &parts[1..], (&mut window, &mut || true)));
        assert!(!decodes_to(body, &parts[..parts.len() - 1], (&mut window, &mut || true)));
        assert!(!decodes_to(body, &[bytes, Bytes::from_static(b"x")], (&mut window, &mut || true)));
        assert!(!decodes_to(&body[..body.len() - 1], &parts, (&mut window, &mut || true)));
    }
}
