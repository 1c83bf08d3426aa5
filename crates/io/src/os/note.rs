//! [`Notes`]: why a disk does not use the fastest way, each reason once.

use std::sync::{Mutex, MutexGuard};

/// The file system does not take `O_DIRECT`.
pub(super) const NOT_DIRECT: &str = "the file system does not take direct I/O; its files are read and written through the page cache";

/// What was found out about a disk while it was used.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn notes(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().expect("no code panics while holding it")
    }

    /// Adds a note unless it is there already.
    pub(super) fn add(&self, note: impl Into<String>) {
        let note = note.into();
        let mut notes = self.notes();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// All of them; `None` if there are none.
    pub(super) fn joined(&self) -> Option<String> {
        let notes = self.notes();
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}
