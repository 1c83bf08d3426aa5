//! The descriptor's bytes are pinned; what does not follow its rules is refused, and nothing panics.

use proptest::prelude::*;
use siltstone_lsm::{
    format::primitives::hash,
    types::{Counts, Hash, KEY_BYTES_MAX, SegmentMeta, Uid},
};

use super::*;
use crate::{
    error::{ErrorKind, Result},
    format::{
        chunk::{Codec, Frame},
        config::{PartInfo, Totals},
    },
    moment::Timestamp,
    names::{AttemptId, BackupId, NodeName},
};

const ATTEMPT: AttemptId = AttemptId([0x11; 16]);

fn backup() -> BackupId {
    BackupId::new("monday").unwrap()
}

fn config(parts: Vec<PartInfo>, totals: Totals) -> Config {
    let moment = |text: &str| text.parse::<Timestamp>().unwrap();
    Config {
        id: backup(),
        attempt: ATTEMPT,
        store_id: [0x22; 16],
        node: NodeName::default(),
        server_version: "0.1.0".to_owned(),
        started_at: moment("2026-11-24T04:00:00Z"),
        completed_at: moment("2026-11-24T04:00:09.5Z"),
        compression: Codec::Gzip,
        sequence: 1000,
        totals,
        parts,
    }
}

fn chunk(number: u8) -> Chunk {
    let frame = |plain, stored| Frame { plain, stored, hash: Some(Hash([number; 32])) };
    Chunk {
        id: ChunkId([number; 16]),
        codec: Codec::Gzip,
        length: 130,
        frames: vec![frame(2048, 100), frame(1024, 30)],
    }
}

fn plain_chunk() -> Chunk {
    let frame = |plain| Frame { plain, stored: plain, hash: None };
    let frames = vec![frame(12_288), frame(8704), frame(1024)];
    Chunk { id: ChunkId([9; 16]), codec: Codec::None, length: 22_016, frames }
}

fn segment(tree: u64, uid: u8, extents: Vec<Extent>) -> StoredSegment {
    let length = extents.iter().map(|extent| extent.length).sum();
    StoredSegment {
        tree: TreeId(tree),
        level: 1,
        meta: SegmentMeta {
            uid: Uid([uid; 16]),
            length,
            hash: Hash([0x44; 32]),
            counts: Counts { puts: 3, deletes: 2, range_deletes: 1 },
            sum: u128::MAX,
            key_min: b"a".to_vec(),
            key_max: Some(b"b\xff".to_vec()),
            sequence_min: 7,
            sequence_max: 1000,
        },
        extents,
    }
}

fn extent(chunk: ChunkId, offset: u32, length: u64) -> Extent {
    Extent { chunk, frame: 0, offset, length }
}

/// What every line kind has an example in.
fn sample() -> (Vec<StoredCollection>, Vec<Chunk>, Vec<StoredSegment>) {
    let tenant = |name: &str, tree, status| StoredTenant { name: name.to_owned(), tree, status };
    let collections = vec![
        StoredCollection { name: "Books".to_owned(), tree: TreeId(1), tenants: Vec::new() },
        StoredCollection {
            name: "Letters \"x\"".to_owned(),
            tree: TreeId(2),
            tenants: vec![
                tenant("ann", TreeId(3), TenantStatus::Hot),
                tenant("bob", TreeId(4), TenantStatus::Cold),
            ],
        },
    ];
    let mut endless = segment(4, 8, vec![extent(ChunkId([9; 16]), 0, 8192 + 500)]);
    endless.meta.key_max = None;
    let shared = vec![extent(ChunkId([5; 16]), 0, 1000)];
    let segments = vec![segment(1, 6, shared.clone()), segment(3, 6, shared), endless];
    (collections, vec![chunk(5), plain_chunk()], segments)
}

/// The parts and config of some content.
fn write(
    collections: &[StoredCollection],
    chunks: &[Chunk],
    segments: &[StoredSegment],
    part_bytes_max: u64,
) -> (Config, Vec<Part>) {
    let mut writer = PartsWriter::with_part_bytes(backup(), ATTEMPT, part_bytes_max);
    let mut parts = Vec::new();
    for collection in collections {
        parts.extend(writer.collection(collection).unwrap());
    }
    for chunk in chunks {
        parts.extend(writer.chunk(chunk).unwrap());
    }
    for segment in segments {
        parts.extend(writer.segment(segment).unwrap());
    }
    let (last, infos, totals) = writer.finish();
    parts.push(last);
    (config(infos, totals), parts)
}

fn read(config: Config, parts: &[Part]) -> Result<Descriptor> {
    let mut reader = DescriptorReader::new(config);
    for part in parts {
        reader.add(&part.bytes)?;
    }
    reader.finish()
}

/// Reads one part of these lines, whose hash and totals are right.
fn read_lines(lines: &[String], totals: Totals) -> Result<Descriptor> {
    let bytes = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>();
    let bytes = bytes.into_bytes();
    let info = PartInfo { length: bytes.len() as u64, hash: hash(&bytes) };
    read(config(vec![info], totals), &[Part { number: 0, bytes }])
}

fn sample_lines() -> (Vec<String>, Totals) {
    let (collections, chunks, segments) = sample();
    let (config, parts) = write(&collections, &chunks, &segments, 1 << 20);
    let text = String::from_utf8(parts[0].bytes.clone()).unwrap();
    (text.lines().map(str::to_owned).collect(), config.totals)
}

#[test]
fn lines_are_pinned() {
    let (lines, _) = sample_lines();
    let golden = include_str!("golden/backup-0.jsonl");
    assert_eq!(lines, golden.lines().collect::<Vec<_>>());
}

#[test]
fn the_config_is_pinned() {
    let totals = Totals { segments: 3, segment_bytes: 1 << 60, ..Totals::default() };
    let parts = vec![PartInfo { length: 1234, hash: Hash([0x55; 32]) }];
    let config = config(parts, totals);
    let bytes = config.encode().unwrap();
    assert_eq!(String::from_utf8(bytes.clone()).unwrap(), include_str!("golden/config.json"));
    assert_eq!(Config::decode("monday/backup_config.json", &bytes).unwrap(), config);
}

#[test]
fn every_flip_and_truncation_of_a_config_is_refused() {
    let bytes = include_bytes!("golden/config.json");
    for at in 0..bytes.len() {
        assert!(Config::decode("config", &bytes[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << bit;
            let error = Config::decode("the config", &flipped).expect_err("a flip");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains("the config"), "{error}");
        }
    }
    let too_long = vec![b' '; (1 << 20) + 1];
    assert_eq!(Config::decode("config", &too_long).expect_err("long").kind(), ErrorKind::Corrupt);
}

/// Puts a right hash at the end of a config's text.
fn seal(text: &str) -> Vec<u8> {
    let body = text.rsplit_once(",\n  \"hash\"").expect("a sealed config").0;
    format!("{body},\n  \"hash\": \"{}\"\n}}\n", hash(body.as_bytes())).into_bytes()
}

#[test]
fn configs_that_make_no_sense_are_refused_although_sealed() {
    let text = include_str!("golden/config.json");
    assert!(Config::decode("config", &seal(text)).is_ok());
    for (from, to, kind) in [
        ("\"1.0\"", "\"1.1\"", ErrorKind::NewerFormat),
        ("\"1.0\"", "\"2.0\"", ErrorKind::NewerFormat),
        ("\"1.0\"", "\"0.9\"", ErrorKind::Corrupt),
        ("\"1.0\"", "\"one\"", ErrorKind::Corrupt),
        ("SUCCESS", "STARTED", ErrorKind::Corrupt),
        ("\"monday\"", "\"../up\"", ErrorKind::Corrupt),
        ("\"node1\"", "\"..\"", ErrorKind::Corrupt),
        ("2026-11-24T04:00:00Z", "NaN", ErrorKind::Corrupt),
        ("2026-11-24T04:00:00Z", "2026-13-24T04:00:00Z", ErrorKind::Corrupt),
        ("\"sequence\": \"1000\"", "\"sequence\": 1000", ErrorKind::Corrupt),
        ("\"sequence\": \"1000\"", "\"sequence\": \"36028797018963969\"", ErrorKind::Corrupt),
        ("\"length\": \"1234\"", "\"length\": \"1e18\"", ErrorKind::Corrupt),
        ("\"length\": \"1234\"", "\"length\": \"16777217\"", ErrorKind::Corrupt),
        ("\"node\":", "\"unknown\": [[[[[[]]]]]], \"node\":", ErrorKind::Corrupt),
        ("\"node\":", "\"node\": \"node1\", \"node\":", ErrorKind::Corrupt),
        ("gzip", "lzma", ErrorKind::Corrupt),
        (
            "\"preCompressionSizeBytes\": \"1",
            "\"preCompressionSizeBytes\": \"2",
            ErrorKind::Corrupt,
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let sealed = seal(&text.replacen(from, to, 1));
        let error = Config::decode("config", &sealed).expect_err(to);
        assert_eq!(error.kind(), kind, "{to}: {error}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), ",\n  \"hash\"");
    assert!(Config::decode("config", &seal(&deep)).is_err());
}

#[test]
fn what_was_written_is_read_from_one_part_or_many() {
    let (collections, chunks, segments) = sample();
    for (part_bytes_max, at_least) in [(1 << 20, 1), (900, 4), (1, 8)] {
        let (config, parts) = write(&collections, &chunks, &segments, part_bytes_max);
        assert!(parts.len() >= at_least, "{}", parts.len());
        let descriptor = read(config.clone(), &parts).unwrap();
        assert_eq!(descriptor.config, config);
        assert_eq!(descriptor.collections, collections);
        assert_eq!(descriptor.chunks, chunks);
        assert_eq!(descriptor.segments, segments);
        assert_eq!(config.totals.segment_bytes, 1000 + 1000 + 8692);
    }
}

#[test]
fn parts_in_wrong_order_missing_or_changed_are_refused() {
    let (collections, chunks, segments) = sample();
    let (config, parts) = write(&collections, &chunks, &segments, 900);
    assert!(read(config.clone(), &parts[..parts.len() - 1]).is_err());
    let mut swapped = parts.clone();
    swapped.swap(0, 1);
    let error = read(config.clone(), &swapped).expect_err("swapped");
    assert!(error.to_string().contains("backup-"), "{error}");
    for at in 0..parts[0].bytes.len() {
        let mut changed = parts.clone();
        changed[0].bytes[at] ^= 1;
        assert_eq!(read(config.clone(), &changed).expect_err("flip").kind(), ErrorKind::Corrupt);
    }
    let mut foreign = config;
    foreign.attempt = AttemptId([0x12; 16]);
    assert!(read(foreign, &parts).is_err());
}

#[test]
fn lines_that_make_no_sense_are_refused_although_hashed() {
    let (lines, totals) = sample_lines();
    assert!(read_lines(&lines, totals).is_ok());
    let refused = |lines: &[String], what: &str| {
        let error = read_lines(lines, totals).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
    };
    for at in 0..lines.len() {
        let mut twice = lines.clone();
        twice.insert(at, lines[at].clone());
        refused(&twice, "a line twice");
        let mut fewer = lines.clone();
        fewer.remove(at);
        refused(&fewer, "a line missing");
    }
    for at in 1..lines.len() {
        let mut first = lines.clone();
        let line = first.remove(at);
        first.insert(0, line);
        refused(&first, "a line before the name of the part");
    }
    let longest = format!("\"keyMin\":\"{}\"", "61".repeat(KEY_BYTES_MAX + 1));
    for (from, to) in [
        ("\"tree\":\"3\"", "\"tree\":\"1\""),
        ("\"name\":\"ann\"", "\"name\":\"bob\""),
        ("\"name\":\"ann\"", "\"name\":\"a/b\""),
        ("\"name\":\"Books\"", "\"name\":\"\""),
        ("\"name\":\"Books\"", "\"name\":\"Zebra\""),
        ("\"COLD\"", "\"WARM\""),
        ("\"length\":\"130\"", "\"length\":\"131\""),
        ("\"plain\":2048", "\"plain\":2049"),
        ("\"plain\":2048", "\"plain\":4194816"),
        ("\"plain\":2048", "\"plain\":4294967296"),
        ("\"plain\":2048", "\"plain\":512"),
        ("\"plain\":2048", "\"plain\":1000000000000000000"),
        ("\"stored\":100", "\"stored\":2100"),
        ("\"codec\":\"gzip\"", "\"codec\":\"none\""),
        ("\"level\":1", "\"level\":16"),
        ("\"level\":1", "\"level\":1.5"),
        ("\"puts\":\"3\"", "\"puts\":\"18446744073709551615\""),
        ("\"keyMin\":\"61\"", "\"keyMin\":\"63\""),
        ("\"keyMin\":\"61\"", &longest),
        ("\"sequenceMin\":\"7\"", "\"sequenceMin\":\"1001\""),
        ("\"sequenceMax\":\"1000\"", "\"sequenceMax\":\"1001\""),
        ("\"frame\":0", "\"frame\":1"),
        ("\"frame\":0", "\"frame\":4294967295"),
        ("\"offset\":0", "\"offset\":1"),
        ("\"offset\":0", "\"offset\":4294966784"),
        ("\"extents\":[", "\"extents\":[],\"extents\":["),
        ("\"sum\":", "\"surprise\":1,\"sum\":"),
        ("{\"segment\":", "{\"chunk\":{},\"segment\":"),
    ] {
        let at = lines.iter().position(|line| line.contains(from)).expect(from);
        let mut changed = lines.clone();
        changed[at] = lines[at].replacen(from, to, 1);
        refused(&changed, to);
    }
    let error = read_lines(&lines[..1], Totals::default());
    assert!(error.is_ok(), "an empty store is a backup too");
}

#[test]
fn lines_over_the_limit_are_refused_when_written() {
    let mut writer = PartsWriter::new(backup(), ATTEMPT);
    let extents = vec![extent(ChunkId([5; 16]), 0, 1); 60_000];
    let error = writer.segment(&segment(1, 1, extents)).expect_err("a line of many MiB");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Config::decode("config", &bytes).is_err());
        let info = PartInfo { length: bytes.len() as u64, hash: hash(&bytes) };
        let part = Part { number: 0, bytes };
        prop_assert!(read(config(vec![info], Totals::default()), &[part]).is_err());
    }

    #[test]
    fn changed_lines_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let (lines, totals) = sample_lines();
        let mut bytes = lines.iter().flat_map(|l| [l.as_str(), "\n"]).collect::<String>().into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        let info = PartInfo { length: bytes.len() as u64, hash: hash(&bytes) };
        if let Ok(descriptor) = read(config(vec![info], totals), &[Part { number: 0, bytes }]) {
            for segment in &descriptor.segments {
                prop_assert!(!segment.extents.is_empty());
            }
        }
    }

    #[test]
    fn changed_configs_never_panic(
        at in any::<prop::sample::Index>(),
        text in "[\\[\\]{}\",:0-9eE.+-]{1,12}",
    ) {
        let golden = include_str!("golden/config.json");
        let body = golden.rsplit_once(",\n  \"hash\"").expect("sealed").0;
        let (head, tail) = body.split_at(at.index(body.len()));
        let changed = format!("{head}{text}{tail},\n  \"hash\"");
        if let Ok(config) = Config::decode("config", &seal(&changed)) {
            prop_assert!(!config.parts.is_empty());
        }
    }
}
