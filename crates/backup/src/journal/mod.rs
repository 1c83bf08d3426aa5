//! The journal: what the operations of a store did, on its local disk.
//!
//! Each attempt has a file of its own in the folder `backup/` of the store, beside:
//!
//! ```text
//! backup/LOCK               held by the one operation that runs
//! backup/<attempt>.journal  its events, see [`record`]
//! backup/<attempt>.lock     held as long as the attempt is alive
//! backup/<attempt>.cancel   a wish of another process that it end
//! ```
//!
//! A reader needs no lock of the store: it reads the frames that are whole, and learns whether the
//! attempt is alive by its lock. So a killed process never leaves an operation that looks as if it
//! went on.

pub(crate) mod record;
#[cfg(test)]
mod tests;

use std::{slice, sync::Arc};

use siltstone_io::{
    disk::{Disk, LockGuard, Log},
    env::Env,
    error::ErrorKind as IoErrorKind,
    exact,
    path::RelPath,
};

pub use self::record::{Begin, Kind};
use self::record::{Event, decode, frame, header};
use crate::{
    error::{Error, ErrorKind, Result},
    format::{chunk::Chunk, descriptor::StoredSegment},
    names::AttemptId,
    progress::ProgressReport,
    state::State,
};

/// Finished journals that are kept.
pub const FINISHED_MAX: usize = 64;

/// Journals that are kept beyond those because their attempts left something in a repository.
const UNCLEAN_MAX: usize = 256;

/// Longest journal that is read, in bytes.
const JOURNAL_BYTES_MAX: u64 = 256 << 20;

const FOLDER: &str = "backup";
const OPERATION_LOCK: &str = "LOCK";
const JOURNAL_SUFFIX: &str = ".journal";
const LOCK_SUFFIX: &str = ".lock";
const CANCEL_SUFFIX: &str = ".cancel";

/// All journals of one store.
#[derive(Clone, Debug)]
pub(crate) struct Journals {
    env: Env,
}

/// The journal of a running operation. Dropping it without a final state leaves the operation
/// interrupted.
#[derive(Debug)]
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    log: Arc<dyn Log>,
    next: u64,
    attempt: AttemptId,
    state: State,
    _alive: Box<dyn LockGuard>,
    _operation: Option<Box<dyn LockGuard>>,
}

/// What a journal says.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Which operation.
    pub(crate) begin: Begin,
    /// The last state it recorded.
    pub(crate) state: State,
    /// When it recorded that.
    pub(crate) changed_ms: u64,
    /// Why it ended.
    pub(crate) error: Option<String>,
    /// The plan, and how far it was when it was last noted.
    pub(crate) progress: ProgressReport,
    /// Objects that the attempt made in the repository, chunks among them.
    pub(crate) objects: Vec<String>,
    /// Its finished chunks, each with the segments that are whole with it; forgotten once it left
    /// nothing.
    pub(crate) chunks: Vec<(Chunk, Vec<StoredSegment>)>,
    /// Recorded just before the commit; the names a restore makes.
    pub(crate) committing: Option<Vec<String>>,
    /// What it left in the repository that only this journal knows.
    pub(crate) remains: Remains,
    /// Whether its process lives.
    pub(crate) alive: bool,
}

/// Whether an attempt left objects behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remains {
    /// Nobody has looked yet.
    Possible,
    /// They are gone.
    None,
}

impl Journals {
    /// The journals of the store on the disk of `env`.
    pub(crate) fn new(env: Env) -> Self {
        Self { env }
    }

    /// Starts the journal of a new operation, which is now STARTED.
    pub(crate) fn begin(&self, begin: &Begin) -> Result<Journal> {
        let operation = self.take_turn()?;
        let attempt = begin.attempt;
        let alive = self.lock(&format!("{attempt}{LOCK_SUFFIX}"))?;
        let log = self.disk().create_log(&path(&format!("{attempt}{JOURNAL_SUFFIX}"))?)?;
        exact::write_all_at(&*log, 0, &[&header()])?;
        let mut journal = Journal {
            disk: Arc::clone(&self.env.disk),
            log,
            next: record::HEADER_BYTES as u64,
            attempt,
            state: State::Started,
            _alive: alive,
            _operation: Some(operation),
        };
        journal.append(&Event::Begin(begin.clone()))?;
        journal.log.sync()?;
        self.disk().sync_dir(&path("")?)?;
        Ok(journal)
    }

    /// Keeps all operations of the store from running until the guard drops.
    ///
    /// # Errors
    /// `Busy`, naming the operation that runs; those of the disk.
    pub(crate) fn take_turn(&self) -> Result<Box<dyn LockGuard>> {
        self.make_folder()?;
        self.lock(OPERATION_LOCK).map_err(|error| {
            if error.kind() != IoErrorKind::Locked {
                return Error::from(error);
            }
            let entries = self.entries().unwrap_or_default();
            let message = match entries.iter().find(|entry| entry.alive) {
                Some(Entry { begin, state, .. }) => {
                    let what = if begin.kind == Kind::Restore { "restore of" } else { "backup" };
                    format!("the {what} '{}' runs ({state}); wait for it or cancel it", begin.id)
                }
                // One that was just canceled cleans up, or one has not said yet what it is.
                None => "a backup or restore of this store begins or ends; try again".to_owned(),
            };
            Error::new(ErrorKind::Busy, message).caused_by(error)
        })
    }

    /// Takes the journal of a dead attempt, to write its end.
    pub(crate) fn adopt(&self, entry: &Entry) -> Result<Journal> {
        let attempt = entry.begin.attempt;
        let alive = self.lock(&format!("{attempt}{LOCK_SUFFIX}"))?;
        let log = self.disk().open_log(&path(&format!("{attempt}{JOURNAL_SUFFIX}"))?)?;
        let (_, next) = decode(attempt, &read_log(&*log)?)?;
        Ok(Journal {
            disk: Arc::clone(&self.env.disk),
            log,
            next,
            attempt,
            state: entry.state,
            _alive: alive,
            _operation: None,
        })
    }

    /// What all journals say, the newest first. Journals that a crash cut off before their first
    /// event say nothing.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for attempt in self.attempts()? {
            if let Some(entry) = self.entry(attempt)? {
                entries.push(entry);
            }
        }
        entries
            .sort_by_key(|entry| std::cmp::Reverse((entry.begin.started_ms, entry.begin.attempt)));
        Ok(entries)
    }

    /// Asks the process that runs an attempt to end it.
    pub(crate) fn request_cancel(&self, attempt: AttemptId) -> Result<()> {
        match self.disk().create_log(&path(&format!("{attempt}{CANCEL_SUFFIX}"))?) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == IoErrorKind::Exists => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a process asked this attempt to end.
    pub(crate) fn is_cancel_requested(&self, attempt: AttemptId) -> Result<bool> {
        match self.disk().file_len(&path(&format!("{attempt}{CANCEL_SUFFIX}"))?) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == IoErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what nobody needs: journals without a first event, all but the newest finished ones,
    /// locks and wishes of attempts that ended. For the process that has the store open.
    pub(crate) fn tidy(&self) -> Result<()> {
        let (mut finished, mut unclean) = (0, 0);
        let mut kept = Vec::new();
        for entry in self.entries()? {
            let is_kept = match (entry.state.is_final(), entry.is_unclean()) {
                (false, _) => true,
                (true, true) => {
                    unclean += 1;
                    unclean <= UNCLEAN_MAX
                }
                (true, false) => {
                    finished += 1;
                    finished <= FINISHED_MAX
                }
            };
            if is_kept {
                kept.push((entry.begin.attempt.to_string(), entry.alive));
            }
        }
        for name in self.names()? {
            let Some((attempt, suffix)) = name.split_once('.') else { continue };
            let known = kept.iter().find(|(kept, _)| kept == attempt);
            let needed = match known {
                Some((_, alive)) => *alive || suffix == &JOURNAL_SUFFIX[1..],
                None => false,
            };
            if !needed {
                remove(self.disk(), &path(&name)?)?;
            }
        }
        Ok(())
    }

    fn entry(&self, attempt: AttemptId) -> Result<Option<Entry>> {
        let log = match self.disk().open_log(&path(&format!("{attempt}{JOURNAL_SUFFIX}"))?) {
            Ok(log) => log,
            Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (events, _) = decode(attempt, &read_log(&*log)?)?;
        let Some(mut entry) = Entry::replay(events) else { return Ok(None) };
        if !entry.state.is_final() {
            entry.alive = self.is_alive(attempt)?;
        }
        Ok(Some(entry))
    }

    fn is_alive(&self, attempt: AttemptId) -> Result<bool> {
        let name = format!("{attempt}{LOCK_SUFFIX}");
        if !self.names()?.contains(&name) {
            return Ok(false); // asking for the lock would make the file
        }
        match self.lock(&name) {
            Ok(_released) => Ok(false),
            Err(error) if error.kind() == IoErrorKind::Locked => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn attempts(&self) -> Result<Vec<AttemptId>> {
        let names = self.names()?;
        let journals = names.iter().filter_map(|name| name.strip_suffix(JOURNAL_SUFFIX));
        Ok(journals.filter_map(|attempt| AttemptId::new(attempt).ok()).collect())
    }

    /// The files of the folder, sorted; none if there is no folder.
    fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = match self.disk().list(&path("")?) {
            Ok(entries) => entries.into_iter().map(|entry| entry.name).collect(),
            Err(error) if error.kind() == IoErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        names.sort_unstable();
        Ok(names)
    }

    fn make_folder(&self) -> Result<()> {
        match self.disk().create_dir(&path("")?) {
            Ok(()) => Ok(self.disk().sync_dir(&RelPath::root())?),
            Err(error) if error.kind() == IoErrorKind::Exists => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn lock(&self, name: &str) -> siltstone_io::error::Result<Box<dyn LockGuard>> {
        self.disk()
            .lock(&RelPath::new(format!("{FOLDER}/{name}"))?, &std::process::id().to_string())
    }

    fn disk(&self) -> &dyn Disk {
        &*self.env.disk
    }
}

impl Journal {
    /// Records an event; it may be lost in a crash.
    pub(crate) fn note(&mut self, event: &Event) -> Result<()> {
        self.append(event)
    }

    /// Records an event durably.
    pub(crate) fn record(&mut self, event: &Event) -> Result<()> {
        self.record_all(slice::from_ref(event))
    }

    /// Records events durably, with one sync.
    pub(crate) fn record_all(&mut self, events: &[Event]) -> Result<()> {
        events.iter().try_for_each(|event| self.append(event))?;
        Ok(self.log.sync()?)
    }

    /// Goes on to another state, durably.
    pub(crate) fn enter(&mut self, state: State, at_ms: u64, error: Option<&str>) -> Result<()> {
        assert!(self.state.may_become(state), "{} cannot become {state}", self.state);
        self.record(&Event::State { state, at_ms, error: error.map(str::to_owned) })?;
        self.state = state;
        Ok(())
    }

    /// Writes the end of an adopted journal, whatever its last state was: its bytes are untrusted.
    pub(crate) fn conclude(
        &mut self,
        state: State,
        at_ms: u64,
        error: Option<String>,
    ) -> Result<()> {
        assert!(state.is_final(), "an end is final");
        self.record(&Event::State { state, at_ms, error })?;
        self.state = state;
        Ok(())
    }

    fn append(&mut self, event: &Event) -> Result<()> {
        let bytes = frame(self.attempt, self.next, event)?;
        exact::write_all_at(&*self.log, self.next, &[&bytes])?;
        self.next += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for Journal {
    /// Takes lock and wish of an ended attempt along. A failure leaves files that mean nothing and
    /// that [`Journals::tidy`] removes.
    fn drop(&mut self) {
        if !self.state.is_final() {
            return;
        }
        for suffix in [CANCEL_SUFFIX, LOCK_SUFFIX] {
            let file = path(&format!("{}{suffix}", self.attempt));
            drop(file.and_then(|file| remove(&*self.disk, &file)));
        }
    }
}

impl Entry {
    /// What the events amount to; `None` without a first one.
    fn replay(events: Vec<Event>) -> Option<Self> {
        let mut events = events.into_iter();
        let Some(Event::Begin(begin)) = events.next() else { return None };
        let mut entry = Self {
            state: State::Started,
            changed_ms: begin.started_ms,
            begin,
            error: None,
            progress: ProgressReport::default(),
            objects: Vec::new(),
            chunks: Vec::new(),
            committing: None,
            remains: Remains::Possible,
            alive: false,
        };
        for event in events {
            match event {
                Event::State { state, at_ms, error } => {
                    (entry.state, entry.changed_ms, entry.error) = (state, at_ms, error);
                }
                Event::Plan { bytes_total, bytes_reused } => {
                    (entry.progress.bytes_total, entry.progress.bytes_reused) =
                        (bytes_total, bytes_reused);
                }
                Event::Progress {
                    bytes_done,
                    bytes_stored,
                    chunks_done,
                    bytes_pinned,
                    bytes_held,
                } => {
                    entry.progress = ProgressReport {
                        bytes_done,
                        bytes_stored,
                        chunks_done,
                        bytes_pinned,
                        bytes_held,
                        ..entry.progress
                    };
                }
                Event::Object { name } => entry.objects.push(name),
                Event::Chunk { chunk } => {
                    let chunk = Chunk::from(*chunk);
                    entry.objects.push(chunk.id.object());
                    entry.chunks.push((chunk, Vec::new()));
                }
                Event::Segments { segments } => {
                    let segments = segments.into_iter().map(StoredSegment::from);
                    if let Some((_, whole)) = entry.chunks.last_mut() {
                        whole.extend(segments);
                    }
                }
                Event::Committing { names } => entry.committing = Some(names),
                Event::Refused => entry.committing = None,
                Event::Cleaned => {
                    entry.remains = Remains::None;
                    entry.chunks = Vec::new();
                }
                Event::Begin(_) | Event::Unknown => {}
            }
        }
        Some(entry)
    }

    /// Whether objects that only this journal knows may be in a repository.
    pub(crate) fn is_unclean(&self) -> bool {
        self.begin.kind == Kind::Create && self.remains == Remains::Possible
    }

    /// Whether its process died before it recorded an end.
    pub(crate) fn is_interrupted(&self) -> bool {
        !self.state.is_final() && !self.alive
    }
}

fn read_log(log: &dyn Log) -> Result<Vec<u8>> {
    let length = log.len()?.min(JOURNAL_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(length).expect("u64 fits usize on Linux")];
    let read = exact::read_up_to(log, 0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

fn remove(disk: &dyn Disk, file: &RelPath) -> Result<()> {
    match disk.remove(file) {
        Err(error) if error.kind() != IoErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// A file of the folder, or the folder itself.
fn path(name: &str) -> Result<RelPath> {
    let folder = RelPath::new(FOLDER)?;
    if name.is_empty() { Ok(folder) } else { Ok(folder.join(name)?) }
}
