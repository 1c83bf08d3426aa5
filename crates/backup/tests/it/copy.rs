//! Copies between repositories: what they hold, what they do not repeat, and how they fail.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use siltstone_backup::{
    api::Backups,
    backend::{self, Backend, BackendConfig, Depth, PutMode},
    cancel::Cancel,
    copy::{CopyOptions, CopyReport, copy},
    error::{Error, ErrorKind},
    job::Job,
    options::Compression,
    progress::Progress,
    prune::PruneOptions,
    verify::Level,
};
use siltstone_io::env::{SystemClock, SystemEntropy};
use siltstone_lsm::options::Durability;

use crate::{
    slow::Slow,
    support::{assert_same, content, create, fill, memory, quick, restore, sim_store},
    timed::{Place, verify_in},
};

pub(crate) fn try_copy(
    from: &Arc<dyn Backend>,
    to: &Arc<dyn Backend>,
    id: &str,
    rename: Option<&str>,
) -> Result<CopyReport, Error> {
    let (cancel, progress, clock) = (Cancel::new(), Progress::new(), SystemClock::default());
    let job = Job { clock: &clock, entropy: &SystemEntropy, cancel: &cancel, progress: &progress };
    let mut options = CopyOptions::default();
    options.rename = rename.map(str::to_owned);
    let copied = copy(job, from, to, id, &options)?;
    assert!(copied.verified.is_sound(), "{copied:?}");
    assert_eq!(progress.report().bytes_done, copied.bytes_copied);
    let id = copied.config.id.as_str();
    let report = verify_in(to, id, Level::Hashes);
    assert!(report.is_sound(), "{report:?}");
    Ok(copied)
}

#[test]
fn a_copy_is_a_backup_of_its_own_and_later_backups_build_on_it() {
    for compression in [Compression::GzipBestSpeed, Compression::None] {
        let (_disk, store) = sim_store(80);
        fill(&store, 1500);
        let folder = tempfile::tempdir().unwrap();
        let source = memory();
        let target = backend::open(&BackendConfig::Folder(folder.path().join("copies"))).unwrap();
        let mut options = quick();
        options.compression = compression;
        let backups = Backups::new(store.clone()).unwrap();
        backups.create(&source, "a", options).unwrap().wait().unwrap();
        let first = content(&store);
        let birds = store.tree("birds", None).unwrap();
        store.put(birds, b"new", b"row", Durability::Sync).unwrap();
        create(&store, &source, "b");

        let a = try_copy(&source, &target, "a", None).unwrap();
        assert!(a.bytes_copied > 0 && a.chunks_reused == 0, "{a:?}");
        let b = try_copy(&source, &target, "b", None).unwrap();
        assert!(b.bytes_copied < a.bytes_copied / 10 && b.chunks_reused > 0, "{b:?}");
        let error = try_copy(&source, &target, "a", None).expect_err("taken");
        assert_eq!(error.kind(), ErrorKind::Exists);
        let again = try_copy(&source, &target, "a", Some("again")).unwrap();
        assert_eq!((again.chunks_copied, again.config.sequence), (0, a.config.sequence));
        assert_eq!(again.config.started_at, a.config.started_at);

        // The source may go: nothing in the target needs it.
        for entry in source.list("", Depth::All).unwrap() {
            source.delete(&entry.name).unwrap();
        }
        let report = verify_in(&target, "b", Level::Rehearsal);
        assert!(report.is_sound(), "{report:?}");
        let (_other_disk, other) = sim_store(81);
        restore(&other, &target, "again");
        assert_same(&content(&other), &first);

        let next = create(&store, &target, "c");
        assert_eq!(next.progress.bytes_done, 0, "{next:?}");
        assert!(next.progress.bytes_reused > 0);
        assert!(verify_in(&target, "c", Level::Hashes).is_sound());
    }
}

#[test]
fn damage_on_the_way_is_found_and_nothing_of_the_copy_stays() {
    for compression in [Compression::GzipBestSpeed, Compression::None] {
        let (_disk, store) = sim_store(82);
        fill(&store, 1500);
        let source = memory();
        let mut options = quick();
        options.compression = compression;
        let backups = Backups::new(store).unwrap();
        backups.create(&source, "a", options).unwrap().wait().unwrap();
        for chunk in source.list(".chunks/", Depth::All).unwrap() {
            let whole = source.get(&chunk.name, 1 << 30).unwrap();
            for how in 0..3 {
                let mut bytes = whole.to_vec();
                let middle = bytes.len() / 2;
                match how {
                    0 => bytes[middle] ^= 1,
                    1 => bytes.truncate(middle),
                    _ => bytes.clear(),
                }
                source.put(&chunk.name, bytes.into(), PutMode::Replace).unwrap();
                let target = memory();
                let error = try_copy(&source, &target, "a", None).expect_err("damaged");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{how}: {error}");
                let left = target.list("", Depth::All).unwrap();
                assert!(left.iter().all(|it| it.name == "repository.json"), "{left:?}");
            }
            source.put(&chunk.name, whole, PutMode::Replace).unwrap();
        }
        try_copy(&source, &memory(), "a", None).unwrap();
    }
}

#[test]
fn a_copy_whose_target_dies_at_any_request_is_whole_or_nothing() {
    let place = Place::new(83);
    let store = place.store(8300);
    fill(&store, 300);
    let source = memory();
    create(&store, &source, "a");
    for after in 0.. {
        let target = Place::new(84 + after);
        let (dying, requests) = Slow::dying(&target.backend(), after);
        let options = CopyOptions::default();
        let ended = target.run(|job| copy(job, &source, &dying, "a", &options));
        target.assert_sound(&format!("after {after}"));
        let there = target.ids() == ["a"];
        assert!(there || ended.is_err(), "after {after}");
        if let Err(error) = &ended {
            let says_so = error.to_string().contains("the copy is there");
            assert_eq!(says_so, there, "after {after}: {error}");
        }
        if !there {
            try_copy(&source, &target.backend(), "a", None).unwrap();
        }
        for _ in 0..3 {
            target.prune(&PruneOptions::default());
            target.advance(50);
        }
        target.assert_tidy(&format!("after {after}"));
        assert!(target.verify("a", Level::Hashes).is_sound());
        if ended.is_ok() && requests.load(Ordering::SeqCst) <= after {
            return;
        }
    }
}

#[test]
fn a_canceled_copy_leaves_nothing() {
    let (_disk, store) = sim_store(85);
    fill(&store, 1500);
    let source = memory();
    create(&store, &source, "a");
    for millis in [0, 30, 120] {
        let target = memory();
        let slow = Slow::over(&target, Duration::from_millis(20));
        let (cancel, progress, clock) = (Cancel::new(), Progress::new(), SystemClock::default());
        let ended = std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                let job = Job {
                    clock: &clock,
                    entropy: &SystemEntropy,
                    cancel: &cancel,
                    progress: &progress,
                };
                copy(job, &source, &slow, "a", &CopyOptions::default())
            });
            std::thread::sleep(Duration::from_millis(millis));
            cancel.cancel();
            work.join().unwrap()
        });
        assert_eq!(ended.expect_err("canceled").kind(), ErrorKind::Canceled, "{millis} ms");
        let left = target.list("", Depth::All).unwrap();
        assert!(left.iter().all(|it| it.name == "repository.json"), "{millis} ms: {left:?}");
    }
}

#[test]
fn prunes_of_the_target_between_any_two_requests_of_a_copy_do_not_hurt_it() {
    let place = Place::new(86);
    let store = place.store(8600);
    fill(&store, 300);
    let source = memory();
    create(&store, &source, "a");
    let birds = store.tree("birds", None).unwrap();
    store.put(birds, b"new", b"row", Durability::Sync).unwrap();
    create(&store, &source, "b");
    for at in 0.. {
        let target = Place::new(87);
        place
            .run(|job| copy(job, &source, &target.backend(), "a", &CopyOptions::default()))
            .unwrap();
        target.advance(60); // what "a" leaves behind is old enough to be condemned
        let (there, mut met) = (target.clone(), false);
        let met_it = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let tell = Arc::clone(&met_it);
        let backend = target.hooked(move |number| {
            if number == at && !met {
                met = true;
                tell.store(true, Ordering::SeqCst);
                there.delete("a").unwrap();
                there.prune(&PruneOptions::default());
                there.advance(20);
                there.prune(&PruneOptions::default());
            }
        });
        target.run(|job| copy(job, &source, &backend, "b", &CopyOptions::default())).unwrap();
        target.assert_sound(&format!("request {at}"));
        for _ in 0..3 {
            target.advance(50);
            target.prune(&PruneOptions::default());
        }
        target.assert_tidy(&format!("request {at}"));
        assert!(target.verify("b", Level::Hashes).is_sound());
        if !met_it.load(Ordering::SeqCst) {
            return; // it has fewer requests
        }
    }
}
