//! Chunks are archives of whole segments within their bound; failures come out and leave no half chunk.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    process::Command,
    sync::{Arc, atomic::Ordering},
};

use siltstone_lsm::{format::names, version::Segment};

use super::*;
use crate::{
    backend::Depth,
    codec::read_chunk,
    testing::{Made, World, some_bytes, tiny_sizes},
};

const COMPRESSIONS: [Compression; 7] = Compression::ALL;

/// Small and long segments, empty ones, gaps, both groups.
fn mixed_segments(world: &World) -> Vec<Arc<Segment>> {
    let made = |level, seed, length, gap| Made { level, bytes: some_bytes(seed, length), gap };
    let mut segments = world.file(&[
        made(0, 1, 100, 0),
        made(0, 2, 0, 0),
        made(0, 3, 5000, 10),
        made(0, 4, 150_000, 0),
        made(1, 5, 513, 70_000),
    ]);
    segments.extend(world.file(&[made(2, 6, 40_000, 0), made(2, 7, 12_288, 0)]));
    segments.extend(world.file(&[made(5, 8, 1, 3)]));
    segments
}

/// Every entry of a chunk object, read by another implementation of tar.
fn entries(object: &[u8], compression: Compression) -> Vec<(String, Vec<u8>)> {
    let plain = read_chunk(codec_of(compression), object);
    let mut archive = ::tar::Archive::new(plain.as_slice());
    let read = |entry: std::io::Result<::tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().expect("plain names").to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (name, content)
    };
    archive.entries().unwrap().map(read).collect()
}

#[test]
fn chunks_are_archives_whose_entries_join_into_segments() {
    for compression in COMPRESSIONS {
        let world = World::new();
        let segments = mixed_segments(&world);
        let uploaded = world.upload(&segments, compression, tiny_sizes()).unwrap();
        let mut joined: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for chunk in &uploaded.chunks {
            let object = world.object(chunk.id);
            assert_eq!(object.len() as u64, chunk.length);
            assert!(chunk.length <= tiny_sizes().chunk_bytes(), "{compression:?}");
            chunk.check().unwrap();
            let mut all = entries(&object, compression);
            all.sort();
            for (name, content) in all {
                let (uid, _) = name.split_once('.').expect("a part");
                joined.entry(uid.to_owned()).or_default().extend(content);
            }
        }
        assert!(uploaded.chunks.len() >= 2, "{compression:?}");
        for stored in &uploaded.segments {
            let mut hasher = siltstone_lsm::format::primitives::PieceHasher::default();
            hasher.update(&joined[&stored.meta.uid.to_string()]);
            assert_eq!(hasher.finish(), stored.meta.hash);
        }
        assert_eq!(uploaded.segments.len(), segments.len());
    }
}

#[test]
fn the_tar_of_the_system_lists_chunks() {
    if Command::new("tar").arg("--version").output().is_err() {
        return; // the other reader above has done
    }
    let folder = tempfile::tempdir().unwrap();
    let mut cases = vec![(Compression::None, "-tf"), (Compression::GzipDefault, "-tzf")];
    if Command::new("zstd").arg("--version").output().is_ok() {
        cases.push((Compression::ZstdDefault, "--zstd -tf"));
    }
    for (compression, flags) in cases {
        let world = World::new();
        let segments = mixed_segments(&world);
        let uploaded = world.upload(&segments, compression, tiny_sizes()).unwrap();
        for chunk in &uploaded.chunks {
            let object = world.object(chunk.id);
            let path = folder.path().join("chunk");
            std::fs::write(&path, &object).unwrap();
            let listed = Command::new("tar").args(flags.split(' ')).arg(&path).output().unwrap();
            assert!(listed.status.success() && listed.stderr.is_empty(), "{listed:?}");
            let names: Vec<String> =
                entries(&object, compression).into_iter().map(|(name, _)| name).collect();
            let listed = String::from_utf8(listed.stdout).unwrap();
            assert_eq!(listed.lines().collect::<Vec<_>>(), names);
        }
    }
}

#[test]
fn chunks_of_version_1_are_pinned() {
    let world = World::new();
    let made = |level, bytes: &[u8]| Made { level, bytes: bytes.to_vec(), gap: 0 };
    let segments = world.file(&[made(0, b"first"), made(0, &b"x".repeat(20_000))]);
    let uploaded = world.upload(&segments, Compression::None, tiny_sizes()).unwrap();
    let object = world.object(uploaded.chunks[0].id);
    assert_eq!(uploaded.chunks.len(), 1);
    assert!(object == include_bytes!("golden/chunk.tar"), "the layout of a chunk has changed");

    let golden = include_bytes!("golden/chunk.tar.gz");
    let uploaded = world.upload(&segments, Compression::GzipDefault, tiny_sizes()).unwrap();
    let object = world.object(uploaded.chunks[0].id);
    assert_eq!(
        entries(&object, Compression::GzipDefault),
        entries(golden, Compression::GzipDefault),
        "the layout of a compressed chunk has changed"
    );
    assert_eq!(object[..10], golden[..10], "the wrapper of a member has changed");

    let golden = include_bytes!("golden/chunk.tar.zst");
    let uploaded = world.upload(&segments, Compression::ZstdDefault, tiny_sizes()).unwrap();
    let object = world.object(uploaded.chunks[0].id);
    let (now, then) =
        (entries(&object, Compression::ZstdDefault), entries(golden, Compression::ZstdDefault));
    assert_eq!(now, then, "the layout of a compressed chunk has changed");
    assert_eq!(object[..5], golden[..5], "the start of a frame has changed");
}

#[test]
fn uncompressed_content_lies_at_4_kib_of_the_object() {
    let world = World::new();
    let segments = mixed_segments(&world);
    let uploaded = world.upload(&segments, Compression::None, tiny_sizes()).unwrap();
    for chunk in &uploaded.chunks {
        let starts = chunk.frame_starts();
        for segment in &uploaded.segments {
            for extent in segment.extents.iter().filter(|extent| extent.chunk == chunk.id) {
                for slot in chunk.slots(&starts, extent, 0).unwrap() {
                    let at = starts[slot.frame as usize] + u64::from(slot.content);
                    assert_eq!(at % 4096, 0);
                }
            }
        }
    }
}

#[test]
fn top_and_bottom_segments_never_share_a_chunk() {
    for compression in COMPRESSIONS {
        let world = World::new();
        let uploaded = world.upload(&mixed_segments(&world), compression, tiny_sizes()).unwrap();
        let mut groups = BTreeMap::new();
        for segment in &uploaded.segments {
            for extent in &segment.extents {
                let top = segment.level <= 1;
                assert_eq!(*groups.entry(extent.chunk).or_insert(top), top);
            }
        }
        let levels: Vec<u8> = uploaded.segments.iter().map(|segment| segment.level).collect();
        assert!(levels.is_sorted(), "{levels:?}");
    }
}

#[test]
fn segments_are_let_go_as_their_chunks_are_acknowledged() {
    let world = World::new();
    let segments: Vec<_> = (0..12).map(|seed| world.segment(0, some_bytes(seed, 30_000))).collect();
    let pins: Vec<_> = segments.iter().map(Arc::downgrade).collect();
    let settings = (Compression::None, tiny_sizes());
    let mut acknowledged = Vec::new();
    let plan = crate::plan::plan(segments, &crate::plan::Base::default(), &BTreeSet::default());
    let pipeline = Pipeline {
        env: &world.env,
        backend: &world.backend,
        cancel: &world.cancel,
        progress: &Progress::new(),
        options: PipelineOptions {
            compression: settings.0,
            sizes: settings.1,
            limits: Limits::NONE,
            workers: Some(1),
            memory_bytes_max: 64 << 20,
        },
    };
    let uploaded = pipeline
        .run(plan.uploads, &mut |stored| {
            for done in &acknowledged {
                let pinned = pins.iter().filter_map(std::sync::Weak::upgrade);
                assert!(pinned.clone().all(|segment| segment.meta.uid != *done));
            }
            acknowledged.extend(stored.segments.iter().map(|segment| segment.meta.uid));
            Ok(())
        })
        .unwrap();
    assert_eq!(uploaded.segments.len(), 12);
    assert!(pins.iter().all(|pin| pin.strong_count() == 0));
    assert_eq!(pipeline.progress.report().bytes_done, 12 * 30_000);
}

#[test]
fn local_damage_is_reported_with_the_file() {
    for compression in [Compression::None, Compression::GzipDefault] {
        let world = World::new();
        let good = world.segment(0, some_bytes(1, 3000));
        let bad = world.segment(0, some_bytes(2, 100_000));
        let path = names::file(bad.file.id);
        let log = world.env.disk.open_log(&path).unwrap();
        siltstone_io::exact::write_all_at(&*log, 50_000, &[b"flipped"]).unwrap();
        let mut told = Vec::new();
        let mut on_chunk = |stored: StoredChunk<'_>| {
            told.extend(stored.segments.iter().map(|segment| segment.meta.uid));
            Ok(())
        };
        let segments = [good, Arc::clone(&bad)];
        let result = world.upload_telling(&segments, (compression, tiny_sizes()), &mut on_chunk);
        let error = result.expect_err("damage");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(path.as_str()), "{error}");
        assert!(!told.contains(&bad.meta.uid), "no chunk claims the damaged segment");
    }
}

#[test]
fn failures_of_the_backend_come_out_and_leave_whole_chunks_only() {
    for compression in [Compression::None, Compression::GzipBestSpeed] {
        for room in [0, 1000, 100_000, 200_000] {
            let world = World::new();
            let segments = mixed_segments(&world);
            world.backend.write_room.store(room, Ordering::Relaxed);
            let mut told = Vec::new();
            let mut on_chunk = |stored: StoredChunk<'_>| {
                told.push(stored.chunk.id.object());
                Ok(())
            };
            let result =
                world.upload_telling(&segments, (compression, tiny_sizes()), &mut on_chunk);
            if room < 100_000 {
                assert_eq!(result.expect_err("away").kind(), ErrorKind::Unavailable);
            }
            let listed = world.backend.list("", Depth::All).unwrap();
            let mut listed: Vec<_> = listed.into_iter().map(|entry| entry.name).collect();
            listed.sort();
            told.sort();
            assert_eq!(listed, told, "{compression:?} {room}");
        }
        let world = World::new();
        world.backend.shortfall.store(1, Ordering::Relaxed);
        let result = world.upload(&mixed_segments(&world), compression, tiny_sizes());
        assert_eq!(result.expect_err("short object").kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn failures_of_the_listener_and_cancel_end_the_pipeline() {
    for compression in [Compression::None, Compression::GzipBestSpeed] {
        let world = World::new();
        let segments = mixed_segments(&world);
        let mut refuse = |_: StoredChunk<'_>| Err(Error::new(ErrorKind::NoSpace, "journal"));
        let result = world.upload_telling(&segments, (compression, tiny_sizes()), &mut refuse);
        assert_eq!(result.expect_err("refused").kind(), ErrorKind::NoSpace);

        let cancel = world.cancel.clone();
        let mut cancel_now = |_: StoredChunk<'_>| {
            cancel.cancel();
            Ok(())
        };
        let result = world.upload_telling(&segments, (compression, tiny_sizes()), &mut cancel_now);
        assert_eq!(result.expect_err("canceled").kind(), ErrorKind::Canceled);
    }
}

#[test]
fn a_stage_that_stops_by_itself_is_a_failure() {
    let whole = || Ok(Uploaded::default());
    assert_eq!(conclude(Ok(7), Ok(()), whole()).unwrap().copied_bytes, 7);
    assert!(conclude(Ok(0), Err(Halt::Stopped), whole()).is_err());
    assert!(conclude(Err(Halt::Stopped), Ok(()), whole()).is_err());
    let failed = Error::new(ErrorKind::Denied, "first");
    let error = conclude(Err(Halt::Stopped), Err(Halt::Stopped), Err(failed)).expect_err("first");
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[test]
fn nothing_to_upload_makes_no_chunk() {
    let world = World::new();
    let uploaded = world.upload(&[], Compression::GzipDefault, tiny_sizes()).unwrap();
    assert!(uploaded.chunks.is_empty() && uploaded.segments.is_empty());
    assert!(world.backend.list("", Depth::All).unwrap().is_empty());
}

#[test]
fn many_small_segments_share_frames_and_chunks() {
    let world = World::new();
    let made = |seed| Made { level: 0, bytes: some_bytes(seed, 700), gap: 0 };
    let segments = world.file(&(0..2000).map(made).collect::<Vec<_>>());
    let sizes = ChunkSizes::from_mib(8);
    let uploaded = world.upload(&segments, Compression::GzipBestSpeed, sizes).unwrap();
    assert_eq!(uploaded.chunks.len(), 1);
    assert!(uploaded.chunks[0].frames.len() < 16, "{}", uploaded.chunks[0].frames.len());
    assert_eq!(uploaded.segments.len(), 2000);
}

#[test]
fn large_segments_are_not_copied_and_only_the_ends_of_others_are() {
    for compression in [Compression::None, Compression::GzipBestSpeed, Compression::ZstdBestSpeed] {
        let world = World::new();
        let large = [world.segment(0, vec![1; 6 << 20]), world.segment(5, vec![2; 9 << 20])];
        let uploaded = world.upload(&large, compression, ChunkSizes::from_mib(8)).unwrap();
        assert_eq!(uploaded.copied_bytes, 0, "{compression}");
        let odd = [world.segment(0, vec![3; (5 << 20) + 1000]), world.segment(0, vec![4; 3000])];
        let uploaded = world.upload(&odd, compression, ChunkSizes::from_mib(8)).unwrap();
        assert_eq!(uploaded.copied_bytes, 1000 + 3000, "{compression}");
    }
}

#[test]
fn bytes_a_second_are_bounded_on_the_way_up_and_down() {
    let mut world = World::new();
    let segments: Vec<_> = (0..5).map(|seed| world.segment(0, some_bytes(seed, 90_000))).collect();
    world.limits.bytes_per_second_max = Some(10_000);
    let uploaded = world.upload(&segments, Compression::GzipDefault, tiny_sizes()).unwrap();
    let up = world.env.clock.monotonic().as_secs();
    let stored: u64 = uploaded.chunks.iter().map(|chunk| chunk.length).sum();
    let seconds = stored / 10_000;
    assert!((seconds - 1..=seconds + 1).contains(&up), "{up} s for {stored} bytes");

    world.fetch(&uploaded.chunks, &uploaded.segments).unwrap();
    let down = world.env.clock.monotonic().as_secs() - up;
    // Threads that wait at the same time each move the one clock on.
    assert!((seconds / 2 - 1..=seconds + 1).contains(&down), "{down} s for {stored} bytes");
}

/// Counts what chunks would hold.
#[derive(Debug, Default)]
struct Counted {
    chunks: Vec<u64>,
    bytes: u64,
}

impl framer::FrameOut for Counted {
    fn begin(&mut self, place: Place) -> std::result::Result<(), Halt> {
        if place == Place::NewChunk {
            self.chunks.push(u64::from(END_BYTES));
        }
        Ok(())
    }

    fn bytes(&mut self, bytes: Bytes) -> std::result::Result<(), Halt> {
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn end(&mut self, _: framer::FramePlan) -> std::result::Result<(), Halt> {
        *self.chunks.last_mut().expect("a frame is in a chunk") += std::mem::take(&mut self.bytes);
        Ok(())
    }
}

/// Whether all chunks but the last are within 5 % of their size.
fn assert_full(chunks: &[u64], sizes: ChunkSizes) {
    let bound = sizes.chunk_bytes();
    let (_, full) = chunks.split_last().expect("there is a chunk");
    assert!(full.len() >= 2, "several chunks are full: {chunks:?} of {bound}");
    for length in full {
        assert!((bound / 100 * 95..=bound).contains(length), "{chunks:?} of {bound}");
    }
}

#[test]
fn chunks_of_every_size_are_filled_within_5_percent() {
    static PIECE: [u8; 1 << 20] = [0; 1 << 20];
    for mib in crate::options::CHUNK_MIB_MIN..=crate::options::CHUNK_MIB_MAX {
        let sizes = ChunkSizes::from_mib(mib);
        // One segment of more than three chunks; then small ones; then one that is odd.
        let mut lengths = vec![(mib << 20) * 7 / 2];
        lengths.extend((0..300).map(|number| number * 997 % (sizes.chunk_bytes() / 40)));
        lengths.push((mib << 20) + 12_345);
        let mut framer = Framer::new(Counted::default(), Codec::None, sizes);
        for (upload, length) in lengths.into_iter().enumerate() {
            framer.begin_segment(upload, siltstone_lsm::types::Uid([7; 16]), length).unwrap();
            let mut left = length;
            while left > 0 {
                let now = left.min(PIECE.len() as u64);
                let bytes = &PIECE[..usize::try_from(now).unwrap()];
                framer.push(Bytes::from_static(bytes)).unwrap();
                left -= now;
            }
        }
        assert_full(&framer.finish().unwrap().chunks, sizes);
    }
}

#[test]
fn stored_chunks_are_filled_within_5_percent_whatever_the_data() {
    let sizes = ChunkSizes::from_mib(2);
    for compression in COMPRESSIONS {
        let world = World::new();
        let noise: Vec<u8> =
            some_bytes(1, 10 << 20).chunks(64).step_by(2).flatten().copied().collect();
        let half = some_bytes(2, 10 << 20);
        for bytes in [noise, half] {
            let small = some_bytes(3, 30_000);
            let segments = [world.segment(0, small), world.segment(0, bytes)];
            let uploaded = world.upload(&segments, compression, sizes).unwrap();
            let chunks: Vec<u64> = uploaded.chunks.iter().map(|chunk| chunk.length).collect();
            assert_full(&chunks, sizes);
        }
    }
}
