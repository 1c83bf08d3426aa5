//! The manifest: the one truth about what the store consists of.
//!
//! A log of edits, each durable before it counts, that begins with a snapshot. The file `CURRENT`
//! names the one in use. When it has grown, it is *rolled*: the state is written as the snapshot of
//! a new manifest, and `CURRENT` is replaced. The layouts are in [`crate::format::manifest`].
//!
//! Invariants:
//!
//! 1. An edit is in memory only after its sync has returned; so what readers see is on disk.
//! 2. `CURRENT` names only a manifest whose snapshot, and whose name, were synced before.
//! 3. A page is written once. A manifest that is opened with edits after its snapshot, or with a
//!    torn one, is rolled before anything else happens: nothing is appended after a torn edit, and
//!    nothing is built on edits that were read from the page cache alone, where those of a process
//!    that died after a failed sync still show.
//! 4. After a failed write or sync of an edit the manifest is poisoned: what is on disk is unknown
//!    until the store is opened again. The exception is a full disk (see [`Manifest::commit`]).
//! 5. Nothing here removes a file of segments. Old manifests go when the new one is durable.

mod current;
mod reader;
mod state;
mod writer;

use std::sync::{Mutex, MutexGuard, PoisonError};

use siltstone_io::{disk::Disk, env::Env, path::RelPath};

use crate::{
    error::{Error, ErrorKind, Result},
    format::manifest::Current,
    manifest::writer::Writer,
};

pub use self::state::{Outcome, State};
pub use crate::format::manifest::edit::{Edit, Record};

/// A manifest is rolled when it is this many times as long as its snapshot.
const ROLL_RATIO: u64 = 4;

/// The open manifest: appends edits durably, keeps the current state, rolls itself.
#[derive(Debug)]
pub struct Manifest {
    env: Env,
    roll_bytes: u64,
    dropped_bytes: u64,
    inner: Mutex<Inner>,
    /// A copy of the inner state that can be read while an edit is being synced.
    published: Mutex<State>,
}

#[derive(Debug)]
struct Inner {
    writer: Writer,
    state: State,
    /// Why nothing can be written any more.
    poison: Option<String>,
    /// The end of the manifest holds part of an edit that failed: roll before the next one.
    spoiled: bool,
}

impl Manifest {
    /// Makes the first manifest of a new store, all of it synced. `roll_bytes` is the length from
    /// which it is rolled.
    ///
    /// # Errors
    /// `Exists` when there is a store; `Corrupt` when there is what is left of one; `NoSpace`, `Io`.
    pub fn create(env: &Env, store_id: [u8; 16], roll_bytes: u64) -> Result<Self> {
        if current::read(&*env.disk)?.is_some() {
            let message = "there is a store in this folder already; open it, or use another folder";
            return Err(Error::new(ErrorKind::Exists, message));
        }
        current::check_no_store(&*env.disk)?;
        current::remove_leftovers(&*env.disk, None)?;
        let state = State::new(store_id);
        let writer = Writer::create(env, current::FIRST_NUMBER, &state)?;
        env.disk.sync_dir(&RelPath::root())?;
        current::prepare(&*env.disk, Current { number: writer.number(), store_id })?;
        current::switch(&*env.disk)?;
        Ok(Self::assemble(env, roll_bytes, 0, (writer, state)))
    }

    /// Whether the folder holds a store, or what is left of one, or cannot be read: then
    /// [`Manifest::open`] says why. Changes nothing.
    pub fn is_there(disk: &dyn Disk) -> bool {
        !matches!(current::read(disk), Ok(None)) || current::check_no_store(disk).is_err()
    }

    /// Reads `CURRENT` and replays the manifest that it names.
    ///
    /// # Errors
    /// `NotFound` when there is no store; `Corrupt` when there is what is left of one, or when
    /// bytes are not what was written; `NewerFormat`; `NoSpace`, `Io`.
    pub fn open(env: &Env, roll_bytes: u64) -> Result<Self> {
        let disk = &*env.disk;
        let Some(current) = current::read(disk)? else {
            current::check_no_store(disk)?;
            return Err(Error::new(ErrorKind::NotFound, "there is no store in this folder"));
        };
        let read = reader::read(disk, current)?;
        // The rename of CURRENT may only be in memory: it must be durable before others go.
        disk.sync_dir(&RelPath::root())?;
        current::remove_leftovers(disk, Some(current.number))?;
        let pristine = read.edits == 0 && read.dropped_bytes == 0;
        let writer = Writer::reopen(&read, current.number);
        let manifest = Self::assemble(env, roll_bytes, read.dropped_bytes, (writer, read.state));
        if !pristine {
            manifest.roll()?;
        }
        Ok(manifest)
    }

    fn assemble(
        env: &Env,
        roll_bytes: u64,
        dropped_bytes: u64,
        (writer, state): (Writer, State),
    ) -> Self {
        let published = Mutex::new(state.clone());
        let inner = Mutex::new(Inner { writer, state, poison: None, spoiled: false });
        Self { env: env.clone(), roll_bytes, dropped_bytes, inner, published }
    }

    /// Bytes at the end of the manifest that belonged to an edit which was never acknowledged, and
    /// were dropped when it was opened.
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// The state after the last durable edit. Does not wait for an edit that is being written.
    pub fn state(&self) -> State {
        lock(&self.published).clone()
    }

    /// Appends one edit, syncs, applies, publishes. Edits are one at a time.
    ///
    /// # Errors
    /// When the edit does not fit the state (`Exists`, `NotFound`, `Invalid`), nothing was written.
    /// `NoSpace`: the disk is full, the edit is not there and will not be, and later ones may
    /// succeed. `Indeterminate`: the write or sync failed, the edit may be there after a reopen, and
    /// every later commit fails with `Poisoned`.
    pub fn commit(&self, edit: Edit) -> Result<Outcome> {
        let mut edit = Some(edit);
        self.commit_with(&mut |_| Ok(edit.take().unwrap_or_default()))
    }

    /// As [`Manifest::commit`], with the edit made from the state that it will be applied to. If
    /// it has no records, nothing is written.
    ///
    /// # Errors
    /// As [`Manifest::commit`], and those of `plan`, which change nothing.
    pub fn commit_with(&self, plan: &mut dyn FnMut(&State) -> Result<Edit>) -> Result<Outcome> {
        let mut inner = lock(&self.inner);
        inner.check_poison()?;
        let edit = plan(&inner.state)?;
        if edit.records.is_empty() {
            return Ok(Outcome { state: inner.state.clone(), obsolete: Vec::new() });
        }
        let outcome = inner.state.apply(&edit)?;
        if inner.spoiled {
            inner.roll(&self.env)?;
        }
        inner.append(&edit)?;
        inner.state = outcome.state.clone();
        let old = std::mem::replace(&mut *lock(&self.published), outcome.state.clone());
        drop(old); // not under the lock of those who only look
        Ok(outcome)
    }

    /// Whether the manifest is due for a roll.
    pub fn should_roll(&self) -> bool {
        let inner = lock(&self.inner);
        let (length, snapshot) = (inner.writer.length(), inner.writer.snapshot_length());
        let grown = length >= self.roll_bytes && length >= snapshot.saturating_mul(ROLL_RATIO);
        inner.poison.is_none() && (grown || inner.spoiled)
    }

    /// Writes the state as the snapshot of a new manifest and switches `CURRENT` to it.
    ///
    /// # Errors
    /// Before the switch, `NoSpace` or `Io`: the old manifest stays in use. At the switch,
    /// `Indeterminate`: either may be in use after a reopen, and the manifest is poisoned.
    pub fn roll(&self) -> Result<()> {
        let mut inner = lock(&self.inner);
        inner.check_poison()?;
        inner.roll(&self.env)
    }
}

impl Inner {
    fn check_poison(&self) -> Result<()> {
        match &self.poison {
            None => Ok(()),
            Some(cause) => {
                let message =
                    format!("the manifest takes no more edits; open the store again: {cause}");
                Err(Error::new(ErrorKind::Poisoned, message))
            }
        }
    }

    fn append(&mut self, edit: &Edit) -> Result<()> {
        match self.writer.append(&edit.records) {
            Ok(()) => Ok(()),
            // The edit is not whole on disk, and the next one goes to a fresh manifest.
            Err(writer::Failure::Write(error)) if error.kind() == ErrorKind::NoSpace => {
                self.spoiled = true;
                Err(error)
            }
            Err(writer::Failure::Write(error) | writer::Failure::Sync(error)) => {
                Err(self.poisoned_by(error, "a manifest edit could not be made durable"))
            }
        }
    }

    fn roll(&mut self, env: &Env) -> Result<()> {
        let disk = &*env.disk;
        let old = self.writer.number();
        let new = self.writer.next(env, &self.state)?;
        disk.sync_dir(&RelPath::root())?;
        let named = Current { number: new.number(), store_id: self.state.store_id };
        current::prepare(disk, named)?;
        current::switch(disk).map_err(|error| {
            self.poisoned_by(error, "the switch to a new manifest could not be made durable")
        })?;
        self.writer = new;
        self.spoiled = false;
        current::remove_manifest(disk, old)
    }

    fn poisoned_by(&mut self, error: Error, what: &str) -> Error {
        self.poison = Some(format!("{what}: {error}"));
        Error::new(ErrorKind::Indeterminate, what).caused_by(error)
    }
}

/// Locks; the guarded state is whole also after a panic, because it is assigned last.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
