//! What is uploaded, what is referred to, and when a half-dead chunk is given up.

use super::*;
use crate::{
    backend::Backend,
    format::{
        chunk::Codec,
        config::{Config, Totals},
        descriptor::StoredCollection,
    },
    names::{AttemptId, BackupId, NodeName},
    options::Compression,
    pipeline::Uploaded,
    testing::{Made, World, some_bytes, tiny_sizes},
};

/// A descriptor that holds what was uploaded.
fn descriptor(uploaded: &Uploaded) -> Descriptor {
    let moment = "2026-11-24T04:00:00Z".parse().unwrap();
    let config = Config {
        id: BackupId::new("base").unwrap(),
        attempt: AttemptId([1; 16]),
        store_id: [2; 16],
        node: NodeName::default(),
        server_version: "0.1.0".to_owned(),
        started_at: moment,
        completed_at: moment,
        compression: Codec::None,
        sequence: 9,
        totals: Totals::default(),
        parts: Vec::new(),
    };
    let (chunks, segments) = (uploaded.chunks.clone(), uploaded.segments.clone());
    Descriptor { config, collections: Vec::<StoredCollection>::new(), chunks, segments }
}

fn base_of(uploaded: &Uploaded) -> Base {
    let mut base = Base::default();
    base.add(&descriptor(uploaded));
    base
}

fn world_with(lengths: &[(u8, usize)]) -> (World, Vec<Arc<Segment>>) {
    let world = World::new();
    let made = |(seed, (level, length)): (usize, &(u8, usize))| Made {
        level: *level,
        bytes: some_bytes(seed as u64, *length),
        gap: 0,
    };
    let segments = world.file(&lengths.iter().enumerate().map(made).collect::<Vec<_>>());
    (world, segments)
}

fn all_chunks(base: &Base) -> BTreeSet<ChunkId> {
    base.chunks().iter().map(|chunk| chunk.id).collect()
}

#[test]
fn without_a_base_all_is_uploaded_top_first() {
    let (world, mut segments) = world_with(&[(2, 10), (0, 20), (1, 30), (6, 40)]);
    segments.extend(world.file(&[Made { level: 0, bytes: some_bytes(9, 5), gap: 0 }]));
    segments.reverse();
    let plan = plan(segments, &Base::default(), &BTreeSet::new());
    let order: Vec<_> =
        plan.uploads.iter().map(|upload| (upload.group, upload.segment.level)).collect();
    assert!(order.is_sorted());
    assert_eq!(order[2], (Group::Top, 1));
    assert_eq!(order[3], (Group::Bottom, 2));
    assert_eq!((plan.upload_bytes, plan.reused_bytes), (105, 0));
    assert!(plan.uploads[0].segment.file.id < plan.uploads[1].segment.file.id);
}

#[test]
fn stored_segments_are_referred_to_and_new_ones_uploaded() {
    let (world, segments) = world_with(&[(0, 5000), (2, 90_000), (2, 700)]);
    let uploaded = world.upload(&segments, Compression::None, tiny_sizes()).unwrap();
    let base = base_of(&uploaded);
    let new = world.segment(0, some_bytes(77, 100));
    let mut now = segments;
    now.push(Arc::clone(&new));
    let plan = plan(now, &base, &all_chunks(&base));
    assert_eq!(plan.uploads.len(), 1);
    assert_eq!(plan.uploads[0].segment.meta, new.meta);
    assert_eq!(plan.reused.len(), 3);
    assert_eq!(plan.chunks, uploaded.chunks);
    assert_eq!((plan.upload_bytes, plan.reused_bytes), (100, 95_700));
    let fetched = world.fetch(&plan.chunks, &plan.reused).unwrap();
    assert_eq!(fetched.iter().map(Vec::len).sum::<usize>(), 95_700);
}

#[test]
fn chunks_that_may_not_be_used_are_not() {
    let (world, segments) = world_with(&[(0, 5000), (2, 90_000), (2, 700)]);
    let uploaded = world.upload(&segments, Compression::None, tiny_sizes()).unwrap();
    let base = base_of(&uploaded);
    for gone in all_chunks(&base) {
        let mut usable = all_chunks(&base);
        usable.remove(&gone);
        let plan = plan(segments.clone(), &base, &usable);
        assert!(plan.chunks.iter().all(|chunk| chunk.id != gone));
        let in_gone =
            |segment: &&StoredSegment| segment.extents.iter().any(|extent| extent.chunk == gone);
        assert_eq!(plan.uploads.len(), uploaded.segments.iter().filter(in_gone).count());
    }
}

#[test]
fn what_is_left_of_a_chunk_less_than_half_alive_is_uploaded_again() {
    let (world, segments) = world_with(&[(0, 9000), (0, 9000), (0, 9000), (0, 9000)]);
    for compression in [Compression::None, Compression::GzipDefault] {
        let uploaded = world.upload(&segments, compression, tiny_sizes()).unwrap();
        assert_eq!(uploaded.chunks.len(), 1);
        for (alive, uploads) in [(1, 1), (2, 0), (3, 0)] {
            let mut base = uploaded.clone();
            base.segments.truncate(alive);
            let base = base_of(&base);
            let now = segments[..alive].to_vec();
            let plan = plan(now, &base, &all_chunks(&base));
            assert_eq!(plan.uploads.len(), uploads, "{alive} alive");
        }
        // The base still needs all of it, so nothing is gained by writing it again.
        let base = base_of(&uploaded);
        assert!(plan(segments[..1].to_vec(), &base, &all_chunks(&base)).uploads.is_empty());
    }
}

#[test]
fn half_alive_counts_headers_and_pads() {
    let (world, segments) = world_with(&[(0, 1); 6]);
    let uploaded = world.upload(&segments, Compression::None, tiny_sizes()).unwrap();
    let base = base_of(&uploaded);
    assert!(plan(segments, &base, &all_chunks(&base)).uploads.is_empty());
}

#[test]
fn equal_bytes_in_two_trees_are_uploaded_once() {
    let (world, segments) = world_with(&[(1, 3000)]);
    let one = &segments[0];
    let (file, meta) = (Arc::clone(&one.file), one.meta.clone());
    let other = Arc::new(Segment::new(TreeId(2), 3, file, one.offset, meta));
    let both = vec![Arc::clone(one), other];
    let plan_now = plan(both.clone(), &Base::default(), &BTreeSet::new());
    assert_eq!(plan_now.uploads.len(), 1);
    assert_eq!(plan_now.uploads[0].homes, [(TreeId(1), 1), (TreeId(2), 3)]);
    let uploaded = world.upload(&both, Compression::GzipDefault, tiny_sizes()).unwrap();
    assert_eq!(uploaded.segments.len(), 2);
    assert_eq!(uploaded.segments[0].extents, uploaded.segments[1].extents);
    let base = base_of(&uploaded);
    assert_eq!(plan(both, &base, &all_chunks(&base)).reused.len(), 2);
}

#[test]
fn a_segment_of_other_identity_is_never_referred_to() {
    let (world, segments) = world_with(&[(0, 5000)]);
    let uploaded = world.upload(&segments, Compression::None, tiny_sizes()).unwrap();
    let base = base_of(&uploaded);
    let same_bytes = world.segment(0, some_bytes(0, 5000));
    assert_eq!(same_bytes.meta.hash, segments[0].meta.hash);
    assert_eq!(plan(vec![same_bytes], &base, &all_chunks(&base)).uploads.len(), 1);
}

#[test]
fn a_copied_chunk_takes_the_place_of_the_old_one() {
    let (world, segments) = world_with(&[(0, 5000), (0, 90_000)]);
    let uploaded = world.upload(&segments, Compression::None, tiny_sizes()).unwrap();
    let mut base = base_of(&uploaded);
    let (old, new) = (uploaded.chunks[0].id, ChunkId([3; 16]));
    world.replace(new, &world.object(old));
    base.replace_chunk(old, new);
    let usable = all_chunks(&base);
    assert!(usable.contains(&new) && !usable.contains(&old));
    let plan = plan(segments, &base, &usable);
    assert!(plan.uploads.is_empty());
    world.backend.delete(&old.object()).unwrap();
    assert_eq!(world.fetch(&plan.chunks, &plan.reused).unwrap().len(), 2);
}

#[test]
fn chunks_of_a_journal_bring_whole_segments_only() {
    let (world, segments) = world_with(&[(0, 500), (0, 150_000)]);
    let uploaded = world.upload(&segments, Compression::None, tiny_sizes()).unwrap();
    let mut base = Base::default();
    base.add_chunk(&uploaded.chunks[0], &uploaded.segments);
    let plan = plan(segments, &base, &all_chunks(&base));
    assert_eq!(plan.reused.len() + plan.uploads.len(), 2);
    assert!(plan.uploads.iter().any(|upload| upload.segment.meta.length == 150_000));
}
