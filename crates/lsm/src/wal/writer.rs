//! The writer of the active log: turns groups into frames, and frames into writes of whole pages.
//!
//! Invariants:
//!
//! 1. `tail` holds the bytes of the page that `offset` is in, before `offset`; so a page is always
//!    written whole from memory and the system never reads one to change it.
//! 2. The fields move only after the write has succeeded. After a write that failed and may have
//!    left something behind, the log is poisoned and they no longer matter.

use std::sync::Arc;

use siltstone_io::{disk::Log, error as io, exact::write_all_at};

use super::{Payload, ready::ReadyLog, stream::SyncStream};
use crate::{
    error::{Error, ErrorKind, Result},
    format::wal::{
        FRAMES_START, FrameKind, Meta, PAGE_BYTES, PAYLOAD_BYTES_MAX, Part, Position, Predecessor,
        Salt, encode_frame, page_down, page_up,
    },
    options::Durability,
    types::{BATCH_BYTES_MAX, LogId, SEQUENCE_MAX, Sequence},
};

/// Encoded bytes that are collected before they are written; with one more frame, the most that a
/// group holds in memory.
const WRITE_BYTES: usize = 1 << 20;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Writer {
    log: Arc<dyn Log>,
    id: LogId,
    salt: Salt,
    tail: Vec<u8>,
    offset: u64,
    rolling_crc: u32,
    last_sequence: Sequence,
    /// Sealed for good.
    closed: bool,
    /// Memory for the next group.
    buffer: Vec<u8>,
}

/// The frames of one call, encoded and partly written.
#[derive(Debug)]
struct Group {
    /// The bytes of the file from `base` on.
    buffer: Vec<u8>,
    base: u64,
    synced_upto: Position,
    rolling_crc: u32,
    last_sequence: Sequence,
    /// Whether a part of it is written already.
    begun: bool,
}

/// One frame to be.
#[derive(Clone, Copy, Debug)]
struct Frame<'a> {
    kind: FrameKind,
    part: Part,
    padded: bool,
    first_sequence: Sequence,
    operations: u32,
    payload: &'a [u8],
}

impl Writer {
    /// Writes the first frame of an empty log, which is the active one of `stream`.
    pub(super) fn begin(
        next: &ReadyLog,
        stream: &SyncStream,
        predecessor: Option<&Predecessor>,
    ) -> Result<Self> {
        let mut writer = Self {
            log: Arc::clone(&next.log),
            id: next.id,
            salt: next.salt,
            tail: Vec::new(),
            offset: FRAMES_START,
            rolling_crc: 0,
            last_sequence: predecessor.map_or(0, |predecessor| predecessor.last_sequence),
            closed: false,
            buffer: Vec::new(),
        };
        let payload = predecessor.map(Predecessor::encode).unwrap_or_default();
        let frame = Frame { payload: &payload, ..Frame::bare(FrameKind::Start, 0) };
        let mut group = writer.group(stream);
        group.add(&writer, &frame);
        writer.finish(stream, group, Durability::Buffered)?;
        Ok(writer)
    }

    /// Fails when the log was sealed for good.
    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed {
            return Err(Error::new(ErrorKind::Unavailable, "the store is closing"));
        }
        Ok(())
    }

    /// Appends a group.
    pub(super) fn append(
        &mut self,
        stream: &SyncStream,
        payloads: &[Payload<'_>],
        durability: Durability,
    ) -> Result<()> {
        if payloads.is_empty() {
            return Ok(()); // padding is for the last frame of a group to announce
        }
        let mut group = self.group(stream);
        for (index, payload) in payloads.iter().enumerate() {
            let pad = durability == Durability::Sync && index + 1 == payloads.len();
            self.add_payload(stream, &mut group, (payload, pad))?;
        }
        self.finish(stream, group, durability)
    }

    fn add_payload(
        &self,
        stream: &SyncStream,
        group: &mut Group,
        (payload, pad): (&Payload<'_>, bool),
    ) -> Result<()> {
        match *payload {
            Payload::Marker { sequence, number } => {
                let payload = number.to_le_bytes();
                let bare = Frame::bare(FrameKind::Marker, sequence);
                let frame = Frame { operations: 1, padded: pad, payload: &payload, ..bare };
                group.add(self, &frame);
                group.take_sequences(sequence, 1);
                group.write_some(self, stream)
            }
            Payload::Batch { first_sequence, operations, encoded } => {
                assert!(operations > 0, "a batch has an operation");
                assert!(encoded.len() <= BATCH_BYTES_MAX, "a batch keeps its limit");
                let parts = encoded.len().div_ceil(PAYLOAD_BYTES_MAX).max(1);
                let mut left = encoded;
                for index in 0..parts {
                    let (payload, rest) = left.split_at(left.len().min(PAYLOAD_BYTES_MAX));
                    left = rest;
                    let part = match (index == 0, index + 1 == parts) {
                        (true, true) => Part::Full,
                        (true, false) => Part::First,
                        (false, false) => Part::Middle,
                        (false, true) => Part::Last,
                    };
                    let padded = pad && index + 1 == parts;
                    let bare = Frame::bare(FrameKind::Batch, first_sequence);
                    group.add(self, &Frame { part, padded, operations, payload, ..bare });
                    group.write_some(self, stream)?;
                }
                group.take_sequences(first_sequence, operations);
                Ok(())
            }
        }
    }

    /// Appends the seal. Returns how the log ends, for its successor.
    pub(super) fn seal(&mut self, stream: &SyncStream) -> Result<Predecessor> {
        let mut group = self.group(stream);
        group.add(self, &Frame::bare(FrameKind::Seal, self.last_sequence));
        self.finish(stream, group, Durability::Buffered)?;
        Ok(Predecessor {
            log: self.id,
            length: self.offset,
            last_sequence: self.last_sequence,
            rolling_crc: self.rolling_crc,
        })
    }

    /// Refuses all later groups.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    fn group(&mut self, stream: &SyncStream) -> Group {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.extend_from_slice(&self.tail);
        Group {
            buffer,
            base: page_down(self.offset),
            synced_upto: stream.synced_upto(),
            rolling_crc: self.rolling_crc,
            last_sequence: self.last_sequence,
            begun: false,
        }
    }

    /// Writes what is left, with zeros to the end of the page, and takes over the new state.
    fn finish(
        &mut self,
        stream: &SyncStream,
        mut group: Group,
        durability: Durability,
    ) -> Result<()> {
        let end = group.base + group.buffer.len() as u64;
        let offset = match durability {
            Durability::Sync => page_up(end),
            Durability::Buffered => end,
        };
        let padded = page_up(end) - group.base;
        group.buffer.resize(usize_of(padded), 0);
        group.write(self, stream, usize_of(padded))?;
        self.tail.clear();
        let tail = usize_of(page_down(offset) - group.base)..usize_of(offset - group.base);
        self.tail.extend_from_slice(&group.buffer[tail]);
        self.offset = offset;
        self.rolling_crc = group.rolling_crc;
        self.last_sequence = group.last_sequence;
        self.buffer = group.buffer;
        assert!(self.tail.len() < usize_of(PAGE_BYTES), "the tail is less than a page");
        stream.written(offset);
        Ok(())
    }
}

impl Frame<'_> {
    fn bare(kind: FrameKind, first_sequence: Sequence) -> Self {
        Self { kind, part: Part::Full, padded: false, first_sequence, operations: 0, payload: &[] }
    }
}

impl Group {
    fn add(&mut self, writer: &Writer, frame: &Frame<'_>) {
        let meta = Meta {
            kind: frame.kind,
            part: frame.part,
            padded: frame.padded,
            operations: frame.operations,
            first_sequence: frame.first_sequence,
            synced_upto: self.synced_upto,
            rolling_crc: self.rolling_crc,
        };
        let frame = (&meta, frame.payload);
        self.rolling_crc = encode_frame(&mut self.buffer, self.base, &writer.salt, frame);
    }

    fn take_sequences(&mut self, first: Sequence, operations: u32) {
        assert!(first > self.last_sequence, "sequences only grow");
        self.last_sequence = first + u64::from(operations) - 1;
        assert!(self.last_sequence <= SEQUENCE_MAX, "the caller keeps within the sequences");
    }

    /// Writes the whole pages collected, once they are many.
    fn write_some(&mut self, writer: &Writer, stream: &SyncStream) -> Result<()> {
        if self.buffer.len() < WRITE_BYTES {
            return Ok(());
        }
        let whole = self.buffer.len() - self.buffer.len() % usize_of(PAGE_BYTES);
        self.write(writer, stream, whole)?;
        self.buffer.drain(..whole);
        self.base += whole as u64;
        Ok(())
    }

    fn write(&mut self, writer: &Writer, stream: &SyncStream, bytes: usize) -> Result<()> {
        stream.reserve(self.base + bytes as u64)?;
        let Err(failed) = write_all_at(&*writer.log, self.base, &[&self.buffer[..bytes]]) else {
            self.begun = true;
            return Ok(());
        };
        // Refused at its first byte, a write has changed nothing.
        let untouched = !self.begun && failed.offset() == Some(self.base);
        if failed.kind() == io::ErrorKind::NoSpace && untouched {
            return Err(failed.into());
        }
        let failed = Error::from(failed);
        stream.poison(&failed);
        let message = "the commit may or may not be there after the store is opened again";
        Err(Error::new(ErrorKind::Indeterminate, message).caused_by(failed))
    }
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("what is collected in memory fits a usize")
}
