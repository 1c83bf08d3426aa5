//! Restores into new stores, against writing as many new files.
//!
//! Engines follow each other, each in rounds with the yardstick, so that no more than two copies of
//! a store are on the disk beside it.

use anyhow::Result;
use siltstone_backup::options::Compression;
use siltstone_peers::{
    copies,
    programs::{Restic, compare_folders},
    report::{Goal, Report},
    rounds::{Contender, Measured, rounds},
    stone::{Stone, folder_backend},
};

use crate::world::{Size, World, clear};

const SECTION: &str = "restore";
const YARDSTICK: &str = "device: O_DIRECT write of new files";

pub(crate) fn run(world: &mut World, report: &mut Report<'_>) -> Result<()> {
    world.load(Size::Large)?;
    #[cfg(feature = "rocksdb")]
    let engine = backup_engine(world, report)?;
    let own = siltstone(world, report)?;
    #[cfg(feature = "rocksdb")]
    {
        let speed = (engine.seconds() / own.seconds(), "x");
        report.finding(SECTION, "speed of BackupEngine, 4 threads", speed, None)?;
    }
    if world.has("restic") {
        let restic = restic(world, report)?;
        let speed = (restic.seconds() / own.seconds(), "x");
        report.finding(SECTION, "speed of restic", speed, None)?;
    }
    Ok(())
}

fn siltstone(world: &World, report: &mut Report<'_>) -> Result<Measured> {
    let stone = world.stone(Size::Large)?;
    let (target, restored) = (world.path("backup"), world.path("restored"));
    let lengths = stone.file_lengths()?;
    let backend = folder_backend(&target)?;
    stone.back_up(&backend, "restore", Compression::None)?;
    let restore = |_| Stone::restore(&backend, "restore", &restored, stone.rows).map(drop);
    let check = |round| {
        if round == 0 {
            Stone::open(&restored, stone.rows)?.check()?;
        }
        clear(&restored)
    };
    let count = world.effort.rounds;
    let contenders = vec![
        Contender::new(YARDSTICK, count, |_| copies::write_files(&restored, &lengths))
            .after(|_| clear(&restored)),
        Contender::new("siltstone", count, restore).after(check),
    ];
    let mut measured = rounds(report, SECTION, contenders)?;
    report.times(SECTION, lengths.iter().sum(), &measured);
    let speed = (measured[0].seconds() / measured[1].seconds(), "x");
    let what = "speed of an O_DIRECT write of new files";
    report.finding(SECTION, what, speed, Some(Goal::AtLeast(0.9)))?;
    clear(&target)?;
    Ok(measured.remove(1))
}

/// The store is rebuilt when a later section needs it.
#[cfg(feature = "rocksdb")]
fn backup_engine(world: &World, report: &mut Report<'_>) -> Result<Measured> {
    use siltstone_peers::rocks::{self, Rocks};
    let (target, restored) = (world.path("backup"), world.path("restored"));
    let rocks = world.rocks(Size::Large)?;
    rocks.back_up(&target, 4)?;
    let bytes = rocks.table_bytes()?;
    drop(rocks);
    world.clear_rocks(Size::Large)?;
    let rows = world.rows(Size::Large);
    let (count, slow) = (world.effort.rounds, world.effort.slow_rounds);
    let after = |round| {
        if round == 0 {
            Rocks::open(&restored, rows)?.check()?;
        }
        clear(&restored)
    };
    let restore = |threads| {
        let (target, restored) = (&target, &restored);
        move |_| rocks::restore(target, restored, threads)
    };
    let contenders = vec![
        Contender::new("BackupEngine, 1 thread", slow, restore(1)).after(after),
        Contender::new("BackupEngine, 4 threads", count.min(5), restore(4)).after(after),
    ];
    let mut measured = rounds(report, SECTION, contenders)?;
    report.times(SECTION, bytes, &measured);
    clear(&target)?;
    Ok(measured.remove(1))
}

fn restic(world: &World, report: &mut Report<'_>) -> Result<Measured> {
    let stone = world.stone(Size::Large)?;
    let (target, restored) = (world.path("backup"), world.path("restored"));
    let restic = Restic::init(&target)?;
    restic.back_up(&stone.files(), "off")?;
    let check = |round| {
        if round == 0 {
            compare_folders(&stone.files(), &restored)?;
        }
        clear(&restored)
    };
    let restore = |_| restic.restore(&restored);
    let contenders = vec![Contender::new("restic", world.effort.slow_rounds, restore).after(check)];
    let mut measured = rounds(report, SECTION, contenders)?;
    report.times(SECTION, stone.file_lengths()?.iter().sum(), &measured);
    clear(&target)?;
    Ok(measured.remove(0))
}
