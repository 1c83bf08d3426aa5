//! [`Obsolete`]: files that the store no longer names, until nothing holds them.
//!
//! A file that holds many segments counts whole as long as one of them is held: that is what comes
//! back to the disk when the last holder lets go. A file of which some segments are still part of
//! the store is not here, whoever holds its dead ones: letting go of them frees nothing.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{store::core::lock, version::FileHandle};

/// The list that the reap job works off.
#[derive(Debug, Default)]
pub(crate) struct Obsolete {
    files: Mutex<Vec<Retired>>,
}

#[derive(Debug)]
struct Retired {
    file: Arc<FileHandle>,
    /// When the store stopped naming it, by the monotonic clock.
    since: Duration,
}

/// Files that only views, snapshots, cuts and backups keep on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pinned {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// How long ago the store stopped naming the first of them.
    pub(crate) oldest: Duration,
}

impl Retired {
    /// The list holds one reference; a segment in a version, a view or a cut another.
    fn is_pinned(&self) -> bool {
        Arc::strong_count(&self.file) > 1
    }
}

impl Obsolete {
    /// Takes files in that no version names from now on.
    pub(crate) fn retire(&self, files: Vec<Arc<FileHandle>>, now: Duration) {
        lock(&self.files).extend(files.into_iter().map(|file| Retired { file, since: now }));
    }

    /// Hands out one file that nothing holds any more; the caller removes it from disk.
    pub(crate) fn take_unpinned(&self) -> Option<Arc<FileHandle>> {
        let mut files = lock(&self.files);
        let unpinned = files.iter().position(|retired| !retired.is_pinned());
        unpinned.map(|index| files.swap_remove(index).file)
    }

    /// What is held at this moment. Cost: one pass over the obsolete files, not over the store.
    pub(crate) fn pinned(&self, now: Duration) -> Pinned {
        let files = lock(&self.files);
        let pinned = files.iter().filter(|retired| retired.is_pinned());
        pinned.fold(Pinned::default(), |sum, retired| Pinned {
            files: sum.files + 1,
            bytes: sum.bytes.saturating_add(retired.file.length),
            oldest: sum.oldest.max(now.saturating_sub(retired.since)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::FileId;

    #[test]
    fn only_held_files_are_pinned_and_only_others_are_handed_out() {
        let at = Duration::from_secs;
        let obsolete = Obsolete::default();
        let files: Vec<_> =
            (1..=3).map(|id| Arc::new(FileHandle::new(FileId(id), id * 100))).collect();
        obsolete.retire(files[..1].to_vec(), at(10));
        obsolete.retire(files[1..].to_vec(), at(15));
        let pinned = |files, bytes, oldest| Pinned { files, bytes, oldest: at(oldest) };
        assert_eq!(obsolete.pinned(at(20)), pinned(3, 600, 10));
        assert!(obsolete.take_unpinned().is_none());
        let held = Arc::clone(&files[2]);
        drop(files);
        assert_eq!(obsolete.pinned(at(20)), pinned(1, 300, 5));
        assert!(obsolete.take_unpinned().is_some() && obsolete.take_unpinned().is_some());
        assert!(obsolete.take_unpinned().is_none());
        drop(held);
        assert_eq!(obsolete.pinned(at(20)), Pinned::default());
        assert_eq!(obsolete.take_unpinned().map(|file| file.id), Some(FileId(3)));
    }
}
