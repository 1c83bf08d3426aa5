//! The prune of a repository: deletes the backups that a policy does not keep, and removes what no
//! backup needs. Safe beside running backups, copies, restores and other prunes, without a lock.
//!
//! Chunks go in two steps. A first run *condemns* chunks that nobody refers to: it lists them in
//! `.prune/`. From then on no backup begins to refer to them, and one that does already takes copies
//! before it commits. A later run, at least the grace after that, reads all descriptors and intents
//! again, spares what is referred to by now, and removes the rest.
//!
//! Why that is enough: a backup reads the lists when it begins and right before it commits, and
//! commits within half the grace or not at all. If it began after a list was written, it does not
//! rely on its chunks. If it began before, it has committed when the list is carried out, where its
//! descriptor protects them; and if it commits without having seen the list, it had read the lists
//! for the last time before the list was written, so again it has committed by then.
//!
//! All ages are those of the backend, `now` included: it is the age of a list just written. Intents
//! older than the grace are of dead attempts. Intents are read before descriptors, so that a backup
//! which commits meanwhile is seen as the one or the other.

mod plan;
mod survey;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use self::{
    plan::{Plan, plan},
    survey::Survey,
};
use crate::{
    backend::Backend,
    create::PRUNE_GRACE,
    error::{Error, ErrorKind, Result},
    job::Job,
    names::{BackupId, ChunkId, condemned_object},
    parallel::for_each,
    repository::{CONDEMNED_CHUNKS_MAX, Repository},
    retention::{Policy, Verdict},
};

/// Least grace. With less than the default, no backup or copy may take longer than half of it.
pub const GRACE_MIN: Duration = Duration::from_hours(1);

/// Requests to remove objects that are made at a time.
const REMOVERS: usize = 8;

/// What to prune.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PruneOptions {
    /// Which backups to keep, of each store. Default all.
    pub policy: Policy,
    /// How long a chunk is condemned before it is removed. Default 48 h, at least 1 h.
    pub grace: Duration,
    /// Whether anything is changed. Default yes.
    pub mode: Mode,
}

/// Whether a prune changes anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// It does what it says.
    #[default]
    Run,
    /// It says what it would do. It writes and removes one small object, to learn the time.
    DryRun,
}

/// What a prune did, or would do.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PruneReport {
    /// What the policy says of every backup, by store, the newest first.
    pub verdicts: Vec<Verdict>,
    /// Every change, in the order of doing.
    pub changes: Vec<Change>,
    /// Chunks that backups which stay, or attempts that run, refer to.
    pub live: Tally,
    /// Chunks that no backup refers to, too young to be condemned.
    pub young: Tally,
    /// Chunks condemned by this run.
    pub condemned: Tally,
    /// Chunks that earlier runs condemned and a later one will remove.
    pub waiting: Tally,
    /// Condemned chunks that this run removed.
    pub removed: Tally,
    /// Condemned chunks that are referred to again, and stay.
    pub spared: Tally,
}

/// How many chunks, and how large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Chunks.
    pub chunks: u64,
    /// Their bytes as stored.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.chunks += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// One change of a prune.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A backup that the policy does not keep is deleted.
    DeleteBackup(BackupId),
    /// An object that dead attempts or earlier runs left is removed.
    RemoveObject(String),
    /// A chunk that was condemned is removed.
    RemoveChunk(ChunkId),
    /// A chunk is condemned.
    CondemnChunk(ChunkId),
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self { policy: Policy::default(), grace: PRUNE_GRACE, mode: Mode::default() }
    }
}

/// Prunes a repository; see the module.
///
/// # Errors
/// `NotFound` without a repository; `Invalid` for a grace under the least, or a backend that does
/// not tell ages; `Corrupt` or `NewerFormat` naming an object that cannot be read, since it may
/// refer to any chunk: nothing is changed then; `Canceled`; and those of the backend. A prune that
/// ended half-way is finished by the next.
pub fn prune(
    job: Job<'_>,
    backend: &Arc<dyn Backend>,
    options: &PruneOptions,
) -> Result<PruneReport> {
    if options.grace < GRACE_MIN {
        let message = format!(
            "the grace of a prune is at least {} h: a backup that runs may need the chunks",
            GRACE_MIN.as_secs() / 3600
        );
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let patient = Repository::open(backend)?;
    let repository = patient.cancelable(job.cancel);
    let (mark, now) = repository.put_mark(job.unique_id())?;
    let pruned = Survey::take(&repository, options, now).and_then(|survey| {
        let plan = plan(survey, options.grace, now);
        if options.mode == Mode::Run {
            carry_out(job, &repository, &plan)?;
        }
        Ok(plan.report)
    });
    // An empty list that stays condemns nothing, and goes with a later prune.
    let removed = patient.backend().delete(&mark);
    let report = pruned?;
    removed?;
    Ok(report)
}

/// Does what the plan says. Each step leaves a repository that the next run finishes.
fn carry_out(job: Job<'_>, repository: &Repository, plan: &Plan) -> Result<()> {
    let backend = &**repository.backend();
    for (id, attempt) in &plan.backups {
        job.cancel.check()?;
        // Only the very backup that the policy has seen.
        if let Some(config) = repository.config(id)?
            && config.attempt == *attempt
        {
            repository.remove_backup(&config)?;
        }
    }
    let remove = |objects: &[String]| for_each(objects, REMOVERS, |object| backend.delete(object));
    remove(&plan.leftovers)?;
    // A list goes when all its chunks are gone: until then it keeps backups from them.
    let chunks: Vec<String> = plan.remove.iter().map(ChunkId::object).collect();
    remove(&chunks)?;
    remove(&plan.lists)?;
    for chunks in plan.condemn.chunks(CONDEMNED_CHUNKS_MAX) {
        job.cancel.check()?;
        repository.put_condemned(&condemned_object(job.unique_id()), chunks.to_vec())?;
    }
    Ok(())
}

/// Identities in order, without doubles.
type Chunks = BTreeSet<ChunkId>;
