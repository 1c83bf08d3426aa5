//! `siltstone restore`: all collections of a backup appear at once, or none.

use anyhow::Result;
use siltstone_backup::{
    api::{Backups, find},
    options::RestoreOptions,
};

use crate::{
    cli::RestoreArgs,
    commands::{
        backup::{follow, report, repository},
        open_or_create,
    },
    outcome::Output,
    progress::Bar,
};

/// Restores a backup into a store, which is created if absent.
pub(crate) fn run(args: &RestoreArgs, output: Output) -> Result<()> {
    let (id, backend) = (&args.backup.id, repository(&args.backup.repository)?);
    find(&backend, id)?; // before a store is made for nothing
    let store = open_or_create(&args.backup.store)?;
    let mut options = RestoreOptions::default();
    options.selection = args.selection.selection();
    options.rename.clone_from(&args.rename);
    options.node_mapping.clone_from(&args.node_mapping);
    options.cpu_percent = args.speed.cpu_percent;
    options.bytes_per_second_max = args.speed.bytes_per_second;
    let handle = Backups::new(store.clone())?.restore(&backend, id, options)?;
    let summary = follow(&handle, args.wait.then(|| Bar::bytes("restore", Some(0))).as_ref())?;
    store.close()?;
    report(handle.status().kind, &summary, output)
}
