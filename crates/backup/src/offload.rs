//! Offloading: the rows of a tenant go to a backend and leave this disk; later they come back.
//!
//! What lies in the backend is an ordinary backup of that one tenant, complete in itself: it refers to
//! no chunk of another backup, and no other refers to its chunks. Its id is random and begins with
//! `offload-`. It is read back and compared before the one edit that drops the local rows, and it is
//! removed after the one edit that brings them back. So at every moment the tenant is whole on this
//! disk, or whole in the backend, or both; what a crash leaves behind is at most the second copy.

use std::{collections::BTreeSet, sync::Arc};

use siltstone_io::env::Env;
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
    format::{
        config::Config,
        descriptor::{Descriptor, StoredSegment},
    },
    handle::Handle,
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

/// A tenant on its way to a backend. [`Offload::finish`] brings it to an end; dropped before, the
/// tenant stays COLD, and its copy, if it comes to be, is of no use.
#[derive(Debug)]
#[must_use = "the tenant is COLD until this is finished"]
pub struct Offload {
    backend: Arc<dyn Backend>,
    id: BackupId,
    location: String,
    ticket: FreezeTicket,
    handle: Handle,
    expected: BTreeSet<(Uid, Hash)>,
    options: CreateOptions,
    env: Env,
}

/// A tenant on its way back from a backend.
#[derive(Debug)]
pub struct FetchBack {
    backend: Arc<dyn Backend>,
    id: BackupId,
    handle: Handle,
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
        options: CreateOptions,
    ) -> Result<Summary> {
        self.begin_offload(backend, collection, tenant, options)?.finish()
    }

    /// As [`Backups::offload`], but returns while the rows are on their way.
    ///
    /// # Errors
    /// As [`Backups::offload`].
    pub fn begin_offload(
        &self,
        backend: &Arc<dyn Backend>,
        collection: &str,
        tenant: &str,
        mut options: CreateOptions,
    ) -> Result<Offload> {
        let random = u128::from_le_bytes(self.store().env().unique_id());
        let id = BackupId::new(&format!("{OFFLOAD_PREFIX}{random:032x}"))?;
        let location = format!("{id}{IN}{}", backend.describe());
        check_location(&location)?;
        let mut ticket = self.store().begin_freeze(collection, tenant)?;
        let include = vec![format!("{collection}/{tenant}")];
        options.selection = Selection { include, exclude: Vec::new() };
        let cut = ticket.take_cut();
        let expected =
            cut.segments.iter().map(|segment| (segment.meta.uid, segment.meta.hash)).collect();
        match self.create_own(cut, backend, &id, options.clone()) {
            Ok(handle) => {
                let backend = Arc::clone(backend);
                let env = self.store().env().clone();
                Ok(Offload { backend, id, location, ticket, handle, expected, options, env })
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
        let options = RestoreOptions::default();
        self.begin_fetch_back(backend, (collection, tenant), status, options)?.finish()
    }

    /// As [`Backups::fetch_back`], but returns while the rows are on their way. Of the options those
    /// that say how fast are used; `tenant` is collection and tenant.
    ///
    /// # Errors
    /// As [`Backups::fetch_back`].
    pub fn begin_fetch_back(
        &self,
        backend: &Arc<dyn Backend>,
        (collection, tenant): (&str, &str),
        status: TenantStatus,
        mut options: RestoreOptions,
    ) -> Result<FetchBack> {
        let catalog = self.store().catalog();
        let found = catalog.collection(collection)?;
        found.tenant(tenant)?;
        let location = found.location(tenant).ok_or_else(|| {
            let message = format!("tenant '{tenant}' of '{collection}' is not FROZEN");
            Error::new(ErrorKind::Invalid, message)
        })?;
        let id = offload_id(location)?;
        options.selection = Selection::default();
        (options.rename, options.node_mapping) = (Vec::new(), Vec::new());
        let (collection, tenant) = (collection.to_owned(), tenant.to_owned());
        let destination = Destination::Frozen { collection, tenant, status };
        let handle = self.restore_to(backend, &id, options, destination).map_err(|error| {
            if error.kind() != ErrorKind::NotFound {
                return error;
            }
            let message = format!(
                "the rows are not in {}; they were offloaded to {location}",
                backend.describe()
            );
            Error::new(ErrorKind::NotFound, message).caused_by(error)
        })?;
        Ok(FetchBack { backend: Arc::clone(backend), id, handle })
    }
}

impl Backups {
    /// Copies of offloaded tenants of this store that none of its tenants needs: what a killed offload
    /// or fetch left, or what a dropped tenant had. No offload or fetch of the store may run meanwhile.
    /// Another folder that was copied from that of the store may need them still.
    ///
    /// # Errors
    /// `NotFound` without a repository; `Corrupt` or `NewerFormat` for a copy that cannot be read;
    /// and those of the backend.
    pub fn unneeded_copies(&self, backend: &Arc<dyn Backend>) -> Result<Vec<Config>> {
        let repository = Repository::open(backend)?;
        let mut copies = Vec::new();
        for id in repository.ids()?.into_iter().filter(BackupId::is_offload) {
            if !self.is_needed(&id) {
                copies.extend(repository.config(&id)?);
            }
        }
        copies.retain(|copy| copy.store_id == self.store().store_id());
        Ok(copies)
    }

    /// Removes one of [`Backups::unneeded_copies`].
    ///
    /// # Errors
    /// `Invalid` for what is none of them; and those of the backend.
    pub fn remove_copy(&self, backend: &Arc<dyn Backend>, copy: &Config) -> Result<()> {
        let is_ours = copy.store_id == self.store().store_id();
        if !copy.id.is_offload() || !is_ours || self.is_needed(&copy.id) {
            let message = format!("'{}' is no copy that this store can do without", copy.id);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        remove(&Repository::open(backend)?, &copy.id)
    }

    /// Whether a FROZEN tenant has its rows there.
    fn is_needed(&self, id: &BackupId) -> bool {
        self.store().catalog().collections.values().any(|collection| {
            let mut locations =
                collection.tenants.keys().filter_map(|name| collection.location(name));
            locations.any(|location| offload_id(location).is_ok_and(|used| used == *id))
        })
    }
}

impl Offload {
    /// The backup that carries the rows out; a cancel of it gives the offload up. Its result is
    /// [`Offload::finish`]'s.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until the rows are there, reads them back, and lets go of them here.
    ///
    /// # Errors
    /// As [`Backups::offload`].
    pub fn finish(self) -> Result<Summary> {
        let copied = self.copied();
        let Self { backend, id, location, ticket, .. } = self;
        match copied {
            Ok(summary) => {
                let outcome = ticket.commit(&location);
                if let Err(error) = outcome {
                    if error.kind() != StoreErrorKind::Indeterminate {
                        // The tenant is here: its copy is of no use, and harms nobody if it stays.
                        drop(remove(&Repository::open(&backend)?, &id));
                    }
                    return Err(error.into());
                }
                Ok(summary)
            }
            Err(error) => {
                // As above, where there is one.
                drop(Repository::open(&backend).and_then(|repository| remove(&repository, &id)));
                ticket.abandon()?;
                Err(error)
            }
        }
    }

    /// Waits until the rows are in the backend, and reads them back.
    fn copied(&self) -> Result<Summary> {
        let summary = self.handle.wait()?;
        let repository = Repository::open(&self.backend)?;
        let descriptor = repository.descriptor(repository.backup(&self.id)?)?;
        let of_stored = |segment: &StoredSegment| (segment.meta.uid, segment.meta.hash);
        let stored: BTreeSet<(Uid, Hash)> = descriptor.segments.iter().map(of_stored).collect();
        if stored != self.expected {
            let what = "it does not hold the segments of the tenant; please report this bug";
            return Err(Error::corrupt(self.id.config_object(), what));
        }
        let CreateOptions { cpu_percent, bytes_per_second_max, .. } = self.options;
        let fetch = Fetch {
            host: Host::from(&self.env),
            backend: &*self.backend,
            cancel: &Cancel::new(),
            progress: &Progress::new(),
            limits: Limits { cpu_percent, bytes_per_second_max },
            workers: self.options.workers,
            memory_bytes_max: self.options.memory_bytes_max,
        };
        read_back(&repository, &descriptor, &fetch)?;
        Ok(summary)
    }
}

impl FetchBack {
    /// The restore that brings the rows back. Its result is [`FetchBack::finish`]'s.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until the rows are back, and removes the copy in the backend.
    ///
    /// # Errors
    /// As [`Backups::fetch_back`].
    pub fn finish(self) -> Result<FetchedBack> {
        let summary = self.handle.wait()?;
        let repository = Repository::open(&self.backend);
        let removed = repository.and_then(|repository| remove(&repository, &self.id));
        Ok(FetchedBack { summary, leftover: removed.err() })
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
