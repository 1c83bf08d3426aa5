//! [`for_each`]: the same work on many things, some at a time, until the first failure.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::error::{Error, ErrorKind, Result};

/// Does `work` on all `items`, in their order, up to `workers` at a time. After a failure no more is
/// begun; the first one is returned.
///
/// # Errors
/// Those of the work; `Io` if the system has no threads left.
pub(crate) fn for_each<T: Sync>(
    items: &[T],
    workers: usize,
    work: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<Error>> = Mutex::default();
    let keep = |error| {
        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        next.store(items.len(), Ordering::Relaxed);
    };
    let run = || {
        // A store of the end may be counted up from, which is past the end still.
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(item) {
                keep(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..workers.min(items.len()) {
            let helper = thread::Builder::new().name("backup-helper".to_owned());
            if let Err(error) = helper.spawn_scoped(scope, run) {
                let message = format!("cannot start a thread: {error}");
                keep(Error::new(ErrorKind::Io, message).caused_by(error));
            }
        }
        run();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_until_something_fails() {
        let items: Vec<usize> = (0..1000).collect();
        for workers in [0, 1, 7] {
            let done = AtomicUsize::new(0);
            let sum = |item: &usize| {
                done.fetch_add(*item, Ordering::Relaxed);
                Ok(())
            };
            for_each(&items, workers, sum).unwrap();
            assert_eq!(done.into_inner(), 1000 * 999 / 2);
            let begun = AtomicUsize::new(0);
            let fail = |item: &usize| {
                begun.fetch_add(1, Ordering::Relaxed);
                if *item == 10 { Err(Error::canceled()) } else { Ok(()) }
            };
            assert_eq!(for_each(&items, workers, fail).unwrap_err().kind(), ErrorKind::Canceled);
            if workers <= 1 {
                assert_eq!(begun.into_inner(), 11, "nothing is begun after a failure");
            }
        }
        for_each(&[] as &[u8], 3, |_| Err(Error::canceled())).unwrap();
    }
}
