//! The write-ahead log: frames that survive a crash whole or not at all, and the proof of which.
//! skeleton: owner of wal/, batch.rs.

use std::sync::Arc;

use siltstone_io::env::Env;

use crate::{error::Result, types::{LogId, Sequence}};

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Payload<'a> {
    /// An encoded batch whose first operation has this sequence.
    Batch { first_sequence: Sequence, operations: u32, encoded: &'a [u8] },
    /// Queue edit `number` takes this place; it has one sequence of its own.
    Marker { sequence: Sequence, number: u64 },
}

/// A place in the logs: everything before it was handed to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position { pub log: LogId, pub offset: u64 }

/// How one log ended, for the first frame of its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor { pub log: LogId, pub length: u64, pub last_sequence: Sequence, pub rolling_crc: u32 }

/// The logs being written: the active one and the sync stream. Appending is by one thread at a time
/// (the caller holds its own lock); syncing is by any thread.
#[derive(Debug)]
pub struct Wal {}

/// An empty log, created and durable (file synced, folder synced), ready to be switched to.
#[derive(Debug)]
pub struct ReadyLog {}

impl ReadyLog {
    /// Creates log `id` with a fresh salt.
    pub fn create(_env: &Env, _store_id: [u8; 16], _id: LogId) -> Result<Self> {
        todo!()
    }
}

impl Wal {
    /// Starts writing in an empty log; `predecessor` None for the first log after an open that flushed everything.
    pub fn start(_env: &Env, _log: ReadyLog) -> Result<Self> {
        todo!()
    }
    /// Appends a group with one write. `sync` groups end padded to 4 KiB. Returns the position after it.
    /// A failed write poisons the WAL.
    pub fn append(&self, _group: &[Payload<'_>], _sync: bool) -> Result<Position> {
        todo!()
    }
    /// Seals the active log and goes on in `next`, whose first frame names the sealed one.
    pub fn rotate(&self, _next: ReadyLog) -> Result<()> {
        todo!()
    }
    /// Returns when everything before `position` is durable. One fdatasync at a time; one covers all that
    /// was written before it started. Any failure poisons: this and all later calls fail.
    pub fn sync_to(&self, _position: Position) -> Result<()> {
        todo!()
    }
    /// One step of zeroing ahead of the sync position (<= 1 MiB); false when there is nothing to do.
    pub fn zero_ahead(&self) -> Result<bool> {
        todo!()
    }
}

/// What recovery found.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// The last sequence of the prefix, 0 if nothing was replayed.
    pub last_sequence: Sequence,
    /// Commits replayed.
    pub commits: u64,
    /// Bytes dropped as a torn or unsynced tail, with the place.
    pub dropped: Vec<(Position, u64)>,
}

/// Reads the logs `floor..=last` (all must exist), decides where the prefix ends, and calls `visit` for each
/// payload with sequence >= `floor_sequence` in order.
/// `edit_is_durable(number)` tells whether the manifest holds queue edit `number`; the prefix ends at a marker that is not.
pub fn recover(
    _env: &Env, _store_id: [u8; 16], _floor: (LogId, Sequence), _last: LogId,
    _edit_is_durable: &dyn Fn(u64) -> bool,
    _visit: &mut dyn FnMut(Payload<'_>) -> Result<()>,
) -> Result<RecoveryReport> {
    todo!()
}

#[expect(dead_code, reason = "skeleton")]
fn unused(_: Arc<Wal>) {}
