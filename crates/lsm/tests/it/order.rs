//! The ordering rules of durability, asserted at every disk operation of a store: what `CURRENT` and
//! the manifest name is durable before it is named and stays until it is named no more, nothing
//! follows a failed sync, and a catalog or restore edit waits for the log up to its place.

use std::sync::{Arc, Mutex};

use siltstone_io::{
    check::{CheckDisk, Record, RecordReader},
    disk::Disk,
    env::Env,
    fault::{Fault, FaultDisk, FaultRule},
    path::RelPath,
    sim::SimDisk,
};
use siltstone_lsm::{
    format::{
        manifest::{Current, Head, PAGE_BYTES},
        names,
        wal::FRAMES_START,
    },
    manifest::{Manifest, State},
    types::LogId,
};

use crate::script::{Change, Op, Runner, buffered, place, put, small_options, write};

/// Reads `CURRENT` and the manifests on a fork of the disk, so that reading changes nothing.
#[derive(Debug)]
struct StoreRecords {
    disk: SimDisk,
    /// The number of the last edit of the commit queue that a manifest held.
    last_queue_edit: Mutex<u64>,
}

impl StoreRecords {
    fn current(&self) -> Option<Record> {
        let current = Current::decode(&self.disk.read_file(names::CURRENT)?).ok()?;
        Some(Record::root().needs(names::manifest(current.number)))
    }

    fn manifest(&self, path: &RelPath, number: u64) -> Option<Record> {
        let bytes = self.disk.read_file(path.as_str())?;
        let head = Head::decode(bytes.get(..PAGE_BYTES)?).ok()?;
        let fork = self.disk.fork();
        let current = Current { number, store_id: head.store_id };
        fork.write_file(names::CURRENT, &current.encode()).ok()?;
        let env = Env::seeded(Arc::new(fork), 1);
        let state = Manifest::open(&env, u64::MAX).ok()?.state();
        let files = state.version.files().map(|file| names::file(file.id));
        let held = state.held.files().map(|held| names::file(held.file));
        let record = files.chain(held).fold(Record::named(), Record::needs);
        // Buffered commits in them may be lost.
        let record =
            live_logs(&state).fold(record, |record, log| record.needs_start(log, FRAMES_START));
        if !self.has_a_new_queue_edit(&state) {
            return Some(record);
        }
        // The script is the only writer, so the edit's place is the end of what the logs hold.
        let ends = live_logs(&state).filter_map(|log| Some((self.end(&log)?, log)));
        Some(ends.fold(record, |record, (end, log)| record.needs_synced(log, end)))
    }

    fn has_a_new_queue_edit(&self, state: &State) -> bool {
        let mut last = self.last_queue_edit.lock().expect("no one panics while holding it");
        let is_new = state.last_queue_edit > *last;
        *last = state.last_queue_edit.max(*last);
        is_new
    }

    /// Where the frames of a log end: they end in a byte that is not zero, and zeros follow.
    fn end(&self, log: &RelPath) -> Option<u64> {
        let bytes = self.disk.read_file(log.as_str())?;
        let last = bytes.iter().rposition(|&byte| byte != 0)?;
        Some(last as u64 + 1)
    }
}

fn live_logs(state: &State) -> impl Iterator<Item = RelPath> {
    (state.replay_floor.0.0..=state.last_log.0).map(|log| names::log(LogId(log)))
}

impl RecordReader for StoreRecords {
    fn read(&self, path: &RelPath, _disk: &dyn Disk) -> Option<Record> {
        if path.as_str() == names::CURRENT {
            return self.current();
        }
        self.manifest(path, names::parse_manifest(path.as_str())?)
    }
}

fn check(sim: &SimDisk, disk: Arc<dyn Disk>) -> Arc<CheckDisk> {
    let records = StoreRecords { disk: sim.clone(), last_queue_edit: Mutex::default() };
    Arc::new(CheckDisk::with_reader(disk, Arc::new(records), &[]))
}

fn script() -> Vec<Op> {
    let mut script = vec![Op::Create("a"), Op::Create("b"), Op::CreateTenant("a", "t")];
    for round in 0..5 {
        let value = format!("{round}").repeat(60);
        let rows: Vec<Change> = (0..8).map(|i| put("a", &format!("k{i}"), &value)).collect();
        script.push(write(&rows));
        script.push(buffered(&[put("b", "x", &value), Change::Delete(place("a"), b"k1".to_vec())]));
        script.push(if round % 2 == 0 { Op::Flush } else { Op::Cold("a", "t") });
        script.push(Op::Steps(4));
        script.push(buffered(&[put("b", "y", &value)]));
        script.push(Op::Hot("a", "t"));
    }
    script.extend([Op::Rename("b", "c"), Op::Cut, Op::Hold, Op::Steps(3)]);
    script.extend([Op::Restore("r"), Op::Hold, Op::Reopen, Op::Discard, Op::Compact]);
    script.extend([Op::Drop("c"), Op::Steps(20), Op::Close, write(&[put("a", "last", "1")])]);
    script
}

#[test]
fn every_operation_of_a_store_keeps_the_order() {
    let sim = SimDisk::new(1);
    let disk = check(&sim, Arc::new(sim.clone()));
    let run = Runner::new(Arc::clone(&disk) as _, small_options()).run(&script());
    assert_eq!((run.error, disk.violations()), (None, Vec::new()));
    assert!(sim.operations() > 300, "the script is long enough: {}", sim.operations());
    let manifests = sim.paths().into_iter().filter_map(|path| names::parse_manifest(&path));
    assert!(manifests.max() > Some(2), "the manifest was rolled");
}

#[test]
fn a_failing_disk_does_not_break_the_order() {
    for nth in (1..).step_by(3) {
        let sim = SimDisk::new(1);
        let faults = FaultDisk::new(Arc::new(sim.clone()));
        faults.inject(FaultRule::new(Fault::Device).at(nth));
        let disk = check(&sim, Arc::new(faults.clone()));
        let run = Runner::new(Arc::clone(&disk) as _, small_options()).run(&script());
        assert_eq!(disk.violations(), Vec::<String>::new(), "a failure at operation {nth}");
        if faults.fired() == 0 {
            assert_eq!(run.error, None, "without a fault the script runs");
            break;
        }
    }
}
