//! One data block of the default size: encoding and sealing it, searching it, walking it.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput};
use siltstone_benches::Dice;
use siltstone_lsm::{
    format::segment::{
        block::{BlockBuilder, BlockCursor},
        seal,
    },
    options::Options,
    types::{SEQUENCE_MAX, Uid},
};

use crate::{Row, VALUES, bytes_of, sorted_rows};

const UID: Uid = Uid([7; 16]);

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("block");
    for (name, value_bytes) in VALUES {
        let rows = rows_of_a_block(value_bytes);
        let elements = rows.len() as u64;
        let whole = Throughput::ElementsAndBytes { elements, bytes: bytes_of(&rows) };
        let block: Arc<[u8]> = encode(&rows).into();
        let cursor = || BlockCursor::new(Arc::clone(&block), Vec::new()).expect("it is a block");

        group.throughput(whole.clone());
        group.bench_function(format!("encode/{name}"), |bencher| {
            bencher.iter(|| encode(&rows));
        });
        group.bench_function(format!("check/{name}"), |bencher| {
            bencher.iter(|| seal::check(&block, UID, 0).expect("it is whole"));
        });
        group.bench_function(format!("iterate/{name}"), |bencher| {
            let mut cursor = cursor();
            bencher.iter(|| assert_eq!(iterate(&mut cursor), rows.len()));
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("seek/{name}"), |bencher| {
            let (mut cursor, mut dice) = (cursor(), Dice::new(1));
            bencher.iter(|| seek(&mut cursor, &rows, &mut dice));
        });
    }
    group.finish();
}

/// As many rows as a block of the default size takes.
fn rows_of_a_block(value_bytes: usize) -> Vec<Row> {
    let mut builder = BlockBuilder::default();
    let mut rows = sorted_rows(64, value_bytes);
    let limit = Options::default().block_bytes - value_bytes;
    let fit = rows.iter().take_while(|row| {
        builder.add(row.entry());
        builder.stored_bytes() <= limit
    });
    let count = fit.count();
    rows.truncate(count);
    rows
}

fn encode(rows: &[Row]) -> Vec<u8> {
    let mut builder = BlockBuilder::default();
    for row in rows {
        builder.add(row.entry());
    }
    let mut block = builder.finish();
    seal::seal(&mut block, UID, 0);
    block
}

fn iterate(cursor: &mut BlockCursor) -> usize {
    let mut count = 0;
    cursor.seek_first().expect("it is a block");
    while let Some(entry) = cursor.entry() {
        black_box(entry);
        count += 1;
        cursor.advance().expect("it is a block");
    }
    count
}

fn seek(cursor: &mut BlockCursor, rows: &[Row], dice: &mut Dice) {
    let index = usize::try_from(dice.below(rows.len() as u64)).expect("a block has few rows");
    cursor.seek(&rows[index].key, SEQUENCE_MAX).expect("it is a block");
    assert!(cursor.entry().is_some_and(|entry| entry.key == rows[index].key), "the row is there");
}
