//! [`FaultDisk`]: fails chosen operations, so that every error path is a path some test has taken.
//!
//! A [`FaultRule`] names operations by kind and path, and the one among them at which it begins. A
//! test that loops over `1, 2, 3, ..` until nothing fires has failed its script everywhere:
//!
//! ```
//! # use std::sync::Arc;
//! # use siltstone_io::{disk::Disk, path::RelPath, sim::SimDisk};
//! use siltstone_io::fault::{Fault, FaultDisk, FaultRule};
//!
//! for nth in 1.. {
//!     let disk = FaultDisk::new(Arc::new(SimDisk::new(1)));
//!     disk.inject(FaultRule::new(Fault::Device).at(nth));
//!     let result = disk.create_log(&RelPath::new("log")?);
//!     assert_eq!(result.is_err(), disk.fired() > 0);
//!     if disk.fired() == 0 {
//!         break;
//!     }
//! }
//! # Ok::<(), siltstone_io::error::Error>(())
//! ```
//!
//! A failed sync of this wrapper leaves the bytes unsynced, and a later sync would make them durable.
//! Real file systems are worse: [`crate::sim::SyncFailure`] has their ways.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    disk::Disk,
    error::ErrorKind,
    tap::{Call, Operation, Tap, TapDisk, Verdict},
};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The operation is not done, and `Device` is reported.
    Device,
    /// The operation is done, and `Device` is reported all the same.
    DeviceAfter,
    /// The operation is not done, and `NoSpace` is reported. Only operations that take space.
    NoSpace,
    /// About half of the bytes are served. Only operations that may be short.
    Short,
}

/// Which operations fail, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRule {
    fault: Fault,
    at: u64,
    once: bool,
    operations: Vec<Operation>,
    path_part: String,
}

impl FaultRule {
    /// Fails the next operation that can have the fault, once.
    pub fn new(fault: Fault) -> Self {
        Self { fault, at: 1, once: true, operations: Vec::new(), path_part: String::new() }
    }

    /// Begins at the `nth` matching operation; 1 is the next.
    ///
    /// # Panics
    /// When `nth` is 0.
    #[must_use]
    pub fn at(self, nth: u64) -> Self {
        assert!(nth > 0, "the next operation is the first");
        Self { at: nth, ..self }
    }

    /// Goes on with every later matching operation.
    #[must_use]
    pub fn forever(self) -> Self {
        Self { once: false, ..self }
    }

    /// Matches only these kinds.
    #[must_use]
    pub fn on(self, operations: &[Operation]) -> Self {
        Self { operations: operations.to_vec(), ..self }
    }

    /// Matches only where the path (of a rename, either path) contains `part`.
    #[must_use]
    pub fn path(self, part: impl Into<String>) -> Self {
        Self { path_part: part.into(), ..self }
    }

    fn matches(&self, call: &Call<'_>) -> bool {
        let possible = match self.fault {
            Fault::Device | Fault::DeviceAfter => true,
            Fault::NoSpace => call.operation.takes_space(),
            Fault::Short => call.operation.may_be_short() && call.len > 1,
        };
        let named = std::iter::once(call.path).chain(call.to);
        possible
            && (self.operations.is_empty() || self.operations.contains(&call.operation))
            && named.into_iter().any(|path| path.as_str().contains(&self.path_part))
    }
}

/// A disk that fails on command.
pub type FaultDisk = TapDisk<Faults>;

/// The rules of a [`FaultDisk`] and what they have done.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Armed>);

#[derive(Debug, Default)]
struct Armed {
    rules: Vec<(FaultRule, u64)>,
    operations: u64,
    fired: u64,
}

impl TapDisk<Faults> {
    /// Wraps `disk`; nothing fails yet.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self::tapping(disk, Faults::default())
    }

    /// Adds a rule; it counts from now on. The first rule that fires decides.
    pub fn inject(&self, rule: FaultRule) {
        self.tap().armed().rules.push((rule, 0));
    }

    /// Removes all rules.
    pub fn heal(&self) {
        self.tap().armed().rules.clear();
    }

    /// How many operations were called, reads included.
    pub fn operations(&self) -> u64 {
        self.tap().armed().operations
    }

    /// How many operations failed by a rule.
    pub fn fired(&self) -> u64 {
        self.tap().armed().fired
    }
}

impl Faults {
    fn armed(&self) -> MutexGuard<'_, Armed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap for Faults {
    fn before(&self, call: &Call<'_>) -> Verdict {
        let mut armed = self.armed();
        armed.operations += 1;
        let mut fault = None;
        for (rule, seen) in &mut armed.rules {
            if !rule.matches(call) {
                continue;
            }
            *seen += 1;
            let fires = if rule.once { *seen == rule.at } else { *seen >= rule.at };
            if fires && fault.is_none() {
                fault = Some(rule.fault);
            }
        }
        armed.fired += u64::from(fault.is_some());
        let injected = "the error was injected";
        match fault {
            None => Verdict::Run,
            Some(Fault::Device) => Verdict::Fail(call.error(ErrorKind::Device, injected)),
            Some(Fault::DeviceAfter) => {
                Verdict::RunThenFail(call.error(ErrorKind::Device, injected))
            }
            Some(Fault::NoSpace) => Verdict::Fail(call.error(ErrorKind::NoSpace, injected)),
            Some(Fault::Short) => Verdict::RunShort,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::{
        disk::{BlockRead, ReadMode, Rename},
        error::Result,
        exact::{read_up_to, write_all_at},
        path::RelPath,
        sim::SimDisk,
    };

    fn path(path: &str) -> RelPath {
        RelPath::new(path).unwrap()
    }

    fn disk() -> (FaultDisk, SimDisk) {
        let sim = SimDisk::new(1);
        (FaultDisk::new(Arc::new(sim.clone())), sim)
    }

    /// One of each operation; stops at the first error.
    fn script(disk: &dyn Disk) -> Result<()> {
        disk.create_dir(&path("dir"))?;
        let log = disk.create_log(&path("dir/log"))?;
        write_all_at(&*log, 0, &[b"bytes"])?;
        log.sync()?;
        disk.sync_dir(&path("dir"))?;
        let mut stream = disk.create_stream(&path("file"), 0)?;
        stream.write(b"bytes")?;
        stream.finish()?;
        disk.rename(&path("file"), &path("renamed"), Rename::NoReplace)?;
        let mut buf = [0; 5];
        read_up_to(&*disk.open_log(&path("dir/log"))?, 0, &mut buf)?;
        disk.open_blocks(&path("renamed"), ReadMode::Direct)?.read_at(0, &mut buf)?;
        disk.open_stream(&path("renamed"), 0..5)?.next_piece()?;
        disk.list(&RelPath::root())?;
        disk.remove(&path("renamed"))
    }

    #[test]
    fn every_operation_fails_once_when_its_turn_comes() {
        let (whole, _) = disk();
        script(&whole).unwrap();
        for fault in [Fault::Device, Fault::DeviceAfter] {
            for nth in 1..=whole.operations() {
                let (disk, _) = disk();
                disk.inject(FaultRule::new(fault).at(nth));
                let error = script(&disk).expect_err("one operation fails");
                assert_eq!((error.kind(), disk.fired()), (ErrorKind::Device, 1));
                assert_eq!(disk.operations(), nth, "the error is that of the operation");
            }
        }
        let (disk, _) = disk();
        disk.inject(FaultRule::new(Fault::Device).at(whole.operations() + 1));
        script(&disk).unwrap();
    }

    #[test]
    fn only_operations_that_take_space_find_the_disk_full() {
        let (disk, _) = disk();
        disk.inject(FaultRule::new(Fault::NoSpace).forever());
        assert!(disk.list(&RelPath::root()).is_ok());
        let error = disk.create_log(&path("log")).expect_err("full");
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        disk.heal();
        disk.create_log(&path("log")).unwrap();
    }

    #[test]
    fn a_short_write_moves_half_and_the_rest_follows() {
        let (disk, sim) = disk();
        let log = disk.create_log(&path("log")).unwrap();
        disk.inject(FaultRule::new(Fault::Short));
        let parts = [IoSlice::new(b"abc"), IoSlice::new(b"def")];
        assert_eq!(log.write_at(0, &parts).unwrap(), 3);
        disk.inject(FaultRule::new(Fault::Short).forever());
        write_all_at(&*log, 0, &[b"abc", b"def"]).unwrap();
        let mut buf = [0; 6];
        assert_eq!(log.read_at(0, &mut buf).unwrap(), 3);
        assert_eq!((read_up_to(&*log, 0, &mut buf).unwrap(), &buf), (6, b"abcdef"));
        assert_eq!(sim.read_file("log"), Some(b"abcdef".to_vec()));
    }

    #[test]
    fn rules_choose_by_kind_and_path() {
        let (disk, _) = disk();
        disk.inject(FaultRule::new(Fault::Device).on(&[Operation::LogSync]).path("wal-").at(2));
        let (wal, other) =
            (disk.create_log(&path("wal-1")).unwrap(), disk.create_log(&path("m")).unwrap());
        for _ in 0..3 {
            other.sync().unwrap();
        }
        wal.sync().unwrap();
        assert!(wal.sync().is_err());
        assert!(wal.sync().is_ok(), "the rule was for once");
    }

    #[test]
    fn an_operation_may_be_done_and_fail_all_the_same() {
        let (disk, sim) = disk();
        disk.inject(FaultRule::new(Fault::DeviceAfter));
        assert!(disk.create_dir(&path("dir")).is_err());
        assert!(sim.list(&path("dir")).is_ok());
    }

    #[test]
    fn each_read_of_a_batch_has_its_own_fault() {
        let (disk, sim) = disk();
        sim.write_file("file", b"abcdef").unwrap();
        let blocks = disk.open_blocks(&path("file"), ReadMode::Direct).unwrap();
        disk.inject(FaultRule::new(Fault::Device).on(&[Operation::BlockRead]).at(2));
        disk.inject(FaultRule::new(Fault::Short).at(3));
        let mut bufs = [[0; 2]; 3];
        let mut reads: Vec<BlockRead<'_>> = (0..3)
            .zip(&mut bufs)
            .map(|(place, buf)| BlockRead { offset: place * 2, buf, result: Ok(0) })
            .collect();
        blocks.read_batch(&mut reads);
        let lens: Vec<Option<usize>> =
            reads.iter().map(|read| read.result.as_ref().ok().copied()).collect();
        assert_eq!(lens, [Some(2), None, Some(1)]);
        assert_eq!(bufs, [*b"ab", [0, 0], [b'e', 0]]);
    }

    #[test]
    fn a_stream_is_dead_after_a_failed_write() {
        let (disk, sim) = disk();
        let mut stream = disk.create_stream(&path("file"), 0).unwrap();
        disk.inject(FaultRule::new(Fault::Device).on(&[Operation::StreamWrite]));
        assert!(stream.write(b"lost").is_err());
        assert!(stream.write(b"more").is_err());
        assert!(stream.finish().is_err());
        assert_eq!(sim.read_file("file"), Some(Vec::new()));
    }
}
