//! A segment of any bytes: opened, scanned, searched and verified.

use std::{cmp::Ordering, ops::Range, sync::Arc};

use siltstone_io::{disk::BlockSource, error::Result as IoResult, path::RelPath};

use crate::{
    cache::BlockCache,
    cursor::Cursor,
    format::{
        primitives::{PieceHasher, crc_seed, crc32},
        segment::{
            block::{BlockCursor, Handle},
            footer::{FOOTER_BYTES, Footer, MAGIC, VERSION},
            properties::Properties,
            seal,
        },
    },
    segment::{FillCache, SegmentReader},
    types::{SegmentMeta, Sequence, Uid},
};

/// Steps of one walk: hostile indexes may lead to one block again and again.
const STEPS_MAX: usize = 2000;

/// Blocks whose checksums are put right.
const RESEALED_MAX: usize = 200;

/// Reads `data` as a segment; as one whose checksums fit, so that what they guard is reached; and
/// as the contents of a block.
///
/// # Panics
/// When a read of a segment that was verified is wrong.
pub fn segment(data: &[u8]) {
    read_file(data.to_vec());
    let mut resealed = data.to_vec();
    if reseal(&mut resealed).is_some() {
        read_file(resealed);
    }
    read_block(data);
}

/// A file in memory.
#[derive(Debug)]
struct Image(RelPath, Vec<u8>);

impl BlockSource for Image {
    fn path(&self) -> &RelPath {
        &self.0
    }

    fn len(&self) -> u64 {
        self.1.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> IoResult<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.1.get(offset..));
        let rest = rest.unwrap_or_default();
        let length = rest.len().min(buf.len());
        buf[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

fn read_file(bytes: Vec<u8>) {
    let meta = meta_of(&bytes).unwrap_or_else(|| no_meta(bytes.len() as u64));
    let source = Arc::new(Image(RelPath::root(), bytes));
    let cache = Arc::new(BlockCache::new(64 << 10));
    let Ok(reader) = SegmentReader::open(source, 0, &meta, cache) else {
        return;
    };
    let verified = reader.verify().is_ok();
    let entries = [FillCache::Yes, FillCache::No].map(|fill| walk(&mut *reader.cursor(fill)));
    for (key, sequence) in &entries[0] {
        let found = reader.get(key, *sequence).ok().flatten();
        let covering = reader.covering(key, u64::MAX);
        let mut cursor = reader.cursor(FillCache::Yes);
        let sought = cursor.seek(key, *sequence).is_ok() && cursor.entry().is_some();
        if verified {
            assert_eq!(found.map(|found| found.0), Some(*sequence), "a get misses a version");
            assert!(sought, "a seek misses an entry");
            assert!(covering <= meta.sequence_max, "a tombstone is from the future");
        }
    }
    let before = check_before(&mut *reader.cursor(FillCache::Yes), &entries[0]);
    if verified {
        assert!(before, "a seek does not find the entry before");
        assert_eq!(entries[0], entries[1], "two scans differ");
        assert!(entries[0].len() < STEPS_MAX || meta.counts.total() >= STEPS_MAX as u64);
    }
}

/// Walks to the end and back; returns what was met on the way there.
fn walk(cursor: &mut dyn Cursor) -> Vec<(Vec<u8>, Sequence)> {
    let mut met = Vec::new();
    let mut result = cursor.seek_first();
    while let (Ok(()), Some(entry), true) = (&result, cursor.entry(), met.len() < STEPS_MAX) {
        met.push((entry.key.to_vec(), entry.sequence));
        result = cursor.next();
    }
    let mut result = cursor.seek_last();
    for _ in 0..STEPS_MAX {
        if result.is_err() || cursor.entry().is_none() {
            break;
        }
        result = cursor.prev();
    }
    met
}

/// Whether a seek to before each entry finds the one before it.
fn check_before(cursor: &mut dyn Cursor, entries: &[(Vec<u8>, Sequence)]) -> bool {
    let mut right = true;
    let mut before = None;
    for (key, sequence) in entries {
        right &= cursor.seek_before(key, *sequence).is_ok();
        right &= cursor.entry().map(|entry| (entry.key, entry.sequence)) == before;
        before = Some((key.as_slice(), *sequence));
    }
    right
}

/// What a manifest would say of the segment, by its own account.
fn meta_of(bytes: &[u8]) -> Option<SegmentMeta> {
    let length = bytes.len() as u64;
    let footer = bytes.last_chunk::<FOOTER_BYTES>()?;
    let footer = Footer::decode(footer, length).ok()?;
    let sections = footer.sections().ok()?;
    let block = bytes.get(range_of(&sections.properties)?)?;
    let properties = Properties::decode(seal::contents(block)).ok()?;
    let mut hasher = PieceHasher::default();
    hasher.update(bytes);
    let Properties { counts, sum, key_min, key_max, sequence_min, sequence_max } = properties;
    Some(SegmentMeta {
        uid: footer.uid,
        length,
        hash: hasher.finish(),
        counts,
        sum,
        key_min,
        key_max,
        sequence_min,
        sequence_max,
    })
}

fn no_meta(length: u64) -> SegmentMeta {
    SegmentMeta {
        uid: Uid::default(),
        length,
        hash: PieceHasher::default().finish(),
        counts: crate::types::Counts::default(),
        sum: 0,
        key_min: Vec::new(),
        key_max: None,
        sequence_min: 0,
        sequence_max: 0,
    }
}

fn range_of(range: &Range<u64>) -> Option<Range<usize>> {
    Some(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

/// Puts right what a mutation cannot: length, version, magic and checksums. `None` when the sections
/// do not fit.
fn reseal(bytes: &mut [u8]) -> Option<()> {
    let length = bytes.len() as u64;
    let footer = bytes.last_chunk_mut::<FOOTER_BYTES>()?;
    footer[16..24].copy_from_slice(&length.to_le_bytes());
    footer[45] = 0;
    footer[46..48].copy_from_slice(&VERSION.to_le_bytes());
    footer[48..52].fill(0);
    footer[56..].copy_from_slice(&MAGIC);
    let seed = crc_seed(&footer[..16], length - FOOTER_BYTES as u64);
    let crc = crc32(seed, &[&footer[..52]]);
    footer[52..56].copy_from_slice(&crc.to_le_bytes());
    let footer = Footer::decode(&footer[..], length).ok()?;
    let sections = footer.sections().ok()?;

    let tail = [&sections.filter, &sections.root, &sections.tombstones, &sections.properties];
    for section in tail {
        reseal_block(bytes, range_of(section)?, footer.uid);
    }
    let mut below = handles(bytes.get(range_of(&sections.root)?)?, sections.blocks.end);
    for _ in 0..footer.height {
        let mut next = Vec::new();
        for handle in below.iter().take(RESEALED_MAX) {
            let range = range_of(&(handle.offset..handle.end()))?;
            reseal_block(bytes, range.clone(), footer.uid);
            next.extend(handles(bytes.get(range)?, sections.blocks.end));
        }
        below = next;
    }
    Some(())
}

fn reseal_block(bytes: &mut [u8], range: Range<usize>, uid: Uid) {
    let offset = range.start as u64;
    let block = bytes.get_mut(range).unwrap_or_default();
    if let Some((contents, trailer)) = block.split_last_chunk_mut::<{ seal::TRAILER_BYTES }>() {
        let crc = crc32(crc_seed(&uid.0, offset), &[contents, &[0]]);
        trailer[0] = 0;
        trailer[1..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The places that an index block leads to, as far as it can be read.
fn handles(block: &[u8], limit: u64) -> Vec<Handle> {
    let mut found = Vec::new();
    let Ok(mut cursor) = BlockCursor::new(Arc::from(block), Vec::new()) else {
        return found;
    };
    let mut result = cursor.seek_first();
    while let (Ok(()), Some(entry), true) = (result, cursor.entry(), found.len() < RESEALED_MAX) {
        found.extend(Handle::decode(entry.value, limit));
        result = cursor.advance();
    }
    found
}

fn read_block(contents: &[u8]) {
    let mut block = contents.to_vec();
    block.extend_from_slice(&[0; seal::TRAILER_BYTES]);
    let Ok(mut cursor) = BlockCursor::new(Arc::from(block), Vec::new()) else {
        return;
    };
    let checked = cursor.check_restarts().is_ok();
    let mut keys = Vec::new();
    let mut result = cursor.seek_first();
    while let (Ok(()), Some(entry)) = (result, cursor.entry()) {
        keys.push((entry.key.to_vec(), entry.sequence));
        result = cursor.advance();
    }
    let mut result = cursor.seek_last();
    let mut steps = 0;
    while let (Ok(()), Some(entry)) = (result, cursor.entry()) {
        steps += 1;
        if checked {
            let (key, sequence) = &keys[keys.len() - steps];
            assert_eq!((entry.key, entry.sequence), (key.as_slice(), *sequence), "walks differ");
        }
        result = cursor.retreat();
    }
    for (key, sequence) in keys.iter().take(100) {
        // Whether it finds the entry depends on their order; that it ends does not.
        let _outcome = cursor.seek(key, *sequence);
        let _outcome = cursor.seek_last_where((key, *sequence), Ordering::is_le);
    }
}
