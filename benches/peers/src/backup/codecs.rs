//! Compression on the cores that a backup may use, against the codec alone on one core.
//!
//! By default a backup may use half of the processors. The codec runs on one thread, frame by frame
//! over bytes of the same store that are in memory already; a backup also reads, hashes and sends.

use std::ops::ControlFlow;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use siltstone_backup::{codec, options::Compression};
use siltstone_io::path::RelPath;
use siltstone_lsm::options::Options;
use siltstone_peers::{
    copies,
    machine::cores,
    report::{Goal, Report},
    rounds::{Contender, rounds},
    rows::{ROW_BYTES, rows_of},
    stone::Stone,
};

use crate::{
    sink::sink,
    world::{Size, World, clear},
};

const SECTION: &str = "codecs";

/// Bytes that the codec gets at a time: the frames of a default backup.
const FRAME_BYTES: usize = 4 << 20;

/// Bytes that the codec alone is measured with, at most.
const SAMPLE_BYTES_MAX: usize = 256 << 20;

const CODECS: [(&str, Compression); 4] = [
    ("gzip", Compression::GzipDefault),
    ("gzip, best speed", Compression::GzipBestSpeed),
    ("zstd", Compression::ZstdDefault),
    ("zstd, best speed", Compression::ZstdBestSpeed),
];

pub(crate) fn run(world: &mut World, report: &mut Report<'_>) -> Result<()> {
    world.load(Size::Small)?;
    let folder = world.path("store-one-segment");
    let rows = rows_of(world.effort.large_bytes / 8);
    let single = one_segment(&folder, rows)?;
    let many = world.stone(Size::Small)?;
    let frames = frames(many)?;
    for (name, compression) in CODECS {
        compare(world, report, (name, compression), (&frames, many, &single))?;
    }
    drop(single);
    clear(&folder)
}

/// A store whose rows are all in one segment.
fn one_segment(folder: &std::path::Path, rows: u64) -> Result<Stone> {
    let mut options = Options::default();
    options.segment_bytes_max = u64::MAX;
    options.memtable_bytes_max = usize::try_from(rows * ROW_BYTES * 2)?;
    let stone = Stone::load(folder, options, rows)?;
    let segments = stone.store.metrics().segments;
    ensure!(segments == 1, "the store has {segments} segments, not one");
    Ok(stone)
}

/// The first bytes of a store's files.
fn frames(stone: &Stone) -> Result<Vec<Bytes>> {
    let disk = copies::open(&stone.files())?;
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let files = copies::files(disk.as_ref(), &RelPath::root())?;
    let read = files.into_iter().try_for_each(|(path, length)| {
        let mut stream = match disk.open_stream(&path, 0..length) {
            Ok(stream) => stream,
            Err(error) => return ControlFlow::Break(Err(error)),
        };
        loop {
            match stream.next_piece() {
                Ok(Some(piece)) if frames.len() * FRAME_BYTES <= SAMPLE_BYTES_MAX => {
                    match frames.last_mut() {
                        Some(frame) if frame.len() + piece.len() <= FRAME_BYTES => {
                            frame.extend_from_slice(&piece);
                        }
                        _ => frames.push(piece.to_vec()),
                    }
                }
                Ok(Some(_)) => return ControlFlow::Break(Ok(())),
                Ok(None) => return ControlFlow::Continue(()),
                Err(error) => return ControlFlow::Break(Err(error)),
            }
        }
    });
    if let ControlFlow::Break(outcome) = read {
        outcome?;
    }
    Ok(frames.into_iter().map(Bytes::from).collect())
}

#[expect(clippy::cast_precision_loss, reason = "three digits matter")]
fn compare(
    world: &World,
    report: &mut Report<'_>,
    (name, compression): (&str, Compression),
    (frames, many, single): (&[Bytes], &Stone, &Stone),
) -> Result<()> {
    let count = world.effort.slow_rounds;
    let codec = |_| {
        let stored = encode_all(compression, frames)?;
        ensure!(stored > 0, "the codec has made nothing");
        Ok(())
    };
    let back_up = |stone: &Stone| {
        let (backend, counts) = sink()?;
        stone.back_up(&backend, "codecs", compression)?;
        let (stored, plain) = (counts.chunk_bytes(), stone.rows * ROW_BYTES);
        ensure!(stored > plain / 10 && stored < plain, "{plain} bytes became {stored}");
        Ok(())
    };
    let contenders = vec![
        Contender::new(format!("codec alone, one core, {name}"), count, codec),
        Contender::new(format!("siltstone into a sink, {name}"), count, |_| back_up(many)),
        Contender::new(format!("siltstone, one segment, {name}"), count, |_| back_up(single)),
    ];
    let measured = rounds(report, SECTION, contenders)?;
    let sample_bytes = frames.iter().map(|frame| frame.len() as u64).sum();
    let bytes_of = |stone: &Stone| stone.file_lengths().map(|lengths| lengths.iter().sum());
    let bytes: [u64; 3] = [sample_bytes, bytes_of(many)?, bytes_of(single)?];
    for (bytes, measured) in bytes.iter().zip(&measured) {
        report.times(SECTION, *bytes, std::slice::from_ref(measured));
    }
    let rate = |at: usize| bytes[at] as f64 / measured[at].seconds();
    let cost = |at: usize| measured[at].cpu_seconds() / bytes[at] as f64;
    let allowed = cores() as f64 / 2.0;
    for (at, what) in [(1, "many segments"), (2, "one segment")] {
        let speed = (rate(at) / (rate(0) * allowed), "x");
        let finding = format!("{name}, {what}: speed of the codec x {allowed} cores");
        report.finding(SECTION, finding, speed, Some(Goal::AtLeast(0.95)))?;
        let cpu = (cost(at) / cost(0), "x");
        report.finding(SECTION, format!("{name}, {what}: CPU of the codec"), cpu, None)?;
    }
    Ok(())
}

/// Compresses all frames on this thread; the bytes they became.
fn encode_all(compression: Compression, frames: &[Bytes]) -> Result<u64> {
    let mut encoder = codec::encoder(compression).context("no compression has no encoder")?;
    let encode = |frame: &Bytes| encoder.encode(std::slice::from_ref(frame), &mut || true).len();
    Ok(frames.iter().map(encode).map(|stored| stored as u64).sum())
}
