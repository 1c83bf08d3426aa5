//! [`SegmentBuilder`]: streams entries in internal order into a segment.

use std::{mem, sync::Arc};

use siltstone_io::disk::StreamWriter;

use crate::{
    cache::BlockCache,
    error::Result,
    format::{
        primitives::{PieceHasher, entry_sum, key_hash, range_tombstone_sum},
        segment::{
            block::{BlockBuilder, Handle, internal_order, separator},
            filter,
            footer::{FOOTER_BYTES, Footer},
            properties::Properties,
            seal, tombstones,
        },
    },
    segment::{BuildOptions, index::IndexBuilder},
    types::{
        Counts, Entry, EntryKind, KEY_BYTES_MAX, RangeTombstone, SEQUENCE_MAX, SegmentMeta,
        Sequence, Uid, VALUE_BYTES_MAX,
    },
};

/// Largest target size of a data block; larger ones only make reads read more.
const BLOCK_TARGET_BYTES_MAX: usize = 1 << 20;

/// At most what an entry takes in a block besides key and value.
const ENTRY_OVERHEAD_BYTES: usize = 24;

/// Writes one segment into a file stream; counts, sums and hashes while it writes.
///
/// Entries come in internal order, any number of versions a key.
#[derive(Debug)]
pub struct SegmentBuilder {
    options: BuildOptions,
    written: Written,
    block: BlockBuilder,
    /// The separator of the current block.
    separator: (Vec<u8>, Sequence),
    index: IndexBuilder,
    /// One a key, for the filter.
    hashes: Vec<u64>,
    tombstones: Vec<RangeTombstone>,
    tombstone_bytes: usize,
    counts: Counts,
    sum: u128,
    key_min: Option<Vec<u8>>,
    sequences: Option<(Sequence, Sequence)>,
}

/// The bytes written so far.
#[derive(Debug)]
struct Written {
    uid: Uid,
    length: u64,
    hasher: PieceHasher,
    cache: Option<Arc<BlockCache>>,
}

impl Written {
    /// Seals the contents of a block and writes it.
    fn block(&mut self, mut contents: Vec<u8>, out: &mut dyn StreamWriter) -> Result<Handle> {
        let offset = self.length;
        seal::seal(&mut contents, self.uid, offset);
        let handle = Handle { offset, length: contents.len() };
        self.bytes(&contents, out)?;
        if let Some(cache) = &self.cache {
            cache.insert(self.uid, offset, Arc::from(contents));
        }
        Ok(handle)
    }

    fn bytes(&mut self, bytes: &[u8], out: &mut dyn StreamWriter) -> Result<()> {
        self.hasher.update(bytes);
        out.write(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

impl SegmentBuilder {
    /// Starts a segment. `uid` must never have named another.
    pub fn new(uid: Uid, mut options: BuildOptions) -> Self {
        options.block_bytes = options.block_bytes.min(BLOCK_TARGET_BYTES_MAX);
        let index = IndexBuilder::new(options.block_bytes);
        Self {
            options,
            written: Written { uid, length: 0, hasher: PieceHasher::default(), cache: None },
            block: BlockBuilder::default(),
            separator: (Vec::new(), SEQUENCE_MAX),
            index,
            hashes: Vec::new(),
            tombstones: Vec::new(),
            tombstone_bytes: 0,
            counts: Counts::default(),
            sum: 0,
            key_min: None,
            sequences: None,
        }
    }

    /// Lets the blocks written enter the cache: for a flush, whose entries were just in memory.
    #[must_use]
    pub fn caching(mut self, cache: Arc<BlockCache>) -> Self {
        self.written.cache = Some(cache);
        self
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// What the stream says; the segment is then worthless.
    ///
    /// # Panics
    /// When the entry breaks a limit or is not after the one before it.
    pub fn add(&mut self, entry: Entry<'_>, out: &mut dyn StreamWriter) -> Result<()> {
        assert!((1..=KEY_BYTES_MAX).contains(&entry.key.len()), "the key is within its limit");
        assert!(entry.value.len() <= VALUE_BYTES_MAX, "the value is within its limit");
        assert!(entry.sequence <= SEQUENCE_MAX, "the sequence is within its limit");
        assert!(entry.kind == EntryKind::Put || entry.value.is_empty(), "a delete has no value");
        let first = self.key_min.is_none();
        let ordered = internal_order(self.block.last(), (entry.key, entry.sequence)).is_lt();
        assert!(first || ordered, "entries come in internal order");

        let new_key = first || self.block.last().0 != entry.key;
        self.make_room(entry, out)?;
        if new_key && self.options.filter_bits_per_key > 0 {
            self.hashes.push(key_hash(entry.key));
        }
        match entry.kind {
            EntryKind::Put => self.counts.puts += 1,
            EntryKind::Delete => self.counts.deletes += 1,
        }
        let sum = entry_sum(entry.key, entry.sequence, entry.kind, entry.value);
        self.sum = self.sum.wrapping_add(sum);
        self.key_min.get_or_insert_with(|| entry.key.to_vec());
        self.widen(entry.sequence);
        self.block.add(entry);
        Ok(())
    }

    /// Adds a range tombstone, in any order.
    ///
    /// # Panics
    /// When the range is empty or breaks a limit.
    pub fn add_range_tombstone(&mut self, tombstone: RangeTombstone) {
        let RangeTombstone { start, end, sequence } = &tombstone;
        assert!(end.as_ref().is_none_or(|end| start < end), "the range is not empty");
        assert!(*sequence <= SEQUENCE_MAX, "the sequence is within its limit");
        let longest = end.as_ref().map_or(0, Vec::len).max(start.len());
        assert!(longest <= KEY_BYTES_MAX + 1, "the bounds are within their limit");
        let sum = range_tombstone_sum(start, end.as_deref(), *sequence);
        self.sum = self.sum.wrapping_add(sum);
        self.counts.range_deletes += 1;
        self.tombstone_bytes += start.len() + end.as_ref().map_or(0, Vec::len) + 5;
        self.widen(*sequence);
        self.tombstones.push(tombstone);
    }

    /// Bytes of the segment if it were finished now, give or take a few hundred.
    pub fn estimated_bytes(&self) -> u64 {
        let filter =
            filter::estimated_bytes(self.hashes.len(), self.options.filter_bits_per_key) as u64;
        let pending = self.block.stored_bytes() + self.index.stored_bytes() + FOOTER_BYTES;
        self.written.length + (pending + self.tombstone_bytes) as u64 + filter
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.counts.total() == 0
    }

    /// Writes what is left and tells what was written.
    ///
    /// # Errors
    /// What the stream says; the segment is then worthless.
    ///
    /// # Panics
    /// When nothing was added: there is no empty segment.
    pub fn finish(mut self, out: &mut dyn StreamWriter) -> Result<SegmentMeta> {
        let (sequence_min, sequence_max) = self.sequences.expect("a segment is not empty");
        let (key_min, key_max) = self.key_range();
        self.cut_block(out)?;
        let small = self.written.length <= self.options.block_bytes as u64;
        let written = &mut self.written;
        let uid = written.uid;
        let index = self.index.finish(|leaf| written.block(leaf, out))?;
        let mut section = |contents: Option<Vec<u8>>| -> Result<usize> {
            contents.map_or(Ok(0), |bytes| written.block(bytes, out).map(|handle| handle.length))
        };
        // One small block is read as soon as a filter would be, and answers for good.
        let bits_per_key = if small { 0 } else { self.options.filter_bits_per_key };
        let filter = section(filter::build(&self.hashes, bits_per_key))?;
        let root = section(index.root)?;
        self.tombstones.sort();
        let any = !self.tombstones.is_empty();
        let tombstones = section(any.then(|| tombstones::encode(&self.tombstones)))?;
        let (counts, sum) = (self.counts, self.sum);
        let properties = Properties { counts, sum, key_min, key_max, sequence_min, sequence_max };
        let footer = Footer {
            uid,
            filter: filter as u64,
            root: section_bytes(root),
            tombstones: section_bytes(tombstones),
            properties: section_bytes(section(Some(properties.encode()))?),
            height: index.height,
            length: written.length + FOOTER_BYTES as u64,
        };
        written.bytes(&footer.encode(), out)?;
        let Properties { key_min, key_max, .. } = properties;
        Ok(SegmentMeta {
            uid,
            length: footer.length,
            hash: self.written.hasher.finish(),
            counts,
            sum,
            key_min,
            key_max,
            sequence_min,
            sequence_max,
        })
    }

    /// Ends the current block if the entry does not fit, and starts the next.
    fn make_room(&mut self, entry: Entry<'_>, out: &mut dyn StreamWriter) -> Result<()> {
        let wanted = entry.key.len() + entry.value.len() + ENTRY_OVERHEAD_BYTES;
        if self.block.is_empty() || self.block.stored_bytes() + wanted <= self.options.block_bytes {
            return Ok(());
        }
        self.cut_block(out)?;
        let (key, sequence) = separator(self.block.last(), (entry.key, entry.sequence));
        self.separator = (key.to_vec(), sequence);
        Ok(())
    }

    fn cut_block(&mut self, out: &mut dyn StreamWriter) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let handle = self.written.block(self.block.finish(), out)?;
        let (key, sequence) = mem::take(&mut self.separator);
        self.index.add(&key, sequence, handle);
        Ok(())
    }

    fn widen(&mut self, sequence: Sequence) {
        let (min, max) = self.sequences.unwrap_or((sequence, sequence));
        self.sequences = Some((min.min(sequence), max.max(sequence)));
    }

    /// Lowest and highest key of entries and tombstones, as [`SegmentMeta`] defines them.
    fn key_range(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let starts = self.tombstones.iter().map(|tombstone| tombstone.start.as_slice());
        let min = starts.chain(self.key_min.as_deref()).min().unwrap_or_default().to_vec();
        let mut max = self.block.last().0;
        for tombstone in &self.tombstones {
            match &tombstone.end {
                Some(end) => max = max.max(end),
                None => return (min, None),
            }
        }
        (min, Some(max.to_vec()))
    }
}

fn section_bytes(length: usize) -> u32 {
    u32::try_from(length).expect("index root, tombstones and properties are under 4 GiB")
}
