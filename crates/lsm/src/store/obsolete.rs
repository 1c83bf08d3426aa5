//! [`Obsolete`]: files that the store no longer names, until nothing holds them.
//!
//! A file that holds many segments counts whole as long as one of them is held: that is what comes
//! back to the disk when the last holder lets go. A file of which some segments are still part of
//! the store is not here, whoever holds its dead ones: letting go of them frees nothing.
//!
//! The list itself holds no file. So the last holder (a view, a snapshot, a cut, a reader) is known
//! by the drop of the handle, and that wakes the reaper: an idle store frees its disk, too.

use std::{
    sync::{Arc, Mutex, Weak},
    task::Waker,
    time::Duration,
};

use crate::{store::core::lock, types::FileId, version::FileHandle};

/// The list that the reap job works off.
#[derive(Debug, Default)]
pub(crate) struct Obsolete {
    files: Mutex<Vec<Retired>>,
}

#[derive(Debug)]
struct Retired {
    id: FileId,
    /// Length in bytes.
    length: u64,
    handle: Weak<FileHandle>,
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
    /// A segment in a version, a view or a cut holds a reference.
    fn is_pinned(&self) -> bool {
        self.handle.strong_count() > 0
    }
}

impl Obsolete {
    /// Takes files in that no version names from now on; `reaper` is woken when the last holder of
    /// one lets go.
    pub(crate) fn retire(&self, files: Vec<Arc<FileHandle>>, now: Duration, reaper: &Waker) {
        let retired = files.iter().map(|file| {
            file.wake_when_free(reaper.clone());
            let (id, length) = (file.id, file.length);
            Retired { id, length, handle: Arc::downgrade(file), since: now }
        });
        lock(&self.files).extend(retired);
        drop(files); // not before they are on the list: this may be the last reference
    }

    /// Hands out one file that nothing holds any more; the caller removes it from disk.
    pub(crate) fn take_unpinned(&self) -> Option<FileId> {
        let mut files = lock(&self.files);
        let unpinned = files.iter().position(|retired| !retired.is_pinned());
        unpinned.map(|index| files.swap_remove(index).id)
    }

    /// What is held at this moment. Cost: one pass over the obsolete files, not over the store.
    pub(crate) fn pinned(&self, now: Duration) -> Pinned {
        let files = lock(&self.files);
        let pinned = files.iter().filter(|retired| retired.is_pinned());
        pinned.fold(Pinned::default(), |sum, retired| Pinned {
            files: sum.files + 1,
            bytes: sum.bytes.saturating_add(retired.length),
            oldest: sum.oldest.max(now.saturating_sub(retired.since)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU64);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn only_held_files_are_pinned_and_only_others_are_handed_out() {
        let at = Duration::from_secs;
        let obsolete = Obsolete::default();
        let woken = Arc::<Woken>::default();
        let (reaper, wakes) = (Waker::from(Arc::clone(&woken)), || woken.0.load(Ordering::SeqCst));
        let files: Vec<_> =
            (1..=3).map(|id| Arc::new(FileHandle::new(FileId(id), id * 100))).collect();
        obsolete.retire(files[..1].to_vec(), at(10), &reaper);
        obsolete.retire(files[1..].to_vec(), at(15), &reaper);
        let pinned = |files, bytes, oldest| Pinned { files, bytes, oldest: at(oldest) };
        assert_eq!(obsolete.pinned(at(20)), pinned(3, 600, 10));
        assert!(obsolete.take_unpinned().is_none());
        let held = Arc::clone(&files[2]);
        assert_eq!(wakes(), 0);
        drop(files);
        assert_eq!(wakes(), 2, "each file wakes the reaper with its last holder");
        assert_eq!(obsolete.pinned(at(20)), pinned(1, 300, 5));
        assert!(obsolete.take_unpinned().is_some() && obsolete.take_unpinned().is_some());
        assert!(obsolete.take_unpinned().is_none());
        drop(held);
        assert_eq!(wakes(), 3);
        assert_eq!(obsolete.pinned(at(20)), Pinned::default());
        assert_eq!(obsolete.take_unpinned(), Some(FileId(3)));
    }
}
