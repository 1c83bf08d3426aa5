//! How long a cut holds up writers: the longest put beside each of some hundred cuts.
//!
//! Before each cut, rows are written to one tenant, or to each of thousands, so that the cut finds as
//! many dirty trees. Beside it one writer puts rows into another collection, one after another. The
//! longest of its puts from the call of the cut to its return bounds from above how long the cut held
//! the commit queue, to within the pause between two puts; it includes what the flush for the cut,
//! and the scheduler, do to the writer.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use siltstone_lsm::{
    batch::Batch,
    options::{Durability, Options},
    store::Store,
    types::TreeId,
};
use siltstone_peers::{
    machine::now,
    report::{Goal, Report},
    rounds::quantile,
    rows::{key, value},
    stone::COLLECTION,
};

use crate::world::{World, clear};

const SECTION: &str = "cuts";

/// Between two puts of the writer, which leaves the processor meanwhile.
const PAUSE: Duration = Duration::from_micros(200);

/// Bytes of the rows that make tenants dirty: many trees, little data.
const SMALL_VALUE: [u8; 100] = [0x5a; 100];

/// When a put was called, and when it returned.
type Put = (Duration, Duration);

pub(crate) fn run(world: &mut World, report: &mut Report<'_>) -> Result<()> {
    for tenants in [1, world.effort.tenants] {
        let folder = world.path("store-cuts");
        let held = longest_puts(&folder, tenants, world.effort.cuts)?;
        clear(&folder)?;
        let millis = |share| (quantile(held.iter().copied(), share), "ms");
        let what = format!("{tenants} dirty tenants: longest put beside a cut");
        report.finding(SECTION, format!("{what}, median"), millis(0.5), None)?;
        report.finding(SECTION, format!("{what}, p99"), millis(0.99), Some(Goal::AtMost(1.0)))?;
    }
    Ok(())
}

/// Milliseconds of the longest put beside each cut.
fn longest_puts(folder: &std::path::Path, tenants: usize, cuts: usize) -> Result<Vec<f64>> {
    let store = Store::open(folder, Options::default())?;
    let writer_tree = store.create_collection("writer")?;
    store.create_collection(COLLECTION)?;
    let names: Vec<String> = (0..tenants).map(|number| format!("tenant-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let trees = store.create_tenants(COLLECTION, &names)?;
    let stop = AtomicBool::new(false);
    let (windows, puts) = thread::scope(|scope| {
        let writer = scope.spawn(|| write(&store, writer_tree, &stop));
        let windows = cut_often(&store, &trees, cuts);
        stop.store(true, Ordering::SeqCst);
        let puts = writer.join().expect("the writer does not panic");
        Ok::<_, anyhow::Error>((windows?, puts?))
    })?;
    windows
        .iter()
        .map(|&(called, returned)| {
            let beside = puts.iter().filter(|put| put.1 >= called && put.0 <= returned);
            let longest = beside.map(|put| put.1.saturating_sub(put.0)).max();
            let longest = longest.context("no put ran beside a cut")?;
            Ok(longest.as_secs_f64() * 1000.0)
        })
        .collect()
}

fn write(store: &Store, tree: TreeId, stop: &AtomicBool) -> Result<Vec<Put>> {
    let (row, mut puts) = (value(0, 1), Vec::new());
    for index in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let called = now();
        store.put(tree, &key(index % 1000), &row, Durability::Buffered)?;
        puts.push((called, now()));
        thread::sleep(PAUSE);
    }
    Ok(puts)
}

/// Makes all trees dirty, then cuts, again and again; when each cut was called and returned.
fn cut_often(store: &Store, trees: &[TreeId], cuts: usize) -> Result<Vec<Put>> {
    let mut windows = Vec::with_capacity(cuts);
    let mut sequence = 0;
    for round in 0..cuts {
        let mut batch = Batch::new();
        for &tree in trees {
            batch.put(tree, &key(round as u64), &SMALL_VALUE)?;
        }
        store.write(batch, Durability::Buffered)?;
        let called = now();
        let cut = store.cut()?;
        windows.push((called, now()));
        ensure!(cut.sequence > sequence, "a cut went back to sequence {}", cut.sequence);
        let dirty = cut.segments.iter().filter(|segment| segment.level == 0).count();
        ensure!(dirty > 0, "a cut found nothing new");
        sequence = cut.sequence;
    }
    Ok(windows)
}
