//! The write-ahead log: frames that survive a crash whole or not at all, and the proof of which.

use siltstone_io::env::Env;

use crate::{
    error::Result,
    options::Durability,
    types::{LogId, Sequence},
};

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Payload<'a> {
    /// An encoded batch.
    Batch {
        /// The sequence of its first operation; the others follow.
        first_sequence: Sequence,
        /// How many operations it has, at least one.
        operations: u32,
        /// The operations, see [`crate::batch::Batch::encoded`].
        encoded: &'a [u8],
    },
    /// A queue edit takes its place in the order of commits here.
    Marker {
        /// The one sequence that it takes.
        sequence: Sequence,
        /// The number of the edit in the manifest.
        number: u64,
    },
}

/// A place in the logs: everything before it was handed to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The log.
    pub log: LogId,
    /// Bytes from its start.
    pub offset: u64,
}

/// The logs being written: the active one and the sync stream.
///
/// Appending is by one thread at a time (the caller holds its own lock); syncing and zeroing are by
/// any thread.
#[derive(Debug)]
pub struct Wal {}

/// An empty log, created and durable (file and folder synced), ready to be switched to.
#[derive(Clone, Debug)]
pub struct ReadyLog {}

impl ReadyLog {
    /// Creates log `id` with a fresh salt.
    ///
    /// # Errors
    /// What the disk says; `NoSpace` leaves nothing that matters.
    pub fn create(_env: &Env, _store_id: [u8; 16], _id: LogId) -> Result<Self> {
        todo!()
    }

    /// Its identifier.
    pub fn id(&self) -> LogId {
        todo!()
    }
}

impl Wal {
    /// Starts writing in an empty log that has no predecessor: all older logs are flushed, and the
    /// replay floor will be this log before anything in it is acknowledged.
    ///
    /// # Errors
    /// What the disk says.
    pub fn start(_log: ReadyLog) -> Result<Self> {
        todo!()
    }

    /// Appends a group with one write and returns the place after it. A `Sync` group ends padded to
    /// 4 KiB, so that the sync that follows writes no page twice.
    ///
    /// # Errors
    /// `NoSpace` when nothing was written and nothing is lost: the caller may go on. `Indeterminate`
    /// when the write failed otherwise (the WAL is then poisoned), `Poisoned` when it was before.
    pub fn append(&self, _group: &[Payload<'_>], _durability: Durability) -> Result<Position> {
        todo!()
    }

    /// Seals the active log and goes on in `next`, whose first frame names the sealed one.
    ///
    /// # Errors
    /// As [`Wal::append`]; after `NoSpace` the old log goes on, and a clone of `next` can be used
    /// later.
    pub fn rotate(&self, _next: ReadyLog) -> Result<()> {
        todo!()
    }

    /// The place after all that was appended.
    pub fn end(&self) -> Position {
        todo!()
    }

    /// Returns when everything before `position` is durable. One `fdatasync` at a time; one covers
    /// all that was written before it started.
    ///
    /// # Errors
    /// `Indeterminate` when a write or sync failed before `position` was durable; the WAL is then
    /// poisoned.
    pub fn sync_to(&self, _position: Position) -> Result<()> {
        todo!()
    }

    /// One step of writing zeros ahead of the commits (at most 1 MiB), so that their syncs neither
    /// allocate nor grow the file. `false` when there is nothing to do, as in a log without `Sync`
    /// commits.
    ///
    /// # Errors
    /// What the disk says; the WAL is then poisoned.
    pub fn zero_ahead(&self) -> Result<bool> {
        todo!()
    }

    /// Ends the active log for good: syncs it, seals it, syncs again. Nothing can be appended after.
    ///
    /// # Errors
    /// As [`Wal::append`] and [`Wal::sync_to`].
    pub fn close(&self) -> Result<()> {
        todo!()
    }

    /// Fails with `Poisoned`, naming the cause, when a write or sync has failed.
    ///
    /// # Errors
    /// `Poisoned`.
    pub fn check(&self) -> Result<()> {
        todo!()
    }
}

/// Which logs to replay, from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayRange {
    /// The first log, and the first sequence that is not in segments yet.
    pub floor: (LogId, Sequence),
    /// The last log that the manifest calls ready.
    pub last: LogId,
}

/// What recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The last sequence of the prefix, 0 if nothing was replayed.
    pub last_sequence: Sequence,
    /// Commits replayed.
    pub commits: u64,
    /// Bytes dropped as a torn or unsynced tail, with the place.
    pub dropped: Vec<(Position, u64)>,
}

/// Reads the logs of `range` (all must exist), decides where the prefix ends, and calls `visit` for
/// each payload from the floor's sequence on, in order.
///
/// `edit_is_durable(number)` tells whether the manifest holds queue edit `number`; the prefix ends
/// at a marker whose edit it lacks.
///
/// # Errors
/// `Corrupt`, naming log and offset, when bytes that were proven durable are damaged or a log is
/// missing; `Io` when a log cannot be read or synced; what `visit` returns.
pub fn recover(
    _env: &Env,
    _store_id: [u8; 16],
    _range: ReplayRange,
    _edit_is_durable: &dyn Fn(u64) -> bool,
    _visit: &mut dyn FnMut(Payload<'_>) -> Result<()>,
) -> Result<RecoveryReport> {
    todo!()
}
