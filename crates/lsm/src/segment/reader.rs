//! [`SegmentReader`]: opens a segment against its meta and answers reads.

use std::{ops::Range, sync::Arc};

use siltstone_io::disk::BlockSource;

use crate::{
    cache::BlockCache,
    cursor::Cursor,
    error::{Error, ErrorKind, Result},
    format::{
        primitives::key_hash,
        segment::{
            block::{BlockCursor, Handle},
            filter,
            footer::{FOOTER_BYTES, Footer, Refused, Sections},
            properties::Properties,
            seal, tombstones,
        },
    },
    segment::{
        FillCache, ValueRef,
        blocks::Blocks,
        cursor::{Position, SegmentCursor},
        index::Placed,
        verify,
    },
    types::{EntryKind, RangeTombstone, SegmentMeta, Sequence},
};

/// Largest root of an index that an open reader keeps; a larger one passes through the cache.
pub const ROOT_PINNED_BYTES_MAX: usize = 512;

/// Bytes at the end of a segment read at once when it is opened. A small segment needs no more.
const TAIL_BYTES: u64 = 4096;

/// Reads one segment in its range of a file.
#[derive(Debug)]
pub struct SegmentReader {
    pub(super) blocks: Blocks,
    pub(super) sections: Sections,
    pub(super) height: u8,
    /// What the manifest says, without the key range: the properties repeat that.
    pub(super) expected: SegmentMeta,
    root: Option<Arc<[u8]>>,
    tombstones: Box<[RangeTombstone]>,
    /// Whether each tombstone ends at or before the start of the next.
    disjoint: bool,
}

impl SegmentReader {
    /// Opens the segment that `meta` describes at `offset` of a file: checks the footer, the
    /// properties, the tombstones and a small root. One read of 4 KiB for a small segment.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are not those of that segment, `NewerFormat`, or `Io`.
    pub fn open(
        source: Arc<dyn BlockSource>,
        offset: u64,
        meta: &SegmentMeta,
        cache: Arc<BlockCache>,
    ) -> Result<Arc<Self>> {
        let blocks = Blocks { source, offset, length: meta.length, uid: meta.uid, cache };
        let tail = Tail::read(&blocks)?;
        let footer = tail.footer(&blocks)?;
        let footer_at = meta.length - FOOTER_BYTES as u64;
        if footer.uid != meta.uid {
            return Err(blocks.corrupt(footer_at, "another segment lies here"));
        }
        let sections = blocks.located(footer_at, footer.sections())?;

        let at = sections.properties.start;
        let bytes = tail.section(&blocks, &sections.properties)?;
        let properties = blocks.located(at, Properties::decode(seal::contents(&bytes)))?;
        if !properties.agree_with(meta) {
            return Err(blocks.corrupt(at, "a segment is not the one that the manifest names"));
        }
        let tombstones = if sections.tombstones.is_empty() {
            Vec::new()
        } else {
            let bytes = tail.section(&blocks, &sections.tombstones)?;
            let decoded = tombstones::decode(seal::contents(&bytes));
            blocks.located(sections.tombstones.start, decoded)?
        };
        if tombstones.len() as u64 != meta.counts.range_deletes {
            return Err(blocks.corrupt(at, "a segment has not as many tombstones as it says"));
        }
        let pinned = 1..=ROOT_PINNED_BYTES_MAX as u64;
        let root = if pinned.contains(&(sections.root.end - sections.root.start)) {
            Some(Arc::from(tail.section(&blocks, &sections.root)?))
        } else {
            None
        };
        let disjoint = tombstones.windows(2).all(
            |pair| matches!(pair, [a, b] if a.end.as_ref().is_some_and(|end| *end <= b.start)),
        );
        Ok(Arc::new(Self {
            blocks,
            sections,
            height: footer.height,
            expected: SegmentMeta { key_min: Vec::new(), key_max: None, ..meta.clone() },
            root,
            tombstones: tombstones.into(),
            disjoint,
        }))
    }

    /// The newest version of `key` with a sequence of at most `sequence`; range tombstones are not
    /// applied.
    ///
    /// # Errors
    /// `Corrupt` or `Io` when the bytes cannot be had.
    pub fn get(
        &self,
        key: &[u8],
        sequence: Sequence,
    ) -> Result<Option<(Sequence, EntryKind, ValueRef)>> {
        if !self.may_contain(key_hash(key), FillCache::Yes)? {
            return Ok(None);
        }
        let mut position = Position::new(FillCache::Yes);
        position.seek_key(self, key, sequence)?;
        Ok(position.value_of(key))
    }

    /// Range tombstones, sorted by start.
    pub fn range_tombstones(&self) -> &[RangeTombstone] {
        &self.tombstones
    }

    /// The highest sequence, at most `sequence`, of a range tombstone over `key`; 0 if none.
    pub fn covering(&self, key: &[u8], sequence: Sequence) -> Sequence {
        let end = self.tombstones.partition_point(|tombstone| tombstone.start.as_slice() <= key);
        let start = if self.disjoint { end.saturating_sub(1) } else { 0 };
        self.tombstones[start..end]
            .iter()
            .filter(|tombstone| tombstone.sequence <= sequence && tombstone.covers(key))
            .map(|tombstone| tombstone.sequence)
            .max()
            .unwrap_or_default()
    }

    /// A cursor over all entries.
    pub fn cursor(self: &Arc<Self>, fill: FillCache) -> Box<dyn Cursor> {
        Box::new(SegmentCursor::new(Arc::clone(self), fill))
    }

    /// Reads everything from the disk and checks it: every block, their order and place, the filter,
    /// counts, sum, key and sequence range, and the hash of the whole.
    ///
    /// # Errors
    /// `Corrupt` naming the place, or `Io`.
    pub fn verify(&self) -> Result<()> {
        verify::verify(self)
    }

    /// Whether the filter, if there is one, leaves room for a key with this hash.
    pub(super) fn may_contain(&self, hash: u64, fill: FillCache) -> Result<bool> {
        if self.sections.filter.is_empty() {
            return Ok(self.height > 0);
        }
        let handle = handle_of(&self.sections.filter);
        let block = self.blocks.one(handle, fill)?;
        let answer = filter::may_contain(seal::contents(&block), hash);
        self.blocks.located(handle.offset, answer)
    }

    /// The root of the index; `None` without entries.
    pub(super) fn root(&self, fill: FillCache) -> Result<Option<(Handle, Arc<[u8]>)>> {
        if self.height == 0 {
            return Ok(None);
        }
        let handle = handle_of(&self.sections.root);
        let block = match &self.root {
            Some(root) => Arc::clone(root),
            None => self.blocks.one(handle, fill)?,
        };
        Ok(Some((handle, block)))
    }

    /// Starts a cursor over a block; `key` is spare memory.
    pub(super) fn place(&self, handle: Handle, block: Arc<[u8]>, key: Vec<u8>) -> Result<Placed> {
        let cursor = self.blocks.located(handle.offset, BlockCursor::new(block, key))?;
        Ok(Placed { cursor, offset: handle.offset })
    }

    /// The handle under a cursor over an index block; `None` when it is on no entry.
    pub(super) fn handle(&self, index: &Placed) -> Result<Option<Handle>> {
        let Some(entry) = index.cursor.entry() else {
            return Ok(None);
        };
        let handle = Handle::decode(entry.value, self.sections.blocks.end);
        self.blocks.located(index.offset, handle).map(Some)
    }
}

/// A section as one block. Its range was checked against the segment when that was opened.
pub(super) fn handle_of(section: &Range<u64>) -> Handle {
    let length = usize::try_from(section.end - section.start);
    Handle { offset: section.start, length: length.expect("a segment's lengths fit memory's") }
}

/// The end of a segment, read at once.
struct Tail {
    start: u64,
    bytes: Vec<u8>,
}

impl Tail {
    fn read(blocks: &Blocks) -> Result<Self> {
        let end = blocks.offset.checked_add(blocks.length);
        if end.is_none_or(|end| end > blocks.source.len()) {
            return Err(blocks.corrupt(0, "the file ends before a segment in it does"));
        }
        if blocks.length < FOOTER_BYTES as u64 {
            return Err(blocks.corrupt(0, "a segment is too short"));
        }
        let length = blocks.length.min(TAIL_BYTES);
        let start = blocks.length - length;
        let mut bytes = vec![0; length as usize];
        blocks.read(start, &mut bytes)?;
        Ok(Self { start, bytes })
    }

    fn footer(&self, blocks: &Blocks) -> Result<Footer> {
        let bytes = &self.bytes[self.bytes.len() - FOOTER_BYTES..];
        let at = blocks.length - FOOTER_BYTES as u64;
        Footer::decode(bytes, blocks.length).map_err(|refused| match refused {
            Refused::Damaged(reason) => blocks.corrupt(at, reason),
            Refused::Newer(version) => Error::new(
                ErrorKind::NewerFormat,
                format!("a segment has format version {version}, which this version cannot read"),
            )
            .at(blocks.source.path(), blocks.offset + at),
        })
    }

    /// A stored block that is a whole section, checked: from the tail if it is there.
    fn section(&self, blocks: &Blocks, range: &Range<u64>) -> Result<Vec<u8>> {
        let handle = handle_of(range);
        let from = range.start.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let here = from.and_then(|from| self.bytes.get(from..from + handle.length));
        let bytes = if let Some(here) = here {
            here.to_vec()
        } else {
            let mut bytes = vec![0; handle.length];
            blocks.read(range.start, &mut bytes)?;
            bytes
        };
        blocks.check(&bytes, range.start)?;
        Ok(bytes)
    }
}
