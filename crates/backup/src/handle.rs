//! [`Handle`]: a running backup or restore in the hands of its caller; [`Status`]: how one stands.

use std::{sync::Arc, time::Duration};

use crate::{
    error::Result,
    journal::{Entry, Kind},
    names::{AttemptId, BackupId},
    operation::{Shared, Summary},
    progress::{ProgressReport, TreeReport},
    state::State,
};

/// A running operation. Dropping the handle does not end it.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// How an operation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Backup or restore.
    pub kind: Kind,
    /// The backup.
    pub id: BackupId,
    /// This run of the operation.
    pub attempt: AttemptId,
    /// Where the backup is: the description of its backend.
    pub backend: String,
    /// Where it stands.
    pub state: State,
    /// Why it failed, or what is not known yet.
    pub error: Option<String>,
    /// Bytes and chunks so far.
    pub progress: ProgressReport,
    /// When it was asked for, in milliseconds since 1970-01-01 UTC by the machine's clock.
    pub started_ms: u64,
    /// From then until now, or until the end.
    pub elapsed: Duration,
}

impl Status {
    /// Bytes a second since the operation was asked for.
    pub fn bytes_per_second(&self) -> u64 {
        let millis = self.elapsed.as_millis().max(1);
        let rate = u128::from(self.progress.bytes_done).saturating_mul(1000) / millis;
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// How long the rest takes at that rate; `None` before anything moved.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.progress.bytes_total.saturating_sub(self.progress.bytes_done);
        let millis = left.saturating_mul(1000).checked_div(self.bytes_per_second())?;
        Some(Duration::from_millis(millis))
    }

    /// What a journal says, at `now_ms`.
    pub(crate) fn of_entry(entry: &Entry, now_ms: u64) -> Self {
        let until = if entry.state.is_final() { entry.changed_ms } else { now_ms };
        Self {
            kind: entry.begin.kind,
            id: entry.begin.id.clone(),
            attempt: entry.begin.attempt,
            backend: entry.begin.backend.clone(),
            state: entry.state,
            error: entry.error.clone(),
            progress: entry.progress,
            started_ms: entry.begin.started_ms,
            elapsed: Duration::from_millis(until.saturating_sub(entry.begin.started_ms)),
        }
    }
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The backup.
    pub fn id(&self) -> &BackupId {
        &self.shared.id
    }

    /// This run of the operation.
    pub fn attempt(&self) -> AttemptId {
        self.shared.attempt
    }

    /// How the operation stands now.
    pub fn status(&self) -> Status {
        let (state, error) = self.shared.state();
        Status {
            kind: self.shared.kind,
            id: self.shared.id.clone(),
            attempt: self.shared.attempt,
            backend: self.shared.backend.clone(),
            state,
            error,
            progress: self.shared.progress.report(),
            started_ms: self.shared.started_ms,
            elapsed: self.shared.elapsed(),
        }
    }

    /// How far each collection and tenant is, in the order of the catalog; empty until the operation
    /// is planned. Bytes that the repository held already are not part of it.
    pub fn trees(&self) -> Vec<TreeReport> {
        self.shared.progress.trees()
    }

    /// Asks the operation to end. One that is already committing succeeds all the same.
    pub fn cancel(&self) {
        self.shared.cancel.cancel();
    }

    /// Waits until the operation is over and what it left is cleaned up. The result is given out
    /// once, to the first caller.
    ///
    /// # Errors
    /// Why it failed; `Canceled`.
    pub fn wait(&self) -> Result<Summary> {
        self.shared.wait()
    }
}
