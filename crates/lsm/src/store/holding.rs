//! Held files: what a restore has completed is named by the manifest before the restore is, so that
//! its next try need not fetch it again.
//!
//! Nothing sees a held file but the next restore. So holding and releasing are edits of the manifest
//! alone, as those of a flush are, and need no place in the commit queue. Files of a running restore
//! are claimed, in memory: a process that dies, or a restore that fails, lets go of the claim and
//! not of the file.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    error::{Error, ErrorKind, Result},
    format::names,
    manifest::{Edit, Outcome, Record},
    restore::HeldFile,
    store::core::{Core, lock},
    types::{FileId, SegmentMeta},
};

impl Core {
    /// Has the manifest hold a file that is written and synced, and claims it. Syncs its folder
    /// before: what an edit names is durable.
    ///
    /// # Errors
    /// `Invalid` when a segment does not lie in the file; `NoSpace`, `Io`, `Poisoned`: it is not
    /// held. `Indeterminate`: it may be, and stays claimed.
    pub(crate) fn hold(&self, file: FileId, segments: Vec<(u64, SegmentMeta)>) -> Result<()> {
        self.check_writable()?;
        let length = self.env.disk.file_len(&names::file(file))?;
        self.env.disk.sync_dir(&names::top(names::FILES))?;
        let hold = |(offset, meta)| Record::HoldSegment { file, offset, meta };
        let mut records = vec![Record::HoldFile { file, length }];
        records.extend(segments.into_iter().map(hold));
        lock(&self.claimed).insert(file);
        let outcome = self.commit_held(records);
        if let Err(error) = &outcome
            && error.kind() != ErrorKind::Indeterminate
        {
            lock(&self.claimed).remove(&file);
        }
        outcome.map(drop)
    }

    /// The held files that no running restore has claimed.
    pub(crate) fn held_files(&self) -> Vec<Arc<HeldFile>> {
        let claimed = lock(&self.claimed);
        let held = self.manifest.state().held; // under the lock: what is claimed next is in it still
        held.files().filter(|held| !claimed.contains(&held.file)).map(Arc::clone).collect()
    }

    /// Claims some of the held files that nobody has claimed, and releases the others of those:
    /// one edit, then their removal. Returns the bytes of what was released.
    ///
    /// # Errors
    /// `Invalid` when a wanted file is not held, or is claimed. Nothing is claimed then, nor after
    /// `NoSpace`, `Io`, `Poisoned` or `Indeterminate`.
    pub(crate) fn claim_held(&self, wanted: &BTreeSet<FileId>) -> Result<u64> {
        self.check_writable()?;
        let mut claimed = lock(&self.claimed);
        let held = self.manifest.state().held;
        let is_free = |file: &FileId| !claimed.contains(file);
        if let Some(file) = wanted.iter().find(|file| !is_free(file) || held.file(**file).is_none())
        {
            let message = format!("{file} is not held, or another restore has it");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let free: Vec<_> = held.files().filter(|held| is_free(&held.file)).collect();
        claimed.extend(free.iter().map(|held| held.file));
        drop(claimed);
        let others = free.iter().filter(|held| !wanted.contains(&held.file));
        let (mut released, mut bytes) = (Vec::new(), 0_u64);
        for held in others {
            released.push(held.file);
            bytes = bytes.saturating_add(held.length);
        }
        let outcome = self.release(&released);
        self.unclaim(&released);
        if outcome.is_err() {
            self.unclaim(wanted);
        }
        outcome.map(|()| bytes)
    }

    /// Lets go of claims; what is held stays so.
    pub(crate) fn unclaim<'a>(&self, files: impl IntoIterator<Item = &'a FileId>) {
        let mut claimed = lock(&self.claimed);
        for file in files {
            claimed.remove(file);
        }
    }

    fn release(&self, files: &[FileId]) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let records = files.iter().map(|file| Record::ReleaseFile { file: *file }).collect();
        let outcome = self.commit_held(records)?;
        self.retire(outcome.obsolete);
        // What cannot be removed now is an orphan, and the next open removes it.
        while self.reap_step().unwrap_or_default() {}
        Ok(())
    }

    fn commit_held(&self, records: Vec<Record>) -> Result<Outcome> {
        self.manifest.commit(Edit { records }).inspect_err(|error| self.note_failure(error))
    }
}
