//! One file a command, or a few commands that share their subject.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod import;
pub(crate) mod read;
pub(crate) mod restore;

use siltstone_lsm::{error::Result, options::Options, store::Store, types::TreeId};

use crate::cli::{StoreArgs, Target};

/// Opens an existing store.
pub(crate) fn open(args: &StoreArgs) -> Result<Store> {
    let mut options = Options::default();
    options.create = false;
    Store::open(&args.data, options)
}

/// The tree that a target names.
pub(crate) fn tree(store: &Store, target: &Target) -> Result<TreeId> {
    store.tree(&target.collection, target.tenant.as_deref())
}
