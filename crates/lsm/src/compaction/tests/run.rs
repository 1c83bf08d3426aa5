//! What a compaction and a flush write.

use std::{ops::RangeInclusive, sync::Arc};

use siltstone_io::{disk::Disk, sim::SimDisk};

use super::world::World;
use crate::{
    compaction::{Job, TreeJob, pick::pick},
    error::ErrorKind,
    options::Options,
    output::{ALIGNED_BYTES_MIN, rewrite::Tombstones},
    types::TreeId,
};

const TREE: TreeId = TreeId(1);

/// Merges all of some levels of the tree into the next.
fn push_all(world: &mut World, levels: RangeInclusive<usize>, tombstones: Tombstones) {
    let tree = world.version.tree(TREE).expect("it has segments");
    let inputs: Vec<_> = levels.clone().flat_map(|level| tree.level(level).to_vec()).collect();
    let to_level = u8::try_from(*levels.end()).unwrap().max(1);
    let job = TreeJob { tree: TREE, inputs, to_level, tombstones, trivial_move: false };
    world.run(&Job { trees: vec![job] });
}

#[test]
fn ten_thousand_trees_with_one_row_flush_into_one_file() {
    let mut world = World::new(Options::default());
    for tree in 1..=10_000 {
        world.put(TreeId(tree), b"key", &tree.to_le_bytes());
    }
    let before = world.disk.operations();
    world.flush();
    assert_eq!(world.version.file_count(), 1);
    assert_eq!(world.version.segment_count(), 10_000);
    let file = world.version.files().next().unwrap();
    assert!(file.length < 10_000 * 400, "{} bytes", file.length);
    assert!(world.disk.operations() - before < 20, "one file, one sync, one folder");
    let reader = world.reader();
    for tree in [1, 2, 777, 10_000] {
        reader.check(&world.opener, TreeId(tree), &[b"key".to_vec(), b"other".to_vec()]);
    }

    // Their compaction is one job and one file, too.
    for tree in 1..=10_000 {
        world.put(TreeId(tree), b"other", b"");
    }
    world.options.level0_segments_compact = 2;
    world.flush();
    let job = pick(&world.version, &world.options).expect("all of level 0 is due");
    assert_eq!(job.trees.len(), 10_000);
    world.run(&job);
    assert_eq!(world.version.file_count(), 1);
    assert_eq!(world.version.segment_count(), 10_000);
    assert!(!world.compact_once());
    let reader = world.reader();
    reader.check(&world.opener, TreeId(777), &[b"key".to_vec(), b"other".to_vec()]);
}

#[test]
fn a_tombstone_survives_until_the_last_level() {
    let mut world = World::tiny();
    world.put(TREE, b"a", b"old");
    world.put(TREE, b"b", b"old");
    world.flush();
    push_all(&mut world, 0..=1, Tombstones::Drop);
    push_all(&mut world, 1..=2, Tombstones::Drop);
    push_all(&mut world, 2..=3, Tombstones::Drop);
    assert_eq!(world.counts(TREE), (2, 0, 0));

    world.delete(TREE, b"a");
    world.delete_range(TREE, b"b", Some(b"c"));
    world.flush();
    assert_eq!(world.counts(TREE), (2, 1, 1));
    push_all(&mut world, 0..=1, Tombstones::Keep);
    assert_eq!(world.counts(TREE), (2, 1, 1));
    push_all(&mut world, 1..=2, Tombstones::Keep);
    assert_eq!(world.counts(TREE), (2, 1, 1));
    world.reader().check(&world.opener, TREE, &[b"a".to_vec(), b"b".to_vec()]);
    push_all(&mut world, 2..=3, Tombstones::Drop);
    assert_eq!(world.version.segment_count(), 0, "nothing is left of the tree");
    assert_eq!(world.version.file_count(), 0);
}

#[test]
fn a_flush_keeps_the_newest_version_and_what_deletes_older_ones() {
    let mut world = World::tiny();
    for value in [b"one", b"two"] {
        world.put(TREE, b"a", value);
        world.put(TREE, b"b", value);
    }
    world.delete(TREE, b"b");
    world.delete_range(TREE, b"c", Some(b"d"));
    world.put(TREE, b"c", b"after");
    world.put(TREE, b"d1", b"");
    world.delete_range(TREE, b"d", Some(b"e"));
    world.flush();
    // a, the delete of b, c after its range; the two ranges stay apart by their sequences.
    assert_eq!(world.counts(TREE), (2, 1, 2));
}

#[test]
fn an_empty_memtable_flushes_to_nothing() {
    let mut world = World::tiny();
    world.flush();
    assert_eq!(world.version.file_count(), 0);
    assert_eq!(world.orphans(), Vec::<String>::new());
}

#[test]
fn large_segments_start_on_a_page_and_small_ones_are_packed() {
    let mut world = World::new(Options { segment_bytes_max: 300 << 10, ..Options::default() });
    for tree in [1, 3, 5] {
        world.put(TreeId(tree), b"small", b"row");
        for row in 0..700_u32 {
            world.put(TreeId(tree + 1), &row.to_le_bytes(), &[7; 1000]);
        }
    }
    world.flush();
    let mut end = 0;
    let file = world.version.file_uses().next().expect("one file");
    for segment in file.segments.values() {
        assert!(segment.meta.length < 310 << 10, "cut at the limit");
        if segment.meta.length >= ALIGNED_BYTES_MIN as u64 {
            assert_eq!(segment.offset % 4096, 0);
        } else {
            assert_eq!(segment.offset, end, "no gap before a small segment");
        }
        end = segment.end();
    }
    assert_eq!(file.handle.length, end);
    assert_eq!(world.version.tree(TreeId(2)).unwrap().level(0).len(), 3);
}

#[test]
fn a_clear_deletes_segments_without_reading_them() {
    let mut world = World::new(Options { segment_bytes_max: 4000, ..Options::default() });
    for row in 0..500_u32 {
        world.put(TREE, &row.to_le_bytes(), &[1; 100]);
    }
    world.flush();
    world.delete_range(TREE, b"", None);
    world.flush();
    // Damage every block of the old segments: who reads one fails.
    let old = Arc::clone(world.version.tree(TREE).unwrap().level(0).last().unwrap());
    let path = format!("files/{:016x}.seg", old.file.id.0);
    for offset in (0..old.file.length - 400).step_by(50) {
        world.disk.flip(&path, offset, 3).unwrap();
    }
    world.compact();
    assert_eq!(world.version.segment_count(), 0);
}

#[test]
fn range_tombstones_are_cut_where_outputs_are_cut() {
    let mut world = World::new(Options { segment_bytes_max: 2000, ..Options::default() });
    world.put(TREE, b"k0500", b"old and deeper");
    world.put(TREE, b"z", b"old and deeper");
    world.flush();
    push_all(&mut world, 0..=1, Tombstones::Drop);
    push_all(&mut world, 1..=2, Tombstones::Drop);
    world.delete_range(TREE, b"k", Some(b"l"));
    for row in 0..1000_u32 {
        world.put(TREE, format!("k{row:04}x").as_bytes(), &[1; 20]);
    }
    world.flush();
    push_all(&mut world, 0..=1, Tombstones::Keep);
    let tree = world.version.tree(TREE).unwrap();
    assert!(tree.level(1).len() > 5, "many outputs");
    for pair in tree.level(1).windows(2) {
        assert_eq!(pair[0].meta.key_max.as_ref(), Some(&pair[1].meta.key_min), "they touch");
        assert_eq!(pair[0].meta.counts.range_deletes, 1);
    }
    let probes = [b"k0500".to_vec(), b"k0500x".to_vec(), b"z".to_vec()];
    world.reader().check(&world.opener, TREE, &probes);
    // Each piece goes down alone, and what it covers goes with the right one.
    while world.version.tree(TREE).unwrap().level(1).len() > 1 {
        world.options.level1_bytes = 1;
        assert!(world.compact_once());
        world.reader().check(&world.opener, TREE, &probes);
    }
}

#[test]
fn a_cancelled_job_leaves_no_file() {
    let mut world = World::tiny();
    for round in 0..4 {
        for row in 0..200_u32 {
            world.put(TREE, &row.to_le_bytes(), &[round; 40]);
        }
        world.flush();
    }
    let job = pick(&world.version, &world.options).expect("level 0 is due");
    for asked in 0.. {
        let mut left = asked;
        let mut go_on = || {
            left -= 1;
            left >= 0
        };
        if world.try_run(&job, &mut go_on).unwrap().is_some() {
            assert!(asked > 3, "it is asked between blocks");
            return;
        }
        assert_eq!(world.orphans(), Vec::<String>::new(), "cancelled after {asked}");
    }
}

#[test]
fn every_failing_operation_leaves_no_file_and_the_inputs_whole() {
    for fails_after in 0.. {
        let mut world = World::tiny();
        for round in 0..3 {
            for row in 0..60_u32 {
                world.put(TREE, &row.to_le_bytes(), &[round; 40]);
            }
            world.flush();
        }
        let job = pick(&world.version, &world.options).expect("level 0 is due");
        world.disk.set_capacity(used_bytes(&world.disk) + fails_after * 4096);
        match world.try_run(&job, &mut || true) {
            Ok(edit) => {
                assert!(fails_after > 2, "a small disk is full");
                world.apply(edit.expect("nobody cancels"));
                world.reap();
                let probes: Vec<_> = (0..60_u32).map(|row| row.to_le_bytes().to_vec()).collect();
                world.reader().check(&world.opener, TREE, &probes);
                return;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace),
        }
        assert_eq!(world.orphans(), Vec::<String>::new(), "full after {fails_after} pages");
        world.disk.set_capacity(1 << 40);
        world.compact();
    }
}

fn used_bytes(disk: &SimDisk) -> u64 {
    let files = disk.paths().into_iter().filter_map(|path| disk.read_file(&path));
    files.map(|bytes| (bytes.len() as u64).next_multiple_of(4096)).sum()
}

#[test]
fn files_are_bounded_by_bytes_however_trees_take_turns() {
    let mut world = World::new(Options { segment_bytes_max: 1 << 20, ..Options::default() });
    for round in 0..60_u64 {
        for tree in (round % 7..100).step_by(7) {
            let key = (round * 1000 + tree).to_le_bytes();
            world.put(TreeId(tree), &key, &[9; 100]);
        }
        world.flush();
        world.compact();
        world.reap();
        let bytes: u64 = world.version.files().map(|file| file.length).sum();
        let files = world.version.file_count() as u64;
        assert!(files <= 24 + bytes / (1 << 18), "{files} files for {bytes} bytes");
    }
    for tree in [0, 1, 50, 99] {
        world.reader().check(&world.opener, TreeId(tree), &[]);
    }
    assert!(world.disk.list(&crate::format::names::top("files")).unwrap().len() < 40);
}
