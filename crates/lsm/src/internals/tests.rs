//! Replays `fuzz/corpus/` and `fuzz/regressions/`, and keeps the corpus what it should be.

use std::{fs, path::PathBuf, sync::Arc};

use proptest::prelude::*;
use siltstone_io::{disk::StreamWriter, env::Env, error::Result as IoResult, sim::SimDisk};

use super::{
    manifest_file::{self, NUMBER, STORE_ID as MANIFEST_STORE_ID},
    wal_file::STORE_ID as WAL_STORE_ID,
};
use crate::{
    batch::Batch,
    format::{
        manifest::{
            Head, PAGE_BYTES,
            edit::encode,
            frame::{self, Part, Place},
        },
        names,
    },
    manifest::{Edit, Manifest, Record},
    options::Durability,
    segment::{BuildOptions, SegmentBuilder},
    types::{
        Counts, Entry, EntryKind, FileId, Hash, LogId, RangeTombstone, SegmentMeta, Sequence,
        TenantStatus, TreeId, Uid,
    },
    wal::{Payload, ReadyLog, Wal},
};

fn fuzz_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// Runs the body of a target on all its files; returns how many there are.
fn replay(target: &str, body: fn(&[u8])) -> usize {
    let mut files = 0;
    for kind in ["corpus", "regressions"] {
        let Ok(folder) = fs::read_dir(fuzz_folder().join(kind).join(target)) else {
            continue;
        };
        for file in folder {
            let path = file.expect("a name").path();
            body(&fs::read(&path).expect("a readable file"));
            files += 1;
        }
    }
    files
}

#[derive(Debug, Default)]
struct Sink(Vec<u8>);

impl StreamWriter for Sink {
    fn write(&mut self, bytes: &[u8]) -> IoResult<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> IoResult<u64> {
        Ok(self.0.len() as u64)
    }
}

/// A segment of `keys` keys with `versions` versions each; every fifth entry is a delete.
fn built(keys: u64, versions: u64, tombstones: u64, block_bytes: usize) -> Vec<u8> {
    let options = BuildOptions { block_bytes, filter_bits_per_key: 10 };
    let mut builder = SegmentBuilder::new(Uid(*b"a fuzzing corpus"), options);
    let mut sink = Sink::default();
    for key in 0..keys {
        for version in (1..=versions).rev() {
            let name = format!("key-{key:03}");
            let sequence = key * versions + version;
            let (kind, value) = match sequence % 5 {
                0 => (EntryKind::Delete, &b""[..]),
                _ => (EntryKind::Put, &b"some value"[..]),
            };
            let entry = Entry { key: name.as_bytes(), sequence, kind, value };
            builder.add(entry, &mut sink).expect("memory takes all");
        }
    }
    for range in 0..tombstones {
        let end = (range % 2 == 0).then(|| format!("key-{:03}", range + 5).into_bytes());
        let start = format!("key-{range:03}").into_bytes();
        builder.add_range_tombstone(RangeTombstone { start, end, sequence: range + 1 });
    }
    builder.finish(&mut sink).expect("memory takes all");
    sink.0
}

/// One seed for each shape of a segment.
fn segment_seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("one-entry", built(1, 1, 0, 4096)),
        ("one-block", built(20, 1, 0, 4096)),
        ("one-index-level", built(12, 1, 1, 100)),
        ("two-index-levels", built(40, 1, 0, 80)),
        ("straddling-versions", built(2, 12, 0, 60)),
        ("tombstones-alone", built(0, 0, 3, 4096)),
    ]
}

/// Set `SILTSTONE_BLESS=1` to write the seeds; they are those of format version 1, so only for new
/// shapes.
#[test]
fn corpus_holds_a_segment_of_each_shape() {
    let folder = fuzz_folder().join("corpus/segment");
    for (name, bytes) in segment_seeds() {
        if std::env::var_os("SILTSTONE_BLESS").is_some() {
            fs::write(folder.join(name), &bytes).expect("a writable corpus");
        }
        assert!(fs::read(folder.join(name)).is_ok_and(|file| file == bytes), "{name} differs");
    }
}

#[test]
fn segment_corpus_is_replayed() {
    assert!(replay("segment", super::segment) >= segment_seeds().len());
}

/// A log or two of each shape, as [`super::wal_file`] takes them.
fn wal_file_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let shapes: [(&str, Script); 4] = [
        ("empty", |_, _| {}),
        ("one-log", |wal, _| {
            append(wal, 1, &[30, 700], Durability::Sync);
            append(wal, 3, &[20], Durability::Buffered);
            append(wal, 4, &[2000, 0], Durability::Buffered);
        }),
        ("rotated", |wal, env| {
            append(wal, 1, &[300], Durability::Sync);
            rotate(wal, env);
            append(wal, 2, &[10, 600], Durability::Sync);
            append(wal, 4, &[5], Durability::Buffered);
        }),
        ("closed-at-a-marker", |wal, env| {
            append(wal, 1, &[40], Durability::Buffered);
            for (sequence, number) in [(2, 6), (3, 7)] {
                wal.append(&[Payload::Marker { sequence, number }], Durability::Sync)
                    .expect("memory takes all");
            }
            rotate(wal, env);
            wal.close().expect("memory takes all");
        }),
    ];
    shapes.into_iter().map(|(name, write)| (name, logs(write))).collect()
}

/// Writes to a log of the given environment.
type Script = fn(&Wal, &Env);

fn logs(write: Script) -> Vec<u8> {
    let disk = SimDisk::new(1);
    let env = Env::seeded(Arc::new(disk.clone()), 1);
    let log = ReadyLog::create(&env, WAL_STORE_ID, LogId(1)).expect("memory takes all");
    write(&Wal::start(&log).expect("memory takes all"), &env);
    let file = |log| disk.read_file(names::log(LogId(log)).as_str()).unwrap_or_default();
    let length = u32::try_from(file(1).len()).expect("a small file");
    [&length.to_le_bytes()[..], &file(1), &file(2)].concat()
}

fn rotate(wal: &Wal, env: &Env) {
    wal.sync_to(wal.end()).expect("memory takes all");
    let next = ReadyLog::create(env, WAL_STORE_ID, LogId(2)).expect("memory takes all");
    wal.rotate(&next).expect("memory takes all");
}

/// Appends one group of batches with values of these lengths.
fn append(wal: &Wal, first: Sequence, lengths: &[usize], durability: Durability) {
    let batches: Vec<Batch> = lengths
        .iter()
        .map(|&length| {
            let mut batch = Batch::new();
            batch.put(TreeId(1), b"key", &vec![b'v'; length]).expect("it keeps the limits");
            batch
        })
        .collect();
    let group: Vec<Payload<'_>> = (first..)
        .zip(&batches)
        .map(|(first_sequence, batch)| {
            let (operations, encoded) = (batch.operations(), batch.encoded());
            Payload::Batch { first_sequence, operations, encoded }
        })
        .collect();
    wal.append(&group, durability).expect("memory takes all");
}

#[test]
fn corpus_holds_a_log_of_each_shape() {
    let folder = fuzz_folder().join("corpus/wal_file");
    for (name, bytes) in wal_file_seeds() {
        if std::env::var_os("SILTSTONE_BLESS").is_some() {
            fs::write(folder.join(name), &bytes).expect("a writable corpus");
        }
        assert!(fs::read(folder.join(name)).is_ok_and(|file| file == bytes), "{name} differs");
    }
}

#[test]
fn wal_file_corpus_is_replayed() {
    assert!(replay("wal_file", super::wal_file) >= wal_file_seeds().len());
}

/// Edits that use every kind of record; each can follow the ones before it.
fn edits() -> Vec<Vec<Record>> {
    let name = |text: &str| text.to_owned();
    let meta = |uid: u8, key_max: Option<&[u8]>| SegmentMeta {
        uid: Uid([uid; 16]),
        length: 300,
        hash: Hash([uid; 32]),
        counts: Counts { puts: 3, deletes: 1, range_deletes: 0 },
        sum: u128::from(uid),
        key_min: b"a".to_vec(),
        key_max: key_max.map(<[u8]>::to_vec),
        sequence_min: 1,
        sequence_max: 9,
    };
    let segment = |offset: u64, meta: SegmentMeta| Record::AddSegment {
        tree: TreeId(2),
        level: 0,
        file: FileId(1),
        offset,
        meta,
    };
    let tenant = |tenant: &str, tree: u64| Record::CreateTenant {
        collection: 1,
        name: name(tenant),
        tree: TreeId(tree),
        status: TenantStatus::Hot,
    };
    let frozen = Record::FrozenTenant {
        collection: 1,
        name: name("ann"),
        tree: TreeId(5),
        location: name("a shelf"),
    };
    let (cold, tree) = (TenantStatus::Cold, TreeId(2));
    vec![
        vec![
            Record::LogReady { log: LogId(1) },
            Record::CreateCollection { id: 1, name: name("birds"), tree: TreeId(1) },
            tenant("eu", 2),
            tenant("ann", 3),
            Record::QueueEdit { number: 1 },
        ],
        vec![
            Record::AddFile { file: FileId(1), length: 700 },
            segment(0, meta(1, Some(b"k"))),
            segment(300, meta(2, None)),
            Record::LogReady { log: LogId(2) },
            Record::ReplayFloor { log: LogId(2), sequence: 10 },
            Record::NextIds { tree: TreeId(4), file: FileId(2), collection: 2 },
        ],
        vec![
            Record::MoveSegment { tree, file: FileId(1), offset: 0, level: 3 },
            Record::RemoveSegment { tree, file: FileId(1), offset: 300 },
            Record::ReserveSequences { upto: 1 << 24 },
            Record::CreateCollection { id: 2, name: name("fish"), tree: TreeId(4) },
        ],
        vec![
            frozen,
            Record::RenameTenant { collection: 1, name: name("ann"), to: name("eve") },
            Record::SetTenantStatus { collection: 1, name: name("eu"), status: cold },
            Record::RenameCollection { id: 2, name: name("moss") },
        ],
        vec![
            Record::DropTenant { collection: 1, name: name("eu") },
            Record::DropCollection { id: 2 },
            Record::HoldFile { file: FileId(2), length: 300 },
            Record::HoldSegment { file: FileId(2), offset: 0, meta: meta(3, Some(b"b")) },
            Record::HoldFile { file: FileId(3), length: 400 },
        ],
        vec![Record::ReleaseFile { file: FileId(3) }],
    ]
}

/// A manifest of each shape, as [`super::manifest`] takes them.
fn manifest_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let with = |edits: Vec<Vec<Record>>| {
        let disk = SimDisk::new(1);
        let env = Env::seeded(Arc::new(disk.clone()), 1);
        let manifest = Manifest::create(&env, MANIFEST_STORE_ID, u64::MAX);
        let manifest = manifest.expect("memory takes all");
        for records in edits {
            manifest.commit(Edit { records }).expect("it fits the ones before it");
        }
        disk.read_file(names::manifest(NUMBER).as_str()).expect("it is there")
    };
    let all = with(edits());
    let mut torn = all.clone();
    let end = torn.len() - PAGE_BYTES;
    torn[end + 512..end + 1024].fill(0);
    vec![("new", with(Vec::new())), ("edits", all), ("torn", torn), ("in-parts", in_parts())]
}

/// A snapshot in two frames, as only a long one has them.
fn in_parts() -> Vec<u8> {
    let salt = [3; 16];
    let mut file = Head { number: NUMBER, store_id: MANIFEST_STORE_ID, salt }.encode();
    for (part, records) in edits().into_iter().take(2).enumerate() {
        let mut payload = Vec::new();
        for record in &records {
            encode(record, &mut payload);
        }
        let part = u32::try_from(part).expect("two parts");
        let place = Place { salt: &salt, offset: file.len() as u64 };
        let frame = frame::encode(place, Part { edit: 0, part, last: part == 1 }, &payload);
        file.extend_from_slice(&frame);
    }
    file
}

#[test]
fn corpus_holds_a_manifest_of_each_shape() {
    let folder = fuzz_folder().join("corpus/manifest");
    for (name, bytes) in manifest_seeds() {
        if std::env::var_os("SILTSTONE_BLESS").is_some() {
            fs::create_dir_all(&folder).expect("a writable corpus");
            fs::write(folder.join(name), &bytes).expect("a writable corpus");
        }
        assert!(fs::read(folder.join(name)).is_ok_and(|file| file == bytes), "{name} differs");
        assert!(manifest_file::open(&bytes), "{name} is whole, or torn at its end");
        let resealed = manifest_file::resealed(&bytes);
        assert!(manifest_file::open(&resealed), "{name}: records are reached behind the checksums");
        assert_eq!(resealed.len(), bytes.len(), "{name}");
    }
}

#[test]
fn manifest_corpus_is_replayed() {
    assert!(replay("manifest", super::manifest) >= manifest_seeds().len());
}

proptest! {
    #[test]
    fn mutated_logs_break_no_promise(
        seed in 0_usize..4,
        mutations in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..12),
    ) {
        let (_, mut bytes) = wal_file_seeds().swap_remove(seed);
        for (place, byte) in mutations {
            let written: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
            bytes[written[usize::from(place) % written.len()]] = byte;
        }
        super::wal_file(&bytes);
    }
    #[test]
    fn mutated_manifests_break_no_promise(
        seed in 0_usize..4,
        mutations in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..12),
    ) {
        let (_, mut bytes) = manifest_seeds().swap_remove(seed);
        for (place, byte) in mutations {
            let written: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
            bytes[written[usize::from(place) % written.len()]] = byte;
        }
        super::manifest(&bytes);
    }
}
