//! A second backup into the same repository: with nothing new, and with a hundredth more rows.

use anyhow::{Result, ensure};
use siltstone_backup::options::Compression;
use siltstone_peers::{
    machine::drop_caches,
    report::{Goal, Report},
    rounds::{quantile, timed},
    rows::ROW_BYTES,
    stone::{Stone, folder_backend},
};

use crate::{
    sink::counted,
    world::{Size, World, clear},
};

const SECTION: &str = "incremental";

pub(crate) fn run(world: &mut World, report: &mut Report<'_>) -> Result<()> {
    world.load(Size::Large)?;
    #[cfg(feature = "rocksdb")]
    world.clear_rocks(Size::Large)?;
    let target = world.path("backup");
    nothing_new(world, report, &target)?;
    a_hundredth_new(world, report, &target)?;
    clear(&target)?;
    world.discard(Size::Large)
}

#[expect(clippy::cast_precision_loss, reason = "three digits matter")]
fn nothing_new(world: &World, report: &mut Report<'_>, target: &std::path::Path) -> Result<()> {
    let stone = world.stone(Size::Large)?;
    let backend = folder_backend(target)?;
    stone.back_up(&backend, "first", Compression::None)?;
    let (mut seconds, mut bytes, mut requests) = (Vec::new(), 0, 0);
    for round in 0..world.effort.rounds {
        drop_caches()?;
        let (backend, counts) = counted(&backend);
        let id = format!("again-{round}");
        let (sample, _) = timed(|| stone.back_up(&backend, &id, Compression::None))?;
        ensure!(counts.chunk_bytes() == 0, "chunks were uploaded though nothing has changed");
        report.sample(SECTION, "nothing new", round, &sample)?;
        seconds.push(sample.seconds);
        (bytes, requests) = (counts.object_bytes(), counts.requests());
    }
    let segments = (stone.store.metrics().segments as f64, "segments");
    report.finding(SECTION, "the store", segments, None)?;
    let longest = (quantile(seconds.iter().copied(), 1.0), "s");
    let middle = (quantile(seconds, 0.5), "s");
    report.finding(SECTION, "nothing new, median", middle, Some(Goal::AtMost(0.2)))?;
    report.finding(SECTION, "nothing new, longest", longest, None)?;
    report.finding(SECTION, "nothing new, uploaded", (bytes as f64, "bytes"), None)?;
    report.finding(SECTION, "nothing new, calls", (requests as f64, "calls of the backend"), None)
}

#[expect(clippy::cast_precision_loss, reason = "three digits matter")]
fn a_hundredth_new(world: &World, report: &mut Report<'_>, target: &std::path::Path) -> Result<()> {
    let stone = world.stone(Size::Large)?;
    let backend = folder_backend(target)?;
    let rows = stone.rows + stone.rows.div_ceil(100);
    let before = stone.store.metrics();
    stone.append(stone.rows..rows)?;
    let (counting, counts) = counted(&backend);
    let (sample, _) = timed(|| stone.back_up(&counting, "more", Compression::None))?;
    report.sample(SECTION, "a hundredth new", 0, &sample)?;
    let after = stone.store.metrics();
    let uploaded = (counts.chunk_bytes() + counts.object_bytes()) as f64;
    let rewritten = after.compactions - before.compactions;
    let percent = (100.0 * uploaded / (rows * ROW_BYTES) as f64, "% of all rows");
    // With compaction between, more than the new rows is new.
    let goal = (rewritten == 0).then_some(Goal::AtMost(1.2));
    report.finding(SECTION, "a hundredth new, uploaded", percent, goal)?;
    let payload = (uploaded / ((rows - stone.rows) * ROW_BYTES) as f64, "x of the new rows");
    report.finding(SECTION, "a hundredth new, uploaded", payload, None)?;
    report.finding(SECTION, "a hundredth new", (sample.seconds, "s"), None)?;
    let rewritten = (rewritten as f64, "compactions meanwhile");
    report.finding(SECTION, "a hundredth new", rewritten, None)?;

    let restored = world.path("restored");
    Stone::restore(&backend, "more", &restored, rows)?.check()?;
    clear(&restored)
}
