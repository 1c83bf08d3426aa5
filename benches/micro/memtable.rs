//! The memtable: inserts in random order, point reads that hit and miss, and a pass in order.

use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput};
use siltstone_benches::{Dice, key};
use siltstone_lsm::{memtable::Memtable, types::TreeId};

use crate::{Row, VALUES, bytes_of, iterate, rows};

const TREE: TreeId = TreeId(1);

/// Rows inserted into one fresh memtable.
const INSERTED: u64 = 10_000;

/// Accounted bytes of the memtable that is read: a default one when it is sealed.
const READ_BYTES: usize = 32 << 20;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memtable");
    for (name, value_bytes) in VALUES {
        let inserted = rows(INSERTED, value_bytes);
        group.throughput(Throughput::ElementsAndBytes {
            elements: INSERTED,
            bytes: bytes_of(&inserted),
        });
        group.bench_function(format!("insert/{name}"), |bencher| {
            let insert = |memtable: &mut Memtable| insert_all(memtable, &inserted);
            bencher.iter_batched_ref(Memtable::new, insert, BatchSize::LargeInput);
        });

        let (memtable, count) = full(value_bytes);
        group.throughput(Throughput::Elements(1));
        for (outcome, from) in [("hit", 0), ("miss", count)] {
            group.bench_function(format!("get {outcome}/{name}"), |bencher| {
                let mut dice = Dice::new(1);
                bencher.iter(|| memtable.get(TREE, &key(from + dice.below(count)), u64::MAX));
            });
        }
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("iterate/{name}"), |bencher| {
            bencher.iter(|| assert_eq!(iterate(&mut *memtable.cursor(TREE)), count));
        });
    }
    group.finish();
}

fn insert_all(memtable: &Memtable, rows: &[Row]) {
    for (sequence, row) in (1..).zip(rows) {
        memtable.put(TREE, &row.key, sequence, &row.value);
    }
}

/// A full memtable, and how many rows it has.
fn full(value_bytes: usize) -> (Arc<Memtable>, u64) {
    let memtable = Memtable::new();
    let (mut count, mut value) = (0, vec![0; value_bytes]);
    while memtable.bytes() < READ_BYTES {
        siltstone_benches::fill_value(&mut value, count, 1);
        memtable.put(TREE, &key(count), count + 1, &value);
        count += 1;
    }
    (Arc::new(memtable), count)
}
