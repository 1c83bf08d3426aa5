//! Real threads on a real disk: batches stay whole, snapshots agree, cuts are consistent, and a
//! reopen finds what was acknowledged.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use siltstone_lsm::{
    batch::Batch,
    error::ErrorKind,
    options::{Durability, Options},
    store::{Snapshot, Store},
    types::TreeId,
};

const ACCOUNTS: u64 = 16;
const START: i64 = 100;

fn small_options() -> Options {
    let mut options = Options::default();
    options.memtable_bytes_max = 64 << 10;
    options.cache_bytes_max = 256 << 10;
    options.segment_bytes_max = 64 << 10;
    options.level1_bytes = 128 << 10;
    options
}

fn account(tree: TreeId, index: u64, balance: i64, batch: &mut Batch) {
    let key = format!("account-{index:02}");
    batch.put(tree, key.as_bytes(), balance.to_string().as_bytes()).unwrap();
}

fn balances(snapshot: &Snapshot, tree: TreeId) -> Vec<i64> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    let rows = snapshot.scan(tree, all).unwrap().map(Result::unwrap);
    rows.map(|(_, value)| String::from_utf8(value).unwrap().parse().unwrap()).collect()
}

#[test]
fn transfers_keep_their_sum_in_every_snapshot_and_cut() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), small_options()).unwrap();
    let trees = [store.create_collection("a").unwrap(), store.create_collection("b").unwrap()];
    let mut batch = Batch::new();
    for tree in trees {
        (0..ACCOUNTS).for_each(|index| account(tree, index, START, &mut batch));
    }
    store.write(batch, Durability::Sync).unwrap();
    let stop = AtomicBool::new(false);
    let checks = AtomicU64::new(0);
    let sum = |snapshot: &Snapshot| -> i64 {
        trees.iter().map(|tree| balances(snapshot, *tree).iter().sum::<i64>()).sum()
    };
    let expected = START * i64::try_from(ACCOUNTS * 2).unwrap();
    thread::scope(|scope| {
        // One thread moves money between the collections; a second writes rows that do not count.
        scope.spawn(|| {
            let mut amounts = BTreeMap::new();
            for round in 0_u64.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let (from, to) = (round % ACCOUNTS, round * 7 % ACCOUNTS);
                let amount = i64::try_from(round % 5).unwrap();
                *amounts.entry((0, from)).or_insert(START) -= amount;
                *amounts.entry((1, to)).or_insert(START) += amount;
                let mut batch = Batch::new();
                account(trees[0], from, amounts[&(0, from)], &mut batch);
                account(trees[1], to, amounts[&(1, to)], &mut batch);
                let durability =
                    if round % 3 == 0 { Durability::Sync } else { Durability::Buffered };
                store.write(batch, durability).unwrap();
            }
        });
        scope.spawn(|| {
            let filler = store.create_collection("filler").unwrap();
            for round in 0_u64.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let key = format!("{:05}", round * 7919 % 50_000);
                store.put(filler, key.as_bytes(), &[b'x'; 300], Durability::Buffered).unwrap();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(sum(&store.snapshot()), expected);
                checks.fetch_add(1, Ordering::SeqCst);
            }
        });
        for _ in 0..10 {
            let cut = store.cut().unwrap();
            let snapshot = store.snapshot_at(&cut).unwrap();
            assert_eq!(sum(&snapshot), expected);
            assert!(cut.segments.iter().all(|s| s.meta.sequence_max <= cut.sequence));
            thread::sleep(std::time::Duration::from_millis(20));
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(checks.into_inner() > 0);
    let last = sum(&store.snapshot());
    store.close().unwrap();
    drop(store);
    let store = Store::open(folder.path(), small_options()).unwrap();
    assert_eq!(sum(&store.snapshot()), last);
    store.verify(&mut |_, _| ()).unwrap();
}

#[test]
fn many_writers_share_syncs_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), small_options()).unwrap();
    let tree = store.create_collection("a").unwrap();
    thread::scope(|scope| {
        for writer in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for counter in 0..200 {
                    let key = format!("{writer}-{counter:04}");
                    store.put(tree, key.as_bytes(), key.as_bytes(), Durability::Sync).unwrap();
                    let seen = store.get(tree, key.as_bytes()).unwrap();
                    assert!(seen.is_some(), "a writer reads its own commit");
                }
            });
        }
    });
    let metrics = store.metrics();
    assert_eq!(metrics.commits, 1600);
    assert!(metrics.groups <= metrics.commits);
    assert!(metrics.syncs < metrics.commits, "{metrics:?}");
    drop(store); // not closed: the next open replays
    let store = Store::open(folder.path(), small_options()).unwrap();
    let snapshot = store.snapshot();
    let tree = store.tree("a", None).unwrap();
    assert_eq!(snapshot.scan(tree, (Bound::Unbounded, Bound::Unbounded)).unwrap().count(), 1600);
}

#[test]
fn a_second_open_is_refused_and_names_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), small_options()).unwrap();
    let link = folder.path().with_extension("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    for path in [folder.path(), link.as_path()] {
        let refused = Store::open(path, small_options()).expect_err("it is open");
        assert_eq!(refused.kind(), ErrorKind::Locked);
        let pid = std::process::id().to_string();
        assert!(refused.to_string().contains(&pid), "{refused}");
    }
    std::fs::remove_file(&link).unwrap();
    drop(store);
    Store::open(folder.path(), small_options()).unwrap();
}

#[test]
fn an_absent_store_is_not_made_unless_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = small_options();
    options.create = false;
    for path in [folder.path().to_path_buf(), folder.path().join("nowhere")] {
        let error = Store::open(&path, options.clone()).expect_err("there is no store");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

#[test]
fn limits_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), small_options()).unwrap();
    let tree = store.create_collection("a").unwrap();
    let long = vec![b'k'; 65_536];
    let refused = store.put(tree, &long, b"", Durability::Sync).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("65535"), "{refused}");
    for name in ["", "a/b", "tab\tbed", &"n".repeat(300)] {
        assert_eq!(store.create_collection(name).unwrap_err().kind(), ErrorKind::Invalid, "{name}");
    }
    assert_eq!(store.create_collection("a").unwrap_err().kind(), ErrorKind::Exists);
    store.drop_collection("a").unwrap();
    assert_eq!(
        store.put(tree, b"k", b"v", Durability::Sync).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(store.get(tree, b"k").unwrap_err().kind(), ErrorKind::NotFound);
    store.close().unwrap();
    assert_eq!(store.create_collection("b").unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn ten_thousand_tenants_flush_into_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Options::default()).unwrap();
    store.create_collection("shared").unwrap();
    let names: Vec<String> = (0..10_000).map(|i| format!("tenant-{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let trees = store.create_tenants("shared", &names).unwrap();
    for tree in &trees {
        store.put(*tree, b"key", b"value", Durability::Buffered).unwrap();
    }
    let before = store.metrics().files;
    let cut = store.cut().unwrap();
    assert_eq!(cut.segments.len(), trees.len());
    assert!(store.metrics().files - before <= 3, "{:?}", store.metrics());
}

#[test]
fn idle_stores_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path(), small_options()).unwrap());
    let tree = store.create_collection("a").unwrap();
    (0..100_u32).for_each(|i| {
        store.put(tree, &i.to_le_bytes(), &[1; 2000], Durability::Sync).unwrap();
    });
    store.flush().unwrap();
    let written = || {
        let io = std::fs::read_to_string("/proc/self/io").unwrap();
        io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse::<u64>().unwrap()
    };
    // Other tests of this process write too: several quiet windows are tried.
    let quiet = (0..200).any(|_| {
        let before = written();
        thread::sleep(std::time::Duration::from_millis(50));
        written() == before
    });
    assert!(quiet, "an idle store goes on writing");
}
