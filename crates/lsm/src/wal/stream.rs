//! The sync stream: what is written, what is durable, and the one `fdatasync` at a time between.
//!
//! Invariants:
//!
//! 1. `durable` moves only after a sync that returned success, or past logs whose commits are all in
//!    durable segments; and never once poisoned.
//! 2. A log is synced after the logs before it, so what is durable is a prefix of all logs.
//! 3. The zeroer writes only above `write_upto`, in a claim that a writer waits for; so zeros never
//!    land on frames.
//!
//! 4. The last handle of a log is never closed under the lock: where the log is removed already, that
//!    frees all its space, and takes as long.
//!
//! Why one sync at a time: syncs of one device beside each other only slow each other down, and the
//! system reports a failed write-back once, to whichever sync comes first.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use siltstone_io::disk::Log;

use crate::{
    error::{Error, ErrorKind, Result},
    format::wal::{FRAMES_START, Position, page_down, page_up},
    types::LogId,
};

/// Most bytes of zeros that one step writes, and the least that should lie ahead of the writer.
pub(super) const ZERO_STEP_BYTES: u64 = 1 << 20;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct SyncStream {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Sealed logs that are not wholly durable yet, oldest first.
    sealed: VecDeque<(Arc<dyn Log>, LogId)>,
    active: Active,
    durable: Position,
    syncing: bool,
    /// Syncs that returned success.
    syncs: u64,
    /// Why writing stopped for good.
    poison: Option<String>,
    claim: Option<(LogId, Range<u64>)>,
}

#[derive(Debug)]
struct Active {
    log: Arc<dyn Log>,
    id: LogId,
    /// Everything before it is written.
    end: u64,
    /// Frames may be written up to here; a page boundary.
    write_upto: u64,
    /// Zeros or frames are written up to here; a page boundary.
    zeroed_upto: u64,
    zeroing: Zeroing,
    zeros_unsynced: bool,
}

/// Whether a log is zeroed ahead of its commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zeroing {
    /// No commit of it was synced yet.
    NotNeeded,
    Wanted,
    /// The disk was full.
    GivenUp,
}

impl Active {
    fn new(log: Arc<dyn Log>, id: LogId) -> Self {
        Self {
            log,
            id,
            end: FRAMES_START,
            write_upto: FRAMES_START,
            zeroed_upto: FRAMES_START,
            zeroing: Zeroing::NotNeeded,
            zeros_unsynced: false,
        }
    }

    fn position(&self) -> Position {
        Position { log: self.id, offset: self.end }
    }
}

/// One log to sync.
#[derive(Debug)]
struct Due {
    log: Arc<dyn Log>,
    /// What is durable afterwards.
    upto: Position,
    sealed: bool,
}

/// Zeros to be written.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) log: Arc<dyn Log>,
    pub(super) range: Range<u64>,
    id: LogId,
}

/// How the zeroer's write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zeroed {
    Written,
    /// The disk is full; nothing is lost, since what was written are zeros.
    NoSpace,
}

impl SyncStream {
    /// Starts with an empty log.
    pub(super) fn new(log: &Arc<dyn Log>, id: LogId) -> Self {
        let state = State {
            sealed: VecDeque::new(),
            active: Active::new(Arc::clone(log), id),
            // Nothing is claimed of older logs, not even that they are durable: they are flushed.
            durable: Position::default(),
            syncing: false,
            syncs: 0,
            poison: None,
            claim: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while holding it")
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).expect("no code panics while holding it")
    }

    /// Fails once poisoned.
    pub(super) fn check(&self) -> Result<()> {
        self.lock().check()
    }

    /// Stops writing for good.
    pub(super) fn poison(&self, cause: &Error) {
        self.lock().stop(cause);
        self.changed.notify_all();
    }

    /// The place after all that was written.
    pub(super) fn end(&self) -> Position {
        self.lock().active.position()
    }

    /// Syncs so far.
    pub(super) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// The page boundary before which everything is proven durable.
    pub(super) fn synced_upto(&self) -> Position {
        let durable = self.lock().durable;
        Position { log: durable.log, offset: page_down(durable.offset) }
    }

    /// Announces a write of the active log up to `upto`; waits for the zeroer if that is in the way.
    pub(super) fn reserve(&self, upto: u64) -> Result<()> {
        let mut state = self.lock();
        state.check()?;
        while state.claims_before(upto) {
            state = self.wait(state);
            state.check()?;
        }
        state.active.write_upto = state.active.write_upto.max(page_up(upto));
        state.active.zeroed_upto = state.active.zeroed_upto.max(state.active.write_upto);
        Ok(())
    }

    /// Publishes that the active log is written up to `end`.
    pub(super) fn written(&self, end: u64) -> Position {
        let mut state = self.lock();
        debug_assert!(end >= state.active.end, "a log only grows");
        state.active.end = end;
        state.active.position()
    }

    /// The active log has a commit to sync: from now on it is zeroed ahead.
    pub(super) fn expect_syncs(&self) {
        let mut state = self.lock();
        if state.active.zeroing == Zeroing::NotNeeded {
            state.active.zeroing = Zeroing::Wanted;
        }
    }

    /// Goes on in an empty log; the active one is sealed and written up to its end.
    pub(super) fn switch(&self, log: &Arc<dyn Log>, id: LogId) {
        let mut state = self.lock();
        let sealed = std::mem::replace(&mut state.active, Active::new(Arc::clone(log), id));
        state.sealed.push_back((sealed.log, sealed.id));
    }

    /// Lets go of the logs before `floor`: all their commits are in durable segments.
    pub(super) fn forget_before(&self, floor: LogId) {
        let mut state = self.lock();
        if state.poison.is_some() {
            return;
        }
        let kept = state.sealed.iter().position(|(_, id)| *id >= floor);
        let kept = kept.unwrap_or(state.sealed.len());
        let forgotten: Vec<_> = state.sealed.drain(..kept).collect();
        state.durable = state.durable.max(Position { log: floor, offset: FRAMES_START });
        drop(state);
        self.changed.notify_all();
        drop(forgotten);
    }

    /// Returns when everything before `position` is durable.
    pub(super) fn sync_to(&self, position: Position) -> Result<()> {
        assert!(position <= self.end(), "only what was written can be waited for");
        let mut state = self.lock();
        loop {
            if state.durable >= position {
                return Ok(());
            }
            if let Some(cause) = &state.poison {
                return Err(indeterminate(cause));
            }
            state = if state.syncing { self.wait(state) } else { self.sync(state) };
        }
    }

    /// Syncs all logs in order, up to what is written now.
    fn sync<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.syncing = true;
        let mut due = state.next_sync();
        while let Some(Due { log, upto, sealed }) = due.take() {
            drop(state);
            let result = log.sync();
            drop(log);
            state = self.lock();
            match result {
                Ok(()) if state.poison.is_none() => {
                    state.durable = state.durable.max(upto);
                    state.syncs += 1;
                    self.changed.notify_all();
                    due = if sealed { state.next_sync() } else { None };
                }
                // A write failed meanwhile: this sync may have passed because another was told.
                Ok(()) => {}
                Err(failed) => state.stop(&failed.into()),
            }
        }
        state.syncing = false;
        self.changed.notify_all();
        state
    }

    /// Claims the next range to zero; `None` when enough lies ahead or none is wanted.
    pub(super) fn claim_zeros(&self) -> Result<Option<Claim>> {
        let mut state = self.lock();
        state.check()?;
        let active = &state.active;
        let ahead = active.zeroed_upto - active.write_upto;
        let wanted = active.zeroing == Zeroing::Wanted && ahead < ZERO_STEP_BYTES;
        if !wanted || state.claim.is_some() {
            return Ok(None);
        }
        let range = active.zeroed_upto..active.zeroed_upto + ZERO_STEP_BYTES;
        let (log, id) = (Arc::clone(&active.log), active.id);
        state.claim = Some((id, range.clone()));
        Ok(Some(Claim { log, range, id }))
    }

    /// Gives the claim back; after `Written`, the zeros count once a sync has passed.
    pub(super) fn end_claim(&self, claim: &Claim, zeroed: Zeroed) {
        let mut state = self.lock();
        state.claim = None;
        if state.active.id == claim.id {
            match zeroed {
                Zeroed::Written => {
                    state.active.zeroed_upto = state.active.zeroed_upto.max(claim.range.end);
                    state.active.zeros_unsynced = true;
                }
                Zeroed::NoSpace => state.active.zeroing = Zeroing::GivenUp,
            }
        }
        self.changed.notify_all();
    }

    /// Syncs zeros that were written, with whatever else is written by then.
    pub(super) fn sync_zeros(&self) -> Result<()> {
        let mut state = self.lock();
        loop {
            state.check()?;
            if !state.active.zeros_unsynced {
                return Ok(());
            }
            state = if state.syncing { self.wait(state) } else { self.sync(state) };
        }
    }
}

impl State {
    fn check(&self) -> Result<()> {
        self.poison.as_ref().map_or(Ok(()), |cause| {
            let message = format!("writing stopped: {cause}; close the store and open it again");
            Err(Error::new(ErrorKind::Poisoned, message))
        })
    }

    fn stop(&mut self, cause: &Error) {
        if self.poison.is_none() {
            self.poison = Some(cause.to_string());
        }
    }

    fn claims_before(&self, upto: u64) -> bool {
        self.claim.as_ref().is_some_and(|(id, range)| *id == self.active.id && range.start < upto)
    }

    /// The oldest log with something to sync.
    fn next_sync(&mut self) -> Option<Due> {
        if let Some((log, _)) = self.sealed.pop_front() {
            let next = self.sealed.front().map_or(self.active.id, |(_, id)| *id);
            let upto = Position { log: next, offset: FRAMES_START };
            return Some(Due { log, upto, sealed: true });
        }
        let upto = self.active.position();
        if upto <= self.durable && !self.active.zeros_unsynced {
            return None;
        }
        self.active.zeros_unsynced = false;
        Some(Due { log: Arc::clone(&self.active.log), upto, sealed: false })
    }
}

fn indeterminate(cause: &str) -> Error {
    let message = format!(
        "the commit may or may not be durable: {cause}; close the store and open it again to know"
    );
    Error::new(ErrorKind::Indeterminate, message)
}
