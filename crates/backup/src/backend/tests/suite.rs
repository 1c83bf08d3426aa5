//! The checks, and the loop that runs them and counts.
//!
//! Each leaves the backend as it found it, so that a failure does not fail those after it.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use super::super::*;
use crate::{error::ErrorKind, names::ChunkId};

pub(super) const EXAMPLE: &str = "a/b/example.json";

/// Objects of one folder: more than any store lists on a page.
const MANY: usize = 1100;

/// A large object: several parts, and a last one that is no round number.
const LARGE_BYTES: usize = (40 << 20) + 12_345;

/// Requests at the same time where there are many.
const THREADS: usize = 8;

/// What is tested, and what it is known to do.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) conditions: Conditions,
}

impl Subject {
    pub(super) fn of(backend: Arc<dyn Backend>) -> Self {
        Self { backend, conditions: Conditions::Enforced }
    }
}

/// One check of a subject, and where it can show nothing.
pub(super) struct Check<T> {
    name: &'static str,
    run: fn(&T),
    /// Why this subject cannot be checked so, if it cannot.
    skip: fn(&T) -> Option<&'static str>,
}

impl<T> Check<T> {
    pub(super) const fn new(name: &'static str, run: fn(&T)) -> Self {
        Self { name, run, skip: |_| None }
    }

    /// Skipped where `skip` says why.
    pub(super) const fn unless(self, skip: fn(&T) -> Option<&'static str>) -> Self {
        let Self { name, run, .. } = self;
        Self { name, run, skip }
    }
}

/// How one check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    Skipped(&'static str),
}

pub(super) const CHECKS: [Check<Subject>; 15] = [
    Check::new("missing objects", missing_objects_are_told_apart_from_failures),
    Check::new("puts", puts_replace_or_refuse),
    Check::new("sizes", sizes_around_the_buffers_come_back),
    Check::new("ranges", ranges_are_exact),
    Check::new("writers", writers_publish_at_the_end_alone),
    Check::new("parts", a_large_object_comes_back_from_its_parts),
    Check::new("nothing written", a_writer_without_bytes_makes_an_empty_object),
    Check::new("aborts", aborts_leave_nothing),
    Check::new("listings", listings_are_sorted_and_bounded),
    Check::new("pages", listings_go_on_over_pages),
    Check::new("deletes", deletes_are_idempotent),
    Check::new("races", of_two_writers_of_a_name_one_wins).unless(conditions_are_ignored),
    Check::new("probe", a_probe_left_behind_does_no_harm),
    Check::new("cancel", canceled_backends_refuse),
    Check::new("clean", the_suite_leaves_nothing),
];

/// Runs the suite; panics at its end if a check failed.
pub(super) fn conforms(name: &str, subject: &Subject) {
    report(name, &run(&CHECKS, subject));
}

/// Runs checks, each to its end or its panic, or not at all.
pub(super) fn run<T>(checks: &[Check<T>], subject: &T) -> Vec<(&'static str, Outcome)> {
    let run = |check: &Check<T>| match (check.skip)(subject) {
        Some(why) => Outcome::Skipped(why),
        None if catch_unwind(AssertUnwindSafe(|| (check.run)(subject))).is_ok() => Outcome::Passed,
        None => Outcome::Failed,
    };
    checks.iter().map(|check| (check.name, run(check))).collect()
}

/// Says how many passed, past the capture of the test runner, and panics if one failed.
pub(super) fn report(name: &str, outcomes: &[(&'static str, Outcome)]) {
    writeln!(std::io::stderr(), "conformance of {name}: {}", summary(outcomes)).unwrap();
    let failed = outcomes.iter().filter(|it| it.1 == Outcome::Failed);
    let failed: Vec<&str> = failed.map(|it| it.0).collect();
    assert!(failed.is_empty(), "{name} fails: {}", failed.join(", "));
}

/// `22 of 23, 1 skipped: races (why)`. What is skipped has not passed.
fn summary(outcomes: &[(&'static str, Outcome)]) -> String {
    let passed = outcomes.iter().filter(|it| it.1 == Outcome::Passed).count();
    let mut summary = format!("{passed} of {}", outcomes.len());
    let skipped: Vec<String> = (outcomes.iter())
        .filter_map(|(name, outcome)| match outcome {
            Outcome::Skipped(why) => Some(format!("{name} ({why})")),
            Outcome::Passed | Outcome::Failed => None,
        })
        .collect();
    if !skipped.is_empty() {
        let listed = skipped.join("; ");
        write!(summary, ", {} skipped: {listed}", skipped.len()).expect("a string takes it");
    }
    summary
}

#[test]
fn what_is_skipped_or_failed_has_not_passed() {
    let checks = [
        Check::new("good", |_: &bool| {}),
        Check::new("bad", |_| panic!("as it should be")),
        Check::new("mute", |_| panic!("never run")).unless(|mute| mute.then_some("it is mute")),
    ];
    let outcomes = run(&checks, &true);
    assert_eq!(
        outcomes,
        [
            ("good", Outcome::Passed),
            ("bad", Outcome::Failed),
            ("mute", Outcome::Skipped("it is mute"))
        ]
    );
    assert_eq!(summary(&outcomes), "1 of 3, 1 skipped: mute (it is mute)");
    assert_eq!(run(&checks, &false)[2], ("mute", Outcome::Failed), "it is run where it can be");
}

pub(super) fn keys(key_id: &str, secret: &str) -> S3Credentials {
    let (key_id, secret) = (key_id.to_owned(), Secret::new(secret));
    S3Credentials::Keys { key_id, secret, session_token: None }
}

fn object(backend: &dyn Backend, name: &str) -> Vec<u8> {
    backend.get(name, 1 << 30).expect(name).to_vec()
}

/// Bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    let words = (0..length as u64).step_by(8).map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    bytes.truncate(length);
    bytes
}

pub(super) fn missing_objects_are_told_apart_from_failures(subject: &Subject) {
    let backend = &*subject.backend;
    assert_eq!(backend.stat(EXAMPLE).unwrap(), None);
    let error = backend.get(EXAMPLE, 100).expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let text = error.to_string();
    assert!(text.contains(EXAMPLE) && text.contains(backend.describe()), "{text}");
    assert!(text.len() < 400, "{text}");
    let error = backend.get_range(EXAMPLE, 0..10).expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(backend.list("a/", Depth::All).unwrap().is_empty());
}

fn puts_replace_or_refuse(subject: &Subject) {
    let backend = &*subject.backend;
    assert_eq!(backend.conditions().unwrap(), subject.conditions);
    backend.put(EXAMPLE, Bytes::from_static(b"one"), PutMode::NoReplace).unwrap();
    let again = backend.put(EXAMPLE, Bytes::from_static(b"two"), PutMode::NoReplace);
    assert_eq!(again.expect_err("taken").kind(), ErrorKind::Exists);
    assert_eq!(object(backend, EXAMPLE), b"one");
    backend.put(EXAMPLE, Bytes::from_static(b"three"), PutMode::Replace).unwrap();
    assert_eq!(object(backend, EXAMPLE), b"three");
    assert_eq!(backend.stat(EXAMPLE).unwrap().expect("there").length, 5);
    let error = backend.get(EXAMPLE, 4).expect_err("over the bound");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    backend.delete(EXAMPLE).unwrap();
}

fn sizes_around_the_buffers_come_back(subject: &Subject) {
    let backend = &*subject.backend;
    for length in [0, 1, 4095, 4096, 4097, 65_536, (1 << 20) + 1, PART_BYTES, PART_BYTES + 1] {
        let bytes = pattern(length);
        backend.put(EXAMPLE, Bytes::from(bytes.clone()), PutMode::Replace).unwrap();
        assert!(object(backend, EXAMPLE) == bytes, "{length} bytes");
        assert_eq!(backend.stat(EXAMPLE).unwrap().expect("there").length, length as u64);
    }
    backend.delete(EXAMPLE).unwrap();
}

fn ranges_are_exact(subject: &Subject) {
    let backend = &*subject.backend;
    backend.put(EXAMPLE, Bytes::from_static(b"three"), PutMode::Replace).unwrap();
    assert_eq!(&backend.get_range(EXAMPLE, 1..4).unwrap()[..], b"hre");
    assert_eq!(&backend.get_range(EXAMPLE, 0..5).unwrap()[..], b"three");
    assert_eq!(&backend.get_range(EXAMPLE, 4..5).unwrap()[..], b"e");
    assert!(backend.get_range(EXAMPLE, 2..2).unwrap().is_empty());
    for range in [0..6, 5..6, 100..101] {
        let error = backend.get_range(EXAMPLE, range.clone()).expect_err("past the end");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{range:?}: {error}");
    }
    backend.delete(EXAMPLE).unwrap();
}

fn writers_publish_at_the_end_alone(subject: &Subject) {
    let backend = &*subject.backend;
    let name = ChunkId([0xab; 16]).object();
    let piece = |i: usize| Bytes::from(vec![b'a' + u8::try_from(i).unwrap(); 700_001]);
    let pieces = 2 * PART_BYTES / 700_000 + 3;
    let mut writer = backend.writer(&name).unwrap();
    for i in 0..pieces {
        writer.write(piece(i)).unwrap();
    }
    assert_eq!(backend.stat(&name).unwrap(), None);
    let length = writer.finish().unwrap();
    assert_eq!(length, (pieces * 700_001) as u64);
    let expected: Vec<u8> = (0..pieces).flat_map(|i| piece(i).to_vec()).collect();
    assert!(object(backend, &name) == expected, "{pieces} pieces come back in order");
    backend.delete(&name).unwrap();
}

fn a_large_object_comes_back_from_its_parts(subject: &Subject) {
    let backend = &*subject.backend;
    let name = ChunkId([0xae; 16]).object();
    let bytes = Bytes::from(pattern(LARGE_BYTES));
    let mut writer = backend.writer(&name).unwrap();
    for at in (0..LARGE_BYTES).step_by(1 << 20) {
        writer.write(bytes.slice(at..LARGE_BYTES.min(at + (1 << 20)))).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), LARGE_BYTES as u64);
    assert_eq!(backend.stat(&name).unwrap().expect("there").length, LARGE_BYTES as u64);
    let edge = PART_BYTES as u64;
    for range in [0..17, edge - 9..edge + 9, 3 * edge..5 * edge + 1, 41_900_000..41_955_385] {
        let got = backend.get_range(&name, range.clone()).unwrap();
        let (from, to) = (usize::try_from(range.start), usize::try_from(range.end));
        assert!(got[..] == bytes[from.unwrap()..to.unwrap()], "{range:?}");
    }
    assert!(object(backend, &name) == bytes, "the whole comes back");
    backend.delete(&name).unwrap();
}

fn a_writer_without_bytes_makes_an_empty_object(subject: &Subject) {
    let backend = &*subject.backend;
    assert_eq!(backend.writer(EXAMPLE).unwrap().finish().unwrap(), 0);
    assert_eq!(object(backend, EXAMPLE), b"");
    backend.delete(EXAMPLE).unwrap();
}

fn aborts_leave_nothing(subject: &Subject) {
    let backend = &*subject.backend;
    let given_up = ChunkId([0xac; 16]).object();
    let mut writer = backend.writer(&given_up).unwrap();
    for _ in 0..3 {
        writer.write(Bytes::from(vec![7; PART_BYTES])).unwrap();
    }
    writer.abort().unwrap();
    assert_eq!(backend.stat(&given_up).unwrap(), None);
    backend.writer(&given_up).unwrap().abort().unwrap();
    drop(backend.writer(&given_up).unwrap());
    assert_eq!(backend.stat(&given_up).unwrap(), None);
}

fn listings_are_sorted_and_bounded(subject: &Subject) {
    let backend = &*subject.backend;
    let objects = ["a/z", "a/b/c", EXAMPLE, "ab/x", "b/y"];
    for name in objects {
        backend.put(name, Bytes::from_static(b"1234"), PutMode::Replace).unwrap();
    }
    let names = |prefix: &str, depth| -> Vec<String> {
        backend.list(prefix, depth).unwrap().into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(names("a/", Depth::All), ["a/b/c", EXAMPLE, "a/z"]);
    assert_eq!(names("a/", Depth::One), ["a/b/", "a/z"]);
    // A store on a file system may go on showing the folder of objects that are gone.
    let top: Vec<String> = names("", Depth::One);
    let top: Vec<&String> = top.iter().filter(|name| *name != ".chunks/").collect();
    assert_eq!(top, ["a/", "ab/", "b/"]);
    assert_eq!(names("", Depth::All).len(), 5);
    assert_eq!(backend.list("ab/", Depth::All).unwrap()[0].length, 4);
    for name in objects {
        backend.delete(name).unwrap();
    }
}

fn listings_go_on_over_pages(subject: &Subject) {
    let names: BTreeSet<String> = (0..MANY).map(|i| format!("many/{}/{i:05}", i % 3)).collect();
    let all: Vec<&String> = names.iter().collect();
    let at_once = |act: &(dyn Fn(&dyn Backend, &str) + Sync)| {
        thread::scope(|scope| {
            for share in all.chunks(MANY.div_ceil(THREADS)) {
                scope.spawn(|| share.iter().for_each(|name| act(&*subject.backend, name)));
            }
        });
    };
    at_once(&|backend, name| backend.put(name, Bytes::new(), PutMode::Replace).unwrap());
    let listed = subject.backend.list("many/", Depth::All).unwrap();
    let listed: Vec<String> = listed.into_iter().map(|entry| entry.name).collect();
    assert!(listed.iter().eq(names.iter()), "{} of {MANY} names are listed", listed.len());
    let folders = subject.backend.list("many/", Depth::One).unwrap();
    assert_eq!(folders.len(), 3, "{folders:?}");
    at_once(&|backend, name| backend.delete(name).unwrap());
    assert!(subject.backend.list("many/", Depth::All).unwrap().is_empty());
}

pub(super) fn deletes_are_idempotent(subject: &Subject) {
    let backend = &*subject.backend;
    backend.delete(EXAMPLE).unwrap();
    assert_eq!(backend.stat(EXAMPLE).unwrap(), None);
    backend.delete(EXAMPLE).unwrap();
    backend.delete("never/was").unwrap();
}

fn conditions_are_ignored(subject: &Subject) -> Option<&'static str> {
    let is_ignored = subject.conditions == Conditions::Ignored;
    is_ignored.then_some("it ignores conditions, as `conditions` says")
}

fn of_two_writers_of_a_name_one_wins(subject: &Subject) {
    for round in 0..4 {
        let name = format!("races/{round}");
        let put =
            |who: u8| subject.backend.put(&name, Bytes::from(vec![who; 64]), PutMode::NoReplace);
        let winners: Vec<u8> = thread::scope(|scope| {
            let racers = [0, 1, 2, 3].map(|who| (who, scope.spawn(move || put(who))));
            let won = racers.map(|(who, racer)| match racer.join().unwrap() {
                Ok(()) => Some(who),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
                    None
                }
            });
            won.into_iter().flatten().collect()
        });
        assert_eq!(winners.len(), 1, "{winners:?} won");
        assert_eq!(object(&*subject.backend, &name), vec![winners[0]; 64]);
        subject.backend.delete(&name).unwrap();
    }
}

fn a_probe_left_behind_does_no_harm(subject: &Subject) {
    subject.backend.put(operator::PROBE, Bytes::from_static(b"old"), PutMode::Replace).unwrap();
    assert_eq!(subject.backend.conditions().unwrap(), subject.conditions);
    subject.backend.delete(operator::PROBE).unwrap();
}

fn canceled_backends_refuse(subject: &Subject) {
    let cancel = Cancel::new();
    let cancelable = subject.backend.cancelable(&cancel);
    let name = ChunkId([0xad; 16]).object();
    let mut writer = cancelable.writer(&name).unwrap();
    writer.write(Bytes::from_static(b"some")).unwrap();
    cancel.cancel();
    let error = writer.write(Bytes::from_static(b"more")).expect_err("canceled");
    assert_eq!(error.kind(), ErrorKind::Canceled);
    writer.abort().unwrap();
    assert_eq!(cancelable.stat(&name).expect_err("canceled").kind(), ErrorKind::Canceled);
    assert_eq!(subject.backend.stat(&name).unwrap(), None);
}

fn the_suite_leaves_nothing(subject: &Subject) {
    let left = subject.backend.list("", Depth::All).unwrap();
    assert!(left.is_empty(), "{left:?}");
}
