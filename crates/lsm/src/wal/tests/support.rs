//! What the tests of the write-ahead log share: a log on a simulated disk, and what it held.

use std::sync::Arc;

use siltstone_io::{env::Env, sim::SimDisk};

use crate::{
    error::Result,
    format::names,
    options::Durability,
    types::{LogId, Sequence},
    wal::{Payload, Position, ReadyLog, RecoveryReport, ReplayRange, Wal, recover},
};

pub(super) const STORE_ID: [u8; 16] = *b"the tested store";

/// A payload that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owned {
    Batch { first: Sequence, operations: u32, encoded: Vec<u8> },
    Marker { sequence: Sequence, number: u64 },
}

impl Owned {
    pub(super) fn of(payload: Payload<'_>) -> Self {
        match payload {
            Payload::Batch { first_sequence, operations, encoded } => {
                Self::Batch { first: first_sequence, operations, encoded: encoded.to_vec() }
            }
            Payload::Marker { sequence, number } => Self::Marker { sequence, number },
        }
    }

    pub(super) fn payload(&self) -> Payload<'_> {
        match self {
            Self::Batch { first, operations, encoded } => {
                let (first_sequence, operations) = (*first, *operations);
                Payload::Batch { first_sequence, operations, encoded }
            }
            Self::Marker { sequence, number } => {
                Payload::Marker { sequence: *sequence, number: *number }
            }
        }
    }

    pub(super) fn last(&self) -> Sequence {
        match self {
            Self::Batch { first, operations, .. } => first + u64::from(*operations) - 1,
            Self::Marker { sequence, .. } => *sequence,
        }
    }
}

/// A WAL being written, and what was appended.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) disk: SimDisk,
    pub(super) env: Env,
    pub(super) wal: Wal,
    pub(super) last_log: LogId,
    pub(super) appended: Vec<Owned>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::on(SimDisk::new(1)).unwrap()
    }

    pub(super) fn on(disk: SimDisk) -> Result<Self> {
        let env = env(&disk);
        Self::over(disk, env)
    }

    /// On `disk`, seen through the wrapper in `env`.
    pub(super) fn over(disk: SimDisk, env: Env) -> Result<Self> {
        let log = ReadyLog::create(&env, STORE_ID, LogId(1))?;
        let wal = Wal::start(&log)?;
        Ok(Self { disk, env, wal, last_log: LogId(1), appended: Vec::new() })
    }

    pub(super) fn next_sequence(&self) -> Sequence {
        self.appended.last().map_or(1, |last| last.last() + 1)
    }

    /// Appends batches of these bytes as one group; they count as appended when it succeeds.
    pub(super) fn append(&mut self, group: &[&[u8]], durability: Durability) -> Result<Position> {
        let first = self.next_sequence();
        let owned: Vec<Owned> = (first..)
            .zip(group)
            .map(|(first, encoded)| Owned::Batch {
                first,
                operations: 1,
                encoded: encoded.to_vec(),
            })
            .collect();
        self.append_owned(&owned, durability)
    }

    pub(super) fn append_owned(
        &mut self,
        group: &[Owned],
        durability: Durability,
    ) -> Result<Position> {
        let payloads: Vec<Payload<'_>> = group.iter().map(Owned::payload).collect();
        let position = self.wal.append(&payloads, durability)?;
        self.appended.extend_from_slice(group);
        Ok(position)
    }

    /// Appends and syncs one batch.
    pub(super) fn commit(&mut self, encoded: &[u8]) {
        let position = self.append(&[encoded], Durability::Sync).unwrap();
        self.wal.sync_to(position).unwrap();
    }

    pub(super) fn rotate(&mut self) -> Result<()> {
        let next = ReadyLog::create(&self.env, STORE_ID, self.last_log.next())?;
        self.last_log = self.last_log.next();
        self.wal.rotate(&next)
    }

    pub(super) fn path(&self) -> String {
        path(self.last_log)
    }
}

pub(super) fn env(disk: &SimDisk) -> Env {
    Env::seeded(Arc::new(disk.clone()), 7)
}

pub(super) fn path(log: LogId) -> String {
    names::log(log).as_str().to_owned()
}

/// What recovery of all logs up to `last` finds, all edits being durable.
pub(super) fn recovered(disk: &SimDisk, last: LogId) -> Result<(Vec<Owned>, RecoveryReport)> {
    recovered_from(disk, ReplayRange { floor: (LogId(1), 0), last })
}

pub(super) fn recovered_from(
    disk: &SimDisk,
    range: ReplayRange,
) -> Result<(Vec<Owned>, RecoveryReport)> {
    let mut found = Vec::new();
    let report = recover(&env(disk), STORE_ID, range, &|_| true, &mut |payload| {
        found.push(Owned::of(payload));
        Ok(())
    })?;
    Ok((found, report))
}

/// Bytes without pattern.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}
