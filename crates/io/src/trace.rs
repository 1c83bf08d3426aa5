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
        let data: Vec<u8> = match (call.operation, outcome) {
            (Operation::LogWrite | Operation::StreamWrite, Ok(written)) => {
                let written = usize::try_from(written).unwrap_or(usize::MAX);
                call.data.iter().flat_map(|part| part.iter().copied()).take(written).collect()
            }
            _ => Vec::new(),
        };
        let mut recorded = self.recorded();
        if call.operation == Operation::StreamWrite && outcome.is_ok() {
            recorded.hash.add(&data);
        } else {
            recorded.add(line(call, outcome), &data);
        }
    }
}

fn line(call: &Call<'_>, outcome: Result<u64, &Error>) -> String {
    let mut line = format!("{} {}", call.operation, call.path);
    if let Some(to) = call.to {
        line += &format!(" {to}");
    }
    match (call.operation, outcome) {
        (Operation::LogWrite, Ok(written)) => line += &format!(" {}+{written}", call.offset),
        (Operation::StreamFinish, Ok(len)) => line += &format!(" {len}"),
        (Operation::CreateStream, Ok(_)) if call.len > 0 => line += &format!(" {}", call.len),
        (_, Ok(_)) => {}
        (_, Err(error)) => line += &format!(" -> {}", error.kind()),
    }
    line
}
