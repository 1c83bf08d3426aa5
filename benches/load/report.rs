//! What is reported: one JSON object a phase, and a table of all of them for people.

use std::{
    fmt::Write as _,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use serde::Serialize;
use siltstone_lsm::store::Metrics;

use crate::{
    Args,
    tally::{Summary, Tally, rate},
    work::Moved,
};

/// What was asked for, and where it ran.
#[derive(Debug, Serialize)]
pub(crate) struct Setup {
    #[serde(rename = "type")]
    kind: &'static str,
    seconds: f64,
    writers: u64,
    readers: u64,
    keys: u64,
    value_bytes: u64,
    seed: u64,
    dir: PathBuf,
}

/// One phase; what does not apply is left out.
#[derive(Debug, Serialize)]
pub(crate) struct Phase {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "phase")]
    name: &'static str,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    writes: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backups: Option<Backups>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<Engine>,
}

/// The backups of a phase. The rate is of bytes read and uploaded, over their own time.
#[derive(Debug, Serialize)]
struct Backups {
    count: u64,
    seconds: f64,
    bytes: u64,
    reused_bytes: u64,
    stored_bytes: u64,
    bytes_per_second: u64,
}

/// What the phase made the engine do, and what it cost.
#[derive(Debug, Serialize)]
struct Engine {
    /// Writes of the log, each of which carried one commit or more.
    groups: u64,
    /// Syncs of the log.
    syncs: u64,
    flushes: u64,
    flushed_bytes: u64,
    compactions: u64,
    compacted_bytes: u64,
    stalls: u64,
    stall_seconds: f64,
    /// At the end of the phase.
    segments: u64,
    segment_bytes: u64,
    cpu_seconds: f64,
    rss_anon_peak_bytes: u64,
}

/// Writes the lines, and keeps the phases for the table.
pub(crate) struct Reporter<'a> {
    out: &'a mut dyn Write,
    phases: Vec<Phase>,
}

impl Setup {
    pub(crate) fn new(args: &Args, dir: &Path) -> Self {
        Self {
            kind: "setup",
            seconds: args.seconds.as_secs_f64(),
            writers: args.writers,
            readers: args.readers,
            keys: args.keys,
            value_bytes: args.value_bytes,
            seed: args.seed,
            dir: dir.to_path_buf(),
        }
    }
}

impl Phase {
    pub(crate) fn new(name: &'static str, time: Duration) -> Self {
        let seconds = time.as_secs_f64();
        Self {
            kind: "phase",
            name,
            seconds,
            writes: None,
            reads: None,
            backups: None,
            engine: None,
        }
    }

    /// Adds what writers, readers and backups did.
    pub(crate) fn with_work(self, writes: &Tally, reads: &Tally, moved: Option<&Moved>) -> Self {
        let backups = moved.map(|moved| Backups {
            count: moved.count,
            seconds: moved.time.as_secs_f64(),
            bytes: moved.bytes,
            reused_bytes: moved.reused_bytes,
            stored_bytes: moved.stored_bytes,
            bytes_per_second: rate(moved.bytes, moved.time.as_secs_f64()),
        });
        let (writes, reads) = (writes.summary(self.seconds), reads.summary(self.seconds));
        Self { writes, reads, backups, ..self }
    }

    /// Adds what the engine did, and CPU seconds and peak of memory in bytes.
    pub(crate) fn with_costs(self, before: &Metrics, after: &Metrics, costs: (f64, u64)) -> Self {
        let stalled = Duration::from_nanos(after.stall_nanos - before.stall_nanos);
        let engine = Engine {
            groups: after.groups - before.groups,
            syncs: after.syncs - before.syncs,
            flushes: after.flushes - before.flushes,
            flushed_bytes: after.flushed_bytes - before.flushed_bytes,
            compactions: after.compactions - before.compactions,
            compacted_bytes: after.compacted_bytes - before.compacted_bytes,
            stalls: after.stalls - before.stalls,
            stall_seconds: stalled.as_secs_f64(),
            segments: after.segments,
            segment_bytes: after.segment_bytes,
            cpu_seconds: costs.0,
            rss_anon_peak_bytes: costs.1,
        };
        Self { engine: Some(engine), ..self }
    }

    /// The line of the table, as [`HEADER`] names its columns.
    fn line(&self) -> String {
        let mut line = format!("{:<16}{:>6.1}", self.name, self.seconds);
        for side in [&self.writes, &self.reads] {
            line += &side.as_ref().map_or_else(|| format!("{:>44}", "-"), columns);
        }
        if let Some(backups) = &self.backups {
            let rate = mebibytes(backups.bytes_per_second);
            push(&mut line, format_args!("{:>5} x {rate:>6.1}", backups.count));
        } else {
            push(&mut line, format_args!("{:>14}", "-"));
        }
        if let Some(engine) = &self.engine {
            let Engine { stalls, stall_seconds, cpu_seconds, rss_anon_peak_bytes, .. } = engine;
            let memory = mebibytes(*rss_anon_peak_bytes);
            let stalled = format!("{stalls}/{stall_seconds:.1}s");
            push(&mut line, format_args!("{stalled:>12}{cpu_seconds:>7.1}{memory:>8.0}"));
        }
        line
    }
}

/// Columns of [`columns`].
const SIDE: &str = "    rows/s  MiB/s     p50     p99   p99.9      max";

fn columns(side: &Summary) -> String {
    let Summary { rows_per_second, bytes_per_second, p50_us, p99_us, p999_us, max_us, .. } = side;
    let rate = mebibytes(*bytes_per_second);
    format!("{rows_per_second:>10}{rate:>7.1}{p50_us:>8.0}{p99_us:>8.0}{p999_us:>8.0}{max_us:>9.0}")
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn push(line: &mut String, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("memory does not fail");
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, phases: Vec::new() }
    }

    /// Says what is about to run.
    pub(crate) fn setup(&mut self, setup: &Setup) -> Result<()> {
        self.line(setup)
    }

    /// Says what a phase has measured.
    pub(crate) fn phase(&mut self, phase: Phase) -> Result<()> {
        self.line(&phase)?;
        self.phases.push(phase);
        Ok(())
    }

    fn line(&mut self, object: &impl Serialize) -> Result<()> {
        writeln!(self.out, "{}", serde_json::to_string(object)?)?;
        Ok(self.out.flush()?)
    }

    /// All phases, for people.
    pub(crate) fn table(&self, note: Option<&str>) -> String {
        let width = SIDE.len();
        let mut table = format!(
            "\n{:22}{:^width$}{:^width$}{:>14}{:>12}{:>7}{:>8}\n{:<16}{:>6}{SIDE}{SIDE}{:>14}{:>12}{:>7}{:>8}\n",
            "",
            "writes (us)",
            "reads (us)",
            "backups",
            "stalls",
            "CPU",
            "memory",
            "phase",
            "s",
            "n x MiB/s",
            "n/time",
            "s",
            "MiB",
        );
        for phase in &self.phases {
            table += &phase.line();
            table.push('\n');
        }
        if let Some(note) = note {
            push(&mut table, format_args!("note: {note}\n"));
        }
        table
    }
}
