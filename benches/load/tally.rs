//! [`Tally`]: what was done and how long each call took. The one door to hdrhistogram.

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Highest latency that is told apart, in nanoseconds (ten minutes).
const NANOS_MAX: u64 = 600_000_000_000;

/// Work of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    rows: u64,
    bytes: u64,
    nanos: Histogram<u64>,
}

/// Work of one kind over a time, in JSON. Samples are calls; a call may move many rows.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) rows: u64,
    pub(crate) rows_per_second: u64,
    pub(crate) bytes_per_second: u64,
    pub(crate) samples: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

impl Tally {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { rows: 0, bytes: 0, nanos: Histogram::new_with_bounds(1, NANOS_MAX, 3)? })
    }

    /// Adds one call.
    pub(crate) fn add(&mut self, nanos: u64, rows: u64, bytes: u64) {
        self.nanos.saturating_record(nanos);
        self.rows += rows;
        self.bytes += bytes;
    }

    /// Adds what another thread did.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<()> {
        self.rows += other.rows;
        self.bytes += other.bytes;
        Ok(self.nanos.add(&other.nanos)?)
    }

    /// Sums it up; nothing if nothing was done.
    #[expect(clippy::cast_precision_loss, reason = "a latency has far fewer digits")]
    pub(crate) fn summary(&self, seconds: f64) -> Option<Summary> {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let quantile = |quantile| micros(self.nanos.value_at_quantile(quantile));
        (self.rows > 0).then(|| Summary {
            rows: self.rows,
            rows_per_second: rate(self.rows, seconds),
            bytes_per_second: rate(self.bytes, seconds),
            samples: self.nanos.len(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: micros(self.nanos.max()),
        })
    }
}

/// So many a second.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is positive, and three digits of it matter"
)]
pub(crate) fn rate(count: u64, seconds: f64) -> u64 {
    (count as f64 / seconds.max(1e-9)) as u64
}
