//! What every codec keeps: frames come back, stay within their bounds, and damage is refused.

use proptest::prelude::*;

use super::*;
use crate::format::chunk::stored_bytes_max;

/// Bytes that do not compress.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(step).collect()
}

/// Bytes that do.
pub(super) fn text(length: usize) -> Vec<u8> {
    let words = [&b"some "[..], b"bytes, ", b"and ", b"more ", b"stone ", b"silt "];
    let pick = |byte: u8| words[usize::from(byte) % words.len()];
    let mut out: Vec<u8> = noise(length / 4 + 1).into_iter().flat_map(pick).copied().collect();
    out.truncate(length);
    out
}

fn packed() -> impl Iterator<Item = (Compression, Codec)> {
    let all = Compression::ALL.into_iter().map(|compression| (compression, codec_of(compression)));
    all.filter(|(_, codec)| *codec != Codec::None)
}

fn bits(length: usize) -> u32 {
    u32::try_from(length).unwrap()
}

fn encode(compression: Compression, bytes: &[u8], part: usize) -> Bytes {
    let parts: Vec<Bytes> = bytes.chunks(part).map(Bytes::copy_from_slice).collect();
    let mut encoder = encoder(compression).expect("this one compresses");
    Bytes::from(encoder.encode(&parts, &mut || true))
}

#[test]
fn decode_inverts_encode_within_the_bound() {
    for (compression, codec) in packed() {
        let mut encoder = encoder(compression).unwrap();
        for length in [0, 1, 255, 511, 65_535, 65_537, 131_072, 131_073, 262_144, 400_000] {
            for bytes in [noise(length), text(length), vec![7; length]] {
                let parts: Vec<Bytes> = bytes.chunks(70_001).map(Bytes::copy_from_slice).collect();
                let stored = Bytes::from(encoder.encode(&parts, &mut || true));
                let bound = stored_bytes_max(codec, bits(length)) as usize;
                assert!((1..=bound).contains(&stored.len()), "{compression} {length}");
                assert!(decode(codec, &stored, bits(length)).unwrap() == bytes, "{compression}");
                assert!(read_chunk(codec, &stored) == bytes, "{compression} {length}");
            }
        }
    }
    assert!(encoder(Compression::None).is_none());
}

#[test]
fn levels_trade_size_for_time() {
    let bytes = text(1 << 20);
    let size = |compression| encode(compression, &bytes, 1 << 20).len();
    assert!(size(Compression::GzipBestCompression) < size(Compression::GzipBestSpeed));
    assert!(size(Compression::ZstdBestCompression) < size(Compression::ZstdDefault));
    assert!(size(Compression::ZstdDefault) <= size(Compression::ZstdBestSpeed));
}

#[test]
fn an_encoder_that_is_told_to_stop_only_stores_and_goes_on_with_the_next_frame() {
    let frame = [Bytes::from(vec![7; 1 << 20])];
    for (compression, codec) in packed() {
        let mut encoder = encoder(compression).unwrap();
        for stop_after in [0, 1, 3] {
            assert!(encoder.encode(&frame, &mut || true).len() < 100_000);
            let mut asked = 0;
            let mut go_on = || {
                asked += 1;
                asked <= stop_after
            };
            let stored = Bytes::from(encoder.encode(&frame, &mut go_on));
            assert_eq!(asked, stop_after + 1, "{compression} asks once a step until it is told no");
            assert!(stored.len() > 1 << 20);
            assert!(decode(codec, &stored, 1 << 20).unwrap() == frame[0]);
        }
    }
}

#[test]
fn bombs_and_wrong_lengths_are_refused() {
    for (compression, codec) in packed() {
        let stored = encode(compression, &vec![0; 4 << 20], 1 << 20);
        assert!(stored.len() < 100_000);
        let error = decode(codec, &stored, 1024).expect_err("a bomb");
        assert!(error.ends_with("longer than declared"), "{compression}: {error}");
        for wrong in [0, (4 << 20) - 1, (4 << 20) + 1] {
            assert!(decode(codec, &stored, wrong).is_err(), "{compression} {wrong}");
        }
    }
}

#[test]
fn every_truncation_and_bit_flip_is_refused_or_harmless() {
    let bytes = b"some bytes, some bytes, and more bytes".repeat(9);
    for (compression, codec) in packed() {
        let stored = encode(compression, &bytes, 100);
        for length in 0..stored.len() {
            let cut = stored.slice(..length);
            assert!(decode(codec, &cut, bits(bytes.len())).is_err(), "{compression} at {length}");
        }
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(decoded) = decode(codec, &flipped.into(), bits(bytes.len())) {
                assert!(decoded == bytes, "{compression} bit {bit}");
            }
        }
        let mut longer = stored.to_vec();
        longer.push(0);
        assert!(decode(codec, &longer.into(), bits(bytes.len())).is_err(), "{compression}");
    }
}

#[test]
fn frames_of_version_1_are_decoded_for_ever() {
    let plain = b"silt settles, and what has settled is stone; ".repeat(8);
    let golden = [
        (Codec::Gzip, &include_bytes!("golden/frame.gz")[..]),
        (Codec::Zstd, &include_bytes!("golden/frame.zst")[..]),
    ];
    for (codec, stored) in golden {
        let stored = Bytes::from_static(stored);
        assert!(decode(codec, &stored, bits(plain.len())).unwrap() == plain, "{codec:?}");
    }
    // What the library says around its blocks does not change with its version.
    let made = encode(Compression::ZstdDefault, &plain, 100);
    assert_eq!(made[..7], golden[1].1[..7], "magic number, descriptor and length");
    assert_eq!(made[made.len() - 4..], golden[1].1[golden[1].1.len() - 4..], "checksum");
}

fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let run = (any::<u8>(), 1_usize..3000).prop_map(|(byte, length)| vec![byte; length]);
    let random = prop::collection::vec(any::<u8>(), 0..3000);
    prop::collection::vec(prop_oneof![run, random], 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_parts_come_back(parts in frames(), which in 0_usize..6) {
        let (compression, codec) = packed().nth(which).unwrap();
        let plain: Vec<u8> = parts.concat();
        let parts: Vec<Bytes> = parts.into_iter().map(Bytes::from).collect();
        let stored = encoder(compression).unwrap().encode(&parts, &mut || true);
        prop_assert!(stored.len() <= stored_bytes_max(codec, bits(plain.len())) as usize);
        prop_assert!(decode(codec, &Bytes::from(stored), bits(plain.len())).unwrap() == plain);
    }

    #[test]
    fn any_bytes_are_decoded_to_what_was_declared_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        start in 0_usize..10,
        plain in 0_u32..5000,
    ) {
        for (codec, head) in [
            (Codec::Gzip, &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff][..]),
            (Codec::Zstd, &[0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x10, 0, 0, 0, 0][..]),
        ] {
            let stored = [&head[..start], &bytes].concat();
            if let Ok(decoded) = decode(codec, &Bytes::from(stored), plain) {
                prop_assert_eq!(decoded.len(), plain as usize);
            }
        }
    }
}
