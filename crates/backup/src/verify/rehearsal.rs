//! Level 3: the backup is restored into a store of its own, by the code that restores it in earnest,
//! and what is there then is compared with what the descriptor says.

use std::{fs, path::PathBuf, sync::Arc, thread, time::Duration};

use siltstone_io::{
    env::Env,
    os::{OsDisk, StreamEngine},
};
use siltstone_lsm::{
    options::{Background, Options},
    store::{Snapshot, Store},
    types::TreeId,
};

use super::{TreeDigest, Verification, VerifyReport, read_only::ReadOnly};
use crate::{
    api::Backups,
    backend::Backend,
    error::{Error, ErrorKind, Result},
    format::descriptor::Descriptor,
    show::{Contents, TreeContents, contents},
};

/// Time between two looks at a running restore.
const POLL: Duration = Duration::from_millis(20);

/// A folder that goes when it is dropped.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is named so that its owner knows it; nothing refers to it.
        drop(fs::remove_dir_all(&self.0));
    }
}

impl Verification<'_> {
    /// Whether the restore failed for a damage, which is among the problems then.
    pub(super) fn rehearse(
        &mut self,
        descriptor: &Descriptor,
        report: &mut VerifyReport,
    ) -> Result<bool> {
        let number = u128::from_le_bytes(self.job.unique_id());
        let scratch =
            Scratch(self.options.scratch.join(format!("siltstone-rehearsal-{number:032x}")));
        let disk = OsDisk::open(&scratch.0, StreamEngine::Auto)?;
        // Without background threads no compaction changes what is to be compared.
        let mut options = Options::default();
        options.background = Background::Manual;
        let store = Store::open_on(Env::system(Arc::new(disk)), options)?;
        if let Err(error) = self.restore(&store, report.id.as_str()) {
            self.problems.take(error)?;
            return Ok(true);
        }
        let cancel = self.job.cancel;
        if let Err(error) = store.verify(&mut |done, _| report.bytes = done) {
            self.problems.take(Error::from(error).while_doing("the restored store"))?;
        }
        let (expected, snapshot) = (contents(descriptor.clone()), store.snapshot());
        for (collection, tenant, expected) in trees(&expected) {
            cancel.check()?;
            let name =
                tenant.map_or_else(|| collection.to_owned(), |it| format!("{collection}/{it}"));
            match compare(&snapshot, (collection, tenant), expected) {
                Ok(digest) => report.trees.push(digest),
                Err(error) => self.problems.take(error.while_doing(format_args!("'{name}'")))?,
            }
        }
        drop(snapshot);
        store.close()?;
        Ok(false)
    }

    /// Restores the backup, following the caller's wish to stop.
    fn restore(&self, store: &Store, id: &str) -> Result<()> {
        let backend: Arc<dyn Backend> = Arc::new(ReadOnly(Arc::clone(&self.backend)));
        let backups = Backups::new(store.clone())?;
        let handle = backups.restore(&backend, id, self.options.restore_options())?;
        let mut counted = 0;
        loop {
            let status = handle.status();
            let done = status.progress.bytes_done;
            self.job.progress.add_done(usize::MAX, done.saturating_sub(counted));
            counted = done;
            if status.state.is_final() {
                return handle.wait().map(drop);
            }
            if self.job.cancel.is_canceled() {
                handle.cancel();
            }
            thread::sleep(POLL);
        }
    }
}

/// Compares one tree with its segments in the descriptor, and sums up its rows.
fn compare(
    snapshot: &Snapshot,
    (collection, tenant): (&str, Option<&str>),
    expected: &TreeContents,
) -> Result<TreeDigest> {
    let tree = tree_of(snapshot, collection, tenant)?;
    let mut found = TreeContents::default();
    let version = &snapshot.view().version;
    for segment in version.tree(tree).into_iter().flat_map(|tree| tree.segments()) {
        found.add(&segment.meta);
    }
    if found != *expected {
        let message = format!("restored were {found:?}, the descriptor says {expected:?}");
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    let digest = snapshot.digest(tree)?;
    Ok(TreeDigest {
        collection: collection.to_owned(),
        tenant: tenant.map(str::to_owned),
        rows: digest.rows,
        bytes: digest.bytes,
        sum: digest.sum,
    })
}

/// The tree of a name, whether it answers or not.
fn tree_of(snapshot: &Snapshot, collection: &str, tenant: Option<&str>) -> Result<TreeId> {
    let collection = snapshot.catalog().collection(collection)?;
    match tenant {
        None => Ok(collection.tree),
        Some(tenant) => collection.tenants.get(tenant).map(|found| found.tree).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "the tenant is not in the restored store")
        }),
    }
}

/// All trees by name: each collection's own, then those of its tenants.
fn trees(contents: &Contents) -> impl Iterator<Item = (&str, Option<&str>, &TreeContents)> {
    contents.collections.iter().flat_map(|collection| {
        let name = collection.name.as_str();
        let tenants = collection.tenants.iter();
        let tenants = tenants.map(move |tenant| (name, Some(tenant.name.as_str()), &tenant.rows));
        std::iter::once((name, None, &collection.own)).chain(tenants)
    })
}
