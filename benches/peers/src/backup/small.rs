//! How long a backup under 1 MiB takes, from the call to SUCCESS.

use anyhow::{Result, ensure};
use siltstone_backup::options::CreateOptions;
use siltstone_lsm::options::Options;
use siltstone_peers::{
    report::{Goal, Report},
    rounds::{quantile, timed},
    rows::rows_of,
    stone::{Stone, folder_backend},
};

use crate::world::{World, clear};

const SECTION: &str = "small";

/// Bytes of rows, written anew before each backup.
const BYTES: u64 = 512 << 10;

pub(crate) fn run(world: &mut World, report: &mut Report<'_>) -> Result<()> {
    let (folder, target) = (world.path("store-tiny"), world.path("backup"));
    let rows = rows_of(BYTES);
    let stone = Stone::load(&folder, Options::default(), rows)?;
    let backend = folder_backend(&target)?;
    let mut millis = Vec::new();
    for round in 0..world.effort.small_backups {
        stone.append(0..rows)?;
        let id = format!("small-{round}");
        let (sample, summary) =
            timed(|| Ok(stone.backups.create(&backend, &id, CreateOptions::default())?.wait()?))?;
        ensure!(summary.progress.bytes_done > 0, "a backup has moved nothing");
        report.sample(SECTION, "create to success", round, &sample)?;
        millis.push(sample.seconds * 1000.0);
    }
    let restored = world.path("restored");
    let last = format!("small-{}", world.effort.small_backups - 1);
    Stone::restore(&backend, &last, &restored, rows)?.check()?;
    for path in [&restored, &target] {
        clear(path)?;
    }
    drop(stone);
    clear(&folder)?;
    let middle = (quantile(millis.iter().copied(), 0.5), "ms");
    report.finding(SECTION, "create to success, median", middle, Some(Goal::AtMost(50.0)))?;
    let longest = (quantile(millis, 0.99), "ms");
    report.finding(SECTION, "create to success, p99", longest, Some(Goal::AtMost(50.0)))
}
