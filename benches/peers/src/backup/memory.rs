//! Anonymous memory of a backup, of a small and a four times larger store.
//!
//! Each measurement is a process of its own that opens a store, backs it up into nothing, and looks
//! at its memory every few milliseconds: what an earlier backup left would hide growth.

use std::{
    io::Write,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use siltstone_backup::options::Compression;
use siltstone_peers::{
    machine::{anonymous_bytes, drop_caches},
    report::{Goal, Report},
    rounds::quantile,
    stone::Stone,
};

use crate::{
    sink::sink,
    world::{Size, World},
};

const SECTION: &str = "memory";

/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// What a process prints: its anonymous memory in bytes.
#[derive(Serialize, Deserialize)]
struct Probe {
    before: u64,
    peak_uncompressed: u64,
    peak_gzip: u64,
}

#[derive(Serialize)]
struct ProbeLine<'a> {
    section: &'a str,
    what: &'a str,
    round: usize,
    #[serde(flatten)]
    probe: &'a Probe,
}

#[expect(clippy::cast_precision_loss, reason = "three digits matter")]
pub(crate) fn run(world: &mut World, report: &mut Report<'_>) -> Result<()> {
    let sizes = [(Size::Small, "small store"), (Size::Large, "large store")];
    for (size, _) in sizes {
        world.load(size)?;
        world.close(size);
    }
    let mut grown: [[Vec<f64>; 2]; 2] = Default::default();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    for round in 0..world.effort.slow_rounds {
        for ((size, name), grown) in sizes.into_iter().zip(&mut grown) {
            drop_caches()?;
            let probe = probe_apart(&world.stone_folder(size))?;
            let line = ProbeLine { section: SECTION, what: name, round: round + 1, probe: &probe };
            report.line("probe", &line)?;
            grown[0].push(mib(probe.peak_uncompressed.saturating_sub(probe.before)));
            grown[1].push(mib(probe.peak_gzip.saturating_sub(probe.before)));
        }
    }
    for ((size, name), grown) in sizes.into_iter().zip(grown) {
        let mib = world.bytes(size) >> 20;
        for (grown, how) in grown.into_iter().zip(["uncompressed", "gzip"]) {
            let most = (quantile(grown, 1.0), "MiB");
            let what = format!("{name} ({mib} MiB), {how}: RssAnon grew by");
            report.finding(SECTION, what, most, Some(Goal::AtMost(64.0)))?;
        }
    }
    Ok(())
}

fn probe_apart(store: &Path) -> Result<Probe> {
    let program = std::env::current_exe().context("this program has no path")?;
    let output = Command::new(program).arg("--probe").arg(store).output();
    let output = output.context("cannot start this program again")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the probe failed: {complaint}");
    serde_json::from_slice(&output.stdout).context("the probe says something else")
}

/// What the process apart does.
pub(crate) fn probe(store: &Path, out: &mut dyn Write) -> Result<()> {
    let stone = Stone::open(store, 0)?;
    let probe = Probe {
        before: anonymous_bytes(),
        peak_uncompressed: peak(|| back_up(&stone, Compression::None))?,
        peak_gzip: peak(|| back_up(&stone, Compression::GzipDefault))?,
    };
    serde_json::to_writer(out, &probe)?;
    Ok(())
}

fn back_up(stone: &Stone, compression: Compression) -> Result<()> {
    let (backend, counts) = sink()?;
    stone.back_up(&backend, "memory", compression)?;
    ensure!(counts.chunk_bytes() > 0, "nothing was uploaded");
    Ok(())
}

/// The most anonymous memory while some work runs.
fn peak(work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let (stop, most) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                most.fetch_max(anonymous_bytes(), Ordering::SeqCst);
                thread::sleep(INTERVAL);
            }
        });
        let outcome = work();
        most.fetch_max(anonymous_bytes(), Ordering::SeqCst);
        stop.store(true, Ordering::SeqCst);
        outcome
    })?;
    Ok(most.into_inner())
}
