//! [`Ledger`]: what a disk owes: bytes written and not synced, names made and not synced.
//!
//! Files that were there before the ledger are taken to be durable. Every debt has the tick at which
//! it arose, and a sync pays what arose before it began: bytes written while it runs stay owed.

use std::collections::BTreeMap;

use crate::path::RelPath;

/// Which file, whatever its name.
type FileId = u64;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    tick: u64,
    paths: BTreeMap<RelPath, FileId>,
    handles: BTreeMap<u64, FileId>,
    files: BTreeMap<FileId, FileState>,
    names: BTreeMap<RelPath, Vec<NameDebt>>,
}

#[derive(Debug, Default)]
struct FileState {
    unsynced: Vec<Unsynced>,
    stage: Stage,
    failed_sync: bool,
}

/// How far a file is that is written front to back.
#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    /// It is written at positions, or was there before the ledger.
    #[default]
    Log,
    Stream,
    Finished,
}

#[derive(Clone, Debug)]
struct Unsynced {
    handle: u64,
    start: u64,
    end: u64,
    tick: u64,
}

/// A folder to be synced before a name is durable.
#[derive(Debug)]
struct NameDebt {
    folder: RelPath,
    tick: u64,
}

impl Ledger {
    /// The present moment; what happens later has a higher tick.
    pub(super) fn now(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    fn file_at(&mut self, path: &RelPath) -> FileId {
        if let Some(&file) = self.paths.get(path) {
            return file;
        }
        let file = self.now();
        self.paths.insert(path.clone(), file);
        self.files.insert(file, FileState::default());
        file
    }

    fn owe_name(&mut self, path: &RelPath, folder: RelPath) {
        let tick = self.now();
        self.names.entry(path.clone()).or_default().push(NameDebt { folder, tick });
    }

    // ---- what happened ----

    pub(super) fn created_folder(&mut self, path: &RelPath) {
        self.owe_name(path, path.parent());
    }

    pub(super) fn created(&mut self, path: &RelPath, handle: u64) {
        self.forget(path);
        self.opened(path, handle);
        self.owe_name(path, path.parent());
    }

    pub(super) fn began_stream(&mut self, path: &RelPath) {
        let file = self.file_at(path);
        self.state_mut(file).stage = Stage::Stream;
    }

    pub(super) fn opened(&mut self, path: &RelPath, handle: u64) {
        let file = self.file_at(path);
        self.handles.insert(handle, file);
    }

    pub(super) fn wrote(&mut self, handle: u64, start: u64, end: u64) {
        let tick = self.now();
        if let Some(file) = self.file_of_mut(handle) {
            file.unsynced.push(Unsynced { handle, start, end, tick });
        }
    }

    pub(super) fn synced(&mut self, handle: u64, began: u64) {
        if let Some(file) = self.file_of_mut(handle) {
            file.unsynced.retain(|debt| debt.tick > began);
        }
    }

    pub(super) fn sync_failed(&mut self, handle: u64) {
        if let Some(file) = self.file_of_mut(handle) {
            file.failed_sync = true;
        }
    }

    pub(super) fn finished(&mut self, handle: u64) {
        if let Some(file) = self.file_of_mut(handle) {
            file.stage = Stage::Finished;
        }
    }

    pub(super) fn synced_folder(&mut self, folder: &RelPath, began: u64) {
        for debts in self.names.values_mut() {
            debts.retain(|debt| debt.folder != *folder || debt.tick > began);
        }
        self.names.retain(|_, debts| !debts.is_empty());
    }

    pub(super) fn renamed(&mut self, from: &RelPath, to: &RelPath) {
        let file = self.file_at(from);
        self.forget(from);
        self.forget(to);
        self.paths.insert(to.clone(), file);
        self.owe_name(to, to.parent());
        if from.parent() != to.parent() {
            self.owe_name(to, from.parent());
        }
    }

    /// Forgets a name; open handles still know the file.
    pub(super) fn forget(&mut self, path: &RelPath) {
        self.paths.remove(path);
        self.names.remove(path);
    }

    fn state_mut(&mut self, file: FileId) -> &mut FileState {
        self.files.get_mut(&file).expect("a known name or handle leads to a known file")
    }

    fn file_of_mut(&mut self, handle: u64) -> Option<&mut FileState> {
        let file = *self.handles.get(&handle)?;
        self.files.get_mut(&file)
    }

    fn file_of(&self, handle: u64) -> Option<&FileState> {
        self.files.get(self.handles.get(&handle)?)
    }

    fn state_at(&self, path: &RelPath) -> Option<&FileState> {
        self.files.get(self.paths.get(path)?)
    }

    // ---- what may happen ----

    /// Why a write through this handle breaks the order.
    pub(super) fn objection_to_write(&self, handle: u64) -> Option<&'static str> {
        let file = self.file_of(handle)?;
        if file.failed_sync {
            Some("a sync of the file failed before, so what it holds is unknown")
        } else if file.stage == Stage::Finished {
            Some("the file is finished and may be read by others")
        } else {
            None
        }
    }

    /// Why a sync through this handle breaks the order.
    pub(super) fn objection_to_sync(&self, handle: u64) -> Option<&'static str> {
        let file = self.file_of(handle)?;
        if file.failed_sync {
            Some("a sync of the file failed before, and success now would prove nothing")
        } else if file.unsynced.iter().any(|debt| debt.handle != handle) {
            Some("other handles wrote, and only theirs are sure to learn of an error")
        } else {
            None
        }
    }

    /// Why the bytes of a file, up to `end`, are not durable.
    pub(super) fn data_debt(&self, path: &RelPath, end: u64) -> Option<String> {
        let file = self.state_at(path)?;
        if file.failed_sync {
            return Some("its last sync failed".to_owned());
        }
        if file.stage == Stage::Stream {
            return Some("its stream is not finished".to_owned());
        }
        let first = file.unsynced.iter().filter(|debt| debt.start < end).min_by_key(|d| d.start)?;
        Some(format!("bytes {}..{} are not synced", first.start, first.end))
    }

    /// Why a name, or that of a folder above it, is not durable.
    pub(super) fn name_debt(&self, path: &RelPath) -> Option<String> {
        let mut at = path.clone();
        while !at.as_str().is_empty() {
            if let Some(debt) = self.names.get(&at).and_then(|debts| debts.first()) {
                let folder = &debt.folder;
                return Some(format!("the name '{at}' waits for a sync of the folder '{folder}'"));
            }
            at = at.parent();
        }
        None
    }
}
