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
pub(crate) mod verify;
pub(crate) mod work;

use anyhow::{Context, Result};
use siltstone_lsm::{options::Options, store::Store, types::TreeId};

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
    Ok(store.tree(&target.collection, target.tenant.as_deref())?)
}
