use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TREE: TreeId = TreeId(7);

/// All entries by tree, key and descending sequence; a delete has no value.
type Model = BTreeMap<(TreeId, Vec<u8>, std::cmp::Reverse<Sequence>), Option<Vec<u8>>>;

fn entries_forward(memtable: &Arc<Memtable>, tree: TreeId) -> Vec<(Vec<u8>, Sequence)> {
    let mut cursor = memtable.cursor(tree);
    let mut seen = Vec::new();
    cursor.seek_first().unwrap();
    while let Some(entry) = cursor.entry() {
        seen.push((entry.key.to_vec(), entry.sequence));
        cursor.next().unwrap();
    }
    seen
}

fn entries_backward(memtable: &Arc<Memtable>, tree: TreeId) -> Vec<(Vec<u8>, Sequence)> {
    let mut cursor = memtable.cursor(tree);
    let mut seen = Vec::new();
    cursor.seek_last().unwrap();
    while let Some(entry) = cursor.entry() {
        seen.push((entry.key.to_vec(), entry.sequence));
        cursor.prev().unwrap();
    }
    seen
}

#[test]
fn get_finds_the_newest_version_up_to_the_sequence() {
    let memtable = Memtable::new();
    memtable.put(TREE, b"key", 10, b"ten");
    memtable.put(TREE, b"key", 20, b"twenty");
    memtable.delete(TREE, b"key", 30);
    let get = |sequence| {
        memtable
            .get(TREE, b"key", sequence)
            .map(|(found, kind, value)| (found, kind, value.to_vec()))
    };
    assert_eq!(get(9), None);
    assert_eq!(get(10), Some((10, EntryKind::Put, b"ten".to_vec())));
    assert_eq!(get(29), Some((20, EntryKind::Put, b"twenty".to_vec())));
    assert_eq!(get(30), Some((30, EntryKind::Delete, Vec::new())));
    assert!(memtable.get(TREE, b"ke", 30).is_none());
    assert!(memtable.get(TREE, b"keys", 30).is_none());
    assert!(memtable.get(TREE.next(), b"key", 30).is_none());
}

#[test]
fn trees_are_listed_once_also_those_with_range_tombstones_only() {
    let memtable = Memtable::new();
    assert!(memtable.is_empty());
    for tree in [3, u64::MAX, 3, 1] {
        memtable.put(TreeId(tree), b"key", tree, b"");
    }
    memtable.put(TreeId(3), b"other", 8, b"");
    let all = RangeTombstone { start: Vec::new(), end: None, sequence: 9 };
    memtable.delete_range(TreeId(2), all);
    assert_eq!(memtable.trees(), [1, 2, 3, u64::MAX].map(TreeId));
    assert!(!memtable.is_empty());
}

#[test]
fn cursors_end_at_the_borders_of_their_tree() {
    let memtable = Arc::new(Memtable::new());
    for tree in [TreeId(0), TREE, TREE.next(), TreeId(u64::MAX)] {
        memtable.put(tree, b"a", 1, b"");
        memtable.put(tree, b"b", 2, b"");
    }
    for tree in [TreeId(0), TREE, TreeId(u64::MAX)] {
        let forward = entries_forward(&memtable, tree);
        assert_eq!(forward, [(b"a".to_vec(), 1), (b"b".to_vec(), 2)]);
        assert_eq!(entries_backward(&memtable, tree), [(b"b".to_vec(), 2), (b"a".to_vec(), 1)]);
    }
    assert_eq!(entries_forward(&memtable, TreeId(1)), []);
    assert_eq!(entries_backward(&memtable, TreeId(1)), []);
}

#[test]
fn values_outlive_the_memtable() {
    let memtable = Memtable::new();
    memtable.put(TREE, b"key", 1, b"value");
    let (_, _, value) = memtable.get(TREE, b"key", 1).expect("it was put");
    drop(memtable);
    assert_eq!(value.as_ref(), b"value");
}

#[test]
fn bytes_grow_with_every_write() {
    let memtable = Memtable::new();
    let mut before = memtable.bytes();
    for sequence in 1..100 {
        let key = [u8::try_from(sequence).unwrap()];
        match sequence % 3 {
            0 => memtable.put(TREE, &key, sequence, b"some value"),
            1 => memtable.delete(TREE, &key, sequence),
            _ => {
                let (start, end) = (key.to_vec(), Some(vec![200]));
                memtable.delete_range(TREE, RangeTombstone { start, end, sequence });
            }
        }
        assert!(memtable.bytes() > before, "write {sequence} is counted");
        before = memtable.bytes();
    }
}

#[test]
fn an_empty_range_deletes_nothing() {
    let memtable = Memtable::new();
    for (start, end) in [(b"b", b"a"), (b"b", b"b")] {
        let (start, end) = (start.to_vec(), Some(end.to_vec()));
        memtable.delete_range(TREE, RangeTombstone { start, end, sequence: 1 });
    }
    assert_eq!(memtable.range_tombstones(TREE, 9), []);
    assert!(memtable.is_empty());
}

#[test]
fn readers_see_a_fixed_sequence_while_one_writer_adds() {
    let memtable = Arc::new(Memtable::new());
    for key in 0..100_u8 {
        memtable.put(TREE, &[key], u64::from(key) + 1, &[key]);
    }
    let visible = 100;
    std::thread::scope(|scope| {
        let writer = Arc::clone(&memtable);
        scope.spawn(move || {
            for sequence in 101..5000_u64 {
                let key = u8::try_from(sequence % 100).unwrap();
                writer.put(TREE, &[key], sequence, b"later");
            }
        });
        for _ in 0..2 {
            let reader = Arc::clone(&memtable);
            scope.spawn(move || {
                for _ in 0..20 {
                    let all = entries_forward(&reader, TREE);
                    assert_eq!(all.iter().filter(|(_, s)| *s <= visible).count(), 100);
                    for key in 0..100_u8 {
                        let (found, _, value) = reader.get(TREE, &[key], visible).unwrap();
                        assert_eq!((found, value.as_ref()), (u64::from(key) + 1, &[key][..]));
                    }
                }
            });
        }
    });
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few bytes and lengths around eight, where heads of keys stop telling them apart.
    prop_oneof![
        prop::collection::vec(0_u8..3, 1..4),
        prop::collection::vec(0_u8..2, 7..11),
        prop::collection::vec(Just(0_u8), 1..12),
    ]
}

proptest! {
    #[test]
    fn cursors_match_a_btreemap_in_both_directions(
        writes in prop::collection::vec((0_u64..3, key(), any::<bool>()), 0..200),
        moves in prop::collection::vec((key(), 0_u64..200, 0_u8..6), 0..40),
    ) {
        let memtable = Arc::new(Memtable::new());
        let mut model = Model::new();
        for (sequence, (tree, key, put)) in (1_u64..).zip(writes) {
            let tree = TreeId(tree);
            let value = put.then(|| key.clone());
            match &value {
                Some(value) => memtable.put(tree, &key, sequence, value),
                None => memtable.delete(tree, &key, sequence),
            }
            model.insert((tree, key, std::cmp::Reverse(sequence)), value);
        }
        let tree = TreeId(1);
        let order: Vec<_> = model
            .iter()
            .filter(|((of, _, _), _)| *of == tree)
            .map(|((_, key, sequence), value)| (key.clone(), sequence.0, value.clone()))
            .collect();
        let mut cursor = memtable.cursor(tree);
        let mut at: Option<usize> = None;
        for (key, sequence, kind) in moves {
            let before = order.partition_point(|(k, s, _)| {
                (k.as_slice(), std::cmp::Reverse(*s)) < (key.as_slice(), std::cmp::Reverse(sequence))
            });
            match kind {
                0 => { cursor.seek_first().unwrap(); at = Some(0); }
                1 => { cursor.seek_last().unwrap(); at = order.len().checked_sub(1); }
                2 => { cursor.seek(&key, sequence).unwrap(); at = Some(before); }
                3 => { cursor.seek_before(&key, sequence).unwrap(); at = before.checked_sub(1); }
                4 if cursor.entry().is_some() => { cursor.next().unwrap(); at = at.map(|at| at + 1); }
                5 if cursor.entry().is_some() => {
                    cursor.prev().unwrap();
                    at = at.and_then(|at| at.checked_sub(1));
                }
                _ => {}
            }
            at = at.filter(|at| *at < order.len());
            let expected = at.map(|at| order[at].clone());
            let found = cursor.entry().map(|entry| {
                let value = (entry.kind == EntryKind::Put).then(|| entry.value.to_vec());
                (entry.key.to_vec(), entry.sequence, value)
            });
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn range_tombstones_match_a_plain_list(
        ranges in prop::collection::vec((0_u8..12, 0_u8..14), 0..30),
        sequence in 0_u64..35,
    ) {
        let memtable = Memtable::new();
        let mut list = Vec::new();
        for (at, (start, end)) in (1_u64..).zip(ranges) {
            // Key 12 as an end stands for none, 0 as a start for the first key.
            let end = (end < 12).then(|| vec![end]);
            let start = if start == 0 { Vec::new() } else { vec![start] };
            let tombstone = RangeTombstone { start, end, sequence: at };
            memtable.delete_range(TREE, tombstone.clone());
            list.push(tombstone);
        }
        let snapshot = memtable.range_tombstones(TREE, sequence);
        let apart = snapshot
            .is_sorted_by(|left, right| left.end.as_ref().is_some_and(|end| *end <= right.start));
        prop_assert!(apart);
        for key in (0_u8..14).flat_map(|key| [vec![key], vec![key, 0]]) {
            let covering = list.iter().filter(|t| t.sequence <= sequence && t.covers(&key));
            let newest = covering.map(|t| t.sequence).max().unwrap_or(0);
            prop_assert_eq!(memtable.covering(TREE, &key, sequence), newest);
            let listed = snapshot.iter().find(|t| t.covers(&key)).map_or(0, |t| t.sequence);
            prop_assert_eq!(listed, newest);
        }
    }
}
