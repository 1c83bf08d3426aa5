//! The catalog: collections, tenants, and the trees behind them. Lives in the manifest.
//! skeleton: owner of version.rs, catalog.rs, manifest/.

use std::{collections::BTreeMap, sync::Arc};

use crate::types::TreeId;

/// All collections by name. Persistent: clones share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    pub collections: BTreeMap<Arc<str>, Arc<Collection>>,
}

/// One collection: either one tree, or one tree a tenant, or both (plain rows beside tenants).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Stable across renames; never reused.
    pub id: u64,
    pub name: Arc<str>,
    /// The tree of the collection's own rows.
    pub tree: TreeId,
    pub tenants: BTreeMap<Arc<str>, Tenant>,
}

/// One tenant of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenant {
    pub tree: TreeId,
    pub status: TenantStatus,
}

/// Whether a tenant answers reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TenantStatus {
    #[default]
    Hot,
    /// On disk only: reads and writes are refused until it is HOT again. Backups include it.
    Cold,
}

/// Checks a collection or tenant name: 1..=255 bytes, no control characters, no '/'.
pub fn check_name(_name: &str) -> crate::error::Result<()> {
    todo!()
}
