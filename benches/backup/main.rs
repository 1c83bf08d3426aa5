//! What the data path of backup and restore costs, beside what the disk and the codecs can do.
//!
//! A store is built, then pairs of measurements follow each other (A B A B, since the speed of disks
//! wanders), each on a cold page cache where that may be dropped. One JSON object a line on standard
//! output:
//!
//! - `read`: the store's files, read in sequence past the page cache; against `sink`, an
//!   uncompressed backup into a backend that forgets.
//! - `copy`: the same files read, written and synced past the page cache; against `folder`, an
//!   uncompressed backup into a folder.
//! - `codec`: one thread with one encoder over the store's own bytes, in memory; against `packed`, a
//!   compressed backup into the backend that forgets.
//! - `write`: new files of as many bytes, written and synced; against `restore`, from memory.
//!
//! `cpu_process` and `cpu_machine` are processor seconds for a GiB, of this process and of the whole
//! machine. Without `--bench` (so `cargo test` runs it) all of this takes a moment and prints
//! nothing.

mod measure;
mod sink;
mod world;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;
use siltstone_backup::options::Compression;

use self::{
    measure::{Meter, Reporter},
    world::World,
};

/// The data path of backup and restore.
#[derive(Clone, Debug, Parser)]
#[command(name = "backup")]
struct Args {
    /// MiB of the store.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..))]
    size_mib: u64,
    /// MiB after which a segment ends; as many as the store has make it one segment.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    segment_mib: u64,
    /// Pairs of each kind of measurement.
    #[arg(long, default_value_t = 3)]
    pairs: u32,
    /// Percent of the processors that backups and restores may use.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..=80))]
    cpu_percent: u8,
    /// Only this kind of measurement: read, copy, codec or write [default: all].
    #[arg(long)]
    only: Option<String>,
    /// Compressions to measure [default: all].
    #[arg(long)]
    compression: Vec<Compression>,
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
        run(&Args::parse(), &mut io::stdout())
    } else {
        run(&Args::smoke(), &mut io::sink())
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error leaves nobody to tell.
            writeln!(io::stderr(), "error: {error:#}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

/// Runs all measurements that are asked for.
fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new()
        .prefix("siltstone-bench-")
        .tempdir_in(&parent)
        .context("folder")?;
    let mut reporter = Reporter::new(out);
    let world = World::build(folder.path(), args)?;
    reporter.setup(&world, args)?;
    let asked = |kind: &str| args.only.as_deref().is_none_or(|only| only == kind);
    for _ in 0..args.pairs {
        if asked("read") {
            let read = Meter::run("read", || world.read_files())?;
            let sink = || world.back_up_to_sink(Compression::None, args.cpu_percent);
            reporter.pair((read, Meter::run("sink", sink)?))?;
        }
        if asked("copy") {
            let copy = Meter::run("copy", || world.copy_files())?;
            let folder = Meter::run("folder", || world.back_up_to_folder(args.cpu_percent))?;
            reporter.pair((copy, folder))?;
        }
        if asked("write") {
            world.prepare_restore()?;
            let write = Meter::run("write", || world.write_files())?;
            let restore = Meter::run("restore", || world.restore(args.cpu_percent))?;
            reporter.pair((write, restore))?;
        }
        if asked("codec") {
            let packed = Compression::ALL.into_iter().filter(|one| *one != Compression::None);
            for compression in packed {
                if args.compression.is_empty() || args.compression.contains(&compression) {
                    let alone =
                        Meter::run(&format!("codec {compression}"), || world.encode(compression))?;
                    let packed = Meter::run(&format!("packed {compression}"), || {
                        world.back_up_to_sink(compression, args.cpu_percent)
                    })?;
                    reporter.pair((alone, packed))?;
                }
            }
        }
        world.clean_up()?;
    }
    drop(world);
    folder.close().context("the temporary folder cannot be removed")
}

impl Args {
    /// As little as shows that everything works.
    fn smoke() -> Self {
        Self {
            size_mib: 2,
            segment_mib: 1,
            pairs: 1,
            cpu_percent: 80,
            only: None,
            compression: vec![Compression::ZstdBestSpeed],
            dir: None,
            bench: false,
        }
    }
}
