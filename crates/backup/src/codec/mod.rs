//! Codecs: one plain frame to its stored form and back.
//!
//! Each frame is encoded alone, decoded again and compared before it is handed out; one that comes
//! back other than it went in is stored uncompressed. What any frame takes at most is a formula
//! ([`stored_bytes_max`](crate::format::chunk::stored_bytes_max)), what an encoder holds beside it a
//! number ([`encoder_bytes`]), so memory is planned ahead.

mod compare;
mod gzip;
mod zstandard;

use std::fmt;

use bytes::Bytes;
use siltstone_lsm::format::primitives::Reason;

use crate::{format::chunk::Codec, options::Compression};

/// Memory that decoding takes beside its input and its output, in bytes.
pub const DECODER_BYTES: u64 = 256 << 10;

/// Compresses frames, one after another.
pub trait Encoder: fmt::Debug + Send {
    /// The parts of a plain frame of at most 4 MiB in their stored form.
    ///
    /// Before each step of some milliseconds `go_on` is asked, which may take its time: that is how
    /// processor time is bounded. Once it says no, nobody needs the frame, and the rest of it is
    /// only stored.
    fn encode(&mut self, parts: &[Bytes], go_on: &mut GoOn<'_>) -> Vec<u8>;
}

/// Is asked whether to go on.
pub type GoOn<'a> = dyn FnMut() -> bool + 'a;

/// How chunks of this compression are stored.
pub fn codec_of(compression: Compression) -> Codec {
    match compression {
        Compression::None => Codec::None,
        Compression::GzipBestSpeed
        | Compression::GzipDefault
        | Compression::GzipBestCompression => Codec::Gzip,
        Compression::ZstdBestSpeed
        | Compression::ZstdDefault
        | Compression::ZstdBestCompression => Codec::Zstd,
    }
}

/// An encoder; `None` when `compression` is none.
pub fn encoder(compression: Compression) -> Option<Box<dyn Encoder>> {
    let gzip =
        |level| -> Option<Box<dyn Encoder>> { Some(Box::new(gzip::GzipEncoder::new(level))) };
    let zstd =
        |level| -> Option<Box<dyn Encoder>> { Some(Box::new(zstandard::ZstdEncoder::new(level))) };
    match compression {
        Compression::None => None,
        Compression::GzipBestSpeed => gzip(1),
        Compression::GzipDefault => gzip(6),
        Compression::GzipBestCompression => gzip(9),
        Compression::ZstdBestSpeed => zstd(&zstandard::BEST_SPEED),
        Compression::ZstdDefault => zstd(&zstandard::DEFAULT),
        Compression::ZstdBestCompression => zstd(&zstandard::BEST_COMPRESSION),
    }
}

/// Memory of one encoder beside the frame and its stored form, in bytes.
pub fn encoder_bytes(compression: Compression) -> u64 {
    match compression {
        Compression::None => 0,
        Compression::GzipBestSpeed
        | Compression::GzipDefault
        | Compression::GzipBestCompression => gzip::ENCODER_BYTES,
        Compression::ZstdBestSpeed => zstandard::BEST_SPEED.bytes_max,
        Compression::ZstdDefault => zstandard::DEFAULT.bytes_max,
        Compression::ZstdBestCompression => zstandard::BEST_COMPRESSION.bytes_max,
    }
}

/// The `plain` bytes in one stored frame, which must hold exactly these and nothing else.
///
/// # Errors
/// Says what is wrong with the frame. Never makes more than `plain` bytes.
pub fn decode(codec: Codec, stored: &Bytes, plain: u32) -> Result<Bytes, Reason> {
    match codec {
        Codec::None if stored.len() == plain as usize => Ok(stored.clone()),
        Codec::None => Err("a frame has another length than declared"),
        Codec::Gzip => gzip::gunzip(stored, plain).map(Bytes::from),
        Codec::Zstd => zstandard::unzstd(stored, plain).map(Bytes::from),
    }
}

/// The plain bytes of a chunk's object, as other decoders read it.
#[cfg(test)]
pub(crate) fn read_chunk(codec: Codec, object: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match codec {
        Codec::None => plain.extend_from_slice(object),
        Codec::Gzip => {
            let mut members = gzip::read_members(object);
            std::io::Read::read_to_end(&mut members, &mut plain).expect("members of gzip");
        }
        Codec::Zstd => plain = zstandard::read_frames(object),
    }
    plain
}

#[cfg(test)]
mod tests;
