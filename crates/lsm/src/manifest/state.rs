//! [`State`]: what the edits of a manifest add up to.
//!
//! [`State::apply`] is pure and total: an edit that does not fit, from a caller or from a damaged
//! manifest, is an error and changes nothing. Replaying the edits gives the same state as applying
//! them when they were made, and so does the snapshot ([`State::snapshot`]), which is one edit on an
//! empty state.

use std::{collections::BTreeMap, iter, sync::Arc};

use crate::{
    catalog::Catalog,
    error::{Error, ErrorKind, Result},
    format::manifest::edit::{Edit, Record},
    types::{FileId, LogId, SEQUENCE_MAX, SEQUENCE_RESERVATION, Sequence, TreeId},
    version::{FileHandle, Version, edit::VersionEdit, held::Held},
};

/// Highest identifier or number; leaves room to count on from it.
const NUMBER_MAX: u64 = 1 << 62;

/// Highest sequence in a floor or reservation: one reservation beyond the last that is assigned.
const RESERVED_MAX: Sequence = SEQUENCE_MAX + 2 * SEQUENCE_RESERVATION;

/// The state that the edits add up to. Immutable parts are shared, so a clone is cheap.
#[derive(Clone, Debug)]
pub struct State {
    /// Set once, when the store is made.
    pub store_id: [u8; 16],
    /// Collections and tenants.
    pub catalog: Arc<Catalog>,
    /// Segments and files.
    pub version: Arc<Version>,
    /// Complete files of restores that have not ended.
    pub held: Held,
    /// Where replay starts: log and sequence.
    pub replay_floor: (LogId, Sequence),
    /// The last log that may have been written; log 0 means none.
    pub last_log: LogId,
    /// Sequences below this may have been assigned.
    pub reserved_upto: Sequence,
    /// The number of the last catalog or restore edit; 0 if there was none.
    pub last_queue_edit: u64,
    /// The lowest free tree.
    pub next_tree: TreeId,
    /// The lowest free file.
    pub next_file: FileId,
    /// The lowest free collection.
    pub next_collection: u64,
}

/// What an edit led to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The state after it.
    pub state: State,
    /// Files that the state named before the edit, or that the edit added, and that it names no
    /// more: to be removed from disk when no one else holds them.
    pub obsolete: Vec<Arc<FileHandle>>,
}

impl State {
    /// The state of a new store.
    pub fn new(store_id: [u8; 16]) -> Self {
        Self {
            store_id,
            catalog: Arc::default(),
            version: Arc::default(),
            held: Held::default(),
            replay_floor: (LogId(1), 1),
            last_log: LogId(0),
            reserved_upto: 1,
            last_queue_edit: 0,
            next_tree: TreeId(1),
            next_file: FileId(1),
            next_collection: 1,
        }
    }

    /// The state after an edit. The caller's state is untouched.
    ///
    /// # Errors
    /// `Exists`, `NotFound` or `Invalid` when the edit does not fit this state.
    pub fn apply(&self, edit: &Edit) -> Result<Outcome> {
        let mut builder = Builder::new(self.clone());
        edit.records.iter().try_for_each(|record| builder.record(record))?;
        builder.finish()
    }

    /// The records of an edit without those that concern segments of trees dropped since the edit
    /// was made.
    #[must_use]
    pub fn without_dropped_trees(&self, records: Vec<Record>) -> Vec<Record> {
        let lives = |record: &Record| match record {
            Record::AddSegment { tree, .. }
            | Record::RemoveSegment { tree, .. }
            | Record::MoveSegment { tree, .. } => self.catalog.owner(*tree).is_some(),
            _ => true,
        };
        records.into_iter().filter(lives).collect()
    }

    /// The records that make this state from that of a new store, as one edit.
    pub fn snapshot(&self) -> impl Iterator<Item = Record> {
        let mut first = Vec::new();
        if self.last_log > LogId(0) {
            first.push(Record::LogReady { log: self.last_log });
        }
        let (log, sequence) = self.replay_floor;
        first.push(Record::ReplayFloor { log, sequence });
        first.push(Record::ReserveSequences { upto: self.reserved_upto });
        if self.last_queue_edit > 0 {
            first.push(Record::QueueEdit { number: self.last_queue_edit });
        }
        let last = Record::NextIds {
            tree: self.next_tree,
            file: self.next_file,
            collection: self.next_collection,
        };
        first
            .into_iter()
            .chain(self.catalog_records())
            .chain(self.file_records())
            .chain(self.held_records())
            .chain(iter::once(last))
    }

    fn catalog_records(&self) -> impl Iterator<Item = Record> {
        self.catalog.collections.values().flat_map(|collection| {
            let id = collection.id;
            let create = Record::CreateCollection {
                id,
                name: collection.name.to_string(),
                tree: collection.tree,
            };
            let tenants = collection.tenants.iter().map(move |(name, tenant)| {
                let (tree, status) = (tenant.tree, tenant.status);
                let (location, name) = (collection.location(name), name.to_string());
                match location.map(str::to_owned) {
                    Some(location) => Record::FrozenTenant { collection: id, name, tree, location },
                    None => Record::CreateTenant { collection: id, name, tree, status },
                }
            });
            iter::once(create).chain(tenants)
        })
    }

    fn file_records(&self) -> impl Iterator<Item = Record> {
        self.version.file_uses().flat_map(|file| {
            let (id, length) = (file.handle.id, file.handle.length);
            let segments = file.segments.values().map(move |segment| Record::AddSegment {
                tree: segment.tree,
                level: segment.level,
                file: id,
                offset: segment.offset,
                meta: segment.meta.clone(),
            });
            iter::once(Record::AddFile { file: id, length }).chain(segments)
        })
    }

    fn held_records(&self) -> impl Iterator<Item = Record> {
        self.held.files().flat_map(|held| {
            let (file, length) = (held.file, held.length);
            let segments = held.segments.iter().map(move |(offset, meta)| Record::HoldSegment {
                file,
                offset: *offset,
                meta: meta.clone(),
            });
            iter::once(Record::HoldFile { file, length }).chain(segments)
        })
    }
}

/// A state taking in the records of one edit.
#[derive(Debug)]
pub(crate) struct Builder {
    state: State,
    version: VersionEdit,
    /// Files that were held before, or by an earlier record of the edit, and are not named now.
    released: BTreeMap<FileId, Arc<FileHandle>>,
    /// The lowest free identifiers before the edit: the records of a snapshot come in any order.
    fresh: (TreeId, u64),
}

impl Builder {
    /// Starts an edit on a state.
    pub(crate) fn new(state: State) -> Self {
        let version = VersionEdit::new((*state.version).clone());
        let fresh = (state.next_tree, state.next_collection);
        Self { state, version, released: BTreeMap::new(), fresh }
    }

    /// Takes in one record. After an error the builder is of no use.
    pub(crate) fn record(&mut self, record: &Record) -> Result<()> {
        match record {
            Record::AddFile { file, length } => {
                self.name_file(*file)?;
                self.version.add_file(*file, *length)?;
            }
            Record::AddSegment { tree, level, file, offset, meta } => {
                if self.state.catalog.owner(*tree).is_none() {
                    return Err(misfit(format!(
                        "segment {} is for {tree}, which is unknown",
                        meta.uid
                    )));
                }
                self.version.add_segment(*tree, *level, (*file, *offset), meta.clone())?;
            }
            Record::RemoveSegment { tree, file, offset } => {
                self.version.remove_segment(*tree, (*file, *offset))?;
            }
            Record::MoveSegment { tree, file, offset, level } => {
                self.version.move_segment(*tree, (*file, *offset), *level)?;
            }
            Record::HoldFile { file, length } => {
                self.name_file(*file)?;
                self.state.held.add_file(*file, *length)?;
            }
            Record::HoldSegment { file, offset, meta } => {
                self.state.held.add_segment(*file, *offset, meta.clone())?;
            }
            Record::ReleaseFile { file } => {
                self.released.insert(*file, self.state.held.remove(*file)?);
            }
            Record::ReplayFloor { log, sequence } => self.raise_floor(*log, *sequence)?,
            Record::LogReady { log } => {
                check_number(log.0)?;
                check_rises("log", self.state.last_log.0 + 1, log.0)?;
                self.state.last_log = *log;
            }
            Record::ReserveSequences { upto } => {
                check_sequence(*upto)?;
                self.state.reserved_upto = self.state.reserved_upto.max(*upto);
            }
            Record::QueueEdit { number } => {
                check_number(*number)?;
                check_rises("queue edit", self.state.last_queue_edit + 1, *number)?;
                self.state.last_queue_edit = *number;
            }
            Record::NextIds { tree, file, collection } => self.use_up(*tree, *file, *collection)?,
            catalog => self.catalog_record(catalog)?,
        }
        Ok(())
    }

    /// The state after all records.
    pub(crate) fn finish(mut self) -> Result<Outcome> {
        let floor = self.state.replay_floor.0;
        if floor > self.state.last_log.next() {
            return Err(misfit(format!("replay would start at {floor}, beyond the last log")));
        }
        let (version, mut obsolete) = self.version.finish()?;
        obsolete.extend(self.released.into_values());
        self.state.version = Arc::new(version);
        Ok(Outcome { state: self.state, obsolete })
    }

    /// Takes a file that is to be named; it is either of segments or held, never both.
    fn name_file(&mut self, file: FileId) -> Result<()> {
        check_number(file.0)?;
        if self.version.has_file(file) || self.state.held.file(file).is_some() {
            return Err(misfit(format!("{file} is added twice")));
        }
        self.released.remove(&file);
        self.state.next_file = self.state.next_file.max(file.next());
        Ok(())
    }

    fn catalog_record(&mut self, record: &Record) -> Result<()> {
        let (next_tree, next_collection) = self.fresh;
        let (tree, collection) = match record {
            Record::CreateCollection { id, tree, .. } => (Some(*tree), Some(*id)),
            Record::CreateTenant { tree, .. } | Record::FrozenTenant { tree, .. } => {
                (Some(*tree), None)
            }
            _ => (None, None),
        };
        if let Some(tree) = tree {
            check_number(tree.0)?;
            check_rises("tree", next_tree.0, tree.0)?;
            self.state.next_tree = self.state.next_tree.max(tree.next());
        }
        if let Some(id) = collection {
            check_number(id)?;
            check_rises("collection", next_collection, id)?;
            self.state.next_collection = self.state.next_collection.max(id + 1);
        }
        let dropped = Arc::make_mut(&mut self.state.catalog).apply(record)?;
        dropped.into_iter().try_for_each(|tree| self.version.drop_tree(tree))
    }

    fn raise_floor(&mut self, log: LogId, sequence: Sequence) -> Result<()> {
        check_number(log.0)?;
        check_sequence(sequence)?;
        let (old_log, old_sequence) = self.state.replay_floor;
        check_rises("log of the replay floor", old_log.0, log.0)?;
        check_rises("sequence of the replay floor", old_sequence, sequence)?;
        self.state.replay_floor = (log, sequence);
        Ok(())
    }

    fn use_up(&mut self, tree: TreeId, file: FileId, collection: u64) -> Result<()> {
        [tree.0, file.0, collection].into_iter().try_for_each(check_number)?;
        let state = &mut self.state;
        state.next_tree = state.next_tree.max(tree);
        state.next_file = state.next_file.max(file);
        state.next_collection = state.next_collection.max(collection);
        Ok(())
    }
}

fn check_number(number: u64) -> Result<()> {
    if number <= NUMBER_MAX {
        return Ok(());
    }
    Err(misfit(format!("the number {number} is beyond all limits")))
}

fn check_sequence(sequence: Sequence) -> Result<()> {
    if sequence <= RESERVED_MAX {
        return Ok(());
    }
    Err(misfit(format!("the sequence {sequence} is beyond the last one")))
}

fn check_rises(what: &str, least: u64, got: u64) -> Result<()> {
    if got >= least {
        return Ok(());
    }
    Err(misfit(format!("{what} {got} comes after {least}")))
}

fn misfit(message: String) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests;
