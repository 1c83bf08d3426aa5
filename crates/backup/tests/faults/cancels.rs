//! Cancels: at every request, against the end, and with a new start right behind.

use std::{sync::Arc, thread, time::Duration};

use siltstone_backup::{
    api::{self, Backups},
    backend::{Backend, Depth, Limits},
    error::ErrorKind,
    handle::Handle,
    options::RestoreOptions,
    state::State,
};
use siltstone_io::env::Clock;
use siltstone_loopback::s3::{Act, Operation, Rule, S3, Seen};
use siltstone_lsm::store::Store;

use crate::{
    site::{Site, bucket, check, fresh_store, within},
    support::{assert_same, content, create, fill, memory, os_store, quick, sim_store, wait_until},
};

/// What a caller is promised about a cancel, whatever the backend does.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// Backups of the race between cancel and end.
const SCHEDULES: u32 = 2000;

/// How many of them share a repository: each backup looks at those before it.
const SCHEDULES_OF_ONE: u32 = 250;

/// A client that waits for an answer a little longer than a cancel may take.
fn patient(s3: &S3) -> Arc<dyn Backend> {
    let mut limits = Limits::default();
    limits.control_timeout = SHOWN_WITHIN * 3 / 2;
    limits.part_timeout = SHOWN_WITHIN * 3 / 2;
    within(s3, &limits)
}

/// Lets the request at `index` of an operation fall silent, and cancels while it does. Whether the
/// cancel still counted: it does until the commit begins.
fn cancel_in_silence(s3: &S3, clock: &Arc<dyn Clock>, start: impl FnOnce() -> Handle) -> bool {
    let begun = s3.requests();
    let handle = start();
    let silent = || s3.seen()[begun..].iter().any(|it| it.status.is_none());
    wait_until(|| silent() || handle.status().state.is_final());
    let asked = clock.monotonic();
    handle.cancel();
    let ended = loop {
        let status = handle.status();
        if status.state.is_final() {
            break status.state;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let shown = clock.monotonic().saturating_sub(asked);
    let outcome = handle.wait();
    assert_eq!(handle.status().state, ended, "an end that was shown stays");
    match ended {
        State::Canceled => {
            assert!(shown <= SHOWN_WITHIN, "{shown:?}");
            assert_eq!(outcome.expect_err("canceled").kind(), ErrorKind::Canceled);
            true
        }
        State::Success => {
            outcome.unwrap();
            false
        }
        other => panic!("{other}: {outcome:?}"),
    }
}

#[test]
fn fault_11_a_cancel_at_any_request_is_shown_within_a_second() {
    let site = Site::filled(400);
    let clock = &site.store.env().clock;
    let s3 = S3::start().unwrap();
    site.start(&bucket(&s3), quick()).wait().unwrap();
    let wipe = || {
        s3.behave();
        s3.names().iter().filter(|it| *it != "repository.json").for_each(|name| {
            s3.set_object(name, None);
        });
    };
    // From the first request of the operation itself to its last.
    wipe();
    let before = s3.requests();
    site.start(&bucket(&s3), quick()).wait().unwrap();
    let seen = s3.seen().split_off(before);
    let first = seen.iter().position(|it| it.object.starts_with("nightly/intent-")).unwrap();
    let (mut canceled, mut late) = (0, 0);
    for index in first..seen.len() {
        wipe();
        let backend = patient(&s3);
        backend.conditions().unwrap(); // asked once a client
        let silence = Rule::new(&[], Act::Silence).after(index as u64).times(1);
        s3.script(silence);
        let counted = cancel_in_silence(&s3, clock, || site.start(&backend, quick()));
        if counted {
            canceled += 1;
            wait_until(|| site.store.metrics().pinned_bytes == 0);
            site.recovers(&s3);
        } else {
            late += 1;
            s3.behave();
            site.check(&backend);
        }
    }
    assert!(canceled > 5 && late > 0, "{canceled} were canceled, {late} came too late");

    let before = s3.requests();
    site.check(&bucket(&s3));
    let seen = s3.seen().split_off(before);
    let first = seen.iter().position(|it| it.object.starts_with(".chunks/")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut canceled = 0;
    for index in first..seen.len() {
        s3.behave();
        let target = os_store(&folder.path().join(index.to_string()));
        let backups = Backups::new(target.clone()).unwrap();
        let backend = patient(&s3);
        s3.script(Rule::new(&[], Act::Silence).after(index as u64).times(1));
        let start = || backups.restore(&backend, "nightly", RestoreOptions::default()).unwrap();
        if cancel_in_silence(&s3, clock, start) {
            canceled += 1;
            assert!(target.catalog().collections.is_empty());
            s3.behave();
            start().wait().unwrap();
        }
        assert_same(&content(&target), &site.expected);
    }
    assert!(canceled > 3, "{canceled} restores were canceled");
}

/// Cancels after ever other waits, from the first moment of a backup to after its last.
#[test]
fn fault_12_a_cancel_that_races_the_end_leaves_one_true_state() {
    let (_disk, store) = sim_store(120);
    fill(&store, 3);
    let expected = content(&store);
    let mut repository = memory();
    let backups = Backups::new(store.clone()).unwrap();
    let clock = siltstone_io::env::Env::system(Arc::clone(&store.env().disk)).clock;
    let begun = clock.monotonic();
    create(&store, &repository, "warm");
    let usual = clock.monotonic().saturating_sub(begun);
    let mut ends = [0, 0];
    for round in 0..SCHEDULES {
        if round % SCHEDULES_OF_ONE == 0 {
            repository = memory();
            create(&store, &repository, "warm");
        }
        let id = format!("round-{round}");
        let handle = backups.create(&repository, &id, quick()).unwrap();
        // A sequence that covers the span evenly, whatever the number of rounds.
        let share = f64::from(round * 7919 % SCHEDULES) / f64::from(SCHEDULES);
        let until = clock.monotonic() + usual.mul_f64(share * 1.2);
        while clock.monotonic() < until {
            std::hint::spin_loop();
        }
        let shown = handle.status().state;
        handle.cancel();
        let outcome = handle.wait();
        let state = handle.status().state;
        assert!(!shown.is_final() || shown == state, "{shown} was shown, then {state}");
        if round % 20 == 0 {
            let journal = api::statuses(store.env(), Some(&repository)).unwrap();
            let journal = journal.iter().find(|it| it.id.as_str() == id).unwrap();
            assert_eq!(journal.state, state, "round {round}");
        }
        let is_there = repository.stat(&format!("{id}/backup_config.json")).unwrap().is_some();
        match outcome {
            Ok(_) => assert!(state == State::Success && is_there, "round {round}: {state}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Canceled, "round {round}: {error}");
                assert!(state == State::Canceled && !is_there, "round {round}: {state}");
                assert!(repository.list(&format!("{id}/"), Depth::All).unwrap().is_empty());
            }
        }
        ends[usize::from(is_there)] += 1;
        if is_there && round % 50 == 0 {
            check(&repository, &id, &expected);
        }
    }
    assert!(ends.iter().all(|ends| *ends > 0), "{ends:?} canceled and successful");
}

#[test]
fn fault_16_a_canceled_restore_never_stamps_the_one_behind_it() {
    let site = Site::filled(1500);
    let s3 = S3::start().unwrap();
    site.start(&bucket(&s3), quick()).wait().unwrap();
    let before = s3.requests();
    check(&bucket(&s3), "nightly", &site.expected);
    let of_chunks =
        |it: &&Seen| it.operation == Operation::Get && it.object.starts_with(".chunks/");
    // A check reads all chunks twice.
    let reads = s3.seen()[before..].iter().filter(of_chunks).count() as u64 / 2;
    assert!(reads > 2, "{reads}");
    for after in 0..reads {
        s3.behave();
        let (_disk, target): (_, Store) = fresh_store();
        let backups = Backups::new(target.clone()).unwrap();
        let silence = Rule::new(&[Operation::Get], Act::Silence).below(".chunks/");
        let hits = s3.script(silence.after(after).times(1));
        let restore = || backups.restore(&bucket(&s3), "nightly", RestoreOptions::default());
        let old = restore().unwrap();
        wait_until(|| hits.count() > 0 || old.status().state.is_final());
        old.cancel();
        let new = loop {
            match restore() {
                Ok(handle) => break handle,
                // It is not over yet.
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                    assert_ne!(old.status().state, State::Success, "{error}");
                }
            }
            thread::sleep(Duration::from_millis(1));
        };
        assert_ne!(old.attempt(), new.attempt());
        new.wait().unwrap();
        assert_eq!(old.wait().expect_err("canceled").kind(), ErrorKind::Canceled);
        assert_same(&content(&target), &site.expected);
        assert_eq!((old.status().state, new.status().state), (State::Canceled, State::Success));
        let journal = api::statuses(target.env(), None).unwrap();
        let of_new = journal.iter().find(|it| it.attempt == new.attempt()).unwrap();
        assert_eq!(of_new.state, State::Success);
        let note = s3.object("nightly/restore_config.json").unwrap();
        let note = String::from_utf8_lossy(&note).into_owned();
        assert!(note.contains(&new.attempt().to_string()) && note.contains("SUCCESS"), "{note}");
    }
}
