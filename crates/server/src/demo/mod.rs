//! `siltstone demo`: the whole product on real data, and the proof that it worked.
//!
//! Load real files with several durable writers; back the store up at one cut while they go on;
//! restore into an empty store; let a process of its own read that store and compare every row with
//! the cut, and each writer's counters with what was acknowledged.

mod process;
mod report;
mod rows;
mod source;
mod writers;

use std::{
    collections::BTreeMap,
    io::{BufReader, BufWriter, stdout},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use siltstone_backup::{
    api::Backups,
    operation::Summary,
    options::{Compression, CreateOptions, RestoreOptions},
};
use siltstone_io::env::{Clock, Entropy, SystemClock, SystemEntropy};
use siltstone_lsm::{
    options::Options,
    store::{Snapshot, Store},
};

use self::{
    process::{MemoryWatch, cpu_seconds},
    report::{Latency, Report},
    rows::Compared,
    source::Source,
    writers::{Latencies, Phase, Shared, Writers},
};
use crate::{
    cli::{DemoArgs, StoreArgs},
    commands::{
        backup::{folder, follow},
        open,
    },
    ledger::{LEDGERS, TENANT, Trees},
    outcome::{Output, note},
    progress::Bar,
};

/// Backups after which the demo reports with fewer samples.
const BACKUPS_MAX: u64 = 50;

/// Where everything goes.
#[derive(Debug)]
struct Folders {
    root: PathBuf,
    /// Removed at the end: nobody asked for the folder.
    temporary: bool,
}

/// What the backups left to be compared.
struct Backed {
    /// The store at the cut of the first backup.
    snapshot: Snapshot,
    /// Each writer's counter acknowledged before the first backup was asked for, and assigned when
    /// its cut had been taken.
    acknowledged: Vec<u64>,
    assigned: Vec<u64>,
    first: Summary,
    count: u64,
}

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs, output: Output) -> Result<()> {
    let source = Source::list(&args.from, args.size)?;
    let folders = Folders::make(args.dir.as_deref())?;
    let (memory, clock) = (MemoryWatch::start(), SystemClock::default());
    let store = Store::open(&folders.path("store"), options())?;
    let trees = Trees::create(&store)?;
    let (items, bytes, skipped) = (source.len() as u64, source.bytes, source.skipped);
    let writers = Writers::start(&store, trees, source, &folders.path("acks.log"))?;
    let outcome = load(&writers.shared, bytes)
        .and_then(|()| Ok((clock.monotonic(), wait_before(&writers.shared, args.samples)?)))
        .and_then(|(loaded, ())| {
            Ok((loaded, back_up(&store, &writers.shared, &folders, args.samples)?))
        });
    writers.shared.enter(Phase::Stop);
    let shared = Arc::clone(&writers.shared);
    let latencies = writers.join()?;
    let loaded_bytes = shared.loaded_bytes.load(std::sync::atomic::Ordering::SeqCst);
    let acknowledged_commits = Shared::read(&shared.acknowledged).iter().sum();
    drop(shared);
    let (loaded, backed) = outcome?;
    let restored = restore(&folders)?;
    let (compared, commits_at_cut) = compare(&backed, &folders)?;
    let Latencies { before, during } = latencies;
    let report = Report {
        kind: "result",
        equal: true,
        items,
        loaded_bytes,
        load_seconds: loaded.as_secs_f64(),
        skipped_files: skipped,
        compared,
        writers: u64::from(writers::WRITERS),
        acknowledged_commits,
        commits_at_cut,
        latency_before: Latency::from(&before),
        latency_during: Latency::from(&during),
        backups: backed.count,
        backup_bytes: backed.first.progress.bytes_done,
        backup_stored_bytes: backed.first.progress.bytes_stored,
        backup_seconds: backed.first.elapsed.as_secs_f64(),
        restore_bytes: restored.progress.bytes_done,
        restore_seconds: restored.elapsed.as_secs_f64(),
        segments: store.metrics().segments,
        chunks: backed.first.progress.chunks_done,
        streams_fell_back: store.env().disk.stream_engine_note(),
        cpu_seconds: cpu_seconds(),
        rss_anon_peak_bytes: memory.peak(),
    };
    drop(backed);
    store.close()?;
    drop(store);
    output.result(&report.text(), &report)?;
    folders.clean_up(output)
}

/// Memtables of 32 MiB together and 32 MiB of cache, so that the demo stays small at any size.
fn options() -> Options {
    let mut options = Options::default();
    options.memtable_bytes_max = 10 << 20;
    options.sealed_memtables_max = 2;
    options.cache_bytes_max = 32 << 20;
    options
}

/// Waits until the writers have loaded everything.
fn load(shared: &Shared, bytes: u64) -> Result<()> {
    let bar = Bar::bytes("load", Some(bytes));
    while !shared.is_loaded() {
        bar.set(shared.loaded_bytes.load(std::sync::atomic::Ordering::Relaxed));
        check(shared)?;
        thread::sleep(Duration::from_millis(20));
    }
    bar.finish();
    Ok(())
}

/// Lets the writers run without a backup until there are enough samples.
fn wait_before(shared: &Shared, samples_min: u64) -> Result<()> {
    shared.enter(Phase::Before);
    while shared.samples[0].load(std::sync::atomic::Ordering::Relaxed) < samples_min {
        check(shared)?;
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn check(shared: &Shared) -> Result<()> {
    if shared.has_failed() {
        bail!("a writer failed");
    }
    Ok(())
}

/// Makes backups until there are enough samples; the first is the one that is compared.
fn back_up(store: &Store, shared: &Shared, folders: &Folders, samples_min: u64) -> Result<Backed> {
    let backend = folder(&folders.path("backups"))?;
    let backups = Backups::new(store.clone())?;
    let acknowledged = Shared::read(&shared.acknowledged);
    shared.enter(Phase::During);
    let cut = store.cut()?;
    let assigned = Shared::read(&shared.assigned);
    let snapshot = store.snapshot_at(&cut).context("a fresh cut has its view")?;
    let mut create = CreateOptions::default();
    create.compression = Compression::GzipBestSpeed;
    let handle = backups.create_from(cut, &backend, "demo-1", create.clone())?;
    let first = follow(&handle, Some(&Bar::bytes("backup", Some(0))))?;
    let mut count = 1;
    while shared.samples[1].load(std::sync::atomic::Ordering::Relaxed) < samples_min
        && count < BACKUPS_MAX
    {
        check(shared)?;
        count += 1;
        backups.create(&backend, &format!("demo-{count}"), create.clone())?.wait()?;
    }
    Ok(Backed { snapshot, acknowledged, assigned, first, count })
}

fn restore(folders: &Folders) -> Result<Summary> {
    let backend = folder(&folders.path("backups"))?;
    let store = Store::open(&folders.path("restored"), options())?;
    let restoring = Backups::new(store.clone())?;
    let handle = restoring.restore(&backend, "demo-1", RestoreOptions::default())?;
    let summary = follow(&handle, Some(&Bar::bytes("restore", Some(0))))?;
    store.close()?;
    Ok(summary)
}

/// Lets a child process print the restored store's rows and compares them with the cut.
fn compare(backed: &Backed, folders: &Folders) -> Result<(Compared, u64)> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(program)
        .arg("demo-rows")
        .arg("--data")
        .arg(folders.path("restored"))
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the process that reads the restored store")?;
    let pipe = child.stdout.take().context("the child has an output")?;
    let mut counters: BTreeMap<(String, u32), u64> = BTreeMap::new();
    let compared =
        rows::compare(&backed.snapshot, &mut BufReader::new(pipe), |place, tenant, key| {
            let is_ledger = LEDGERS.contains(&place) || tenant == Some(TENANT.1);
            if is_ledger { count(&mut counters, place, key) } else { Ok(()) }
        })?;
    let status = child.wait().context("cannot wait for the child")?;
    ensure!(status.success(), "the process that reads the restored store failed ({status})");
    let mut commits = 0;
    for (writer, (least, most)) in backed.acknowledged.iter().zip(&backed.assigned).enumerate() {
        let writer = u32::try_from(writer)?;
        let last = |place: &str| counters.get(&(place.to_owned(), writer)).copied().unwrap_or(0);
        let [one, two] = LEDGERS.map(last);
        ensure!(
            one == two && two == last(TENANT.0),
            "the counters of writer {writer} differ: {one}, {two}, {}",
            last(TENANT.0)
        );
        ensure!(
            (*least..=*most).contains(&one),
            "writer {writer} has {one} commits in the backup, not {least} to {most}"
        );
        commits += one;
    }
    Ok((compared, commits))
}

/// Counts a ledger row; a writer's counters must be 1, 2, 3...
fn count(counters: &mut BTreeMap<(String, u32), u64>, place: &str, key: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(key).context("ledger keys are text")?;
    let parsed = text.strip_prefix("writer-").and_then(|rest| {
        let (writer, counter) = rest.split_once('/')?;
        Some((writer.parse::<u32>().ok()?, counter.parse::<u64>().ok()?))
    });
    let (writer, counter) = parsed.with_context(|| format!("'{text}' is not a ledger key"))?;
    let last = counters.entry((place.to_owned(), writer)).or_default();
    ensure!(
        counter == *last + 1,
        "{place}: after commit {last} of writer {writer} comes {counter}"
    );
    *last = counter;
    Ok(())
}

/// The child's half: prints all rows of a store.
pub(crate) fn print_rows(args: &StoreArgs) -> Result<()> {
    let store = open(args)?;
    let mut out = BufWriter::new(stdout().lock());
    rows::print(&store.snapshot(), &mut out)?;
    std::io::Write::flush(&mut out).context("cannot write rows")
}

/// A folder that nobody else uses.
fn temporary_folder() -> PathBuf {
    let mut id = [0; 8];
    SystemEntropy.fill(&mut id);
    std::env::temp_dir().join(format!("siltstone-demo-{:016x}", u64::from_le_bytes(id)))
}

impl Folders {
    fn make(wanted: Option<&Path>) -> Result<Self> {
        let root = wanted.map_or_else(temporary_folder, Path::to_path_buf);
        let temporary = wanted.is_none();
        std::fs::create_dir_all(&root)
            .with_context(|| format!("cannot make the folder {}", root.display()))?;
        let taken = ["store", "restored", "backups", "acks.log"].map(|name| root.join(name));
        if let Some(taken) = taken.iter().find(|path| path.exists()) {
            bail!("{} exists already; give an empty folder with --dir", taken.display());
        }
        std::fs::create_dir(root.join("backups")).context("cannot make the backup folder")?;
        Ok(Self { root, temporary })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn clean_up(&self, output: Output) -> Result<()> {
        if self.temporary {
            return std::fs::remove_dir_all(&self.root)
                .with_context(|| format!("cannot remove {}", self.root.display()));
        }
        if !output.json {
            note(format_args!(
                "the stores, the backups and acks.log are in {}",
                self.root.display()
            ));
        }
        Ok(())
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        if self.temporary && self.root.exists() {
            // After a failure: what cannot be removed stays in the temporary folder.
            std::fs::remove_dir_all(&self.root).unwrap_or_default();
        }
    }
}
