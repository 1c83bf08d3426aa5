use std::{cmp::Reverse, sync::Arc};

use proptest::prelude::*;

use super::{
    cover::{Cover, disjoint},
    visible::VisibleCursor,
    *,
};
use crate::{
    error::{Error, ErrorKind},
    types::{EntryKind, RangeTombstone},
};

/// Key, sequence, value; `None` for a delete.
type Owned = (Vec<u8>, Sequence, Option<Vec<u8>>);

/// A cursor over a sorted list, which can be told to fail.
struct ListCursor {
    entries: Vec<Owned>,
    at: Option<usize>,
    moves_until_failure: Option<usize>,
}

impl ListCursor {
    fn new(mut entries: Vec<Owned>) -> Self {
        entries
            .sort_by(|left, right| (&left.0, Reverse(left.1)).cmp(&(&right.0, Reverse(right.1))));
        Self { entries, at: None, moves_until_failure: None }
    }

    fn place(&mut self, at: Option<usize>) -> Result<()> {
        self.at = None;
        match &mut self.moves_until_failure {
            Some(0) => return Err(Error::new(ErrorKind::Io, "told to fail")),
            Some(moves) => *moves -= 1,
            None => {}
        }
        self.at = at.filter(|at| *at < self.entries.len());
        Ok(())
    }

    fn before(&self, key: &[u8], sequence: Sequence) -> usize {
        self.entries
            .partition_point(|(k, s, _)| (k.as_slice(), Reverse(*s)) < (key, Reverse(sequence)))
    }
}

impl Cursor for ListCursor {
    fn seek_first(&mut self) -> Result<()> {
        self.place(Some(0))
    }

    fn seek_last(&mut self) -> Result<()> {
        self.place(self.entries.len().checked_sub(1))
    }

    fn seek(&mut self, key: &[u8], sequence: Sequence) -> Result<()> {
        self.place(Some(self.before(key, sequence)))
    }

    fn seek_before(&mut self, key: &[u8], sequence: Sequence) -> Result<()> {
        self.place(self.before(key, sequence).checked_sub(1))
    }

    fn next(&mut self) -> Result<()> {
        let at = self.at.expect("a cursor moves from an entry");
        self.place(Some(at + 1))
    }

    fn prev(&mut self) -> Result<()> {
        let at = self.at.expect("a cursor moves from an entry");
        self.place(at.checked_sub(1))
    }

    fn entry(&self) -> Option<Entry<'_>> {
        let (key, sequence, value) = &self.entries[self.at?];
        let kind = if value.is_some() { EntryKind::Put } else { EntryKind::Delete };
        Some(Entry { key, sequence: *sequence, kind, value: value.as_deref().unwrap_or_default() })
    }
}

fn boxed(lists: Vec<Vec<Owned>>) -> Vec<Box<dyn Cursor>> {
    lists.into_iter().map(|list| Box::new(ListCursor::new(list)) as Box<dyn Cursor>).collect()
}

/// One move of a cursor.
#[derive(Clone, Debug)]
enum Move {
    First,
    Last,
    Seek(Vec<u8>, Sequence),
    SeekBefore(Vec<u8>, Sequence),
    Next,
    Prev,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0_u8..3, 1..3)
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        1 => Just(Move::First),
        1 => Just(Move::Last),
        2 => (key(), sequence()).prop_map(|(key, sequence)| Move::Seek(key, sequence)),
        2 => (key(), sequence()).prop_map(|(key, sequence)| Move::SeekBefore(key, sequence)),
        8 => Just(Move::Next),
        8 => Just(Move::Prev),
    ]
}

fn sequence() -> impl Strategy<Value = Sequence> {
    prop_oneof![4 => 0_u64..130, 1 => Just(Sequence::MAX)]
}

/// Entries with even sequences of their own, dealt to some lists.
fn dealt() -> impl Strategy<Value = Vec<Vec<Owned>>> {
    let entry =
        (key(), prop::option::weighted(0.8, prop::collection::vec(any::<u8>(), 0..3)), 0..5);
    prop::collection::vec(entry, 0..60).prop_map(|entries| {
        let mut lists = vec![Vec::new(); 5];
        for (sequence, (key, value, list)) in (2_u64..).step_by(2).zip(entries) {
            lists[usize::try_from(list).unwrap()].push((key, sequence, value));
        }
        lists
    })
}

proptest! {
    #[test]
    fn merge_moves_like_one_sorted_list(
        lists in dealt(),
        moves in prop::collection::vec(a_move(), 0..60),
    ) {
        let mut whole = ListCursor::new(lists.concat());
        let mut merge = MergeCursor::new(boxed(lists));
        for step in moves {
            for cursor in [&mut merge as &mut dyn Cursor, &mut whole] {
                match &step {
                    Move::First => cursor.seek_first().unwrap(),
                    Move::Last => cursor.seek_last().unwrap(),
                    Move::Seek(key, sequence) => cursor.seek(key, *sequence).unwrap(),
                    Move::SeekBefore(key, sequence) => cursor.seek_before(key, *sequence).unwrap(),
                    Move::Next if cursor.entry().is_some() => cursor.next().unwrap(),
                    Move::Prev if cursor.entry().is_some() => cursor.prev().unwrap(),
                    Move::Next | Move::Prev => {}
                }
            }
            prop_assert_eq!(merge.entry(), whole.entry());
        }
    }

    #[test]
    fn visible_rows_match_a_plain_search(
        lists in dealt(),
        ranges in prop::collection::vec((key(), prop::option::of(key()), 0_u64..60), 0..6),
        sequence in 0_u64..130,
        moves in prop::collection::vec(a_move(), 0..60),
    ) {
        let tombstones: Vec<RangeTombstone> = ranges
            .into_iter()
            .map(|(start, end, at)| RangeTombstone { start, end, sequence: 2 * at + 1 })
            .collect();
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut entries = lists.concat();
        entries.retain(|(_, s, _)| *s <= sequence);
        entries.sort_by(|left, right| (&left.0, Reverse(left.1)).cmp(&(&right.0, Reverse(right.1))));
        entries.dedup_by(|right, left| left.0 == right.0);
        for (key, found, value) in entries {
            let deleted = tombstones.iter().any(|t| {
                t.sequence <= sequence && t.sequence > found && t.end.as_ref().is_none_or(|e| t.start < *e) && t.covers(&key)
            });
            if let Some(value) = value.filter(|_| !deleted) {
                rows.push((key, value));
            }
        }
        let cover = Arc::new(Cover::new(tombstones, sequence));
        let mut visible = VisibleCursor::new(MergeCursor::new(boxed(lists)), cover, sequence);
        let mut at: Option<usize> = None;
        for step in moves {
            match step {
                Move::First => { visible.seek_first().unwrap(); at = Some(0); }
                Move::Last => { visible.seek_last().unwrap(); at = rows.len().checked_sub(1); }
                Move::Seek(key, _) => {
                    visible.seek(&key).unwrap();
                    at = Some(rows.partition_point(|row| row.0 < key));
                }
                Move::SeekBefore(key, _) => {
                    visible.seek_before(&key).unwrap();
                    at = rows.partition_point(|row| row.0 < key).checked_sub(1);
                }
                Move::Next if at.is_some() => { visible.next().unwrap(); at = at.map(|at| at + 1); }
                Move::Prev if at.is_some() => {
                    visible.prev().unwrap();
                    at = at.and_then(|at| at.checked_sub(1));
                }
                Move::Next | Move::Prev => {}
            }
            at = at.filter(|at| *at < rows.len());
            let expected = at.map(|at| (rows[at].0.as_slice(), rows[at].1.as_slice()));
            prop_assert_eq!(visible.row(), expected);
        }
    }

    #[test]
    fn cover_matches_a_plain_list(
        ranges in prop::collection::vec((key(), prop::option::of(key()), 1_u64..9), 0..12),
        sequence in 0_u64..10,
        from in key(),
        to in prop::option::of(key()),
    ) {
        let list: Vec<RangeTombstone> = ranges
            .into_iter()
            .map(|(start, end, sequence)| RangeTombstone { start, end, sequence })
            .collect();
        let cover = Cover::new(list.clone(), sequence);
        let newest = |key: &[u8]| {
            let over = list.iter().filter(|t| t.sequence <= sequence && t.covers(key));
            over.map(|t| t.sequence).max().unwrap_or(0)
        };
        let clipped: Vec<_> = cover.clip(&from, to.as_deref()).collect();
        prop_assert!(disjoint(&clipped));
        let keys: Vec<Vec<u8>> = (0..4_u8)
            .flat_map(|a| [vec![a], vec![a, 0], vec![a, 1], vec![a, 2], vec![a, 2, 0]])
            .collect();
        for key in &keys {
            prop_assert_eq!(cover.at(key), newest(key));
            let inside = *key >= from && to.as_ref().is_none_or(|to| key < to);
            let clip = clipped.iter().find(|t| t.covers(key)).map_or(0, |t| t.sequence);
            prop_assert_eq!(clip, if inside { newest(key) } else { 0 });
        }
        // It may say no where no key of these is left out, never yes where one is.
        if cover.deletes_all(&from, to.as_deref(), 4) {
            for key in keys.iter().filter(|key| **key >= from) {
                if to.as_ref().is_none_or(|to| key <= to) {
                    prop_assert!(newest(key) > 4);
                }
            }
        }
    }
}

#[test]
fn cover_deletes_all_across_pieces_but_not_across_gaps() {
    let piece = |start: &[u8], end: Option<&[u8]>, sequence| RangeTombstone {
        start: start.to_vec(),
        end: end.map(<[u8]>::to_vec),
        sequence,
    };
    let joined = Cover::new(vec![piece(b"", Some(b"m"), 5), piece(b"m", None, 7)], 9);
    assert!(joined.deletes_all(b"", None, 4));
    assert!(joined.deletes_all(b"a", Some(b"m"), 4));
    assert!(!joined.deletes_all(b"a", Some(b"m"), 5), "one piece is not newer");
    assert!(joined.deletes_all(b"n", Some(b"z"), 6));
    let gap = Cover::new(vec![piece(b"a", Some(b"c"), 5), piece(b"d", Some(b"f"), 5)], 9);
    assert!(!gap.deletes_all(b"a", Some(b"e"), 1));
    assert!(!gap.deletes_all(b"a", Some(b"c"), 1), "the end is exclusive");
    assert!(gap.deletes_all(b"d", Some(b"e"), 1));
    assert!(!gap.deletes_all(b"d", None, 1));
    assert!(!Cover::default().deletes_all(b"", None, 0));
}

#[test]
fn long_chains_of_versions_are_crossed_in_both_directions() {
    let mut entries: Vec<Owned> =
        (1..=100).map(|s| (b"b".to_vec(), s, Some(s.to_string().into_bytes()))).collect();
    entries.push((b"a".to_vec(), 200, Some(b"first".to_vec())));
    entries.push((b"c".to_vec(), 201, Some(b"last".to_vec())));
    for sequence in [1, 7, 8, 50, 99, 100] {
        let newest = sequence.to_string().into_bytes();
        let lists = vec![entries.clone()];
        let cover = Arc::new(Cover::default());
        let mut rows = VisibleCursor::new(MergeCursor::new(boxed(lists)), cover, sequence);
        rows.seek_first().unwrap();
        assert_eq!(rows.row(), Some((&b"b"[..], newest.as_slice())));
        rows.next().unwrap();
        assert_eq!(rows.row(), None);
        rows.seek_last().unwrap();
        assert_eq!(rows.row(), Some((&b"b"[..], newest.as_slice())));
        rows.prev().unwrap();
        assert_eq!(rows.row(), None);
    }
}

#[test]
fn every_failing_move_is_reported_and_leaves_no_position() {
    let list = |keys: &[u8]| keys.iter().map(|k| (vec![*k], u64::from(*k), None)).collect();
    for moves in 0..20 {
        let mut failing = ListCursor::new(list(&[1, 3, 5]));
        failing.moves_until_failure = Some(moves);
        let steady = ListCursor::new(list(&[2, 4, 6]));
        let mut merge = MergeCursor::new(vec![Box::new(failing), Box::new(steady)]);
        let script = |merge: &mut MergeCursor| -> Result<()> {
            merge.seek_first()?;
            merge.next()?;
            merge.prev()?;
            merge.next()?;
            merge.next()?;
            merge.seek_last()?;
            merge.prev()?;
            merge.seek(&[3], 3)?;
            merge.prev()?;
            merge.seek_before(&[5], 5)
        };
        match script(&mut merge) {
            Ok(()) => assert_eq!(merge.entry().map(|entry| entry.sequence), Some(4)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io);
                assert_eq!(merge.entry(), None);
            }
        }
    }
}
