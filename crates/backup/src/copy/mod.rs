//! The copy of a backup from one repository to another: chunk by chunk, each frame checked while it
//! passes, all or nothing.
//!
//! The copy is a backup of the same store, cut and times, made by an attempt of its own: it follows
//! the protocol of [`crate::create`] in the target, so neither a prune nor another copy can hurt it,
//! nor it them. What the target holds of that store already is referred to, not copied. Later
//! backups of the store to the target take the copy as their base.
//!
//! There is no journal, since there is no store. A copy that is cut off is run again and goes on from
//! the chunks that are in the target already, see [`earlier`]; what nobody goes on from goes with a
//! prune.

mod earlier;
mod stream;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use self::stream::CHUNK_MEMORY_BYTES;
use crate::{
    backend::{Backend, Conditions},
    cancel::Cancel,
    content::{Content, Sealer},
    create::PRUNE_GRACE,
    error::{Error, ErrorKind, Result, listed},
    format::{
        chunk::Chunk,
        config::Config,
        descriptor::{Descriptor, StoredSegment},
    },
    job::Job,
    moment::timestamp,
    names::{AttemptId, BackupId, ChunkId},
    options::{CPU_PERCENT_DEFAULT, check_resources, check_speed},
    pace::Limits,
    plan::Base,
    repository::{ChunkCopy, CommitOutcome, IntentHead, Repository, commit, taken},
    verify::{VerifyOptions, VerifyReport, verify},
};

/// Choices for a copy.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CopyOptions {
    /// The id that the copy gets. Default: that of the backup.
    pub rename: Option<String>,
    /// Bound of the memory of the copy in bytes, 48 MiB or more; each 35 MiB allow one chunk more on
    /// its way. Default 140 MiB.
    pub memory_bytes_max: u64,
    /// Percent of the time of all processors that the copy may use, 1..=80. Default 50.
    pub cpu_percent: u8,
    /// Bytes a second that chunks are copied with at most. Default no bound.
    pub bytes_per_second_max: Option<u64>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            rename: None,
            memory_bytes_max: 4 * CHUNK_MEMORY_BYTES,
            cpu_percent: CPU_PERCENT_DEFAULT,
            bytes_per_second_max: None,
        }
    }
}

impl CopyOptions {
    /// Checks the limits.
    ///
    /// # Errors
    /// `Invalid`, naming the option and its limits.
    pub fn check(&self) -> Result<()> {
        check_speed(self.cpu_percent, self.bytes_per_second_max)?;
        check_resources(self.memory_bytes_max, None)
    }

    fn limits(&self) -> Limits {
        let Self { cpu_percent, bytes_per_second_max, .. } = *self;
        Limits { cpu_percent, bytes_per_second_max }
    }
}

/// What a copy did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CopyReport {
    /// The copy, as its repository has it.
    pub config: Config,
    /// Chunks copied.
    pub chunks_copied: u64,
    /// Their bytes.
    pub bytes_copied: u64,
    /// Chunks of the copy that the target held already, of other backups or from an attempt before.
    pub chunks_reused: u64,
    /// Their bytes.
    pub bytes_reused: u64,
    /// Those of `chunks_reused` that an attempt to make this copy had brought before it was cut off.
    pub chunks_resumed: u64,
    /// The copy as it was found afterwards: all its objects, with their lengths.
    pub verified: VerifyReport,
    /// How long it took.
    pub elapsed: Duration,
}

/// A backup as its target sees it before anything is copied.
struct Shares {
    /// Chunks of other backups in the target, and the segments in them.
    reused_chunks: Vec<Chunk>,
    reused: Vec<StoredSegment>,
    /// Segments that the target does not hold, where they are in the source.
    new: Vec<StoredSegment>,
    /// Chunks of the target that nothing may begin to refer to.
    condemned: BTreeSet<ChunkId>,
}

/// What chunks of the source are called in the target.
type Names = BTreeMap<ChunkId, ChunkId>;

/// A copy in progress.
struct Copying<'a> {
    job: Job<'a>,
    options: &'a CopyOptions,
    started: Duration,
    source: Repository,
    /// Calls of this one end with a cancel request.
    target: Repository,
    head: IntentHead,
    /// Objects of this attempt that must go if it fails.
    objects: Mutex<Vec<String>>,
}

/// Copies a backup; the target is made a repository if it is none.
///
/// # Errors
/// `NotFound` without the backup; `Exists` if the target has one of that id; `Corrupt` naming the
/// object when the backup is damaged; `Invalid`; `Canceled`; and those of both backends. Nothing of
/// the copy is seen then. Its objects are removed, or go with a prune of the target; but `Unavailable`
/// leaves them, and the same copy run again goes on from them. An error may also say that the copy is
/// there.
pub fn copy(
    job: Job<'_>,
    from: &Arc<dyn Backend>,
    to: &Arc<dyn Backend>,
    id: &str,
    options: &CopyOptions,
) -> Result<CopyReport> {
    let id = BackupId::new(id)?;
    let new_id = options.rename.as_deref().map_or_else(|| Ok(id.clone()), BackupId::new)?;
    options.check()?;
    let started = job.clock.monotonic();
    let source = Repository::open(&from.cancelable(job.cancel))?;
    let descriptor = source.descriptor(source.backup(&id)?)?;
    require_chunks(&source, &descriptor.chunks)?;
    let patient = Repository::open_or_make(to, job.entropy)?;
    if patient.config(&new_id)?.is_some() {
        return Err(taken(&new_id));
    }
    let head = IntentHead {
        attempt: AttemptId(job.unique_id()),
        id: new_id,
        node: descriptor.config.node.clone(),
        store_id: hex(descriptor.config.store_id),
        started_at: timestamp(job.clock.wall()).to_string(),
    };
    let (target, objects) = (patient.cancelable(job.cancel), Mutex::default());
    let copying = Copying { job, options, started, source, target, head, objects };
    let (config, content, chunks_resumed) = match copying.make(descriptor) {
        Ok(made) => made,
        Err(error) => {
            // Whoever waits for a backend that went away wants to go on.
            if error.kind() != ErrorKind::Unavailable {
                copying.clean_up(&patient);
            }
            return Err(error);
        }
    };
    copying.commit(&patient, &config)?;
    // The descriptor protects the chunks now: an intent that stays is ignored once it is old.
    drop(patient.remove_intent(&config.id, config.attempt));
    let verified = verify(job, to, config.id.as_str(), &VerifyOptions::default());
    let verified =
        verified.map_err(|error| error.while_doing("the copy is there, but was not verified"))?;
    let bytes = |chunks: &[Chunk]| chunks.iter().map(|chunk| chunk.length).sum();
    Ok(CopyReport {
        chunks_copied: content.new_chunks.len() as u64,
        bytes_copied: bytes(&content.new_chunks),
        chunks_reused: content.reused_chunks.len() as u64,
        bytes_reused: bytes(&content.reused_chunks),
        chunks_resumed,
        verified,
        elapsed: job.elapsed(started),
        config,
    })
}

impl Copying<'_> {
    /// Everything up to the commit; and how many chunks came from an attempt before.
    fn make(&self, descriptor: Descriptor) -> Result<(Config, Content, u64)> {
        let source = descriptor.config.clone();
        let (mut content, resumed) = self.transfer(descriptor)?;
        let remember = |object| {
            self.remember(object);
            self.job.cancel.check()
        };
        let (parts, totals) = content.seal(&Sealer {
            repository: &self.target,
            head: &self.head,
            unique_id: &|| self.job.unique_id(),
            remember: &remember,
        })?;
        if self.job.elapsed(self.started) > PRUNE_GRACE / 2 {
            let message = "the copy took so long that a prune of the target may have condemned its \
                           chunks; try again: it goes on from what is there";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        self.job.cancel.check()?;
        let (id, attempt) = (self.head.id.clone(), self.head.attempt);
        Ok((Config { id, attempt, totals, parts, ..source }, content, resumed))
    }

    /// From the intent until all chunks are in the target.
    fn transfer(&self, descriptor: Descriptor) -> Result<(Content, u64)> {
        self.target.put_intent(&self.head, Vec::new())?;
        let Shares { mut reused_chunks, reused, mut new, condemned } = self.share(&descriptor)?;
        let needed = used(&new);
        let needed: Vec<Chunk> =
            descriptor.chunks.into_iter().filter(|chunk| needed.contains(&chunk.id)).collect();
        let mut spared = condemned;
        spared.extend(reused_chunks.iter().map(|chunk| chunk.id));
        let mut names = self.take_over(&needed, &spared)?;
        let (taken, rest): (Vec<Chunk>, Vec<Chunk>) =
            needed.into_iter().partition(|chunk| names.contains_key(&chunk.id));
        let resumed = taken.len() as u64;
        names.extend(rest.iter().map(|chunk| (chunk.id, ChunkId(self.job.unique_id()))));
        let named = |id: ChunkId| names.get(&id).copied().unwrap_or(id);
        let renamed = |chunk: &Chunk| Chunk { id: named(chunk.id), ..chunk.clone() };

        reused_chunks.extend(taken.iter().map(renamed));
        let ids = reused_chunks.iter().map(|chunk| chunk.id).collect();
        let copies = names.iter().map(|(&from, &to)| ChunkCopy { from, to }).collect();
        self.target.put_intent_to_copy(&self.head, ids, copies)?;
        self.copy_chunks(&rest, &names)?;
        for extent in new.iter_mut().flat_map(|segment| &mut segment.extents) {
            extent.chunk = named(extent.chunk);
        }
        let new_chunks: Vec<Chunk> = rest.iter().map(renamed).collect();
        let brought: Vec<Chunk> = taken.iter().map(renamed).chain(new_chunks.clone()).collect();
        self.read_back(&brought, &new)?;
        let collections = descriptor.collections;
        Ok((Content { collections, reused_chunks, reused, new_chunks, new }, resumed))
    }

    /// What the target holds in other backups of the same store, and what it does not.
    fn share(&self, descriptor: &Descriptor) -> Result<Shares> {
        let mut base = Base::default();
        if let Some(nearest) = self.nearest(&descriptor.config)? {
            base.add(&nearest);
        }
        let condemned = self.target.condemned()?;
        let mut usable = self.target.present(base.chunks())?;
        usable.retain(|chunk| !condemned.contains(chunk));
        let reusable = base.reusable(&usable);
        let (mut reused, mut new) = (Vec::new(), Vec::new());
        for segment in &descriptor.segments {
            match reusable.find(&segment.meta) {
                Some(stored) => {
                    let extents = stored.extents.clone();
                    reused.push(StoredSegment { extents, ..segment.clone() });
                }
                None => new.push(segment.clone()),
            }
        }
        let used = used(&reused);
        let reused_chunks = base.chunks().iter().filter(|chunk| used.contains(&chunk.id));
        let reused_chunks = reused_chunks.cloned().collect();
        Ok(Shares { reused_chunks, reused, new, condemned })
    }

    /// The backup of the same store in the target that was begun the least time before or after.
    fn nearest(&self, source: &Config) -> Result<Option<Descriptor>> {
        let mut near = self.target.backups_of(source.store_id)?;
        near.sort_by_key(|config| source.started_at.duration_since(config.started_at).abs());
        self.target.first_readable(near)
    }

    fn commit(&self, patient: &Repository, config: &Config) -> Result<()> {
        match commit(patient, config) {
            CommitOutcome::Committed => Ok(()),
            CommitOutcome::Refused(error) => {
                // Without conditions a commit that seems lost may yet appear: its chunks must stay.
                if matches!(patient.backend().conditions(), Ok(Conditions::Enforced)) {
                    self.clean_up(patient);
                }
                Err(error)
            }
            CommitOutcome::Unknown(error) => Err(error),
        }
    }

    /// Removes what this attempt stored, as far as that works; the rest goes with a prune.
    fn clean_up(&self, patient: &Repository) {
        drop(self.remove_objects(&patient.cancelable(&Cancel::new())));
    }

    /// Keeps in mind an object of this attempt.
    fn remember(&self, object: String) {
        self.objects().push(object);
    }

    fn objects(&self) -> MutexGuard<'_, Vec<String>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn used(segments: &[StoredSegment]) -> BTreeSet<ChunkId> {
    segments.iter().flat_map(|segment| &segment.extents).map(|extent| extent.chunk).collect()
}

fn require_chunks(repository: &Repository, chunks: &[Chunk]) -> Result<()> {
    let present = repository.present(chunks)?;
    let missing = chunks.iter().filter(|chunk| !present.contains(&chunk.id));
    let missing: Vec<String> = missing.map(|chunk| chunk.id.object()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("chunks are missing or have another length: {}", listed(missing.iter()));
    Err(Error::new(ErrorKind::Corrupt, message))
}

fn hex(id: [u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
