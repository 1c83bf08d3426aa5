//! `siltstone restore`: all collections of a backup appear at once, or none.

use anyhow::Result;
use siltstone_backup::{
    api::Backups,
    options::{RestoreOptions, Selection},
};
use siltstone_lsm::{options::Options, store::Store};

use crate::{
    cli::RestoreArgs,
    commands::backup::{follow, report, repository},
    outcome::Output,
    progress::Bar,
};

/// Restores a backup into a store, which is created if absent.
pub(crate) fn run(args: &RestoreArgs, output: Output) -> Result<()> {
    let backend = repository(&args.repository)?;
    let store = Store::open(&args.store.data, Options::default())?;
    let mut options = RestoreOptions::default();
    options.selection = Selection { include: args.include.clone(), exclude: args.exclude.clone() };
    options.rename.clone_from(&args.rename);
    let handle = Backups::new(store.clone())?.restore(&backend, &args.id, options)?;
    let summary = follow(&handle, args.wait.then(|| Bar::bytes("restore", Some(0))).as_ref())?;
    store.close()?;
    report("restored", &summary, output)
}
