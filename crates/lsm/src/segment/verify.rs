//! Reading a whole segment and checking all that it promises: what verification accepts, every read
//! answers rightly.

use std::sync::Arc;

use crate::{
    error::Result,
    format::{
        primitives::{PieceHasher, entry_sum, key_hash, range_tombstone_sum},
        segment::{
            Decoded,
            block::{BlockCursor, internal_order},
            filter,
            properties::Properties,
            seal,
        },
    },
    segment::{
        FillCache,
        cursor::Position,
        index::Placed,
        reader::{SegmentReader, handle_of},
    },
    types::{Counts, Entry, EntryKind, SEQUENCE_MAX, Sequence},
};

/// Bytes read at once behind the data blocks.
const PIECE_BYTES: usize = 1 << 20;

/// Reads every byte once, in order, past the cache, and compares what it finds with what the
/// segment and the manifest say.
pub(super) fn verify(reader: &SegmentReader) -> Result<()> {
    let mut walk = Walk { reader, hasher: PieceHasher::default(), end: 0, leaf: None };
    let mut tally = Tally::default();
    walk.entries(&mut tally)?;
    walk.rest()?;
    if walk.hasher.finish() != reader.expected.hash {
        return Err(reader
            .blocks
            .corrupt(0, "a segment does not have the hash it was written with"));
    }
    tally.compare(reader)
}

/// How far the segment was read.
struct Walk<'a> {
    reader: &'a SegmentReader,
    hasher: PieceHasher,
    /// Where the data blocks read so far end.
    end: u64,
    /// Where the index block that led to the last of them lies.
    leaf: Option<u64>,
}

impl Walk<'_> {
    /// Walks the data blocks, which must lie one after another from the start.
    fn entries(&mut self, tally: &mut Tally) -> Result<()> {
        let reader = self.reader;
        let filter = match handle_of(&reader.sections.filter) {
            handle if handle.length > 0 => Some(reader.blocks.one(handle, FillCache::No)?),
            _ => None,
        };
        let mut position = Position::new(FillCache::No);
        let mut current = None;
        position.first(reader)?;
        while let (Some(entry), Some((offset, block))) = (position.entry(), position.block()) {
            if current != Some(offset) {
                self.enter_block(&position, tally, offset, block)?;
                current = Some(offset);
            }
            if entry.key.is_empty() || !tally.is_below((entry.key, entry.sequence)) {
                return Err(reader.blocks.corrupt(offset, "entries are out of order"));
            }
            if let Some(filter) = &filter {
                let answer = filter::may_contain(seal::contents(filter), key_hash(entry.key));
                if !reader.blocks.located(reader.sections.filter.start, answer)? {
                    return Err(reader.blocks.corrupt(offset, "the filter denies a key"));
                }
            }
            tally.add(entry);
            position.next(reader)?;
        }
        Ok(())
    }

    /// Checks that a data block follows the one before, and that a search finds it and in it.
    fn enter_block(
        &mut self,
        position: &Position,
        tally: &Tally,
        offset: u64,
        block: &Arc<[u8]>,
    ) -> Result<()> {
        let blocks = &self.reader.blocks;
        if offset != self.end {
            return Err(blocks.corrupt(offset, "data blocks do not follow each other"));
        }
        self.end += block.len() as u64;
        self.hasher.update(block);
        blocks.located(offset, check_restarts(block))?;

        let index = position.index_cursor();
        let (root, leaf) = index.map_or((None, None), |index| index.levels());
        if let (Some(root), Some(lowest)) = (root, leaf.or(root))
            && self.leaf.replace(lowest.offset) != Some(lowest.offset)
        {
            blocks.located(root.offset, check_restarts(root.cursor.block()))?;
            blocks.located(lowest.offset, check_restarts(lowest.cursor.block()))?;
            if place(root) != place(lowest) {
                return Err(blocks.corrupt(root.offset, "the root does not lead to a leaf"));
            }
        }
        let first = position.entry().map(|entry| (entry.key, entry.sequence));
        let separator = index.and_then(|index| index.separator());
        let leads = separator.zip(first).is_some_and(|(separator, first)| {
            internal_order(separator, first).is_le()
                && tally.is_below(separator)
                && (offset > 0 || separator == (&[], SEQUENCE_MAX))
        });
        if leads {
            return Ok(());
        }
        Err(blocks.corrupt(offset, "the index does not lead to a data block"))
    }

    /// Reads what lies behind the data blocks.
    fn rest(&mut self) -> Result<()> {
        let blocks = &self.reader.blocks;
        let mut at = self.end;
        let mut piece = vec![0; PIECE_BYTES];
        while at < blocks.length {
            let left = usize::try_from(blocks.length - at).unwrap_or(usize::MAX);
            piece.truncate(left);
            blocks.read(at, &mut piece)?;
            self.hasher.update(&piece);
            at += piece.len() as u64;
        }
        Ok(())
    }
}

fn check_restarts(block: &Arc<[u8]>) -> Decoded<()> {
    BlockCursor::new(Arc::clone(block), Vec::new())?.check_restarts()
}

fn place(block: &Placed) -> Option<(&[u8], Sequence)> {
    block.cursor.entry().map(|entry| (entry.key, entry.sequence))
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
            let start = tombstone.start.clone();
            key_min = key_min.into_iter().chain([start]).min();
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
