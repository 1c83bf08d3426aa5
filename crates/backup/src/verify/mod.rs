//! The verification of a backup, at three levels: what it consists of is there; every byte of it is
//! as it was written; it restores, and what is restored is what was backed up.
//!
//! A verification reads and never writes to the repository, so one that may only be read will do. It
//! does not end at the first damage: the report lists all of it.

mod hashes;
mod objects;
mod read_only;
mod rehearsal;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    backend::Backend,
    error::{Error, ErrorKind, Result},
    format::descriptor::Descriptor,
    job::Job,
    names::{BackupId, ChunkId},
    options::RestoreOptions,
    pace::Limits,
    repository::Repository,
};

/// Most problems that a report lists.
pub const PROBLEMS_MAX: usize = 1000;

/// How thoroughly to look. Each level includes those before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Level {
    /// Descriptors match their hashes, and all chunks are there with their lengths. Cheap: no chunk
    /// is read.
    #[default]
    Objects,
    /// Every byte of every chunk: frames and segments match their hashes, headers and pads are as
    /// the descriptor says. Reads the whole backup.
    Hashes,
    /// The backup is restored into a store of its own, which is read from end to end, compared with
    /// the descriptor, summed up, and removed. Needs the space of the backup's segments.
    Rehearsal,
}

/// How to verify.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// How thoroughly.
    pub level: Level,
    /// The folder in which a rehearsal makes its store, in a folder of its own that is removed. Default:
    /// the system's folder for temporary files.
    pub scratch: PathBuf,
    /// Bound of the memory of a download in bytes, 48 MiB or more. Default 64 MiB.
    pub memory_bytes_max: u64,
    /// Percent of the time of all processors that a download may use, 1..=80. Default 50. The reading
    /// of a restored store is not counted.
    pub cpu_percent: u8,
    /// Bytes a second that chunks are fetched with at most. Default no bound.
    pub bytes_per_second_max: Option<u64>,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The backup.
    pub id: BackupId,
    /// How thoroughly it was looked at.
    pub level: Level,
    /// Objects of the backup that were looked at: descriptor, parts, chunks.
    pub objects: u64,
    /// Segments in it.
    pub segments: u64,
    /// Bytes of the segments that were read and are sound; 0 where none are read.
    pub bytes: u64,
    /// The rows of each collection and tenant at the cut, by name; after a rehearsal alone.
    pub trees: Vec<TreeDigest>,
    /// Everything that is wrong, each line with the object that it is about; at most
    /// [`PROBLEMS_MAX`].
    pub problems: Vec<String>,
    /// All that was found wrong, listed or not.
    pub problems_total: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// The live rows of a collection or a tenant: equal digests mean equal rows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeDigest {
    /// The collection.
    pub collection: String,
    /// The tenant; `None` for the collection's own rows.
    pub tenant: Option<String>,
    /// Live rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Wrapping sum of the XXH3-128 of each row.
    pub sum: u128,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems_total == 0
    }
}

impl Default for VerifyOptions {
    fn default() -> Self {
        let RestoreOptions { memory_bytes_max, cpu_percent, bytes_per_second_max, .. } =
            RestoreOptions::default();
        let (level, scratch) = (Level::default(), std::env::temp_dir());
        Self { level, scratch, memory_bytes_max, cpu_percent, bytes_per_second_max }
    }
}

impl VerifyOptions {
    fn restore_options(&self) -> RestoreOptions {
        let Self { memory_bytes_max, cpu_percent, bytes_per_second_max, .. } = *self;
        let defaults = RestoreOptions::default();
        RestoreOptions { memory_bytes_max, cpu_percent, bytes_per_second_max, ..defaults }
    }

    fn limits(&self) -> Limits {
        let Self { cpu_percent, bytes_per_second_max, .. } = *self;
        Limits { cpu_percent, bytes_per_second_max }
    }
}

/// What is wrong so far.
#[derive(Debug, Default)]
struct Problems {
    /// Damage to one frame is met by every segment in it: said once.
    listed: BTreeSet<String>,
    total: u64,
}

impl Problems {
    fn add(&mut self, error: &Error) {
        let what = error.to_string();
        if !self.listed.contains(&what) {
            self.total += 1;
            if !self.is_full() {
                self.listed.insert(what);
            }
        }
    }

    /// Keeps an error that says what is wrong with the backup; gives any other back.
    fn take(&mut self, error: Error) -> Result<()> {
        if is_damage(&error) {
            self.add(&error);
            return Ok(());
        }
        Err(error)
    }

    fn is_full(&self) -> bool {
        self.listed.len() >= PROBLEMS_MAX
    }
}

/// A verification in progress.
#[derive(Debug)]
struct Verification<'a> {
    job: Job<'a>,
    backend: Arc<dyn Backend>,
    options: &'a VerifyOptions,
    problems: Problems,
    /// Chunks that are known to be missing or cut.
    bad_chunks: BTreeSet<ChunkId>,
}

/// Verifies a backup. Damage is in the report; errors say why there is none.
///
/// # Errors
/// `Invalid` for an id or option that cannot be; `NotFound` without the repository or the backup;
/// `NewerFormat`; `NoSpace` when a rehearsal has no room; `Canceled`; those of the backend and of
/// the disk of the rehearsal.
pub fn verify(
    job: Job<'_>,
    backend: &Arc<dyn Backend>,
    id: &str,
    options: &VerifyOptions,
) -> Result<VerifyReport> {
    let id = BackupId::new(id)?;
    options.restore_options().check()?;
    let started = job.clock.monotonic();
    let backend = backend.cancelable(job.cancel);
    let repository = Repository::open(&backend)?;
    let (problems, bad_chunks) = (Problems::default(), BTreeSet::new());
    let mut verification = Verification { job, backend, options, problems, bad_chunks };
    let mut report = VerifyReport {
        id: id.clone(),
        level: options.level,
        objects: 0,
        segments: 0,
        bytes: 0,
        trees: Vec::new(),
        problems: Vec::new(),
        problems_total: 0,
        elapsed: Duration::ZERO,
    };
    if let Some(descriptor) = verification.objects(&repository, &id, &mut report)? {
        verification.look_inside(&descriptor, &mut report)?;
    }
    job.cancel.check()?;
    let Problems { listed, total } = verification.problems;
    if total > 0 && matches!(repository.config(&id), Ok(None)) {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("backup '{id}' was deleted meanwhile"),
        ));
    }
    report.problems = listed.into_iter().collect();
    report.problems_total = total;
    report.elapsed = job.elapsed(started);
    Ok(report)
}

impl Verification<'_> {
    fn look_inside(&mut self, descriptor: &Descriptor, report: &mut VerifyReport) -> Result<()> {
        let total = descriptor.config.totals.segment_bytes;
        match self.options.level {
            Level::Objects => Ok(()),
            // What cannot be restored is read all the same, so that all of the damage is listed.
            Level::Rehearsal if self.problems.total == 0 => {
                self.job.progress.plan(total, 0);
                let failed = self.rehearse(descriptor, report)?;
                if failed { self.hashes(descriptor).map(drop) } else { Ok(()) }
            }
            Level::Hashes | Level::Rehearsal => {
                self.job.progress.plan(total, 0);
                report.bytes = self.hashes(descriptor)?;
                Ok(())
            }
        }
    }
}

/// Whether an error says that the backup is not as it was written.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound)
}
