//! [`FreezeTicket`]: taking the rows of a tenant off this disk, all or nothing.
//!
//! The tenant is COLD from the first step on, so that nothing is written behind the cut. Until the
//! edit of [`FreezeTicket::commit`] is durable, the tenant is whole on this disk; from then on it is
//! whole wherever the caller has put it. The caller makes the copy durable before it commits.

use std::sync::Arc;

use crate::{
    catalog::{TenantStatus, check_location},
    cut::Cut,
    error::Result,
    manifest::Record,
    store::{
        core::{Core, lock},
        work::PlannedEdit,
    },
    types::TreeId,
};

/// A tenant that is being offloaded. Nobody else can change it until it commits or is dropped.
#[derive(Debug)]
pub struct FreezeTicket {
    core: Arc<Core>,
    collection: String,
    tenant: String,
    /// What it was before.
    status: TenantStatus,
    tree: TreeId,
    cut: Option<Cut>,
}

impl FreezeTicket {
    /// Claims the tenant, makes it COLD, and cuts its rows.
    pub(crate) fn begin(core: &Arc<Core>, collection: &str, tenant: &str) -> Result<Self> {
        core.check_writable()?;
        let mut log = lock(&core.log);
        let catalog = Arc::clone(&log.catalog);
        let found = log.reserved.claim_tenant(&catalog, collection, tenant)?;
        drop(log);
        let mut ticket = Self {
            core: Arc::clone(core),
            collection: collection.to_owned(),
            tenant: tenant.to_owned(),
            status: found.status,
            tree: found.tree,
            cut: None,
        };
        if ticket.status == TenantStatus::Hot {
            ticket.set_status(TenantStatus::Cold)?;
        }
        let mut cut = match core.cut() {
            Ok(cut) => cut,
            Err(error) => {
                // The cause matters more; where the disk takes no edit, the tenant stays COLD.
                drop(ticket.abandon());
                return Err(error);
            }
        };
        cut.view = None;
        cut.segments.retain(|segment| segment.tree == ticket.tree);
        ticket.cut = Some(cut);
        Ok(ticket)
    }

    /// The rows of the tenant, as durable segments; the catalog is that of the whole store. Taken
    /// once; the segments stay pinned while it is held.
    ///
    /// # Panics
    /// When it is taken twice.
    pub fn take_cut(&mut self) -> Cut {
        self.cut.take().expect("the cut of a ticket is taken once")
    }

    /// Makes the tenant FROZEN and lets go of its rows on this disk. `location` says where they are,
    /// in the caller's words, without secrets: it is shown to whoever asks for a row.
    ///
    /// # Errors
    /// `Invalid` for a location that is empty, longer than
    /// [`LOCATION_BYTES_MAX`](crate::types::LOCATION_BYTES_MAX) bytes or not printable; or what the
    /// commit says. The tenant is COLD and whole here, unless the kind is `Indeterminate`.
    pub fn commit(self, location: &str) -> Result<()> {
        check_location(location)?;
        let (collection, name) = (self.collection.clone(), self.tenant.clone());
        let location = location.to_owned();
        let outcome = self.core.edit(move |log| {
            let found = log.catalog.collection(&collection)?;
            found.tenant(&name)?;
            let (collection, tree) = (found.id, log.next_tree);
            log.next_tree = tree.next();
            let records = vec![Record::FrozenTenant { collection, name, tree, location }];
            Ok(PlannedEdit { records, sequence_floor: 0 })
        });
        outcome.map(|_| ())
    }

    /// Gives up: the tenant is again what it was before. (A ticket that is dropped leaves it COLD.)
    ///
    /// # Errors
    /// What the commit says; the tenant is whole here all the same.
    pub fn abandon(self) -> Result<()> {
        if self.status == TenantStatus::Hot { self.set_status(TenantStatus::Hot) } else { Ok(()) }
    }

    fn set_status(&self, status: TenantStatus) -> Result<()> {
        let (collection, name) = (self.collection.clone(), self.tenant.clone());
        let outcome = self.core.edit(move |log| {
            let records = log.catalog.set_tenant_status(&collection, &[&name], status)?;
            Ok(PlannedEdit { records, sequence_floor: 0 })
        });
        outcome.map(|_| ())
    }
}

impl Drop for FreezeTicket {
    fn drop(&mut self) {
        lock(&self.core.log).reserved.release_tenant(&self.collection, &self.tenant);
    }
}
