//! A whole store under load: writers and readers side by side, without and with live backups.
//!
//! The phases, one JSON object a line on standard output; a table follows on standard error:
//!
//! - `device`: writes of one page, each followed by a sync, to judge the rest by.
//! - `load`: all rows, in buffered batches.
//! - `sync` and `buffered`: writers overwrite rows one at a time, readers read any of them.
//! - `sync+backup` and `buffered+backup`: the same beside backups to a folder, one after another.
//! - `scan`: the store is opened again, and every row is compared with what was acknowledged last.
//!
//! Every value that a reader gets is checked ([`world`]); the first wrong one fails the run. Without
//! `--bench` (so `cargo test` runs it) all of this takes a moment and prints nothing.

mod process;
mod report;
mod run;
mod tally;
mod work;
mod world;

use std::{
    fs,
    io::{self, Write},
    num::ParseFloatError,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use siltstone_benches::VALUE_BYTES_MIN;
use siltstone_lsm::options::Durability;

use self::{
    report::{Reporter, Setup},
    run::Task,
    world::World,
};

/// A store under load.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Args {
    /// Seconds of each of the four phases of mixed load.
    #[arg(long, default_value = "10", value_parser = parse_seconds)]
    seconds: Duration,
    /// Writer threads.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=256))]
    writers: u64,
    /// Reader threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(..=256))]
    readers: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 1024,
        value_parser = clap::value_parser!(u64).range(VALUE_BYTES_MIN as u64..=1 << 20))]
    value_bytes: u64,
    /// Rows of the store.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(256..))]
    keys: u64,
    /// Decides which rows are written and read, in which order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the temporary folder is made [default: that of the system]. It should be on the disk
    /// to be measured.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let outcome = if std::env::args().any(|argument| argument == "--bench") {
        measure(&Args::parse(), Reporter::new(&mut io::stdout())).map(|table| say(&table))
    } else {
        measure(&Args::smoke(), Reporter::new(&mut io::sink())).map(drop)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Runs all phases; returns the table for people.
fn measure(args: &Args, mut reporter: Reporter<'_>) -> Result<String> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("siltstone-bench-").tempdir_in(&parent);
    let folder =
        folder.with_context(|| format!("no folder can be made in {}", parent.display()))?;
    reporter.setup(&Setup::new(args, &parent))?;
    let device_time = args.seconds.min(process::DEVICE_TIME);
    reporter.phase(process::measure_device(folder.path(), device_time)?)?;

    let world = World::create(&folder.path().join("store"), args)?;
    reporter.phase(run::phase(&world, "load", Task::Load)?)?;
    let backups = folder.path().join("backups");
    for (alone, beside, durability) in [
        ("sync", "sync+backup", Durability::Sync),
        ("buffered", "buffered+backup", Durability::Buffered),
    ] {
        let mixed = |backups| Task::Mixed { durability, time: args.seconds, backups };
        reporter.phase(run::phase(&world, alone, mixed(None))?)?;
        reporter.phase(run::phase(&world, beside, mixed(Some(&backups)))?)?;
        fs::remove_dir_all(&backups).context("the backups cannot be removed")?;
    }
    let note = world.stream_engine_note();
    let world = world.reopen()?;
    reporter.phase(run::scan(&world)?)?;
    drop(world);
    folder.close().context("the temporary folder cannot be removed")?;
    Ok(reporter.table(note.as_deref()))
}

impl Args {
    /// As little as shows that everything works.
    fn smoke() -> Self {
        Self {
            seconds: Duration::from_millis(50),
            writers: 2,
            readers: 1,
            value_bytes: 100,
            keys: 1000,
            seed: 1,
            dir: None,
            bench: false,
        }
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error: ParseFloatError| error.to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Prints to standard error; a closed one leaves nobody to tell.
fn say(text: &str) {
    write!(io::stderr(), "{text}").unwrap_or_default();
}
