//! The catalog: collections, tenants, and the trees behind them. It lives in the manifest.
//!
//! A [`Catalog`] is a value: it changes by records alone ([`Catalog::apply`]), the same way in
//! memory and in replay, and clones share what has not changed. [`operations`] turns requests into
//! such records, or into an error that names the thing.
//!
//! Invariants:
//!
//! 1. Names are exact (no folding of case), unique among collections and among the tenants of one.
//! 2. Each collection and each tenant has a tree of its own; no tree has two owners.
//! 3. A tenant has a location if and only if it is FROZEN, and then its tree is empty: it was made
//!    when the tenant was frozen, and has never answered.

pub mod operations;

use std::sync::Arc;

use crate::{
    error::{Error, ErrorKind, Result},
    format::manifest::edit::Record,
    shared_map::SharedMap,
    types::{LOCATION_BYTES_MAX, NAME_BYTES_MAX, TreeId},
};

pub use crate::types::TenantStatus;

/// All collections by name. Clones share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// By name.
    pub collections: SharedMap<Arc<str>, Arc<Collection>>,
    names: SharedMap<u64, Arc<str>>,
    owners: SharedMap<TreeId, Owner>,
}

/// One collection: a tree for its own rows, and one a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Stable across renames; never reused.
    pub id: u64,
    /// The key it has in the catalog.
    pub name: Arc<str>,
    /// The tree of the collection's own rows.
    pub tree: TreeId,
    /// By name.
    pub tenants: SharedMap<Arc<str>, Tenant>,
    /// Where the rows of FROZEN tenants are, by the tenant's name.
    locations: SharedMap<Arc<str>, Arc<str>>,
}

/// One tenant of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its rows.
    pub tree: TreeId,
    /// Whether it answers.
    pub status: TenantStatus,
}

/// Whose rows a tree holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The collection's identifier.
    pub collection: u64,
    /// The tenant's name; `None` for the collection's own rows.
    pub tenant: Option<Arc<str>>,
}

/// Checks a collection or tenant name: 1 to [`NAME_BYTES_MAX`] bytes, no control characters, no
/// `/`.
///
/// # Errors
/// `Invalid`, with the rule that is broken.
pub fn check_name(name: &str) -> Result<()> {
    let broken = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "it is longer than 255 bytes"
    } else if name.contains('/') {
        "it contains '/'"
    } else if name.chars().any(char::is_control) {
        "it contains a control character"
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(64).collect();
    let message = format!("the name '{}' cannot be used: {broken}", shown.escape_debug());
    Err(Error::new(ErrorKind::Invalid, message))
}

impl Catalog {
    /// The collection of that name.
    ///
    /// # Errors
    /// `NotFound`, naming it.
    pub fn collection(&self, name: &str) -> Result<&Arc<Collection>> {
        self.collections.get(name).ok_or_else(|| no_collection(name))
    }

    /// The collection with that identifier.
    pub fn collection_by_id(&self, id: u64) -> Option<&Arc<Collection>> {
        self.collections.get(&**self.names.get(&id)?)
    }

    /// The tree of a collection, or of one of its tenants, whatever its status.
    ///
    /// # Errors
    /// `NotFound`, naming what there is not.
    pub fn tree_of(&self, collection: &str, tenant: Option<&str>) -> Result<TreeId> {
        let found = self.collection(collection)?;
        tenant.map_or(Ok(found.tree), |tenant| found.tenant(tenant).map(|tenant| tenant.tree))
    }

    /// The tree of a collection, or of one of its tenants, that answers reads and writes.
    ///
    /// # Errors
    /// `NotFound`, naming what there is not; `Unavailable` when the tenant is COLD or FROZEN.
    pub fn open_tree(&self, collection: &str, tenant: Option<&str>) -> Result<TreeId> {
        let found = self.collection(collection)?;
        let Some(name) = tenant else { return Ok(found.tree) };
        let tenant = found.tenant(name)?;
        match tenant.status {
            TenantStatus::Hot => Ok(tenant.tree),
            TenantStatus::Cold => {
                let message =
                    format!("tenant '{name}' of '{collection}' is COLD; set it to HOT first");
                Err(Error::new(ErrorKind::Unavailable, message))
            }
            TenantStatus::Frozen => Err(found.frozen(name)),
        }
    }

    /// Whose rows a tree holds; `None` if it is dropped.
    pub fn owner(&self, tree: TreeId) -> Option<&Owner> {
        self.owners.get(&tree)
    }

    /// Whether a tree is there and answers reads and writes.
    pub fn answers(&self, tree: TreeId) -> bool {
        let Some(owner) = self.owner(tree) else { return false };
        let Some(name) = &owner.tenant else { return true };
        let collection = self.collection_by_id(owner.collection);
        let tenant = collection.and_then(|collection| collection.tenants.get(&**name));
        tenant.is_some_and(|tenant| tenant.status == TenantStatus::Hot)
    }

    /// All trees, ascending, whatever their status.
    pub fn trees(&self) -> impl Iterator<Item = TreeId> {
        self.owners.keys().copied()
    }

    /// The catalog after these records; those that do not concern it are skipped.
    ///
    /// # Errors
    /// As [`Catalog::apply`].
    pub fn after(&self, records: &[Record]) -> Result<Self> {
        let mut after = self.clone();
        for record in records {
            after.apply(record)?;
        }
        Ok(after)
    }

    /// Applies one record and returns the trees that it dropped; a record that does not concern
    /// the catalog changes nothing. After an error the catalog is as before.
    ///
    /// # Errors
    /// `NotFound` or `Exists` when the record does not fit the catalog, `Invalid` for a bad name.
    pub fn apply(&mut self, record: &Record) -> Result<Vec<TreeId>> {
        match record {
            Record::CreateCollection { id, name, tree } => self.create(*id, name, *tree)?,
            Record::DropCollection { id } => return self.drop_collection_by_id(*id),
            Record::RenameCollection { id, name } => self.rename(*id, name)?,
            Record::CreateTenant { collection, name, tree, status } => {
                self.create_tenant(*collection, name, Tenant { tree: *tree, status: *status })?;
            }
            Record::SetTenantStatus { collection, name, status } => {
                check_settable(*status)?;
                let collection = self.change(*collection)?;
                collection.tenant(name)?;
                if let Some(tenant) = collection.tenants.get_mut(name.as_str()) {
                    tenant.status = *status;
                }
                collection.locations.remove(name.as_str());
            }
            Record::FrozenTenant { collection, name, tree, location } => {
                return self.freeze(*collection, name, *tree, location);
            }
            Record::DropTenant { collection, name } => {
                let collection = self.change(*collection)?;
                let dropped = collection.tenant(name)?.tree;
                collection.tenants.remove(name.as_str());
                collection.locations.remove(name.as_str());
                self.owners.remove(&dropped);
                return Ok(vec![dropped]);
            }
            Record::RenameTenant { collection, name, to } => {
                self.rename_tenant_by_id(*collection, name, to)?;
            }
            _ => {}
        }
        Ok(Vec::new())
    }

    fn create(&mut self, id: u64, name: &str, tree: TreeId) -> Result<()> {
        self.check_free(name)?;
        if self.names.contains_key(&id) {
            let message = format!("collection number {id} exists already");
            return Err(Error::new(ErrorKind::Exists, message));
        }
        self.own(tree, Owner { collection: id, tenant: None })?;
        let name: Arc<str> = name.into();
        let collection = Collection {
            id,
            name: Arc::clone(&name),
            tree,
            tenants: SharedMap::new(),
            locations: SharedMap::new(),
        };
        self.names.insert(id, Arc::clone(&name));
        self.collections.insert(name, Arc::new(collection));
        Ok(())
    }

    fn drop_collection_by_id(&mut self, id: u64) -> Result<Vec<TreeId>> {
        let name = self.names.remove(&id).ok_or_else(|| no_number(id))?;
        let dropped = self.collections.remove(&*name).expect("every number has a collection");
        let own = std::iter::once(dropped.tree);
        let trees: Vec<_> = own.chain(dropped.tenants.values().map(|t| t.tree)).collect();
        for tree in &trees {
            self.owners.remove(tree);
        }
        Ok(trees)
    }

    fn rename(&mut self, id: u64, name: &str) -> Result<()> {
        self.check_free(name)?;
        let new: Arc<str> = name.into();
        let old = self.names.get_mut(&id).ok_or_else(|| no_number(id))?;
        let old = std::mem::replace(old, Arc::clone(&new));
        let mut moved = self.collections.remove(&*old).expect("every number has a collection");
        Arc::make_mut(&mut moved).name = Arc::clone(&new);
        self.collections.insert(new, moved);
        Ok(())
    }

    fn create_tenant(&mut self, collection: u64, name: &str, tenant: Tenant) -> Result<()> {
        check_settable(tenant.status)?;
        self.check_free_tenant(collection, name)?;
        let name: Arc<str> = name.into();
        self.own(tenant.tree, Owner { collection, tenant: Some(Arc::clone(&name)) })?;
        self.change(collection)?.tenants.insert(name, tenant);
        Ok(())
    }

    /// Puts a FROZEN tenant in the place of the one of that name, if there is one, and returns the
    /// tree of that one.
    fn freeze(
        &mut self,
        collection: u64,
        name: &str,
        tree: TreeId,
        location: &str,
    ) -> Result<Vec<TreeId>> {
        check_name(name)?;
        check_location(location)?;
        let found = self.collection_by_id(collection).ok_or_else(|| no_number(collection))?;
        let dropped = found.tenants.get(name).map(|tenant| tenant.tree);
        let name: Arc<str> = name.into();
        self.own(tree, Owner { collection, tenant: Some(Arc::clone(&name)) })?;
        if let Some(dropped) = dropped {
            self.owners.remove(&dropped);
        }
        let found = self.change(collection)?;
        found.tenants.insert(Arc::clone(&name), Tenant { tree, status: TenantStatus::Frozen });
        found.locations.insert(name, location.into());
        Ok(dropped.into_iter().collect())
    }

    fn rename_tenant_by_id(&mut self, collection: u64, name: &str, to: &str) -> Result<()> {
        let moved = self.check_free_tenant(collection, to)?.tenant(name)?;
        let to: Arc<str> = to.into();
        let changed = self.change(collection)?;
        changed.tenants.remove(name);
        changed.tenants.insert(Arc::clone(&to), moved);
        if let Some(location) = changed.locations.remove(name) {
            changed.locations.insert(Arc::clone(&to), location);
        }
        self.owners.insert(moved.tree, Owner { collection, tenant: Some(to) });
        Ok(())
    }

    fn own(&mut self, tree: TreeId, owner: Owner) -> Result<()> {
        if self.owners.contains_key(&tree) {
            return Err(Error::new(ErrorKind::Exists, format!("{tree} has an owner already")));
        }
        self.owners.insert(tree, owner);
        Ok(())
    }

    fn change(&mut self, id: u64) -> Result<&mut Collection> {
        let name = self.names.get(&id).ok_or_else(|| no_number(id))?;
        let found = self.collections.get_mut(&**name).expect("every number has a collection");
        Ok(Arc::make_mut(found))
    }

    /// The collection, which has no tenant of that name yet.
    fn check_free_tenant(&self, collection: u64, name: &str) -> Result<&Collection> {
        check_name(name)?;
        let found = self.collection_by_id(collection).ok_or_else(|| no_number(collection))?;
        if found.tenants.contains_key(name) {
            let message = format!("tenant '{name}' of '{}' exists already", found.name);
            return Err(Error::new(ErrorKind::Exists, message));
        }
        Ok(found)
    }

    fn check_free(&self, name: &str) -> Result<()> {
        check_name(name)?;
        if self.collections.contains_key(name) {
            let message = format!("collection '{name}' exists already");
            return Err(Error::new(ErrorKind::Exists, message));
        }
        Ok(())
    }
}

impl Collection {
    /// The tenant of that name.
    ///
    /// # Errors
    /// `NotFound`, naming it.
    pub fn tenant(&self, name: &str) -> Result<Tenant> {
        self.tenants.get(name).copied().ok_or_else(|| {
            let message = format!("there is no tenant '{name}' in collection '{}'", self.name);
            Error::new(ErrorKind::NotFound, message)
        })
    }

    /// Where the rows of a FROZEN tenant are; `None` for any other.
    pub fn location(&self, tenant: &str) -> Option<&str> {
        self.locations.get(tenant).map(|location| &**location)
    }

    /// The error for one who wants the rows of a FROZEN tenant.
    fn frozen(&self, tenant: &str) -> Error {
        let (of, location) = (&self.name, self.location(tenant).unwrap_or_default());
        let message = format!(
            "tenant '{tenant}' of '{of}' is FROZEN: its rows are offloaded to {location}; fetch it \
             back first"
        );
        Error::new(ErrorKind::Unavailable, message)
    }
}

/// Checks where the rows of a tenant are said to be: 1 to [`LOCATION_BYTES_MAX`] bytes, no control
/// characters.
///
/// # Errors
/// `Invalid`, with the rule that is broken.
pub fn check_location(location: &str) -> Result<()> {
    let broken = if location.is_empty() {
        "it is empty"
    } else if location.len() > LOCATION_BYTES_MAX {
        "it is longer than 1024 bytes"
    } else if location.chars().any(char::is_control) {
        "it contains a control character"
    } else {
        return Ok(());
    };
    let message = format!("the location of an offloaded tenant cannot be used: {broken}");
    Err(Error::new(ErrorKind::Invalid, message))
}

/// A tenant becomes FROZEN with a location alone, never by a status.
fn check_settable(status: TenantStatus) -> Result<()> {
    if status == TenantStatus::Frozen {
        let message = "a tenant becomes FROZEN by offloading it, not by setting its status";
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Ok(())
}

fn no_collection(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no collection '{name}'"))
}

fn no_number(id: u64) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no collection number {id}"))
}

#[cfg(test)]
mod tests;
