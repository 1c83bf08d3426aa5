//! What views, snapshots and cuts keep on disk is known to the byte, and comes back when they go.

use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};

use siltstone_io::{env::Env, sim::SimDisk};
use siltstone_lsm::{
    format::names,
    options::{Background, Durability},
    store::{Metrics, Step, Store},
};

use crate::script::small_options;

struct Bench {
    disk: SimDisk,
    store: Store,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self::with(seed, Background::Manual)
    }

    fn with(seed: u64, background: Background) -> Self {
        let (disk, mut options) = (SimDisk::new(seed), small_options());
        options.background = background;
        let store = Store::open_on(Env::seeded(Arc::new(disk.clone()), seed), options);
        Self { disk, store: store.unwrap() }
    }

    fn fill(&self, collection: &str, rows: usize, round: usize) {
        let tree = self.store.tree(collection, None).unwrap();
        for row in 0..rows {
            let (key, value) = (format!("key-{row:03}"), format!("{round}-").repeat(30));
            self.store.put(tree, key.as_bytes(), value.as_bytes(), Durability::Buffered).unwrap();
        }
        self.store.flush().unwrap();
    }

    /// Bytes of the files of segments on the disk.
    fn disk_bytes(&self) -> u64 {
        let files = self.disk.paths().into_iter().filter(|path| {
            let name = path.strip_prefix(&format!("{}/", names::FILES));
            name.is_some_and(|name| names::parse_file(name).is_some())
        });
        // One may be removed just now.
        files.filter_map(|path| self.disk.read_file(&path)).map(|bytes| bytes.len() as u64).sum()
    }

    /// Works off everything, then compares what the metrics say with what is on the disk.
    fn settled(&self) -> Metrics {
        while self.store.step().unwrap() != Step::Idle {}
        let metrics = self.store.metrics();
        let snapshot = self.store.snapshot();
        let live: u64 = snapshot.view().version.files().map(|file| file.length).sum();
        drop(snapshot);
        assert_eq!(self.disk_bytes(), live + metrics.pinned_bytes);
        assert_eq!(metrics.pinned_files == 0, metrics.pinned_bytes == 0);
        metrics
    }
}

#[test]
fn a_snapshot_pins_what_compaction_replaced_until_it_goes() {
    let bench = Bench::new(41);
    bench.store.create_collection("a").unwrap();
    bench.fill("a", 10, 0);
    assert_eq!(bench.settled().pinned_bytes, 0);
    let snapshot = bench.store.snapshot();
    let held: u64 = snapshot.view().version.files().map(|file| file.length).sum();
    for round in 1..5 {
        bench.fill("a", 10, round);
    }
    let pinned = bench.settled();
    assert_eq!(pinned.pinned_bytes, held, "all that it saw was rewritten");
    let again = snapshot.clone();
    drop(snapshot);
    assert_eq!(bench.settled().pinned_bytes, held);
    drop(again);
    assert_eq!(bench.store.metrics().pinned_bytes, 0, "exact before the files are removed");
    assert_eq!(bench.settled().pinned_files, 0);
}

#[test]
fn a_cut_frees_a_file_with_its_last_segment() {
    let bench = Bench::new(42);
    for name in ["a", "b"] {
        bench.store.create_collection(name).unwrap();
    }
    for round in 0..3 {
        bench.fill("a", 4 + round, round); // files of their own, and one that both share
    }
    bench.fill("b", 6, 0);
    let mut cut = bench.store.cut().unwrap();
    cut.view = None;
    for name in ["a", "b"] {
        bench.store.drop_collection(name).unwrap();
    }
    let mut before = bench.settled();
    let files: BTreeMap<_, _> =
        cut.segments.iter().map(|segment| (segment.file.id, segment.file.length)).collect();
    assert_eq!(before.pinned_bytes, files.values().sum());
    let mut releases = 0;
    while let Some(segment) = cut.segments.pop() {
        let (file, length) = (segment.file.id, segment.file.length);
        let is_last = cut.segments.iter().all(|other| other.file.id != file);
        drop(segment);
        let after = bench.settled();
        let freed = if is_last { length } else { 0 };
        assert_eq!(after.pinned_bytes, before.pinned_bytes - freed, "{file}, last: {is_last}");
        (before, releases) = (after, releases + 1);
    }
    assert!(releases >= 2 && before.pinned_bytes == 0);
}

#[test]
fn segments_beside_live_ones_are_not_counted_as_pinned() {
    let bench = Bench::new(43);
    let (a, b) =
        (bench.store.create_collection("a").unwrap(), bench.store.create_collection("b").unwrap());
    for tree in [a, b] {
        bench.store.put(tree, b"key", &[7; 300], Durability::Sync).unwrap();
    }
    bench.store.flush().unwrap(); // one file of two segments
    let snapshot = bench.store.snapshot();
    bench.store.drop_collection("a").unwrap();
    assert_eq!(bench.store.metrics().pinned_bytes, 0, "the file is still part of the store");
    bench.store.drop_collection("b").unwrap();
    let pinned = bench.settled();
    assert_eq!(pinned.pinned_files, 1);
    assert_eq!(snapshot.get(a, b"key").unwrap().as_deref(), Some(&[7; 300][..]));
    drop(snapshot);
    assert_eq!(bench.settled().pinned_bytes, 0);
}

#[test]
fn what_a_snapshot_held_leaves_the_disk_of_a_store_where_nothing_else_happens() {
    let bench = Bench::with(44, Background::Threads);
    bench.store.create_collection("a").unwrap();
    for round in 0..4 {
        bench.fill("a", 10, round);
    }
    let snapshot = bench.store.snapshot();
    bench.store.drop_collection("a").unwrap();
    let comes_true = |holds: &dyn Fn() -> bool| {
        (0..1000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            holds()
        })
    };
    let (files, pinned) = (|| bench.disk_bytes(), || bench.store.metrics().pinned_bytes);
    assert!(comes_true(&|| files() == pinned()), "the threads have done what there was to do");
    assert!(pinned() > 0);
    thread::sleep(Duration::from_millis(100)); // and sleep by now
    drop(snapshot);
    assert!(comes_true(&|| files() == 0), "{} bytes are still there", files());
    assert_eq!(pinned(), 0);
}
