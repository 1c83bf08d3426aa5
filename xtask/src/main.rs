//! `cargo xtask`: everything that is done to the project beside building it.

mod backends;
mod bench;
mod faults;
mod layers;
mod peers;
mod run;
mod servers;
mod tasks;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tests, checks and measures Siltstone.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// What decides whether a change lands: tidy, format, lints, all tests, real object stores.
    /// Says what it skipped.
    Test {
        #[command(subcommand)]
        part: Option<TestPart>,
    },
    /// `test`, then documentation and the dependency policy.
    Ci,
    /// Checks the rules of the house: layers, one door a dependency, file length, headers.
    Tidy,
    /// Runs the property tests with fresh seeds; prints how to replay a failure.
    Prop {
        /// Seed of the first round [default: a fresh one].
        #[arg(long)]
        seed: Option<u64>,
        /// Cases a round and property.
        #[arg(long, default_value_t = 256)]
        cases: u32,
        /// How long to go on; without it one round is run.
        #[arg(long)]
        minutes: Option<u64>,
    },
    /// Fuzzes a target of fuzz/ (needs a nightly toolchain).
    Fuzz {
        /// `segment` or `wal_file`.
        target: String,
        /// How long.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Kills `siltstone demo` at random moments and checks that nothing acknowledged is lost.
    Kills {
        /// How many times.
        #[arg(long, default_value_t = 100)]
        count: u32,
    },
    /// Runs the thirty fault scenarios of backups; prints how each ended.
    Faults {
        /// Scenarios that this machine cannot play (no root, no loop devices) are no error.
        #[arg(long)]
        allow_skips: bool,
    },
    /// Measures a store under load, without and with live backups (JSON lines, then a table), then
    /// its parts with criterion. See docs/performance.md.
    Bench(bench::Args),
}

/// A part of the tests.
#[derive(Clone, Copy, Debug, Subcommand)]
enum TestPart {
    /// The suite of backends and whole backups, on real object stores that are installed and
    /// started on 127.0.0.1. Prints `server: n of n`.
    Backends {
        /// This server alone.
        #[arg(long)]
        only: Option<servers::Server>,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Test { part: None } => tasks::test(),
        Task::Test { part: Some(TestPart::Backends { only }) } => backends::run(only),
        Task::Ci => tasks::ci(),
        Task::Tidy => tasks::tidy(),
        Task::Prop { seed, cases, minutes } => tasks::prop(seed, cases, minutes),
        Task::Fuzz { target, seconds } => tasks::fuzz(&target, seconds),
        Task::Kills { count } => tasks::kills(count),
        Task::Faults { allow_skips: true } => faults::run(faults::Skips::Allowed),
        Task::Faults { allow_skips: false } => faults::run(faults::Skips::Refused),
        Task::Bench(args) => bench::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
