//! Requests to change the catalog, as records.
//!
//! Pure: each looks at the catalog at its place in the commit queue and answers with records that
//! apply to exactly that catalog, or with the reason why there are none. Requests for many tenants
//! are all or nothing, and their errors name every tenant in the way (up to a few).

use std::collections::BTreeSet;

use crate::{
    catalog::{Catalog, Collection, TenantStatus, check_name, check_settable},
    error::{Error, ErrorKind, Result},
    format::manifest::edit::Record,
    types::TreeId,
};

/// Names that an error lists before it only counts.
const NAMES_SHOWN_MAX: usize = 5;

impl Catalog {
    /// Creates a collection; `id` and `tree` must be fresh.
    ///
    /// # Errors
    /// `Exists`, or `Invalid` for a bad name.
    pub fn create_collection(&self, name: &str, id: u64, tree: TreeId) -> Result<Vec<Record>> {
        self.check_free(name)?;
        Ok(vec![Record::CreateCollection { id, name: name.to_owned(), tree }])
    }

    /// Drops a collection with its tenants.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn drop_collection(&self, name: &str) -> Result<Vec<Record>> {
        let id = self.collection(name)?.id;
        Ok(vec![Record::DropCollection { id }])
    }

    /// Gives a collection another name.
    ///
    /// # Errors
    /// `NotFound`, `Exists`, or `Invalid` for a bad name.
    pub fn rename_collection(&self, from: &str, to: &str) -> Result<Vec<Record>> {
        let id = self.collection(from)?.id;
        self.check_free(to)?;
        Ok(vec![Record::RenameCollection { id, name: to.to_owned() }])
    }

    /// Creates HOT tenants; they get the trees from `first` on, in order, which must be fresh.
    ///
    /// # Errors
    /// `NotFound` for the collection, `Exists`, or `Invalid` for a bad or doubled name.
    pub fn create_tenants(
        &self,
        collection: &str,
        names: &[&str],
        first: TreeId,
    ) -> Result<Vec<Record>> {
        let found = self.collection(collection)?;
        check_distinct(names)?;
        for name in names {
            check_name(name)?;
        }
        let there = |name: &&&str| found.tenants.contains_key(**name);
        refuse(ErrorKind::Exists, found, "exists already", names.iter().filter(there))?;
        let trees = (first.0..).map(TreeId);
        let record = |(name, tree): (&&str, TreeId)| Record::CreateTenant {
            collection: found.id,
            name: (*name).to_owned(),
            tree,
            status: TenantStatus::Hot,
        };
        Ok(names.iter().zip(trees).map(record).collect())
    }

    /// Drops tenants.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` for a doubled name.
    pub fn drop_tenants(&self, collection: &str, names: &[&str]) -> Result<Vec<Record>> {
        let found = self.existing_tenants(collection, names)?;
        let record =
            |name: &&str| Record::DropTenant { collection: found.id, name: (*name).to_owned() };
        Ok(names.iter().map(record).collect())
    }

    /// Gives a tenant another name.
    ///
    /// # Errors
    /// `NotFound`, `Exists`, or `Invalid` for a bad name.
    pub fn rename_tenant(&self, collection: &str, from: &str, to: &str) -> Result<Vec<Record>> {
        let found = self.existing_tenants(collection, &[from])?;
        check_name(to)?;
        let there = found.tenants.contains_key(to);
        refuse(ErrorKind::Exists, found, "exists already", there.then_some(&to).into_iter())?;
        let (name, to) = (from.to_owned(), to.to_owned());
        Ok(vec![Record::RenameTenant { collection: found.id, name, to }])
    }

    /// Activates tenants or puts them to rest; those that are so already stay so.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable` when one is FROZEN, or `Invalid` for a doubled name and for the
    /// status FROZEN.
    pub fn set_tenant_status(
        &self,
        collection: &str,
        names: &[&str],
        status: TenantStatus,
    ) -> Result<Vec<Record>> {
        check_settable(status)?;
        let found = self.existing_tenants(collection, names)?;
        if let Some(name) = names.iter().find(|name| found.location(name).is_some()) {
            return Err(found.frozen(name));
        }
        let record = |name: &&str| Record::SetTenantStatus {
            collection: found.id,
            name: (*name).to_owned(),
            status,
        };
        Ok(names.iter().map(record).collect())
    }

    fn existing_tenants(&self, collection: &str, names: &[&str]) -> Result<&Collection> {
        let found = self.collection(collection)?;
        check_distinct(names)?;
        let absent = |name: &&&str| !found.tenants.contains_key(**name);
        refuse(ErrorKind::NotFound, found, "does not exist", names.iter().filter(absent))?;
        Ok(found)
    }
}

fn check_distinct(names: &[&str]) -> Result<()> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(**name)) {
        None => Ok(()),
        Some(name) => {
            let message = format!("tenant '{name}' is named twice in one request");
            Err(Error::new(ErrorKind::Invalid, message))
        }
    }
}

/// Fails if there are any names, showing the first few.
fn refuse<'a>(
    kind: ErrorKind,
    collection: &Collection,
    why: &str,
    names: impl Iterator<Item = &'a &'a str>,
) -> Result<()> {
    let all: Vec<&str> = names.copied().collect();
    if all.is_empty() {
        return Ok(());
    }
    let (shown, rest) = all.split_at(all.len().min(NAMES_SHOWN_MAX));
    let mut list: Vec<String> = shown.iter().map(|name| format!("'{name}'")).collect();
    if !rest.is_empty() {
        list.push(format!("and {} more", rest.len()));
    }
    let (list, of) = (list.join(", "), &collection.name);
    Err(Error::new(kind, format!("tenant of '{of}' {why}: {list}")))
}
