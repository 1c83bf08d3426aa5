//! Criterion benches of the parts that every write and read passes, each alone and in memory: the
//! memtable, a block, a segment, the frames of the write-ahead log.
//!
//! They use the modules of the engine as any crate may; rows have 16-byte keys and values of 100
//! bytes or 1 KiB. Throughput is bytes of keys and values, or entries where bytes are not touched.

mod block;
mod memtable;
mod segment;
mod wal;

use std::{hint::black_box, time::Duration};

use criterion::Criterion;
use siltstone_benches::{KEY_BYTES, fill_value, key};
use siltstone_lsm::{
    cursor::Cursor,
    types::{Entry, EntryKind},
};

/// Bytes of the values, and how benches are named after them.
const VALUES: [(&str, usize); 2] = [("100B", 100), ("1KiB", 1024)];

/// Of each bench; short, so that all of them take less than three minutes.
const WARM_UP_TIME: Duration = Duration::from_secs(1);
const MEASURED_TIME: Duration = Duration::from_secs(3);

fn main() {
    let criterion = Criterion::default().warm_up_time(WARM_UP_TIME).measurement_time(MEASURED_TIME);
    let mut criterion = criterion.configure_from_args();
    memtable::bench(&mut criterion);
    block::bench(&mut criterion);
    segment::bench(&mut criterion);
    wal::bench(&mut criterion);
    criterion.final_summary();
}

/// A row of a bench.
struct Row {
    key: [u8; KEY_BYTES],
    value: Vec<u8>,
}

impl Row {
    /// The row as an entry of a block or segment.
    fn entry(&self) -> Entry<'_> {
        Entry { key: &self.key, sequence: 1, kind: EntryKind::Put, value: &self.value }
    }
}

/// The first `count` rows, in the order of their numbers; by keys they are in no order.
fn rows(count: u64, value_bytes: usize) -> Vec<Row> {
    let row = |index| {
        let mut value = vec![0; value_bytes];
        fill_value(&mut value, index, 1);
        Row { key: key(index), value }
    };
    (0..count).map(row).collect()
}

/// The first `count` rows, by their keys.
fn sorted_rows(count: u64, value_bytes: usize) -> Vec<Row> {
    let mut rows = rows(count, value_bytes);
    rows.sort_unstable_by_key(|row| row.key);
    rows
}

/// Bytes of keys and values.
fn bytes_of(rows: &[Row]) -> u64 {
    rows.iter().map(|row| (row.key.len() + row.value.len()) as u64).sum()
}

/// Walks all entries; how many there are.
fn iterate(cursor: &mut dyn Cursor) -> u64 {
    let mut count = 0;
    cursor.seek_first().expect("memory does not fail");
    while let Some(entry) = cursor.entry() {
        black_box(entry);
        count += 1;
        cursor.next().expect("memory does not fail");
    }
    count
}
