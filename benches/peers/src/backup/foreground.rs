//! What writers feel of a backup: 20,000 puts a second in an open loop, without and with one.
//!
//! Pairs of phases of the same load, one alone, then one beside backups that follow each other, each
//! into a new folder, so that one runs all the time. Writers overwrite rows in an order that looks
//! random, so flush and compaction run too; a phase begins when those of the one before are done.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Result, ensure};
use serde::Serialize;
use siltstone_backup::options::{Compression, CreateOptions};
use siltstone_peers::{
    machine::{Usage, drop_caches},
    pace::{self, Latencies, Load, Puts, Safety},
    report::{Goal, Report},
    rounds::median,
    stone::{Stone, folder_backend},
};

use crate::world::{Size, World, clear};

const SECTION: &str = "foreground";

/// Puts a second of all writers.
const RATE: u64 = 20_000;

/// Writers that wait for a sync each: enough that groups carry the rate.
const SYNC_WRITERS: u64 = 16;

/// Makes one backup into a new folder of that number, or gives up once told so. Returns whether it
/// moved anything.
type BackUp<'a> = &'a (dyn Fn(u64, &AtomicBool) -> Result<()> + Sync);

/// One load on one store.
struct Case<'a> {
    name: &'static str,
    target: &'a dyn Puts,
    safety: Safety,
    back_up: BackUp<'a>,
    goals: bool,
}

#[derive(Serialize)]
struct PhaseLine<'a> {
    section: &'a str,
    what: &'a str,
    round: usize,
    backup: bool,
    backups_begun: u64,
    foreign_cpu_seconds: f64,
    #[serde(flatten)]
    seen: Latencies,
}

pub(crate) fn run(world: &mut World, report: &mut Report<'_>) -> Result<()> {
    world.load(Size::Small)?;
    let target = world.path("backup");
    {
        let stone = world.stone(Size::Small)?;
        let with = |compression| {
            let target = &target;
            move |number: u64, stop: &AtomicBool| {
                let folder = target.join(number.to_string());
                back_up_stone(stone, &folder_backend(&folder)?, compression, stop)
            }
        };
        let (plain, gzip) = (with(Compression::None), with(Compression::GzipDefault));
        for (name, safety, back_up) in [
            ("siltstone, buffered, uncompressed", Safety::Buffered, &plain as BackUp<'_>),
            ("siltstone, buffered, gzip", Safety::Buffered, &gzip),
            ("siltstone, sync, uncompressed", Safety::Sync, &plain),
        ] {
            let goals = safety == Safety::Buffered;
            let case = Case { name, target: stone, safety, back_up, goals };
            pairs(world, report, &case, &target)?;
        }
        stone.check()?;
    }
    world.discard(Size::Small)?;
    #[cfg(feature = "rocksdb")]
    {
        let rocks = world.rocks(Size::Small)?;
        let back_up = |number: u64, _: &AtomicBool| {
            std::fs::create_dir_all(&target)?;
            rocks.back_up(&target.join(number.to_string()), 1)
        };
        for (name, safety) in
            [("BackupEngine, buffered", Safety::Buffered), ("BackupEngine, sync", Safety::Sync)]
        {
            let case = Case { name, target: &rocks, safety, back_up: &back_up, goals: false };
            pairs(world, report, &case, &target)?;
        }
        rocks.check()?;
        drop(rocks);
        world.clear_rocks(Size::Small)?;
    }
    Ok(())
}

/// Makes a backup, and cancels it when the phase ends before it does.
fn back_up_stone(
    stone: &Stone,
    backend: &std::sync::Arc<dyn siltstone_backup::backend::Backend>,
    compression: Compression,
    stop: &AtomicBool,
) -> Result<()> {
    let mut options = CreateOptions::default();
    options.compression = compression;
    let handle = stone.backups.create(backend, "foreground", options)?;
    while !handle.status().state.is_final() {
        if stop.load(Ordering::SeqCst) {
            handle.cancel();
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    match handle.wait() {
        Err(error) if error.kind() == siltstone_backup::error::ErrorKind::Canceled => {}
        outcome => drop(outcome?),
    }
    let moved = handle.status().progress.bytes_done;
    ensure!(moved > 0 || stop.load(Ordering::SeqCst), "a backup has moved nothing");
    Ok(())
}

fn pairs(
    world: &World,
    report: &mut Report<'_>,
    case: &Case<'_>,
    target: &std::path::Path,
) -> Result<()> {
    let mut seen: [Vec<Latencies>; 2] = [Vec::new(), Vec::new()];
    for round in 0..world.effort.rounds {
        for (backup, seen) in [false, true].into_iter().zip(&mut seen) {
            case.target.settle()?;
            drop_caches()?;
            let seed = (round as u64) << 1 | u64::from(backup);
            let (usage, begun) = (Usage::now()?, AtomicU64::new(0));
            let beside = backup.then_some(case.back_up);
            let latencies = phase(world, case, (seed, beside), &begun)?;
            let foreign_cpu_seconds = (Usage::now()? - usage).foreign();
            let line = PhaseLine {
                section: SECTION,
                what: case.name,
                round: round + 1,
                backup,
                backups_begun: begun.into_inner(),
                foreign_cpu_seconds,
                seen: latencies,
            };
            report.line("phase", &line)?;
            clear(target)?;
            seen.push(latencies);
        }
    }
    judge(report, case, &seen)
}

/// The writers, and the backups beside them.
fn phase(
    world: &World,
    case: &Case<'_>,
    (seed, back_up): (u64, Option<BackUp<'_>>),
    begun: &AtomicU64,
) -> Result<Latencies> {
    let writers = if case.safety == Safety::Sync { SYNC_WRITERS } else { 1 };
    let (time, rows) = (world.effort.phase, world.rows(Size::Small));
    let load = Load { writers, rate: RATE, time, safety: case.safety, rows, seed };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let backups = back_up.map(|back_up| {
            let stop = &stop;
            scope.spawn(move || -> Result<()> {
                while !stop.load(Ordering::SeqCst) {
                    back_up(begun.fetch_add(1, Ordering::SeqCst), stop)?;
                }
                Ok(())
            })
        });
        let latencies = pace::run(case.target, &load);
        stop.store(true, Ordering::SeqCst);
        if let Some(backups) = backups {
            backups.join().expect("backups do not panic")?;
        }
        latencies
    })
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn judge(report: &mut Report<'_>, case: &Case<'_>, seen: &[Vec<Latencies>; 2]) -> Result<()> {
    let [alone, beside] = seen;
    let name = case.name;
    let mid = |phases: &[Latencies], of: fn(&Latencies) -> f64| median(phases.iter().map(of));
    for (phases, when) in [(alone, "alone"), (beside, "with backup")] {
        for (what, of) in [
            ("p50", (|seen| seen.p50_us) as fn(&Latencies) -> f64),
            ("p99", |seen| seen.p99_us),
            ("p99.9", |seen| seen.p999_us),
        ] {
            let what = format!("{name}, {when}: {what}");
            report.finding(SECTION, what, (mid(phases, of), "us"), None)?;
        }
    }
    let goal = |goal| case.goals.then_some(goal);
    let ratios = alone.iter().zip(beside).map(|(a, b)| b.puts_per_second / a.puts_per_second);
    let throughput = (median(ratios), "x");
    let what = format!("{name}: throughput with backup");
    report.finding(SECTION, what, throughput, goal(Goal::AtLeast(0.95)))?;
    let holds = |(a, b): &(&Latencies, &Latencies)| {
        let steady = b.puts_per_second >= 0.95 * a.puts_per_second;
        steady && b.p99_us <= (2.0 * a.p99_us).max(200.0)
    };
    let held = alone.iter().zip(beside).filter(holds).count();
    let share = (held as f64 / alone.len() as f64, "of runs");
    let what = format!("{name}: throughput >= 0.95x and p99 <= max(2x, 200 us)");
    report.finding(SECTION, what, share, goal(Goal::AtLeast(0.8)))?;
    let failed: u64 = alone.iter().chain(beside).map(|seen| seen.failed).sum();
    let failed = (failed as f64, "writes");
    report.finding(SECTION, format!("{name}: failed"), failed, Some(Goal::AtMost(0.0)))
}
