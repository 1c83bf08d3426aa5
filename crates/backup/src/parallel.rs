//! The threads of an operation: [`spawn`] for its stages, and [`for_each`] for the same work on many
//! things, some at a time, until the first failure.
//!
//! They run at a lower priority than threads of ordinary programs, and give way to them every
//! [`TURN_BYTES`]: whoever reads and writes the store comes first. Priority alone does not help a
//! writer that a thread of a backup has displaced: the kernel looks again with its next tick, which
//! can be 4 ms later.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, Scope, ScopedJoinHandle},
};

use siltstone_io::os::lower_priority;

use crate::error::{Error, ErrorKind, Result};

/// Bytes that a thread works on before others get their turn: some ten microseconds of hashing or
/// copying.
pub(crate) const TURN_BYTES: usize = 64 << 10;

/// Lets other threads have their turn on this processor, if any wait for it.
pub(crate) fn give_way() {
    thread::yield_now();
}

/// Starts a stage.
///
/// # Errors
/// `Io` if the system has no threads left.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    let work = move || {
        lower_priority();
        work()
    };
    thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work).map_err(|error| {
        let message = format!("cannot start a thread: {error}");
        Error::new(ErrorKind::Io, message).caused_by(error)
    })
}

/// Waits for a stage; its panic goes on here.
pub(crate) fn join<T>(handle: ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

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
            if let Err(error) = spawn(scope, "backup-helper", run) {
                keep(error);
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
