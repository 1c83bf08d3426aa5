//! The making of a backup, from the cut to the commit.
//!
//! The order is the protocol. The intent is there before anything relies on it; the dedup base is
//! read after the intent; the intent names every chunk of earlier backups before the descriptor
//! does; condemned lists are read at the start and again right before the commit; the descriptor's
//! parts are there before `backup_config.json`, which is written last and makes the backup be.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use siltstone_lsm::{
    catalog::{Catalog, Collection, Tenant},
    cut::Cut,
    store::Store,
    types::TreeId,
};

use crate::{
    backend::Conditions,
    cancel::Cancel,
    codec::codec_of,
    content::{Content, Sealer},
    error::{Error, ErrorKind, Result},
    format::{
        chunk::{Chunk, ChunkSizes},
        config::Config,
        descriptor::{StoredCollection, StoredSegment, StoredTenant},
    },
    journal::record::Event,
    leftovers::{Leftovers, remove},
    names::ChunkId,
    operation::{End, Operation, Summary},
    options::CreateOptions,
    pace::Limits,
    pipeline::{Pipeline, PipelineOptions, StoredChunk},
    plan::{Base, Plan, Upload, plan},
    repository::{CommitOutcome, IntentHead, Repository, commit},
    selection::{Selected, select, take_frozen, tree_reports},
    state::State,
};

/// How long a prune waits between condemning a chunk and removing it.
pub const PRUNE_GRACE: Duration = Duration::from_hours(48);

/// How long a backup that failed or was canceled removes what it stored.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(5);

/// What a backup is made of.
#[derive(Debug)]
pub(crate) struct CreateJob {
    /// The store.
    pub(crate) store: Store,
    /// A cut that the caller took already.
    pub(crate) cut: Option<Cut>,
    /// Where it goes; calls are not bound to the cancel request.
    pub(crate) repository: Repository,
    /// What the intent says.
    pub(crate) head: IntentHead,
    /// The caller's choices, checked.
    pub(crate) options: CreateOptions,
}

/// The work in progress.
struct Making<'a> {
    operation: &'a Operation,
    job: &'a CreateJob,
    /// Calls of this one end with a cancel request.
    repository: Repository,
    /// Objects of this attempt that must go if it fails.
    objects: Mutex<Vec<String>>,
}

/// What is stored, and what is to be said of it.
struct Transferred {
    content: Content,
    sequence: u64,
    /// FROZEN tenants, which are not in it.
    skipped: Vec<String>,
}

/// Segments and their bytes, each tree's own: what the cut has, the descriptor must list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tally {
    segments: usize,
    bytes: u64,
}

impl Tally {
    fn of<'a>(segments: impl Iterator<Item = &'a StoredSegment>) -> Self {
        segments.fold(Self { segments: 0, bytes: 0 }, |tally, segment| Self {
            segments: tally.segments + 1,
            bytes: tally.bytes + segment.meta.length,
        })
    }
}

/// Makes the backup; cleans up if it fails.
pub(crate) fn run(operation: &Operation, mut job: CreateJob) -> End {
    let cut = job.cut.take();
    let repository = job.repository.cancelable(&operation.shared.cancel);
    let making = Making { operation, job: &job, repository, objects: Mutex::default() };
    let sealed = making.transfer(cut).and_then(|mut transferred| {
        let skipped = mem::take(&mut transferred.skipped);
        making.seal(transferred).map(|(config, collections)| (config, collections, skipped))
    });
    let (config, collections, skipped) = match sealed {
        Ok(sealed) => sealed,
        Err(error) => return making.give_up(error),
    };
    match commit(&job.repository, &config) {
        CommitOutcome::Committed => {
            // The descriptor protects the chunks now: an intent that stays goes with the next
            // operation, and is ignored once it is old.
            if job.repository.remove_intent(&config.id, config.attempt).is_ok() {
                drop(operation.record(&Event::Cleaned));
            }
            End::Success(Summary {
                id: config.id,
                attempt: config.attempt,
                sequence: config.sequence,
                totals: config.totals,
                collections,
                skipped,
                progress: operation.shared.progress.report(),
                elapsed: operation.age(),
            })
        }
        CommitOutcome::Refused(error) => making.refused(error),
        CommitOutcome::Unknown(error) => End::Unknown(error),
    }
}

impl Making<'_> {
    /// From the intent until all chunks are stored.
    fn transfer(&self, cut: Option<Cut>) -> Result<Transferred> {
        let Operation { env, journals, .. } = self.operation;
        let leftovers = Leftovers::settle(env, journals, &self.repository)?;
        self.repository.put_intent(&self.job.head, Vec::new())?;
        let cut = match cut {
            Some(cut) => cut,
            None => self.job.store.cut()?,
        };
        let stored = stored_collections(&cut.catalog);
        let mut collections = select(&self.job.options.selection, stored)?;
        let skipped = take_frozen(&mut collections);
        let sequence = cut.sequence;
        let (plan, expected) = self.plan(cut, &collections, &leftovers)?;
        if !plan.chunks.is_empty() {
            self.repository.put_intent(&self.job.head, ids(&plan.chunks))?;
        }
        self.take_over(leftovers, &plan)?;
        let progress = &self.operation.shared.progress;
        progress.plan(plan.upload_bytes, plan.reused_bytes);
        let (trees, places) = tree_reports(&collections);
        let tree_of = |upload: &Upload| {
            let (tree, _) = upload.homes.first().expect("an upload has a home");
            (places[tree], upload.segment.meta.length)
        };
        progress.plan_trees(trees, plan.uploads.iter().map(tree_of));
        self.operation.note(&Event::Plan {
            bytes_total: plan.upload_bytes,
            bytes_reused: plan.reused_bytes,
        })?;
        self.operation.enter(State::Transferring)?;
        let options = &self.job.options;
        let pipeline = Pipeline {
            env: &self.operation.env,
            backend: &**self.repository.backend(),
            cancel: &self.operation.shared.cancel,
            progress,
            options: PipelineOptions {
                compression: options.compression,
                sizes: ChunkSizes::from_mib(options.chunk_mib),
                limits: Limits {
                    cpu_percent: options.cpu_percent,
                    bytes_per_second_max: options.bytes_per_second_max,
                },
                workers: options.workers,
                memory_bytes_max: options.memory_bytes_max,
            },
        };
        let uploaded = pipeline
            .run(plan.uploads, &mut |stored: StoredChunk<'_>| self.remember_chunk(stored))?;
        let stored = Tally::of(plan.reused.iter().chain(&uploaded.segments));
        if stored != expected {
            let message = format!("{stored:?} were stored of {expected:?}; please report this bug");
            return Err(Error::new(ErrorKind::Io, message));
        }
        self.operation.enter(State::Transferred)?;
        let content = Content {
            collections: collections.into_iter().map(|selected| selected.collection).collect(),
            reused_chunks: plan.chunks,
            reused: plan.reused,
            new_chunks: uploaded.chunks,
            new: uploaded.segments,
        };
        Ok(Transferred { content, sequence, skipped })
    }

    /// What to upload. The cut's view goes here, so that from now on segments go one by one.
    /// Also says what the backup must hold in the end.
    fn plan(
        &self,
        cut: Cut,
        collections: &[Selected],
        leftovers: &Leftovers,
    ) -> Result<(Plan, Tally)> {
        let trees: BTreeSet<TreeId> = collections.iter().flat_map(Selected::trees).collect();
        let mut segments = cut.segments;
        segments.retain(|segment| trees.contains(&segment.tree));
        drop(cut.view);
        let expected = Tally {
            segments: segments.len(),
            bytes: segments.iter().map(|segment| segment.meta.length).sum(),
        };
        let mut base = Base::default();
        // The journal knows it without a look at all backups of the repository.
        let known = leftovers.last_success(&self.repository, cut.store_id)?;
        let newest = match self.repository.first_readable(known.into_iter().collect())? {
            _ if self.job.head.id.is_offload() => None, // it must be complete in itself
            Some(newest) => Some(newest),
            None => self.repository.first_readable(self.repository.backups_of(cut.store_id)?)?,
        };
        if let Some(newest) = newest {
            base.add(&newest);
        }
        leftovers.add_to(&mut base);
        let condemned = self.repository.condemned()?;
        let mut usable = self.repository.present(base.chunks())?;
        usable.retain(|chunk| !condemned.contains(chunk));
        Ok((plan(segments, &base, &usable), expected))
    }

    /// Makes chunks of attempts that were cut off this one's own, where the plan needs them, and
    /// removes the rest of what those left.
    fn take_over(&self, leftovers: Leftovers, plan: &Plan) -> Result<()> {
        let needed: BTreeSet<ChunkId> = plan.chunks.iter().map(|chunk| chunk.id).collect();
        for (chunk, segments) in leftovers.chunks().filter(|(chunk, _)| needed.contains(&chunk.id))
        {
            self.remember_chunk(StoredChunk { chunk, segments })?;
        }
        match leftovers.sweep(&self.operation.journals, &self.repository, &needed) {
            // What cannot be removed does not stand in the way, and is listed still.
            Err(error) if error.kind() == ErrorKind::Denied => Ok(()),
            swept => swept,
        }
    }

    /// Writes the descriptor's parts and says what the commit will say. From here on a cancel
    /// request comes too late.
    fn seal(&self, transferred: Transferred) -> Result<(Config, Vec<String>)> {
        let Transferred { mut content, sequence, .. } = transferred;
        let head = &self.job.head;
        let (parts, totals) = content.seal(&Sealer {
            repository: &self.repository,
            head,
            unique_id: &|| self.operation.env.unique_id(),
            remember: &|object| self.remember(object),
        })?;
        if self.operation.age() > PRUNE_GRACE / 2 {
            let message = "the backup took so long that a prune may have condemned its chunks; \
                           try again, most of it is stored already";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let config = Config {
            id: head.id.clone(),
            attempt: head.attempt,
            store_id: self.job.store.store_id(),
            node: head.node.clone(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: head.started_at.parse().unwrap_or_else(|_| self.operation.now()),
            completed_at: self.operation.now(),
            compression: codec_of(self.job.options.compression),
            sequence,
            totals,
            parts,
        };
        self.operation.begin_commit(Vec::new())?;
        Ok((config, content.collections.into_iter().map(|collection| collection.name).collect()))
    }

    /// Records an object of this attempt, so that it goes if the attempt fails.
    fn remember(&self, object: String) -> Result<()> {
        self.operation.record(&Event::Object { name: object.clone() })?;
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).push(object);
        Ok(())
    }

    /// Records a finished chunk, so that it goes if the attempt fails, or serves the next one if
    /// this one is cut off.
    fn remember_chunk(&self, stored: StoredChunk<'_>) -> Result<()> {
        self.operation.record_all(&Event::of_chunk(stored.chunk, stored.segments))?;
        let object = stored.chunk.id.object();
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).push(object);
        Ok(())
    }

    /// Ends an operation whose commit did not happen.
    fn refused(&self, error: Error) -> End {
        // Without conditions a commit that seems lost may yet appear: its chunks must stay.
        match self.job.repository.backend().conditions() {
            Ok(Conditions::Enforced) if self.operation.record(&Event::Refused).is_ok() => {
                self.give_up(error)
            }
            _ => End::Failure(self.operation.fail(error)),
        }
    }

    /// Ends the operation, then removes what it stored. What cannot be removed now stays listed in
    /// the journal, for the next operation. A backup that failed for want of its backend keeps what
    /// it stored, for the next try.
    fn give_up(&self, error: Error) -> End {
        let error = self.operation.fail(error);
        if error.kind() != ErrorKind::Unavailable && self.clean_up().is_ok() {
            // Without the record the next operation removes them again, which does no harm.
            drop(self.operation.record(&Event::Cleaned));
        }
        End::Failure(error)
    }

    fn clean_up(&self) -> Result<()> {
        let objects = mem::take(&mut *self.objects.lock().unwrap_or_else(PoisonError::into_inner));
        let soon = Cancel::new().within(&self.operation.env.clock, CLEAN_UP_LIMIT);
        let repository = self.job.repository.cancelable(&soon);
        remove(&repository, (&self.job.head.id, self.job.head.attempt), objects.iter())
    }
}

fn ids(chunks: &[Chunk]) -> Vec<ChunkId> {
    chunks.iter().map(|chunk| chunk.id).collect()
}

/// A catalog in the words of a descriptor.
pub(crate) fn stored_collections(catalog: &Catalog) -> Vec<StoredCollection> {
    let tenant = |(name, tenant): (&Arc<str>, &Tenant)| StoredTenant {
        name: name.to_string(),
        tree: tenant.tree,
        status: tenant.status,
    };
    let collection = |collection: &Arc<Collection>| StoredCollection {
        name: collection.name.to_string(),
        tree: collection.tree,
        tenants: collection.tenants.iter().map(tenant).collect(),
    };
    catalog.collections.values().map(collection).collect()
}
