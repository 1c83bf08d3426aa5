//! What a restore adds to a store, in words that name no place of the store it came from.

use std::collections::BTreeMap;

use crate::{
    catalog::TenantStatus,
    types::{FileId, SegmentMeta, Sequence},
};

/// What a restore makes, and keeps others from making while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreTarget {
    /// A collection, which must not be there.
    Collection(String),
    /// Tenants, which must not be there, of a collection that must.
    Tenants {
        /// The collection.
        collection: String,
        /// The tenants' names.
        tenants: Vec<String>,
    },
    /// The rows of a tenant, which must be there and FROZEN.
    Frozen {
        /// The collection.
        collection: String,
        /// The tenant's name.
        tenant: String,
    },
}

/// Everything a restore adds, in one edit.
#[derive(Clone, Debug, Default)]
pub struct RestorePlan {
    /// The collections, under the names they get; those that are there already get tenants alone.
    pub collections: Vec<RestoredCollection>,
    /// The sequence of the backup's cut; no segment holds a higher one. The store goes on above
    /// it.
    pub sequence: Sequence,
}

/// One collection to be made, or to get tenants.
#[derive(Clone, Debug)]
pub struct RestoredCollection {
    /// Its name in this store.
    pub name: String,
    /// Segments of the collection's own tree; none if the collection is there already.
    pub segments: Vec<RestoredSegment>,
    /// Its tenants.
    pub tenants: Vec<RestoredTenant>,
}

/// One tenant to be made, or fetched back.
#[derive(Clone, Debug)]
pub struct RestoredTenant {
    /// Its name.
    pub name: String,
    /// Whether it answers: HOT or COLD.
    pub status: TenantStatus,
    /// Segments of its tree.
    pub segments: Vec<RestoredSegment>,
}

/// One segment in a file of the restore's ticket.
#[derive(Clone, Debug)]
pub struct RestoredSegment {
    /// The level it had, and gets.
    pub level: u8,
    /// A file that the ticket made or took.
    pub file: FileId,
    /// Byte offset in that file.
    pub offset: u64,
    /// What is known of it.
    pub meta: SegmentMeta,
}

/// A complete file of a restore that did not get to its end. The manifest names it, so it survives
/// a reopen; no tree has its segments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldFile {
    /// The file.
    pub file: FileId,
    /// Its length in bytes, when it was written.
    pub length: u64,
    /// Its segments by their byte offset in the file. What is known of each was checked when it was
    /// written, and is checked again by whoever relies on it.
    pub segments: BTreeMap<u64, SegmentMeta>,
}

impl RestoreTarget {
    /// The collection that it is, or that it is in.
    pub fn collection(&self) -> &str {
        match self {
            Self::Collection(name) => name,
            Self::Tenants { collection, .. } | Self::Frozen { collection, .. } => collection,
        }
    }

    /// Its tenants; a collection of its own has any.
    pub fn tenants(&self) -> &[String] {
        match self {
            Self::Collection(_) => &[],
            Self::Tenants { tenants, .. } => tenants,
            Self::Frozen { tenant, .. } => std::slice::from_ref(tenant),
        }
    }
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
