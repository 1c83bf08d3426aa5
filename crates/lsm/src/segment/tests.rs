//! Segments against a model, with every way of reading, and against damage.

mod damage;
mod golden;
mod model;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use siltstone_io::{
    disk::{BlockSource, StreamWriter},
    error::Result as IoResult,
    path::RelPath,
};

use crate::{
    cache::BlockCache,
    cursor::Cursor,
    error::ErrorKind,
    segment::{BuildOptions, FillCache, SegmentBuilder, SegmentReader},
    types::{Counts, Entry, EntryKind, RangeTombstone, SEQUENCE_MAX, SegmentMeta, Sequence, Uid},
};

/// A file in memory that counts reads.
#[derive(Debug)]
struct Memory {
    path: RelPath,
    bytes: Vec<u8>,
    reads: AtomicU64,
    read_bytes: AtomicU64,
}

impl Memory {
    fn new(bytes: Vec<u8>) -> Arc<Self> {
        let path = RelPath::new("files/7.seg").unwrap();
        Arc::new(Self { path, bytes, reads: AtomicU64::new(0), read_bytes: AtomicU64::new(0) })
    }
}

impl BlockSource for Memory {
    fn path(&self) -> &RelPath {
        &self.path
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> IoResult<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.read_bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        let rest = self.bytes.get(index(offset)..).unwrap_or_default();
        let length = rest.len().min(buf.len());
        buf[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

/// A stream into memory.
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

/// All versions of all keys; `None` is a delete. The order is internal order.
type Model = BTreeMap<(Vec<u8>, std::cmp::Reverse<Sequence>), Option<Vec<u8>>>;

/// Where segments start in the files of these tests.
const START: usize = 100;

const UID: Uid = Uid(*b"sixteen bytes id");

fn options(block_bytes: usize) -> BuildOptions {
    BuildOptions { block_bytes, filter_bits_per_key: 10 }
}

/// A file with other bytes around one segment.
fn file_of(
    model: &Model,
    tombstones: &[RangeTombstone],
    options: BuildOptions,
) -> (Vec<u8>, SegmentMeta) {
    let mut sink = Sink(vec![0xaa; START]);
    let mut builder = SegmentBuilder::new(UID, options);
    assert!(builder.is_empty());
    for ((key, sequence), value) in model {
        let kind = if value.is_some() { EntryKind::Put } else { EntryKind::Delete };
        let value = value.as_deref().unwrap_or_default();
        builder.add(Entry { key, sequence: sequence.0, kind, value }, &mut sink).unwrap();
    }
    for tombstone in tombstones {
        builder.add_range_tombstone(tombstone.clone());
    }
    let meta = builder.finish(&mut sink).unwrap();
    assert_eq!(meta.length, (sink.0.len() - START) as u64);
    sink.0.extend_from_slice(&[0xbb; 50]);
    (sink.0, meta)
}

fn open(file: Vec<u8>, meta: &SegmentMeta) -> crate::error::Result<Arc<SegmentReader>> {
    let cache = Arc::new(BlockCache::new(1 << 20));
    SegmentReader::open(Memory::new(file), START as u64, meta, cache)
}

fn put(model: &mut Model, key: &[u8], sequence: Sequence, value: &[u8]) {
    model.insert((key.to_vec(), std::cmp::Reverse(sequence)), Some(value.to_vec()));
}

fn delete(model: &mut Model, key: &[u8], sequence: Sequence) {
    model.insert((key.to_vec(), std::cmp::Reverse(sequence)), None);
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("files in memory")
}

/// So many keys of a plain kind, one version each.
fn plain(keys: usize) -> Model {
    let mut model = Model::new();
    for i in 0..keys as u64 {
        let value = [i.to_le_bytes()[0]; 20];
        put(&mut model, format!("key{i:06}").as_bytes(), 1000 + i, &value);
    }
    model
}

fn owned(entry: Option<Entry<'_>>) -> Option<(Vec<u8>, Sequence, EntryKind, Vec<u8>)> {
    entry.map(|entry| (entry.key.to_vec(), entry.sequence, entry.kind, entry.value.to_vec()))
}

#[test]
fn segment_of_one_entry_is_small_and_opens_with_one_read() {
    let mut model = Model::new();
    put(&mut model, b"tenant-key", 4711, b"a value");
    let (file, meta) = file_of(&model, &[], options(4096));
    assert!(meta.length < 200, "{} bytes", meta.length);
    let memory = Memory::new(file);
    let cache = Arc::new(BlockCache::new(1 << 20));
    let reader =
        SegmentReader::open(Arc::<Memory>::clone(&memory), START as u64, &meta, cache).unwrap();
    assert_eq!(memory.reads.load(Ordering::Relaxed), 1);
    for _ in 0..3 {
        let (sequence, kind, value) = reader.get(b"tenant-key", u64::MAX).unwrap().unwrap();
        assert_eq!((sequence, kind, value.as_ref()), (4711, EntryKind::Put, &b"a value"[..]));
    }
    assert_eq!(memory.reads.load(Ordering::Relaxed), 2);
}

#[test]
fn open_reader_is_small() {
    assert!(size_of::<SegmentReader>() + super::ROOT_PINNED_BYTES_MAX <= 1024);
}

#[test]
fn meta_says_what_was_written() {
    let mut model = Model::new();
    put(&mut model, b"b", 9, b"new");
    put(&mut model, b"b", 3, b"old");
    delete(&mut model, b"c", 5);
    let tombstone = RangeTombstone { start: b"a".to_vec(), end: Some(b"d".to_vec()), sequence: 12 };
    let (_, meta) = file_of(&model, &[tombstone], options(4096));
    assert_eq!(meta.counts, Counts { puts: 2, deletes: 1, range_deletes: 1 });
    assert_eq!((meta.key_min.as_slice(), meta.key_max.as_deref()), (&b"a"[..], Some(&b"d"[..])));
    assert_eq!((meta.sequence_min, meta.sequence_max), (3, 12));
    let open_end = RangeTombstone { start: Vec::new(), end: None, sequence: 1 };
    let (_, meta) = file_of(&model, &[open_end], options(4096));
    assert_eq!((meta.key_min.as_slice(), meta.key_max), (&b""[..], None));
}

#[test]
fn estimate_is_close_to_the_length() {
    for (keys, block_bytes) in [(1, 4096), (200, 4096), (5000, 4096), (5000, 256)] {
        let mut sink = Sink::default();
        let mut builder = SegmentBuilder::new(UID, options(block_bytes));
        for ((key, sequence), value) in &plain(keys) {
            let value = value.as_deref().unwrap();
            let entry = Entry { key, sequence: sequence.0, kind: EntryKind::Put, value };
            builder.add(entry, &mut sink).unwrap();
        }
        let estimate = builder.estimated_bytes();
        let length = builder.finish(&mut sink).unwrap().length;
        assert!(estimate.abs_diff(length) < 200 + length / 50, "{estimate} for {length}");
    }
}

#[test]
fn same_entries_have_the_same_sum_in_any_blocks() {
    let model = plain(500);
    let (_, a) = file_of(&model, &[], options(64));
    let (_, b) = file_of(&model, &[], options(4096));
    assert_eq!(a.sum, b.sum);
    assert_ne!(a.hash, b.hash);
}

#[test]
fn segment_of_tombstones_alone_reads_as_empty() {
    let tombstones = [
        RangeTombstone { start: b"m".to_vec(), end: None, sequence: 8 },
        RangeTombstone { start: b"a".to_vec(), end: Some(b"c".to_vec()), sequence: 5 },
        RangeTombstone { start: b"b".to_vec(), end: Some(b"d".to_vec()), sequence: 7 },
    ];
    let (file, meta) = file_of(&Model::new(), &tombstones, options(4096));
    let reader = open(file, &meta).unwrap();
    assert_eq!(reader.range_tombstones().len(), 3);
    assert!(reader.range_tombstones().is_sorted());
    let covering = |key: &[u8], sequence| reader.covering(key, sequence);
    assert_eq!((covering(b"a", 9), covering(b"b", 9), covering(b"b", 6)), (5, 7, 5));
    assert_eq!((covering(b"d", 9), covering(b"z", 9), covering(b"z", 7)), (0, 8, 0));
    assert!(reader.get(b"b", u64::MAX).unwrap().is_none());
    let mut cursor = reader.cursor(FillCache::Yes);
    cursor.seek_first().unwrap();
    assert!(cursor.entry().is_none());
    cursor.seek_before(b"x", 1).unwrap();
    assert!(cursor.entry().is_none());
    reader.verify().unwrap();
}

#[test]
fn disjoint_tombstones_are_found_among_many() {
    let tombstones: Vec<RangeTombstone> = (0..200_u32)
        .map(|i| RangeTombstone {
            start: format!("{:04}", i * 10).into_bytes(),
            end: Some(format!("{:04}", i * 10 + 5).into_bytes()),
            sequence: u64::from(i) + 1,
        })
        .collect();
    let (file, meta) = file_of(&plain(1), &tombstones, options(4096));
    let reader = open(file, &meta).unwrap();
    for i in 0..2000_u32 {
        let expected = if i % 10 < 5 { u64::from(i / 10) + 1 } else { 0 };
        assert_eq!(reader.covering(format!("{i:04}").as_bytes(), u64::MAX), expected, "{i}");
    }
}

#[test]
fn versions_that_straddle_blocks_are_all_found() {
    let mut model = plain(3);
    for sequence in 1..400 {
        put(&mut model, b"key000001x", sequence, &sequence.to_le_bytes());
    }
    let (file, meta) = file_of(&model, &[], options(64));
    let reader = open(file, &meta).unwrap();
    for sequence in 1..400 {
        let found = reader.get(b"key000001x", sequence).unwrap().unwrap();
        assert_eq!(found.0, sequence);
        assert_eq!(found.2.as_ref(), sequence.to_le_bytes());
    }
    assert!(reader.get(b"key000001x", 0).unwrap().is_none());
    assert_eq!(reader.get(b"key000001x", u64::MAX).unwrap().unwrap().0, 399);
    reader.verify().unwrap();
}

#[test]
fn largest_entries_are_read_back() {
    let mut model = plain(10);
    let key = vec![b'z'; crate::types::KEY_BYTES_MAX];
    let value = vec![0x5a; crate::types::VALUE_BYTES_MAX];
    put(&mut model, &key, SEQUENCE_MAX, &value);
    put(&mut model, &key, 1, b"before");
    let (file, meta) = file_of(&model, &[], options(4096));
    let reader = open(file, &meta).unwrap();
    let (sequence, _, found) = reader.get(&key, u64::MAX).unwrap().unwrap();
    assert!(sequence == SEQUENCE_MAX && found.as_ref() == value.as_slice());
    assert_eq!(reader.get(&key, SEQUENCE_MAX - 1).unwrap().unwrap().2.as_ref(), b"before");
    reader.verify().unwrap();
}

#[test]
fn forward_scan_past_the_cache_reads_each_byte_once_in_large_pieces() {
    let (file, meta) = file_of(&plain(30_000), &[], options(4096));
    let memory = Memory::new(file);
    let cache = Arc::new(BlockCache::new(16 << 20));
    let source = Arc::<Memory>::clone(&memory);
    let reader = SegmentReader::open(source, START as u64, &meta, Arc::clone(&cache)).unwrap();
    let mut cursor = reader.cursor(FillCache::No);
    cursor.seek_first().unwrap();
    let mut entries = 0;
    while cursor.entry().is_some() {
        entries += 1;
        cursor.next().unwrap();
    }
    assert_eq!(entries, 30_000);
    assert_eq!(cache.bytes(), 0);
    let leaves = meta.length / 4096 / 100 + 3;
    let reads = memory.reads.load(Ordering::Relaxed);
    assert!(reads <= meta.length / (256 << 10) + leaves + 2, "{reads} reads");
    assert!(memory.read_bytes.load(Ordering::Relaxed) < meta.length + meta.length / 10);
}

#[test]
fn forward_scan_through_the_cache_reads_ahead_and_fills_it() {
    let (file, meta) = file_of(&plain(30_000), &[], options(4096));
    let memory = Memory::new(file);
    let cache = Arc::new(BlockCache::new(16 << 20));
    let source = Arc::<Memory>::clone(&memory);
    let reader = SegmentReader::open(source, START as u64, &meta, cache).unwrap();
    for round in 0..2 {
        let mut cursor = reader.cursor(FillCache::Yes);
        cursor.seek_first().unwrap();
        while cursor.entry().is_some() {
            cursor.next().unwrap();
        }
        let reads = memory.reads.load(Ordering::Relaxed);
        assert!(reads < 30, "{reads} reads after round {round}");
    }
}

#[test]
fn flush_output_enters_the_cache() {
    let cache = Arc::new(BlockCache::new(16 << 20));
    let mut sink = Sink::default();
    let mut builder = SegmentBuilder::new(UID, options(4096)).caching(Arc::clone(&cache));
    for ((key, sequence), value) in &plain(5000) {
        let value = value.as_deref().unwrap();
        let entry = Entry { key, sequence: sequence.0, kind: EntryKind::Put, value };
        builder.add(entry, &mut sink).unwrap();
    }
    let meta = builder.finish(&mut sink).unwrap();
    let memory = Memory::new(sink.0);
    let reader = SegmentReader::open(Arc::<Memory>::clone(&memory), 0, &meta, cache).unwrap();
    let opened = memory.reads.load(Ordering::Relaxed);
    for i in 0..5000 {
        assert!(reader.get(format!("key{i:06}").as_bytes(), u64::MAX).unwrap().is_some());
    }
    assert_eq!(memory.reads.load(Ordering::Relaxed), opened);
}

#[test]
fn absent_keys_are_mostly_answered_by_the_filter() {
    let (file, meta) = file_of(&plain(10_000), &[], options(4096));
    let memory = Memory::new(file);
    let cache = Arc::new(BlockCache::new(0));
    let reader =
        SegmentReader::open(Arc::<Memory>::clone(&memory), START as u64, &meta, cache).unwrap();
    let before = memory.reads.load(Ordering::Relaxed);
    for i in 0..2000 {
        assert!(reader.get(format!("key{i:06}x").as_bytes(), u64::MAX).unwrap().is_none());
    }
    // Without a cache each question reads the filter; only a false positive reads more.
    let reads = memory.reads.load(Ordering::Relaxed) - before;
    assert!(reads < 2000 + 2000 * 3 * 3 / 100, "{reads} reads");
}

#[test]
#[should_panic(expected = "entries come in internal order")]
fn entries_out_of_order_are_a_programmers_error() {
    let mut builder = SegmentBuilder::new(UID, options(4096));
    let entry = |key| Entry { key, sequence: 1, kind: EntryKind::Put, value: b"" };
    builder.add(entry(b"b"), &mut Sink::default()).unwrap();
    builder.add(entry(b"a"), &mut Sink::default()).unwrap();
}

#[test]
fn wrong_meta_is_refused() {
    let (file, meta) = file_of(&plain(10), &[], options(4096));
    let wrong = [
        SegmentMeta { uid: Uid([9; 16]), ..meta.clone() },
        SegmentMeta { length: meta.length - 1, ..meta.clone() },
        SegmentMeta { length: meta.length + 1, ..meta.clone() },
        SegmentMeta { length: u64::MAX, ..meta.clone() },
        SegmentMeta { length: 3, ..meta.clone() },
        SegmentMeta { sum: meta.sum + 1, ..meta.clone() },
        SegmentMeta { counts: Counts { puts: 11, ..meta.counts }, ..meta.clone() },
        SegmentMeta { key_max: None, ..meta.clone() },
        SegmentMeta { sequence_max: 0, ..meta.clone() },
    ];
    for wrong in wrong {
        let error = open(file.clone(), &wrong).expect_err("wrong meta");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(error.place().map(|(path, _)| path), Some("files/7.seg"));
    }
    let wrong = SegmentMeta { hash: crate::types::Hash([0; 32]), ..meta };
    assert!(open(file, &wrong).unwrap().verify().is_err());
}
