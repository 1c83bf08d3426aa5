//! [`Explorer`]: runs a script once for every operation at which the machine can stop, and crashes
//! each stopped machine in every way of [`Crash::matrix`].
//!
//! A second crash, during recovery, is an explorer within an explorer: the script is the recovery,
//! and the disk to start from is what the first crash left.

use std::fmt;

use super::{Crash, SimDisk};

/// A way to try every crash of a script.
#[derive(Clone, Debug)]
pub struct Explorer {
    start: SimDisk,
    seed: u64,
    stops_max: u64,
}

/// When and how a machine crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moment {
    /// How many operations of the script were done.
    pub operations: u64,
    /// Whether the script came to its end.
    pub finished: bool,
    /// What survived.
    pub crash: Crash,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.finished { ", the end" } else { "" };
        write!(f, "crash after {} operations{end}: {:?}", self.operations, self.crash)
    }
}

impl Explorer {
    /// Starts every run from the state of `start`, which is not changed; `seed` chooses what the
    /// crashes leave.
    pub fn new(start: &SimDisk, seed: u64) -> Self {
        Self { start: start.clone(), seed, stops_max: u64::MAX }
    }

    /// Tries at most so many stops, spread evenly over the script, the end always among them.
    #[must_use]
    pub fn stops_max(self, stops_max: u64) -> Self {
        Self { stops_max: stops_max.max(1), ..self }
    }

    /// Runs `script` for each stop and shows `visit` what each crash left, what the script had
    /// returned, and the moment. Returns how many crashes were visited.
    ///
    /// The script gets a disk of its own each time. It must take the errors of a stopped machine,
    /// and return what it knows to be acknowledged.
    pub fn run<T>(
        &self,
        script: impl Fn(&SimDisk) -> T,
        mut visit: impl FnMut(&SimDisk, &T, Moment),
    ) -> u64 {
        let whole = self.start.fork();
        drop(script(&whole));
        let operations = whole.operations();
        let mut visited = 0;
        for stop in self.stops(operations) {
            let disk = self.start.fork();
            disk.stop_after(stop);
            let acknowledged = script(&disk);
            let finished = !disk.is_stopped();
            for crash in Crash::matrix(self.seed.wrapping_add(stop)) {
                let moment = Moment { operations: stop, finished, crash };
                visit(&disk.crash(crash), &acknowledged, moment);
                visited += 1;
            }
        }
        visited
    }

    fn stops(&self, operations: u64) -> impl Iterator<Item = u64> {
        let count = self.stops_max.min(operations.saturating_add(1));
        // The last of `count` places is `operations`; with one place, that is the only one.
        (1..=count).map(move |place| {
            operations - (count - place) * operations / count.max(2).saturating_sub(1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_are_all_or_spread_and_end_at_the_end() {
        let explorer = Explorer::new(&SimDisk::new(1), 1);
        assert_eq!(explorer.stops(3).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(explorer.stops(0).collect::<Vec<_>>(), [0]);
        let some = explorer.clone().stops_max(4);
        assert_eq!(some.stops(9).collect::<Vec<_>>(), [0, 3, 6, 9]);
        assert_eq!(some.stops(1).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(explorer.stops_max(1).stops(9).collect::<Vec<_>>(), [9]);
    }
}
