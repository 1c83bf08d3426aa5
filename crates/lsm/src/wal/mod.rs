//! The write-ahead log: frames that survive a crash whole or not at all, and the proof of which.
//!
//! A commit is durable once its frames are written and a sync that started after has returned. Logs
//! follow each other: the active one is sealed, the next one names it in its first frame. What the
//! frames prove about each other, and how recovery tells a torn tail from corruption, is in
//! `docs/format.md` and [`recover`]; how they lie in the file is in `format::wal`.
//!
//! - `writer` turns groups into frames and writes whole pages.
//! - `stream` knows what is written and what is durable, and runs one sync at a time.
//! - `scan` reads one log back; `recovery` decides where the prefix of all logs ends.

mod ready;
mod recovery;
mod scan;
mod stream;
mod writer;

use std::sync::{Mutex, MutexGuard};

use siltstone_io::{error as io, exact::write_all_at};

pub use self::{
    ready::ReadyLog,
    recovery::{RecoveryReport, ReplayRange, recover},
};
use self::{
    stream::{SyncStream, ZERO_STEP_BYTES, Zeroed},
    writer::Writer,
};
pub use crate::format::wal::Position;
use crate::{
    error::{Error, Result},
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

/// The logs being written: the active one and the sync stream.
///
/// Appending is by one thread at a time (the caller holds its own lock); syncing and zeroing are by
/// any thread.
#[derive(Debug)]
pub struct Wal {
    writer: Mutex<Writer>,
    stream: SyncStream,
}

impl Wal {
    /// Starts writing in an empty log that has no predecessor: all older logs are flushed, and the
    /// replay floor is this log before anything in it is acknowledged.
    ///
    /// # Errors
    /// What the disk says.
    pub fn start(log: &ReadyLog) -> Result<Self> {
        let stream = SyncStream::new(&log.log, log.id);
        let writer = Mutex::new(Writer::begin(log, &stream, None)?);
        Ok(Self { writer, stream })
    }

    /// Appends a group and returns the place after it. One write carries the group, unless it is
    /// over 1 MiB. A `Sync` group ends padded to 4 KiB, so that no later write touches its pages.
    ///
    /// # Errors
    /// `NoSpace` when nothing was written and nothing is lost: the caller may go on.
    /// `Indeterminate` when the write failed otherwise (the WAL is then poisoned), `Poisoned` when
    /// it was before, `Unavailable` after [`Wal::close`].
    ///
    /// # Panics
    /// When sequences do not grow, or a batch is empty or over its limit.
    pub fn append(&self, group: &[Payload<'_>], durability: Durability) -> Result<Position> {
        let mut writer = self.lock();
        writer.check_open()?;
        self.stream.check()?;
        writer.append(&self.stream, group, durability)?;
        if durability == Durability::Sync {
            self.stream.expect_syncs();
        }
        Ok(self.stream.end())
    }

    /// Seals the active log and goes on in `next`, whose first frame names the sealed one.
    ///
    /// # Errors
    /// As [`Wal::append`]; after `NoSpace` the old log goes on, and `next` can be used later. Any
    /// other failure poisons.
    pub fn rotate(&self, next: &ReadyLog) -> Result<()> {
        let mut writer = self.lock();
        writer.check_open()?;
        self.stream.check()?;
        let sealed = writer.seal(&self.stream)?;
        self.stream.switch(&next.log, next.id);
        match Writer::begin(next, &self.stream, Some(&sealed)) {
            Ok(begun) => {
                *writer = begun;
                Ok(())
            }
            Err(failed) => {
                self.stream.poison(&failed); // the old log is sealed: there is nowhere to go on
                Err(failed)
            }
        }
    }

    /// The place after all that was appended.
    pub fn end(&self) -> Position {
        self.stream.end()
    }

    /// Syncs so far.
    pub fn syncs(&self) -> u64 {
        self.stream.syncs()
    }

    /// Returns when everything before `position` is durable. One `fdatasync` at a time; one covers
    /// all that was written before it started.
    ///
    /// # Errors
    /// `Indeterminate` when a write or sync failed before `position` was durable; the WAL is then
    /// poisoned.
    ///
    /// # Panics
    /// When `position` is past the end.
    pub fn sync_to(&self, position: Position) -> Result<()> {
        self.stream.sync_to(position)
    }

    /// Lets go of the logs before `floor`, none of which is needed any more: they are not synced, and
    /// their space can be freed.
    pub fn forget_before(&self, floor: LogId) {
        self.stream.forget_before(floor);
    }

    /// One step of writing zeros ahead of the commits (at most 1 MiB), so that their syncs neither
    /// allocate nor grow the file. `false` when there is nothing to do, as in a log without `Sync`
    /// commits, or when the disk is full.
    ///
    /// # Errors
    /// What the disk says; the WAL is then poisoned.
    pub fn zero_ahead(&self) -> Result<bool> {
        let Some(claim) = self.stream.claim_zeros()? else {
            return Ok(false);
        };
        let zeros = [ZEROS.as_slice(); 16];
        let zeroed = match write_all_at(&*claim.log, claim.range.start, &zeros) {
            Ok(()) => Zeroed::Written,
            Err(full) if full.kind() == io::ErrorKind::NoSpace => Zeroed::NoSpace,
            Err(failed) => {
                let failed = Error::from(failed);
                self.stream.poison(&failed);
                return Err(failed);
            }
        };
        self.stream.end_claim(&claim, zeroed);
        self.stream.sync_zeros()?;
        Ok(zeroed == Zeroed::Written)
    }

    /// Ends the active log for good: syncs it, seals it, syncs again. Nothing can be appended after.
    ///
    /// # Errors
    /// As [`Wal::append`] and [`Wal::sync_to`].
    pub fn close(&self) -> Result<()> {
        let mut writer = self.lock();
        writer.check_open()?;
        self.stream.check()?;
        self.stream.sync_to(self.stream.end())?; // so that the seal proves all before it
        writer.seal(&self.stream)?;
        writer.close();
        self.stream.sync_to(self.stream.end())
    }

    /// Fails, naming the cause, when a write or sync has failed.
    ///
    /// # Errors
    /// `Poisoned`.
    pub fn check(&self) -> Result<()> {
        self.stream.check()
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().expect("no code panics while holding it")
    }
}

/// A sixteenth of what one step of the zeroer writes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
const _: () = assert!(ZEROS.len() as u64 * 16 == ZERO_STEP_BYTES);

#[cfg(test)]
mod tests;
