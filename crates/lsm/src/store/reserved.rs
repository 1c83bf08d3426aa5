//! [`Reserved`]: names that running restores and offloads have claimed.
//!
//! It is part of the leader's state, so a claim has its place between two entries of the commit
//! queue: what was placed before it is in the catalog that it is checked against, and what comes
//! after it is refused at its own place.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    catalog::{Catalog, Tenant, TenantStatus},
    error::{Error, ErrorKind, Result},
    restore::RestoreTarget,
};

/// Names that others may neither take nor take away.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    /// Collections that are to be.
    collections: BTreeSet<String>,
    /// Tenants that are to be or to change, by their collection, which must stay what it is.
    tenants: BTreeMap<String, BTreeSet<String>>,
}

impl Reserved {
    /// Claims all targets or none.
    ///
    /// # Errors
    /// `Exists`, naming all conflicts, when names are taken; `NotFound` for tenants of a collection
    /// that is not there; `Invalid` when a tenant is not FROZEN; `Unavailable` for what is claimed.
    pub(crate) fn claim(&mut self, catalog: &Catalog, targets: &[RestoreTarget]) -> Result<()> {
        let (mut taken, mut claimed) = (BTreeSet::new(), BTreeSet::new());
        for target in targets {
            match target {
                RestoreTarget::Collection(name) => {
                    if catalog.collections.contains_key(name.as_str()) {
                        taken.insert(name.clone());
                    } else if self.collections.contains(name) {
                        claimed.insert(name.clone());
                    }
                }
                RestoreTarget::Tenants { collection, tenants } => {
                    let found = catalog.collection(collection)?;
                    for tenant in tenants {
                        if found.tenants.contains_key(tenant.as_str()) {
                            taken.insert(format!("{collection}/{tenant}"));
                        } else if self.has_tenant(collection, tenant) {
                            claimed.insert(format!("{collection}/{tenant}"));
                        }
                    }
                }
                RestoreTarget::Frozen { collection, tenant } => {
                    let found = self.unclaimed_tenant(catalog, collection, tenant)?;
                    if found.status != TenantStatus::Frozen {
                        let message = format!("tenant '{tenant}' of '{collection}' is not FROZEN");
                        return Err(Error::new(ErrorKind::Invalid, message));
                    }
                }
            }
        }
        refuse_taken(&taken)?;
        refuse_claimed(&claimed)?;
        for target in targets {
            self.take(target);
        }
        Ok(())
    }

    /// Claims a tenant that is to be offloaded.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when it is FROZEN already; `Unavailable` when it is claimed.
    pub(crate) fn claim_tenant(
        &mut self,
        catalog: &Catalog,
        collection: &str,
        tenant: &str,
    ) -> Result<Tenant> {
        let found = self.unclaimed_tenant(catalog, collection, tenant)?;
        if found.status == TenantStatus::Frozen {
            let message = format!("tenant '{tenant}' of '{collection}' is FROZEN already");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        self.tenants.entry(collection.to_owned()).or_default().insert(tenant.to_owned());
        Ok(found)
    }

    /// Gives up what [`Reserved::claim`] took.
    pub(crate) fn release(&mut self, targets: &[RestoreTarget]) {
        for target in targets {
            if let RestoreTarget::Collection(name) = target {
                self.collections.remove(name);
            }
            for tenant in target.tenants() {
                self.release_tenant(target.collection(), tenant);
            }
        }
    }

    /// Gives up what [`Reserved::claim_tenant`] took.
    pub(crate) fn release_tenant(&mut self, collection: &str, tenant: &str) {
        if let Some(tenants) = self.tenants.get_mut(collection) {
            tenants.remove(tenant);
            if tenants.is_empty() {
                self.tenants.remove(collection);
            }
        }
    }

    /// Refuses to give a collection a claimed name.
    ///
    /// # Errors
    /// `Exists`.
    pub(crate) fn check_new_collection(&self, name: &str) -> Result<()> {
        if self.collections.contains(name) {
            let message = format!("collection '{name}' is being restored; wait, or pick another");
            return Err(Error::new(ErrorKind::Exists, message));
        }
        Ok(())
    }

    /// Refuses to drop or rename a collection whose tenants are claimed.
    ///
    /// # Errors
    /// `Unavailable`, naming one.
    pub(crate) fn check_collection(&self, name: &str) -> Result<()> {
        let claimed = self.tenants.get(name).and_then(BTreeSet::first);
        claimed.map_or(Ok(()), |tenant| Err(busy(name, tenant)))
    }

    /// Refuses to give tenants claimed names.
    ///
    /// # Errors
    /// `Exists`, naming one.
    pub(crate) fn check_new_tenants(&self, collection: &str, names: &[&str]) -> Result<()> {
        match names.iter().find(|name| self.has_tenant(collection, name)) {
            None => Ok(()),
            Some(name) => {
                let message = format!(
                    "tenant '{name}' of '{collection}' is being restored; wait, or pick another"
                );
                Err(Error::new(ErrorKind::Exists, message))
            }
        }
    }

    /// Refuses to change tenants that are claimed.
    ///
    /// # Errors
    /// `Unavailable`, naming one.
    pub(crate) fn check_tenants(&self, collection: &str, names: &[&str]) -> Result<()> {
        let claimed = names.iter().find(|name| self.has_tenant(collection, name));
        claimed.map_or(Ok(()), |name| Err(busy(collection, name)))
    }

    fn take(&mut self, target: &RestoreTarget) {
        match target {
            RestoreTarget::Collection(name) => _ = self.collections.insert(name.clone()),
            RestoreTarget::Tenants { .. } | RestoreTarget::Frozen { .. } => {
                let claimed = self.tenants.entry(target.collection().to_owned()).or_default();
                claimed.extend(target.tenants().iter().cloned());
            }
        }
    }

    fn has_tenant(&self, collection: &str, tenant: &str) -> bool {
        self.tenants.get(collection).is_some_and(|tenants| tenants.contains(tenant))
    }

    fn unclaimed_tenant(
        &self,
        catalog: &Catalog,
        collection: &str,
        tenant: &str,
    ) -> Result<Tenant> {
        let found = catalog.collection(collection)?.tenant(tenant)?;
        self.check_tenants(collection, &[tenant])?;
        Ok(found)
    }
}

fn refuse_taken(conflicts: &BTreeSet<String>) -> Result<()> {
    if conflicts.is_empty() {
        return Ok(());
    }
    let with_tenants = conflicts.iter().any(|name| name.contains('/'));
    let what = if with_tenants { "collections or tenants" } else { "collections" };
    let names: Vec<&str> = conflicts.iter().map(String::as_str).collect();
    let message = format!(
        "these {what} exist already: {}; drop or rename them, or restore under other names",
        names.join(", ")
    );
    Err(Error::new(ErrorKind::Exists, message))
}

fn refuse_claimed(conflicts: &BTreeSet<String>) -> Result<()> {
    if conflicts.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = conflicts.iter().map(String::as_str).collect();
    let message =
        format!("another restore is making {}; wait for that, or cancel it", names.join(", "));
    Err(Error::new(ErrorKind::Unavailable, message))
}

fn busy(collection: &str, tenant: &str) -> Error {
    let message = format!(
        "tenant '{tenant}' of '{collection}' is being restored, offloaded or fetched back; wait for \
         that, or cancel it"
    );
    Error::new(ErrorKind::Unavailable, message)
}
