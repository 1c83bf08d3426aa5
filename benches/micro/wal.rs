//! The write-ahead log: encoding batches, and frames around them. What the disk costs is left out.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use siltstone_lsm::{
    batch::Batch,
    format::wal::{
        FRAMES_START, FrameKind, Meta, PAYLOAD_BYTES_MAX, Part, Position, Salt, encode_frame,
    },
    types::TreeId,
};

use crate::{Row, VALUES, bytes_of, rows};

const TREE: TreeId = TreeId(1);
const SALT: Salt = [7; 16];

/// Rows of a small batch and of a large one; both fit a frame.
const BATCHES: [u64; 2] = [1, 500];

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal");
    for (name, value_bytes) in VALUES {
        for count in BATCHES {
            let rows = rows(count, value_bytes);
            let encoded = encode(&rows, Batch::new());
            assert!(encoded.encoded().len() <= PAYLOAD_BYTES_MAX, "the batch fits a frame");
            let bytes = bytes_of(&rows);
            group.throughput(Throughput::ElementsAndBytes { elements: count, bytes });

            group.bench_function(format!("batch of {count}/{name}"), |bencher| {
                let mut memory = Batch::new();
                bencher.iter(|| memory = encode(&rows, std::mem::take(&mut memory)));
            });
            group.bench_function(format!("frame of {count}/{name}"), |bencher| {
                let mut out = Vec::new();
                bencher.iter(|| frame(&encoded, &mut out));
            });
        }
    }
    group.finish();
}

/// The rows as one batch, in memory that was used before.
fn encode(rows: &[Row], mut batch: Batch) -> Batch {
    batch.clear();
    for row in rows {
        batch.put(TREE, &row.key, &row.value).expect("the rows keep the limits");
    }
    batch
}

/// One frame around a batch, in memory that was used before.
fn frame(batch: &Batch, out: &mut Vec<u8>) {
    let meta = Meta {
        kind: FrameKind::Batch,
        part: Part::Full,
        padded: false,
        operations: batch.operations(),
        first_sequence: 1,
        synced_upto: Position::default(),
        rolling_crc: 0,
    };
    out.clear();
    black_box(encode_frame(out, FRAMES_START, &SALT, (&meta, batch.encoded())));
}
