//! Every bit of every file: a flipped bit or a cut-off file is detected, or changes nothing.

use std::sync::Arc;

use siltstone_io::{disk::Disk, env::Env, sim::SimDisk};
use siltstone_lsm::{error::ErrorKind, store::Store};

use crate::script::{
    Change, Op, Run, Runner, State, buffered, dump, place, put, small_options, write,
};

/// What damage led to.
#[derive(Debug, Default)]
struct Swept {
    tried: u64,
    harmless: u64,
    detected: u64,
    dropped_tail: u64,
}

/// A store whose files are all in use: segments in two levels, tombstones, a WAL with a Sync group
/// and, behind it, a buffered tail.
fn build() -> (SimDisk, Run) {
    let disk = SimDisk::new(3);
    let mut script = vec![Op::Create("a"), Op::Create("b"), Op::CreateTenant("a", "t")];
    for round in 0..3 {
        let value = format!("{round}").repeat(60);
        script.push(write(&(0..6).map(|i| put("a", &format!("k{i}"), &value)).collect::<Vec<_>>()));
        script.push(write(&[
            put("b", "x", "y"),
            Change::Delete(place("a"), vec![b'k', b'0' + round]),
        ]));
        script.push(write(&[put("a/t", &format!("t{round}"), "tenant")]));
        script.push(Op::Flush);
    }
    script.extend([
        Op::Compact,
        Op::Steps(20),
        write(&[put("a", "again", "1"), put("b", "again", "1")]),
        Op::Flush,
        write(&[put("a", "in the log", "1")]),
        write(&[put("b", "in the log", "2"), put("a/t", "in the log", &"3".repeat(700))]),
        buffered(&[put("a", "tail", "not synced")]),
    ]);
    let run = Runner::new(Arc::new(disk.clone()), small_options()).run(&script);
    assert_eq!(run.error, None);
    (disk, run)
}

/// Opens, reads and verifies everything.
fn read_all(disk: &SimDisk) -> siltstone_lsm::error::Result<State> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = Store::open_on(Env::seeded(disk, 5), small_options())?;
    store.verify(&mut |_, _| ())?;
    dump(&store)
}

/// Counts what damage led to; panics when it led to wrong or missing data.
fn judge(damaged: &SimDisk, run: &Run, least: usize, swept: &mut Swept, what: &str) {
    swept.tried += 1;
    match read_all(damaged) {
        Ok(state) if state == *run.states.last().unwrap() => swept.harmless += 1,
        Ok(state) => {
            // Only a tail of whole commits may go.
            assert!(run.states[least..].contains(&state), "{what}: silent loss of commits");
            swept.dropped_tail += 1;
        }
        Err(error) => {
            let honest = [ErrorKind::Corrupt, ErrorKind::NewerFormat, ErrorKind::NotFound];
            assert!(honest.contains(&error.kind()), "{what}: {:?}: {error}", error.kind());
            swept.detected += 1;
        }
    }
}

fn sweep(wanted: impl Fn(&str) -> bool, least_files: usize) {
    let (disk, run) = build();
    let mut swept = Swept::default();
    let paths: Vec<String> = disk.paths().into_iter().filter(|path| wanted(path)).collect();
    assert!(paths.len() >= least_files, "the store has the files to damage: {:?}", disk.paths());
    for path in paths {
        let bytes = disk.read_file(&path).unwrap();
        for (offset, byte) in bytes.iter().enumerate() {
            // Zeros far behind the data (zeroed-ahead log) are all alike: a sample is enough.
            if *byte == 0 && offset % 4096 > 600 && offset % 61 != 0 {
                continue;
            }
            let damaged = disk.fork();
            let bit = u8::try_from(offset * 5 % 8).unwrap();
            damaged.flip(&path, offset as u64, bit).unwrap();
            judge(
                &damaged,
                &run,
                run.durable,
                &mut swept,
                &format!("{path}: bit {bit} of byte {offset}"),
            );
        }
    }
    crate::script::say(&format!("{swept:?}"));
    assert!(swept.detected > 0);
}

#[test]
fn every_flipped_bit_of_a_segment_is_detected_or_harmless() {
    sweep(|path| path.contains(".seg"), 1);
}

#[test]
fn every_flipped_bit_of_the_log_is_detected_or_harmless() {
    sweep(|path| path.contains(".log"), 1);
}

#[test]
fn every_flipped_bit_of_the_manifest_is_detected_or_harmless() {
    sweep(|path| path.starts_with("manifest-") || path == "CURRENT", 2);
}

#[test]
fn every_shortened_file_is_detected_or_harmless() {
    let (disk, run) = build();
    let mut swept = Swept::default();
    for path in disk.paths().into_iter().filter(|path| path != "LOCK") {
        let length = disk.read_file(&path).unwrap().len();
        let step = (length / 400).max(1);
        for left in (0..length).step_by(step) {
            let damaged = disk.fork();
            damaged.truncate(&path, left as u64).unwrap();
            // A log that ends early looks like one whose last writes never reached the device: what
            // is left of it must be a prefix. Every other file is known in full to the manifest.
            let least = if path.contains(".log") { 0 } else { run.durable };
            judge(
                &damaged,
                &run,
                least,
                &mut swept,
                &format!("{path}: cut to {left} of {length} bytes"),
            );
        }
    }
    crate::script::say(&format!("{swept:?}"));
}

#[test]
fn every_missing_file_is_detected() {
    let (disk, run) = build();
    for path in disk.paths().into_iter().filter(|path| path != "LOCK") {
        let damaged = disk.fork();
        damaged.delete_file(&path).unwrap();
        let mut swept = Swept::default();
        judge(&damaged, &run, run.durable, &mut swept, &format!("{path} is gone"));
    }
}
