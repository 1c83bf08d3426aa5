//! Runs one phase: starts its threads, watches memory while they run, ends them, adds up.

use std::{
    ops::Bound,
    path::Path,
    thread::{self, Scope, ScopedJoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use siltstone_benches::{key, mix};
use siltstone_io::env::Clock;
use siltstone_lsm::options::Durability;

use crate::{
    process::{anonymous_bytes, cpu_seconds},
    report::Phase,
    tally::Tally,
    work::{self, Moved, Signals},
    world::World,
};

/// How often memory and clock are looked at.
const TICK: Duration = Duration::from_millis(10);

/// What the threads of a phase do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task<'a> {
    /// Writers write every row once; nobody reads.
    Load,
    /// Writers overwrite, readers read.
    Mixed {
        /// Of each commit.
        durability: Durability,
        /// How long.
        time: Duration,
        /// Where backups go meanwhile; the phase ends with the one that runs when its time is over.
        backups: Option<&'a Path>,
    },
}

/// The threads of a phase.
struct Crew<'scope> {
    writers: Vec<ScopedJoinHandle<'scope, Result<Tally>>>,
    readers: Vec<ScopedJoinHandle<'scope, Result<Tally>>>,
    backups: Option<ScopedJoinHandle<'scope, Result<Moved>>>,
}

/// Runs a phase on a store that has settled.
pub(crate) fn phase(world: &World, name: &'static str, task: Task<'_>) -> Result<Phase> {
    settle(world)?;
    let (before, cpu, started) = (world.store.metrics(), cpu_seconds(), world.clock.monotonic());
    let elapsed = || world.clock.monotonic().saturating_sub(started);
    let signals = Signals::default();
    let mut peak = 0;
    let (time, writes, reads, backups) = thread::scope(|scope| {
        let crew = Crew::start(scope, (world, &signals), task, seed(world, name));
        while !(signals.stopped() || crew.is_done(task, elapsed(), &signals)) {
            peak = anonymous_bytes().max(peak);
            thread::sleep(TICK);
        }
        signals.stop();
        let time = elapsed();
        crew.join().map(|(writes, reads, backups)| (time, writes, reads, backups))
    })?;
    Ok(Phase::new(name, time).with_work(&writes, &reads, backups.as_ref()).with_costs(
        &before,
        &world.store.metrics(),
        (cpu_seconds() - cpu, peak),
    ))
}

/// Reads the whole store in order, and compares every row with what was acknowledged last.
pub(crate) fn scan(world: &World) -> Result<Phase> {
    settle(world)?;
    let (before, cpu, started) = (world.store.metrics(), cpu_seconds(), world.clock.monotonic());
    let (mut reads, mut scratch, mut count) = (Tally::new()?, Vec::new(), 0);
    let mut rows = world.store.snapshot().scan(world.tree, (Bound::Unbounded, Bound::Unbounded))?;
    loop {
        let asked = world.nanos();
        let Some(row) = rows.next() else { break };
        let (row_key, value) = row?;
        reads.add(world.nanos() - asked, 1, world.row_bytes());
        let index = value.first_chunk::<8>().context("a row of the scan is too short")?;
        let index = u64::from_le_bytes(*index);
        ensure!(index < world.keys && row_key == key(index), "a row of the scan has another's key");
        world.check(index, world.acknowledged(index), Some(&value), &mut scratch)?;
        count += 1;
    }
    ensure!(count == world.keys, "the scan has {count} rows, not {}", world.keys);
    let time = world.clock.monotonic().saturating_sub(started);
    Ok(Phase::new("scan", time).with_work(&Tally::new()?, &reads, None).with_costs(
        &before,
        &world.store.metrics(),
        (cpu_seconds() - cpu, anonymous_bytes()),
    ))
}

/// Lets the store finish what the phase before left to it, so that no phase pays for another.
fn settle(world: &World) -> Result<()> {
    world.store.flush()?;
    Ok(world.store.compact()?)
}

/// The seed of a phase.
fn seed(world: &World, phase: &str) -> u64 {
    phase.bytes().fold(mix(world.seed), |seed, byte| mix(seed ^ u64::from(byte)))
}

impl<'scope> Crew<'scope> {
    fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        (world, signals): (&'env World, &'scope Signals),
        task: Task<'env>,
        seed: u64,
    ) -> Self {
        let write = move |writer| match task {
            Task::Load => work::load(world, signals, writer),
            Task::Mixed { durability, .. } => {
                work::write(world, signals, (writer, durability), seed ^ mix(writer))
            }
        };
        let read = move |reader: u64| work::read(world, signals, seed ^ mix(u64::MAX - reader));
        let (readers, backups) = match task {
            Task::Load => (0, None),
            Task::Mixed { backups, .. } => (world.readers, backups),
        };
        let start_writer = |writer| scope.spawn(move || signals.watch(write(writer)));
        let start_reader = |reader| scope.spawn(move || signals.watch(read(reader)));
        let start_backups =
            |folder| scope.spawn(move || signals.watch(work::back_up(world, signals, folder)));
        Self {
            writers: (0..world.writers).map(start_writer).collect(),
            readers: (0..readers).map(start_reader).collect(),
            backups: backups.map(start_backups),
        }
    }

    /// Whether the phase has done what it is to do; when its time is over, lets backups end.
    fn is_done(&self, task: Task<'_>, elapsed: Duration, signals: &Signals) -> bool {
        match task {
            Task::Load => self.writers.iter().all(ScopedJoinHandle::is_finished),
            Task::Mixed { time, .. } if elapsed < time => false,
            Task::Mixed { .. } => {
                signals.end_backups();
                self.backups.as_ref().is_none_or(ScopedJoinHandle::is_finished)
            }
        }
    }

    /// Waits for all threads; the work of writers, readers and backups.
    fn join(self) -> Result<(Tally, Tally, Option<Moved>)> {
        let sum = |threads: Vec<ScopedJoinHandle<'scope, Result<Tally>>>| -> Result<Tally> {
            let mut sum = Tally::new()?;
            for thread in threads {
                sum.merge(&joined(thread)?)?;
            }
            Ok(sum)
        };
        Ok((sum(self.writers)?, sum(self.readers)?, self.backups.map(joined).transpose()?))
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().ok().context("a thread of the benchmark panicked")?
}
