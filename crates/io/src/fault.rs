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
