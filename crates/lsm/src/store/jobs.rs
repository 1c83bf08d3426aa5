//! The background jobs, one bounded step each: flush, compaction, and the small upkeep.
//!
//! Threads run them in the background, a test runs them one by one through [`Core::step`]. Each is
//! safe to call from anywhere at any time: locks make flush and compaction one at a time.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use crate::{
    compaction,
    error::{Error, Result},
    flush::{self, Flushed},
    format::names,
    manifest::{Edit, Outcome, Record, State},
    store::{
        Step,
        core::{Core, Sealed, lock},
        metrics::add,
    },
    types::{LogId, SEQUENCE_RESERVATION, SegmentMeta, TreeId},
    version::Segment,
};

/// One bounded step of a job; whether there was something to do.
pub(crate) type Job = fn(&Core) -> Result<bool>;

impl Core {
    /// Runs the most urgent job that has something to do.
    pub(crate) fn step(&self) -> Result<Step> {
        self.poison.check()?;
        let jobs: [(Job, Step); 6] = [
            (Self::flush_step, Step::Flushed),
            (Self::reap_step, Step::Reaped),
            (Self::ready_log_step, Step::PreparedLog),
            (Self::reserve_step, Step::Reserved),
            (Self::roll_step, Step::RolledManifest),
            (Self::compaction_step, Step::Compacted),
        ];
        for (job, step) in jobs {
            if job(self).inspect_err(|error| self.note_background_failure(error))? {
                return Ok(step);
            }
        }
        Ok(Step::Idle)
    }

    /// Counts a failed background step, and poisons the store if durability is unknown.
    pub(crate) fn note_background_failure(&self, error: &Error) {
        add(&self.counters.background_failures, 1);
        self.note_failure(error);
    }

    /// Flushes the oldest sealed memtable into one file of many segments.
    pub(crate) fn flush_step(&self) -> Result<bool> {
        let outcome = self.flush_oldest();
        self.flush_failure.note(&outcome);
        outcome
    }

    /// Runs the most urgent compaction.
    pub(crate) fn compaction_step(&self) -> Result<bool> {
        let outcome = self.compact_most_urgent();
        self.compaction_failure.note(&outcome);
        outcome
    }

    fn flush_oldest(&self) -> Result<bool> {
        let _one = lock(&self.flushing);
        self.poison.check()?;
        let Some(sealed) = lock(&self.sealed).front().map(Arc::clone) else { return Ok(false) };
        // Nothing above the published sequence is ever flushed: it may have failed its sync.
        let published = || self.visible.load(Ordering::Acquire) >= sealed.last_sequence;
        if self.order.wait_for(published).is_err() {
            self.poison.check()?;
            return Ok(false);
        }
        let file = self.take_file_id();
        let trees = self.trees_to_flush(&sealed);
        let cache = Some(&self.opener.cache);
        let context = flush::Context { env: &self.env, options: &self.options, cache };
        let flushed = flush::write(context, &sealed.memtable, &trees, file)?;
        self.install_flush(&sealed, flushed)?;
        add(&self.counters.flushes, 1);
        self.signal.notify();
        Ok(true)
    }

    /// The memtable's trees that are in the catalog, or in the catalog of a cut that waits.
    fn trees_to_flush(&self, sealed: &Sealed) -> BTreeSet<TreeId> {
        let live = self.manifest.state().catalog;
        let cuts = lock(&sealed.collectors).clone();
        let wanted = |tree: &TreeId| {
            live.owner(*tree).is_some() || cuts.iter().any(|collector| collector.wants(*tree))
        };
        sealed.memtable.trees().into_iter().filter(wanted).collect()
    }

    /// Commits the flush, swaps the view, and hands the segments to the cuts that wait for them.
    fn install_flush(&self, sealed: &Arc<Sealed>, flushed: Option<Flushed>) -> Result<()> {
        let outcome = self.manifest.commit_with(&mut |state| {
            let written = flushed.as_ref().map(Flushed::records).unwrap_or_default();
            let mut records = state.without_dropped_trees(written);
            records.push(Record::ReplayFloor {
                log: sealed.next_log,
                sequence: sealed.last_sequence + 1,
            });
            records.push(self.used_ids(state));
            Ok(Edit { records })
        })?;
        self.wal.forget_before(sealed.next_log);
        let mut collectors = Vec::new();
        self.install(|memtables| {
            memtables.retain(|memtable| !Arc::ptr_eq(memtable, &sealed.memtable));
            lock(&self.sealed).pop_front();
            collectors = std::mem::take(&mut *lock(&sealed.collectors));
        });
        if let Some(flushed) = flushed {
            add(&self.counters.flushed_bytes, flushed.length);
            let segments = pinned(&flushed, &outcome);
            for collector in &collectors {
                collector.deliver(&segments);
            }
        } else {
            for collector in &collectors {
                collector.deliver(&[]);
            }
        }
        self.retire(outcome.obsolete);
        Ok(())
    }

    fn compact_most_urgent(&self) -> Result<bool> {
        let _one = lock(&self.compacting);
        self.poison.check()?;
        let view = Arc::clone(&self.published.load().view);
        let Some(job) = compaction::pick(&view.version, &self.options) else { return Ok(false) };
        let mut go_on = || !self.closing.load(Ordering::Acquire) && !self.poison.is_set();
        let mut next_file = || self.take_file_id();
        let context =
            compaction::Context { env: &self.env, options: &self.options, opener: &self.opener };
        let run = compaction::run(context, &job, &mut next_file, &mut go_on)?;
        let Some(edit) = run else { return Ok(false) };
        let mut written = 0;
        let outcome = self.manifest.commit_with(&mut |state| {
            let mut records = state.without_dropped_trees(edit.records.clone());
            written = records.iter().map(file_bytes).sum();
            records.push(self.used_ids(state));
            Ok(Edit { records })
        })?;
        self.install(|_| ());
        self.retire(outcome.obsolete);
        add(&self.counters.compactions, 1);
        add(&self.counters.compacted_bytes, written);
        self.signal.notify();
        Ok(true)
    }

    /// Removes one file that nothing uses any more, or a log below the replay floor.
    pub(crate) fn reap_step(&self) -> Result<bool> {
        if let Some(log) = self.log_to_reap() {
            self.remove_if_there(&names::log(log))?;
            return Ok(true);
        }
        let Some(file) = self.obsolete.take_unpinned() else { return Ok(false) };
        self.remove_if_there(&names::file(file))?;
        Ok(true)
    }

    fn log_to_reap(&self) -> Option<LogId> {
        let floor = self.manifest.state().replay_floor.0;
        let mut oldest = lock(&self.oldest_log);
        (*oldest < floor).then(|| {
            let log = *oldest;
            *oldest = oldest.next();
            log
        })
    }

    /// Removal is idempotent: a file that is gone already is what was wanted.
    pub(crate) fn remove_if_there(&self, path: &siltstone_io::path::RelPath) -> Result<()> {
        match self.env.disk.remove(path) {
            Err(error) if error.kind() == siltstone_io::error::ErrorKind::NotFound => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    /// Makes the next log ready, so that a rotation is one pointer swap.
    pub(crate) fn ready_log_step(&self) -> Result<bool> {
        let mut ready = lock(&self.ready_log);
        if ready.is_some() {
            return Ok(false);
        }
        *ready = Some(self.make_log()?);
        Ok(true)
    }

    /// Reserves sequences before the reserved ones run out.
    pub(crate) fn reserve_step(&self) -> Result<bool> {
        let (next, reserved) = {
            let log = lock(&self.log);
            (log.next_sequence, log.reserved_upto)
        };
        if next + SEQUENCE_RESERVATION / 2 <= reserved {
            return Ok(false);
        }
        let upto = next + SEQUENCE_RESERVATION;
        self.manifest.commit(Edit { records: vec![Record::ReserveSequences { upto }] })?;
        let mut log = lock(&self.log);
        log.reserved_upto = log.reserved_upto.max(upto);
        Ok(true)
    }

    /// Zeroes the log ahead of the syncs.
    pub(crate) fn zero_step(&self) -> Result<bool> {
        self.wal.zero_ahead()
    }

    /// Rolls the manifest when it has grown.
    pub(crate) fn roll_step(&self) -> Result<bool> {
        if !self.manifest.should_roll() {
            return Ok(false);
        }
        self.manifest.roll()?;
        Ok(true)
    }

    /// The record of the identifiers used up so far; trees and collections are the queue's to
    /// advance.
    fn used_ids(&self, state: &State) -> Record {
        Record::NextIds {
            tree: state.next_tree,
            file: self.next_file_id(),
            collection: state.next_collection,
        }
    }
}

/// The segments of a flush as the version has them; those of trees dropped meanwhile are made here,
/// for the cuts that still want them.
fn pinned(flushed: &Flushed, outcome: &Outcome) -> Vec<Arc<Segment>> {
    let in_version = outcome.state.version.file(flushed.file);
    let handle = in_version
        .map(|used| &used.handle)
        .or_else(|| outcome.obsolete.iter().find(|file| file.id == flushed.file))
        .expect("the edit added the file: it is used, or obsolete at once");
    let segment = |(tree, offset, meta): &(TreeId, u64, SegmentMeta)| {
        let live = in_version.and_then(|used| used.segments.get(offset));
        let dropped = || {
            let file = Arc::clone(handle);
            Arc::new(Segment::new(*tree, 0, file, *offset, meta.clone()))
        };
        live.map_or_else(dropped, Arc::clone)
    };
    flushed.segments.iter().map(segment).collect()
}

fn file_bytes(record: &Record) -> u64 {
    match record {
        Record::AddFile { length, .. } => *length,
        _ => 0,
    }
}
