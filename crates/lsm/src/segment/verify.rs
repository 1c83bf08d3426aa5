//! Reading a whole segment and checking all that it promises.

use std::sync::Arc;

use crate::{
    error::Result,
    format::{
        primitives::{PieceHasher, entry_sum, key_hash, range_tombstone_sum},
        segment::{block::internal_order, filter, properties::Properties, seal},
    },
    segment::{
        FillCache,
        cursor::Position,
        reader::{SegmentReader, handle_of},
    },
    types::{Counts, Entry, EntryKind, Sequence},
};

/// Bytes read at once behind the data blocks.
const PIECE_BYTES: u64 = 1 << 20;

/// Reads every byte once, in order, past the cache, and compares what it finds with what the
/// segment and the manifest say.
pub(super) fn verify(reader: &SegmentReader) -> Result<()> {
    let mut hasher = PieceHasher::default();
    let mut tally = Tally::default();
    let data_end = check_entries(reader, &mut hasher, &mut tally)?;
    hash_rest(reader, data_end, &mut hasher)?;
    if hasher.finish() != reader.expected.hash {
        return Err(reader
            .blocks
            .corrupt(0, "a segment does not have the hash it was written with"));
    }
    tally.compare(reader)
}

/// Walks the data blocks, which must lie one after another from the start; returns their end.
fn check_entries(
    reader: &SegmentReader,
    hasher: &mut PieceHasher,
    tally: &mut Tally,
) -> Result<u64> {
    let filter = load_filter(reader)?;
    let mut position = Position::new(FillCache::No);
    let mut end = 0;
    let mut current = None;
    position.first(reader)?;
    while let (Some(entry), Some((offset, block))) = (position.entry(), position.block()) {
        let corrupt = |what| reader.blocks.corrupt(offset, what);
        if current != Some(offset) {
            if offset != end {
                return Err(corrupt("data blocks do not follow each other"));
            }
            let first = (entry.key, entry.sequence);
            let leads = position.separator().is_some_and(|separator| {
                internal_order(separator, first).is_le() && tally.is_below(separator)
            });
            if !leads {
                return Err(corrupt("the index does not lead to a data block"));
            }
            hasher.update(block);
            current = Some(offset);
            end += block.len() as u64;
        }
        if !tally.is_below((entry.key, entry.sequence)) {
            return Err(corrupt("entries are out of order"));
        }
        if let Some(filter) = &filter {
            let answer = filter::may_contain(seal::contents(filter), key_hash(entry.key));
            if !reader.blocks.located(reader.sections.filter.start, answer)? {
                return Err(corrupt("the filter denies a key"));
            }
        }
        tally.add(entry);
        position.next(reader)?;
    }
    Ok(end)
}

fn load_filter(reader: &SegmentReader) -> Result<Option<Arc<[u8]>>> {
    if reader.sections.filter.is_empty() {
        return Ok(None);
    }
    reader.blocks.one(handle_of(&reader.sections.filter), FillCache::No).map(Some)
}

fn hash_rest(reader: &SegmentReader, from: u64, hasher: &mut PieceHasher) -> Result<()> {
    let mut at = from;
    let mut piece = Vec::new();
    while at < reader.blocks.length {
        let length = (reader.blocks.length - at).min(PIECE_BYTES);
        piece.resize(length as usize, 0);
        reader.blocks.read(at, &mut piece)?;
        hasher.update(&piece);
        at += length;
    }
    Ok(())
}

/// What was found in a segment.
#[derive(Debug, Default)]
struct Tally {
    counts: Counts,
    sum: u128,
    first_key: Option<Vec<u8>>,
    last: (Vec<u8>, Sequence),
    sequences: Option<(Sequence, Sequence)>,
}

impl Tally {
    /// Whether all entries so far are below this place.
    fn is_below(&self, place: (&[u8], Sequence)) -> bool {
        self.first_key.is_none() || internal_order((&self.last.0, self.last.1), place).is_lt()
    }

    fn add(&mut self, entry: Entry<'_>) {
        match entry.kind {
            EntryKind::Put => self.counts.puts += 1,
            EntryKind::Delete => self.counts.deletes += 1,
        }
        let sum = entry_sum(entry.key, entry.sequence, entry.kind, entry.value);
        self.sum = self.sum.wrapping_add(sum);
        self.first_key.get_or_insert_with(|| entry.key.to_vec());
        self.last.0.clear();
        self.last.0.extend_from_slice(entry.key);
        self.last.1 = entry.sequence;
        self.widen(entry.sequence);
    }

    fn widen(&mut self, sequence: Sequence) {
        let (min, max) = self.sequences.unwrap_or((sequence, sequence));
        self.sequences = Some((min.min(sequence), max.max(sequence)));
    }

    /// Adds the tombstones and compares all with what the segment says of itself.
    fn compare(mut self, reader: &SegmentReader) -> Result<()> {
        let mut key_min = self.first_key.take();
        let mut key_max = Some(std::mem::take(&mut self.last.0));
        for tombstone in reader.range_tombstones() {
            let end = tombstone.end.as_deref();
            let sum = range_tombstone_sum(&tombstone.start, end, tombstone.sequence);
            self.sum = self.sum.wrapping_add(sum);
            self.counts.range_deletes += 1;
            self.widen(tombstone.sequence);
            key_min = Some(key_min.map_or_else(
                || tombstone.start.clone(),
                |min: Vec<u8>| min.min(tombstone.start.clone()),
            ));
            key_max = key_max.zip(tombstone.end.clone()).map(|(max, end)| max.max(end));
        }
        let (sequence_min, sequence_max) = self.sequences.unwrap_or_default();
        let found = Properties {
            counts: self.counts,
            sum: self.sum,
            key_min: key_min.unwrap_or_default(),
            key_max,
            sequence_min,
            sequence_max,
        };
        let at = &reader.sections.properties;
        let block = reader.blocks.one(handle_of(at), FillCache::No)?;
        let said = Properties::decode(seal::contents(&block));
        if found == reader.blocks.located(at.start, said)? {
            return Ok(());
        }
        Err(reader.blocks.corrupt(at.start, "a segment does not hold what its properties say"))
    }
}
