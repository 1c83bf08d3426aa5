//! Each decoder against its encoder, against any bytes, and against `docs/format.md`.

use std::{cmp::Ordering, sync::Arc};

use proptest::{collection::vec, prelude::*};

use crate::{
    format::{
        layout::render,
        segment::{
            block::{BlockBuilder, BlockCursor, Handle, internal_order, separator},
            filter,
            footer::{FOOTER, FOOTER_BYTES, Footer, Refused},
            properties::Properties,
            seal::{self, Codec, TRAILER},
            tombstones,
        },
    },
    types::{Counts, Entry, EntryKind, RangeTombstone, SEQUENCE_MAX, Sequence, Uid},
};

type Owned = (Vec<u8>, Sequence, EntryKind, Vec<u8>);

fn stored(contents: Vec<u8>) -> Arc<[u8]> {
    let mut block = contents;
    seal::seal(&mut block, Uid([5; 16]), 77);
    Arc::from(block)
}

fn block_of(entries: &[Owned]) -> Arc<[u8]> {
    let mut builder = BlockBuilder::default();
    for (key, sequence, kind, value) in entries {
        builder.add(Entry { key, sequence: *sequence, kind: *kind, value });
    }
    let expected = builder.stored_bytes();
    let block = stored(builder.finish());
    assert_eq!(block.len(), expected);
    block
}

fn read_forward(block: Arc<[u8]>) -> Result<Vec<Owned>, &'static str> {
    let mut cursor = BlockCursor::new(block, Vec::new())?;
    cursor.seek_first()?;
    let mut found = Vec::new();
    while let Some(entry) = cursor.entry() {
        found.push((entry.key.to_vec(), entry.sequence, entry.kind, entry.value.to_vec()));
        cursor.advance()?;
    }
    Ok(found)
}

/// Entries in internal order; their keys share starts.
fn entries() -> impl Strategy<Value = Vec<Owned>> {
    let key = vec(prop_oneof![3 => Just(b'a'), 1 => any::<u8>()], 0..20);
    let sequence = prop_oneof![0..100_u64, 0..=SEQUENCE_MAX];
    let value = prop_oneof![Just(None), vec(any::<u8>(), 0..40).prop_map(Some)];
    vec((key, sequence, value), 1..100).prop_map(|mut entries| {
        entries.sort_by(|a, b| internal_order((&a.0, a.1), (&b.0, b.1)));
        entries.dedup_by(|a, b| (&a.0, a.1) == (&b.0, b.1));
        let kind = |value: &Option<_>| value.as_ref().map_or(EntryKind::Delete, |_| EntryKind::Put);
        entries
            .into_iter()
            .map(|(key, sequence, value)| {
                let kind = kind(&value);
                (key, sequence, kind, value.unwrap_or_default())
            })
            .collect()
    })
}

/// Runs every operation of a cursor over bytes of any origin.
fn exercise(contents: Vec<u8>, target: (&[u8], Sequence)) {
    let Ok(mut cursor) = BlockCursor::new(stored(contents), Vec::new()) else {
        return;
    };
    let mut steps = 0;
    let mut walk = |cursor: &mut BlockCursor, step: fn(&mut BlockCursor) -> Result<(), _>| {
        while cursor.entry().is_some() && step(cursor).is_ok() && steps < 10_000 {
            steps += 1;
        }
    };
    if cursor.seek_first().is_ok() {
        walk(&mut cursor, BlockCursor::advance);
    }
    if cursor.seek_last().is_ok() {
        walk(&mut cursor, BlockCursor::retreat);
    }
    if cursor.seek(target.0, target.1).is_ok() {
        walk(&mut cursor, BlockCursor::retreat);
    }
    if cursor.seek_last_where(target, Ordering::is_le).is_ok() {
        walk(&mut cursor, BlockCursor::advance);
    }
}

proptest! {
    #[test]
    fn block_decode_inverts_encode(entries in entries(), target in (vec(any::<u8>(), 0..20), any::<u64>())) {
        let block = block_of(&entries);
        prop_assert_eq!(read_forward(Arc::clone(&block)), Ok(entries.clone()));
        let mut cursor = BlockCursor::new(block, b"spare".to_vec()).unwrap();
        cursor.seek_last().unwrap();
        for (key, sequence, ..) in entries.iter().rev() {
            let entry = cursor.entry().unwrap();
            prop_assert_eq!((entry.key, entry.sequence), (key.as_slice(), *sequence));
            cursor.retreat().unwrap();
        }
        prop_assert!(cursor.entry().is_none());

        let here = entries.iter().map(|(key, sequence, ..)| (key.as_slice(), *sequence));
        for target in here.chain([(target.0.as_slice(), target.1)]) {
            let split = entries
                .partition_point(|(key, sequence, ..)| internal_order((key, *sequence), target).is_lt());
            cursor.seek(target.0, target.1).unwrap();
            let found = cursor.entry().map(|entry| (entry.key.to_vec(), entry.sequence));
            prop_assert_eq!(found, entries.get(split).map(|(key, sequence, ..)| (key.clone(), *sequence)));
            cursor.seek_last_where(target, Ordering::is_lt).unwrap();
            let found = cursor.entry().map(|entry| (entry.key.to_vec(), entry.sequence));
            let before = split.checked_sub(1).and_then(|index| entries.get(index));
            prop_assert_eq!(found, before.map(|(key, sequence, ..)| (key.clone(), *sequence)));
        }
    }

    #[test]
    fn separators_lie_between_blocks(entries in entries()) {
        for pair in entries.windows(2) {
            let (last, first) = ((pair[0].0.as_slice(), pair[0].1), (pair[1].0.as_slice(), pair[1].1));
            let between = separator(last, first);
            prop_assert!(internal_order(last, between).is_lt());
            prop_assert!(internal_order(between, first).is_le());
        }
    }

    #[test]
    fn decoders_are_total_on_any_bytes(bytes in vec(any::<u8>(), 0..300), target in vec(any::<u8>(), 0..5)) {
        exercise(bytes.clone(), (&target, 7));
        let _decoded = Handle::decode(&bytes, 1000);
        let _decoded = filter::may_contain(&bytes, 0x1234_5678_9abc_def0);
        let _decoded = Properties::decode(&bytes);
        let _decoded = tombstones::decode(&bytes);
        let _decoded = Footer::decode(&bytes, 300).map(|footer| footer.sections());
        let _checked = seal::check(&bytes, Uid([1; 16]), 0);
    }

    #[test]
    fn block_cursor_is_total_on_mutations(
        entries in entries(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        target in vec(any::<u8>(), 0..5),
    ) {
        let mut contents = seal::contents(&block_of(&entries)).to_vec();
        for (index, byte) in changes {
            let index = index.index(contents.len());
            contents[index] = byte;
        }
        exercise(contents, (&target, 7));
    }

    #[test]
    fn properties_and_tombstones_decode_what_was_encoded(
        counts in any::<(u64, u64, u64)>(),
        sum in any::<u128>(),
        keys in (vec(any::<u8>(), 0..50), prop::option::of(vec(any::<u8>(), 0..50))),
        sequences in vec(0..=SEQUENCE_MAX, 2),
        ranges in vec((vec(any::<u8>(), 0..4), prop::option::of(vec(any::<u8>(), 1..5)), 0..100_u64), 1..30),
    ) {
        let properties = Properties {
            counts: Counts { puts: counts.0, deletes: counts.1, range_deletes: counts.2 },
            sum,
            key_min: keys.0,
            key_max: keys.1,
            sequence_min: sequences[0].min(sequences[1]),
            sequence_max: sequences[0].max(sequences[1]),
        };
        prop_assert_eq!(Properties::decode(&properties.encode()), Ok(properties));
        let mut ranges: Vec<RangeTombstone> = ranges
            .into_iter()
            .map(|(start, end, sequence)| RangeTombstone { start, end, sequence })
            .filter(|range| range.end.as_ref().is_none_or(|end| range.start < *end))
            .collect();
        ranges.sort();
        prop_assume!(!ranges.is_empty());
        prop_assert_eq!(tombstones::decode(&tombstones::encode(&ranges)), Ok(ranges));
    }
}

#[test]
fn filter_has_no_false_negatives_and_few_false_positives() {
    let hash = |i: u64| crate::format::primitives::key_hash(&i.to_le_bytes());
    for (bits, per_mille) in [(5, 130), (10, 15), (16, 3)] {
        let hashes: Vec<u64> = (0..20_000).map(hash).collect();
        let filter = filter::build(&hashes, bits).unwrap();
        assert_eq!(filter.len(), filter::estimated_bytes(hashes.len(), bits) + 1);
        assert!(hashes.iter().all(|hash| filter::may_contain(&filter, *hash) == Ok(true)));
        let wrong =
            (20_000..120_000).filter(|i| filter::may_contain(&filter, hash(*i)) == Ok(true));
        let wrong = wrong.count();
        assert!(wrong < 100 * per_mille, "{wrong} of 100000 at {bits} bits");
    }
    assert!(filter::build(&[], 10).is_none());
    assert!(filter::build(&[1], 0).is_none());
}

fn footer() -> Footer {
    Footer {
        uid: Uid([9; 16]),
        length: 5000,
        filter: 69,
        root: 40,
        tombstones: 0,
        properties: 50,
        height: 1,
    }
}

#[test]
fn every_bit_flip_of_a_footer_is_refused() {
    let bytes = footer().encode();
    assert_eq!((bytes.len(), Footer::decode(&bytes, 5000)), (FOOTER_BYTES, Ok(footer())));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(Footer::decode(&damaged, 5000), Err(Refused::Damaged(_))), "bit {bit}");
    }
}

#[test]
fn newer_footer_says_so_and_contradictions_are_refused() {
    let reseal = |change: fn(&mut [u8])| {
        let mut bytes = footer().encode();
        change(&mut bytes);
        let seed = crate::format::primitives::crc_seed(&bytes[..16], 5000 - 64);
        let crc = crate::format::primitives::crc32(seed, &[&bytes[..52]]);
        bytes[52..56].copy_from_slice(&crc.to_le_bytes());
        Footer::decode(&bytes, 5000)
    };
    assert_eq!(reseal(|bytes| bytes[46] = 2), Err(Refused::Newer(2)));
    for change in [
        (|bytes| bytes[46] = 0) as fn(&mut [u8]),
        |bytes| bytes[44] = 3,
        |bytes| bytes[44] = 0,
        |bytes| bytes[45] = 1,
        |bytes| bytes[48] = 1,
        |bytes| bytes[40] = 0,
    ] {
        assert!(matches!(reseal(change), Err(Refused::Damaged(_))));
    }
    let huge = Footer { filter: 5000, ..footer() };
    assert!(huge.sections().is_err());
}

#[test]
fn codecs_of_later_versions_are_told_apart_from_damage() {
    let (uid, offset) = (Uid([1; 16]), 9);
    let mut block = b"contents".to_vec();
    seal::seal(&mut block, uid, offset);
    assert_eq!(seal::check(&block, uid, offset), Ok(Codec::Plain));
    assert_eq!(seal::contents(&block), b"contents");
    assert!(seal::check(&block, uid, offset + 1).is_err());
    assert!(seal::check(&block, Uid([2; 16]), offset).is_err());
    let mut zstd = b"contents\x02".to_vec();
    let crc = crate::format::primitives::crc32(
        crate::format::primitives::crc_seed(&uid.0, offset),
        &[&zstd],
    );
    zstd.extend_from_slice(&crc.to_le_bytes());
    assert_eq!(seal::check(&zstd, uid, offset), Ok(Codec::Unknown(2)));
}

#[test]
fn layouts_match_docs_format_md() {
    let document = include_str!("../../../../../docs/format.md");
    for table in [render(&TRAILER), render(&FOOTER)] {
        assert!(document.contains(&table), "docs/format.md lacks the table\n{table}");
    }
}
