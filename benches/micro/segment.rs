//! One segment in memory, its blocks in the cache: building it, point reads, a pass in order. What
//! a disk would cost is left out; the load benchmark has it.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput};
use siltstone_benches::{Dice, key};
use siltstone_io::{
    disk::{BlockSource, StreamWriter},
    error::Result as IoResult,
    path::RelPath,
};
use siltstone_lsm::{
    cache::BlockCache,
    options::Options,
    segment::{BuildOptions, FillCache, SegmentBuilder, SegmentReader},
    types::{SEQUENCE_MAX, SegmentMeta, Uid},
};

use crate::{Row, VALUES, bytes_of, iterate, sorted_rows};

/// Rows of the segment.
const ROWS: u64 = 20_000;

/// Bytes of the cache: more than the segment has.
const CACHE_BYTES: u64 = 64 << 20;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segment");
    group.sample_size(20);
    for (name, value_bytes) in VALUES {
        let rows = sorted_rows(ROWS, value_bytes);
        let whole = Throughput::ElementsAndBytes { elements: ROWS, bytes: bytes_of(&rows) };
        group.throughput(whole.clone());
        group.bench_function(format!("build/{name}"), |bencher| {
            bencher.iter(|| build(&rows, &mut Discard));
        });

        let reader = open(&rows);
        group.bench_function(format!("iterate/{name}"), |bencher| {
            bencher.iter(|| assert_eq!(iterate(&mut *reader.cursor(FillCache::Yes)), ROWS));
        });
        group.throughput(Throughput::Elements(1));
        for (outcome, from) in [("hit", 0), ("miss", ROWS)] {
            group.bench_function(format!("get {outcome}/{name}"), |bencher| {
                let mut dice = Dice::new(1);
                bencher.iter(|| {
                    let found = reader.get(&key(from + dice.below(ROWS)), SEQUENCE_MAX);
                    let found = found.expect("memory does not fail").is_some();
                    assert_eq!(found, from == 0, "what is there is found");
                });
            });
        }
    }
    group.finish();
}

/// A stream to nowhere: the builder alone is measured.
#[derive(Debug)]
struct Discard;

impl StreamWriter for Discard {
    fn write(&mut self, bytes: &[u8]) -> IoResult<()> {
        black_box(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> IoResult<u64> {
        Ok(0)
    }
}

/// A file in memory.
#[derive(Debug)]
struct Memory {
    path: RelPath,
    bytes: Vec<u8>,
}

impl StreamWriter for Memory {
    fn write(&mut self, bytes: &[u8]) -> IoResult<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> IoResult<u64> {
        Ok(self.bytes.len() as u64)
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
        let rest = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..));
        let rest = rest.unwrap_or_default();
        let length = rest.len().min(buf.len());
        buf[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

fn build(rows: &[Row], out: &mut dyn StreamWriter) -> SegmentMeta {
    let mut builder = SegmentBuilder::new(Uid([7; 16]), BuildOptions::from(&Options::default()));
    for row in rows {
        builder.add(row.entry(), out).expect("memory does not fail");
    }
    builder.finish(out).expect("memory does not fail")
}

fn open(rows: &[Row]) -> Arc<SegmentReader> {
    let mut file = Memory { path: RelPath::root(), bytes: Vec::new() };
    let meta = build(rows, &mut file);
    let cache = Arc::new(BlockCache::new(CACHE_BYTES));
    SegmentReader::open(Arc::new(file), 0, &meta, cache).expect("it was just built")
}
