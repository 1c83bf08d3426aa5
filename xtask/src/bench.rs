//! `cargo xtask bench`: starts the bench targets of `siltstone-benches`, in release; and the
//! comparisons with peers (`peers`).
//!
//! The benchmarks are programs of their own, so that building xtask builds no engine. What is not
//! given here has its default there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{
    peers,
    run::{program, shown},
};

/// What to measure, and how.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    comparison: Option<Comparison>,
    /// Only this [default: both].
    #[arg(long)]
    only: Option<Target>,
    /// Seconds of each of the four phases of mixed load [default: 10].
    #[arg(long)]
    seconds: Option<f64>,
    /// Writer threads of the load [default: 4].
    #[arg(long)]
    writers: Option<u64>,
    /// Reader threads of the load [default: 2].
    #[arg(long)]
    readers: Option<u64>,
    /// Bytes of a value of the load [default: 1024].
    #[arg(long)]
    value_bytes: Option<u64>,
    /// Rows of the store under load [default: 200000].
    #[arg(long)]
    keys: Option<u64>,
    /// Decides which rows the load touches, in which order [default: 1].
    #[arg(long)]
    seed: Option<u64>,
    /// Where the load makes its temporary folder, on the disk to be measured [default: that of the
    /// system].
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// A comparison with peers, in a package of its own.
#[derive(Debug, clap::Subcommand)]
enum Comparison {
    /// Backups and restores against the device, RocksDB's `BackupEngine`, restic and tar, with
    /// goals: JSON lines, then tables, and a plot.
    Backup(peers::Args),
}

/// A bench target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// A store under load.
    Load,
    /// Its parts, with criterion.
    Micro,
}

/// Runs what was asked for.
pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(Comparison::Backup(args)) = &args.comparison {
        return peers::backup(args);
    }
    if args.only != Some(Target::Micro) {
        bench("load", &args.of_load()?)?;
    }
    if args.only != Some(Target::Load) {
        bench("micro", &[])?;
    }
    Ok(())
}

fn bench(target: &str, arguments: &[String]) -> Result<()> {
    let mut command = program("cargo", &["bench", "-p", "siltstone-benches", "--bench", target]);
    command.arg("--").args(arguments);
    shown(command)
}

impl Args {
    /// What the load gets to hear.
    fn of_load(&self) -> Result<Vec<String>> {
        let numbers = [
            ("--writers", self.writers),
            ("--readers", self.readers),
            ("--value-bytes", self.value_bytes),
            ("--keys", self.keys),
            ("--seed", self.seed),
        ];
        let numbers = numbers.map(|(flag, value)| (flag, value.map(|value| value.to_string())));
        let seconds = ("--seconds", self.seconds.map(|seconds| seconds.to_string()));
        // The benchmark runs in a folder of cargo's choice, so the path must not depend on it.
        let dir = ("--dir", self.dir.as_deref().map(absolute).transpose()?);
        let given = numbers.into_iter().chain([seconds, dir]);
        let given = given.filter_map(|(flag, value)| Some([flag.to_owned(), value?]));
        Ok(given.flatten().collect())
    }
}

/// The whole path of a folder that exists.
pub(crate) fn absolute(path: &Path) -> Result<String> {
    let found = path.canonicalize();
    let found = found.with_context(|| format!("there is no folder {}", path.display()))?;
    found.into_os_string().into_string().ok().context("the path of the folder is not UTF-8")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn of_load(line: &str) -> Vec<String> {
        Cli::parse_from(line.split(' ')).args.of_load().unwrap()
    }

    #[test]
    fn only_what_is_given_is_handed_on() {
        assert!(of_load("bench").is_empty());
        assert_eq!(
            of_load("bench --seconds 0.5 --readers 0 --only load"),
            ["--readers", "0", "--seconds", "0.5"]
        );
        assert_eq!(of_load("bench --dir /"), ["--dir", "/"]);
    }
}
