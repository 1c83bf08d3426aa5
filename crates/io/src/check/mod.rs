//! [`CheckDisk`]: asserts, while a store runs, the order of operations that durability rests on.
//!
//! A crash test finds a wrong order only if it stops the machine at the unlucky moment; this wrapper
//! finds it at once, and says what is wrong. It panics when
//!
//! 1. a file is renamed with bytes that are not synced;
//! 2. a file is written or synced after one of its syncs failed;
//! 3. a file is synced by another handle than the one that wrote to it;
//! 4. a finished stream's file is written again;
//! 5. a file is removed, renamed away or replaced while a record that counts still names it;
//! 6. a record names a file whose bytes or whose name are not durable;
//! 7. a record is written before the bytes it depends on are synced ([`Record::needs_synced`]).
//!
//! Rules 5 to 7 need to know what the records (such as a manifest) say. Either the code under test
//! says so ([`CheckDisk::declare`], [`CheckDisk::expect_durable`],
//! [`CheckDisk::expect_synced_upto`]), or a [`RecordReader`] decodes the record files as they change,
//! and the code under test knows nothing of it. A record counts from the moment it is *written*, not
//! when it is synced: the system may write bytes back at any time.
//!
//! Panics in threads of the store may be caught there: [`CheckDisk::violations`] has them all.

mod ledger;
mod records;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

pub use self::records::Record;
use self::{ledger::Ledger, records::Records};
use crate::{
    disk::Disk,
    error::{Error, ErrorKind},
    path::RelPath,
    tap::{Call, Operation, Tap, TapDisk, Verdict},
};

/// Tells what record files say, so that a [`CheckDisk`] can hold a store to it.
pub trait RecordReader: fmt::Debug + Send + Sync {
    /// What the file at `path` says now, as far as it can be read; `None` if it is no record.
    fn read(&self, path: &RelPath, disk: &dyn Disk) -> Option<Record>;
}

/// A disk that asserts the order of operations.
pub type CheckDisk = TapDisk<Check>;

/// The books of a [`CheckDisk`].
#[derive(Debug)]
pub struct Check {
    reader: Option<Arc<dyn RecordReader>>,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    ledger: Ledger,
    records: Records,
    /// When the sync began that this thread is in.
    began: HashMap<ThreadId, u64>,
    violations: Vec<String>,
}

impl TapDisk<Check> {
    /// Checks what is done to `disk`; records are what the code under test declares.
    ///
    /// Everything already on the disk is taken to be durable.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self::tapping(disk, Check { reader: None, books: Mutex::default() })
    }

    /// Checks what is done to `disk`; records are what `reader` finds. The files in `existing` are
    /// read at once, so that records from before are known.
    pub fn with_reader(
        disk: Arc<dyn Disk>,
        reader: Arc<dyn RecordReader>,
        existing: &[RelPath],
    ) -> Self {
        let mut books = Books::default();
        for path in existing {
            if let Some(record) = reader.read(path, &*disk) {
                books.records.update(path, record);
            }
        }
        Self::tapping(disk, Check { reader: Some(reader), books: Mutex::new(books) })
    }

    /// Declares what the durable record at `path` says, from now on and instead of what it said.
    ///
    /// # Panics
    /// When a file it needs is not durable.
    pub fn declare(&self, path: &RelPath, record: Record) {
        let check = self.tap();
        let mut books = check.books();
        let problem = books.take(path, record, &**self.inner());
        books.records.confirm(|confirmed| confirmed == path);
        Check::settle(books, problem);
    }

    /// Declares that the record at `path` counts no more.
    pub fn retract(&self, path: &RelPath) {
        self.tap().books().records.forget(path);
    }

    /// Asserts that a file is there, and that its bytes and its name are durable.
    ///
    /// # Panics
    /// When it is not.
    pub fn expect_durable(&self, path: &RelPath) {
        let check = self.tap();
        let books = check.books();
        let problem = books.why_not_durable(path, u64::MAX, &**self.inner());
        Check::settle(books, problem);
    }

    /// Asserts that a file is there, that its name is durable, and its bytes below `offset`.
    ///
    /// # Panics
    /// When it is not.
    pub fn expect_synced_upto(&self, path: &RelPath, offset: u64) {
        let check = self.tap();
        let books = check.books();
        let problem = books.why_not_durable(path, offset, &**self.inner());
        Check::settle(books, problem);
    }

    /// Every broken rule so far, also those whose panic was caught.
    pub fn violations(&self) -> Vec<String> {
        self.tap().books().violations.clone()
    }
}

impl Check {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Panics with the problem, after writing it down and closing the books. While the thread is
    /// panicking already, a second panic would end the process before the first is told.
    fn settle(mut books: MutexGuard<'_, Books>, problem: Option<String>) {
        if let Some(problem) = problem {
            books.violations.push(problem.clone());
            drop(books);
            assert!(thread::panicking(), "order of operations: {problem}");
        }
    }
}

impl Tap for Check {
    fn before(&self, call: &Call<'_>) -> Verdict {
        let mut books = self.books();
        if matches!(
            call.operation,
            Operation::LogSync | Operation::StreamFinish | Operation::SyncDir
        ) {
            let now = books.ledger.now();
            books.began.insert(thread::current().id(), now);
        }
        let problem = books.objection(call);
        Self::settle(books, problem);
        Verdict::Run
    }

    fn after(&self, call: &Call<'_>, outcome: Result<u64, &Error>, disk: &dyn Disk) {
        let mut books = self.books();
        let began = books.began.remove(&thread::current().id()).unwrap_or(0);
        match outcome {
            Ok(amount) => books.note(call, amount, began),
            Err(_) => books.note_failure(call),
        }
        let mut problem = None;
        if outcome.is_ok() {
            problem = self.read_record(call, &mut books, disk);
            let Books { ledger, records, .. } = &mut *books;
            records.confirm(|path| {
                ledger.data_debt(path, u64::MAX).is_none() && ledger.name_debt(path).is_none()
            });
        }
        Self::settle(books, problem);
    }
}

impl Check {
    /// Reads a record file again that this call has changed.
    fn read_record(&self, call: &Call<'_>, books: &mut Books, disk: &dyn Disk) -> Option<String> {
        let path = match call.operation {
            Operation::LogWrite | Operation::StreamFinish => call.path,
            Operation::Rename => call.to?,
            _ => return None,
        };
        let record = self.reader.as_ref()?.read(path, disk)?;
        books.take(path, record, disk)
    }
}

impl Books {
    /// What a call would break.
    fn objection(&self, call: &Call<'_>) -> Option<String> {
        let path = call.path;
        match call.operation {
            Operation::LogWrite => {
                let why = self.ledger.objection_to_write(call.handle)?;
                Some(format!("write of '{path}' at byte {}: {why}", call.offset))
            }
            Operation::LogSync => {
                let why = self.ledger.objection_to_sync(call.handle)?;
                Some(format!("sync of '{path}': {why}"))
            }
            Operation::Remove => {
                let record = self.records.naming(path)?;
                Some(format!("removal of '{path}', which the record '{record}' still names"))
            }
            Operation::Rename => self.objection_to_rename(path, call.to?),
            _ => None,
        }
    }

    fn objection_to_rename(&self, from: &RelPath, to: &RelPath) -> Option<String> {
        if let Some(debt) = self.ledger.data_debt(from, u64::MAX) {
            return Some(format!("rename of '{from}' to '{to}': {debt}"));
        }
        let lost = [from, to].into_iter().find_map(|path| Some((path, self.records.naming(path)?)));
        let (path, record) = lost?;
        Some(format!(
            "rename of '{from}' to '{to}' takes '{path}' away, which the record '{record}' names"
        ))
    }

    /// Writes down a call that succeeded.
    fn note(&mut self, call: &Call<'_>, amount: u64, began: u64) {
        let ledger = &mut self.ledger;
        match call.operation {
            Operation::CreateDir => ledger.created_folder(call.path),
            Operation::CreateLog => ledger.created(call.path, call.handle),
            Operation::CreateStream => {
                ledger.created(call.path, call.handle);
                ledger.began_stream(call.path);
            }
            Operation::OpenLog => ledger.opened(call.path, call.handle),
            Operation::LogWrite => ledger.wrote(call.handle, call.offset, call.offset + amount),
            Operation::LogSync => ledger.synced(call.handle, began),
            Operation::StreamFinish => ledger.finished(call.handle),
            Operation::SyncDir => ledger.synced_folder(call.path, began),
            Operation::Rename => {
                let to = call.to.expect("a rename has a new name");
                ledger.renamed(call.path, to);
                self.records.forget(call.path);
            }
            Operation::Remove | Operation::RemoveDir => {
                ledger.forget(call.path);
                self.records.forget(call.path);
            }
            _ => {}
        }
    }

    /// Writes down a call that failed: what it did is unknown, so the worst is assumed.
    fn note_failure(&mut self, call: &Call<'_>) {
        match call.operation {
            Operation::LogWrite => {
                self.ledger.wrote(call.handle, call.offset, call.offset + call.len);
            }
            Operation::LogSync | Operation::StreamFinish => self.ledger.sync_failed(call.handle),
            _ => {}
        }
    }

    /// Takes a record's new state; returns what is wrong with it.
    fn take(&mut self, path: &RelPath, record: Record, disk: &dyn Disk) -> Option<String> {
        let fresh = self.records.update(path, record);
        let wanted = fresh.files.iter().chain(&fresh.synced);
        let mut problems = wanted.filter_map(|(file, &end)| self.why_not_durable(file, end, disk));
        problems.next().map(|problem| format!("the record '{path}' is too early: {problem}"))
    }

    fn why_not_durable(&self, path: &RelPath, end: u64, disk: &dyn Disk) -> Option<String> {
        match disk.file_len(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Some(error.to_string()),
            Ok(len) if end != u64::MAX && len < end => {
                return Some(format!("'{path}' has {len} bytes, {end} are needed"));
            }
            _ => {} // of a disk that fails, only the books tell
        }
        let debt = self.ledger.data_debt(path, end).or_else(|| self.ledger.name_debt(path))?;
        Some(format!("'{path}' is not durable: {debt}"))
    }
}
