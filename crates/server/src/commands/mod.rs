//! One file a command, or a few commands that share their subject.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod copy;
pub(crate) mod import;
pub(crate) mod prune;
pub(crate) mod read;
pub(crate) mod restore;
pub(crate) mod show;
pub(crate) mod tenant;
pub(crate) mod verify;
pub(crate) mod work;

use anyhow::{Context, Result};
use siltstone_lsm::{
    error::{Error, ErrorKind},
    options::Options,
    store::Store,
    types::TreeId,
};

use crate::cli::{StoreArgs, Target};

/// Opens an existing store.
pub(crate) fn open(args: &StoreArgs) -> Result<Store> {
    let mut options = Options::default();
    options.create = false;
    open_with(args, options)
}

/// Opens a store, which is made if it is missing.
pub(crate) fn open_or_create(args: &StoreArgs) -> Result<Store> {
    open_with(args, Options::default())
}

fn open_with(args: &StoreArgs, options: Options) -> Result<Store> {
    Store::open(&args.data, options).with_context(|| format!("store {}", args.data.display()))
}

/// The tree that a target names.
pub(crate) fn tree(store: &Store, target: &Target) -> Result<TreeId> {
    let found = store.tree(&target.collection, target.tenant.as_deref());
    Ok(found.map_err(|error| with_command(error, store, target))?)
}

/// The error of a tenant that does not answer, with the command after which it does.
fn with_command(error: Error, store: &Store, target: &Target) -> Error {
    if error.kind() != ErrorKind::Unavailable {
        return error;
    }
    let catalog = store.catalog();
    let collection = catalog.collections.get(target.collection.as_str());
    let tenant = target.tenant.as_deref().unwrap_or_default();
    let is_frozen = collection.is_some_and(|collection| collection.location(tenant).is_some());
    let command = if is_frozen { "fetch" } else { "activate" };
    let message = format!("{error} (`siltstone tenant {command} {target}`)");
    Error::new(ErrorKind::Unavailable, message)
}
