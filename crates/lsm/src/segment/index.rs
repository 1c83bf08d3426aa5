//! The index of a segment: built as leaves under a root, searched one leaf at a time.

use std::{cmp::Ordering, mem};

use crate::{
    error::Result,
    format::segment::{
        Decoded,
        block::{BlockBuilder, BlockCursor, Handle},
    },
    segment::{FillCache, reader::SegmentReader},
    types::{Entry, EntryKind, Sequence},
};

/// Collects the separators and handles of data blocks. Holds the leaves until the end: they follow
/// the data blocks, and the data blocks follow each other.
#[derive(Debug)]
pub(super) struct IndexBuilder {
    /// Target size of a leaf, in bytes.
    target: usize,
    leaf: BlockBuilder,
    /// The separator of the current leaf: that of its first block.
    separator: (Vec<u8>, Sequence),
    leaves: Vec<Leaf>,
    /// Bytes of the leaves and of the root over them.
    leaf_bytes: usize,
}

/// About what a leaf takes besides its contents and its separator: trailer, handle, lengths.
const ROOT_ENTRY_BYTES: usize = 16;

#[derive(Debug)]
struct Leaf {
    separator: (Vec<u8>, Sequence),
    contents: Vec<u8>,
}

/// What is left of a finished index once its leaves are written.
#[derive(Debug)]
pub(super) struct Finished {
    /// Contents of the root; `None` without entries.
    pub(super) root: Option<Vec<u8>>,
    /// 0 without entries, 1 if the root leads to data blocks, 2 if to leaves.
    pub(super) height: u8,
}

impl IndexBuilder {
    /// Starts an index whose leaves have about `target` bytes.
    pub(super) fn new(target: usize) -> Self {
        Self {
            target,
            leaf: BlockBuilder::default(),
            separator: (Vec::new(), 0),
            leaves: Vec::new(),
            leaf_bytes: 0,
        }
    }

    /// Adds the next data block.
    pub(super) fn add(&mut self, key: &[u8], sequence: Sequence, handle: Handle) {
        let full = self.leaf.stored_bytes() + key.len() + 24 > self.target;
        if full && !self.leaf.is_empty() {
            self.cut_leaf();
        }
        if self.leaf.is_empty() {
            self.separator = (key.to_vec(), sequence);
        }
        push(&mut self.leaf, key, sequence, handle);
    }

    /// Bytes of the index so far.
    pub(super) fn stored_bytes(&self) -> usize {
        self.leaf_bytes + self.leaf.stored_bytes()
    }

    /// Hands the leaves to `write`, if there are several, and returns the root.
    pub(super) fn finish(
        mut self,
        mut write: impl FnMut(Vec<u8>) -> Result<Handle>,
    ) -> Result<Finished> {
        if self.leaf.is_empty() {
            return Ok(Finished { root: None, height: 0 });
        }
        if self.leaves.is_empty() {
            return Ok(Finished { root: Some(self.leaf.finish()), height: 1 });
        }
        self.cut_leaf();
        let mut root = BlockBuilder::default();
        for leaf in self.leaves {
            let handle = write(leaf.contents)?;
            push(&mut root, &leaf.separator.0, leaf.separator.1, handle);
        }
        Ok(Finished { root: Some(root.finish()), height: 2 })
    }

    fn cut_leaf(&mut self) {
        let contents = self.leaf.finish();
        self.leaf_bytes += contents.len() + self.separator.0.len() + ROOT_ENTRY_BYTES;
        self.leaves.push(Leaf { separator: mem::take(&mut self.separator), contents });
    }
}

fn push(block: &mut BlockBuilder, key: &[u8], sequence: Sequence, handle: Handle) {
    let mut value = Vec::with_capacity(15);
    handle.encode(&mut value);
    block.add(Entry { key, sequence, kind: EntryKind::Put, value: &value });
}

/// A cursor over one block that knows where the block lies.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) cursor: BlockCursor,
    pub(super) offset: u64,
}

/// A position among the data blocks of a segment.
#[derive(Debug)]
pub(super) struct IndexCursor {
    /// `None` for a segment without entries.
    root: Option<Placed>,
    /// The leaf under the root's entry, in an index of height 2.
    leaf: Option<Placed>,
    fill: FillCache,
}

impl IndexCursor {
    pub(super) fn new(reader: &SegmentReader, fill: FillCache) -> Result<Self> {
        let root = match reader.root(fill)? {
            Some((handle, block)) => Some(reader.place(handle, block, Vec::new())?),
            None => None,
        };
        Ok(Self { root, leaf: None, fill })
    }

    /// Goes to the first data block.
    pub(super) fn first(&mut self, reader: &SegmentReader) -> Result<Option<Handle>> {
        self.descend(reader, BlockCursor::seek_first)
    }

    /// Goes to the last data block.
    pub(super) fn last(&mut self, reader: &SegmentReader) -> Result<Option<Handle>> {
        self.descend(reader, BlockCursor::seek_last)
    }

    /// Goes to the last data block whose separator is at or below the target: the only one that can
    /// hold it.
    pub(super) fn floor(
        &mut self,
        reader: &SegmentReader,
        target: (&[u8], Sequence),
    ) -> Result<Option<Handle>> {
        self.descend(reader, |cursor| cursor.seek_last_where(target, Ordering::is_le))
    }

    /// Goes to the next data block.
    pub(super) fn next(&mut self, reader: &SegmentReader) -> Result<Option<Handle>> {
        self.advance(reader, BlockCursor::advance, BlockCursor::seek_first)
    }

    /// Goes to the data block before.
    pub(super) fn prev(&mut self, reader: &SegmentReader) -> Result<Option<Handle>> {
        self.advance(reader, BlockCursor::retreat, BlockCursor::seek_last)
    }

    /// The root, and the leaf under its entry if there are leaves.
    pub(super) fn levels(&self) -> (Option<&Placed>, Option<&Placed>) {
        (self.root.as_ref(), self.leaf.as_ref())
    }

    /// The separator of the current data block.
    pub(super) fn separator(&self) -> Option<(&[u8], Sequence)> {
        self.lowest()?.cursor.entry().map(|entry| (entry.key, entry.sequence))
    }

    fn descend(
        &mut self,
        reader: &SegmentReader,
        go: impl Fn(&mut BlockCursor) -> Decoded<()>,
    ) -> Result<Option<Handle>> {
        if let Some(root) = &mut self.root {
            reader.blocks.located(root.offset, go(&mut root.cursor))?;
        }
        self.enter_leaf(reader, go)
    }

    /// Moves in the leaf, and where it ends, in the root and from its `edge` in the leaf there.
    fn advance(
        &mut self,
        reader: &SegmentReader,
        step: fn(&mut BlockCursor) -> Decoded<()>,
        edge: fn(&mut BlockCursor) -> Decoded<()>,
    ) -> Result<Option<Handle>> {
        if let Some(leaf) = &mut self.leaf {
            reader.blocks.located(leaf.offset, step(&mut leaf.cursor))?;
            if leaf.cursor.entry().is_some() {
                return self.handle(reader);
            }
        }
        if let Some(root) = &mut self.root {
            reader.blocks.located(root.offset, step(&mut root.cursor))?;
        }
        self.enter_leaf(reader, edge)
    }

    fn enter_leaf(
        &mut self,
        reader: &SegmentReader,
        go: impl Fn(&mut BlockCursor) -> Decoded<()>,
    ) -> Result<Option<Handle>> {
        if reader.height < 2 {
            return self.handle(reader);
        }
        let old = self.leaf.take();
        let Some(handle) = self.root.as_ref().map_or(Ok(None), |root| reader.handle(root))? else {
            return Ok(None);
        };
        let mut leaf = match old {
            Some(leaf) if leaf.offset == handle.offset => leaf,
            old => {
                let key = old.map_or_else(Vec::new, |leaf| leaf.cursor.into_key_memory());
                reader.place(handle, reader.blocks.one(handle, self.fill)?, key)?
            }
        };
        reader.blocks.located(leaf.offset, go(&mut leaf.cursor))?;
        self.leaf = Some(leaf);
        self.handle(reader)
    }

    /// The block whose entries lead to data blocks.
    fn lowest(&self) -> Option<&Placed> {
        self.leaf.as_ref().or(self.root.as_ref())
    }

    fn handle(&self, reader: &SegmentReader) -> Result<Option<Handle>> {
        self.lowest().map_or(Ok(None), |block| reader.handle(block))
    }
}
