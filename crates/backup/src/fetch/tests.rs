//! What a fetch brings back, what it refuses, and what it asks the backend for.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use siltstone_io::{
    disk::{Disk, StreamWriter},
    path::RelPath,
};
use siltstone_lsm::{
    format::primitives::hash,
    types::{FileId, SegmentMeta},
    version::Segment,
};

use super::{
    files::{FileSink, Files, Placed},
    itinerary::{Chunks, Legs},
    *,
};
use crate::{
    codec::encoder,
    format::chunk::{ChunkSizes, Codec},
    options::Compression,
    pipeline::Uploaded,
    testing::{Made, World, some_bytes, tiny_sizes},
};

/// Segments of all kinds that lie in a few chunks, their bytes, and what was stored.
fn stored(compression: Compression) -> (World, Vec<Vec<u8>>, Uploaded) {
    let world = World::new();
    let lengths = [700, 0, 5000, 150_000, 513, 40_000];
    let made = |(seed, length): (usize, &usize)| {
        let level = if seed < 4 { 0 } else { 3 };
        Made { level, bytes: some_bytes(seed as u64, *length), gap: seed * 100 }
    };
    let made: Vec<Made> = lengths.iter().enumerate().map(made).collect();
    let segments = world.file(&made);
    let uploaded = world.upload(&segments, compression, tiny_sizes()).unwrap();
    let bytes = in_stored_order(&uploaded, &segments, &made);
    (world, bytes, uploaded)
}

fn in_stored_order(uploaded: &Uploaded, segments: &[Arc<Segment>], made: &[Made]) -> Vec<Vec<u8>> {
    let bytes_of = |stored: &StoredSegment| {
        let at = segments.iter().position(|segment| segment.meta == stored.meta);
        made[at.expect("a segment that was made")].bytes.clone()
    };
    uploaded.segments.iter().map(bytes_of).collect()
}

const EACH: [Compression; 3] =
    [Compression::None, Compression::GzipBestSpeed, Compression::ZstdDefault];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn segments_come_back_byte_for_byte(
        files in prop::collection::vec(
            prop::collection::vec((0_u8..4, 0_usize..60_000, 0_usize..2000, any::<bool>()), 1..5),
            1..4,
        ),
        compression in prop::sample::select(&EACH[..]),
        (chunk_kib, frame_kib) in (48_u64..300, 10_u32..22),
        keep in any::<u32>(),
    ) {
        let sizes = ChunkSizes::tiny(chunk_kib << 10, frame_kib << 10);
        let world = World::new();
        let mut made = Vec::new();
        let mut segments = Vec::new();
        for (number, file) in files.iter().enumerate() {
            let here: Vec<Made> = file.iter().enumerate().map(|(at, (level, length, gap, long))| {
                let length = if *long { length * 6 } else { *length };
                let bytes = some_bytes((number * 16 + at) as u64, length);
                Made { level: *level, bytes, gap: *gap }
            }).collect();
            segments.extend(world.file(&here));
            made.extend(here);
        }
        let uploaded = world.upload(&segments, compression, sizes).unwrap();
        for chunk in &uploaded.chunks {
            prop_assert!(chunk.length <= sizes.chunk_bytes());
            prop_assert_eq!(chunk.check(), Ok(()));
        }
        let bytes = in_stored_order(&uploaded, &segments, &made);
        let kept = |at: &usize| keep & (1 << (at % 32)) != 0;
        let wanted: Vec<usize> = (0..uploaded.segments.len()).filter(kept).rev().collect();
        let request: Vec<_> = wanted.iter().map(|at| uploaded.segments[*at].clone()).collect();
        let fetched = world.fetch(&uploaded.chunks, &request).unwrap();
        for (at, fetched) in wanted.iter().zip(&fetched) {
            prop_assert!(fetched == &bytes[*at], "segment {}", at);
        }
    }
}

#[test]
fn segments_of_several_mib_come_back_with_default_sizes() {
    for compression in EACH {
        let world = World::new();
        let made: Vec<Made> = [9_000_000, 4_194_304, 3, 1_048_576]
            .iter()
            .enumerate()
            .map(|(seed, length)| Made {
                level: 2,
                bytes: some_bytes(seed as u64, *length),
                gap: 0,
            })
            .collect();
        let segments = world.file(&made);
        let sizes = ChunkSizes::from_mib(128);
        let uploaded = world.upload(&segments, compression, sizes).unwrap();
        let fetched = world.fetch(&uploaded.chunks, &uploaded.segments).unwrap();
        assert!(fetched == in_stored_order(&uploaded, &segments, &made), "{compression:?}");
    }
}

#[test]
fn a_segment_asked_for_twice_comes_twice() {
    for compression in EACH {
        let (world, bytes, uploaded) = stored(compression);
        let mut request = uploaded.segments.clone();
        request.extend(uploaded.segments.clone());
        let fetched = world.fetch(&uploaded.chunks, &request).unwrap();
        assert!(fetched[..bytes.len()] == bytes[..] && fetched[bytes.len()..] == bytes[..]);
    }
}

#[test]
fn every_flipped_byte_is_detected_and_its_chunk_named() {
    for compression in EACH {
        let (world, _, uploaded) = stored(compression);
        for chunk in &uploaded.chunks {
            let object = world.object(chunk.id);
            for at in (0..object.len()).step_by(object.len() / 300 + 1) {
                let mut flipped = object.clone();
                flipped[at] ^= 1 << (at % 8);
                world.replace(chunk.id, &flipped);
                let result = world.fetch_into(&uploaded.chunks, &uploaded.segments, &mut NoSink);
                let error = result.expect_err("a flip");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}");
                assert!(error.to_string().contains(&chunk.id.object()), "byte {at}: {error}");
            }
            world.replace(chunk.id, &object);
        }
        assert!(world.fetch(&uploaded.chunks, &uploaded.segments).is_ok());
    }
}

#[test]
fn every_truncation_is_detected_and_its_chunk_named() {
    for compression in EACH {
        let (world, _, uploaded) = stored(compression);
        for chunk in &uploaded.chunks {
            let object = world.object(chunk.id);
            let blocks = (0..chunk.length).step_by(512);
            let mut cuts: Vec<u64> = blocks.chain(chunk.frame_starts()).collect();
            cuts.retain(|cut| *cut < chunk.length);
            for cut in cuts {
                world.replace(chunk.id, &object[..usize::try_from(cut).unwrap()]);
                let result = world.fetch_into(&uploaded.chunks, &uploaded.segments, &mut NoSink);
                let error = result.expect_err("a truncation");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {cut}: {error}");
                assert!(error.to_string().contains(&chunk.id.object()), "cut at {cut}: {error}");
            }
            world.replace(chunk.id, &object);
        }
    }
}

#[test]
fn missing_and_swapped_chunks_are_detected_and_named() {
    for compression in EACH {
        let (world, _, uploaded) = stored(compression);
        let [first, second, ..] = &uploaded.chunks[..] else { unreachable!("several chunks") };
        let (one, two) = (world.object(first.id), world.object(second.id));
        world.replace(first.id, &two);
        world.replace(second.id, &one);
        let result = world.fetch(&uploaded.chunks, &uploaded.segments);
        assert_eq!(result.expect_err("swapped").kind(), ErrorKind::Corrupt);
        world.backend.delete(&first.id.object()).unwrap();
        let error = world.fetch(&uploaded.chunks, &uploaded.segments).expect_err("missing");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(&first.id.object()), "{error}");
        let error = world.fetch(&uploaded.chunks[1..], &uploaded.segments).expect_err("unknown");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_bomb_with_a_right_hash_is_refused() {
    for compression in [Compression::GzipBestSpeed, Compression::ZstdBestCompression] {
        refuse_a_bomb(compression);
    }
}

fn refuse_a_bomb(compression: Compression) {
    let (world, _, mut uploaded) = stored(compression);
    let zeros = Bytes::from(vec![0_u8; 1 << 20]);
    let bomb = encoder(compression).expect("one").encode(&vec![zeros; 64], &mut || true);
    let chunk = &mut uploaded.chunks[0];
    assert_ne!(chunk.codec, Codec::None);
    let old = chunk.frames[0].stored;
    let mut object = world.object(chunk.id);
    object.splice(..old as usize, bomb.iter().copied());
    chunk.frames[0].stored = u32::try_from(bomb.len()).unwrap();
    chunk.frames[0].hash = Some(hash(&bomb));
    chunk.length = object.len() as u64;
    world.replace(chunk.id, &object);
    let (id, request) = (chunk.id.object(), uploaded.segments.clone());
    let error = world.fetch(&uploaded.chunks, &request).expect_err("a bomb");
    assert!(error.to_string().contains("longer than declared"), "{error}");
    assert!(error.to_string().contains(&id), "{error}");
}

#[test]
fn extents_that_lead_elsewhere_are_refused() {
    let (world, _, uploaded) = stored(Compression::None);
    for change in 0..4 {
        let mut segments = uploaded.segments.clone();
        let extent = &mut segments[2].extents[0];
        match change {
            0 => extent.frame = u32::MAX,
            1 => extent.offset += 512,
            2 => extent.length += 1,
            _ => extent.length = u64::MAX,
        }
        let error = world.fetch(&uploaded.chunks, &segments).expect_err("another place");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "change {change}");
    }
}

#[test]
fn neighbouring_frames_are_asked_for_together() {
    let (world, _, uploaded) = stored(Compression::GzipBestSpeed);
    world.backend.requests.store(0, Ordering::Relaxed);
    world.fetch(&uploaded.chunks, &uploaded.segments).unwrap();
    let requests = world.backend.requests.load(Ordering::Relaxed);
    assert_eq!(requests, uploaded.chunks.len() as u64);

    let chunks = Chunks::new(&uploaded.chunks);
    let only = [uploaded.segments[0].clone()];
    let mut legs = Legs::new(&chunks, &only).unwrap();
    let leg = legs.next().unwrap().expect("one request");
    assert_eq!(leg.visits.len(), 1);
    assert_eq!(leg.range, 0..u64::from(uploaded.chunks[0].frames[0].stored));
    assert!(legs.next().unwrap().is_none());
}

#[test]
fn an_uncompressed_entry_is_fetched_without_the_rest_of_its_frame() {
    let (_, _, uploaded) = stored(Compression::None);
    let chunks = Chunks::new(&uploaded.chunks);
    let only = [uploaded.segments[0].clone()];
    let leg = Legs::new(&chunks, &only).unwrap().next().unwrap().expect("one request");
    assert_eq!(leg.range.end - leg.range.start, 4096 + 1024);
}

#[test]
fn cancel_and_a_failing_sink_end_the_fetch() {
    struct Full;
    impl SegmentSink for Full {
        fn begin(&mut self, _: usize, _: &StoredSegment) -> Result<()> {
            Err(Error::new(ErrorKind::NoSpace, "full"))
        }
        fn write(&mut self, _: &[u8]) -> Result<()> {
            Ok(())
        }
        fn end(&mut self) -> Result<()> {
            Ok(())
        }
    }
    let (world, _, uploaded) = stored(Compression::GzipBestSpeed);
    let result = world.fetch_into(&uploaded.chunks, &uploaded.segments, &mut Full);
    assert_eq!(result.expect_err("full").kind(), ErrorKind::NoSpace);
    world.cancel.cancel();
    let result = world.fetch(&uploaded.chunks, &uploaded.segments);
    assert_eq!(result.expect_err("canceled").kind(), ErrorKind::Canceled);
}

#[test]
fn the_memory_bound_is_kept_or_refused() {
    let (world, _, _) = stored(Compression::None);
    let progress = Progress::new();
    let fetch = |workers, memory_bytes_max| {
        let (host, backend, cancel) = (Host::from(&world.env), &world.backend, &world.cancel);
        let (limits, workers) = (Limits::NONE, Some(workers));
        Fetch { host, backend, cancel, progress: &progress, limits, workers, memory_bytes_max }
    };
    assert_eq!(fetch(2, 64 << 20).legs_max().unwrap(), 3);
    assert_eq!(fetch(8, 1 << 30).legs_max().unwrap(), 10);
    assert!(fetch(1, crate::options::MEMORY_BYTES_MIN).legs_max().is_ok());
    assert_eq!(fetch(1, 10 << 20).legs_max().expect_err("little").kind(), ErrorKind::Invalid);
}

#[test]
fn files_hold_one_large_or_many_small_segments() {
    let (world, bytes, uploaded) = stored(Compression::GzipBestSpeed);
    let disk = Arc::clone(&world.env.disk);
    let mut files = Named { disk: Arc::clone(&disk), made: 0, complete: Vec::new() };
    let total = bytes.iter().map(|bytes| bytes.len() as u64).sum();
    let mut sink = FileSink::new(&mut files, 50_000, total);
    world.fetch_into(&uploaded.chunks, &uploaded.segments, &mut sink).unwrap();
    let placed = sink.finish().unwrap();
    for (index, Placed { index: same, file, offset }) in placed.iter().enumerate() {
        assert_eq!(index, *same);
        let path = RelPath::new(format!("restored-{}", file.0)).unwrap();
        let log = disk.open_log(&path).unwrap();
        let mut there = vec![0; bytes[index].len()];
        siltstone_io::exact::read_up_to(&*log, *offset, &mut there).unwrap();
        assert!(there == bytes[index]);
        let length = disk.file_len(&path).unwrap();
        assert!(length <= 50_000 || length == bytes[index].len() as u64);
    }
    assert_eq!(placed.len(), bytes.len());
    assert!(files.made >= 3);
    // What was said to be complete, file by file, is all that was placed, where it was placed.
    assert_eq!(files.complete.len() as u64, files.made);
    let mut said: Vec<_> = (files.complete.iter())
        .flat_map(|(file, segments)| segments.iter().map(|(at, meta)| (*file, *at, meta.uid)))
        .collect();
    said.sort_unstable();
    let uid = |index: usize| uploaded.segments[index].meta.uid;
    let mut expected: Vec<_> =
        placed.iter().map(|placed| (placed.file, placed.offset, uid(placed.index))).collect();
    expected.sort_unstable();
    assert_eq!(said, expected);
}

/// Files with numbers for names; a file that is said to be complete has its whole length.
#[derive(Debug)]
struct Named {
    disk: Arc<dyn Disk>,
    made: u64,
    complete: Vec<(FileId, Vec<(u64, SegmentMeta)>)>,
}

impl Named {
    fn path(file: FileId) -> RelPath {
        RelPath::new(format!("restored-{}", file.0)).unwrap()
    }
}

impl Files for Named {
    fn create(&mut self, _: u64) -> Result<(FileId, Box<dyn StreamWriter>)> {
        self.made += 1;
        let file = FileId(self.made);
        Ok((file, self.disk.create_stream(&Self::path(file), 0)?))
    }

    fn complete(&mut self, file: FileId, segments: Vec<(u64, SegmentMeta)>) -> Result<()> {
        let length: u64 = segments.iter().map(|(_, meta)| meta.length).sum();
        assert_eq!(self.disk.file_len(&Self::path(file)).unwrap(), length);
        self.complete.push((file, segments));
        Ok(())
    }
}
