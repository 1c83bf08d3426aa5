//! Recovery: which commits the logs hold, and where their prefix ends.
//!
//! The frames of all logs are one chain. It is followed from the floor; where it breaks, one of
//! these is true:
//!
//! - A later frame proves that the place was durable (`synced_upto`): what is missing was taken by
//!   something other than a crash, and that is corruption, whatever it looks like.
//! - Otherwise the writes there may have been cut by a crash, which takes whole sectors. If sectors
//!   of the frame are missing, the tail is torn: it was never acknowledged as durable, and the
//!   prefix ends before it. If none is, the frame was changed: corruption.
//!
//! A log that does not reach its seal ends the prefix, also when its successor has frames: nothing
//! of a successor is acknowledged before the whole log is durable, and then a frame proves it.

use siltstone_io::env::Env;

use super::{
    Payload,
    scan::{Found, LogScan},
};
use crate::{
    error::Result,
    format::wal::{FRAMES_START, FrameHeader, FrameKind, Part, Position, Predecessor, apply_mask},
    types::{BATCH_BYTES_MAX, LogId, SEQUENCE_MAX, Sequence},
};

/// Which logs to replay, from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayRange {
    /// The first log, and the first sequence that is not in segments yet.
    pub floor: (LogId, Sequence),
    /// The last log that the manifest calls ready; below the floor if there is none.
    pub last: LogId,
}

/// What recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The last sequence of the prefix, 0 if nothing was replayed.
    pub last_sequence: Sequence,
    /// Commits and edits replayed.
    pub commits: u64,
    /// Bytes dropped as a torn or unsynced tail, with the place.
    pub dropped: Vec<(Position, u64)>,
}

/// Reads the logs of `range` (all must exist), decides where the prefix ends, and calls `visit` for
/// each payload from the floor's sequence on, in order.
///
/// `edit_is_durable(number)` tells whether the manifest holds queue edit `number`; the prefix ends
/// at a marker whose edit it lacks.
///
/// # Errors
/// `Corrupt`, naming log and offset, when bytes that were durable are damaged or a log is missing;
/// what was visited then counts for nothing. `Io` when a log cannot be read or synced. What `visit`
/// returns.
pub fn recover(
    env: &Env,
    store_id: [u8; 16],
    range: ReplayRange,
    edit_is_durable: &dyn Fn(u64) -> bool,
    visit: &mut dyn FnMut(Payload<'_>) -> Result<()>,
) -> Result<RecoveryReport> {
    let ids = (range.floor.0.0..=range.last.0).map(LogId);
    let mut logs = Vec::new();
    for id in ids {
        logs.push(LogScan::open(env, store_id, id)?);
    }
    let mut replay = Replay {
        floor_sequence: range.floor.1,
        edit_is_durable,
        visit,
        last_sequence: 0,
        batch: None,
        report: RecoveryReport::default(),
    };
    let mut predecessor = None;
    for index in 0..logs.len() {
        match replay.follow(&mut logs[index], predecessor.as_ref())? {
            End::Sealed(sealed) => predecessor = Some(sealed),
            End::Stopped(at) => {
                drop_tail(&mut logs[index..], at, &mut replay.report)?;
                break;
            }
            End::Broken { at, found } => {
                let torn_from = replay.batch.as_ref().map_or(at, |batch| batch.at);
                judge(&mut logs[index..], at, &found)?;
                drop_tail(&mut logs[index..], torn_from, &mut replay.report)?;
                break;
            }
        }
        logs[index].rest();
    }
    Ok(replay.report)
}

/// How following one log ended.
enum End {
    /// With its seal.
    Sealed(Predecessor),
    /// At a marker whose edit is not durable.
    Stopped(u64),
    /// Where the next frame should be.
    Broken { at: u64, found: Found },
}

/// Whether the break at `at` of the first log is what a crash leaves.
fn judge(logs: &mut [LogScan], at: u64, found: &Found) -> Result<()> {
    let mut proven = Position::default();
    let mut ends_whole = false;
    for (index, log) in logs.iter_mut().enumerate() {
        let survey = log.survey(if index == 0 { at } else { FRAMES_START })?;
        proven = proven.max(survey.proven);
        ends_whole |= index == 0 && survey.ends_whole;
    }
    let log = &logs[0];
    let proven = match proven.log.cmp(&log.id()) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => proven.offset,
        std::cmp::Ordering::Greater => u64::MAX,
    };
    match *found {
        _ if at < proven => match *found {
            // A frame across the last proven page may have lost the sectors after it.
            Found::BrokenPayload { lost: Some((first, _)) } if first >= proven => Ok(()),
            Found::BrokenPayload { .. } => Err(log.corrupt(at, "a durable frame is damaged")),
            _ => Err(log.corrupt(at, "durable frames are missing")),
        },
        Found::Frame(_) | Found::Nothing | Found::BrokenPayload { lost: Some(_) } => Ok(()),
        // A process that dies in the middle of a write leaves its beginning.
        Found::BrokenHeader if !ends_whole => Ok(()),
        Found::BrokenHeader => Err(log.corrupt(at, "the header of a frame is damaged")),
        Found::BrokenPayload { lost: None } => Err(log.corrupt(at, "a frame fails its checksum")),
    }
}

/// Reports what lies from `at` of the first log on as dropped.
fn drop_tail(logs: &mut [LogScan], at: u64, report: &mut RecoveryReport) -> Result<()> {
    for (index, log) in logs.iter_mut().enumerate() {
        let from = if index == 0 { at } else { FRAMES_START };
        let survey = log.survey(from)?;
        if survey.content_end > from {
            let place = Position { log: log.id(), offset: from };
            report.dropped.push((place, survey.content_end - from));
        }
        log.rest();
    }
    Ok(())
}

/// The state of following the chain.
struct Replay<'a> {
    floor_sequence: Sequence,
    edit_is_durable: &'a dyn Fn(u64) -> bool,
    visit: &'a mut dyn FnMut(Payload<'_>) -> Result<()>,
    /// The last sequence seen, also below the floor.
    last_sequence: Sequence,
    batch: Option<Parts>,
    report: RecoveryReport,
}

/// A batch of which the first parts are read.
struct Parts {
    /// Where its first frame is appended.
    at: u64,
    first_sequence: Sequence,
    operations: u32,
    bytes: Vec<u8>,
}

impl Replay<'_> {
    /// Follows one log from its first frame; `predecessor` is how the log before it ended.
    fn follow(&mut self, log: &mut LogScan, predecessor: Option<&Predecessor>) -> Result<End> {
        let mut at = FRAMES_START;
        let mut rolling_crc = 0;
        loop {
            let header = match log.look(at)? {
                Found::Frame(header) => header,
                found => return Ok(End::Broken { at, found }),
            };
            if header.meta.rolling_crc != rolling_crc {
                return Err(log.corrupt(at, "a frame does not follow the one before it"));
            }
            let is_first = at == FRAMES_START;
            if is_first != (header.meta.kind == FrameKind::Start) {
                return Err(log.corrupt(at, "a log begins with its start frame, and has no other"));
            }
            rolling_crc = header.rolling_crc_after();
            match header.meta.kind {
                FrameKind::Start => {
                    if !self.take_start(log, &header, predecessor)? {
                        return Ok(End::Broken { at, found: Found::Nothing });
                    }
                }
                FrameKind::Seal => return self.take_seal(log, &header, rolling_crc),
                FrameKind::Marker => {
                    if !self.take_marker(log, &header)? {
                        return Ok(End::Stopped(at));
                    }
                }
                FrameKind::Batch => self.take_part(log, &header, at)?,
            }
            at = header.next();
        }
    }

    /// `false` when the log is not the successor of the one before it: it was begun by a process
    /// that found the end of the prefix and died before it had raised the floor.
    fn take_start(
        &mut self,
        log: &mut LogScan,
        header: &FrameHeader,
        expected: Option<&Predecessor>,
    ) -> Result<bool> {
        let at = header.place.start;
        let payload = unmasked(log.frame(header)?, header);
        let told = Predecessor::decode(&payload).map_err(|reason| log.corrupt(at, reason))?;
        match (told, expected) {
            (None, None) => Ok(true),
            (None, Some(_)) => Ok(false),
            (Some(told), None) => {
                self.last_sequence = told.last_sequence;
                Ok(true)
            }
            (Some(told), Some(expected)) if told == *expected => Ok(true),
            (Some(_), Some(_)) => {
                Err(log.corrupt(at, "the log before this one is not what this one follows"))
            }
        }
    }

    fn take_seal(&self, log: &LogScan, header: &FrameHeader, rolling_crc: u32) -> Result<End> {
        let last_sequence = header.meta.first_sequence;
        if self.batch.is_some() || last_sequence != self.last_sequence {
            return Err(log.corrupt(header.place.start, "a seal names another last commit"));
        }
        let length = header.place.end;
        Ok(End::Sealed(Predecessor { log: log.id(), length, last_sequence, rolling_crc }))
    }

    /// `false` when the prefix ends before the marker.
    fn take_marker(&mut self, log: &mut LogScan, header: &FrameHeader) -> Result<bool> {
        let at = header.place.start;
        let sequence = header.meta.first_sequence;
        let payload = unmasked(log.frame(header)?, header);
        let Ok(number) = payload.as_slice().try_into().map(u64::from_le_bytes) else {
            return Err(log.corrupt(at, "a marker holds one number"));
        };
        let replayed = sequence >= self.floor_sequence;
        if replayed && !(self.edit_is_durable)(number) {
            return Ok(false);
        }
        if self.batch.is_some() || !self.advance(sequence, 1) {
            return Err(log.corrupt(at, "a marker is out of order"));
        }
        if replayed {
            self.visit(Payload::Marker { sequence, number })?;
        }
        Ok(true)
    }

    fn take_part(&mut self, log: &mut LogScan, header: &FrameHeader, at: u64) -> Result<()> {
        let meta = header.meta;
        let (first_sequence, operations) = (meta.first_sequence, meta.operations);
        let begins = matches!(meta.part, Part::Full | Part::First);
        if begins != self.batch.is_none() {
            return Err(log.corrupt(at, "the parts of a batch are out of order"));
        }
        let mut batch = self.batch.take().unwrap_or_else(|| Parts {
            at,
            first_sequence,
            operations,
            bytes: Vec::new(),
        });
        if (batch.first_sequence, batch.operations) != (first_sequence, operations) {
            return Err(log.corrupt(at, "the parts of a batch do not belong together"));
        }
        let stored = header.stored_payload(log.frame(header)?);
        let begun = batch.bytes.len();
        if stored.len() > BATCH_BYTES_MAX - begun {
            return Err(log.corrupt(at, "a batch is over its limit"));
        }
        batch.bytes.extend_from_slice(stored);
        apply_mask(&mut batch.bytes[begun..], header.mask());
        if matches!(meta.part, Part::First | Part::Middle) {
            self.batch = Some(batch);
            return Ok(());
        }
        if !self.advance(first_sequence, operations) {
            return Err(log.corrupt(batch.at, "the sequences of a batch are out of order"));
        }
        if self.last_sequence < self.floor_sequence {
            return Ok(());
        }
        if first_sequence < self.floor_sequence {
            return Err(log.corrupt(batch.at, "the replay floor is inside of a batch"));
        }
        self.visit(Payload::Batch { first_sequence, operations, encoded: &batch.bytes })
    }

    /// Moves on to the sequences of a commit; `false` when they do not follow.
    fn advance(&mut self, first: Sequence, operations: u32) -> bool {
        let Some(more) = u64::from(operations).checked_sub(1) else {
            return false;
        };
        let last = first.saturating_add(more);
        let follows = first > self.last_sequence && last <= SEQUENCE_MAX;
        if follows {
            self.last_sequence = last;
        }
        follows
    }

    fn visit(&mut self, payload: Payload<'_>) -> Result<()> {
        (self.visit)(payload)?;
        self.report.commits += 1;
        self.report.last_sequence = self.last_sequence;
        Ok(())
    }
}

fn unmasked(frame: &[u8], header: &FrameHeader) -> Vec<u8> {
    let mut payload = header.stored_payload(frame).to_vec();
    apply_mask(&mut payload, header.mask());
    payload
}
