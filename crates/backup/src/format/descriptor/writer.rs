//! [`PartsWriter`]: from what a backup holds to the parts of its descriptor.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::mem;

use siltstone_lsm::format::primitives::hash;

use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        chunk::Chunk,
        config::{PartInfo, Totals},
        descriptor::{LINE_BYTES_MAX, PART_BYTES_MAX, StoredCollection, StoredSegment},
        lines::{ChunkLine, CollectionLine, Line, PartLine, SegmentLine, TenantLine},
    },
    names::{AttemptId, BackupId},
};

/// Writes the lines of a descriptor into parts.
#[derive(Debug)]
pub struct PartsWriter {
    id: BackupId,
    attempt: AttemptId,
    part_bytes_max: u64,
    part: Vec<u8>,
    infos: Vec<PartInfo>,
    totals: Totals,
}

/// One part, ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Counted from 0.
    pub number: u32,
    /// The object's bytes.
    pub bytes: Vec<u8>,
}

impl PartsWriter {
    /// Starts the descriptor of one attempt.
    pub fn new(id: BackupId, attempt: AttemptId) -> Self {
        Self::with_part_bytes(id, attempt, PART_BYTES_MAX)
    }

    pub(super) fn with_part_bytes(id: BackupId, attempt: AttemptId, part_bytes_max: u64) -> Self {
        let (part, infos, totals) = (Vec::new(), Vec::new(), Totals::default());
        let mut writer = Self { id, attempt, part_bytes_max, part, infos, totals };
        writer.start_part();
        writer
    }

    /// Adds a collection and its tenants; collections come first, by name. Returns the parts that
    /// became full.
    ///
    /// # Errors
    /// `Invalid` when a limit of the format is passed.
    pub fn collection(&mut self, collection: &StoredCollection) -> Result<Vec<Part>> {
        count(&mut self.totals.collections, 1);
        let mut full = Vec::new();
        full.extend(self.push(&Line::Collection(CollectionLine::new(collection)))?);
        for tenant in &collection.tenants {
            count(&mut self.totals.tenants, 1);
            full.extend(self.push(&Line::Tenant(TenantLine::new(tenant)))?);
        }
        Ok(full)
    }

    /// Adds a chunk, after all collections. Returns a part if one became full.
    ///
    /// # Errors
    /// As [`PartsWriter::collection`].
    pub fn chunk(&mut self, chunk: &Chunk) -> Result<Option<Part>> {
        count(&mut self.totals.chunks, 1);
        count(&mut self.totals.chunk_bytes, chunk.length);
        self.push(&Line::Chunk(ChunkLine::new(chunk)))
    }

    /// Adds a segment, after all chunks. Returns a part if one became full.
    ///
    /// # Errors
    /// As [`PartsWriter::collection`].
    pub fn segment(&mut self, segment: &StoredSegment) -> Result<Option<Part>> {
        count(&mut self.totals.segments, 1);
        count(&mut self.totals.segment_bytes, segment.meta.length);
        self.push(&Line::Segment(Box::new(SegmentLine::new(segment))))
    }

    /// The last part, and what the config says of all; [`Totals::uploaded_bytes`] is left 0.
    pub fn finish(mut self) -> (Part, Vec<PartInfo>, Totals) {
        let last = self.end_part();
        (last, self.infos, self.totals)
    }

    fn push(&mut self, line: &Line) -> Result<Option<Part>> {
        let mut bytes = serde_json::to_vec(line).expect("these types always serialize");
        bytes.push(b'\n');
        if bytes.len() > LINE_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "a line of the descriptor would take {} bytes, more than {LINE_BYTES_MAX}: \
                     choose larger chunks",
                    bytes.len()
                ),
            ));
        }
        let full = self.part.len().saturating_add(bytes.len()) as u64 > self.part_bytes_max;
        let part = full.then(|| {
            let part = self.end_part();
            self.start_part();
            part
        });
        self.part.extend_from_slice(&bytes);
        Ok(part)
    }

    fn start_part(&mut self) {
        let (id, attempt) = (self.id.clone(), self.attempt);
        let line = Line::Part(PartLine { id, attempt, number: self.number() });
        self.part = serde_json::to_vec(&line).expect("these types always serialize");
        self.part.push(b'\n');
    }

    fn end_part(&mut self) -> Part {
        let number = self.number();
        let bytes = mem::take(&mut self.part);
        self.infos.push(PartInfo { length: bytes.len() as u64, hash: hash(&bytes) });
        Part { number, bytes }
    }

    fn number(&self) -> u32 {
        u32::try_from(self.infos.len()).expect("a config lists far fewer parts")
    }
}

fn count(total: &mut u64, more: u64) {
    *total = total.saturating_add(more);
}
