//! Random segments read every way and compared with a sorted map.

use std::{cmp::Reverse, ops::Bound};

use proptest::{collection::vec, prelude::*};

use super::*;

type Place = (Vec<u8>, Reverse<Sequence>);

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(prop_oneof![Just(b'a'), Just(b'b'), Just(0), Just(0xff)], 1..6),
        2 => vec(any::<u8>(), 1..40),
        1 => (any::<u8>(), 200..400_usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn values() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        2 => Just(None),
        8 => vec(any::<u8>(), 0..30).prop_map(Some),
        1 => (any::<u8>(), 1000..20_000_usize).prop_map(|(byte, length)| Some(vec![byte; length])),
    ]
}

fn sequences() -> impl Strategy<Value = Sequence> {
    prop_oneof![8 => 1..20_u64, 2 => 1..=SEQUENCE_MAX, 1 => Just(SEQUENCE_MAX), 1 => Just(0)]
}

fn models() -> impl Strategy<Value = Model> {
    let entry = ((keys(), sequences().prop_map(Reverse)), values());
    vec(entry, 1..400).prop_map(|entries| entries.into_iter().collect())
}

fn target_place(target: &(Vec<u8>, Sequence)) -> Place {
    (target.0.clone(), Reverse(target.1))
}

fn expected(
    found: Option<(&Place, &Option<Vec<u8>>)>,
) -> Option<(Vec<u8>, Sequence, EntryKind, Vec<u8>)> {
    found.map(|((key, sequence), value)| {
        let kind = if value.is_some() { EntryKind::Put } else { EntryKind::Delete };
        (key.clone(), sequence.0, kind, value.clone().unwrap_or_default())
    })
}

fn check_walks(reader: &Arc<SegmentReader>, model: &Model, fill: FillCache) {
    let mut cursor = reader.cursor(fill);
    cursor.seek_first().unwrap();
    for entry in model {
        assert_eq!(owned(cursor.entry()), expected(Some(entry)));
        cursor.next().unwrap();
    }
    assert!(cursor.entry().is_none());
    cursor.seek_last().unwrap();
    for entry in model.iter().rev() {
        assert_eq!(owned(cursor.entry()), expected(Some(entry)));
        cursor.prev().unwrap();
    }
    assert!(cursor.entry().is_none());
}

/// Seeks to the target both ways, then takes a few steps: bit 0 forward, bit 1 backward.
fn check_seeks(
    cursor: &mut dyn Cursor,
    model: &Model,
    target: &(Vec<u8>, Sequence),
    steps: &[bool],
) {
    let place = target_place(target);
    cursor.seek_before(&target.0, target.1).unwrap();
    let before = model.range((Bound::Unbounded, Bound::Excluded(&place))).next_back();
    assert_eq!(owned(cursor.entry()), expected(before));

    cursor.seek(&target.0, target.1).unwrap();
    let mut at = model.range((Bound::Included(&place), Bound::Unbounded)).next();
    assert_eq!(owned(cursor.entry()), expected(at));
    for forward in steps {
        let Some((here, _)) = at else {
            break;
        };
        if *forward {
            cursor.next().unwrap();
            at = model.range((Bound::Excluded(here), Bound::Unbounded)).next();
        } else {
            cursor.prev().unwrap();
            at = model.range((Bound::Unbounded, Bound::Excluded(here))).next_back();
        }
        assert_eq!(owned(cursor.entry()), expected(at));
    }
}

fn check_get(reader: &SegmentReader, model: &Model, key: &[u8], sequence: Sequence) {
    let place = (key.to_vec(), Reverse(sequence));
    let newest = model
        .range((Bound::Included(&place), Bound::Unbounded))
        .next()
        .filter(|((found, _), _)| found == key);
    let found = reader.get(key, sequence).unwrap();
    let found = found
        .map(|(sequence, kind, value)| (key.to_vec(), sequence, kind, value.as_ref().to_vec()));
    assert_eq!(found, expected(newest));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn reads_match_a_btreemap(
        model in models(),
        block_bytes in prop_oneof![Just(0_usize), Just(64), Just(300), Just(4096)],
        bits in prop_oneof![Just(0_u32), Just(10), Just(3)],
        targets in vec(((keys(), prop_oneof![sequences(), Just(u64::MAX)]), vec(any::<bool>(), 0..12)), 0..40),
    ) {
        let built = BuildOptions { block_bytes, filter_bits_per_key: bits };
        let (file, meta) = file_of(&model, &[], built);
        let reader = open(file, &meta).unwrap();
        for fill in [FillCache::Yes, FillCache::No] {
            check_walks(&reader, &model, fill);
            let mut cursor = reader.cursor(fill);
            for (target, steps) in &targets {
                check_seeks(&mut *cursor, &model, target, steps);
            }
            for (key, sequence) in model.keys().step_by(7) {
                check_seeks(&mut *cursor, &model, &(key.clone(), sequence.0), &[true, false]);
            }
        }
        for ((key, sequence), _) in &targets {
            check_get(&reader, &model, key, *sequence);
        }
        for (key, sequence) in model.keys() {
            check_get(&reader, &model, key, sequence.0);
            check_get(&reader, &model, key, u64::MAX);
            check_get(&reader, &model, key, sequence.0.saturating_sub(1));
        }
        reader.verify().unwrap();
    }
}
