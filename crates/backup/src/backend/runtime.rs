//! The small tokio runtime of a backend, reached from blocking code.
//!
//! Callers hand in a future and wait on an ordinary channel, so they may be any thread, also one of
//! another runtime. While they wait, a [`Watch`] is asked every [`WATCH_INTERVAL`] whether to go on:
//! that is how a cancel request or a spent retry budget ends a call that the backend never answers.

use std::{
    cell::RefCell,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

use siltstone_io::env::{Clock as _, SystemClock};

use crate::{
    cancel::Cancel,
    error::{Error, ErrorKind, Result},
};

/// How often a waiting call looks at its watch.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// Threads of the runtime; requests wait for the network, not for a processor.
const THREADS: usize = 2;

/// Retries that are free, before they must stay in proportion to the calls.
const RETRIES_FREE: u64 = 40;

/// Calls that pay for one retry, once the free ones are spent.
const CALLS_PER_RETRY: u64 = 5;

/// A tokio runtime that does not mind where it is dropped.
#[derive(Debug)]
pub(super) struct Runtime {
    tokio: Option<tokio::runtime::Runtime>,
    cpu: Arc<CpuMeter>,
}

/// Processor time of all threads of a runtime, as far as they have told.
#[derive(Debug, Default)]
struct CpuMeter {
    clock: SystemClock,
    nanos: AtomicU64,
}

thread_local! {
    /// On a thread of a runtime: where to tell its time, and what it has told.
    static METERED: RefCell<Option<(Arc<CpuMeter>, Duration)>> = const { RefCell::new(None) };
}

/// Tells what the calling thread has used since the last time, if it is one of a runtime.
fn tell_cpu() {
    METERED.with_borrow_mut(|metered| {
        if let Some((meter, told)) = metered {
            let used = meter.clock.thread_cpu().unwrap_or_default();
            let since = used.saturating_sub(*told).as_nanos();
            meter.nanos.fetch_add(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
            *told = used;
        }
    });
}

/// When a waiting caller gives up.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// The wish of the operation that the call belongs to.
    pub(super) cancel: Cancel,
    /// The retries of the whole backend.
    pub(super) budget: Arc<RetryBudget>,
}

/// Keeps retries in proportion to calls, so that a struggling backend is not hit harder for it.
#[derive(Debug, Default)]
pub(super) struct RetryBudget {
    calls: AtomicU64,
    retries: AtomicU64,
    /// Why the last retry was needed.
    cause: Mutex<String>,
}

impl Runtime {
    /// Starts the threads.
    ///
    /// # Errors
    /// `Io` if the system has no threads left.
    pub(super) fn start() -> Result<Self> {
        let cpu = Arc::<CpuMeter>::default();
        let meter = Arc::clone(&cpu);
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("siltstone-backend")
            .on_thread_start(move || {
                METERED.set(Some((Arc::clone(&meter), Duration::ZERO)));
            })
            .on_thread_park(tell_cpu)
            .on_thread_stop(tell_cpu)
            .enable_all()
            .build()
            .map_err(|error| {
                let message = format!("cannot start the threads of a backend: {error}");
                Error::new(ErrorKind::Io, message).caused_by(error)
            })?;
        Ok(Self { tokio: Some(tokio), cpu })
    }

    /// Processor time of its threads. One that is at work tells when it is done with it.
    pub(super) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu.nanos.load(Ordering::Relaxed))
    }

    /// Runs a future to its end, or until the watch says stop; it is then dropped.
    pub(super) fn run<T: Send + 'static>(
        &self,
        watch: &Watch,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        watch.check()?;
        watch.budget.calls.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = sync_channel(1);
        let task = self.runtime().spawn(async move {
            let result = future.await;
            // A receiver that is gone means that the caller gave up: nobody misses the result.
            drop(sender.try_send(result));
        });
        let result = wait(watch, &receiver);
        task.abort();
        result?
    }

    /// Starts a future that nothing can drop half-way; its result comes through the channel.
    pub(super) fn start_task<T: Send + 'static>(
        &self,
        watch: &Watch,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Receiver<T> {
        watch.budget.calls.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = sync_channel(1);
        drop(self.runtime().spawn(async move {
            let result = future.await;
            // As above.
            drop(sender.try_send(result));
        }));
        receiver
    }

    fn runtime(&self) -> &tokio::runtime::Runtime {
        self.tokio.as_ref().expect("the runtime is taken by drop alone")
    }
}

/// Waits for a result as long as the watch agrees.
pub(super) fn wait<T>(watch: &Watch, receiver: &Receiver<T>) -> Result<T> {
    loop {
        match receiver.recv_timeout(WATCH_INTERVAL) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => watch.check()?,
            Err(RecvTimeoutError::Disconnected) => return Err(lost()),
        }
    }
}

/// The error of a task that ended without an answer.
pub(super) fn lost() -> Error {
    Error::new(ErrorKind::Io, "a task of the backend ended without an answer; report this bug")
}

/// Runs blocking work beside the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let work = || {
        let result = work();
        tell_cpu();
        result
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(lost().caused_by(error)),
    }
}

impl Drop for Runtime {
    /// Leaves without waiting: dropping a runtime inside another one would panic.
    fn drop(&mut self) {
        if let Some(runtime) = self.tokio.take() {
            runtime.shutdown_background();
        }
    }
}

impl Watch {
    /// Goes on, or says why not.
    pub(super) fn check(&self) -> Result<()> {
        let why = match self.cancel.check() {
            Err(late) if late.kind() == ErrorKind::Unavailable => late.to_string(),
            Err(canceled) => return Err(canceled),
            Ok(()) if self.budget.is_spent() => {
                "the backend fails too often, more retries would only add to its load; try later"
                    .to_owned()
            }
            Ok(()) => return Ok(()),
        };
        let cause = self.budget.cause();
        let last = if cause.is_empty() { cause } else { format!("; its last failure: {cause}") };
        Err(Error::new(ErrorKind::Unavailable, format!("{why}{last}")))
    }
}

impl RetryBudget {
    /// Counts one retry, and keeps why it is needed.
    pub(super) fn count_retry(&self, cause: String) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }

    fn cause(&self) -> String {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_spent(&self) -> bool {
        let calls = self.calls.load(Ordering::Relaxed);
        self.retries.load(Ordering::Relaxed) > RETRIES_FREE + calls / CALLS_PER_RETRY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_answer_ends_soon_after_the_cancel() {
        let runtime = Runtime::start().unwrap();
        let watch = Watch::default();
        let cancel = watch.cancel.clone();
        let raiser = std::thread::spawn(move || {
            std::thread::sleep(WATCH_INTERVAL);
            cancel.cancel();
        });
        let never = std::future::pending::<Result<()>>();
        let error = runtime.run(&watch, never).expect_err("canceled");
        assert_eq!(error.kind(), ErrorKind::Canceled);
        raiser.join().unwrap();
    }

    #[test]
    fn threads_tell_the_processor_time_they_used() {
        const WORK: Duration = Duration::from_millis(20);
        const TRIES: usize = 60_000; // a minute at least
        let runtime = Runtime::start().unwrap();
        // Counted from its own start: the thread may have used, and told, some before.
        let burn = || {
            let clock = SystemClock::default();
            let used = || clock.thread_cpu().expect("the system tells a thread its time");
            let start = used();
            while used().saturating_sub(start) < WORK {}
            Ok(())
        };
        runtime.run(&Watch::default(), blocking(burn)).unwrap();
        assert!(runtime.cpu() >= WORK, "{:?} beside the async threads", runtime.cpu());
        let before = runtime.cpu();
        runtime.run(&Watch::default(), async move { burn() }).unwrap();
        for _ in 0..TRIES {
            if runtime.cpu() >= before + WORK {
                return;
            }
            std::thread::sleep(Duration::from_millis(1)); // until the thread has nothing to do
        }
        panic!("{:?} told on the async threads, of {WORK:?}", runtime.cpu().saturating_sub(before));
    }

    #[test]
    fn the_budget_ends_calls_that_only_retry() {
        let watch = Watch::default();
        for _ in 0..=RETRIES_FREE {
            assert!(watch.check().is_ok());
            watch.budget.count_retry("slow down".to_owned());
        }
        let error = watch.check().expect_err("spent");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().ends_with("its last failure: slow down"), "{error}");
    }

    #[test]
    fn calls_work_inside_another_runtime() {
        let outer = tokio::runtime::Builder::new_current_thread().build().unwrap();
        outer.block_on(async {
            let inner = Runtime::start().unwrap();
            assert_eq!(inner.run(&Watch::default(), async { Ok(7) }).unwrap(), 7);
        });
    }

    #[test]
    fn a_panic_in_a_call_is_an_error() {
        let runtime = Runtime::start().unwrap();
        let empty: &[u8] = std::hint::black_box(&[]);
        let broken = async move { Ok(empty[0]) };
        assert_eq!(runtime.run(&Watch::default(), broken).expect_err("lost").kind(), ErrorKind::Io);
    }
}
