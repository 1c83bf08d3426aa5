//! The one hidden door for fuzz targets: bodies that take bytes of any origin and panic only when a
//! promise is broken. Behind the feature `internals`; nothing else may use it.
//!
//! A target in `fuzz/targets/` calls one of these and no more, so that plain `cargo test` replays
//! `fuzz/corpus/` and every past finding in `fuzz/regressions/` without a fuzzer.

use bytes::Bytes;

use crate::{
    codec::{decode, encoder},
    format::chunk::{Codec, FRAME_BYTES_MAX, stored_bytes_max},
    options::Compression,
};

/// Decodes `data` as a frame: the declared length (4 bytes, of which the lowest bit says the codec),
/// then the frame. What comes out is encoded and decoded once more.
///
/// # Panics
/// When decoding gives another length than declared, or the bytes do not come back.
pub fn frame(data: &[u8]) {
    let Some((head, stored)) = data.split_first_chunk::<4>() else {
        return;
    };
    let head = u32::from_le_bytes(*head);
    let plain = (head >> 1) % (FRAME_BYTES_MAX + 1);
    let (codec, compression) = match head & 1 {
        0 => (Codec::Gzip, Compression::GzipBestSpeed),
        _ => (Codec::Zstd, Compression::ZstdBestSpeed),
    };
    let Ok(decoded) = decode(codec, &Bytes::copy_from_slice(stored), plain) else {
        return;
    };
    assert_eq!(decoded.len(), plain as usize, "a frame is as long as declared");
    let mut encoder = encoder(compression).expect("both compress");
    let again = Bytes::from(encoder.encode(std::slice::from_ref(&decoded), &mut || true));
    assert!(again.len() <= stored_bytes_max(codec, plain) as usize, "a frame keeps its bound");
    assert!(decode(codec, &again, plain).as_ref() == Ok(&decoded), "the bytes come back");
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    /// Runs the body of a target on all its files; returns how many there are.
    fn replay(target: &str, body: fn(&[u8])) -> usize {
        let fuzz = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        let folders = ["corpus", "regressions"].map(|kind| fuzz.join(kind).join(target));
        let names = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        names.map(|name| body(&fs::read(name.unwrap().path()).unwrap())).count()
    }

    #[test]
    fn the_corpus_holds_no_surprise() {
        assert!(replay("frame", frame) >= 6);
    }

    #[test]
    fn the_corpus_reaches_what_is_behind_the_headers() {
        let golden: [(u32, &[u8]); 2] = [
            (0, include_bytes!("codec/golden/frame.gz")),
            (1, include_bytes!("codec/golden/frame.zst")),
        ];
        for (low, stored) in golden {
            let head: u32 = 360 << 1 | low;
            let input = [&head.to_le_bytes()[..], stored].concat();
            frame(&input);
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/frame");
            let all = fs::read_dir(folder).unwrap();
            assert!(all.map(|name| fs::read(name.unwrap().path()).unwrap()).any(|it| it == input));
        }
    }
}
