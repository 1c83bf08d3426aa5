//! The copy of a backup from one repository to another: chunk by chunk, each frame checked while it
//! passes, all or nothing.
//!
//! The copy is a backup of the same store, cut and times, made by an attempt of its own: it follows
//! the protocol of [`crate::create`] in the target, so neither a prune nor another copy can hurt it,
//! nor it them. What the target holds of that store already is referred to, not copied. Later
//! backups of the store to the target take the copy as their base.
//!
//! There is no journal, since there is no store: what a killed copy leaves goes with a prune.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use siltstone_lsm::format::primitives::hash;

use crate::{
    backend::{Backend, Conditions, PART_BYTES, PARTS_IN_FLIGHT},
    cancel::Cancel,
    content::{Content, Sealer},
    create::PRUNE_GRACE,
    error::{Error, ErrorKind, Result, listed},
    fetch::{Fetch, NoSink},
    format::{
        chunk::{Chunk, Codec},
        config::Config,
        descriptor::{Descriptor, StoredSegment},
    },
    job::Job,
    moment::timestamp,
    names::{AttemptId, BackupId, ChunkId},
    options::MEMORY_BYTES_MIN,
    pace::Limits,
    parallel::for_each,
    plan::Base,
    repository::{CommitOutcome, IntentHead, Repository, commit, taken},
    verify::{VerifyOptions, VerifyReport, verify},
};

/// What one chunk on its way holds at most: the parts of its writer, and a range twice while the
/// backend puts it together.
const CHUNK_MEMORY_BYTES: u64 = (PARTS_IN_FLIGHT as u64 + 1 + 2) * PART_BYTES as u64;

/// Most chunks on their way at a time.
const CHUNKS_IN_FLIGHT_MAX: u64 = 8;

/// Choices for a copy.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CopyOptions {
    /// The id that the copy gets. Default: that of the backup.
    pub rename: Option<String>,
    /// Bound of the memory of the copy in bytes, 48 MiB or more; each 35 MiB allow one chunk more on
    /// its way. Default 140 MiB.
    pub memory_bytes_max: u64,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { rename: None, memory_bytes_max: 4 * CHUNK_MEMORY_BYTES }
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
    /// Chunks of the copy that the target held already.
    pub chunks_reused: u64,
    /// Their bytes.
    pub bytes_reused: u64,
    /// The copy as it was found afterwards: all its objects, with their lengths.
    pub verified: VerifyReport,
    /// How long it took.
    pub elapsed: Duration,
}

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
/// the copy is seen then, and its objects are removed, or go with a prune of the target; but for an
/// error that says that the copy is there.
pub fn copy(
    job: Job<'_>,
    from: &Arc<dyn Backend>,
    to: &Arc<dyn Backend>,
    id: &str,
    options: &CopyOptions,
) -> Result<CopyReport> {
    let id = BackupId::new(id)?;
    let new_id = options.rename.as_deref().map_or_else(|| Ok(id.clone()), BackupId::new)?;
    if options.memory_bytes_max < MEMORY_BYTES_MIN {
        let given = options.memory_bytes_max;
        let message =
            format!("memory bound {given} bytes is under the least of {MEMORY_BYTES_MIN}");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
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
    let (config, content) = match copying.make(descriptor) {
        Ok(made) => made,
        Err(error) => {
            copying.clean_up(&patient);
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
        verified,
        elapsed: job.elapsed(started),
        config,
    })
}

impl Copying<'_> {
    /// Everything up to the commit.
    fn make(&self, descriptor: Descriptor) -> Result<(Config, Content)> {
        let source = descriptor.config.clone();
        let mut content = self.transfer(descriptor)?;
        let remember = |object| {
            self.objects.lock().unwrap_or_else(PoisonError::into_inner).push(object);
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
                           chunks; try again over a faster link";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        self.job.cancel.check()?;
        let (id, attempt) = (self.head.id.clone(), self.head.attempt);
        Ok((Config { id, attempt, totals, parts, ..source }, content))
    }

    /// From the intent until all chunks are in the target.
    fn transfer(&self, descriptor: Descriptor) -> Result<Content> {
        self.target.put_intent(&self.head, Vec::new())?;
        let mut base = Base::default();
        if let Some(nearest) = self.nearest(&descriptor.config)? {
            base.add(&nearest);
        }
        let condemned = self.target.condemned()?;
        let mut usable = self.target.present(base.chunks())?;
        usable.retain(|chunk| !condemned.contains(chunk));
        let reusable = base.reusable(&usable);

        let (mut reused, mut new) = (Vec::new(), Vec::new());
        for segment in descriptor.segments {
            match reusable.find(&segment.meta) {
                Some(stored) => {
                    reused.push(StoredSegment { extents: stored.extents.clone(), ..segment });
                }
                None => new.push(segment),
            }
        }
        let used = used(&reused);
        let reused_chunks = base.chunks().iter().filter(|chunk| used.contains(&chunk.id));
        let reused_chunks: Vec<Chunk> = reused_chunks.cloned().collect();
        let ids = reused_chunks.iter().map(|chunk| chunk.id).collect();
        self.target.put_intent(&self.head, ids)?;

        let needed = self::used(&new);
        let chunks: Vec<Chunk> =
            descriptor.chunks.into_iter().filter(|chunk| needed.contains(&chunk.id)).collect();
        let new_chunks = self.copy_chunks(&chunks, &mut new)?;
        let collections = descriptor.collections;
        Ok(Content { collections, reused_chunks, reused, new_chunks, new })
    }

    /// The backup of the same store in the target that was begun the least time before or after.
    fn nearest(&self, source: &Config) -> Result<Option<Descriptor>> {
        let mut near = self.target.backups_of(source.store_id)?;
        near.sort_by_key(|config| source.started_at.duration_since(config.started_at).abs());
        self.target.first_readable(near)
    }

    /// Copies `chunks` under fresh identities, and makes `segments` lie there.
    fn copy_chunks(&self, chunks: &[Chunk], segments: &mut [StoredSegment]) -> Result<Vec<Chunk>> {
        let renamed = |chunk: &Chunk| (chunk.id, ChunkId(self.job.unique_id()));
        let fresh: BTreeMap<ChunkId, ChunkId> = chunks.iter().map(renamed).collect();
        let total = chunks.iter().map(|chunk| chunk.length).sum();
        self.job.progress.plan(total, 0);
        let workers = self.options.memory_bytes_max / CHUNK_MEMORY_BYTES;
        let workers = usize::try_from(workers.clamp(1, CHUNKS_IN_FLIGHT_MAX)).unwrap_or(1);
        for_each(chunks, workers, |chunk| match fresh.get(&chunk.id) {
            Some(to) => self.copy_chunk(chunk, *to),
            None => Ok(()),
        })?;
        let to = |id: ChunkId| fresh.get(&id).copied().unwrap_or(id);
        for extent in segments.iter_mut().flat_map(|segment| &mut segment.extents) {
            extent.chunk = to(extent.chunk);
        }
        let copies = chunks.iter().map(|chunk| Chunk { id: to(chunk.id), ..chunk.clone() });
        let copies: Vec<Chunk> = copies.collect();
        self.read_back(&copies, segments)?;
        Ok(copies)
    }

    /// Streams one chunk, and compares each frame that has a hash.
    fn copy_chunk(&self, chunk: &Chunk, to: ChunkId) -> Result<()> {
        let (from, to) = (chunk.id.object(), to.object());
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).push(to.clone());
        let mut writer = self.target.backend().writer(&to)?;
        let starts = chunk.frame_starts();
        let streamed = runs(chunk).into_iter().try_for_each(|frames| {
            self.job.cancel.check()?;
            let at = |index: usize| starts.get(index).copied().unwrap_or(chunk.length);
            let range = at(frames.start)..at(frames.end);
            let bytes = self.source.backend().get_range(&from, range)?;
            let mut rest = bytes.clone();
            for (index, frame) in
                chunk.frames.iter().enumerate().take(frames.end).skip(frames.start)
            {
                let length = rest.len().min(frame.stored as usize);
                let stored = rest.split_to(length);
                if frame.hash.is_some_and(|expected| expected != hash(&stored)) {
                    let what = format_args!("frame {index}: it does not match its hash");
                    return Err(Error::corrupt(&from, what));
                }
            }
            self.job.progress.add_done(usize::MAX, bytes.len() as u64);
            writer.write(bytes)
        });
        if let Err(error) = streamed {
            // The cause matters more than what may be left behind.
            drop(writer.abort());
            return Err(error);
        }
        let length = writer.finish()?;
        if length != chunk.length {
            let what = format_args!("{length} of {} bytes were stored", chunk.length);
            return Err(Error::corrupt(to, what));
        }
        self.job.progress.add_chunk(length);
        Ok(())
    }

    /// Uncompressed chunks have no hashes of their own, those of segments may span chunks: what lies
    /// in such is read from where it is now, and compared.
    fn read_back(&self, chunks: &[Chunk], segments: &[StoredSegment]) -> Result<()> {
        let plain = chunks.iter().filter(|chunk| chunk.codec == Codec::None);
        let plain: BTreeSet<ChunkId> = plain.map(|chunk| chunk.id).collect();
        let lies_in = |segment: &&StoredSegment| {
            segment.extents.iter().any(|extent| plain.contains(&extent.chunk))
        };
        let mut seen = BTreeSet::new();
        let segments: Vec<StoredSegment> = (segments.iter().filter(lies_in))
            .filter(|segment| seen.insert(segment.meta.uid))
            .cloned()
            .collect();
        if segments.is_empty() {
            return Ok(());
        }
        let fetch = Fetch {
            host: self.job.host(),
            backend: &**self.target.backend(),
            cancel: self.job.cancel,
            progress: &crate::progress::Progress::new(),
            limits: Limits::NONE,
            workers: None,
            memory_bytes_max: self.options.memory_bytes_max,
        };
        fetch.run(chunks, &segments, &mut NoSink)
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
        let soon = Cancel::new();
        let repository = patient.cancelable(&soon);
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = objects.iter().try_for_each(|object| repository.backend().delete(object));
        let (id, attempt) = (&self.head.id, self.head.attempt);
        drop(removed.and_then(|()| repository.remove_intent(id, attempt)));
    }
}

/// Runs of whole frames, each of at most a part's bytes.
fn runs(chunk: &Chunk) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (index, frame) in chunk.frames.iter().enumerate() {
        bytes += frame.stored as usize;
        match runs.last_mut() {
            Some(run) if bytes <= PART_BYTES => run.end = index + 1,
            _ => {
                runs.push(index..index + 1);
                bytes = frame.stored as usize;
            }
        }
    }
    runs
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

#[cfg(test)]
mod tests {
    use siltstone_lsm::types::Hash;

    use super::*;
    use crate::format::chunk::Frame;

    #[test]
    fn runs_are_whole_frames_within_a_part_and_cover_the_chunk() {
        let frame = |stored: u32| Frame { plain: stored, stored, hash: Some(Hash([0; 32])) };
        let mib = 1 << 20;
        let frames: Vec<Frame> = [4 * mib, mib, 1, 4 * mib, 4 * mib, 10, 10].map(frame).to_vec();
        let chunk = |frames| Chunk { id: ChunkId([0; 16]), codec: Codec::Gzip, length: 0, frames };
        assert_eq!(runs(&chunk(frames)), [0..2, 2..4, 4..7]);
        assert_eq!(runs(&chunk(Vec::new())), []);
    }
}
