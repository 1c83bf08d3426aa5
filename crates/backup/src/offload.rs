//! Offloading: the rows of a tenant go to a backend and leave this disk; later they come back.
//!
//! What lies in the backend is an ordinary backup of that one tenant, complete in itself: it refers to
//! no chunk of another backup, and no other refers to its chunks. Its id is random and begins with
//! `offload-`. It is read back and compared before the one edit that drops the local rows, and it is
//! removed after the one edit that brings them back. So at every moment the tenant is whole on this
//! disk, or whole in the backend, or both; what a crash leaves behind is at most the second copy.

use std::{collections::BTreeSet, sync::Arc};

use siltstone_lsm::{
    catalog::{TenantStatus, check_location},
    error::ErrorKind as StoreErrorKind,
    store::FreezeTicket,
    types::{Hash, Uid},
};

use crate::{
    api::Backups,
    backend::{Backend, Depth},
    cancel::Cancel,
    error::{Error, ErrorKind, Result},
    fetch::{Fetch, NoSink},
    format::descriptor::{Descriptor, StoredSegment},
    names::{BackupId, OFFLOAD_PREFIX},
    operation::Summary,
    options::{CreateOptions, RestoreOptions, Selection},
    pace::{Host, Limits},
    progress::Progress,
    repository::Repository,
    restore::{Destination, require_chunks},
};

/// Between the id and the place in the location of a FROZEN tenant.
const IN: &str = " in ";

/// What came back.
#[derive(Debug)]
#[non_exhaustive]
pub struct FetchedBack {
    /// The restore.
    pub summary: Summary,
    /// Why the copy in the backend could not be removed, if so. The tenant is back all the same, and
    /// nothing refers to the copy any more.
    pub leftover: Option<Error>,
}

impl Backups {
    /// Moves the rows of a tenant to a backend; the tenant is then FROZEN. Blocks until it is done.
    /// Of the options the selection is not used. The tenant takes no reads and writes meanwhile, and
    /// is what it was before if anything fails.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when it is FROZEN already; `Busy` while another operation runs; `Corrupt`
    /// when the backend does not give back what it was given; as [`Backups::create`]; and those of
    /// the store. After `Indeterminate` the tenant is COLD or FROZEN, and whole, at the next open.
    pub fn offload(
        &self,
        backend: &Arc<dyn Backend>,
        collection: &str,
        tenant: &str,
        mut options: CreateOptions,
    ) -> Result<Summary> {
        let random = u128::from_le_bytes(self.store().env().unique_id());
        let id = BackupId::new(&format!("{OFFLOAD_PREFIX}{random:032x}"))?;
        let location = format!("{id}{IN}{}", backend.describe());
        check_location(&location)?;
        let mut ticket = self.store().begin_freeze(collection, tenant)?;
        let include = vec![format!("{collection}/{tenant}")];
        options.selection = Selection { include, exclude: Vec::new() };
        match self.copy_out(&mut ticket, backend, &id, options) {
            Ok(summary) => {
                let outcome = ticket.commit(&location);
                if let Err(error) = outcome {
                    if error.kind() != StoreErrorKind::Indeterminate {
                        // The tenant is here: its copy is of no use, and harms nobody if it stays.
                        drop(remove(&Repository::open(backend)?, &id));
                    }
                    return Err(error.into());
                }
                Ok(summary)
            }
            Err(error) => {
                ticket.abandon()?;
                Err(error)
            }
        }
    }

    /// Brings the rows of a FROZEN tenant back from the backend that has them, in one edit, and
    /// removes them there. The tenant is then HOT or COLD, as `status` says. Blocks until it is done.
    ///
    /// # Errors
    /// `NotFound` for the tenant, or when the backend does not have its rows (the message says where
    /// they were put); `Invalid` when it is not FROZEN; and as [`Backups::restore`]. The tenant is
    /// FROZEN as before, and its rows are in the backend.
    pub fn fetch_back(
        &self,
        backend: &Arc<dyn Backend>,
        collection: &str,
        tenant: &str,
        status: TenantStatus,
    ) -> Result<FetchedBack> {
        let catalog = self.store().catalog();
        let found = catalog.collection(collection)?;
        found.tenant(tenant)?;
        let location = found.location(tenant).ok_or_else(|| {
            let message = format!("tenant '{tenant}' of '{collection}' is not FROZEN");
            Error::new(ErrorKind::Invalid, message)
        })?;
        let id = offload_id(location)?;
        let (collection, tenant) = (collection.to_owned(), tenant.to_owned());
        let destination = Destination::Frozen { collection, tenant, status };
        let restored = self
            .restore_to(backend, &id, RestoreOptions::default(), destination)
            .map_err(|error| {
                if error.kind() != ErrorKind::NotFound {
                    return error;
                }
                let message = format!(
                    "the rows are not in {}; they were offloaded to {location}",
                    backend.describe()
                );
                Error::new(ErrorKind::NotFound, message).caused_by(error)
            })?;
        let summary = restored.wait()?;
        let removed = Repository::open(backend).and_then(|repository| remove(&repository, &id));
        Ok(FetchedBack { summary, leftover: removed.err() })
    }

    /// Stores the rows of a tenant that is being frozen, and reads them back.
    fn copy_out(
        &self,
        ticket: &mut FreezeTicket,
        backend: &Arc<dyn Backend>,
        id: &BackupId,
        options: CreateOptions,
    ) -> Result<Summary> {
        let cut = ticket.take_cut();
        let expected: BTreeSet<(Uid, Hash)> =
            cut.segments.iter().map(|segment| (segment.meta.uid, segment.meta.hash)).collect();
        let (workers, memory_bytes_max) = (options.workers, options.memory_bytes_max);
        let (cpu_percent, bytes_per_second_max) =
            (options.cpu_percent, options.bytes_per_second_max);
        let limits = Limits { cpu_percent, bytes_per_second_max };
        let handle = self.create_own(cut, backend, id, options)?;
        let summary = handle.wait()?;
        let repository = Repository::open(backend)?;
        let descriptor = repository.descriptor(repository.backup(id)?)?;
        let of_stored = |segment: &StoredSegment| (segment.meta.uid, segment.meta.hash);
        let stored: BTreeSet<(Uid, Hash)> = descriptor.segments.iter().map(of_stored).collect();
        if stored != expected {
            let what = "it does not hold the segments of the tenant; please report this bug";
            return Err(Error::corrupt(id.config_object(), what));
        }
        let fetch = Fetch {
            host: Host::from(self.store().env()),
            backend: &**backend,
            cancel: &Cancel::new(),
            progress: &Progress::new(),
            limits,
            workers,
            memory_bytes_max,
        };
        read_back(&repository, &descriptor, &fetch)?;
        Ok(summary)
    }
}

/// Every byte is there and is what it should be.
fn read_back(repository: &Repository, descriptor: &Descriptor, fetch: &Fetch<'_>) -> Result<()> {
    require_chunks(repository, &descriptor.chunks)?;
    fetch.run(&descriptor.chunks, &descriptor.segments, &mut NoSink)
}

fn offload_id(location: &str) -> Result<BackupId> {
    let id = location.split_once(IN).map_or(location, |(id, _)| id);
    let id = BackupId::new(id).ok().filter(BackupId::is_offload);
    id.ok_or_else(|| {
        let message = format!("'{location}' is not a place where this program puts tenants");
        Error::new(ErrorKind::Invalid, message)
    })
}

/// Removes an offloaded tenant from its backend: first what makes it a backup, so that no half of
/// one is ever taken for one. Its chunks are its own.
fn remove(repository: &Repository, id: &BackupId) -> Result<()> {
    let descriptor = repository.descriptor(repository.backup(id)?)?;
    let backend = repository.backend();
    backend.delete(&id.config_object())?;
    for entry in backend.list(&id.folder(), Depth::All)? {
        backend.delete(&entry.name)?;
    }
    descriptor.chunks.iter().try_for_each(|chunk| backend.delete(&chunk.id.object()))
}
