//! [`RestoreTicket`]: taking restored segments in, all or nothing.
//!
//! Until the edit is durable no tree has the ticket's segments. Files that are not held are named by
//! nothing: a failure or a drop removes them at once, a crash leaves orphans that the next open
//! removes. Held files outlive the ticket and the process, for the next restore to take.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use siltstone_io::disk::StreamWriter;

use crate::{
    catalog::Catalog,
    error::{Error, ErrorKind, Result},
    format::names,
    manifest::Record,
    restore::{RestorePlan, RestoreTarget, RestoredCollection, RestoredSegment, RestoredTenant},
    store::{
        core::{Core, LogState, lock},
        work::PlannedEdit,
    },
    types::{FileId, RESTORED_SEQUENCE_MAX, SegmentMeta, TenantStatus, TreeId},
    version::{FileHandle, Segment},
};

/// A restore in progress. Its names are refused to others until it commits or is dropped.
#[derive(Debug)]
pub struct RestoreTicket {
    core: Arc<Core>,
    targets: Vec<RestoreTarget>,
    /// Files made, and neither held nor committed.
    files: BTreeSet<FileId>,
    /// Files that the manifest holds for this restore.
    held: BTreeSet<FileId>,
}

/// The lengths of files, in bytes.
type Lengths = BTreeMap<FileId, u64>;

impl RestoreTicket {
    /// Reserves what the restore makes.
    ///
    /// # Errors
    /// As [`Reserved::claim`](crate::store::reserved::Reserved::claim).
    pub(crate) fn begin(core: &Arc<Core>, targets: Vec<RestoreTarget>) -> Result<Self> {
        core.check_writable()?;
        let mut log = lock(&core.log);
        let catalog = Arc::clone(&log.catalog);
        log.reserved.claim(&catalog, &targets)?;
        drop(log);
        let (files, held) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self { core: Arc::clone(core), targets, files, held })
    }

    /// Creates a file of segments; finish its stream before [`RestoreTicket::commit`].
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn create_file(&mut self, len_hint: u64) -> Result<(FileId, Box<dyn StreamWriter>)> {
        let file = self.core.take_file_id();
        let stream = self.core.env.disk.create_stream(&names::file(file), len_hint)?;
        self.files.insert(file);
        Ok((file, stream))
    }

    /// Keeps a finished file for the next try, should this one fail or its process die: its folder
    /// is synced, then one edit of the manifest names the file and the whole `segments` in it, each
    /// by its byte offset. Cost: two syncs.
    ///
    /// # Errors
    /// `Invalid` when the file is not the ticket's, or a segment does not lie in it; `NoSpace`, `Io`,
    /// `Poisoned`, `Indeterminate`.
    pub fn hold(&mut self, file: FileId, segments: Vec<(u64, SegmentMeta)>) -> Result<()> {
        if !self.files.contains(&file) {
            let message = format!("{file} is not this restore's, or is held already");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let outcome = self.core.hold(file, segments);
        if may_be_done(&outcome) {
            self.files.remove(&file);
            self.held.insert(file);
        }
        outcome
    }

    /// Takes these of [`Store::held_files`](crate::store::Store::held_files), which the caller has
    /// compared with their hashes, and removes all others. Returns the bytes of those.
    ///
    /// # Errors
    /// `Invalid` when a file is not held, or another restore has it; `NoSpace`, `Io`, `Poisoned`,
    /// `Indeterminate`. The ticket has none of them then.
    pub fn take_held(&mut self, files: &BTreeSet<FileId>) -> Result<u64> {
        let released = self.core.claim_held(files)?;
        self.held.extend(files);
        Ok(released)
    }

    /// Makes the files part of the store: syncs their folder, opens every segment against its
    /// meta, then commits one edit through the queue.
    ///
    /// # Errors
    /// `Invalid` when the plan names files, collections or tenants that are not the ticket's,
    /// `Corrupt` when a segment is not what its meta says, or what the commit says. The store is as
    /// before, and held files are held still, unless the kind is `Indeterminate`.
    pub fn commit(mut self, plan: RestorePlan) -> Result<()> {
        let lengths = self.check(&plan)?;
        self.core.env.disk.sync_dir(&names::top(names::FILES))?;
        for segment in plan.segments() {
            self.open(segment, lengths.get(&segment.file).copied().unwrap_or_default())?;
        }
        let (targets, held) = (self.targets.clone(), self.held.clone());
        let outcome = self.core.edit(move |log| {
            let mut planned = planned(log, plan, &targets, &lengths)?;
            let release = held.into_iter().map(|file| Record::ReleaseFile { file });
            // Before the records that name them anew.
            planned.records = release.chain(planned.records).collect();
            Ok(planned)
        });
        if may_be_done(&outcome) {
            self.files.clear(); // the edit may name them: they are no longer the ticket's to remove
        }
        outcome.map(|_| ())
    }

    /// The lengths of the ticket's files, after checking that the plan keeps to the ticket.
    fn check(&self, plan: &RestorePlan) -> Result<Lengths> {
        if plan.sequence > RESTORED_SEQUENCE_MAX {
            let message = format!("the backup's sequence {} is over the limit", plan.sequence);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        plan.collections.iter().try_for_each(|collection| self.check_reserved(collection))?;
        let is_own = |file: &FileId| self.files.contains(file) || self.held.contains(file);
        if plan.segments().any(|segment| !is_own(&segment.file)) {
            return Err(Error::new(ErrorKind::Invalid, "a segment is in a file of someone else"));
        }
        if let Some(segment) = plan.segments().find(|s| s.meta.sequence_max > plan.sequence) {
            let message = format!("segment {} is newer than the backup", segment.meta.uid);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        plan.trees().try_for_each(check_levels)?;
        check_places(plan)?;
        let length = |file: &FileId| Ok((*file, self.core.env.disk.file_len(&names::file(*file))?));
        let mut lengths = self.files.iter().map(length).collect::<Result<Lengths>>()?;
        let held = self.core.manifest.state().held;
        let of_held = |file: &FileId| Some((*file, held.file(*file)?.length));
        lengths.extend(self.held.iter().filter_map(of_held));
        Ok(lengths)
    }

    fn check_reserved(&self, collection: &RestoredCollection) -> Result<()> {
        let invalid = |message: String| Err(Error::new(ErrorKind::Invalid, message));
        let name = &collection.name;
        if collection.tenants.iter().any(|tenant| tenant.status == TenantStatus::Frozen) {
            return invalid(format!("a tenant of '{name}' would be restored as FROZEN"));
        }
        if self.targets.contains(&RestoreTarget::Collection(name.clone())) {
            return Ok(());
        }
        let of_it = || self.targets.iter().filter(|target| target.collection() == name);
        if of_it().next().is_none() {
            return invalid(format!("collection '{name}' was not reserved"));
        }
        if !collection.segments.is_empty() {
            return invalid(format!("collection '{name}' is there: its own rows are not restored"));
        }
        let reserved: BTreeSet<&String> = of_it().flat_map(RestoreTarget::tenants).collect();
        match collection.tenants.iter().find(|tenant| !reserved.contains(&tenant.name)) {
            None => Ok(()),
            Some(tenant) => {
                invalid(format!("tenant '{}' of '{name}' was not reserved", tenant.name))
            }
        }
    }

    fn open(&self, restored: &RestoredSegment, file_length: u64) -> Result<()> {
        let segment = Segment::new(
            TreeId::default(),
            restored.level,
            Arc::new(FileHandle::new(restored.file, file_length)),
            restored.offset,
            restored.meta.clone(),
        );
        segment.reader(&self.core.opener).map(|_| ())
    }
}

impl Drop for RestoreTicket {
    fn drop(&mut self) {
        lock(&self.core.log).reserved.release(&self.targets);
        for file in &self.files {
            // What cannot be removed now is an orphan, and the next open removes it.
            self.core.env.disk.remove(&names::file(*file)).unwrap_or_default();
        }
        self.core.unclaim(&self.held);
    }
}

/// Whether an edit is in the manifest, or may be.
fn may_be_done<T>(outcome: &Result<T>) -> bool {
    outcome.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::Indeterminate)
}

/// Each segment has a place of its own: the edit would not fit, at a place where that poisons.
fn check_places(plan: &RestorePlan) -> Result<()> {
    let mut sorted: Vec<&RestoredSegment> = plan.segments().collect();
    sorted.sort_by_key(|segment| (segment.file, segment.offset));
    let overlap = sorted.windows(2).find(|pair| {
        let end = pair[0].offset.saturating_add(pair[0].meta.length);
        pair[0].file == pair[1].file && end > pair[1].offset
    });
    overlap.map_or(Ok(()), |pair| {
        let (left, right) = (pair[0].meta.uid, pair[1].meta.uid);
        let message = format!("segments {left} and {right} overlap in {}", pair[0].file);
        Err(Error::new(ErrorKind::Invalid, message))
    })
}

/// Below level 0 the segments of a tree must not overlap, or reads would miss keys.
fn check_levels(segments: &[RestoredSegment]) -> Result<()> {
    let mut sorted: Vec<&RestoredSegment> = segments.iter().filter(|s| s.level > 0).collect();
    sorted.sort_by_key(|segment| (segment.level, &segment.meta.key_min));
    let overlap = sorted.windows(2).find(|pair| {
        let max = pair[0].meta.key_max.as_deref();
        pair[0].level == pair[1].level && max.is_none_or(|max| max >= &pair[1].meta.key_min[..])
    });
    overlap.map_or(Ok(()), |pair| {
        let (left, right) = (pair[0].meta.uid, pair[1].meta.uid);
        let message = format!("segments {left} and {right} of one level overlap");
        Err(Error::new(ErrorKind::Invalid, message))
    })
}

/// The one edit of a restore: fresh trees, the catalog, the files and segments.
fn planned(
    log: &mut LogState,
    plan: RestorePlan,
    targets: &[RestoreTarget],
    lengths: &Lengths,
) -> Result<PlannedEdit> {
    let mut making = Making::new(log, targets);
    for collection in plan.collections {
        making.collection(&log.catalog, collection)?;
    }
    let Making { tree, collection, catalog, segments, .. } = making;
    (log.next_tree, log.next_collection) = (tree, collection);
    let used: BTreeSet<FileId> = segments.iter().map(|(_, segment)| segment.file).collect();
    let files = lengths.iter().filter(|(file, _)| used.contains(file));
    let add_files = files.map(|(file, length)| Record::AddFile { file: *file, length: *length });
    let add_segments = segments.into_iter().map(|(tree, segment)| Record::AddSegment {
        tree,
        level: segment.level,
        file: segment.file,
        offset: segment.offset,
        meta: segment.meta,
    });
    let records = catalog.into_iter().chain(add_files).chain(add_segments).collect();
    Ok(PlannedEdit { records, sequence_floor: plan.sequence })
}

/// What a plan becomes at its place in the queue.
#[derive(Debug)]
struct Making<'a> {
    targets: &'a [RestoreTarget],
    /// The lowest free ones.
    tree: TreeId,
    collection: u64,
    catalog: Vec<Record>,
    segments: Vec<(TreeId, RestoredSegment)>,
}

impl<'a> Making<'a> {
    fn new(log: &LogState, targets: &'a [RestoreTarget]) -> Self {
        Self {
            targets,
            tree: log.next_tree,
            collection: log.next_collection,
            catalog: Vec::new(),
            segments: Vec::new(),
        }
    }

    fn collection(&mut self, before: &Catalog, restored: RestoredCollection) -> Result<()> {
        let RestoredCollection { name, segments, tenants } = restored;
        if self.targets.contains(&RestoreTarget::Collection(name.clone())) {
            let id = self.collection;
            self.collection += 1;
            let own = self.take_tree();
            self.catalog.extend(before.create_collection(&name, id, own)?);
            self.add(own, segments);
            for tenant in tenants {
                self.new_tenant(id, tenant);
            }
            return Ok(());
        }
        let found = before.collection(&name)?;
        for tenant in tenants {
            let (collection, tenant_name) = (name.clone(), tenant.name.clone());
            let frozen = RestoreTarget::Frozen { collection, tenant: tenant_name };
            if self.targets.contains(&frozen) {
                // The tree of a FROZEN tenant has never answered, so the segments are all it has.
                self.add(found.tenant(&tenant.name)?.tree, tenant.segments);
                self.catalog.push(Record::SetTenantStatus {
                    collection: found.id,
                    name: tenant.name,
                    status: tenant.status,
                });
            } else {
                self.new_tenant(found.id, tenant);
            }
        }
        Ok(())
    }

    fn new_tenant(&mut self, collection: u64, tenant: RestoredTenant) {
        let RestoredTenant { name, status, segments } = tenant;
        let tree = self.take_tree();
        self.catalog.push(Record::CreateTenant { collection, name, tree, status });
        self.add(tree, segments);
    }

    fn add(&mut self, tree: TreeId, segments: Vec<RestoredSegment>) {
        self.segments.extend(segments.into_iter().map(|segment| (tree, segment)));
    }

    fn take_tree(&mut self) -> TreeId {
        let next = self.tree.next();
        mem::replace(&mut self.tree, next)
    }
}
