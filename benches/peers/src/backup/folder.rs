//! Backups into a folder, synced: uncompressed ones of the large store, compressed ones of the small.

use anyhow::{Result, ensure};
use siltstone_backup::options::Compression;
use siltstone_io::path::RelPath;
use siltstone_peers::{
    copies,
    programs::{Restic, check_tar, compare_folders, tar_through},
    report::{Goal, Report},
    rounds::{Contender, Measured, rounds},
    stone::{Stone, folder_backend},
};

use crate::world::{Size, World, clear};

const PLAIN: &str = "folder";
const COMPRESSED: &str = "folder, compressed";

/// Compressions, each with the program that does the same to a tar stream.
const CODECS: [(&str, Compression, &str); 2] =
    [("gzip", Compression::GzipDefault, "gzip"), ("zstd", Compression::ZstdDefault, "zstd")];

pub(crate) fn run(world: &mut World, report: &mut Report<'_>) -> Result<()> {
    world.load(Size::Large)?;
    plain(world, report)?;
    world.load(Size::Small)?;
    compressed(world, report)
}

fn plain(world: &World, report: &mut Report<'_>) -> Result<()> {
    let (stone, target) = (world.stone(Size::Large)?, world.path("backup"));
    let (count, slow) = (world.effort.rounds, world.effort.slow_rounds);
    let bytes: u64 = stone.file_lengths()?.iter().sum();
    let disk = copies::open(&stone.files())?;
    #[cfg(feature = "rocksdb")]
    let rocks = world.rocks(Size::Large)?;
    let clear = |_| clear(&target);

    let mut contenders = vec![
        Contender::new("device: O_DIRECT copy", count, |_| {
            let copied = copies::copy_files(disk.as_ref(), &RelPath::root(), &target)?;
            ensure!(copied == bytes, "{copied} bytes were copied, not {bytes}");
            Ok(())
        })
        .after(clear),
        Contender::new("siltstone", count, |_| {
            let summary = stone.back_up(&folder_backend(&target)?, "folder", Compression::None)?;
            let stored = summary.progress.bytes_stored;
            ensure!(stored >= bytes, "{stored} bytes were stored of {bytes}");
            Ok(())
        })
        .after(clear),
    ];
    #[cfg(feature = "rocksdb")]
    for (name, threads, rounds) in
        [("BackupEngine, 1 thread", 1, slow), ("BackupEngine, 4 threads", 4, count)]
    {
        let (rocks, target) = (&rocks, &target);
        let run = move |_| rocks.back_up(target, threads);
        contenders.push(Contender::new(name, rounds, run).after(clear));
    }
    if world.has("restic") {
        let back_up = |_| Restic::init(&target)?.back_up(&stone.files(), "off");
        contenders.push(Contender::new("restic", slow, back_up).after(clear));
    }
    let measured = rounds(report, PLAIN, contenders)?;
    report.times(PLAIN, bytes, &measured);

    let own = named(&measured, "siltstone").expect("it is a contender");
    for (name, what, least) in [
        ("device: O_DIRECT copy", "speed of an O_DIRECT copy", 0.9),
        ("BackupEngine, 1 thread", "speed of BackupEngine as it comes", 2.0),
        ("BackupEngine, 4 threads", "speed of BackupEngine with 4 threads", 1.0),
        ("restic", "speed of restic", 4.0),
    ] {
        if let Some(other) = named(&measured, name) {
            let speed = (other.seconds() / own.seconds(), "x");
            report.finding(PLAIN, what, speed, Some(Goal::AtLeast(least)))?;
        }
    }
    if let Some(other) = named(&measured, "BackupEngine, 4 threads") {
        let share = (own.cpu_seconds() / other.cpu_seconds(), "x");
        let goal = Some(Goal::AtMost(1.0 / 3.0));
        report.finding(PLAIN, "CPU of BackupEngine with 4 threads", share, goal)?;
    }
    Ok(())
}

fn compressed(world: &World, report: &mut Report<'_>) -> Result<()> {
    let (stone, slow) = (world.stone(Size::Small)?, world.effort.slow_rounds);
    let (target, restored) = (world.path("backup"), world.path("restored"));
    let bytes = world.bytes(Size::Small);
    let mut contenders = Vec::new();
    for (name, compression, program) in CODECS {
        let (target, restored) = (&target, &restored);
        let back_up = move |_| {
            stone.back_up(&folder_backend(target)?, "folder", compression)?;
            Ok(())
        };
        let check = move |round| {
            if round == 0 {
                let backend = folder_backend(target)?;
                Stone::restore(&backend, "folder", restored, stone.rows)?.check()?;
                clear(restored)?;
            }
            clear(target)
        };
        contenders.push(Contender::new(format!("siltstone, {name}"), slow, back_up).after(check));
        let pack = move |_| tar_through(&stone.files(), program, target);
        let check = move |round| {
            if round == 0 {
                check_tar(&stone.files(), program, target)?;
            }
            clear(target)
        };
        contenders.push(Contender::new(format!("tar, {program}"), slow, pack).after(check));
    }
    if world.has("restic") {
        let back_up = |_| Restic::init(&target)?.back_up(&stone.files(), "auto");
        let check = |round| {
            if round == 0 {
                Restic::existing(&target).restore(&restored)?;
                compare_folders(&stone.files(), &restored)?;
                clear(&restored)?;
            }
            clear(&target)
        };
        contenders.push(Contender::new("restic, auto", slow, back_up).after(check));
    }
    let measured = rounds(report, COMPRESSED, contenders)?;
    report.times(COMPRESSED, bytes, &measured);
    for (name, _, program) in CODECS {
        let own = named(&measured, &format!("siltstone, {name}")).expect("it is a contender");
        let other = named(&measured, &format!("tar, {program}")).expect("it is a contender");
        let speed = (other.seconds() / own.seconds(), "x");
        report.finding(COMPRESSED, format!("speed of tar through {program}"), speed, None)?;
    }
    if let Some(other) = named(&measured, "restic, auto") {
        let own = named(&measured, "siltstone, zstd").expect("it is a contender");
        let speed = (other.seconds() / own.seconds(), "x");
        report.finding(COMPRESSED, "zstd: speed of restic, auto", speed, None)?;
    }
    Ok(())
}

fn named<'a>(measured: &'a [Measured], name: &str) -> Option<&'a Measured> {
    measured.iter().find(|contender| contender.name == name)
}
