//! The restore of a backup: everything is checked before anything is fetched, everything is fetched
//! and verified before anything is visible, and then one edit of the store shows all of it.
//!
//! Each file that is complete is held for the next try. So a restore that lost its backend or its
//! process goes on where it stopped ([`held`]); one that was canceled, or found the disk full, leaves
//! nothing.

mod held;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use siltstone_io::env::Env;
use siltstone_lsm::{
    catalog::{Catalog, TenantStatus},
    error::ErrorKind as StoreErrorKind,
    restore::{RestorePlan, RestoreTarget, RestoredCollection, RestoredSegment, RestoredTenant},
    store::{RestoreTicket, Store},
    types::{FileId, Sequence, TreeId},
};

use self::held::Reuse;
use crate::{
    error::{Error, ErrorKind, Result, listed},
    fetch::{Fetch, files::FileSink},
    format::{
        chunk::Chunk,
        config::{Config, Totals},
        descriptor::{Descriptor, StoredSegment},
    },
    journal::record::Event,
    names::BackupId,
    operation::{End, FREE_BYTES_RESERVE, Operation, Summary, keeps_held},
    options::RestoreOptions,
    pace::{Host, Limits, Pace},
    repository::{Repository, RestoreNote},
    selection::{Selected, rename, select, tree_reports},
    state::State,
};

/// What a restore does; made by [`prepare`].
#[derive(Debug)]
pub(crate) struct RestoreJob {
    store: Store,
    repository: Repository,
    id: BackupId,
    options: RestoreOptions,
    /// Until the commit has it.
    ticket: Option<RestoreTicket>,
    /// A name that is there as asked once the edit is, and not before; one edit shows all.
    proof: Option<String>,
    collections: Vec<Selected>,
    chunks: Vec<Chunk>,
    segments: Vec<StoredSegment>,
    sequence: Sequence,
    totals: Totals,
}

/// Where the rows of a backup go.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    /// To new collections, and to new tenants of those that are there.
    Names,
    /// To this FROZEN tenant; the backup is of one tenant alone.
    Frozen {
        /// Its collection.
        collection: String,
        /// Its name.
        tenant: String,
        /// What it is afterwards.
        status: TenantStatus,
    },
}

/// Checks everything that can be checked without fetching, and reserves the names in the store.
///
/// # Errors
/// `Invalid` for names that cannot be; `Exists` naming all collections and tenants that are there
/// already; `NoSpace`; `Corrupt`; and those of the backend.
pub(crate) fn prepare(
    store: &Store,
    repository: Repository,
    config: Config,
    options: RestoreOptions,
    destination: Destination,
) -> Result<RestoreJob> {
    options.check()?;
    check_nodes(&config, &options.node_mapping)?;
    let id = config.id.clone();
    let mut descriptor = repository.descriptor(config)?;
    let stored = mem::take(&mut descriptor.collections);
    let mut collections = rename(select(&options.selection, stored)?, &options.rename)?;
    let targets = match destination {
        Destination::Names => targets(&store.catalog(), &collections),
        Destination::Frozen { collection, tenant, status } => {
            only_tenant(&mut collections, (&collection, &tenant), status)?;
            vec![RestoreTarget::Frozen { collection, tenant }]
        }
    };
    let proof = targets.first().map(proof_of);
    let ticket = Some(store.begin_restore_into(targets)?);
    let (sequence, mut totals) = (descriptor.config.sequence, descriptor.config.totals);
    let (chunks, segments) = wanted(descriptor, &collections);
    totals.collections = collections.len() as u64;
    totals.tenants = collections.iter().map(|it| it.collection.tenants.len() as u64).sum();
    totals.chunks = chunks.len() as u64;
    totals.chunk_bytes = chunks.iter().map(|chunk| chunk.length).sum();
    totals.segments = segments.len() as u64;
    totals.segment_bytes = segments.iter().map(|segment| segment.meta.length).sum();
    require_space(store, &segments)?;
    Ok(RestoreJob {
        store: store.clone(),
        repository,
        id,
        options,
        ticket,
        proof,
        collections,
        chunks,
        segments,
        sequence,
        totals,
    })
}

impl RestoreJob {
    /// The collections, under the names they get.
    pub(crate) fn names(&self) -> Vec<String> {
        self.collections.iter().map(|selected| selected.collection.name.clone()).collect()
    }

    /// Takes what an earlier try has left here and is what it should be, and removes the rest of
    /// it; returns the segments in it with their places, and those that are to be fetched.
    fn split(
        &mut self,
        env: &Env,
        fetch: &Fetch<'_>,
    ) -> Result<(Vec<PlacedSegment>, Vec<StoredSegment>)> {
        let pace = Pace::new(fetch.host, fetch.backend, fetch.cancel, fetch.limits);
        let found = Reuse::find(&self.store.held_files(), &self.segments);
        let reuse = found.check(&*env.disk, &pace)?;
        let ticket = self.ticket.as_mut().expect("the ticket is there until the commit");
        ticket.take_held(&reuse.files())?;
        let (mut here, mut rest) = (Vec::new(), Vec::new());
        for (index, segment) in mem::take(&mut self.segments).into_iter().enumerate() {
            match reuse.places.get(&index) {
                Some(place) => here.push((segment, *place)),
                None => rest.push(segment),
            }
        }
        Ok((here, rest))
    }
}

/// A segment, and the file and byte offset where it lies.
type PlacedSegment = (StoredSegment, (FileId, u64));

/// Collections are made, but one that is there gets the tenants that were asked for by name.
fn targets(catalog: &Catalog, collections: &[Selected]) -> Vec<RestoreTarget> {
    let target = |Selected { collection, own_rows }: &Selected| {
        let name = collection.name.clone();
        if *own_rows || !catalog.collections.contains_key(name.as_str()) {
            return RestoreTarget::Collection(name);
        }
        let tenants = collection.tenants.iter().map(|tenant| tenant.name.clone()).collect();
        RestoreTarget::Tenants { collection: name, tenants }
    };
    collections.iter().map(target).collect()
}

/// Gives the only tenant of a backup the names and the status that it has from now on.
fn only_tenant(
    collections: &mut [Selected],
    (collection, tenant): (&str, &str),
    status: TenantStatus,
) -> Result<()> {
    if let [Selected { collection: stored, own_rows }] = collections
        && let [only] = stored.tenants.as_mut_slice()
    {
        collection.clone_into(&mut stored.name);
        tenant.clone_into(&mut only.name);
        (only.status, *own_rows) = (status, false);
        return Ok(());
    }
    let message = format!("the backup is not of one tenant, as '{tenant}' of '{collection}' was");
    Err(Error::new(ErrorKind::Invalid, message))
}

fn proof_of(target: &RestoreTarget) -> String {
    match target.tenants().first() {
        None => target.collection().to_owned(),
        Some(tenant) => format!("{}/{tenant}", target.collection()),
    }
}

/// Whether what a restore was about to show is there: a collection, or a tenant with its rows.
pub(crate) fn is_shown(catalog: &Catalog, proof: &str) -> bool {
    match proof.split_once('/') {
        None => catalog.collections.contains_key(proof),
        Some((collection, tenant)) => {
            let found = catalog.collection(collection).and_then(|found| found.tenant(tenant));
            found.is_ok_and(|found| found.status != TenantStatus::Frozen)
        }
    }
}

/// Restores; the store shows what it showed before if it fails.
pub(crate) fn run(operation: &Operation, mut job: RestoreJob, mut note: RestoreNote) -> End {
    let notes = job.repository.cancelable(&operation.shared.cancel);
    write_note(&notes, operation, &mut note, State::Transferring);
    let end = match restore(operation, &mut job) {
        Ok(summary) => End::Success(summary),
        Err(error) if job.ticket.is_none() && is_indeterminate(&error) => {
            return End::Unknown(error); // the commit has it
        }
        Err(error) => {
            let error = operation.fail(error);
            drop(job.ticket.take()); // and what was not complete
            if !keeps_held(error.kind()) {
                // What cannot be removed now goes with the next restore, or by hand.
                job.store.discard_held().unwrap_or_default();
            }
            End::Failure(error)
        }
    };
    let state = match &end {
        End::Success(_) => State::Success,
        End::Failure(error) if error.kind() == ErrorKind::Canceled => State::Canceled,
        End::Failure(error) | End::Unknown(error) => {
            note.error = Some(error.to_string());
            State::Failed
        }
    };
    write_note(&job.repository, operation, &mut note, state);
    end
}

fn restore(operation: &Operation, job: &mut RestoreJob) -> Result<Summary> {
    let (progress, cancel) = (&operation.shared.progress, &operation.shared.cancel);
    let repository = job.repository.cancelable(cancel);
    let RestoreOptions { cpu_percent, bytes_per_second_max, workers, memory_bytes_max, .. } =
        job.options;
    let fetch = Fetch {
        host: Host::from(&operation.env),
        backend: &**repository.backend(),
        cancel,
        progress,
        limits: Limits { cpu_percent, bytes_per_second_max },
        workers,
        memory_bytes_max,
    };
    let (here, rest) = job.split(&operation.env, &fetch)?;
    let bytes_total = rest.iter().map(|segment| segment.meta.length).sum();
    let bytes_reused = job.totals.segment_bytes - bytes_total;
    progress.plan(bytes_total, bytes_reused);
    let (trees, places) = tree_reports(&job.collections);
    let tree_of = |segment: &StoredSegment| (places[&segment.tree], segment.meta.length);
    progress.plan_trees(trees, rest.iter().map(tree_of));
    operation.note(&Event::Plan { bytes_total, bytes_reused })?;
    operation.enter(State::Transferring)?;
    retain_used(&mut job.chunks, &rest);
    require_chunks(&repository, &job.chunks)?;
    let ticket = job.ticket.as_mut().expect("the ticket is there until the commit");
    let mut sink = FileSink::new(ticket, job.options.file_bytes_max, bytes_total);
    fetch.run(&job.chunks, &rest, &mut sink)?;
    let fetched = sink.finish()?;
    assert_eq!(fetched.len(), rest.len(), "a fetch places every segment it was asked, in order");
    operation.enter(State::Transferred)?;
    let names = job.names();
    let places = fetched.into_iter().map(|placed| (placed.file, placed.offset));
    let segments = here.into_iter().chain(rest.into_iter().zip(places));
    let plan = restore_plan(mem::take(&mut job.collections), segments, job.sequence);
    operation.begin_commit(job.proof.take().into_iter().collect())?;
    job.ticket.take().expect("the ticket is there until the commit").commit(plan)?;
    Ok(Summary {
        id: job.id.clone(),
        attempt: operation.shared.attempt,
        sequence: job.sequence,
        totals: job.totals,
        collections: names,
        skipped: Vec::new(),
        progress: progress.report(),
        elapsed: operation.age(),
    })
}

/// The segments of the chosen collections, and the chunks that hold them.
fn wanted(descriptor: Descriptor, collections: &[Selected]) -> (Vec<Chunk>, Vec<StoredSegment>) {
    let trees: BTreeSet<TreeId> = collections.iter().flat_map(Selected::trees).collect();
    let mut segments = descriptor.segments;
    segments.retain(|segment| trees.contains(&segment.tree));
    let mut chunks = descriptor.chunks;
    retain_used(&mut chunks, &segments);
    (chunks, segments)
}

/// Keeps the chunks in which some of the segments lie.
fn retain_used(chunks: &mut Vec<Chunk>, segments: &[StoredSegment]) {
    let extents = segments.iter().flat_map(|segment| &segment.extents);
    let used: BTreeSet<_> = extents.map(|extent| extent.chunk).collect();
    chunks.retain(|chunk| used.contains(&chunk.id));
}

/// A backup of one node goes onto one node, whatever both are called.
fn check_nodes(config: &Config, mapping: &[(String, String)]) -> Result<()> {
    let from = config.node.as_str();
    if mapping.iter().all(|(node, _)| node == from) && mapping.len() <= 1 {
        return Ok(());
    }
    let (nodes, onto) = (mapping.iter().map(|it| &it.0), mapping.iter().map(|it| &it.1));
    let message = format!(
        "the backup is of the node '{from}', the mapping is of {} onto {}: map this node onto this \
         store's, or leave the mapping out",
        listed(nodes),
        listed(onto)
    );
    Err(Error::new(ErrorKind::Invalid, message))
}

/// Chunks must be there with their lengths.
///
/// # Errors
/// `Corrupt`, naming those that are not; and those of the backend.
pub(crate) fn require_chunks(repository: &Repository, chunks: &[Chunk]) -> Result<()> {
    let present = repository.present(chunks)?;
    let missing: Vec<String> = (chunks.iter())
        .filter(|chunk| !present.contains(&chunk.id))
        .map(|chunk| chunk.id.object())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("chunks are missing or have another length: {}", listed(missing.iter()));
    Err(Error::new(ErrorKind::Corrupt, message))
}

/// Of the segments only those must find room that no earlier try has left here, and what is left of
/// other restores will make room.
fn require_space(store: &Store, segments: &[StoredSegment]) -> Result<()> {
    let reuse = Reuse::find(&store.held_files(), segments);
    let is_missing = |(index, _): &(usize, _)| !reuse.places.contains_key(index);
    let missing = segments.iter().enumerate().filter(is_missing);
    let bytes: u64 = missing.map(|(_, segment)| segment.meta.length).sum();
    let free = store.env().disk.free_bytes()?.saturating_add(reuse.useless_bytes);
    let needed = bytes.saturating_add(FREE_BYTES_RESERVE);
    if free >= needed {
        return Ok(());
    }
    let message = format!(
        "the restore needs {needed} bytes on the disk of the store, {free} are free; free space, \
         or restore fewer collections"
    );
    Err(Error::new(ErrorKind::NoSpace, message))
}

fn restore_plan(
    collections: Vec<Selected>,
    segments: impl Iterator<Item = PlacedSegment>,
    sequence: Sequence,
) -> RestorePlan {
    let mut by_tree: BTreeMap<TreeId, Vec<RestoredSegment>> = BTreeMap::new();
    for (segment, (file, offset)) in segments {
        let restored = RestoredSegment { level: segment.level, file, offset, meta: segment.meta };
        by_tree.entry(segment.tree).or_default().push(restored);
    }
    let mut take = |tree: TreeId| by_tree.remove(&tree).unwrap_or_default();
    let collections = collections.into_iter().map(|Selected { collection, .. }| {
        let tenants = collection.tenants.into_iter().map(|tenant| RestoredTenant {
            name: tenant.name,
            status: tenant.status,
            segments: take(tenant.tree),
        });
        let tenants = tenants.collect();
        RestoredCollection { name: collection.name, segments: take(collection.tree), tenants }
    });
    RestorePlan { collections: collections.collect(), sequence }
}

/// Writes how the restore stands into the repository, if that may be written at all.
fn write_note(
    repository: &Repository,
    operation: &Operation,
    note: &mut RestoreNote,
    state: State,
) {
    (note.status, note.updated_at) = (state, operation.now().to_string());
    // The journal has it too; a backup that may only be read is restored all the same.
    drop(repository.put_restore_note(note));
}

fn is_indeterminate(error: &Error) -> bool {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<siltstone_lsm::error::Error>());
    cause.is_some_and(|cause| cause.kind() == StoreErrorKind::Indeterminate)
}
