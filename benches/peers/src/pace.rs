//! Writers that keep a rate, whatever the store does: an open loop.
//!
//! Each put has a moment at which it is meant to begin, given by the rate alone; its latency counts
//! from then. So a store that stops for a second is charged with every put that waited meanwhile,
//! not with one (no coordinated omission). One writer waits for its moments by looking at the clock
//! and so takes a processor for itself; more than one sleep, and each latency includes the time in
//! which the kernel wakes them (some 50 us), with and without a backup alike.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;
use siltstone_benches::mix;

use crate::{
    machine::now,
    rows::{key, value},
};

/// When a put returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Safety {
    /// After the write to the operating system.
    Buffered,
    /// After the sync of the log.
    Sync,
}

/// A store that takes rows from many threads.
pub trait Puts: Sync {
    /// Sets one row.
    ///
    /// # Errors
    /// Those of the store.
    fn put(&self, key: &[u8], value: &[u8], safety: Safety) -> Result<()>;

    /// Waits until what earlier puts left to flush and compaction is done.
    ///
    /// # Errors
    /// Those of the store.
    fn settle(&self) -> Result<()>;
}

/// The writers.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Threads.
    pub writers: u64,
    /// Puts a second of all of them together.
    pub rate: u64,
    /// How long.
    pub time: Duration,
    /// When puts return.
    pub safety: Safety,
    /// Rows are overwritten below this number, in an order that looks random.
    pub rows: u64,
    /// Decides the order.
    pub seed: u64,
}

/// What the writers saw.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latencies {
    /// Puts that succeeded.
    pub puts: u64,
    /// Puts that failed.
    pub failed: u64,
    /// Puts a second, until the last one returned.
    pub puts_per_second: f64,
    /// Percentiles from the intended start, in microseconds.
    pub p50_us: f64,
    /// As above.
    pub p99_us: f64,
    /// As above.
    pub p999_us: f64,
    /// The longest, in microseconds.
    pub max_us: f64,
}

/// Nanoseconds that a histogram can hold: a minute.
const NANOS_MAX: u64 = 60_000_000_000;

/// Runs the writers until each has made its puts.
///
/// # Errors
/// When every put fails, with the first error; one that fails now and then is counted.
///
/// # Panics
/// When a writer does.
pub fn run(target: &dyn Puts, load: &Load) -> Result<Latencies> {
    let failed = AtomicU64::new(0);
    let start = now() + Duration::from_millis(5);
    let outcomes: Vec<Result<Histogram<u64>>> = thread::scope(|scope| {
        let spawn = |writer| {
            let failed = &failed;
            scope.spawn(move || write(target, load, (writer, start), failed))
        };
        let writers: Vec<_> = (0..load.writers).map(spawn).collect();
        writers.into_iter().map(|writer| writer.join().expect("writers do not panic")).collect()
    });
    let seconds = now().saturating_sub(start).as_secs_f64();
    let mut all = histogram()?;
    for outcome in outcomes {
        all.add(outcome?).context("histograms are alike")?;
    }
    Ok(summary(&all, failed.into_inner(), seconds))
}

fn write(
    target: &dyn Puts,
    load: &Load,
    (writer, start): (u64, Duration),
    failed: &AtomicU64,
) -> Result<Histogram<u64>> {
    let mut nanos = histogram()?;
    let (mut first_error, mut number) = (None, writer);
    let waiting = if load.writers == 1 { Waiting::Looking } else { Waiting::Sleeping };
    loop {
        let due = Duration::from_nanos(number * 1_000_000_000 / load.rate);
        if due >= load.time {
            break;
        }
        let index = mix(load.seed ^ mix(number)) % load.rows;
        let row = value(index, load.seed + 2);
        wait_until(start + due, waiting);
        match target.put(&key(index), &row, load.safety) {
            Ok(()) => {
                let took = now().saturating_sub(start + due).as_nanos();
                nanos.saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
            }
            Err(error) => {
                failed.fetch_add(1, Ordering::Relaxed);
                first_error.get_or_insert(error);
            }
        }
        number += load.writers;
    }
    match first_error {
        Some(error) if nanos.is_empty() => Err(error.context("no put succeeded")),
        _ => Ok(nanos),
    }
}

/// How a writer waits for its moment.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    Looking,
    Sleeping,
}

fn wait_until(moment: Duration, waiting: Waiting) {
    while let Some(left) = moment.checked_sub(now()).filter(|left| !left.is_zero()) {
        match waiting {
            Waiting::Looking => std::hint::spin_loop(),
            Waiting::Sleeping => thread::sleep(left),
        }
    }
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, NANOS_MAX, 3).context("the bounds are valid")
}

#[expect(clippy::cast_precision_loss, reason = "three digits matter")]
fn summary(nanos: &Histogram<u64>, failed: u64, seconds: f64) -> Latencies {
    let micros = |quantile| nanos.value_at_quantile(quantile) as f64 / 1000.0;
    Latencies {
        puts: nanos.len(),
        failed,
        puts_per_second: nanos.len() as f64 / seconds,
        p50_us: micros(0.5),
        p99_us: micros(0.99),
        p999_us: micros(0.999),
        max_us: nanos.max() as f64 / 1000.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes every put at once, but stops all of them for a while at one.
    struct Stopping(AtomicU64);

    impl Puts for Stopping {
        fn put(&self, _: &[u8], _: &[u8], _: Safety) -> Result<()> {
            if self.0.fetch_add(1, Ordering::SeqCst) == 100 {
                thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        }

        fn settle(&self) -> Result<()> {
            Ok(())
        }
    }

    struct Failing;

    impl Puts for Failing {
        fn put(&self, _: &[u8], _: &[u8], _: Safety) -> Result<()> {
            anyhow::bail!("full")
        }

        fn settle(&self) -> Result<()> {
            Ok(())
        }
    }

    fn load() -> Load {
        let time = Duration::from_millis(500);
        Load { writers: 1, rate: 1000, time, safety: Safety::Buffered, rows: 10, seed: 1 }
    }

    #[test]
    fn one_stop_is_charged_to_every_put_that_waited() {
        let seen = run(&Stopping(AtomicU64::new(0)), &load()).unwrap();
        assert_eq!((seen.puts, seen.failed), (500, 0));
        // About 100 of 500 puts were due while the store stood still.
        assert!(seen.p99_us > 50_000.0, "{seen:?}");
    }

    #[test]
    fn failed_puts_are_told() {
        let error = run(&Failing, &load()).expect_err("all puts fail");
        assert!(format!("{error:#}").contains("full"), "{error:#}");
    }
}
