use std::collections::BTreeSet;

use siltstone_io::{
    disk::{Disk, ReadMode},
    env::Env,
    sim::SimDisk,
};

use super::*;
use crate::{
    cache::BlockCache,
    error::ErrorKind,
    flush,
    format::names,
    options::Options,
    types::{FileId, RangeTombstone},
    version::edit::VersionEdit,
};

const TREE: TreeId = TreeId(3);

struct Fixture {
    disk: SimDisk,
    opener: SegmentOpener,
    view: Arc<View>,
}

/// Fifty rows of a flushed memtable, with sequences from 1 on, under an empty memtable.
fn fixture() -> Fixture {
    let disk = SimDisk::new(1);
    disk.create_dir(&names::top(names::FILES)).unwrap();
    let env = Env::seeded(Arc::new(disk.clone()), 1);
    let memtable = Arc::new(Memtable::new());
    for row in 0..50_u8 {
        memtable.put(TREE, &[row], u64::from(row) + 1, &[row; 100]);
    }
    let options = Options { block_bytes: 512, ..Options::default() };
    let trees = BTreeSet::from([TREE]);
    let context = flush::Context { env: &env, options: &options, cache: None };
    let flushed = flush::write(context, &memtable, &trees, FileId(1)).unwrap().unwrap();
    let mut edit = VersionEdit::new(Version::default());
    edit.add_file(flushed.file, flushed.length).unwrap();
    for (tree, offset, meta) in flushed.segments {
        edit.add_segment(tree, 0, (flushed.file, offset), meta).unwrap();
    }
    let view = View {
        memtables: vec![Arc::new(Memtable::new())],
        version: Arc::new(edit.finish().unwrap().0),
        catalog: Arc::new(Catalog::default()),
    };
    let cache = Arc::new(BlockCache::new(0));
    let opener = SegmentOpener { disk: env.disk, mode: ReadMode::Direct, cache };
    Fixture { disk, opener, view: Arc::new(view) }
}

impl Fixture {
    fn scan(&self, range: (Bound<Vec<u8>>, Bound<Vec<u8>>), sequence: Sequence) -> Scan {
        self.view.scan(&self.opener, TREE, range, sequence).unwrap()
    }

    fn keys(&self, range: (Bound<Vec<u8>>, Bound<Vec<u8>>), sequence: Sequence) -> Vec<u8> {
        self.scan(range, sequence).map(|row| row.unwrap().0[0]).collect()
    }
}

const ALL: (Bound<Vec<u8>>, Bound<Vec<u8>>) = (Bound::Unbounded, Bound::Unbounded);

#[test]
fn newer_sources_decide_for_older_ones() {
    let at = fixture();
    let memtable = &at.view.memtables[0];
    let get = |key: u8, sequence| at.view.get(&at.opener, TREE, &[key], sequence).unwrap();
    memtable.put(TREE, &[1], 60, b"new");
    memtable.delete(TREE, &[2], 61);
    let (start, end) = (vec![3], Some(vec![5]));
    memtable.delete_range(TREE, RangeTombstone { start, end, sequence: 62 });
    memtable.put(TREE, &[4], 63, b"after");
    assert_eq!(get(1, 70).as_deref(), Some(&b"new"[..]));
    assert_eq!(get(1, 59).as_deref(), Some(&[1; 100][..]));
    assert!(get(2, 70).is_none());
    assert_eq!(get(2, 60).as_deref(), Some(&[2; 100][..]));
    assert!(get(3, 70).is_none());
    assert_eq!(get(3, 61).as_deref(), Some(&[3; 100][..]));
    assert_eq!(get(4, 70).as_deref(), Some(&b"after"[..]));
    assert!(get(4, 62).is_none());
    assert_eq!(get(5, 70).as_deref(), Some(&[5; 100][..]));
    assert!(at.view.get(&at.opener, TREE.next(), &[5], 70).unwrap().is_none());
    let expected: Vec<u8> = (0..50).filter(|key| ![2, 3].contains(key)).collect();
    assert_eq!(at.keys(ALL, 70), expected);
}

#[test]
fn bounds_hold_at_their_edges() {
    let at = fixture();
    let key = |key: u8| vec![key];
    assert_eq!(at.keys((Bound::Included(key(3)), Bound::Excluded(key(6))), 50), [3, 4, 5]);
    assert_eq!(at.keys((Bound::Excluded(key(3)), Bound::Included(key(6))), 50), [4, 5, 6]);
    assert_eq!(at.keys((Bound::Included(key(48)), Bound::Unbounded), 50), [48, 49]);
    assert_eq!(at.keys((Bound::Included(key(6)), Bound::Excluded(key(6))), 50), []);
    assert_eq!(at.keys((Bound::Included(key(6)), Bound::Included(key(3))), 50), []);
    assert_eq!(at.keys((Bound::Excluded(key(6)), Bound::Included(key(6))), 50), []);
    assert_eq!(at.keys((Bound::Included(key(6)), Bound::Included(key(6))), 50), [6]);
    assert_eq!(at.keys((Bound::Included(Vec::new()), Bound::Excluded(key(1))), 50), [0]);
}

#[test]
fn a_damaged_block_fails_once_and_ends_the_scan() {
    let at = fixture();
    let whole: Vec<_> = at.scan(ALL, 50).map(Result::unwrap).collect();
    at.disk.flip("files/0000000000000001.seg", 1200, 0).unwrap();

    let mut forward = at.scan(ALL, 50);
    let before = forward.by_ref().take_while(Result::is_ok).map(Result::unwrap);
    let before: Vec<_> = before.collect();
    assert!(!before.is_empty() && before.len() < 50);
    assert_eq!(before, whole[..before.len()]);
    assert!(forward.next().is_none() && forward.next_back().is_none(), "the error was the end");

    let mut backward = at.scan(ALL, 50);
    let error = backward.find_map(Result::err).expect("the damage is found");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.place().is_some_and(|(file, _)| file.contains("0001.seg")), "{error}");
    let digest = at.view.digest(&at.opener, TREE, 50).expect_err("the damage is found");
    assert_eq!(digest.kind(), ErrorKind::Corrupt);
}

#[test]
fn digests_differ_by_any_row_and_not_by_where_it_lies() {
    let at = fixture();
    let before = at.view.digest(&at.opener, TREE, 50).unwrap();
    assert_eq!((before.rows, before.bytes), (50, 50 * 101));
    at.view.memtables[0].put(TREE, &[7], 60, &[7; 100]);
    assert_eq!(
        at.view.digest(&at.opener, TREE, 60).unwrap(),
        before,
        "the same row, written again"
    );
    at.view.memtables[0].put(TREE, &[7], 61, &[8; 100]);
    assert_ne!(at.view.digest(&at.opener, TREE, 61).unwrap(), before);
    assert_eq!(at.view.digest(&at.opener, TREE, 50).unwrap(), before);
}
