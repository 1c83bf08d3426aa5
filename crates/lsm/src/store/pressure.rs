//! Back-pressure: a leader waits here, once a group, while flush or compaction is behind.
//!
//! The stop is hard and bounded: memory never holds more than the sealed memtables allowed and one
//! active one. A waiting leader sleeps until a background step ends; when the step fails instead,
//! the writers get its error rather than a wait without end.

use std::sync::{
    Mutex,
    atomic::{AtomicU8, Ordering},
};

use crate::{
    error::{Error, ErrorKind, Result},
    options::Background,
    store::{
        Step,
        core::{Core, lock},
        metrics::{StallReason, add, add_time},
    },
};

/// Why writers wait at this moment.
#[derive(Debug, Default)]
pub(crate) struct Stall(AtomicU8);

impl Stall {
    fn set(&self, reason: Option<StallReason>) {
        let code = match reason {
            None => 0,
            Some(StallReason::Flush) => 1,
            Some(StallReason::Compaction) => 2,
        };
        self.0.store(code, Ordering::Relaxed);
    }

    /// The reason, if writers wait.
    pub(crate) fn get(&self) -> Option<StallReason> {
        match self.0.load(Ordering::Relaxed) {
            1 => Some(StallReason::Flush),
            2 => Some(StallReason::Compaction),
            _ => None,
        }
    }
}

/// How the last run of a background job failed; nothing after a success.
#[derive(Debug, Default)]
pub(crate) struct LastFailure(Mutex<Option<Error>>);

impl LastFailure {
    /// Keeps or clears the failure.
    pub(crate) fn note<T>(&self, outcome: &Result<T>) {
        *lock(&self.0) = outcome.as_ref().err().map(Error::repeat);
    }

    /// Fails with it, if there is one.
    pub(crate) fn check(&self) -> Result<()> {
        lock(&self.0).as_ref().map_or(Ok(()), |error| Err(error.repeat()))
    }
}

impl Core {
    /// Returns when a group may be written.
    ///
    /// # Errors
    /// The store is closed or poisoned, or the background step that would make room fails.
    pub(crate) fn wait_for_room(&self) -> Result<()> {
        self.check_writable()?;
        if self.stall_reason().is_none() {
            return Ok(());
        }
        let started = self.env.clock.monotonic();
        add(&self.counters.stalls, 1);
        let outcome = self.stall();
        self.stall.set(None);
        add_time(&self.counters.stall_nanos, started, self.env.clock.monotonic());
        outcome
    }

    fn stall(&self) -> Result<()> {
        loop {
            let seen = self.signal.now();
            self.check_writable()?;
            let Some(reason) = self.stall_reason() else { return Ok(()) };
            self.stall.set(Some(reason));
            match self.options.background {
                Background::Threads => {
                    self.failure_behind(reason)?;
                    self.signal.wait_past(seen);
                }
                Background::Manual => {
                    if self.step()? == Step::Idle {
                        let message =
                            format!("writes wait for {reason:?}, but nothing is left to do");
                        return Err(Error::new(ErrorKind::Unavailable, message));
                    }
                }
            }
        }
    }

    fn stall_reason(&self) -> Option<StallReason> {
        let full = lock(&self.log).active.bytes() >= self.options.memtable_bytes_max;
        let sealed = lock(&self.sealed).len();
        if full && sealed >= self.options.sealed_memtables_max {
            Some(StallReason::Flush)
        } else if self.published.load().level0_segments >= self.options.level0_segments_stop {
            Some(StallReason::Compaction)
        } else {
            None
        }
    }

    /// Fails if the step that would end the stall failed when it was last tried.
    fn failure_behind(&self, reason: StallReason) -> Result<()> {
        match reason {
            StallReason::Flush => self.flush_failure.check(),
            StallReason::Compaction => self.compaction_failure.check(),
        }
    }
}
