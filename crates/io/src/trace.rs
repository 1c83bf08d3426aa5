//! [`TraceDisk`]: writes down every operation that changes the disk or makes something durable.
//!
//! The lines are the order of operations in a form that people read and golden files keep: durability
//! is an order, and a trace shows it. What goes into a file in sequence appears as one line when the
//! file is finished; reads do not appear. The hash covers the lines and also every byte written, so
//! two runs with equal hashes did the same.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    disk::Disk,
    error::Error,
    exact::joined,
    tap::{Call, Operation, Tap, TapDisk},
};

/// A disk that writes down what is done to it.
pub type TraceDisk = TapDisk<Trace>;

/// What [`TraceDisk`] has seen.
#[derive(Debug, Default)]
pub struct Trace(Mutex<Recorded>);

#[derive(Debug)]
struct Recorded {
    lines: Vec<String>,
    hash: Fnv,
}

impl Default for Recorded {
    fn default() -> Self {
        Self { lines: Vec::new(), hash: Fnv(0xcbf2_9ce4_8422_2325) }
    }
}

/// FNV-1a of 64 bits: enough to tell two runs apart, and the same on every machine.
#[derive(Clone, Copy, Debug)]
struct Fnv(u64);

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

impl TapDisk<Trace> {
    /// Traces `disk`.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self::tapping(disk, Trace::default())
    }

    /// The operations so far, one a line: the name of the operation, the path, and what matters of
    /// the rest.
    pub fn text(&self) -> String {
        self.tap().recorded().lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// A number that two runs share if they did the same operations with the same bytes.
    pub fn hash(&self) -> u64 {
        self.tap().recorded().hash.0
    }

    /// Adds a line of the test's own, to mark a place.
    pub fn note(&self, line: &str) {
        self.tap().recorded().add(format!("# {line}"), &[]);
    }

    /// Forgets the lines so far; the hash goes on.
    pub fn clear(&self) {
        self.tap().recorded().lines.clear();
    }
}

impl Trace {
    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorded {
    fn add(&mut self, line: String, data: &[u8]) {
        self.hash.add(line.as_bytes());
        self.hash.add(b"\n");
        self.hash.add(data);
        self.lines.push(line);
    }
}

impl Tap for Trace {
    fn after(&self, call: &Call<'_>, outcome: Result<u64, &Error>, _disk: &dyn Disk) {
        if !call.operation.changes() {
            return;
        }
        let bytes = joined(call.data);
        let written = match (call.operation, outcome) {
            (Operation::LogWrite | Operation::StreamWrite, Ok(written)) => written,
            _ => 0,
        };
        let written = usize::try_from(written).map_or(bytes.len(), |n| n.min(bytes.len()));
        let mut recorded = self.recorded();
        if call.operation == Operation::StreamWrite && outcome.is_ok() {
            recorded.hash.add(&bytes[..written]);
        } else {
            recorded.add(line(call, outcome), &bytes[..written]);
        }
    }
}

fn line(call: &Call<'_>, outcome: Result<u64, &Error>) -> String {
    let names = match call.to {
        Some(to) => format!("{} {} {to}", call.operation, call.path),
        None => format!("{} {}", call.operation, call.path),
    };
    match (call.operation, outcome) {
        (Operation::LogWrite, Ok(written)) => format!("{names} {}+{written}", call.offset),
        (Operation::StreamFinish, Ok(len)) => format!("{names} {len}"),
        (Operation::CreateStream, Ok(_)) if call.len > 0 => format!("{names} {}", call.len),
        (_, Ok(_)) => names,
        (_, Err(error)) => format!("{names} -> {}", error.kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disk::Rename,
        exact::write_all_at,
        fault::{Fault, FaultDisk, FaultRule},
        path::RelPath,
        sim::{SimDisk, SimOptions},
    };

    fn path(path: &str) -> RelPath {
        RelPath::new(path).unwrap()
    }

    fn script(disk: &dyn Disk, bytes: &[u8]) {
        let _lock = disk.lock(&path("LOCK"), "17").unwrap();
        disk.create_dir(&path("files")).unwrap();
        disk.sync_dir(&RelPath::root()).unwrap();
        let mut stream = disk.create_stream(&path("files/1"), 0).unwrap();
        stream.write(bytes).unwrap();
        stream.write(bytes).unwrap();
        stream.finish().unwrap();
        let log = disk.create_log(&path("next")).unwrap();
        write_all_at(&*log, 4, &[bytes, b"more"]).unwrap();
        log.sync().unwrap();
        disk.rename(&path("next"), &path("CURRENT"), Rename::Replace).unwrap();
        disk.list(&RelPath::root()).unwrap();
        disk.remove(&path("files/1")).unwrap();
    }

    #[test]
    fn lines_tell_the_order_of_operations() {
        let disk = TraceDisk::new(Arc::new(SimDisk::new(1)));
        disk.note("begin");
        script(&disk, b"bytes");
        let expected = "\
# begin
lock LOCK
create_dir files
sync_dir .
create_stream files/1
finish files/1 10
create_log next
write next 4+9
sync next
rename next CURRENT
remove files/1
";
        assert_eq!(disk.text(), expected);
        disk.clear();
        assert_eq!(disk.text(), "");
    }

    #[test]
    fn failures_are_told_with_their_kind() {
        let faults = FaultDisk::new(Arc::new(SimDisk::new(1)));
        let disk = TraceDisk::new(Arc::new(faults.clone()));
        faults.inject(FaultRule::new(Fault::NoSpace));
        assert!(disk.create_log(&path("log")).is_err());
        assert!(disk.remove(&path("log")).is_err());
        assert_eq!(disk.text(), "create_log log -> no space left\nremove log -> not found\n");
    }

    #[test]
    fn equal_runs_have_equal_hashes_and_other_bytes_another() {
        let run = |bytes: &[u8]| {
            let disk = TraceDisk::new(Arc::new(SimDisk::new(1)));
            script(&disk, bytes);
            (disk.hash(), disk.text())
        };
        assert_eq!(run(b"bytes"), run(b"bytes"));
        let (other, text) = run(b"BYTES");
        assert_eq!(text, run(b"bytes").1);
        assert_ne!(other, run(b"bytes").0);
    }

    #[test]
    fn the_seed_decides_the_hash() {
        let run = |seed| {
            let options = SimOptions { seed, short_io: true, ..SimOptions::default() };
            let disk = TraceDisk::new(Arc::new(SimDisk::with_options(options)));
            let log = disk.create_log(&path("log")).unwrap();
            for step in 0..50 {
                write_all_at(&*log, step * 4096, &[&[1; 4096]]).unwrap();
            }
            for entry in disk.list(&RelPath::root()).unwrap() {
                disk.remove(&path(&entry.name)).unwrap();
            }
            disk.hash()
        };
        for seed in 0..50 {
            assert_eq!(run(seed), run(seed));
            assert_ne!(run(seed), run(seed + 1));
        }
    }
}
