//! The restore of a backup: everything is checked before anything is fetched, everything is fetched
//! and verified before anything is visible, and then one edit of the store shows all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use siltstone_lsm::{
    catalog::{Catalog, TenantStatus},
    error::ErrorKind as StoreErrorKind,
    restore::{RestorePlan, RestoreTarget, RestoredCollection, RestoredSegment, RestoredTenant},
    store::{RestoreTicket, Store},
    types::{FileId, Sequence, TreeId},
};

use crate::{
    error::{Error, ErrorKind, Result, listed},
    fetch::{
        Fetch,
        files::{FileSink, Placed},
    },
    format::{
        chunk::Chunk,
        config::{Config, Totals},
        descriptor::{Descriptor, StoredSegment},
    },
    journal::record::Event,
    names::BackupId,
    operation::{End, FREE_BYTES_RESERVE, Operation, Summary},
    options::RestoreOptions,
    pace::{Host, Limits},
    repository::{Repository, RestoreNote},
    selection::{Selected, rename, select, tree_reports},
    state::State,
};

/// Files of restored segments end before the segment that would take them past this.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What a restore does; made by [`prepare`].
#[derive(Debug)]
pub(crate) struct RestoreJob {
    repository: Repository,
    id: BackupId,
    options: RestoreOptions,
    ticket: RestoreTicket,
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
    let ticket = store.begin_restore_into(targets)?;
    let (sequence, mut totals) = (descriptor.config.sequence, descriptor.config.totals);
    let (chunks, segments) = wanted(descriptor, &collections);
    totals.collections = collections.len() as u64;
    totals.tenants = collections.iter().map(|it| it.collection.tenants.len() as u64).sum();
    totals.chunks = chunks.len() as u64;
    totals.chunk_bytes = chunks.iter().map(|chunk| chunk.length).sum();
    totals.segments = segments.len() as u64;
    totals.segment_bytes = segments.iter().map(|segment| segment.meta.length).sum();
    require_space(store, totals.segment_bytes)?;
    Ok(RestoreJob {
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
        names(&self.collections)
    }
}

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

fn names(collections: &[Selected]) -> Vec<String> {
    collections.iter().map(|selected| selected.collection.name.clone()).collect()
}

/// Restores; the store is as before if it fails.
pub(crate) fn run(operation: &Operation, job: RestoreJob, mut note: RestoreNote) -> End {
    let notes = job.repository.cancelable(&operation.shared.cancel);
    write_note(&notes, operation, &mut note, State::Transferring);
    let repository = job.repository.clone();
    let end = match restore(operation, job) {
        Ok(summary) => End::Success(summary),
        Err(error) if is_indeterminate(&error) => return End::Unknown(error),
        Err(error) => End::Failure(operation.fail(error)),
    };
    let state = match &end {
        End::Success(_) => State::Success,
        End::Failure(error) if error.kind() == ErrorKind::Canceled => State::Canceled,
        End::Failure(error) | End::Unknown(error) => {
            note.error = Some(error.to_string());
            State::Failed
        }
    };
    write_note(&repository, operation, &mut note, state);
    end
}

fn restore(operation: &Operation, job: RestoreJob) -> Result<Summary> {
    let RestoreJob { repository, id, options, mut ticket, collections, chunks, segments, .. } = job;
    let proof = job.proof;
    let (progress, cancel) = (&operation.shared.progress, &operation.shared.cancel);
    progress.plan(job.totals.segment_bytes, 0);
    let (trees, places) = tree_reports(&collections);
    let tree_of = |segment: &StoredSegment| (places[&segment.tree], segment.meta.length);
    progress.plan_trees(trees, segments.iter().map(tree_of));
    operation.note(&Event::Plan { bytes_total: job.totals.segment_bytes, bytes_reused: 0 })?;
    operation.enter(State::Transferring)?;
    let repository = repository.cancelable(cancel);
    require_chunks(&repository, &chunks)?;
    let (cpu_percent, bytes_per_second_max) = (options.cpu_percent, options.bytes_per_second_max);
    let fetch = Fetch {
        host: Host::from(&operation.env),
        backend: &**repository.backend(),
        cancel,
        progress,
        limits: Limits { cpu_percent, bytes_per_second_max },
        workers: options.workers,
        memory_bytes_max: options.memory_bytes_max,
    };
    let mut create = |len_hint| Ok(ticket.create_file(len_hint)?);
    let mut sink = FileSink::new(&mut create, FILE_BYTES_MAX, job.totals.segment_bytes);
    fetch.run(&chunks, &segments, &mut sink)?;
    let placed = sink.finish()?;
    operation.enter(State::Transferred)?;
    let names = names(&collections);
    let plan = restore_plan(collections, segments, &placed, job.sequence);
    operation.begin_commit(proof.into_iter().collect())?;
    ticket.commit(plan)?;
    Ok(Summary {
        id,
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
    let extents = segments.iter().flat_map(|segment| &segment.extents);
    let used: BTreeSet<_> = extents.map(|extent| extent.chunk).collect();
    let mut chunks = descriptor.chunks;
    chunks.retain(|chunk| used.contains(&chunk.id));
    (chunks, segments)
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

fn require_space(store: &Store, bytes: u64) -> Result<()> {
    let free = store.env().disk.free_bytes()?;
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
    segments: Vec<StoredSegment>,
    placed: &[Placed],
    sequence: Sequence,
) -> RestorePlan {
    let places: BTreeMap<usize, (FileId, u64)> =
        placed.iter().map(|placed| (placed.index, (placed.file, placed.offset))).collect();
    let mut by_tree: BTreeMap<TreeId, Vec<RestoredSegment>> = BTreeMap::new();
    for (index, segment) in segments.into_iter().enumerate() {
        let (file, offset) =
            *places.get(&index).expect("a fetch places every segment it was asked");
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
