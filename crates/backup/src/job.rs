//! [`Job`]: what work that runs in its caller's thread gets from it.

use std::{fmt, time::Duration};

use siltstone_io::env::{Clock, Entropy};

use crate::{cancel::Cancel, pace::Host, progress::Progress};

/// The world, and the wishes of a caller.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// What time it is.
    pub clock: &'a dyn Clock,
    /// Where identities come from.
    pub entropy: &'a dyn Entropy,
    /// Asks the work to stop.
    pub cancel: &'a Cancel,
    /// Counts what it did.
    pub progress: &'a Progress,
}

impl<'a> Job<'a> {
    /// What it runs on: no disk of a store.
    pub(crate) fn host(&self) -> Host<'a> {
        Host { clock: self.clock, disk: None }
    }

    /// Sixteen bytes that no other call has returned.
    pub(crate) fn unique_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        id
    }

    /// Time since an earlier look at the clock.
    pub(crate) fn elapsed(&self, started: Duration) -> Duration {
        self.clock.monotonic().saturating_sub(started)
    }
}

impl fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("progress", &self.progress.report()).finish_non_exhaustive()
    }
}
