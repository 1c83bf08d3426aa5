//! Opening a store: lock, manifest, orphans, replay, and a fresh log.
//!
//! Recovery writes forward. What the logs hold above the replay floor is replayed into memtables,
//! these are flushed to level 0, and one edit names the new segments, the fresh log and the raised
//! floor. Until that edit is durable the old logs are untouched, so a crash during recovery
//! recovers again from the same bytes.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64},
    },
};

use arc_swap::ArcSwap;
use siltstone_io::{
    disk::{Disk, LockGuard},
    env::Env,
    error as io,
    path::RelPath,
};

use crate::{
    cache::BlockCache,
    commit::{order::Order, queue::Queue},
    error::{Error, ErrorKind, Result},
    flush,
    format::names,
    manifest::{Edit, Manifest, Record, State},
    memtable::Memtable,
    options::Options,
    store::{
        commit::apply,
        core::{Core, LogState, Published},
        metrics::Counters,
        obsolete::Obsolete,
        poison::Poison,
        pressure::{LastFailure, Stall},
        reserved::Reserved,
        signal::Signal,
    },
    types::{FileId, LogId, SEQUENCE_RESERVATION, Sequence, TreeId},
    version::SegmentOpener,
    view::View,
    wal::{self, Payload, ReadyLog, RecoveryReport, ReplayRange, Wal},
};

/// Opens or creates the store on the disk of `env`.
pub(crate) fn open(env: Env, options: Options) -> Result<Core> {
    if !options.create && !Manifest::is_there(&*env.disk) {
        return Err(no_store()); // before the lock, which would make its file
    }
    let lock = take_lock(&*env.disk)?;
    let manifest = open_manifest(&env, &options)?;
    let found = manifest.state();
    remove_orphans(&*env.disk, &found)?;
    let recovered = Replay::run(&env, &options, &found)?;
    let log_id = found.last_log.next();
    let log = make_log(&env, found.store_id, log_id)?;
    let next_sequence = recovered.next_sequence(&found);
    manifest.commit(recovered.edit(&found, log_id, next_sequence))?;
    remove_logs_below(&*env.disk, log_id)?;
    let report = recovered.report;
    assemble(Parts { env, options, manifest, lock, log, next_sequence, report })
}

fn take_lock(disk: &dyn Disk) -> Result<Box<dyn LockGuard>> {
    let note = format!("process {}", std::process::id());
    disk.lock(&names::top(names::LOCK), &note).map_err(|error| {
        if error.kind() == io::ErrorKind::Locked {
            let message = format!("{error}; close the store there, then try again");
            Error::new(ErrorKind::Locked, message)
        } else {
            error.into()
        }
    })
}

fn open_manifest(env: &Env, options: &Options) -> Result<Manifest> {
    match Manifest::open(env, options.manifest_roll_bytes) {
        Err(error) if error.kind() == ErrorKind::NotFound && options.create => {
            create_files_folder(&*env.disk)?;
            Manifest::create(env, env.unique_id(), options.manifest_roll_bytes)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(no_store()),
        outcome => outcome,
    }
}

fn no_store() -> Error {
    let message = "there is no store in this folder; create one, or check the path";
    Error::new(ErrorKind::NotFound, message)
}

fn create_files_folder(disk: &dyn Disk) -> Result<()> {
    match disk.create_dir(&names::top(names::FILES)) {
        Err(error) if error.kind() != io::ErrorKind::Exists => return Err(error.into()),
        _ => {}
    }
    Ok(disk.sync_dir(&RelPath::root())?)
}

/// Removes files of ours that the manifest does not name: outputs of interrupted jobs, logs below
/// the floor or above the last one named, what abandoned restores had not completed.
fn remove_orphans(disk: &dyn Disk, state: &State) -> Result<()> {
    let mut named: HashSet<FileId> = state.version.files().map(|file| file.id).collect();
    named.extend(state.held.files().map(|held| held.file));
    let files = names::top(names::FILES);
    let listed = disk.list(&files).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let what = "the folder of the segments is missing";
            Error::corrupt(names::FILES, 0, what)
        }
        _ => error.into(),
    })?;
    for entry in listed {
        if names::parse_file(&entry.name).is_some_and(|id| !named.contains(&id)) {
            disk.remove(&files.join(&entry.name)?)?;
        }
    }
    for entry in disk.list(&RelPath::root())? {
        let orphan = |log: LogId| log < state.replay_floor.0 || log > state.last_log;
        if names::parse_log(&entry.name).is_some_and(orphan) {
            disk.remove(&RelPath::root().join(&entry.name)?)?;
        }
    }
    Ok(())
}

fn remove_logs_below(disk: &dyn Disk, floor: LogId) -> Result<()> {
    for entry in disk.list(&RelPath::root())? {
        if names::parse_log(&entry.name).is_some_and(|log| log < floor) {
            disk.remove(&RelPath::root().join(&entry.name)?)?;
        }
    }
    Ok(())
}

/// Creates the log for this session; a leftover that no edit names is in the way of no one.
fn make_log(env: &Env, store_id: [u8; 16], id: LogId) -> Result<ReadyLog> {
    match env.disk.remove(&names::log(id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    ReadyLog::create(env, store_id, id)
}

/// Replayed data on its way into segments.
#[derive(Debug)]
struct Replay<'a> {
    env: &'a Env,
    options: &'a Options,
    /// Trees in the catalog: records of dropped ones are skipped.
    trees: BTreeSet<TreeId>,
    memtable: Arc<Memtable>,
    recovered: Recovered,
}

/// What replay wrote; one edit makes it part of the store.
#[derive(Debug)]
struct Recovered {
    records: Vec<Record>,
    next_file: FileId,
    report: RecoveryReport,
}

impl Replay<'_> {
    fn run(env: &Env, options: &Options, state: &State) -> Result<Recovered> {
        let recovered = Recovered {
            records: Vec::new(),
            next_file: state.next_file,
            report: RecoveryReport::default(),
        };
        if state.last_log == LogId::default() {
            return Ok(recovered); // a store that was created and never opened to the end
        }
        let trees = state.catalog.trees().collect();
        let mut replay = Replay { env, options, trees, memtable: Arc::default(), recovered };
        let last_edit = state.last_queue_edit;
        let report = wal::recover(
            env,
            state.store_id,
            ReplayRange { floor: state.replay_floor, last: state.last_log },
            &|number| number <= last_edit,
            &mut |payload| replay.visit(payload),
        )?;
        replay.flush()?;
        replay.recovered.report = report;
        Ok(replay.recovered)
    }

    fn visit(&mut self, payload: Payload<'_>) -> Result<()> {
        if let Payload::Batch { first_sequence, encoded, .. } = payload {
            let trees = &self.trees;
            apply(&self.memtable, encoded, first_sequence, |tree| trees.contains(&tree))?;
        }
        if self.memtable.bytes() >= self.options.memtable_bytes_max {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let memtable = std::mem::take(&mut self.memtable);
        if memtable.is_empty() {
            return Ok(());
        }
        let file = self.recovered.next_file;
        self.recovered.next_file = file.next();
        let context = flush::Context { env: self.env, options: self.options, cache: None };
        let flushed = flush::write(context, &memtable, &self.trees, file)?;
        if let Some(flushed) = flushed {
            self.recovered.records.extend(flushed.records());
        }
        Ok(())
    }
}

impl Recovered {
    /// Above all that was replayed and all that may ever have been assigned.
    fn next_sequence(&self, state: &State) -> Sequence {
        state.reserved_upto.max(self.report.last_sequence + 1).max(1)
    }

    fn edit(&self, state: &State, log: LogId, next_sequence: Sequence) -> Edit {
        let mut records = self.records.clone();
        records.extend([
            Record::LogReady { log },
            Record::ReplayFloor { log, sequence: next_sequence },
            Record::ReserveSequences { upto: next_sequence + SEQUENCE_RESERVATION },
            Record::NextIds {
                tree: state.next_tree,
                file: self.next_file,
                collection: state.next_collection,
            },
        ]);
        Edit { records }
    }
}

/// What [`open`] has made when the store can be put together.
struct Parts {
    env: Env,
    options: Options,
    manifest: Manifest,
    lock: Box<dyn LockGuard>,
    log: ReadyLog,
    next_sequence: Sequence,
    report: RecoveryReport,
}

fn assemble(parts: Parts) -> Result<Core> {
    let Parts { env, options, manifest, lock, log, next_sequence, report } = parts;
    let state = manifest.state();
    let active = Arc::new(Memtable::new());
    let view = View {
        memtables: vec![Arc::clone(&active)],
        version: Arc::clone(&state.version),
        catalog: Arc::clone(&state.catalog),
    };
    let published = Published { view: Arc::new(view), level0_segments: 0 };
    let log_state = LogState {
        next_sequence,
        reserved_upto: state.reserved_upto,
        next_group: 0,
        next_queue_edit: state.last_queue_edit + 1,
        wake_zeroer_at: 0,
        next_tree: state.next_tree,
        next_collection: state.next_collection,
        active,
        catalog: Arc::clone(&state.catalog),
        reserved: Reserved::default(),
    };
    let opener = SegmentOpener {
        disk: Arc::clone(&env.disk),
        mode: options.read_mode,
        cache: Arc::new(BlockCache::new(options.cache_bytes_max)),
    };
    let core = Core {
        wal: Wal::start(&log)?,
        store_id: state.store_id,
        next_file: AtomicU64::new(state.next_file.0),
        oldest_log: Mutex::new(state.replay_floor.0),
        visible: AtomicU64::new(next_sequence - 1),
        published: ArcSwap::from_pointee(published),
        log: Mutex::new(log_state),
        env,
        options,
        report,
        opener,
        manifest,
        queue: Queue::default(),
        order: Order::default(),
        ready_log: Mutex::default(),
        install: Mutex::default(),
        sealed: Mutex::default(),
        obsolete: Obsolete::default(),
        claimed: Mutex::default(),
        poison: Poison::default(),
        stall: Stall::default(),
        flush_failure: LastFailure::default(),
        compaction_failure: LastFailure::default(),
        closing: AtomicBool::default(),
        untold: AtomicBool::default(),
        signal: Arc::<Signal>::default(),
        log_signal: Signal::default(),
        counters: Counters::default(),
        flushing: Mutex::default(),
        compacting: Mutex::default(),
        cutting: Mutex::default(),
        _lock: lock,
    };
    core.install(|_| ());
    Ok(core)
}
