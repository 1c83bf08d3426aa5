//! [`Content`]: what a descriptor is about to say, while prunes go on beside.
//!
//! It refers to chunks of others. One that a prune has condemned meanwhile still lives for
//! the grace, and is copied to an identity of this attempt's own.

use std::{collections::BTreeMap, mem};

use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        chunk::Chunk,
        config::{PartInfo, Totals},
        descriptor::{PartsWriter, StoredCollection, StoredSegment},
    },
    names::ChunkId,
    repository::{IntentHead, Repository},
};

/// How often chunks may be condemned under an attempt that is about to commit.
const RESCUES_MAX: usize = 4;

/// Everything that a descriptor lists.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) collections: Vec<StoredCollection>,
    /// Chunks of other backups and attempts, and the segments in them.
    pub(crate) reused_chunks: Vec<Chunk>,
    pub(crate) reused: Vec<StoredSegment>,
    /// Chunks of this attempt, and the segments in them; a part of these may lie in the others.
    pub(crate) new_chunks: Vec<Chunk>,
    pub(crate) new: Vec<StoredSegment>,
}

/// What an attempt needs to write its descriptor.
pub(crate) struct Sealer<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) head: &'a IntentHead,
    /// Makes an identity.
    pub(crate) unique_id: &'a dyn Fn() -> [u8; 16],
    /// Hears of each object before it is written, so that it goes if the attempt fails.
    pub(crate) remember: &'a dyn Fn(String) -> Result<()>,
}

impl Content {
    /// Writes the parts of the descriptor so that no chunk they refer to is condemned when this
    /// returns. Says what the config says of them.
    ///
    /// # Errors
    /// `Unavailable` when chunks are condemned again and again; and those of the backend.
    pub(crate) fn seal(&mut self, sealer: &Sealer<'_>) -> Result<(Vec<PartInfo>, Totals)> {
        self.rescue(sealer)?;
        for _ in 0..RESCUES_MAX {
            let (parts, mut totals) = self.put_parts(sealer)?;
            if !self.rescue(sealer)? {
                totals.uploaded_bytes = self.new_chunks.iter().map(|chunk| chunk.length).sum();
                return Ok((parts, totals));
            }
        }
        let message = "chunks of this backup are condemned again and again; try again";
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// Copies chunks of others that a prune has condemned. Whether there were any.
    fn rescue(&mut self, sealer: &Sealer<'_>) -> Result<bool> {
        let condemned = sealer.repository.condemned()?;
        let mut copies: BTreeMap<ChunkId, ChunkId> = BTreeMap::new();
        for chunk in self.reused_chunks.iter_mut().filter(|chunk| condemned.contains(&chunk.id)) {
            let copy = ChunkId((sealer.unique_id)());
            (sealer.remember)(copy.object())?;
            sealer.repository.copy_chunk(chunk, copy)?;
            copies.insert(mem::replace(&mut chunk.id, copy), copy);
        }
        let segments = self.reused.iter_mut().chain(&mut self.new);
        for extent in segments.flat_map(|segment| &mut segment.extents) {
            if let Some(copy) = copies.get(&extent.chunk) {
                extent.chunk = *copy;
            }
        }
        Ok(!copies.is_empty())
    }

    fn put_parts(&self, sealer: &Sealer<'_>) -> Result<(Vec<PartInfo>, Totals)> {
        let head = sealer.head;
        let mut writer = PartsWriter::new(head.id.clone(), head.attempt);
        let put = |part| {
            let object = Repository::part_object(&head.id, &head.node, head.attempt, &part);
            (sealer.remember)(object.clone())?;
            sealer.repository.put_part(&object, part)
        };
        for collection in &self.collections {
            writer.collection(collection)?.into_iter().try_for_each(put)?;
        }
        for chunk in self.reused_chunks.iter().chain(&self.new_chunks) {
            writer.chunk(chunk)?.into_iter().try_for_each(put)?;
        }
        for segment in self.reused.iter().chain(&self.new) {
            writer.segment(segment)?.into_iter().try_for_each(put)?;
        }
        let (last, parts, totals) = writer.finish();
        put(last)?;
        Ok((parts, totals))
    }
}
