//! The lock file: `flock`, and a note that says who holds it.
//!
//! The lock belongs to the open file, so it is freed when the process dies, however it dies, and a
//! second lock in the same process is refused like anyone else's. The file is never removed: a
//! process that still has the removed file open could then hold a lock beside the new one.

use std::{
    fs::{File, TryLockError},
    os::unix::fs::FileExt,
};

use crate::{
    disk::LockGuard,
    error::{Error, ErrorKind, Result},
    path::RelPath,
};

/// Bytes of a holder's note that are shown.
const NOTE_BYTES_MAX: usize = 256;

#[derive(Debug)]
struct Held(File);

impl LockGuard for Held {}

impl Drop for Held {
    /// Unlocks in so many words: a child between `fork` and `exec` still has the file open.
    fn drop(&mut self) {
        if self.0.unlock().is_err() {
            // Closing the file, which follows, unlocks it as well.
        }
    }
}

/// Locks an open lock file and leaves a note in it.
pub(super) fn take(file: File, path: &RelPath, note: &str) -> Result<Box<dyn LockGuard>> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::new(ErrorKind::Locked, "lock", path).because(holder(&file)));
        }
        Err(TryLockError::Error(error)) => return Err(Error::from_os("lock", path, error)),
    }
    let noted = file.set_len(0).and_then(|()| file.write_all_at(note.as_bytes(), 0));
    match noted {
        Ok(()) => Ok(Box::new(Held(file))),
        Err(error) => Err(Error::from_os("write the note of", path, error)),
    }
}

/// Says who holds the lock, as far as the file tells.
fn holder(file: &File) -> String {
    let mut note = [0; NOTE_BYTES_MAX];
    let read = file.read_at(&mut note, 0).unwrap_or(0); // only makes the message poorer
    let note = String::from_utf8_lossy(&note[..read]);
    match note.trim() {
        "" => "held by a process that left no note".to_owned(),
        note => format!("held by {}", note.escape_debug()),
    }
}
