//! What a restore adds to a store, in words that name no place of the store it came from.

use crate::{
    catalog::TenantStatus,
    types::{FileId, SegmentMeta, Sequence},
};

/// Everything a restore adds, in one edit.
#[derive(Clone, Debug, Default)]
pub struct RestorePlan {
    /// The collections, under the names they get.
    pub collections: Vec<RestoredCollection>,
    /// The sequence of the backup's cut; no segment holds a higher one. The store goes on above
    /// it.
    pub sequence: Sequence,
}

/// One collection to be made.
#[derive(Clone, Debug)]
pub struct RestoredCollection {
    /// Its name in this store.
    pub name: String,
    /// Segments of the collection's own tree.
    pub segments: Vec<RestoredSegment>,
    /// Its tenants.
    pub tenants: Vec<RestoredTenant>,
}

/// One tenant to be made.
#[derive(Clone, Debug)]
pub struct RestoredTenant {
    /// Its name.
    pub name: String,
    /// Whether it answers.
    pub status: TenantStatus,
    /// Segments of its tree.
    pub segments: Vec<RestoredSegment>,
}

/// One segment in a file of the restore's ticket.
#[derive(Clone, Debug)]
pub struct RestoredSegment {
    /// The level it had, and gets.
    pub level: u8,
    /// A file made by the ticket.
    pub file: FileId,
    /// Byte offset in that file.
    pub offset: u64,
    /// What is known of it.
    pub meta: SegmentMeta,
}

impl RestorePlan {
    /// The segments of each tree.
    pub fn trees(&self) -> impl Iterator<Item = &[RestoredSegment]> {
        self.collections.iter().flat_map(|collection| {
            let tenants = collection.tenants.iter().map(|tenant| tenant.segments.as_slice());
            std::iter::once(collection.segments.as_slice()).chain(tenants)
        })
    }

    /// All segments of all trees.
    pub fn segments(&self) -> impl Iterator<Item = &RestoredSegment> {
        self.trees().flatten()
    }
}
