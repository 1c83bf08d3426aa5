//! Catalog operations: each is one edit at one place in the commit queue.

use std::sync::Mutex;

use crate::{
    catalog::{Catalog, TenantStatus},
    error::Result,
    manifest::Record,
    store::{
        core::{Core, LogState},
        reserved::Reserved,
        work::{Committed, PlannedEdit, Work},
    },
    types::TreeId,
};

impl Core {
    /// Puts an edit through the queue; `plan` sees the catalog at its place.
    pub(crate) fn edit(
        &self,
        plan: impl FnOnce(&mut LogState) -> Result<PlannedEdit> + Send + 'static,
    ) -> Result<Committed> {
        self.submit(Work::Edit(Mutex::new(Some(Box::new(plan)))))
    }

    /// As [`Core::edit`], for edits that only turn the catalog into records.
    fn edit_catalog(
        &self,
        plan: impl FnOnce(&Catalog, &Reserved) -> Result<Vec<Record>> + Send + 'static,
    ) -> Result<()> {
        self.edit(move |log| {
            Ok(PlannedEdit { records: plan(&log.catalog, &log.reserved)?, sequence_floor: 0 })
        })?;
        Ok(())
    }

    pub(crate) fn create_collection(&self, name: &str) -> Result<TreeId> {
        let wanted = name.to_owned();
        self.edit(move |log| {
            log.reserved.check_new_collection(&wanted)?;
            let (id, tree) = (log.next_collection, log.next_tree);
            let records = log.catalog.create_collection(&wanted, id, tree)?;
            (log.next_collection, log.next_tree) = (id + 1, tree.next());
            Ok(PlannedEdit { records, sequence_floor: 0 })
        })?;
        self.tree(name, None)
    }

    pub(crate) fn drop_collection(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.edit_catalog(move |catalog, reserved| {
            reserved.check_collection(&name)?;
            catalog.drop_collection(&name)
        })
    }

    pub(crate) fn rename_collection(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.edit_catalog(move |catalog, reserved| {
            reserved.check_new_collection(&to)?;
            reserved.check_collection(&from)?;
            catalog.rename_collection(&from, &to)
        })
    }

    pub(crate) fn create_tenants(&self, collection: &str, names: &[&str]) -> Result<Vec<TreeId>> {
        let wanted = owned(names);
        let within = collection.to_owned();
        self.edit(move |log| {
            let first = log.next_tree;
            let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
            log.reserved.check_new_tenants(&within, &names)?;
            let records = log.catalog.create_tenants(&within, &names, first)?;
            log.next_tree = TreeId(first.0 + names.len() as u64);
            Ok(PlannedEdit { records, sequence_floor: 0 })
        })?;
        names.iter().map(|name| self.tree(collection, Some(name))).collect()
    }

    pub(crate) fn drop_tenants(&self, collection: &str, names: &[&str]) -> Result<()> {
        let (collection, names) = (collection.to_owned(), owned(names));
        self.edit_catalog(move |catalog, reserved| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            reserved.check_tenants(&collection, &names)?;
            catalog.drop_tenants(&collection, &names)
        })
    }

    pub(crate) fn rename_tenant(&self, collection: &str, from: &str, to: &str) -> Result<()> {
        let (within, from, to) = (collection.to_owned(), from.to_owned(), to.to_owned());
        self.edit_catalog(move |catalog, reserved| {
            reserved.check_new_tenants(&within, &[&to])?;
            reserved.check_tenants(&within, &[&from])?;
            catalog.rename_tenant(&within, &from, &to)
        })
    }

    pub(crate) fn set_tenant_status(
        &self,
        collection: &str,
        names: &[&str],
        status: TenantStatus,
    ) -> Result<()> {
        let (collection, names) = (collection.to_owned(), owned(names));
        self.edit_catalog(move |catalog, reserved| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            reserved.check_tenants(&collection, &names)?;
            catalog.set_tenant_status(&collection, &names, status)
        })
    }

    /// The tree behind a name, if it answers.
    pub(crate) fn tree(&self, collection: &str, tenant: Option<&str>) -> Result<TreeId> {
        let catalog = std::sync::Arc::clone(&self.published.load().view.catalog);
        catalog.open_tree(collection, tenant)
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
