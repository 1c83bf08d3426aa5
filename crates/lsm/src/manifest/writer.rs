//! [`Writer`]: a manifest file being written.

use std::sync::Arc;

use siltstone_io::{disk::Log, env::Env, exact};

use crate::{
    error::{Error, Result},
    format::{
        manifest::{
            Head, PAGE_BYTES,
            edit::{self, Record},
            frame::{self, PAYLOAD_BYTES_MAX, Part, Place},
        },
        names,
    },
    manifest::{current, reader::Read, state::State},
};

/// A manifest file and where its next edit goes.
#[derive(Debug)]
pub(super) struct Writer {
    log: Arc<dyn Log>,
    number: u64,
    salt: [u8; 16],
    /// The number of the next edit.
    next_edit: u64,
    /// Where it goes.
    end: u64,
    /// Where the snapshot ends.
    snapshot_end: u64,
}

/// At which step an edit failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Not all of it was handed to the disk.
    Write(Error),
    /// All of it was; whether it is there is unknown.
    Sync(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Write(error) | Failure::Sync(error) => error,
        }
    }
}

impl Writer {
    /// Creates manifest `number` with the state as its snapshot, and syncs the file. If that
    /// fails, the file is removed as far as possible.
    pub(super) fn create(env: &Env, number: u64, state: &State) -> Result<Self> {
        let path = names::manifest(number);
        current::remove_if_there(&*env.disk, &path)?;
        let log = env.disk.create_log(&path)?;
        let head = Head { number, store_id: state.store_id, salt: env.unique_id() };
        let end = PAGE_BYTES as u64;
        let salt = head.salt;
        let mut new = Self { log, number, salt, next_edit: 0, end, snapshot_end: end };
        match new.write_snapshot(&head, state) {
            Ok(()) => Ok(new),
            Err(error) => {
                // Nothing names the file: if it stays, the next roll or open removes it.
                match current::remove_if_there(&*env.disk, &path) {
                    Ok(()) => Err(error),
                    Err(also) => Err(error.caused_by(also)),
                }
            }
        }
    }

    /// Takes up a manifest that holds nothing but its snapshot.
    pub(super) fn reopen(read: &Read, number: u64) -> Self {
        Self {
            log: Arc::clone(&read.log),
            number,
            salt: read.salt,
            next_edit: read.edits + 1,
            end: read.end,
            snapshot_end: read.snapshot_end,
        }
    }

    /// Creates the manifest after this one.
    pub(super) fn next(&self, env: &Env, state: &State) -> Result<Self> {
        Self::create(env, self.number + 1, state)
    }

    /// The number in the file's name.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Its length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.end
    }

    /// The length of head and snapshot in bytes.
    pub(super) fn snapshot_length(&self) -> u64 {
        self.snapshot_end
    }

    /// Appends an edit and syncs it. After an error the writer must not be used for another.
    pub(super) fn append(&mut self, records: &[Record]) -> std::result::Result<(), Failure> {
        self.write(records.iter()).map_err(Failure::Write)?;
        self.log.sync().map_err(|error| Failure::Sync(error.into()))
    }

    fn write_snapshot(&mut self, head: &Head, state: &State) -> Result<()> {
        exact::write_all_at(&*self.log, 0, &[&head.encode()])?;
        self.write(state.snapshot())?;
        self.snapshot_end = self.end;
        Ok(self.log.sync()?)
    }

    /// Writes one edit as frames, each as full as whole records make it.
    fn write(
        &mut self,
        records: impl Iterator<Item = impl std::borrow::Borrow<Record>>,
    ) -> Result<()> {
        let mut part = Part { edit: self.next_edit, part: 0, last: false };
        let (mut payload, mut encoded) = (Vec::new(), Vec::new());
        for record in records {
            encoded.clear();
            edit::encode(record.borrow(), &mut encoded);
            if payload.len() + encoded.len() > PAYLOAD_BYTES_MAX {
                self.write_frame(part, &payload)?;
                part.part += 1;
                payload.clear();
            }
            payload.extend_from_slice(&encoded);
        }
        self.write_frame(Part { last: true, ..part }, &payload)?;
        self.next_edit += 1;
        Ok(())
    }

    fn write_frame(&mut self, part: Part, payload: &[u8]) -> Result<()> {
        let frame = frame::encode(Place { salt: &self.salt, offset: self.end }, part, payload);
        exact::write_all_at(&*self.log, self.end, &[&frame])?;
        self.end += frame.len() as u64;
        Ok(())
    }
}
