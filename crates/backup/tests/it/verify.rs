//! What a verification finds, at each level, of sound and of damaged backups.

use std::{fs, sync::Arc, time::Duration};

use siltstone_backup::{
    backend::{Backend, Depth, ObjectEntry, PutMode},
    cancel::Cancel,
    error::ErrorKind,
    job::Job,
    options::Compression,
    progress::Progress,
    show::{TreeContents, show},
    verify::{Level, VerifyOptions, VerifyReport, verify},
};
use siltstone_io::env::{SystemClock, SystemEntropy};
use siltstone_lsm::{catalog::TenantStatus, store::Store};

use crate::{
    slow::Slow,
    support::{content, create, fill, memory, quick, sim_store},
    timed::verify_in,
};

const LEVELS: [Level; 3] = [Level::Objects, Level::Hashes, Level::Rehearsal];

fn backed_up(seed: u64, compression: Compression) -> (Arc<dyn Backend>, Store, Vec<ObjectEntry>) {
    let (_disk, store) = sim_store(seed);
    fill(&store, 1500);
    let backend = memory();
    let backups = siltstone_backup::api::Backups::new(store.clone()).unwrap();
    let mut options = quick();
    options.compression = compression;
    backups.create(&backend, "nightly", options).unwrap().wait().unwrap();
    let objects = backend.list("nightly/", Depth::All).unwrap().into_iter();
    let objects = objects.chain(backend.list(".chunks/", Depth::All).unwrap()).collect();
    (backend, store, objects)
}

fn verified(backend: &Arc<dyn Backend>, level: Level) -> VerifyReport {
    verify_in(backend, "nightly", level)
}

/// Changes an object, and gives what it was.
fn change(backend: &Arc<dyn Backend>, object: &str, how: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let whole = backend.get(object, 1 << 30).unwrap().to_vec();
    let mut bytes = whole.clone();
    how(&mut bytes);
    backend.put(object, bytes.into(), PutMode::Replace).unwrap();
    whole
}

fn put_back(backend: &Arc<dyn Backend>, object: &str, whole: Vec<u8>) {
    backend.put(object, whole.into(), PutMode::Replace).unwrap();
}

#[test]
fn a_sound_backup_is_sound_at_every_level_and_its_rows_are_summed_up() {
    for compression in [Compression::GzipBestSpeed, Compression::None] {
        let (backend, store, objects) = backed_up(70, compression);
        let before = backend.list("", Depth::All).unwrap();
        for level in LEVELS {
            let report = verified(&backend, level);
            assert!(report.is_sound() && report.problems.is_empty(), "{report:?}");
            assert_eq!((report.level, report.objects), (level, objects.len() as u64));
            let bytes = show(&backend, "nightly").unwrap().config.totals.segment_bytes;
            assert_eq!(report.bytes, if level == Level::Objects { 0 } else { bytes });
            assert_eq!(report.trees.is_empty(), level != Level::Rehearsal);
            assert!(report.segments > 4);
        }
        assert_eq!(backend.list("", Depth::All).unwrap(), before, "nothing is written");
        let trees = verified(&backend, Level::Rehearsal).trees;
        let rows = content(&store);
        let names = ["birds", "fish", "fish/pond Hot", "fish/sea Cold"];
        assert_eq!(trees.len(), names.len());
        for (tree, name) in trees.iter().zip(names) {
            let expected = &rows[name];
            let bytes: usize = expected.iter().map(|(key, value)| key.len() + value.len()).sum();
            assert_eq!((tree.rows, tree.bytes), (expected.len() as u64, bytes as u64), "{name}");
        }
        let snapshot = store.snapshot();
        let digest = snapshot.digest(store.tree("birds", None).unwrap()).unwrap();
        assert_eq!(trees[0].sum, digest.sum);
    }
}

#[test]
fn every_damaged_object_is_listed_not_the_first_alone() {
    for compression in [Compression::GzipBestSpeed, Compression::None] {
        let (backend, _store, objects) = backed_up(71, compression);
        let chunks: Vec<&ObjectEntry> =
            objects.iter().filter(|it| it.name.starts_with(".chunks/")).collect();
        assert!(chunks.len() >= 3, "{chunks:?}");
        for chunk in &chunks {
            let middle = usize::try_from(chunk.length / 2).unwrap();
            change(&backend, &chunk.name, |bytes| bytes[middle] ^= 1);
        }
        assert!(verified(&backend, Level::Objects).is_sound(), "lengths are as they were");
        for level in [Level::Hashes, Level::Rehearsal] {
            let report = verified(&backend, level);
            assert!(report.problems_total >= chunks.len() as u64, "{report:?}");
            for chunk in &chunks {
                let names_it = |problem: &String| problem.contains(&chunk.name);
                assert!(report.problems.iter().any(names_it), "{}: {report:?}", chunk.name);
            }
        }
        backend.delete(&chunks[0].name).unwrap();
        change(&backend, &chunks[1].name, |bytes| bytes.truncate(bytes.len() - 1));
        let report = verified(&backend, Level::Objects);
        assert_eq!(report.problems_total, 2, "{report:?}");
        assert!(report.problems.iter().any(|it| it.contains("it is missing")));
        assert!(report.problems.iter().any(|it| it.contains("bytes of")));
        let report = verified(&backend, Level::Hashes);
        assert!(report.problems_total >= 3, "the others are still looked at: {report:?}");
    }
}

#[test]
fn flips_anywhere_are_found_and_the_rest_counts_as_sound() {
    for compression in [Compression::GzipBestSpeed, Compression::None] {
        let (backend, _store, objects) = backed_up(72, compression);
        let whole = verified(&backend, Level::Hashes).bytes;
        for ObjectEntry { name, length, .. } in &objects {
            let in_chunk = name.starts_with(".chunks/");
            for step in 0..6 {
                // The last one is in the end mark of a chunk, or the end of a text.
                let at = usize::try_from((length - 1) * step / 5).unwrap();
                let was = change(&backend, name, |bytes| bytes[at] ^= 4);
                let level = if in_chunk { Level::Hashes } else { Level::Objects };
                let report = verified(&backend, level);
                assert!(!report.is_sound(), "byte {at} of {name}");
                assert!(report.problems.iter().any(|it| it.contains(name)), "{report:?}");
                if in_chunk {
                    assert!(report.bytes < whole, "byte {at} of {name}");
                }
                put_back(&backend, name, was);
            }
        }
        assert!(verified(&backend, Level::Hashes).is_sound());
    }
}

#[test]
fn all_damaged_parts_of_a_descriptor_and_a_damaged_config_are_problems_not_failures() {
    let (backend, _store, objects) = backed_up(73, Compression::GzipBestSpeed);
    let part = objects.iter().find(|it| it.name.starts_with("nightly/node1/")).expect("a part");
    let was = change(&backend, &part.name, |bytes| bytes[7] ^= 1);
    for level in LEVELS {
        let report = verified(&backend, level);
        assert_eq!((report.problems_total, report.segments), (1, 0), "{report:?}");
    }
    backend.delete(&part.name).unwrap();
    assert!(verified(&backend, Level::Objects).problems[0].contains("it is missing"));
    put_back(&backend, &part.name, was);
    change(&backend, "nightly/backup_config.json", |bytes| bytes[7] ^= 1);
    let report = verified(&backend, Level::Objects);
    assert!(report.problems[0].contains("nightly/backup_config.json"), "{report:?}");
    backend.delete("nightly/backup_config.json").unwrap();
    let (cancel, progress) = (Cancel::new(), Progress::new());
    let clock = SystemClock::default();
    let job = Job { clock: &clock, entropy: &SystemEntropy, cancel: &cancel, progress: &progress };
    let error = verify(job, &backend, "nightly", &VerifyOptions::default()).expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_verification_follows_a_cancel_and_leaves_no_store_behind() {
    let (backend, _store, _) = backed_up(74, Compression::GzipBestSpeed);
    let scratch = tempfile::tempdir().unwrap();
    let slow = Slow::over(&backend, Duration::from_millis(40));
    for level in LEVELS {
        let (cancel, progress, clock) = (Cancel::new(), Progress::new(), SystemClock::default());
        let mut options = VerifyOptions::default();
        options.level = level;
        options.scratch = scratch.path().to_path_buf();
        let ended = std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                let job = Job {
                    clock: &clock,
                    entropy: &SystemEntropy,
                    cancel: &cancel,
                    progress: &progress,
                };
                verify(job, &slow, "nightly", &options)
            });
            std::thread::sleep(Duration::from_millis(60));
            cancel.cancel();
            work.join().unwrap()
        });
        let error = ended.expect_err("canceled");
        assert_eq!(error.kind(), ErrorKind::Canceled, "{level:?}: {error}");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "{level:?}");
    }
    let (cancel, progress, clock) = (Cancel::new(), Progress::new(), SystemClock::default());
    let job = Job { clock: &clock, entropy: &SystemEntropy, cancel: &cancel, progress: &progress };
    let mut options = VerifyOptions::default();
    options.level = Level::Rehearsal;
    options.scratch = scratch.path().to_path_buf();
    let report = verify(job, &backend, "nightly", &options).unwrap();
    assert!(report.is_sound());
    assert_eq!(progress.report().bytes_done, progress.report().bytes_total);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn show_tells_what_is_in_a_backup_by_collection_tenant_and_chunk() {
    let (_disk, store) = sim_store(75);
    fill(&store, 400);
    let backend = memory();
    create(&store, &backend, "first");
    let first = show(&backend, "first").unwrap();
    assert_eq!((first.reused_bytes(), first.collections.len()), (0, 2));
    let fish = &first.collections[1];
    // The deleted row counts until its put and its delete meet.
    let are_400 = |tree: &TreeContents| (399..=400).contains(&tree.entries.puts);
    assert!(fish.name == "fish" && are_400(&fish.own), "{fish:?}");
    let tenants: Vec<_> = fish.tenants.iter().map(|it| (it.name.as_str(), it.status)).collect();
    assert_eq!(tenants, [("pond", TenantStatus::Hot), ("sea", TenantStatus::Cold)]);
    for tenant in &fish.tenants {
        assert!(are_400(&tenant.rows) && tenant.rows.entries.deletes == 1, "{tenant:?}");
    }
    let own: u64 = first.collections.iter().map(|it| it.own.bytes).sum();
    let tenants: u64 = fish.tenants.iter().map(|it| it.rows.bytes).sum();
    assert_eq!(own + tenants, first.config.totals.segment_bytes);
    let stored: u64 = first.chunks.iter().map(|chunk| chunk.bytes).sum();
    assert_eq!(stored, first.config.totals.chunk_bytes);
    assert!(first.plain_bytes() > stored && first.plain_bytes() > own + tenants);
    create(&store, &backend, "second");
    let second = show(&backend, "second").unwrap();
    assert_eq!((second.reused_bytes(), second.config.totals.uploaded_bytes), (stored, 0));
    assert_eq!(show(&backend, "third").unwrap_err().kind(), ErrorKind::NotFound);
}
