//! How fast a store is read for a backup: into a backend that forgets, against the device.

use anyhow::{Result, ensure};
use siltstone_backup::options::Compression;
use siltstone_io::path::RelPath;
use siltstone_peers::{
    copies, machine,
    report::{Goal, Report},
    rounds::{Contender, median, rounds},
};

use crate::{
    sink::sink,
    world::{Size, World},
};

const SECTION: &str = "read";

#[expect(clippy::cast_precision_loss, reason = "three digits matter")]
pub(crate) fn run(world: &mut World, report: &mut Report<'_>) -> Result<()> {
    world.load(Size::Large)?;
    let stone = world.stone(Size::Large)?;
    let bytes: u64 = stone.file_lengths()?.iter().sum();
    let disk = copies::open(&stone.files())?;
    let device = |_| {
        let read = copies::read_files(disk.as_ref(), &RelPath::root())?;
        ensure!(read == bytes, "{read} bytes were read, not {bytes}");
        Ok(())
    };
    let into_sink = |_| {
        let (backend, counts) = sink()?;
        stone.back_up(&backend, "read", Compression::None)?;
        let stored = counts.chunk_bytes();
        ensure!(stored >= bytes, "{stored} bytes were uploaded of {bytes}");
        Ok(())
    };
    let count = world.effort.rounds;
    let contenders = vec![
        Contender::new("device: sequential O_DIRECT read", count, device),
        Contender::new("siltstone: backup into a sink", count, into_sink),
    ];
    let measured = rounds(report, SECTION, contenders)?;
    report.times(SECTION, bytes, &measured);

    let [device, backup] = &measured[..] else { unreachable!("two contenders") };
    let gib = bytes as f64 / f64::from(1 << 30);
    let speed = device.seconds() / backup.seconds();
    let goal = Some(Goal::AtLeast(0.95));
    report.finding(SECTION, "speed of the device, ratio of medians", (speed, "x"), goal)?;
    let pairs = device.samples.iter().zip(&backup.samples);
    let paired = median(pairs.map(|(device, backup)| device.seconds / backup.seconds));
    report.finding(SECTION, "the same, median of pairs", (paired, "x"), None)?;
    let cpu = (backup.cpu_seconds() / gib, "CPU s/GiB");
    report.finding(SECTION, "CPU with hashing", cpu, Some(Goal::AtMost(0.35)))?;
    let cpu = (device.cpu_seconds() / gib, "CPU s/GiB");
    report.finding(SECTION, "CPU of the reads alone", cpu, Some(Goal::AtMost(0.1)))?;

    machine::drop_caches()?;
    let files: Vec<_> =
        machine::files_below(&stone.files())?.into_iter().map(|(path, _)| path).collect();
    let (cached, resident) = (machine::cached_bytes(), machine::resident_bytes(&files)?);
    into_sink(0)?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let resident = machine::resident_bytes(&files)?.saturating_sub(resident);
    let goal = Some(Goal::AtMost(0.0));
    report.finding(SECTION, "page cache of the store's files", (mib(resident), "MiB"), goal)?;
    let grown = machine::cached_bytes().saturating_sub(cached);
    let what = "page cache of the machine, whoever grew it";
    report.finding(SECTION, what, (mib(grown), "MiB"), None)
}
