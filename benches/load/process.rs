//! What the process costs, and what the disk below it can do.

use std::{fs, fs::OpenOptions, os::unix::fs::FileExt, path::Path, time::Duration};

use anyhow::{Context, Result};
use siltstone_io::env::{Clock, SystemClock};

use crate::{report::Phase, tally::Tally};

/// How long the device is measured.
pub(crate) const DEVICE_TIME: Duration = Duration::from_secs(1);

/// Clock ticks a second in /proc: fixed at 100 for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// What is written before each sync of the device, in bytes.
const PAGE: [u8; 4096] = [0x5a; 4096];

/// Pages of the file that the device is measured with; written ahead, so that no sync grows it.
const PAGES: u64 = 1024;

/// Writes a page and syncs it, again and again: what a durable commit costs without an engine.
pub(crate) fn measure_device(folder: &Path, time: Duration) -> Result<Phase> {
    let (path, clock) = (folder.join("device"), SystemClock::default());
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    let file = file.with_context(|| format!("cannot make {}", path.display()))?;
    let write = |page: u64| file.write_all_at(&PAGE, page % PAGES * PAGE.len() as u64);
    (0..PAGES).try_for_each(write)?;
    file.sync_all()?;
    let mut tally = Tally::new()?;
    let since = |moment| clock.monotonic().saturating_sub(moment);
    let begin = clock.monotonic();
    for page in 0.. {
        if since(begin) >= time {
            break;
        }
        let started = clock.monotonic();
        write(page)?;
        file.sync_data()?;
        tally.add(u64::try_from(since(started).as_nanos())?, 1, PAGE.len() as u64);
    }
    let elapsed = since(begin);
    drop(file);
    fs::remove_file(&path)?;
    Ok(Phase::new("device", elapsed).with_work(&tally, &Tally::new()?, None))
}

/// Anonymous memory of this process in bytes; mapped files are not its own.
pub(crate) fn anonymous_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

/// CPU seconds this process has used, user and system.
pub(crate) fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses and may hold spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}
