//! [`DescriptorReader`]: from the parts of a descriptor to what a backup holds, fully checked.
//!
//! Whatever passes is safe to rely on: names are plain and unique, trees exist, every segment lies
//! in frames that exist and fit it, and the totals agree with the config.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use siltstone_lsm::{
    catalog::check_name,
    format::primitives::hash,
    types::{KEY_BYTES_MAX, SegmentMeta, Sequence, TreeId, Uid},
    version::LEVELS_MAX,
};

use crate::{
    error::{Error, Result},
    format::{
        chunk::{Chunk, Extent},
        config::{Config, Totals},
        descriptor::{Descriptor, LINE_BYTES_MAX, StoredCollection, StoredSegment, StoredTenant},
        lines::{Line, PartLine},
    },
    names::ChunkId,
};

/// Reads and checks the parts of a descriptor, one at a time.
#[derive(Debug)]
pub struct DescriptorReader {
    config: Config,
    parts_read: usize,
    section: Section,
    totals: Totals,
    trees: BTreeSet<TreeId>,
    collections: Vec<StoredCollection>,
    chunks: Vec<Chunk>,
    chunks_known: BTreeMap<ChunkId, KnownChunk>,
    segments: Vec<StoredSegment>,
    homes: BTreeSet<(TreeId, Uid)>,
    bytes_known: BTreeMap<Uid, usize>,
}

/// What lines may come next; sections do not go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Catalog,
    Chunks,
    Segments,
}

#[derive(Debug)]
struct KnownChunk {
    index: usize,
    frame_starts: Vec<u64>,
    used: bool,
}

/// Why a line is refused.
#[derive(Debug)]
struct Refusal(String);

impl<D: fmt::Display> From<D> for Refusal {
    fn from(reason: D) -> Self {
        Self(reason.to_string())
    }
}

type Checked<T> = std::result::Result<T, Refusal>;

impl DescriptorReader {
    /// Starts from the config.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            parts_read: 0,
            section: Section::Catalog,
            totals: Totals::default(),
            trees: BTreeSet::new(),
            collections: Vec::new(),
            chunks: Vec::new(),
            chunks_known: BTreeMap::new(),
            segments: Vec::new(),
            homes: BTreeSet::new(),
            bytes_known: BTreeMap::new(),
        }
    }

    /// The object of the next part and its length in bytes; `None` when all were added.
    pub fn next_part(&self) -> Option<(String, u64)> {
        let info = self.config.parts.get(self.parts_read)?;
        Some((self.object(), info.length))
    }

    /// Adds the next part.
    ///
    /// # Errors
    /// `Corrupt`, naming the object and the line.
    pub fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let object = self.object();
        let Some(info) = self.config.parts.get(self.parts_read) else {
            return Err(Error::corrupt(object, "the config does not list it"));
        };
        if info.length != bytes.len() as u64 || info.hash != hash(bytes) {
            return Err(Error::corrupt(object, "it does not match the hash in the config"));
        }
        let lines = bytes
            .strip_suffix(b"\n")
            .ok_or_else(|| Error::corrupt(&object, "it does not end with a line"))?;
        for (index, line) in lines.split(|byte| *byte == b'\n').enumerate() {
            let number = index.saturating_add(1);
            self.add_line(number, line).map_err(|Refusal(reason)| {
                Error::corrupt(&object, format_args!("line {number}: {reason}"))
            })?;
        }
        self.parts_read = self.parts_read.saturating_add(1);
        Ok(())
    }

    /// The whole, once all parts are added.
    ///
    /// # Errors
    /// `Corrupt` when parts, lines or chunks are missing, or do not agree with the config.
    pub fn finish(self) -> Result<Descriptor> {
        let config_object = self.config.id.config_object();
        if self.parts_read != self.config.parts.len() {
            return Err(Error::corrupt(config_object, "it lists parts that were not read"));
        }
        if self.chunks_known.values().any(|chunk| !chunk.used) {
            return Err(Error::corrupt(config_object, "its parts list a chunk without segments"));
        }
        let uploaded_bytes = self.config.totals.uploaded_bytes;
        if self.config.totals != (Totals { uploaded_bytes, ..self.totals }) {
            return Err(Error::corrupt(config_object, "its totals differ from its parts"));
        }
        let Self { config, collections, chunks, segments, .. } = self;
        Ok(Descriptor { config, collections, chunks, segments })
    }

    fn object(&self) -> String {
        let number = u32::try_from(self.parts_read).unwrap_or(u32::MAX);
        self.config.id.part_object(&self.config.node, self.config.attempt, number)
    }

    fn add_line(&mut self, number: usize, line: &[u8]) -> Checked<()> {
        if line.len() > LINE_BYTES_MAX {
            return Err("the line is too long".into());
        }
        let line: Line = serde_json::from_slice(line)?;
        match line {
            Line::Part(part) => self.add_part_line(number, &part),
            _ if number == 1 => Err("a part does not begin with its name".into()),
            Line::Collection(collection) => self.add_collection(collection.into()),
            Line::Tenant(tenant) => self.add_tenant(tenant.into()),
            Line::Chunk(chunk) => self.add_chunk(chunk.into()),
            Line::Segment(segment) => self.add_segment((*segment).into()),
        }
    }

    fn add_part_line(&self, number: usize, part: &PartLine) -> Checked<()> {
        let config = &self.config;
        let ours = part.id == config.id && part.attempt == config.attempt;
        let in_place = usize::try_from(part.number).ok() == Some(self.parts_read) && number == 1;
        if ours && in_place { Ok(()) } else { Err("the part belongs elsewhere".into()) }
    }

    fn enter(&mut self, section: Section) -> Checked<()> {
        if section < self.section {
            return Err("the line comes too late".into());
        }
        self.section = section;
        Ok(())
    }

    fn add_collection(&mut self, collection: StoredCollection) -> Checked<()> {
        self.enter(Section::Catalog)?;
        check_name(&collection.name)?;
        if self.collections.last().is_some_and(|last| last.name >= collection.name) {
            return Err("collections are not in the order of their names".into());
        }
        self.add_tree(collection.tree)?;
        count(&mut self.totals.collections, 1)?;
        self.collections.push(collection);
        Ok(())
    }

    fn add_tenant(&mut self, tenant: StoredTenant) -> Checked<()> {
        self.enter(Section::Catalog)?;
        check_name(&tenant.name)?;
        self.add_tree(tenant.tree)?;
        count(&mut self.totals.tenants, 1)?;
        let collection = self.collections.last_mut().ok_or("a tenant without a collection")?;
        if collection.tenants.last().is_some_and(|last| last.name >= tenant.name) {
            return Err("tenants are not in the order of their names".into());
        }
        collection.tenants.push(tenant);
        Ok(())
    }

    fn add_tree(&mut self, tree: TreeId) -> Checked<()> {
        if self.trees.insert(tree) { Ok(()) } else { Err(format!("{tree} comes twice").into()) }
    }

    fn add_chunk(&mut self, chunk: Chunk) -> Checked<()> {
        self.enter(Section::Chunks)?;
        chunk.check()?;
        let index = self.chunks.len();
        let known = KnownChunk { index, frame_starts: chunk.frame_starts(), used: false };
        if self.chunks_known.insert(chunk.id, known).is_some() {
            return Err(format!("chunk {} comes twice", chunk.id).into());
        }
        count(&mut self.totals.chunks, 1)?;
        count(&mut self.totals.chunk_bytes, chunk.length)?;
        self.chunks.push(chunk);
        Ok(())
    }

    fn add_segment(&mut self, segment: StoredSegment) -> Checked<()> {
        self.enter(Section::Segments)?;
        let (tree, uid) = (segment.tree, segment.meta.uid);
        if !self.trees.contains(&tree) {
            return Err(format!("{tree} of segment {uid} is in no collection").into());
        }
        if !self.homes.insert((tree, uid)) {
            return Err(format!("segment {uid} comes twice in {tree}").into());
        }
        if segment.level >= LEVELS_MAX {
            return Err(format!("segment {uid} is on a level that cannot be").into());
        }
        check_meta(&segment.meta, self.config.sequence)?;
        match self.bytes_known.get(&uid).and_then(|index| self.segments.get(*index)) {
            Some(other) if other.meta == segment.meta && other.extents == segment.extents => {}
            Some(_) => return Err(format!("segment {uid} is described in two ways").into()),
            None => {
                self.check_extents(&segment.extents, segment.meta.length)?;
                self.bytes_known.insert(uid, self.segments.len());
            }
        }
        count(&mut self.totals.segments, 1)?;
        count(&mut self.totals.segment_bytes, segment.meta.length)?;
        self.segments.push(segment);
        Ok(())
    }

    fn check_extents(&mut self, extents: &[Extent], length: u64) -> Checked<()> {
        let (mut part, mut total) = (0_u32, 0_u64);
        for extent in extents {
            let id = extent.chunk;
            let known = self.chunks_known.get_mut(&id);
            let known = known.ok_or_else(|| format!("chunk {id} is not described"))?;
            known.used = true;
            let chunk = self.chunks.get(known.index).ok_or("a chunk is not described")?;
            let slots = chunk.slots(&known.frame_starts, extent, part)?;
            let parts = u32::try_from(slots.len())?;
            part = part.checked_add(parts).ok_or("a segment has too many parts")?;
            count(&mut total, extent.length)?;
        }
        let whole = !extents.is_empty() && total == length;
        if whole { Ok(()) } else { Err("the extents are not as long as their segment".into()) }
    }
}

fn check_meta(meta: &SegmentMeta, cut: Sequence) -> Checked<()> {
    let counts = [meta.counts.puts, meta.counts.deletes, meta.counts.range_deletes];
    if counts.iter().any(|count| *count > meta.length) {
        return Err("a segment claims more entries than bytes".into());
    }
    let key_max = meta.key_max.as_ref();
    if meta.key_min.len() > KEY_BYTES_MAX || key_max.is_some_and(|max| *max < meta.key_min) {
        return Err("a segment has an impossible key range".into());
    }
    if meta.sequence_min > meta.sequence_max || meta.sequence_max > cut {
        return Err("a segment has an impossible sequence range".into());
    }
    Ok(())
}

fn count(total: &mut u64, more: u64) -> Checked<()> {
    *total = total.checked_add(more).ok_or("a total passes 64 bits")?;
    Ok(())
}
