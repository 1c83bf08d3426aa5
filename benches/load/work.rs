//! What one thread does: loads rows, overwrites rows, reads rows, or makes backups.
//!
//! Which rows, in which order, follows from the seed, the phase and the number of the thread.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Result;
use siltstone_backup::{
    api::Backups,
    backend::{self, BackendConfig},
    options::CreateOptions,
};
use siltstone_benches::{Dice, fill_value, key};
use siltstone_lsm::{batch::Batch, options::Durability};

use crate::{tally::Tally, world::World};

/// Rows of one batch of the load.
const LOAD_ROWS: u64 = 100;

/// When to end.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Backups begin no more.
    ending: AtomicBool,
    /// All threads end.
    stop: AtomicBool,
}

impl Signals {
    pub(crate) fn end_backups(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Stops everybody after a failure.
    pub(crate) fn watch<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|_| self.stop())
    }
}

/// What the backups of a phase moved.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) count: u64,
    /// Bytes of segments read and uploaded, those found in the repository, and bytes of chunks.
    pub(crate) bytes: u64,
    pub(crate) reused_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) time: Duration,
}

/// Writes all rows of one writer for the first time, in batches.
pub(crate) fn load(world: &World, signals: &Signals, writer: u64) -> Result<Tally> {
    let (mut tally, mut value) = (Tally::new()?, vec![0; world.value_bytes]);
    let own = || (writer..world.keys).step_by(usize::try_from(world.writers).unwrap_or(1));
    let mut left = own().peekable();
    while left.peek().is_some() && !signals.stopped() {
        let rows: Vec<u64> = left.by_ref().take(usize::try_from(LOAD_ROWS)?).collect();
        let mut batch = Batch::new();
        for &index in &rows {
            fill_value(&mut value, index, world.assign(index));
            batch.put(world.tree, &key(index), &value)?;
        }
        let started = world.nanos();
        world.store.write(batch, Durability::Buffered)?;
        let count = rows.len() as u64;
        tally.add(world.nanos() - started, count, count * world.row_bytes());
        for index in rows {
            world.acknowledge(index, 1);
        }
    }
    Ok(tally)
}

/// Overwrites rows of one writer, one commit a row, until told to stop.
pub(crate) fn write(
    world: &World,
    signals: &Signals,
    (writer, durability): (u64, Durability),
    dice_seed: u64,
) -> Result<Tally> {
    let (mut tally, mut value) = (Tally::new()?, vec![0; world.value_bytes]);
    let mut dice = Dice::new(dice_seed);
    let own = (world.keys - writer).div_ceil(world.writers);
    while !signals.stopped() {
        let index = dice.below(own) * world.writers + writer;
        let (key, version) = (key(index), world.assign(index));
        fill_value(&mut value, index, version);
        let started = world.nanos();
        world.store.put(world.tree, &key, &value, durability)?;
        tally.add(world.nanos() - started, 1, world.row_bytes());
        world.acknowledge(index, version);
    }
    Ok(tally)
}

/// Reads rows until told to stop, and checks each.
pub(crate) fn read(world: &World, signals: &Signals, dice_seed: u64) -> Result<Tally> {
    let (mut tally, mut scratch, mut dice) = (Tally::new()?, Vec::new(), Dice::new(dice_seed));
    while !signals.stopped() {
        let index = dice.below(world.keys);
        let (key, least) = (key(index), world.acknowledged(index));
        let started = world.nanos();
        let value = world.store.get(world.tree, &key)?;
        tally.add(world.nanos() - started, 1, world.row_bytes());
        world.check(index, least, value.as_deref(), &mut scratch)?;
    }
    Ok(tally)
}

/// Makes backups into one repository, one after another, at least one, until told to end.
pub(crate) fn back_up(world: &World, signals: &Signals, folder: &Path) -> Result<Moved> {
    std::fs::create_dir_all(folder)?;
    let backend = backend::open(&BackendConfig::Folder(folder.to_path_buf()))?;
    let backups = Backups::new(world.store.clone())?;
    let mut moved = Moved::default();
    while moved.count == 0 || !(signals.ending.load(Ordering::SeqCst) || signals.stopped()) {
        moved.count += 1;
        let id = format!("load-{}", moved.count);
        let summary = backups.create(&backend, &id, CreateOptions::default())?.wait()?;
        moved.bytes += summary.progress.bytes_done;
        moved.reused_bytes += summary.progress.bytes_reused;
        moved.stored_bytes += summary.progress.bytes_stored;
        moved.time += summary.elapsed;
    }
    Ok(moved)
}
