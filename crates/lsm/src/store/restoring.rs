//! [`RestoreTicket`]: taking restored segments in, all or nothing.
//!
//! Until the edit is durable nothing names the ticket's files: a failure or a drop removes them at
//! once, a crash leaves orphans that the next open removes.

use std::{collections::BTreeSet, sync::Arc};

use siltstone_io::disk::StreamWriter;

use crate::{
    error::{Error, ErrorKind, Result},
    format::names,
    manifest::Record,
    restore::{RestorePlan, RestoredSegment},
    store::{
        core::{Core, LogState, lock},
        work::PlannedEdit,
    },
    types::{FileId, RESTORED_SEQUENCE_MAX, TreeId},
    version::{FileHandle, Segment},
};

/// A restore in progress. Its names are refused to others until it commits or is dropped.
#[derive(Debug)]
pub struct RestoreTicket {
    core: Arc<Core>,
    names: BTreeSet<String>,
    /// Files made and not committed.
    files: Vec<FileId>,
}

impl RestoreTicket {
    /// Reserves names.
    ///
    /// # Errors
    /// `Exists`, naming all conflicts, when a name is taken or being restored.
    pub(crate) fn begin(core: &Arc<Core>, names: &[String]) -> Result<Self> {
        core.check_writable()?;
        let catalog = Arc::clone(&core.published.load().view.catalog);
        let mut reserved = lock(&core.reserved_names);
        let wanted: BTreeSet<String> = names.iter().cloned().collect();
        let taken = |name: &&String| {
            catalog.collections.contains_key(name.as_str()) || reserved.contains(name.as_str())
        };
        let conflicts: Vec<&str> = wanted.iter().filter(taken).map(String::as_str).collect();
        if !conflicts.is_empty() {
            let message = format!(
                "these collections exist already: {}; drop or rename them, or restore under other \
                 names",
                conflicts.join(", ")
            );
            return Err(Error::new(ErrorKind::Exists, message));
        }
        reserved.extend(wanted.iter().cloned());
        drop(reserved);
        Ok(Self { core: Arc::clone(core), names: wanted, files: Vec::new() })
    }

    /// Creates a file of segments; finish its stream before [`RestoreTicket::commit`].
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn create_file(&mut self, len_hint: u64) -> Result<(FileId, Box<dyn StreamWriter>)> {
        let file = self.core.take_file_id();
        let stream = self.core.env.disk.create_stream(&names::file(file), len_hint)?;
        self.files.push(file);
        Ok((file, stream))
    }

    /// Makes the files part of the store: syncs their folder, opens every segment against its
    /// meta, then commits one edit through the queue.
    ///
    /// # Errors
    /// `Invalid` when the plan names files or collections that are not the ticket's, `Corrupt` when
    /// a segment is not what its meta says, `Exists` when a name was taken meanwhile, or what the
    /// commit says. The store is as before, unless the kind is `Indeterminate`.
    pub fn commit(mut self, plan: RestorePlan) -> Result<()> {
        let lengths = self.check(&plan)?;
        self.core.env.disk.sync_dir(&names::top(names::FILES))?;
        for segment in plan.segments() {
            let length = lengths.iter().find(|(file, _)| *file == segment.file);
            self.open(segment, length.map_or(0, |(_, length)| *length))?;
        }
        let outcome = self.core.edit(move |log| planned(log, plan, &lengths));
        if outcome.is_ok()
            || outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Indeterminate)
        {
            self.files.clear(); // the edit may name them: they are no longer the ticket's to remove
        }
        outcome.map(|_| ())
    }

    /// The lengths of the ticket's files, after checking that the plan keeps to the ticket.
    fn check(&self, plan: &RestorePlan) -> Result<Vec<(FileId, u64)>> {
        if plan.sequence > RESTORED_SEQUENCE_MAX {
            let message = format!("the backup's sequence {} is over the limit", plan.sequence);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let stranger = plan.collections.iter().find(|c| !self.names.contains(&c.name));
        if let Some(collection) = stranger {
            let message = format!("collection '{}' was not reserved", collection.name);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        if plan.segments().any(|segment| !self.files.contains(&segment.file)) {
            return Err(Error::new(ErrorKind::Invalid, "a segment is in a file of someone else"));
        }
        if let Some(segment) = plan.segments().find(|s| s.meta.sequence_max > plan.sequence) {
            let message = format!("segment {} is newer than the backup", segment.meta.uid);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        plan.trees().try_for_each(check_levels)?;
        let length = |file: &FileId| Ok((*file, self.core.env.disk.file_len(&names::file(*file))?));
        self.files.iter().map(length).collect()
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
        let mut reserved = lock(&self.core.reserved_names);
        self.names.iter().for_each(|name| {
            reserved.remove(name);
        });
        drop(reserved);
        for file in self.files.drain(..) {
            // What cannot be removed now is an orphan, and the next open removes it.
            self.core.env.disk.remove(&names::file(file)).unwrap_or_default();
        }
    }
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
    lengths: &[(FileId, u64)],
) -> Result<PlannedEdit> {
    let mut tree = log.next_tree;
    let mut catalog = Vec::new();
    let mut segments = Vec::new();
    let mut collection_id = log.next_collection;
    for collection in plan.collections {
        let own = take(&mut tree);
        catalog.extend(log.catalog.create_collection(&collection.name, collection_id, own)?);
        segments.extend(collection.segments.into_iter().map(|segment| (own, segment)));
        for tenant in collection.tenants {
            let own = take(&mut tree);
            catalog.push(Record::CreateTenant {
                collection: collection_id,
                name: tenant.name,
                tree: own,
                status: tenant.status,
            });
            segments.extend(tenant.segments.into_iter().map(|segment| (own, segment)));
        }
        collection_id += 1;
    }
    (log.next_tree, log.next_collection) = (tree, collection_id);
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

fn take(next: &mut TreeId) -> TreeId {
    std::mem::replace(next, next.next())
}
