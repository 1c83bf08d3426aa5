//! Journals of living, dead and finished operations, read by their own process and by others.

use siltstone_io::sim::{Crash, SimDisk};

use super::*;
use crate::names::{BackupId, NodeName};

fn journals(disk: &SimDisk) -> Journals {
    Journals::new(Env::seeded(Arc::new(disk.clone()), 1))
}

fn begin(number: u8) -> Begin {
    Begin {
        kind: Kind::Create,
        id: BackupId::new("nightly").unwrap(),
        attempt: AttemptId([number; 16]),
        node: NodeName::default(),
        backend: "memory".to_owned(),
        pid: 7,
        started_ms: u64::from(number),
    }
}

fn finish(journal: &mut Journal) {
    for state in [State::Transferring, State::Transferred, State::Success] {
        journal.enter(state, 9, None).unwrap();
    }
}

#[test]
fn a_reader_sees_a_running_operation_and_its_end() {
    let disk = SimDisk::new(1);
    let (writer, reader) = (journals(&disk), journals(&disk));
    assert!(reader.entries().unwrap().is_empty());
    let mut journal = writer.begin(&begin(1)).unwrap();
    journal.note(&Event::Plan { bytes_total: 10, bytes_reused: 3 }).unwrap();
    let entry = &reader.entries().unwrap()[0];
    assert!(entry.alive && !entry.is_interrupted());
    assert_eq!((entry.state, entry.progress.bytes_total), (State::Started, 10));
    finish(&mut journal);
    drop(journal);
    let entry = &reader.entries().unwrap()[0];
    assert_eq!((entry.state, entry.is_interrupted()), (State::Success, false));
    assert_eq!(disk.paths().iter().filter(|path| path.contains(".lock")).count(), 0);
}

#[test]
fn one_operation_runs_at_a_time() {
    let disk = SimDisk::new(2);
    let journals = journals(&disk);
    let running = journals.begin(&begin(1)).unwrap();
    assert_eq!(journals.begin(&begin(2)).expect_err("busy").kind(), ErrorKind::Busy);
    drop(running);
    assert!(journals.begin(&begin(3)).is_ok());
}

#[test]
fn a_dead_operation_is_interrupted_and_can_be_ended() {
    let disk = SimDisk::new(3);
    let mut journal = journals(&disk).begin(&begin(1)).unwrap();
    journal.record(&Event::Object { name: "x".to_owned() }).unwrap();
    drop(journal); // as a kill: locks are free, no end is written
    let journals = journals(&disk);
    let entry = journals.entries().unwrap().remove(0);
    assert!(entry.is_interrupted());
    assert_eq!(entry.objects, ["x"]);
    let mut adopted = journals.adopt(&entry).unwrap();
    adopted.enter(State::Failed, 5, Some("interrupted")).unwrap();
    drop(adopted);
    let entry = journals.entries().unwrap().remove(0);
    assert_eq!((entry.state, entry.error.as_deref()), (State::Failed, Some("interrupted")));
}

#[test]
fn a_cancel_request_is_seen_and_goes_with_the_operation() {
    let disk = SimDisk::new(4);
    let (writer, other) = (journals(&disk), journals(&disk));
    let mut journal = writer.begin(&begin(1)).unwrap();
    let attempt = begin(1).attempt;
    assert!(!writer.is_cancel_requested(attempt).unwrap());
    other.request_cancel(attempt).unwrap();
    other.request_cancel(attempt).unwrap();
    assert!(writer.is_cancel_requested(attempt).unwrap());
    journal.enter(State::Canceled, 5, None).unwrap();
    drop(journal);
    assert!(!writer.is_cancel_requested(attempt).unwrap());
}

#[test]
fn tidy_keeps_the_newest_and_what_is_not_finished() {
    let disk = SimDisk::new(5);
    let journals = journals(&disk);
    drop(journals.begin(&begin(0)).unwrap()); // interrupted
    for number in 1..=u8::try_from(FINISHED_MAX + 5).unwrap() {
        let mut journal = journals.begin(&begin(number)).unwrap();
        finish(&mut journal);
        if number > 1 {
            journal.record(&Event::Cleaned).unwrap();
        }
    }
    journals.tidy().unwrap();
    let entries = journals.entries().unwrap();
    assert_eq!(entries.len(), FINISHED_MAX + 2);
    assert_eq!(entries[0].begin.attempt, begin(u8::try_from(FINISHED_MAX + 5).unwrap()).attempt);
    let [.., unclean, interrupted] = &entries[..] else { panic!("there are more than two") };
    assert_eq!((unclean.begin.attempt, unclean.is_unclean()), (begin(1).attempt, true));
    assert!(interrupted.is_interrupted());
    assert_eq!(disk.paths().iter().filter(|path| path.contains(".lock")).count(), 0);
}

#[test]
fn what_was_recorded_survives_every_crash() {
    let script = |disk: &SimDisk| -> Result<Journal> {
        let mut journal = journals(disk).begin(&begin(1))?;
        journal.record(&Event::Object { name: "x".to_owned() })?;
        journal.enter(State::Transferring, 2, None)?;
        journal.note(&Event::Progress {
            bytes_done: 1,
            bytes_stored: 1,
            chunks_done: 0,
            bytes_pinned: 0,
            bytes_held: 5,
        })?;
        Ok(journal)
    };
    let whole = SimDisk::new(6);
    drop(script(&whole).unwrap());
    for steps in 0..=whole.operations() {
        let disk = SimDisk::new(6);
        disk.stop_after(steps);
        let finished = script(&disk);
        for crash in Crash::matrix(steps) {
            let after = journals(&disk.crash(crash));
            let entries = after.entries().unwrap();
            if finished.is_ok() {
                assert_eq!(entries[0].state, State::Transferring, "{steps} {crash:?}");
                assert_eq!(entries[0].objects, ["x"]);
            }
            after.tidy().unwrap();
            assert!(entries.iter().all(Entry::is_interrupted));
            let mut again = after.begin(&begin(2)).unwrap();
            finish(&mut again);
        }
    }
}
