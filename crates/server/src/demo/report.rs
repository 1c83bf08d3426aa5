//! What `demo` reports.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    demo::rows::Compared,
    progress::show_bytes,
    units::{counted, show_rate},
};

/// Everything that was measured and compared.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) equal: bool,
    pub(crate) items: u64,
    pub(crate) loaded_bytes: u64,
    pub(crate) load_seconds: f64,
    pub(crate) skipped_files: u64,
    pub(crate) compared: Compared,
    pub(crate) writers: u64,
    pub(crate) acknowledged_commits: u64,
    pub(crate) commits_at_cut: u64,
    pub(crate) latency_before: Latency,
    pub(crate) latency_during: Latency,
    pub(crate) backups: u64,
    pub(crate) backup_bytes: u64,
    pub(crate) backup_stored_bytes: u64,
    pub(crate) backup_seconds: f64,
    pub(crate) restore_bytes: u64,
    pub(crate) restore_seconds: f64,
    pub(crate) segments: u64,
    pub(crate) chunks: u64,
    /// Why streams did not run on io_uring with direct I/O, if they did not.
    pub(crate) streams_fell_back: Option<String>,
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_anon_peak_bytes: u64,
}

/// Percentiles of commit latency in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    samples: u64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
}

impl From<&Histogram<u64>> for Latency {
    #[expect(clippy::cast_precision_loss, reason = "a latency has far fewer digits")]
    fn from(nanos: &Histogram<u64>) -> Self {
        let micros = |quantile| nanos.value_at_quantile(quantile) as f64 / 1e3;
        let (p50_us, p99_us, p999_us) = (micros(0.5), micros(0.99), micros(0.999));
        Self { samples: nanos.len(), p50_us, p99_us, p999_us }
    }
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { samples, p50_us, p99_us, p999_us } = self;
        write!(
            f,
            "p50 {p50_us:.0} us, p99 {p99_us:.0} us, p99.9 {p999_us:.0} us ({samples} samples)"
        )
    }
}

impl Report {
    /// The report as people read it.
    pub(crate) fn text(&self) -> String {
        let seconds = Duration::from_secs_f64;
        format!(
            "loaded     {} files and records, {}, {} ({} larger files skipped)\n\
             commits    {} acknowledged by {} writers, {} of them in the cut\n\
             latency    before the backup: {}\n           \
                        during the backup: {}\n\
             backup     {} at one cut, {} stored, {} ({} in all)\n\
             restore    {} into an empty store, {}\n\
             compared   {} rows of {} collections and tenants, {}: all equal\n\
             layout     {}, {}\n\
             streams    {}\n\
             cost       {:.1} CPU seconds, {} of memory of its own at the peak",
            self.items,
            show_bytes(self.loaded_bytes),
            show_rate(self.loaded_bytes, seconds(self.load_seconds)),
            self.skipped_files,
            self.acknowledged_commits,
            self.writers,
            self.commits_at_cut,
            self.latency_before,
            self.latency_during,
            show_bytes(self.backup_bytes),
            show_bytes(self.backup_stored_bytes),
            show_rate(self.backup_bytes, seconds(self.backup_seconds)),
            counted(self.backups, "backup"),
            show_bytes(self.restore_bytes),
            show_rate(self.restore_bytes, seconds(self.restore_seconds)),
            self.compared.rows,
            self.compared.trees,
            show_bytes(self.compared.bytes),
            counted(self.segments, "segment"),
            counted(self.chunks, "chunk"),
            self.streams_fell_back.as_deref().unwrap_or("direct I/O on io_uring"),
            self.cpu_seconds,
            show_bytes(self.rss_anon_peak_bytes),
        )
    }
}
