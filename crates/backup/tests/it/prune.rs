//! Deletes and prunes, alone, cut off at every request, and between the requests of backups.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use proptest::prelude::*;
use siltstone_backup::{
    api::Backups,
    backend::{Backend, PutMode},
    delete::{Damaged, delete},
    error::ErrorKind,
    prune::{Change, Mode, PruneOptions, prune},
    retention::Policy,
    verify::Level,
};
use siltstone_lsm::{options::Durability, store::Store};

use crate::{
    slow::Slow,
    support::{create, fill, quick},
    timed::Place,
};

fn last(count: u32) -> PruneOptions {
    let mut options = PruneOptions::default();
    options.policy.last = Some(count);
    options
}

/// Writes rows `from..to` of both collections.
fn write(store: &Store, from: u32, to: u32, round: u32) {
    let birds = store.tree("birds", None).unwrap();
    for row in from..to {
        let key = format!("key-{row:06}");
        let value: Vec<u8> = (0..500_u32).map(|at| ((row * 31 + at * round) % 251) as u8).collect();
        store.put(birds, key.as_bytes(), &value, Durability::Buffered).unwrap();
    }
    store.sync().unwrap();
}

#[test]
fn a_deleted_backup_is_gone_and_the_others_are_not_hurt() {
    let place = Place::new(1);
    let store = place.store(100);
    fill(&store, 300);
    let backend = place.backend();
    for id in ["a", "b", "c"] {
        create(&store, &backend, id);
        write(&store, 0, 50, 3);
    }
    for (id, left) in [("b", &["c", "a"][..]), ("a", &["c"]), ("c", &[])] {
        let deleted = delete(&backend, id, Damaged::Refuse).unwrap();
        assert_eq!(deleted.config.expect("it could be read").id.as_str(), id);
        assert_eq!(delete(&backend, id, Damaged::Remove).unwrap_err().kind(), ErrorKind::NotFound);
        let mut ids = place.ids();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(ids, left);
        for id in left {
            assert!(place.verify(id, Level::Hashes).is_sound());
        }
    }
    assert!(place.objects().iter().all(|it| it.starts_with(".chunks/") || it == "repository.json"));
}

#[test]
fn chunks_go_in_two_steps_a_grace_apart() {
    let place = Place::new(2);
    let store = place.store(200);
    fill(&store, 300);
    create(&store, &place.backend(), "a");
    let chunks = place.objects().iter().filter(|it| it.starts_with(".chunks/")).count() as u64;
    place.delete("a").unwrap();
    let report = place.prune(&PruneOptions::default());
    assert_eq!((report.young.chunks, report.changes.len()), (chunks, 0), "younger than the grace");
    place.advance(48);
    let report = place.prune(&PruneOptions::default());
    assert_eq!((report.condemned.chunks, report.removed.chunks), (chunks, 0));
    assert!(report.condemned.bytes > 0);
    place.advance(47);
    let report = place.prune(&PruneOptions::default());
    assert_eq!((report.waiting.chunks, report.changes.len()), (chunks, 0), "within the grace");
    place.advance(1);
    let report = place.prune(&PruneOptions::default());
    assert_eq!(report.removed.chunks, chunks);
    assert_eq!(report.changes.len() as u64, chunks + 1, "and the list");
    place.assert_tidy("after both steps");
    assert_eq!(place.objects(), ["repository.json"]);
}

#[test]
fn a_dry_run_says_what_a_run_does_and_changes_nothing() {
    let place = Place::new(3);
    let store = place.store(300);
    fill(&store, 200);
    for round in 0..6_u32 {
        create(&store, &place.backend(), &format!("b{round}"));
        write(&store, 0, 200, round + 2);
        place.advance(30);
        let before = place.objects();
        let mut dry = last(2);
        dry.mode = Mode::DryRun;
        let said = place.prune(&dry);
        assert_eq!(place.objects(), before);
        let done = place.prune(&last(2));
        assert_eq!((&said.changes, said.condemned), (&done.changes, done.condemned));
        assert_eq!(place.ids().len(), 2.min(round as usize + 1));
        place.assert_sound("after a prune");
    }
    assert_eq!(place.ids(), ["b5", "b4"]);
}

#[test]
fn each_store_has_its_own_history() {
    let place = Place::new(4);
    let (one, two) = (place.store(400), place.store(401));
    for (store, id) in [(&one, "one"), (&two, "two")] {
        fill(store, 20);
        for number in 0..2 {
            create(store, &place.backend(), &format!("{id}{number}"));
            place.advance(1);
        }
    }
    let report = place.prune(&last(1));
    assert_eq!(report.verdicts.len(), 4);
    let mut ids = place.ids();
    ids.sort_unstable();
    assert_eq!(ids, ["one1", "two1"]);
}

#[test]
fn what_cannot_be_read_stops_a_prune_and_is_named() {
    let place = Place::new(5);
    let store = place.store(500);
    fill(&store, 50);
    for id in ["a", "b"] {
        create(&store, &place.backend(), id);
    }
    place.delete("b").unwrap();
    place.advance(100);
    let before = place.objects();
    let part = before.iter().find(|it| it.starts_with("a/node1/")).expect("a part").clone();
    let intent = format!("a/intent-{}.json", "5".repeat(32));
    let list = format!(".prune/{}.json", "6".repeat(32));
    for object in ["a/backup_config.json", &part, &intent, &list] {
        let backend = place.backend();
        let whole = backend.get(object, 1 << 20).ok();
        backend.put(object, "damage".into(), PutMode::Replace).unwrap();
        let ended = place.run(|job| prune(job, &backend, &last(1)));
        let error = ended.expect_err(object);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(object), "{error}");
        match whole {
            Some(whole) => backend.put(object, whole, PutMode::Replace).unwrap(),
            None => backend.delete(object).unwrap(),
        }
        assert_eq!(place.objects(), before, "nothing was pruned, and no mark stays");
    }
    place.advance(100);
    place.prune(&last(1));
    place.advance(100);
    place.prune(&last(1));
    place.assert_tidy("once all can be read");
}

#[test]
fn a_damaged_backup_is_deleted_only_as_such() {
    let place = Place::new(6);
    let store = place.store(600);
    fill(&store, 50);
    for id in ["a", "b"] {
        create(&store, &place.backend(), id);
    }
    let backend = place.backend();
    let damage = |text: &'static str| {
        backend.put("a/backup_config.json", text.into(), PutMode::Replace).unwrap();
    };
    damage("damage");
    let error = delete(&backend, "a", Damaged::Refuse).expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(delete(&backend, "a", Damaged::Remove).unwrap().config.is_none());
    assert_eq!(place.ids(), ["b"]);
    for _ in 0..3 {
        place.advance(50);
        place.prune(&PruneOptions::default());
    }
    place.assert_tidy("the parts of the damaged one are gone");
    assert!(place.verify("b", Level::Rehearsal).is_sound());
}

#[test]
fn only_what_fits_our_names_is_ever_removed() {
    let place = Place::new(7);
    let store = place.store(700);
    fill(&store, 20);
    create(&store, &place.backend(), "a");
    place.delete("a").unwrap();
    let attempt = "1".repeat(32);
    let strangers = [
        "README".to_owned(),
        "a/notes.txt".to_owned(),
        "a/node1/backup-x-0.jsonl".to_owned(),
        "Upper/backup_config.json".to_owned(),
        ".chunks/aa/notes".to_owned(),
        format!(".chunks/aa/{}", "b".repeat(32)),
        format!("a/node1/sub/backup-{attempt}-0.jsonl"),
    ];
    let ours = format!("a/node1/backup-{attempt}-0.jsonl");
    for object in strangers.iter().chain([&ours]) {
        place.backend().put(object, "x".into(), PutMode::Replace).unwrap();
    }
    for _ in 0..3 {
        place.advance(50);
        place.prune(&PruneOptions::default());
    }
    let mut expected = strangers.to_vec();
    expected.push("repository.json".to_owned());
    expected.sort_unstable();
    assert_eq!(place.objects(), expected);
}

#[test]
fn a_grace_under_the_least_and_a_backend_without_ages_are_refused() {
    let place = Place::new(8);
    let store = place.store(800);
    create(&store, &place.backend(), "a");
    let mut options = PruneOptions::default();
    options.grace = Duration::from_mins(59);
    let error = place.run(|job| prune(job, &place.backend(), &options)).expect_err("short");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let ageless = crate::support::memory();
    create(&store, &ageless, "a");
    let before = ageless.list("", siltstone_backup::backend::Depth::All).unwrap();
    if before.iter().all(|entry| entry.modified.is_none()) {
        let error = place.run(|job| prune(job, &ageless, &last(1))).expect_err("no ages");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(ageless.list("", siltstone_backup::backend::Depth::All).unwrap(), before);
    }
}

/// A repository with backups to delete, dead attempts, ripe and fresh lists.
fn with_everything_to_do(seed: u64) -> Place {
    let place = Place::new(seed);
    let store = place.store(seed * 1000);
    fill(&store, 100);
    for round in 0..3_u32 {
        create(&store, &place.backend(), &format!("b{round}"));
        write(&store, 0, 100, round + 2);
        place.advance(1);
    }
    place.delete("b0").unwrap();
    place.advance(50);
    place.prune(&PruneOptions::default()); // condemns the chunks of b0
    place.advance(50);
    let attempt = "1".repeat(32);
    for object in
        [format!("b9/node1/backup-{attempt}-0.jsonl"), format!("b9/intent-{attempt}.json")]
    {
        place.backend().put(&object, "dead".into(), PutMode::Replace).unwrap();
    }
    place.advance(50);
    create(&store, &place.backend(), "b3");
    place
}

#[test]
fn a_prune_or_delete_cut_off_at_any_request_is_finished_by_the_next() {
    let whole = with_everything_to_do(9);
    let count = {
        let place = whole.fork();
        let (counted, requests) = Slow::dying(&place.backend(), u64::MAX);
        place.run(|job| prune(job, &counted, &last(1))).unwrap();
        let pruned = requests.load(Ordering::SeqCst);
        delete(&counted, "b3", Damaged::Refuse).unwrap();
        assert!(requests.load(Ordering::SeqCst) > pruned + 3);
        requests.load(Ordering::SeqCst)
    };
    for after in 0..count {
        let place = whole.fork();
        let (dying, _) = Slow::dying(&place.backend(), after);
        let ended = place.run(|job| prune(job, &dying, &last(1)));
        place.assert_sound(&format!("prune after {after}"));
        if ended.is_ok() {
            delete(&dying, "b3", Damaged::Refuse).expect_err("the requests do not suffice");
            place.assert_sound(&format!("delete after {after}"));
        }
        let kept = place.ids();
        for _ in 0..3 {
            place.prune(&last(1));
            place.assert_sound(&format!("again after {after}"));
            place.advance(50);
        }
        assert!(kept.len() <= 1 || place.ids() == ["b3"], "{kept:?}");
        place.assert_tidy(&format!("in the end after {after}"));
    }
}

#[test]
fn a_repository_with_churn_stays_near_the_size_of_its_store() {
    let place = Place::new(10);
    let store = place.store(1000);
    fill(&store, 800);
    let backend = place.backend();
    let mut sizes = Vec::new();
    for round in 0..24_u32 {
        create(&store, &backend, &format!("b{round}"));
        // A quarter of the birds anew, another one each time; compaction moves the rest about.
        write(&store, round % 4 * 200, round % 4 * 200 + 200, round + 2);
        if round % 3 == 2 {
            store.compact().unwrap();
        }
        place.advance(24);
        place.prune(&last(2));
        let report = place.prune(&last(2));
        let live: u64 = {
            let contents = siltstone_backup::show::show(&backend, &format!("b{round}")).unwrap();
            contents.chunks.iter().map(|chunk| chunk.bytes).sum()
        };
        sizes.push((report.live.bytes, live));
        place.assert_sound("with churn");
    }
    // What the last two backups need is within twice the newest one and a generation more.
    for (round, (kept, newest)) in sizes.iter().enumerate().skip(6) {
        assert!(*kept <= 3 * newest, "round {round}: {sizes:?}");
    }
    // Chunks themselves: the condemned and the young are those of the last 96 hours and one run.
    place.advance(100);
    place.prune(&last(1));
    place.advance(100);
    let report = place.prune(&last(1));
    place.assert_tidy("when it has come to rest");
    let segments = siltstone_backup::show::show(&backend, "b23").unwrap();
    let plain = segments.plain_bytes();
    let needed = segments.config.totals.segment_bytes;
    assert!(plain <= 2 * needed + (1 << 20), "{plain} bytes are kept for {needed}; {report:?}");
    assert!(place.verify("b23", Level::Rehearsal).is_sound());
}

/// What happens between two requests of something else.
#[derive(Clone, Copy, Debug)]
enum Act {
    Advance(u64),
    DeleteOldest,
    DeleteNewest,
    Prune(Option<u32>),
}

/// One thing after another; acts happen before the request of that number.
#[derive(Clone, Debug)]
enum Step {
    Write(u32),
    Backup(Vec<(u64, Act)>),
    /// A prune, and a backup that is made whole before one of its requests.
    PruneAroundBackup(u64, Vec<(u64, Act)>),
    Act(Act),
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (1_u64..60).prop_map(Act::Advance),
        1 => Just(Act::DeleteOldest),
        1 => Just(Act::DeleteNewest),
        3 => prop::option::of(1_u32..4).prop_map(Act::Prune),
    ]
}

fn interposed() -> impl Strategy<Value = Vec<(u64, Act)>> {
    prop::collection::vec((0_u64..40, acts()), 0..5)
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1_u32..100).prop_map(Step::Write),
        3 => interposed().prop_map(Step::Backup),
        2 => (0_u64..40, interposed()).prop_map(|(at, acts)| Step::PruneAroundBackup(at, acts)),
        3 => acts().prop_map(Step::Act),
    ]
}

fn act(place: &Place, act: Act) {
    match act {
        Act::Advance(hours) => place.advance(hours),
        Act::DeleteOldest | Act::DeleteNewest => {
            let ids = place.ids();
            let id = if matches!(act, Act::DeleteNewest) { ids.first() } else { ids.last() };
            if let Some(id) = id {
                place.delete(id).unwrap();
            }
        }
        Act::Prune(count) if !place.objects().is_empty() => {
            let mut options = PruneOptions::default();
            options.policy = Policy::default();
            options.policy.last = count;
            place.prune(&options);
        }
        Act::Prune(_) => {}
    }
    place.assert_sound("between two requests");
}

/// A backend that does `acts` before the requests of their numbers.
fn acting(place: &Place, mut acts: Vec<(u64, Act)>) -> Arc<dyn Backend> {
    let there = place.clone();
    place.hooked(move |number| {
        let due: Vec<(u64, Act)> = acts.extract_if(.., |(at, _)| *at == number).collect();
        for (_, now) in due {
            act(&there, now);
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_of_backups_deletes_and_prunes_takes_a_chunk_that_is_needed(
        steps in prop::collection::vec(steps(), 4..16),
        seed in 1_u64..1_000_000,
    ) {
        let place = Place::new(seed);
        let store = place.store(seed);
        fill(&store, 60);
        let made = Arc::new(Mutex::new(0));
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Write(rows) => write(&store, 0, rows, u32::try_from(number).unwrap() + 2),
                Step::Act(now) => act(&place, now),
                Step::Backup(acts) => {
                    let backend = acting(&place, acts);
                    let backups = Backups::new(store.clone()).unwrap();
                    let ended = backups.create(&backend, &format!("b{number}"), quick());
                    let ended = ended.and_then(|handle| handle.wait());
                    *made.lock().unwrap() += u32::from(ended.is_ok());
                    if let Err(error) = ended {
                        // It took too long, by the clock that was moved.
                        prop_assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error);
                    }
                }
                Step::PruneAroundBackup(at, acts) if !place.objects().is_empty() => {
                    let (there, store, made) = (place.clone(), store.clone(), Arc::clone(&made));
                    let mut acts = Some(acts);
                    let backend = place.hooked(move |request| {
                        if request == at && let Some(acts) = acts.take() {
                            let backend = acting(&there, acts);
                            let backups = Backups::new(store.clone()).unwrap();
                            let ended = backups.create(&backend, &format!("p{number}"), quick());
                            let ended = ended.and_then(|handle| handle.wait());
                            *made.lock().unwrap() += u32::from(ended.is_ok());
                        }
                    });
                    let mut options = last(2);
                    options.policy.daily = 2;
                    place.run(|job| prune(job, &backend, &options)).unwrap();
                }
                Step::PruneAroundBackup(..) => {}
            }
            place.assert_sound("after a step");
        }
        for id in place.ids() {
            prop_assert!(place.verify(&id, Level::Hashes).is_sound());
        }
        for _ in 0..3 {
            place.advance(50);
            if !place.objects().is_empty() {
                let report = place.prune(&PruneOptions::default());
                prop_assert!(!report.changes.iter().any(|it| matches!(it, Change::DeleteBackup(_))));
                place.assert_sound("in the end");
            }
        }
        if !place.objects().is_empty() {
            place.assert_tidy("in the end");
        }
        for id in place.ids() {
            prop_assert!(place.verify(&id, Level::Hashes).is_sound());
        }
    }
}
