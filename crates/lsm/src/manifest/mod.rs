//! The manifest: the one truth about what the store consists of.
//! skeleton: owner of version.rs, catalog.rs, manifest/.

use std::sync::Arc;

use siltstone_io::env::Env;

use crate::{
    catalog::{Catalog, TenantStatus},
    error::Result,
    types::{FileId, LogId, SegmentMeta, Sequence, TreeId},
    version::Version,
};

/// One change of the store's state; records apply together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    pub records: Vec<Record>,
}

/// One record of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    CreateCollection { id: u64, name: String, tree: TreeId },
    DropCollection { id: u64 },
    RenameCollection { id: u64, name: String },
    CreateTenant { collection: u64, name: String, tree: TreeId, status: TenantStatus },
    SetTenantStatus { collection: u64, name: String, status: TenantStatus },
    DropTenant { collection: u64, name: String },
    AddFile { file: FileId, length: u64 },
    RemoveFile { file: FileId },
    AddSegment { tree: TreeId, level: u8, file: FileId, offset: u64, meta: SegmentMeta },
    /// Segments are named by their place.
    RemoveSegment { tree: TreeId, file: FileId, offset: u64 },
    MoveSegment { tree: TreeId, file: FileId, offset: u64, level: u8 },
    /// Replay starts at `log`; every entry with a sequence below `sequence` is in segments.
    ReplayFloor { log: LogId, sequence: Sequence },
    /// A log file exists, is durable, and may be written: it must be there at open while >= floor.
    LogReady { log: LogId },
    /// No sequence below `upto` is assigned after a reopen unless replayed.
    ReserveSequences { upto: Sequence },
    /// The number of the last catalog or restore edit that went through the commit queue.
    QueueEdit { number: u64 },
    /// Identifiers below these are used up.
    NextIds { tree: TreeId, file: FileId, collection: u64 },
}

/// The state that the edits add up to. Immutable parts are shared.
#[derive(Clone, Debug)]
pub struct State {
    pub store_id: [u8; 16],
    pub catalog: Arc<Catalog>,
    pub version: Arc<Version>,
    pub replay_floor: (LogId, Sequence),
    pub last_log: LogId,
    pub reserved_upto: Sequence,
    pub last_queue_edit: u64,
    pub next_tree: TreeId,
    pub next_file: FileId,
    pub next_collection: u64,
}

/// The open manifest: appends edits durably, keeps the current state, rolls itself.
#[derive(Debug)]
pub struct Manifest {}

impl Manifest {
    /// Makes the first manifest of a new store (manifest file + CURRENT, all synced).
    pub fn create(_env: &Env, _store_id: [u8; 16], _roll_bytes: u64) -> Result<Self> {
        todo!()
    }
    /// Reads CURRENT and replays the manifest it names. NotFound kind when there is no CURRENT and
    /// no file of a store; Corrupt when files exist without it.
    pub fn open(_env: &Env, _roll_bytes: u64) -> Result<Self> {
        todo!()
    }
    /// The state after the last durable edit.
    pub fn state(&self) -> State {
        todo!()
    }
    /// Appends one edit, syncs, applies, returns the new state. Serialised inside. Any failure poisons the
    /// manifest: every later commit fails with Poisoned.
    pub fn commit(&self, _edit: Edit) -> Result<State> {
        todo!()
    }
    /// Whether the manifest is due for a roll.
    pub fn should_roll(&self) -> bool {
        todo!()
    }
    /// Writes a fresh snapshot manifest and switches CURRENT to it.
    pub fn roll(&self) -> Result<()> {
        todo!()
    }
}
