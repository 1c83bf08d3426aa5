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

use flate2::{Compress, Crc, Decompress, FlushCompress, FlushDecompress, Status};
use siltstone_lsm::format::primitives::Reason;

use crate::{
    cancel::Cancel,
    format::chunk::{DEFLATE_STORED_MAX, GZIP_WRAP_BYTES, gzip_bytes_max},
    options::Compression,
};

/// Memory of one encoder beyond its output, in bytes: deflate's window, tables and pending output.
pub const ENCODER_BYTES: u64 = 512 << 10;

/// The fixed start of a member: magic, deflate, no flags, no time, no hint, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Bytes after the deflate stream: CRC-32 and length of the plain bytes.
const TRAILER_BYTES: usize = 8;
const _: () = assert!(HEADER.len() + TRAILER_BYTES == GZIP_WRAP_BYTES as usize);

/// Compresses frames, one after another.
#[derive(Debug)]
pub struct GzipEncoder {
    level: flate2::Compression,
    deflate: Compress,
    cancel: Cancel,
    /// Where members are decoded to be compared.
    window: Vec<u8>,
}

/// Bytes decoded at a time to be compared.
const WINDOW_BYTES: usize = 64 << 10;

/// Bytes compressed between two looks at the cancel flag: some ten milliseconds at the best level.
const STEP_BYTES: usize = 128 << 10;

impl GzipEncoder {
    /// An encoder; `None` when `compression` is none.
    pub fn new(compression: Compression) -> Option<Self> {
        let level = match compression {
            Compression::None => return None,
            Compression::GzipBestSpeed => 1,
            Compression::GzipDefault => 6,
            Compression::GzipBestCompression => 9,
        };
        let level = flate2::Compression::new(level);
        let deflate = Compress::new(level, false);
        let cancel = Cancel::new();
        Some(Self { level, deflate, cancel, window: vec![0; WINDOW_BYTES] })
    }

    /// The same encoder, which only stores frames once `cancel` is raised: nobody will need them,
    /// and compressing what is left of a frame may take a second.
    #[must_use]
    pub fn until(self, cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), ..self }
    }

    /// The parts of a plain frame as one gzip member.
    ///
    /// # Panics
    /// When they are longer than 32 bits can say; frames are at most 4 MiB.
    pub fn encode<P: AsRef<[u8]>>(&mut self, parts: &[P]) -> Vec<u8> {
        let plain: usize = parts.iter().map(|part| part.as_ref().len()).sum();
        let plain = u32::try_from(plain).expect("frames are at most 4 MiB");
        let bytes_max = gzip_bytes_max(plain) as usize;
        let mut out = Vec::with_capacity(bytes_max);
        out.extend_from_slice(&HEADER);
        self.deflate.reset();
        let fits = self.deflate_parts(parts, &mut out) && out.len() + TRAILER_BYTES <= bytes_max;
        if !fits {
            self.deflate = Compress::new(self.level, false);
        }
        if !fits || !decodes_to(&out[HEADER.len()..], parts, &mut self.window) {
            out.truncate(HEADER.len());
            store_parts(parts, plain, &mut out);
        }
        let mut crc = Crc::new();
        for part in parts {
            crc.update(part.as_ref());
        }
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&plain.to_le_bytes());
        debug_assert!(out.len() <= bytes_max, "a member keeps its bound");
        out.shrink_to_fit();
        out
    }

    /// Whether all of it went into the room that `out` has.
    fn deflate_parts<P: AsRef<[u8]>>(&mut self, parts: &[P], out: &mut Vec<u8>) -> bool {
        for step in parts.iter().flat_map(|part| part.as_ref().chunks(STEP_BYTES)) {
            if self.cancel.is_canceled() {
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

/// Whether a deflate stream decodes to the parts and nothing else.
fn decodes_to<P: AsRef<[u8]>>(body: &[u8], parts: &[P], window: &mut [u8]) -> bool {
    let mut inflate = Decompress::new(false);
    let mut parts = parts.iter().map(AsRef::as_ref);
    let mut expected: &[u8] = &[];
    loop {
        let (took, made) = (index(inflate.total_in()), inflate.total_out());
        let status = inflate.decompress(&body[took..], window, FlushDecompress::None);
        let mut decoded = &window[..index(inflate.total_out() - made)];
        while !decoded.is_empty() {
            if expected.is_empty() {
                match parts.next() {
                    Some(part) => expected = part,
                    None => return false,
                }
            }
            let length = decoded.len().min(expected.len());
            let (now, later) = decoded.split_at(length);
            let (as_now, as_later) = expected.split_at(length);
            if now != as_now {
                return false;
            }
            (decoded, expected) = (later, as_later);
        }
        match status {
            Ok(Status::StreamEnd) => {
                let all_taken = index(inflate.total_in()) == body.len();
                return all_taken && expected.is_empty() && parts.all(<[u8]>::is_empty);
            }
            Ok(_) if inflate.total_out() > made || index(inflate.total_in()) > took => {}
            _ => return false,
        }
    }
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a frame is some MiB")
}

/// Deflate without compression: blocks of a kind byte, length, inverted length, bytes.
fn store_parts<P: AsRef<[u8]>>(parts: &[P], plain: u32, out: &mut Vec<u8>) {
    let mut left = plain;
    let mut block_left = 0_u32;
    if plain == 0 {
        out.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    }
    for part in parts {
        let mut rest = part.as_ref();
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
pub fn gunzip(stored: &[u8], plain: u32) -> Result<Vec<u8>, Reason> {
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
pub(crate) fn read_members(object: &[u8]) -> impl std::io::Read {
    flate2::read::MultiGzDecoder::new(object)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn bits(length: usize) -> u32 {
        u32::try_from(length).unwrap()
    }

    /// Bytes that do not compress.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let step = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..length).map(step).collect()
    }

    fn encoders() -> impl Iterator<Item = GzipEncoder> {
        let levels = [
            Compression::GzipBestSpeed,
            Compression::GzipDefault,
            Compression::GzipBestCompression,
        ];
        levels.into_iter().filter_map(GzipEncoder::new)
    }

    #[test]
    fn decode_inverts_encode_within_the_bound() {
        for mut encoder in encoders() {
            for length in [0, 1, 511, 65_535, 65_536, 65_537, 131_070, 400_000] {
                for bytes in [noise(length), vec![7; length]] {
                    let parts: Vec<&[u8]> = bytes.chunks(70_001).collect();
                    let member = encoder.encode(&parts);
                    assert!(member.len() <= gzip_bytes_max(bits(length)) as usize, "{length}");
                    assert_eq!(gunzip(&member, bits(length)).unwrap(), bytes);
                    let mut other = Vec::new();
                    let mut reader = flate2::read::GzDecoder::new(member.as_slice());
                    reader.read_to_end(&mut other).unwrap();
                    assert_eq!(other, bytes);
                }
            }
        }
        assert!(GzipEncoder::new(Compression::None).is_none());
    }

    #[test]
    fn a_canceled_encoder_only_stores() {
        let bytes = vec![7; 1 << 20];
        for encoder in encoders() {
            let cancel = Cancel::new();
            let mut encoder = encoder.until(&cancel);
            assert!(encoder.encode(&[&bytes]).len() < 100_000);
            cancel.cancel();
            let member = encoder.encode(&[&bytes]);
            assert!(member.len() > bytes.len());
            assert_eq!(gunzip(&member, 1 << 20).unwrap(), bytes);
        }
    }

    #[test]
    fn stored_members_are_pinned() {
        let mut out = Vec::new();
        store_parts(&[&b"ab"[..], b"c"], 3, &mut out);
        assert_eq!(out, [1, 3, 0, 0xfc, 0xff, b'a', b'b', b'c']);
        let member = encoders().next().expect("an encoder").encode(&[noise(3)]);
        assert_eq!(&member[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        assert_eq!(&member[member.len() - 4..], [3, 0, 0, 0]);
    }

    #[test]
    fn members_that_decode_to_other_bytes_are_noticed() {
        let bytes = b"some bytes, some bytes, and more bytes".repeat(5000);
        let member = encoders().next().expect("an encoder").encode(&[&bytes]);
        let body = &member[HEADER.len()..member.len() - TRAILER_BYTES];
        let mut window = vec![0; 1000];
        let parts: Vec<&[u8]> = bytes.chunks(777).collect();
        assert!(decodes_to(body, &parts, &mut window));
        assert!(!decodes_to(body, &parts[1..], &mut window));
        assert!(!decodes_to(body, &parts[..parts.len() - 1], &mut window));
        assert!(!decodes_to(body, &[&bytes[..], b"x"], &mut window));
        assert!(!decodes_to(&body[..body.len() - 1], &parts, &mut window));
    }

    #[test]
    fn bombs_and_wrong_lengths_are_refused() {
        for mut encoder in encoders() {
            let member = encoder.encode(&[vec![0; 4 << 20]]);
            assert!(member.len() < 100_000);
            assert_eq!(gunzip(&member, 1024), Err("a gzip member is longer than declared"));
            assert!(gunzip(&member, (4 << 20) - 1).is_err());
            assert!(gunzip(&member, (4 << 20) + 1).is_err());
        }
    }

    #[test]
    fn every_truncation_and_bit_flip_is_refused_or_harmless() {
        let bytes = b"some bytes, some bytes, and more bytes".repeat(9);
        let member = encoders().next().expect("an encoder").encode(&[&bytes]);
        for length in 0..member.len() {
            assert!(gunzip(&member[..length], bits(bytes.len())).is_err(), "cut at {length}");
        }
        for bit in 0..member.len() * 8 {
            let mut flipped = member.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(decoded) = gunzip(&flipped, bits(bytes.len())) {
                assert_eq!(decoded, bytes, "bit {bit}");
            }
        }
        let mut longer = member;
        longer.push(0);
        assert!(gunzip(&longer, bits(bytes.len())).is_err());
    }
}
