//! `cargo xtask bench backup`: backups and restores of Siltstone, against the device, RocksDB's
//! `BackupEngine`, restic, and `tar` through a compressor; each section with its goals.
//!
//! JSON lines go to standard output, tables and progress to standard error, a plot to a file. A
//! wrong value fails the run; a missed goal is only said.

mod codecs;
mod folder;
mod foreground;
mod incremental;
mod memory;
mod panels;
mod read;
mod restore;
mod sink;
mod small;
mod tenants;
mod world;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use serde::Serialize;
use siltstone_peers::{machine, plot, programs, report::Report};

use self::world::{Effort, World};

/// Compares backups with the device and with peers.
#[derive(Debug, Parser)]
#[command(name = "backup")]
struct Args {
    /// Only these sections, by comma.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Section>,
    /// Bytes of rows of the large store, such as 4GiB or 512MiB [default: 4GiB, quick 1GiB].
    #[arg(long, value_parser = parse_bytes)]
    size: Option<u64>,
    /// Fewer rounds on a smaller store: some ten minutes.
    #[arg(long)]
    quick: bool,
    /// Where the temporary folder is made, on the disk to be measured; three times the size must be
    /// free [default: that of the system].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the plot goes.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// One measurement of memory, in a process of its own.
    #[arg(long, hide = true)]
    probe: Option<PathBuf>,
}

/// A part of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Section {
    /// An uncompressed backup into nothing, against the sequential read of the device.
    Read,
    /// Backups into a folder, against a copy, `BackupEngine`, restic and tar.
    Folder,
    /// Compression, against the codecs alone.
    Codecs,
    /// Writers at a fixed rate while a backup runs.
    Foreground,
    /// Restores, against writing new files, `BackupEngine` and restic.
    Restore,
    /// A second backup, with nothing and with little changed.
    Incremental,
    /// Anonymous memory, of a small and a large store.
    Memory,
    /// A backup under 1 MiB.
    Small,
    /// Thousands of tenants with small trees.
    Tenants,
}

#[derive(Serialize)]
struct Setup<'a> {
    size_bytes: u64,
    rounds: usize,
    cores: usize,
    load: f64,
    cache: &'static str,
    peers: &'a [&'static str],
    sections: Vec<Section>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match &args.probe {
        Some(store) => memory::probe(store, &mut io::stdout()),
        None => measure(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<()> {
    let effort = if args.quick { Effort::quick(args.size) } else { Effort::full(args.size) };
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("siltstone-bench-").tempdir_in(&parent);
    let folder =
        folder.with_context(|| format!("no folder can be made in {}", parent.display()))?;
    let mut out = io::stdout();
    let mut report = Report::new(&mut out);
    let chosen = |section: &&Section| args.only.is_empty() || args.only.contains(section);
    let sections: Vec<Section> = Section::value_variants().iter().filter(chosen).copied().collect();
    let mut peers = Vec::new();
    peers.extend(cfg!(feature = "rocksdb").then_some("rocksdb"));
    peers.extend(programs::exists("restic", "version").then_some("restic"));
    let setup = Setup {
        size_bytes: effort.large_bytes,
        rounds: effort.rounds,
        cores: machine::cores(),
        load: machine::load(),
        cache: if machine::drop_caches()? { "cold" } else { "as it was" },
        peers: &peers,
        sections: sections.clone(),
    };
    report.line("setup", &setup)?;
    say(format_args!("page cache: {}; peers: tar, {}", setup.cache, peers.join(", ")));
    let mut world = World::new(folder.path().to_path_buf(), effort, peers);
    for section in sections {
        say(format_args!("-- {section:?}"));
        run(section, &mut world, &mut report)?;
    }
    if let Some(path) = &args.plot {
        plot::draw(path, &panels::of(&report))?;
        say(format_args!("the plot is in {}", path.display()));
    }
    drop(world);
    folder.close().context("the temporary folder cannot be removed")?;
    say(report.tables());
    Ok(())
}

fn run(section: Section, world: &mut World, report: &mut Report<'_>) -> Result<()> {
    match section {
        Section::Read => read::run(world, report),
        Section::Folder => folder::run(world, report),
        Section::Codecs => codecs::run(world, report),
        Section::Foreground => foreground::run(world, report),
        Section::Restore => restore::run(world, report),
        Section::Incremental => incremental::run(world, report),
        Section::Memory => memory::run(world, report),
        Section::Small => small::run(world, report),
        Section::Tenants => tenants::run(world, report),
    }
}

fn parse_bytes(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        unit => bail!("'{unit}' is no unit: B, KiB, MiB or GiB"),
    };
    let number: u64 = digits.parse().with_context(|| format!("'{digits}' is no number"))?;
    let bytes = number.checked_mul(1 << shift).context("that is too much")?;
    anyhow::ensure!(
        bytes >= world::SIZE_BYTES_MIN,
        "the least is {} MiB",
        world::SIZE_BYTES_MIN >> 20
    );
    Ok(bytes)
}

/// Prints to standard error; a closed one leaves nobody to tell.
fn say(text: impl std::fmt::Display) {
    writeln!(io::stderr(), "{text}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_a_least() {
        assert_eq!(parse_bytes("4GiB").unwrap(), 4 << 30);
        assert_eq!(parse_bytes("67108864").unwrap(), 64 << 20);
        for bad in ["", "GiB", "4GB", "1KiB", "99999999999GiB", "-1"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sections_are_chosen_by_comma() {
        let args = Args::parse_from(["backup", "--only", "read,tenants", "--quick"]);
        assert_eq!(args.only, [Section::Read, Section::Tenants]);
    }
}
