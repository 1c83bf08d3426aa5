//! Replays `fuzz/corpus/` and `fuzz/regressions/`, and keeps the corpus what it should be.

use std::{fs, path::PathBuf};

use siltstone_io::{disk::StreamWriter, error::Result as IoResult};

use crate::{
    segment::{BuildOptions, SegmentBuilder},
    types::{Entry, EntryKind, RangeTombstone, Uid},
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
