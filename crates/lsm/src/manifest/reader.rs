//! Reading a manifest: which edits it holds, and whether its end is torn or damaged.
//!
//! The edit after the last whole one is either nothing, or *torn* (it was being written when the
//! power went, was never acknowledged, and is dropped), or *damaged* (it was acknowledged, and the
//! bytes have changed since: an error, never a shorter history). It is damaged if
//!
//! - all its sectors were written and a checksum is wrong (see [`frame`]), or
//! - a frame of a later edit follows, because an edit is written only after the one before it was
//!   synced, or
//! - it is the snapshot, which was synced before `CURRENT` named the file.
//!
//! Otherwise sectors of it are missing and nothing later is there: torn.

use std::sync::Arc;

use siltstone_io::{
    disk::{Disk, Log},
    error::ErrorKind as IoErrorKind,
    exact,
    path::RelPath,
};

use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        manifest::{
            Current, Head, HeadError, PAGE_BYTES,
            edit::{self, RecordError},
            frame::{self, Body, FrameHead, Place, Start},
        },
        names,
        primitives::Decoder,
    },
    manifest::{
        current::newer,
        state::{Builder, State},
    },
};

const PAGE: u64 = PAGE_BYTES as u64;

/// What a manifest holds.
#[derive(Debug)]
pub(super) struct Read {
    /// The open file.
    pub(super) log: Arc<dyn Log>,
    /// Its salt.
    pub(super) salt: [u8; 16],
    /// The state after its last whole edit.
    pub(super) state: State,
    /// Edits after the snapshot.
    pub(super) edits: u64,
    /// Where the snapshot ends.
    pub(super) snapshot_end: u64,
    /// Where the last whole edit ends.
    pub(super) end: u64,
    /// Bytes of the file after that.
    pub(super) dropped_bytes: u64,
}

/// Reads the manifest that `CURRENT` names.
pub(super) fn read(disk: &dyn Disk, current: Current) -> Result<Read> {
    let path = names::manifest(current.number);
    let log = disk.open_log(&path).map_err(|error| {
        if error.kind() == IoErrorKind::NotFound {
            let what = "the manifest that CURRENT names is missing";
            return Error::corrupt(&path, 0, what);
        }
        Error::from(error)
    })?;
    let length = log.len()?;
    let head = read_head(&*log, current)?;
    let mut reader = Reader { log: &*log, path: &path, salt: head.salt, length, at: PAGE };
    let mut state = reader
        .next_edit(0, State::new(head.store_id))?
        .ok_or_else(|| damaged(&path, PAGE, "the snapshot is not whole"))?;
    let snapshot_end = reader.at;
    let (mut edits, mut end) = (0, snapshot_end);
    while let Some(next) = reader.next_edit(edits + 1, state.clone())? {
        (state, edits, end) = (next, edits + 1, reader.at);
    }
    let dropped_bytes = length.saturating_sub(end);
    Ok(Read { salt: head.salt, state, edits, snapshot_end, end, dropped_bytes, log })
}

fn read_head(log: &dyn Log, current: Current) -> Result<Head> {
    let mut page = [0; PAGE_BYTES];
    let read = exact::read_up_to(log, 0, &mut page)?;
    let head = Head::decode(&page[..read]).map_err(|error| match error {
        HeadError::Newer { version } => newer(log.path(), version),
        HeadError::Damaged(why) => damaged(log.path(), 0, &format!("the head page is bad: {why}")),
    })?;
    if (head.number, head.store_id) != (current.number, current.store_id) {
        return Err(damaged(log.path(), 0, "it is not the manifest that CURRENT names"));
    }
    Ok(head)
}

fn damaged(path: &RelPath, offset: u64, what: &str) -> Error {
    let message = format!("the manifest is damaged: {what}");
    Error::corrupt(path, offset, message)
}

struct Reader<'a> {
    log: &'a dyn Log,
    path: &'a RelPath,
    salt: [u8; 16],
    length: u64,
    /// Where the next frame should begin.
    at: u64,
}

impl Reader<'_> {
    /// The state after edit `number`, or `None` if the manifest ends before it.
    fn next_edit(&mut self, number: u64, state: State) -> Result<Option<State>> {
        let mut builder = Builder::new(state);
        for part in 0.. {
            let Some((head, payload)) = self.frame(number)? else { return Ok(None) };
            let at = self.at;
            if (head.part.edit, head.part.part) != (number, part) {
                return Err(damaged(self.path, at, "a frame is out of its order"));
            }
            let mut records = Decoder::new(&payload);
            while !records.is_empty() {
                let record = edit::decode(&mut records).map_err(|error| self.bad_record(error))?;
                builder.record(&record).map_err(|error| self.misfit(&error))?;
            }
            self.at += (head.pages * PAGE_BYTES) as u64;
            if head.part.last {
                break;
            }
        }
        let outcome = builder.finish().map_err(|error| self.misfit(&error))?;
        Ok(Some(outcome.state))
    }

    /// The frame at the reader's place, or `None` if it is torn or not there.
    fn frame(&self, edit: u64) -> Result<Option<(FrameHead, Vec<u8>)>> {
        let place = self.place(self.at);
        let head = match frame::start(place, &self.bytes(self.at, 1)?) {
            Start::Frame(head) => head,
            Start::Unwritten => return self.check_torn(edit).map(|()| None),
            Start::Damaged(why) => return Err(damaged(self.path, self.at, why)),
        };
        match frame::body(place, &head, &self.bytes(self.at, head.pages)?) {
            Body::Payload(payload) => Ok(Some((head, payload))),
            Body::Torn => self.check_torn(edit).map(|()| None),
            Body::Damaged(why) => Err(damaged(self.path, self.at, why)),
        }
    }

    /// Fails if a frame of an edit after `edit` follows: then `edit` was whole once.
    fn check_torn(&self, edit: u64) -> Result<()> {
        let mut at = self.at + PAGE;
        while at < self.length {
            let found = frame::start(self.place(at), &self.bytes(at, 1)?);
            if matches!(found, Start::Frame(head) if head.part.edit != edit) {
                return Err(damaged(
                    self.path,
                    self.at,
                    "an edit is not whole, but one after it is",
                ));
            }
            at += PAGE;
        }
        Ok(())
    }

    fn place(&self, offset: u64) -> Place<'_> {
        Place { salt: &self.salt, offset }
    }

    /// Up to `pages` pages from `offset`, fewer bytes where the file ends.
    fn bytes(&self, offset: u64, pages: usize) -> Result<Vec<u8>> {
        let there = self.length.saturating_sub(offset);
        let wanted = (pages * PAGE_BYTES).min(usize::try_from(there).unwrap_or(usize::MAX));
        let mut bytes = vec![0; wanted];
        let read = exact::read_up_to(self.log, offset, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn bad_record(&self, error: RecordError) -> Error {
        match error {
            RecordError::Damaged(why) => damaged(self.path, self.at, why),
            RecordError::Newer { kind } => {
                let message = format!(
                    "the manifest holds a record of kind {kind}; a newer version of Siltstone \
                     reads it"
                );
                Error::new(ErrorKind::NewerFormat, message).at(self.path, self.at)
            }
        }
    }

    fn misfit(&self, error: &Error) -> Error {
        damaged(self.path, self.at, &format!("an edit does not fit the ones before it: {error}"))
    }
}
