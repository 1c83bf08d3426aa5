//! The door to Zstandard: one plain frame to one frame of its own and back.
//!
//! A frame says how long its content is and carries a checksum, and needs no other to be decoded.
//! What does not compress goes into raw blocks: the bound of [`zstd_bytes_max`] always holds. The
//! levels are Zstandard's own, with windows and tables cut down to what fits the memory of a
//! pipeline. Decoding is total and writes exactly as many bytes as were declared.

use bytes::Bytes;
use siltstone_lsm::format::primitives::Reason;
use zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective,
    zstd_sys::ZSTD_EndDirective as Directive,
};

use super::{Encoder, GoOn, compare::Compare};
use crate::format::chunk::{ZSTD_BLOCK_BYTES_MAX, zstd_bytes_max};

/// How a level compresses.
#[derive(Debug)]
pub(super) struct Level {
    /// Zstandard's own level, from which the rest comes.
    number: i32,
    /// The window is two to this many bytes.
    window_log: u32,
    /// Tables of two to this many entries of four bytes: chains or trees, and hashes.
    table_logs: Option<(u32, u32)>,
    /// Memory of an encoder of this level, its decoder for the comparison included, in bytes.
    pub(super) bytes_max: u64,
}

/// Fast, at the price of size.
pub(super) const BEST_SPEED: Level =
    Level { number: 1, window_log: 19, table_logs: None, bytes_max: 3 << 20 };

/// The usual level.
pub(super) const DEFAULT: Level =
    Level { number: 3, window_log: 20, table_logs: None, bytes_max: 5 << 20 };

/// Small, at the price of time.
pub(super) const BEST_COMPRESSION: Level =
    Level { number: 19, window_log: 20, table_logs: Some((19, 18)), bytes_max: 57 << 17 };

/// The largest window a frame may need to be decoded: that of the whole of the longest frame.
const WINDOW_LOG_MAX: u32 = 22;

/// Bytes decoded at a time to be compared.
const COMPARE_BYTES: usize = 64 << 10;

/// Compresses frames, one after another.
pub(super) struct ZstdEncoder {
    compress: CCtx<'static>,
    decompress: DCtx<'static>,
    /// Where frames are decoded to be compared.
    decoded: Vec<u8>,
}

impl ZstdEncoder {
    /// An encoder of this level.
    pub(super) fn new(level: &Level) -> Self {
        let mut compress = CCtx::create();
        let mut set = |parameter| {
            compress.set_parameter(parameter).expect("the levels are within the library's limits");
        };
        set(CParameter::CompressionLevel(level.number));
        set(CParameter::WindowLog(level.window_log));
        if let Some((chain, hash)) = level.table_logs {
            set(CParameter::ChainLog(chain));
            set(CParameter::HashLog(hash));
        }
        set(CParameter::ContentSizeFlag(true));
        set(CParameter::ChecksumFlag(true));
        let mut decompress = DCtx::create();
        decompress
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            .expect("the limit is within the library's own");
        Self { compress, decompress, decoded: vec![0; COMPARE_BYTES] }
    }

    /// Whether all of it went into the room that `out` has.
    fn compress(
        &mut self,
        parts: &[Bytes],
        plain: u32,
        out: &mut Vec<u8>,
        go_on: &mut GoOn<'_>,
    ) -> bool {
        let reset = self.compress.reset(ResetDirective::SessionOnly);
        let pledged = self.compress.set_pledged_src_size(Some(u64::from(plain)));
        if reset.is_err() || pledged.is_err() {
            return false;
        }
        for step in parts.iter().flat_map(|part| part.chunks(ZSTD_BLOCK_BYTES_MAX as usize)) {
            if !go_on() {
                return false;
            }
            let mut input = InBuffer::around(step);
            while input.pos() < step.len() {
                let before = input.pos();
                let taken = self.drive(&mut input, out, Directive::ZSTD_e_continue);
                if taken.is_none() || input.pos() == before {
                    return false;
                }
            }
        }
        loop {
            let before = out.len();
            match self.drive(&mut InBuffer::around(&[]), out, Directive::ZSTD_e_end) {
                Some(0) => return true,
                Some(_) if out.len() > before => {}
                _ => return false,
            }
        }
    }

    /// One call of the library; what it has left to say, or `None` if it failed.
    fn drive(
        &mut self,
        input: &mut InBuffer<'_>,
        out: &mut Vec<u8>,
        directive: Directive,
    ) -> Option<usize> {
        let length = out.len();
        let mut output = OutBuffer::around_pos(out, length);
        self.compress.compress_stream2(&mut output, input, directive).ok()
    }

    /// Whether a frame decodes to the parts and nothing else; no if it may not go on.
    fn decodes_to(&mut self, frame: &[u8], parts: &[Bytes], go_on: &mut GoOn<'_>) -> bool {
        if self.decompress.reset(ResetDirective::SessionOnly).is_err() {
            return false;
        }
        let (mut input, mut compare) = (InBuffer::around(frame), Compare::new(parts));
        while go_on() {
            let before = input.pos();
            let mut output = OutBuffer::around(self.decoded.as_mut_slice());
            let Ok(left) = self.decompress.decompress_stream(&mut output, &mut input) else {
                return false;
            };
            let made = output.pos();
            if !compare.next(&self.decoded[..made]) {
                return false;
            }
            if left == 0 {
                return input.pos() == frame.len() && compare.is_at_end();
            }
            if made == 0 && input.pos() == before {
                return false;
            }
        }
        false
    }
}

impl Encoder for ZstdEncoder {
    fn encode(&mut self, parts: &[Bytes], go_on: &mut GoOn<'_>) -> Vec<u8> {
        let plain: usize = parts.iter().map(Bytes::len).sum();
        let plain = u32::try_from(plain).expect("frames are at most 4 MiB");
        let mut out = Vec::with_capacity(zstd_bytes_max(plain) as usize);
        if !self.compress(parts, plain, &mut out, go_on) || !self.decodes_to(&out, parts, go_on) {
            out.clear();
            store_parts(parts, plain, &mut out);
        }
        debug_assert!(out.len() <= zstd_bytes_max(plain) as usize, "a frame keeps its bound");
        out.shrink_to_fit();
        out
    }
}

impl std::fmt::Debug for ZstdEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZstdEncoder")
            .field("bytes", &self.compress.sizeof())
            .finish_non_exhaustive()
    }
}

/// The start of every frame.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Descriptor of a frame that is one segment and gives its length in four bytes.
const STORED_DESCRIPTOR: u8 = 0b1010_0000;

/// Fields of a frame's descriptor: a reserved bit; the use of a dictionary.
const RESERVED_FLAG: u8 = 1 << 3;
const DICTIONARY_FLAGS: u8 = 0b11;

/// A frame without compression: raw blocks, each after three bytes of kind and length. It has no
/// checksum; the hash of the stored frame covers it.
fn store_parts(parts: &[Bytes], plain: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.push(STORED_DESCRIPTOR);
    out.extend_from_slice(&plain.to_le_bytes());
    let (mut left, mut block_left) = (plain, 0_u32);
    let begin_block = |left: u32, out: &mut Vec<u8>| {
        let length = left.min(ZSTD_BLOCK_BYTES_MAX);
        let header = length << 3 | u32::from(length == left);
        out.extend_from_slice(&header.to_le_bytes()[..3]);
        length
    };
    if plain == 0 {
        begin_block(0, out);
    }
    for part in parts {
        let mut rest = &part[..];
        while !rest.is_empty() {
            if block_left == 0 {
                block_left = begin_block(left, out);
            }
            let (now, later) = rest.split_at(rest.len().min(block_left as usize));
            out.extend_from_slice(now);
            let taken = u32::try_from(now.len()).expect("no more than the block");
            (block_left, left, rest) = (block_left - taken, left - taken, later);
        }
    }
}

/// The `plain` bytes in one frame, which must hold exactly these and nothing else.
///
/// # Errors
/// Says what is wrong with the frame. Never writes more than `plain` bytes.
pub(super) fn unzstd(stored: &[u8], plain: u32) -> Result<Vec<u8>, Reason> {
    let body = stored.strip_prefix(&MAGIC).ok_or("a zstd frame has another magic number")?;
    let descriptor = *body.first().ok_or("a zstd frame is cut short")?;
    if descriptor & (RESERVED_FLAG | DICTIONARY_FLAGS) != 0 {
        return Err("a zstd frame uses what this format does not");
    }
    match zstd_safe::get_frame_content_size(stored) {
        Ok(Some(length)) if length < u64::from(plain) => {
            return Err("a zstd frame is shorter than declared");
        }
        Ok(Some(length)) if length > u64::from(plain) => {
            return Err("a zstd frame is longer than declared");
        }
        Ok(Some(_)) => {}
        Ok(None) | Err(_) => return Err("a zstd frame does not say how long it is"),
    }
    match zstd_safe::find_frame_compressed_size(stored) {
        Ok(length) if length == stored.len() => {}
        Ok(_) => return Err("bytes follow a zstd frame"),
        Err(_) => return Err("a zstd frame is cut short or damaged"),
    }
    let mut out = vec![0; plain as usize];
    match DCtx::create().decompress(out.as_mut_slice(), stored) {
        Ok(length) if length == out.len() => Ok(out),
        Ok(_) => Err("a zstd frame is shorter than declared"),
        Err(_) => Err("a zstd frame does not match its checksum, or is not valid"),
    }
}

/// All frames of a chunk as one stream of plain bytes, as any decoder of Zstandard reads them.
#[cfg(test)]
pub(super) fn read_frames(object: &[u8]) -> Vec<u8> {
    let (mut decoder, mut input) = (DCtx::create(), InBuffer::around(object));
    let (mut out, mut window) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let mut output = OutBuffer::around(window.as_mut_slice());
        decoder.decompress_stream(&mut output, &mut input).unwrap();
        let made = output.pos();
        out.extend_from_slice(&window[..made]);
        if made == 0 && input.pos() == object.len() {
            return out;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::{noise, text};

    const LEVELS: [&Level; 3] = [&BEST_SPEED, &DEFAULT, &BEST_COMPRESSION];

    #[test]
    fn encoders_keep_their_memory() {
        for level in LEVELS {
            let mut encoder = ZstdEncoder::new(level);
            for frame in [text(4 << 20), noise(4 << 20), text(100_000), noise(0)] {
                let parts: Vec<Bytes> = frame.chunks(1 << 20).map(Bytes::copy_from_slice).collect();
                encoder.encode(&parts, &mut || true);
                let bytes = encoder.compress.sizeof() + encoder.decompress.sizeof();
                let bytes = (bytes + encoder.decoded.len()) as u64;
                assert!(bytes <= level.bytes_max, "{level:?}: {bytes} bytes");
                assert!(
                    frame.len() < 4 << 20 || bytes >= level.bytes_max / 2,
                    "{level:?}: {bytes}"
                );
            }
        }
    }

    #[test]
    fn stored_frames_are_pinned() {
        let mut out = Vec::new();
        store_parts(&[Bytes::from_static(b"ab"), Bytes::from_static(b"c")], 3, &mut out);
        let expected =
            [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 3, 0, 0, 0, 3 << 3 | 1, 0, 0, b'a', b'b', b'c'];
        assert_eq!(out, expected);
        out.clear();
        store_parts(&[], 0, &mut out);
        assert_eq!(out, [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0, 1, 0, 0]);
        for length in [0, 1, 131_071, 131_072, 131_073, 400_000] {
            let plain = noise(length);
            let parts: Vec<Bytes> = plain.chunks(70_001).map(Bytes::copy_from_slice).collect();
            out.clear();
            store_parts(&parts, u32::try_from(length).unwrap(), &mut out);
            assert!(out.len() <= zstd_bytes_max(u32::try_from(length).unwrap()) as usize);
            assert!(unzstd(&out, u32::try_from(length).unwrap()).unwrap() == plain);
        }
    }

    #[test]
    fn frames_of_other_makers_are_decoded_or_refused_by_what_they_use() {
        let plain = text(5000);
        let mut made = Vec::with_capacity(10_000);
        zstd_safe::compress(&mut made, &plain, 5).unwrap();
        assert!(unzstd(&made, 5000).unwrap() == plain);
        let mut twice = made.clone();
        twice.extend_from_slice(&made);
        assert_eq!(unzstd(&twice, 5000), Err("bytes follow a zstd frame"));
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
        assert!(unzstd(&skippable, 0).is_err());
        let mut context = CCtx::create();
        context.set_parameter(CParameter::ContentSizeFlag(false)).unwrap();
        let mut silent = Vec::with_capacity(10_000);
        context.compress2(&mut silent, &plain).unwrap();
        assert_eq!(unzstd(&silent, 5000), Err("a zstd frame does not say how long it is"));
    }

    #[test]
    fn frames_that_decode_to_other_bytes_are_noticed() {
        let bytes = Bytes::from(text(190_000));
        let mut encoder = ZstdEncoder::new(&DEFAULT);
        let frame = encoder.encode(std::slice::from_ref(&bytes), &mut || true);
        let parts: Vec<Bytes> = bytes.chunks(777).map(Bytes::copy_from_slice).collect();
        assert!(encoder.decodes_to(&frame, &parts, &mut || true));
        assert!(!encoder.decodes_to(&frame, &parts[1..], &mut || true));
        assert!(!encoder.decodes_to(&frame, &parts[..parts.len() - 1], &mut || true));
        assert!(!encoder.decodes_to(&frame, &[bytes, Bytes::from_static(b"x")], &mut || true));
        assert!(!encoder.decodes_to(&frame[..frame.len() - 1], &parts, &mut || true));
    }
}
