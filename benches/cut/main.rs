//! How long a cut holds others up, with few and with many dirty tenants.
//!
//! Two writers commit rows one at a time, one Sync and one Buffered, without a pause. Beside them
//! every tenant gets a row, and then the store is cut; again and again. The engine says how long each
//! cut held the commit queue, and how long what came behind it waited to be acknowledged; the writers
//! say how long their slowest commit beside a cut took, whatever the reason.
//!
//! One JSON object a line on standard output. Without `--bench` (so `cargo test` runs it) a moment of
//! all of this runs and prints nothing.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use hdrhistogram::Histogram;
use serde::Serialize;
use siltstone_benches::key;
use siltstone_io::env::{Clock, SystemClock};
use siltstone_lsm::{
    batch::Batch,
    options::{Durability, Options},
    store::Store,
    types::TreeId,
};

/// Rows of the filling that go in one batch.
const BATCH_ROWS: usize = 256;

/// Bytes of a value.
const VALUE_BYTES: usize = 100;

/// Cuts beside writers.
#[derive(Debug, Parser)]
#[command(name = "cut")]
struct Args {
    /// Cuts of each number of tenants.
    #[arg(long, default_value_t = 300)]
    cuts: u64,
    /// Numbers of tenants that have a new row at each cut.
    #[arg(long, value_delimiter = ',', default_value = "1,10000")]
    tenants: Vec<usize>,
    /// Where the temporary folder is made [default: that of the system]. It should be on the disk
    /// to be measured.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Percentiles in microseconds.
#[derive(Debug, Serialize)]
struct Spread {
    p50: f64,
    p99: f64,
    max: f64,
}

/// One line of the result.
#[derive(Debug, Serialize)]
struct Report {
    tenants: usize,
    cuts: u64,
    /// The commit queue was held: nothing else could be written.
    lead_us: Spread,
    /// From there until the cut was published.
    sync_us: Spread,
    /// Both together.
    held_us: Spread,
    /// From the call of a cut to its segments: a flush of what was dirty.
    cut_us: Spread,
    /// The slowest commit of a writer that ended while a cut was being taken, cut by cut.
    sync_commit_us: Spread,
    buffered_commit_us: Spread,
}

/// The slowest commit since it was last asked.
#[derive(Debug, Default)]
struct Slowest(AtomicU64);

fn main() -> ExitCode {
    let outcome = if std::env::args().any(|argument| argument == "--bench") {
        measure(&Args::parse(), &mut io::stdout())
    } else {
        let args = Args { cuts: 3, tenants: vec![1, 50], dir: None, bench: false };
        measure(&args, &mut io::sink())
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "error: {error:#}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args, out: &mut dyn Write) -> Result<()> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    for tenants in &args.tenants {
        let folder = tempfile::Builder::new().prefix("siltstone-bench-").tempdir_in(&parent);
        let folder =
            folder.with_context(|| format!("no folder can be made in {}", parent.display()))?;
        let report = beside_writers(&folder.path().join("store"), *tenants, args.cuts)?;
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
        folder.close().context("the temporary folder cannot be removed")?;
    }
    Ok(())
}

fn beside_writers(folder: &Path, tenants: usize, cuts: u64) -> Result<Report> {
    let store = Store::open(folder, Options::default())?;
    store.create_collection("rows")?;
    let names: Vec<String> = (0..tenants).map(|number| format!("tenant-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let trees = store.create_tenants("rows", &names)?;
    let writing = store.create_collection("beside")?;
    let stop = AtomicBool::new(false);
    let slowest = [Slowest::default(), Slowest::default()];
    let report = thread::scope(|scope| {
        let writers: Vec<_> = [Durability::Sync, Durability::Buffered]
            .into_iter()
            .zip(&slowest)
            .map(|(durability, slowest)| {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || write(store, writing, durability, stop, slowest))
            })
            .collect();
        let report = take_cuts(&store, &trees, cuts, &slowest);
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("a writer does not panic")?;
        }
        report
    })?;
    store.close()?;
    Ok(report)
}

/// Commits rows one at a time until told to stop.
fn write(
    store: &Store,
    tree: TreeId,
    durability: Durability,
    stop: &AtomicBool,
    slowest: &Slowest,
) -> Result<()> {
    let clock = SystemClock::default();
    for row in (0_u64..).take_while(|_| !stop.load(Ordering::Relaxed)) {
        let begun = clock.monotonic();
        store.put(tree, &key(row % 10_000), &[7; VALUE_BYTES], durability)?;
        slowest.note(clock.monotonic().saturating_sub(begun));
        if durability == Durability::Buffered {
            thread::sleep(Duration::from_micros(50)); // a rate, not as much as fits
        }
    }
    Ok(())
}

fn take_cuts(store: &Store, trees: &[TreeId], cuts: u64, slowest: &[Slowest; 2]) -> Result<Report> {
    let clock = SystemClock::default();
    let mut spreads: [Histogram<u64>; 6] =
        std::array::from_fn(|_| Histogram::new(3).expect("three digits are allowed"));
    for round in 0..cuts {
        for some in trees.chunks(BATCH_ROWS) {
            let mut batch = Batch::new();
            for tree in some {
                batch.put(*tree, &key(round), &[1; VALUE_BYTES])?;
            }
            store.write(batch, Durability::Buffered)?;
        }
        let before = store.metrics();
        for slowest in slowest {
            slowest.take();
        }
        let begun = clock.monotonic();
        drop(store.cut()?);
        let took = nanos(clock.monotonic().saturating_sub(begun));
        let after = store.metrics();
        let lead = after.cut_lead_nanos - before.cut_lead_nanos;
        let sync = after.cut_sync_nanos - before.cut_sync_nanos;
        let [sync_commit, buffered_commit] = slowest.each_ref().map(Slowest::take);
        let all = [lead, sync, lead + sync, took, sync_commit, buffered_commit];
        for (spread, nanos) in spreads.iter_mut().zip(all) {
            spread.record(nanos)?;
        }
    }
    let [lead_us, sync_us, held_us, cut_us, sync_commit_us, buffered_commit_us] =
        spreads.each_ref().map(Spread::of);
    Ok(Report {
        tenants: trees.len(),
        cuts,
        lead_us,
        sync_us,
        held_us,
        cut_us,
        sync_commit_us,
        buffered_commit_us,
    })
}

impl Slowest {
    fn note(&self, took: Duration) {
        self.0.fetch_max(nanos(took), Ordering::Relaxed);
    }

    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Spread {
    fn of(nanos: &Histogram<u64>) -> Self {
        let micros = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e6;
        Self {
            p50: micros(nanos.value_at_quantile(0.5)),
            p99: micros(nanos.value_at_quantile(0.99)),
            max: micros(nanos.max()),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
