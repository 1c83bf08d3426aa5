//! Taking restored segments in: reserved names and file ids, then one edit, all or nothing.
//! skeleton: owner of store/

use siltstone_io::disk::StreamWriter;

use crate::{catalog::TenantStatus, error::Result, types::{FileId, SegmentMeta, Sequence}};

/// A restore in progress: its names are refused to others, its files belong to no edit yet. Dropping it without
/// commit removes its files and frees the names.
#[derive(Debug)]
pub struct RestoreTicket {}

/// What a restore adds.
#[derive(Clone, Debug, Default)]
pub struct RestorePlan {
    pub collections: Vec<RestoredCollection>,
    /// Highest sequence in the backup; <= RESTORED_SEQUENCE_MAX.
    pub sequence: Sequence,
}

#[derive(Clone, Debug)]
pub struct RestoredCollection {
    pub name: String,
    /// Segments of the collection's own tree.
    pub segments: Vec<RestoredSegment>,
    pub tenants: Vec<RestoredTenant>,
}

#[derive(Clone, Debug)]
pub struct RestoredTenant {
    pub name: String,
    pub status: TenantStatus,
    pub segments: Vec<RestoredSegment>,
}

#[derive(Clone, Debug)]
pub struct RestoredSegment {
    pub level: u8,
    /// A file made by this ticket.
    pub file: FileId,
    pub offset: u64,
    pub meta: SegmentMeta,
}

impl RestoreTicket {
    /// Creates a file under a fresh reserved id. Finish the stream before `commit`.
    pub fn create_file(&mut self, _len_hint: u64) -> Result<(FileId, Box<dyn StreamWriter>)> {
        todo!()
    }
    /// Syncs the folder, opens and verifies each segment's frame (footer vs meta), then one edit through the
    /// commit queue: fresh tree ids, names checked again, sequence raised.
    pub fn commit(self, _plan: RestorePlan) -> Result<()> {
        todo!()
    }
}
