//! Copies that were cut off and go on; copies that meet each other; copies that are not to go fast.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use siltstone_backup::{
    api::Backups,
    backend::{
        self, Backend, BackendConfig, Depth, Limits, PutMode, S3Config, S3Credentials, Secret,
    },
    cancel::Cancel,
    copy::{CopyOptions, copy},
    error::ErrorKind,
    job::Job,
    options::Compression,
    progress::Progress,
    prune::{PruneOptions, prune},
    verify::Level,
};
use siltstone_io::env::{Clock, SystemClock, SystemEntropy};
use siltstone_loopback::s3::{Act, BUCKET, KEY_ID, Operation, Rule, S3, Seen};
use siltstone_lsm::store::Store;

use crate::{
    copy::try_copy,
    slow::Slow,
    support::{assert_same, content, create, fill, memory, quick, restore, sim_store},
    timed::Place,
};

const CHUNKS: &str = ".chunks/";

/// Far over the least time after which a prune acts.
const HOURS_50: Duration = Duration::from_hours(50);

fn bucket(s3: &S3) -> Arc<dyn Backend> {
    let mut config = S3Config::default();
    BUCKET.clone_into(&mut config.bucket);
    config.endpoint = s3.url();
    let (key_id, secret) = (KEY_ID.to_owned(), Secret::new("of no account"));
    config.credentials = S3Credentials::Keys { key_id, secret, session_token: None };
    let mut limits = Limits::default();
    limits.retries_max = 1;
    limits.retry_delay_min = Duration::from_millis(20);
    backend::open_within(&BackendConfig::S3(config), &limits).unwrap()
}

fn back_up(store: &Store, backend: &Arc<dyn Backend>, compression: Compression) -> u64 {
    let mut options = quick();
    options.compression = compression;
    let backups = Backups::new(store.clone()).unwrap();
    backups.create(backend, "a", options).unwrap().wait().unwrap().totals.chunks
}

fn chunks_in(backend: &Arc<dyn Backend>) -> BTreeSet<String> {
    backend.list(CHUNKS, Depth::All).unwrap().into_iter().map(|entry| entry.name).collect()
}

/// The chunks that requests of a kind were about, each time anew.
fn about_chunks(seen: &[Seen], operation: Operation) -> Vec<String> {
    let of_kind = seen.iter().filter(|it| it.operation == operation);
    of_kind.filter(|it| it.object.starts_with(CHUNKS)).map(|it| it.object.clone()).collect()
}

/// Makes a copy whose target dies after so many requests, its removals included; how many there were.
fn cut_off(source: &Arc<dyn Backend>, target: &Arc<dyn Backend>, after: u64) -> u64 {
    let (dying, requests) = Slow::dying(target, after);
    // Whether it fails is seen by what is there.
    drop(Place::new(1).run(|job| copy(job, source, &dying, "a", &CopyOptions::default())));
    requests.load(Ordering::SeqCst)
}

#[test]
fn a_copy_that_was_cut_off_asks_for_and_sends_the_rest_alone() {
    let (_disk, store) = sim_store(90);
    fill(&store, 3500);
    let expected = content(&store);
    for compression in [Compression::GzipBestSpeed, Compression::None] {
        let (from, to) = (S3::start().unwrap(), S3::start().unwrap());
        let (source, target) = (bucket(&from), bucket(&to));
        let all = usize::try_from(back_up(&store, &source, compression)).unwrap();
        assert!(all > 3, "{all} chunks");
        let busy = Act::Refuse(503, "SlowDown");
        let _hits = to.script(Rule::new(&[Operation::Put], busy).below(CHUNKS).after(2));
        let error = try_copy(&source, &target, "a", None).expect_err("the target is busy");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        to.behave();
        let there = chunks_in(&target);
        assert_eq!(there.len(), 2, "{there:?}");

        let (asked, sent) = (from.requests(), to.requests());
        let copied = try_copy(&source, &target, "a", None).unwrap();
        assert_eq!(copied.chunks_resumed, 2, "{copied:?}");
        assert_eq!((copied.chunks_reused, copied.chunks_copied), (2, all as u64 - 2));
        let stored = about_chunks(&to.seen()[sent..], Operation::Put);
        assert_eq!(stored.len(), all - 2, "{stored:?}");
        assert!(stored.iter().all(|chunk| !there.contains(chunk)), "no chunk is written again");
        let fetched = about_chunks(&from.seen()[asked..], Operation::Get);
        let fetched: BTreeSet<String> = fetched.into_iter().collect();
        assert_eq!(fetched.len(), all - 2, "{fetched:?}");
        let (_other_disk, other) = sim_store(91);
        restore(&other, &target, "a");
        assert_same(&content(&other), &expected);

        // The next copy of another id owes nothing to it, and a prune takes what it left.
        let (clock, cancel, progress) = (SystemClock::default(), Cancel::new(), Progress::new());
        for _ in 0..3 {
            to.advance(HOURS_50);
            let entropy = &SystemEntropy;
            let job = Job { clock: &clock, entropy, cancel: &cancel, progress: &progress };
            prune(job, &target, &PruneOptions::default()).unwrap();
        }
        let left: Vec<String> =
            to.names().into_iter().filter(|it| !it.contains("/backup-")).collect();
        let chunks = left.iter().filter(|it| it.starts_with(CHUNKS)).count();
        assert_eq!((chunks, left.len()), (all, all + 3), "{left:?}"); // config, note, repository
    }
}

#[test]
fn whatever_a_copy_brought_before_it_was_cut_off_is_not_brought_again() {
    let (_disk, store) = sim_store(92);
    fill(&store, 2500);
    let source = memory();
    let all = back_up(&store, &source, Compression::GzipBestSpeed);
    let mut resumed_most = 0;
    for after in 0.. {
        let target = memory();
        if cut_off(&source, &target, after) <= after {
            break; // it has fewer requests
        }
        if target.stat("a/backup_config.json").unwrap().is_some() {
            continue; // only its answer was lost
        }
        let there = chunks_in(&target);
        let copied = try_copy(&source, &target, "a", None).unwrap();
        assert_eq!(copied.chunks_resumed, there.len() as u64, "after {after}");
        assert_eq!(copied.chunks_resumed + copied.chunks_copied, all, "after {after}");
        assert!(chunks_in(&target).is_superset(&there), "after {after}");
        resumed_most = resumed_most.max(copied.chunks_resumed);
    }
    assert_eq!(resumed_most, all, "at last nothing but the descriptor is missing");
}

#[test]
fn a_chunk_that_vanished_or_is_short_is_brought_again() {
    let (_disk, store) = sim_store(93);
    fill(&store, 2500);
    let source = memory();
    let all = back_up(&store, &source, Compression::GzipBestSpeed);
    let cut_off_after = |after| {
        let target = memory();
        cut_off(&source, &target, after);
        target
    };
    let has_two = |target: &Arc<dyn Backend>| chunks_in(target).len() >= 2;
    let target = (0..100).map(cut_off_after).find(has_two).expect("it has chunks");
    let there: Vec<String> = chunks_in(&target).into_iter().collect();
    target.delete(&there[0]).unwrap();
    target.put(&there[1], vec![0; 1000].into(), PutMode::Replace).unwrap();
    let copied = try_copy(&source, &target, "a", None).unwrap();
    assert_eq!(copied.chunks_resumed + copied.chunks_copied, all);
    assert_eq!(copied.chunks_resumed, there.len() as u64 - 2, "{copied:?}");
}

/// A backup of a few chunks, to be copied again and again.
fn source(seed: u64) -> (Place, Arc<dyn Backend>) {
    let place = Place::new(seed);
    let store = place.store(seed * 100);
    fill(&store, 600);
    let source = memory();
    create(&store, &source, "a");
    (place, source)
}

/// What must hold whoever won: one backup that is whole, and in the end nothing but it.
fn assert_one_is_whole(target: &Place, when: &str) {
    assert_eq!(target.ids(), ["a"], "{when}");
    assert!(target.verify("a", Level::Hashes).is_sound(), "{when}");
    for _ in 0..3 {
        target.prune(&PruneOptions::default());
        target.advance(50);
    }
    target.assert_tidy(when);
    assert!(target.verify("a", Level::Hashes).is_sound(), "{when}");
}

/// Makes the same copy, unless it is there, and says from how many chunks it went on.
fn another(
    target: &Place,
    source: &Arc<dyn Backend>,
    resumed: &Arc<AtomicU64>,
) -> impl FnMut() + Send + 'static {
    let (there, from, resumed) = (target.clone(), Arc::clone(source), Arc::clone(resumed));
    move || {
        let options = CopyOptions::default();
        match there.run(|job| copy(job, &from, &there.backend(), "a", &options)) {
            Ok(made) => resumed.store(made.chunks_resumed, Ordering::SeqCst),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Exists, "{error}"),
        }
    }
}

#[test]
fn a_copy_between_any_two_requests_of_the_same_copy_hurts_nobody() {
    let (_place, source) = source(94);
    let mut went_on = 0;
    for at in 0.. {
        let target = Place::new(95 + at);
        let (met, resumed) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (meet, mut other) = (Arc::clone(&met), another(&target, &source, &resumed));
        let backend = target.hooked(move |number| {
            if number >= at && !meet.swap(true, Ordering::SeqCst) {
                other();
            }
        });
        let ended = target.run(|job| copy(job, &source, &backend, "a", &CopyOptions::default()));
        if let Err(error) = ended {
            assert_eq!(error.kind(), ErrorKind::Exists, "request {at}: {error}");
        }
        assert_one_is_whole(&target, &format!("request {at}"));
        went_on += resumed.load(Ordering::SeqCst);
        if !met.load(Ordering::SeqCst) {
            break; // it has fewer requests
        }
    }
    assert!(went_on > 0, "one of them has gone on from chunks of the other");
}

#[test]
fn a_copy_that_cleans_up_takes_nothing_from_another_that_went_on_from_it() {
    let (_place, source) = source(96);
    let mut went_on = 0;
    for canceled_at in (0..).step_by(2) {
        for met_at in canceled_at + 1.. {
            let target = Place::new(97 + canceled_at);
            let (met, resumed) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
            let ended = target.run(|job| {
                let (cancel, meet) = (job.cancel.clone(), Arc::clone(&met));
                let mut other = another(&target, &source, &resumed);
                let backend = target.hooked(move |number| {
                    if number >= canceled_at {
                        cancel.cancel();
                    }
                    if number >= met_at && !meet.swap(true, Ordering::SeqCst) {
                        other();
                    }
                });
                copy(job, &source, &backend, "a", &CopyOptions::default())
            });
            let when = format!("canceled at {canceled_at}, met at {met_at}: {ended:?}");
            went_on += resumed.load(Ordering::SeqCst);
            if met.load(Ordering::SeqCst) {
                assert_one_is_whole(&target, &when);
            } else if target.ids() == ["a"] {
                assert!(went_on > 0, "one of them has gone on from chunks of the other");
                return; // the commit came before the cancel
            } else {
                break; // it has fewer requests
            }
        }
    }
}

#[test]
fn prunes_between_any_two_requests_of_a_copy_that_goes_on_do_not_hurt_it() {
    let (_place, source) = source(100);
    let cut_off_after = |after| {
        let target = Place::new(101);
        cut_off(&source, &target.backend(), after);
        target
    };
    let is_cut_off = |after: &u64| cut_off_after(*after).ids().is_empty();
    let after = (0..1000).take_while(is_cut_off).last().expect("the first request counts");
    let mut went_on = 0;
    for at in 0.. {
        let target = cut_off_after(after); // right before its commit
        target.advance(40);
        let (there, met) = (target.clone(), Arc::<AtomicBool>::default());
        let meet = Arc::clone(&met);
        let backend = target.hooked(move |number| {
            if number >= at && !meet.swap(true, Ordering::SeqCst) {
                there.prune(&PruneOptions::default());
                there.advance(20); // what the first one left is old enough to be condemned
                there.prune(&PruneOptions::default());
            }
        });
        let options = CopyOptions::default();
        let copied = target.run(|job| copy(job, &source, &backend, "a", &options)).unwrap();
        went_on += copied.chunks_resumed;
        assert_one_is_whole(&target, &format!("request {at}"));
        if !met.load(Ordering::SeqCst) {
            break; // it has fewer requests
        }
    }
    assert!(went_on > 0, "it has gone on");
}

#[test]
fn a_copy_sends_no_more_bytes_a_second_than_it_may() {
    let (_place, source) = source(98);
    let place = Place::new(1);
    for (bound, least) in [(None, 0), (Some(100_000), 1)] {
        let target = Place::new(99);
        let mut options = CopyOptions::default();
        options.bytes_per_second_max = bound;
        let begun = place.clock.monotonic();
        let copied = place.run(|job| copy(job, &source, &target.backend(), "a", &options)).unwrap();
        let took = place.clock.monotonic().saturating_sub(begun);
        // The clock moves when somebody sleeps, and only then.
        let needed = Duration::from_secs(least * copied.bytes_copied / 100_000);
        assert!(copied.bytes_copied > 500_000, "{copied:?}");
        assert!(took >= needed, "{took:?} of {needed:?}");
        assert_eq!(took.is_zero(), bound.is_none(), "{took:?}");
    }
    for bound in [(0, None), (81, None), (50, Some(0))] {
        let mut options = CopyOptions::default();
        (options.cpu_percent, options.bytes_per_second_max) = bound;
        let refused = place.run(|job| copy(job, &source, &memory(), "a", &options));
        assert_eq!(refused.expect_err("no such bound").kind(), ErrorKind::Invalid, "{bound:?}");
    }
}

/// Time that passes when somebody sleeps; each look at the processor clock costs 10 ms of it.
#[derive(Debug, Default)]
struct BusyClock {
    slept_nanos: AtomicU64,
    looks: AtomicU64,
}

impl Clock for BusyClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.slept_nanos.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Duration {
        self.monotonic()
    }

    fn thread_cpu(&self) -> Option<Duration> {
        let looks = self.looks.fetch_add(1, Ordering::SeqCst);
        Some(Duration::from_millis(10 * looks))
    }

    fn sleep(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap();
        self.slept_nanos.fetch_add(nanos, Ordering::SeqCst);
    }
}

#[test]
fn a_copy_pays_for_the_processor_time_of_its_threads() {
    let (_place, source) = source(99);
    let slept = [1, 80].map(|cpu_percent| {
        let clock = BusyClock::default();
        let mut options = CopyOptions::default();
        options.cpu_percent = cpu_percent;
        let (cancel, progress) = (Cancel::new(), Progress::new());
        let job =
            Job { clock: &clock, entropy: &SystemEntropy, cancel: &cancel, progress: &progress };
        copy(job, &source, &memory(), "a", &options).unwrap();
        clock.monotonic()
    });
    assert!(slept[1] > Duration::ZERO && slept[0] > slept[1] * 10, "{slept:?}");
}
