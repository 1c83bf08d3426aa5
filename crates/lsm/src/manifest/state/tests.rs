use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    format::manifest::arbitrary::record,
    manifest::random::{Random, describe},
    types::{Counts, Hash, SegmentMeta, TenantStatus, Uid},
    version::{LEVELS_MAX, Segment},
};

fn edit(records: impl IntoIterator<Item = Record>) -> Edit {
    Edit { records: records.into_iter().collect() }
}

fn meta(uid: u8, keys: (&str, &str), sequences: (Sequence, Sequence)) -> SegmentMeta {
    SegmentMeta {
        uid: Uid([uid; 16]),
        length: 100,
        hash: Hash([uid; 32]),
        counts: Counts { puts: 1, deletes: 0, range_deletes: 0 },
        sum: 1,
        key_min: keys.0.into(),
        key_max: Some(keys.1.into()),
        sequence_min: sequences.0,
        sequence_max: sequences.1,
    }
}

fn add(tree: u64, level: u8, place: (u64, u64), meta: SegmentMeta) -> Record {
    Record::AddSegment { tree: TreeId(tree), level, file: FileId(place.0), offset: place.1, meta }
}

fn hold(id: u64, length: u64) -> Record {
    Record::HoldFile { file: FileId(id), length }
}

fn hold_segment(place: (u64, u64), meta: SegmentMeta) -> Record {
    Record::HoldSegment { file: FileId(place.0), offset: place.1, meta }
}

fn release(id: u64) -> Record {
    Record::ReleaseFile { file: FileId(id) }
}

fn remove(tree: u64, place: (u64, u64)) -> Record {
    Record::RemoveSegment { tree: TreeId(tree), file: FileId(place.0), offset: place.1 }
}

fn file(id: u64, length: u64) -> Record {
    Record::AddFile { file: FileId(id), length }
}

/// A collection `c` on tree 1 with a tenant `t` on tree 2.
fn base() -> State {
    let tenant = Record::CreateTenant {
        collection: 1,
        name: "t".into(),
        tree: TreeId(2),
        status: TenantStatus::Hot,
    };
    let collection = Record::CreateCollection { id: 1, name: "c".into(), tree: TreeId(1) };
    State::new([1; 16]).apply(&edit([collection, tenant])).unwrap().state
}

fn apply(state: &State, records: impl IntoIterator<Item = Record>) -> Result<Outcome> {
    state.apply(&edit(records))
}

/// The files that a state keeps on disk.
fn named(state: &State) -> impl Iterator<Item = FileId> {
    let of_segments = state.version.files().map(|file| file.id);
    of_segments.chain(state.held.files().map(|held| held.file))
}

fn uids(state: &State, tree: u64, level: usize) -> Vec<u8> {
    let tree = state.version.tree(TreeId(tree)).expect("the tree has segments");
    tree.level(level).iter().map(|segment| segment.meta.uid.0[0]).collect()
}

/// Recounts what the version keeps count of, and checks its invariants.
fn check(state: &State) {
    let mut live: BTreeMap<FileId, (u64, u64)> = BTreeMap::new();
    for (tree, found) in state.version.trees() {
        assert!(state.catalog.owner(tree).is_some(), "{tree} has segments and no owner");
        assert!(found.levels.last().is_some_and(|level| !level.is_empty()));
        for (level, segments) in found.levels.iter().enumerate() {
            assert!(segments.iter().all(|s| (usize::from(s.level), s.tree) == (level, tree)));
            let sorted = if level == 0 {
                segments.is_sorted_by_key(|s| std::cmp::Reverse(s.meta.sequence_max))
            } else {
                segments.is_sorted_by(|left, right| {
                    left.meta.key_max.as_ref().is_some_and(|max| *max <= right.meta.key_min)
                })
            };
            assert!(sorted, "level {level} of {tree}");
        }
        for segment in found.segments() {
            let (segments, bytes) = live.entry(segment.file.id).or_default();
            (*segments, *bytes) = (*segments + 1, *bytes + segment.meta.length);
        }
    }
    let uses = state.version.file_uses();
    let counted: BTreeMap<_, _> =
        uses.map(|file| (file.handle.id, (file.segments.len() as u64, file.live_bytes))).collect();
    assert_eq!(counted, live);
    assert_eq!(state.version.segment_count(), live.values().map(|(n, _)| n).sum::<u64>());
    assert_eq!(state.version.file_count(), live.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_edits_keep_the_books_and_snapshots_give_them_back(seed in any::<u64>()) {
        let random = Random::new(seed);
        let mut state = State::new([7; 16]);
        let mut before = describe(&state);
        let mut applied = 0;
        for _ in 0..60 {
            let edit = random.edit(&state);
            let outcome = state.apply(&edit);
            prop_assert_eq!(describe(&state), before.clone(), "apply changed its input");
            let Ok(outcome) = outcome else { continue };
            applied += 1;
            check(&outcome.state);
            let added = edit.records.iter().filter_map(|record| match record {
                Record::AddFile { file, .. } | Record::HoldFile { file, .. } => Some(*file),
                _ => None,
            });
            let old: BTreeSet<_> = named(&state).chain(added).collect();
            let new: BTreeSet<_> = named(&outcome.state).collect();
            prop_assert_eq!(new.len(), named(&outcome.state).count(), "of segments, or held");
            let gone: BTreeSet<_> = outcome.obsolete.iter().map(|file| file.id).collect();
            prop_assert_eq!(gone, old.difference(&new).copied().collect::<BTreeSet<_>>());
            state = outcome.state;
            before = describe(&state);
        }
        prop_assert!(applied > 20, "only {} edits applied", applied);
        let replayed = State::new([7; 16]).apply(&edit(state.snapshot())).unwrap();
        prop_assert_eq!(describe(&replayed.state), before);
        prop_assert!(replayed.obsolete.is_empty());
        prop_assert_eq!(&replayed.state.catalog, &state.catalog);
    }

    #[test]
    fn arbitrary_records_never_panic(records in prop::collection::vec(record(), 1..12), seed: u64) {
        let random = Random::new(seed);
        let mut state = base();
        for _ in 0..10 {
            if let Ok(outcome) = state.apply(&random.edit(&state)) {
                state = outcome.state;
            }
        }
        for record in &records {
            if let Ok(outcome) = state.apply(&edit([record.clone()])) {
                check(&outcome.state);
            }
        }
        if let Ok(outcome) = state.apply(&edit(records)) {
            check(&outcome.state);
        }
    }
}

#[test]
fn level_0_is_newest_first_and_deeper_levels_by_key() {
    let state = apply(
        &base(),
        [
            file(1, 1_000),
            add(1, 0, (1, 0), meta(1, ("a", "z"), (5, 9))),
            add(1, 0, (1, 100), meta(2, ("a", "z"), (20, 29))),
            add(1, 0, (1, 200), meta(3, ("a", "z"), (10, 19))),
            add(1, 2, (1, 300), meta(4, ("m", "p"), (1, 2))),
            add(1, 2, (1, 400), meta(5, ("a", "c"), (1, 2))),
            add(1, 2, (1, 500), meta(6, ("c", "d"), (1, 2))),
        ],
    );
    let state = state.unwrap().state;
    check(&state);
    assert_eq!(uids(&state, 1, 0), [2, 3, 1]);
    assert_eq!(uids(&state, 1, 1), [0; 0]);
    assert_eq!(uids(&state, 1, 2), [5, 6, 4], "neighbours may touch in one key");
    let tree = state.version.tree(TreeId(1)).unwrap();
    let found = |start: &str, end: Option<&str>| -> Vec<u8> {
        let found = tree.overlapping(2, start.as_bytes(), end.map(str::as_bytes));
        found.iter().map(|segment| segment.meta.uid.0[0]).collect()
    };
    assert_eq!(found("c", Some("c")), [5, 6]);
    assert_eq!(found("e", Some("l")), [0; 0]);
    assert_eq!(found("d", Some("m")), [6, 4]);
    assert_eq!(found("", None), [5, 6, 4]);
    assert_eq!(found("q", None), [0; 0]);
    assert_eq!(tree.level_bytes(2), 300);
}

#[test]
fn overlapping_segments_of_a_deeper_level_are_refused() {
    let pairs = [(("a", "c"), ("b", "d")), (("a", "z"), ("b", "c")), (("a", "b"), ("a", "b"))];
    for (left, right) in pairs {
        let outcome = apply(
            &base(),
            [
                file(1, 1_000),
                add(1, 1, (1, 0), meta(1, left, (1, 2))),
                add(1, 1, (1, 100), meta(2, right, (1, 2))),
            ],
        );
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let open_end = SegmentMeta { key_max: None, ..meta(1, ("a", "b"), (1, 2)) };
    let outcome = apply(
        &base(),
        [
            file(1, 1_000),
            add(1, 1, (1, 0), open_end),
            add(1, 1, (1, 100), meta(2, ("x", "y"), (1, 2))),
        ],
    );
    assert!(outcome.is_err());
}

#[test]
fn outputs_may_come_before_their_inputs_go() {
    let before = apply(&base(), [file(1, 1_000), add(1, 1, (1, 0), meta(1, ("a", "c"), (1, 2)))]);
    let after = apply(
        &before.unwrap().state,
        [file(2, 100), add(1, 1, (2, 0), meta(2, ("a", "d"), (1, 2))), remove(1, (1, 0))],
    );
    let after = after.unwrap();
    check(&after.state);
    assert_eq!(uids(&after.state, 1, 1), [2]);
    assert_eq!(after.obsolete.iter().map(|file| file.id).collect::<Vec<_>>(), [FileId(1)]);
}

#[test]
fn segments_that_do_not_fit_their_file_are_refused() {
    let good = || meta(1, ("a", "b"), (1, 2));
    let bad = [
        (vec![file(1, 99), add(1, 0, (1, 0), good())], "passes the end"),
        (vec![file(1, 1_000), add(1, 0, (1, u64::MAX), good())], "passes the end"),
        (vec![add(1, 0, (1, 0), good())], "unknown"),
        (vec![file(1, 1_000), file(1, 1_000)], "added twice"),
        (vec![file(1, 1_000), add(9, 0, (1, 0), good())], "unknown"),
        (vec![file(1, 1_000), add(1, LEVELS_MAX, (1, 0), good())], "beyond the limit"),
        (
            vec![file(1, 1_000), add(1, 0, (1, 0), good()), add(2, 0, (1, 99), good())],
            "overlaps another",
        ),
        (
            vec![file(1, 1_000), add(1, 0, (1, 50), good()), add(2, 0, (1, 0), good())],
            "overlaps another",
        ),
        (vec![file(1, 1_000), remove(1, (1, 0))], "has no segment"),
        (vec![file(1, 1_000), add(1, 0, (1, 0), good()), remove(2, (1, 0))], "has no segment"),
        (vec![file(1, 1_000), add(1, 0, (1, 0), meta(1, ("b", "a"), (1, 2)))], "below its lowest"),
        (vec![file(1, 1_000), add(1, 0, (1, 0), meta(1, ("a", "b"), (3, 2)))], "sequences"),
        (vec![file(1, u64::MAX)], "over the limit"),
        (vec![file(u64::MAX, 1)], "beyond all limits"),
    ];
    for (records, why) in bad {
        let error = apply(&base(), records).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(why), "'{error}' does not say '{why}'");
    }
}

#[test]
fn a_file_leaves_with_its_last_segment() {
    let (left, right) = (meta(1, ("a", "b"), (1, 2)), meta(2, ("a", "b"), (1, 2)));
    let two = [file(1, 1_000), add(1, 0, (1, 0), left), add(2, 0, (1, 100), right)];
    let two = apply(&base(), two).unwrap().state;
    let handle = Arc::clone(&two.version.file(FileId(1)).unwrap().handle);
    assert_eq!(two.version.file(FileId(1)).unwrap().dead_bytes(), 800);
    let one = apply(&two, [remove(1, (1, 0))]).unwrap();
    assert!(one.obsolete.is_empty());
    assert_eq!(one.state.version.file(FileId(1)).unwrap().live_bytes, 100);
    let dropped = Record::DropTenant { collection: 1, name: "t".into() };
    let none = apply(&one.state, [dropped]).unwrap();
    assert!(Arc::ptr_eq(&none.obsolete[0], &handle), "the handle is the one that views hold");
    assert_eq!(none.state.version.file_count(), 0);
    drop((two, one, handle));
    assert_eq!(Arc::strong_count(&none.obsolete[0]), 1, "no version pins it any more");
}

#[test]
fn a_file_without_segments_is_obsolete_at_once() {
    let outcome = apply(&base(), [file(7, 1_000)]).unwrap();
    assert_eq!(outcome.obsolete[0].id, FileId(7));
    assert_eq!(outcome.state.version.file_count(), 0);
    assert_eq!(outcome.state.next_file, FileId(8));
}

#[test]
fn a_held_file_is_released_or_becomes_one_of_segments_in_one_edit() {
    let (left, right) = (meta(1, ("a", "b"), (1, 2)), meta(2, ("a", "b"), (1, 2)));
    let segments = [hold_segment((7, 100), right), hold_segment((7, 0), left.clone())];
    let held = apply(&base(), [hold(7, 1_000)].into_iter().chain(segments)).unwrap();
    assert!(held.obsolete.is_empty());
    let held = apply(&held.state, [hold(9, 50)]).unwrap().state;
    assert_eq!((held.held.bytes(), held.next_file), (1_050, FileId(10)));
    assert_eq!(held.version.file_count(), 0, "no tree has it");

    let gone = apply(&held, [release(7)]).unwrap();
    assert_eq!(gone.obsolete.iter().map(|file| file.id).collect::<Vec<_>>(), [FileId(7)]);
    assert_eq!(gone.state.held.bytes(), 50);

    let taken = [release(7), release(9), file(7, 1_000), add(1, 0, (7, 0), left)];
    let taken = apply(&held, taken).unwrap();
    check(&taken.state);
    assert_eq!(taken.obsolete.iter().map(|file| file.id).collect::<Vec<_>>(), [FileId(9)]);
    assert_eq!((uids(&taken.state, 1, 0), taken.state.held.bytes()), (vec![1], 0));

    let again = apply(&held, [release(7), hold(7, 10)]).unwrap();
    assert!(again.obsolete.is_empty());
    assert_eq!(again.state.held.bytes(), 60);
}

#[test]
fn a_file_is_of_segments_or_held_and_never_both() {
    let good = || meta(1, ("a", "b"), (1, 2));
    let bad = [
        (vec![hold(1, 100), hold(1, 100)], "added twice"),
        (vec![hold(1, 100), file(1, 100)], "added twice"),
        (vec![file(1, 100), hold(1, 100)], "added twice"),
        (vec![hold(1, 100), add(1, 0, (1, 0), good())], "unknown"),
        (vec![hold(1, 99), hold_segment((1, 0), good())], "passes the end"),
        (vec![hold(1, 1_000), hold_segment((1, u64::MAX), good())], "passes the end"),
        (vec![hold_segment((1, 0), good())], "not held"),
        (
            vec![hold(1, 1_000), hold_segment((1, 0), good()), hold_segment((1, 99), good())],
            "overlaps another",
        ),
        (
            vec![hold(1, 1_000), hold_segment((1, 50), good()), hold_segment((1, 0), good())],
            "overlaps another",
        ),
        (vec![hold(1, 100), hold_segment((1, 0), meta(1, ("a", "b"), (3, 2)))], "sequences"),
        (vec![hold(1, 100), release(1), release(1)], "not held"),
        (vec![file(1, 100), release(1)], "not held"),
        (vec![hold(1, u64::MAX)], "over the limit"),
        (vec![hold(u64::MAX, 1)], "beyond all limits"),
    ];
    for (records, why) in bad {
        let error = apply(&base(), records).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(why), "'{error}' does not say '{why}'");
    }
}

#[test]
fn a_move_shares_the_segment_and_changes_its_level() {
    let state = apply(&base(), [file(1, 100), add(1, 0, (1, 0), meta(1, ("a", "b"), (1, 2)))]);
    let state = state.unwrap().state;
    let (tree, file, offset) = (TreeId(1), FileId(1), 0);
    let moved = apply(&state, [Record::MoveSegment { tree, file, offset, level: 3 }]).unwrap();
    check(&moved.state);
    assert!(moved.obsolete.is_empty());
    assert_eq!(uids(&moved.state, 1, 3), [1]);
    assert_eq!(uids(&moved.state, 1, 0), [0; 0]);
    let only = |state: &State| -> Arc<Segment> {
        Arc::clone(state.version.segments().next().expect("there is one"))
    };
    assert!(Arc::ptr_eq(&only(&state).file, &only(&moved.state).file));
}

#[test]
fn dropping_a_collection_takes_its_segments_and_jobs_can_skip_them() {
    let one = meta(1, ("a", "b"), (1, 2));
    let state = apply(&base(), [file(1, 100), add(2, 0, (1, 0), one.clone())]).unwrap().state;
    let dropped = apply(&state, [Record::DropCollection { id: 1 }]).unwrap();
    check(&dropped.state);
    assert_eq!(dropped.obsolete.len(), 1);
    assert_eq!(dropped.state.catalog.trees().count(), 0);
    let late = vec![remove(2, (1, 0)), file(2, 100), add(2, 1, (2, 0), one)];
    assert!(apply(&dropped.state, late.clone()).is_err(), "the tree is gone");
    let rest = dropped.state.without_dropped_trees(late.clone());
    assert_eq!(rest, [file(2, 100)]);
    assert_eq!(apply(&dropped.state, rest).unwrap().obsolete[0].id, FileId(2));
    assert_eq!(state.without_dropped_trees(late.clone()), late);
}

#[test]
fn identifiers_and_counters_never_go_back() {
    let floor = |log, sequence| Record::ReplayFloor { log: LogId(log), sequence };
    let ready = |log| Record::LogReady { log: LogId(log) };
    let collection =
        |id, tree| Record::CreateCollection { id, name: "d".into(), tree: TreeId(tree) };
    let up = [ready(3), floor(3, 50), Record::QueueEdit { number: 4 }, collection(5, 9)];
    let state = apply(&base(), up).unwrap().state;
    assert_eq!((state.next_tree, state.next_collection), (TreeId(10), 6));
    let rename = |id| Record::RenameCollection { id, name: "e".into() };
    let state = apply(&state, [Record::DropCollection { id: 5 }]).unwrap().state;
    for back in [
        ready(3),
        floor(2, 60),
        floor(3, 49),
        floor(5, 60), // the log before it may be written and would not be replayed
        Record::QueueEdit { number: 4 },
        collection(5, 10),
        collection(6, 9),
        rename(5),
        Record::ReserveSequences { upto: u64::MAX },
        Record::LogReady { log: LogId(u64::MAX) },
    ] {
        assert!(apply(&state, [back.clone()]).is_err(), "{back:?}");
    }
    let same = [floor(3, 50), Record::ReserveSequences { upto: 0 }, collection(6, 10)];
    let low = Record::NextIds { tree: TreeId(0), file: FileId(0), collection: 0 };
    let state = apply(&state, same.into_iter().chain([low])).unwrap().state;
    assert_eq!((state.next_tree, state.next_collection), (TreeId(11), 7));
    assert_eq!(state.reserved_upto, 1);
}
