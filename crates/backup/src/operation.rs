//! `Operation`: one running backup or restore: its journal, its state, and the watch over it.
//!
//! The work runs in a thread of its own and reports each change of state here; the journal is
//! written first, so that what a caller was told is true after a crash too. Beside the work a
//! watcher looks every `WATCH_INTERVAL` for a cancel request, for the free space of the store's
//! disk, and notes the progress for other processes.
//!
//! A cancel request counts at once: the watcher writes the end, whatever the work is waiting for,
//! and the work then has nothing to do but to clean up. Only a commit that has begun goes on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use siltstone_io::{
    env::{Clock, Env},
    os::lower_priority,
};
use siltstone_lsm::store::Store;

use crate::{
    cancel::Cancel,
    error::{Error, ErrorKind, Result},
    format::config::Totals,
    journal::{Begin, Journal, Journals, Kind, record::Event},
    moment::{Timestamp, timestamp},
    names::{AttemptId, BackupId},
    progress::{Progress, ProgressReport},
    state::State,
};

/// What the end of a killed process is called.
pub(crate) const INTERRUPTED: &str = "interrupted: its process ended before it did";

/// How often the watcher looks.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// Looks between two notes of the progress.
const LOOKS_PER_NOTE: u32 = 5;

/// Free bytes of the store's disk under which an operation gives up, before writers must.
pub(crate) const FREE_BYTES_RESERVE: u64 = 64 << 20;

/// Whether a restore that ended so keeps what it has completed for the next try. Who cancels wants
/// the space back, and on a full disk the writers need it.
pub(crate) fn keeps_held(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::Canceled | ErrorKind::NoSpace)
}

/// What an operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The backup.
    pub id: BackupId,
    /// This run of the operation.
    pub attempt: AttemptId,
    /// The cut: the backup holds all commits up to here.
    pub sequence: u64,
    /// What is in the backup, or in the restored part of it.
    pub totals: Totals,
    /// The collections, under the names they have in the store.
    pub collections: Vec<String>,
    /// FROZEN tenants that a backup left out, as COLLECTION/TENANT: their rows are offloaded.
    pub skipped: Vec<String>,
    /// Bytes and chunks moved.
    pub progress: ProgressReport,
    /// From the request to the end.
    pub elapsed: Duration,
}

/// How the work of an operation ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Done.
    Success(Summary),
    /// It did not happen.
    Failure(Error),
    /// Whether it happened is not known yet; the journal keeps what finds out.
    Unknown(Error),
}

/// What a handle and the threads of an operation share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) kind: Kind,
    pub(crate) id: BackupId,
    pub(crate) attempt: AttemptId,
    pub(crate) backend: String,
    pub(crate) cancel: Cancel,
    pub(crate) progress: Progress,
    pub(crate) started_ms: u64,
    clock: Arc<dyn Clock>,
    started: Duration,
    phase: Mutex<Phase>,
    ended: Condvar,
}

/// The changing part of it.
#[derive(Debug)]
struct Phase {
    state: State,
    error: Option<String>,
    ended: Option<Duration>,
    result: Option<Result<Summary>>,
    is_over: bool,
}

/// A running operation, as its work sees it.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) env: Env,
    store: Store,
    /// Pinned bytes past which it gives up.
    pinned_bytes_max: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) journals: Journals,
    record: Mutex<Record>,
}

/// What is written of an operation; whoever holds it decides how the operation ends.
#[derive(Debug)]
struct Record {
    journal: Journal,
    /// The commit has begun: what happens now is decided elsewhere.
    committing: bool,
    /// Why the watcher ended the operation before its work did.
    early: Option<Error>,
}

impl Operation {
    /// Starts the journal of an operation; it is now STARTED.
    ///
    /// # Errors
    /// `Busy` while another operation of the store runs; those of the disk.
    pub(crate) fn begin(
        store: &Store,
        begin: Begin,
        pinned_bytes_max: Option<u64>,
    ) -> Result<Self> {
        let env = store.env();
        let journals = Journals::new(env.clone());
        let journal = journals.begin(&begin)?;
        let phase =
            Phase { state: State::Started, error: None, ended: None, result: None, is_over: false };
        let shared = Shared {
            kind: begin.kind,
            id: begin.id,
            attempt: begin.attempt,
            backend: begin.backend,
            cancel: Cancel::new(),
            progress: Progress::new(),
            started_ms: begin.started_ms,
            clock: Arc::clone(&env.clock),
            started: env.clock.monotonic(),
            phase: Mutex::new(phase),
            ended: Condvar::new(),
        };
        let record = Mutex::new(Record { journal, committing: false, early: None });
        Ok(Self {
            env: env.clone(),
            store: store.clone(),
            pinned_bytes_max: pinned_bytes_max.unwrap_or(u64::MAX),
            shared: Arc::new(shared),
            journals,
            record,
        })
    }

    /// Runs the work in a thread of its own.
    ///
    /// # Errors
    /// `Io` if the system has no threads left; the operation has then FAILED.
    pub(crate) fn spawn(
        self,
        work: impl FnOnce(&Self) -> End + Send + 'static,
    ) -> Result<thread::JoinHandle<()>> {
        let name = format!("siltstone-{:?}", self.shared.kind).to_lowercase();
        thread::Builder::new()
            .name(name)
            .spawn(move || {
                lower_priority();
                self.run(work);
            })
            .map_err(|error| {
                let message = format!("cannot start the thread of an operation: {error}");
                Error::new(ErrorKind::Io, message).caused_by(error)
            })
    }

    fn run(self, work: impl FnOnce(&Self) -> End) {
        let (stop, stopped) = channel::<()>();
        let this = &self;
        let end = thread::scope(|scope| {
            scope.spawn(move || this.watch(&stopped));
            let end = catch_unwind(AssertUnwindSafe(|| work(this)));
            drop(stop);
            end
        });
        let end = end.unwrap_or_else(|_| {
            let message = "the operation hit a bug in the program; please report it";
            End::Failure(Error::new(ErrorKind::Io, message))
        });
        self.over(end);
    }

    /// Goes on to another state.
    ///
    /// # Errors
    /// `Canceled` if it was ended meanwhile; those of the disk.
    pub(crate) fn enter(&self, state: State) -> Result<()> {
        let mut record = lock(&self.record);
        self.go_on()?;
        self.change(&mut record, state, None)
    }

    /// Records an event durably.
    pub(crate) fn record(&self, event: &Event) -> Result<()> {
        self.record_all(slice::from_ref(event))
    }

    /// Records events durably, with one sync.
    pub(crate) fn record_all(&self, events: &[Event]) -> Result<()> {
        lock(&self.record).journal.record_all(events)
    }

    /// Records an event, which is durable with the next one that is.
    pub(crate) fn note(&self, event: &Event) -> Result<()> {
        lock(&self.record).journal.note(event)
    }

    /// Records that the commit begins, of the collections `names` for a restore. From here on a
    /// cancel request comes too late.
    ///
    /// # Errors
    /// `Canceled` if it was ended meanwhile; those of the disk.
    pub(crate) fn begin_commit(&self, names: Vec<String>) -> Result<()> {
        let mut record = lock(&self.record);
        self.shared.cancel.check()?;
        self.go_on()?;
        record.journal.record(&Event::Committing { names })?;
        record.committing = true;
        Ok(())
    }

    /// Ends the operation for everyone who watches; cleaning up may follow. Returns why it ended:
    /// the watcher may have ended it before.
    pub(crate) fn fail(&self, error: Error) -> Error {
        let mut record = lock(&self.record);
        if let Some(early) = record.early.take() {
            return early;
        }
        self.end(&mut record, &error);
        error
    }

    /// Ends the operation before its work does, unless it is committing.
    fn end_early(&self, error: Error) {
        let mut record = lock(&self.record);
        if !record.committing && self.go_on().is_ok() {
            self.end(&mut record, &error);
            record.early = Some(error);
        }
        drop(record);
        self.shared.cancel.cancel();
    }

    fn end(&self, record: &mut Record, error: &Error) {
        self.count_held(Some(error.kind()));
        let canceled = error.kind() == ErrorKind::Canceled;
        let state = if canceled { State::Canceled } else { State::Failed };
        // Without its record the operation counts as interrupted, which is as good as failed.
        drop(self.change(record, state, Some(error.to_string())));
    }

    /// Notes what is held for the next try of a restore, also once it has `failed` so.
    fn count_held(&self, failed: Option<ErrorKind>) {
        if self.shared.kind == Kind::Restore {
            let is_held = failed.is_none_or(keeps_held);
            let held = if is_held { self.store.metrics().held_bytes } else { 0 };
            self.shared.progress.set_held(held);
        }
    }

    /// Whether it has not ended. The record must be held.
    fn go_on(&self) -> Result<()> {
        let ended = lock(&self.shared.phase).state.is_final();
        if ended { Err(Error::canceled()) } else { Ok(()) }
    }

    /// How long it has been running.
    pub(crate) fn age(&self) -> Duration {
        self.shared.age()
    }

    /// Now, by the clock of the machine.
    pub(crate) fn now(&self) -> Timestamp {
        timestamp(self.env.clock.wall())
    }

    fn change(&self, record: &mut Record, state: State, error: Option<String>) -> Result<()> {
        let at_ms = millis(self.env.clock.wall());
        if state.is_final() {
            // The state is what counts: without the last progress it is recorded all the same.
            drop(record.journal.note(&progress_event(self.shared.progress.report())));
        }
        let recorded = record.journal.enter(state, at_ms, error.as_deref());
        if recorded.is_ok() || state.is_final() {
            let mut phase = lock(&self.shared.phase);
            (phase.state, phase.error) = (state, error);
            if state.is_final() {
                phase.ended = Some(self.age());
            }
        }
        recorded
    }

    fn over(self, end: End) {
        let result = match end {
            End::Success(summary) => {
                self.count_held(None);
                // Without its record the repository or the catalog says that it succeeded.
                drop(self.enter(State::Success));
                Ok(summary)
            }
            End::Failure(error) if self.go_on().is_err() => Err(error),
            End::Failure(error) => Err(self.fail(error)),
            End::Unknown(error) => Err(error),
        };
        let shared = Arc::clone(&self.shared);
        drop(self); // frees the locks before anyone hears of the end
        let mut phase = lock(&shared.phase);
        phase.result = Some(result);
        phase.is_over = true;
        shared.ended.notify_all();
    }

    fn watch(&self, stopped: &Receiver<()>) {
        let mut noted = ProgressReport::default();
        for look in 1_u32.. {
            match stopped.recv_timeout(WATCH_INTERVAL) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Err(trouble) = self.look(look, &mut noted) {
                return self.end_early(trouble);
            }
        }
    }

    fn look(&self, look: u32, noted: &mut ProgressReport) -> Result<()> {
        if self.journals.is_cancel_requested(self.shared.attempt)? {
            return Err(Error::canceled());
        }
        self.shared.cancel.check()?;
        self.check_space()?;
        if !look.is_multiple_of(LOOKS_PER_NOTE) {
            return Ok(());
        }
        let report = self.shared.progress.report();
        if report != *noted {
            *noted = report;
            lock(&self.record).journal.note(&progress_event(report))?;
        }
        Ok(())
    }

    /// Ends an operation that would keep too much of the disk from the writers.
    fn check_space(&self) -> Result<()> {
        let free = self.env.disk.free_bytes()?;
        if free < FREE_BYTES_RESERVE {
            let message = format!(
                "the disk of the store has {free} bytes left, under the reserve of \
                 {FREE_BYTES_RESERVE}; free space, then try again"
            );
            return Err(Error::new(ErrorKind::NoSpace, message));
        }
        let pinned = self.store.metrics().pinned_bytes;
        self.shared.progress.set_pinned(pinned);
        self.count_held(None);
        if pinned > self.pinned_bytes_max {
            let message = format!(
                "{pinned} bytes of files are on the disk of the store only for backups, snapshots \
                 and readers, over the limit of {}; raise it, or try when fewer rows change",
                self.pinned_bytes_max
            );
            return Err(Error::new(ErrorKind::NoSpace, message));
        }
        Ok(())
    }
}

fn progress_event(report: ProgressReport) -> Event {
    let ProgressReport { bytes_done, bytes_stored, chunks_done, .. } = report;
    let ProgressReport { bytes_pinned, bytes_held, .. } = report;
    Event::Progress { bytes_done, bytes_stored, chunks_done, bytes_pinned, bytes_held }
}

impl Shared {
    /// State, and why it ended.
    pub(crate) fn state(&self) -> (State, Option<String>) {
        let phase = lock(&self.phase);
        (phase.state, phase.error.clone())
    }

    /// From the request until now, or until the end.
    pub(crate) fn elapsed(&self) -> Duration {
        let ended = lock(&self.phase).ended;
        ended.unwrap_or_else(|| self.age())
    }

    /// Waits until the operation is over and what it left is cleaned up.
    pub(crate) fn wait(&self) -> Result<Summary> {
        let mut phase = lock(&self.phase);
        while !phase.is_over {
            phase = self.ended.wait(phase).unwrap_or_else(PoisonError::into_inner);
        }
        phase.result.take().unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Invalid, "the result of an operation is given out once"))
        })
    }

    fn age(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started)
    }
}

/// A panic elsewhere leaves nothing half-changed behind these locks: each change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds of a wall clock.
pub(crate) fn millis(wall: Duration) -> u64 {
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
}
