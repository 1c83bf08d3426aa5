//! The background threads: one for flushes and clean-up, one for compaction, one that keeps the
//! log ahead of its writers.
//!
//! They sleep until something changed: an idle store does no I/O. After a failed step they try
//! again once a second, so that a store on a full disk goes on by itself when space returns.

use std::{
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    error::{Error, ErrorKind, Result},
    store::{core::Core, jobs::Job, signal::Signal},
};

/// How long a thread waits after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Running threads; stopped and joined when dropped.
#[derive(Debug)]
pub(crate) struct Threads {
    core: Arc<Core>,
    handles: Vec<JoinHandle<()>>,
}

/// What one thread does, and what wakes it.
#[derive(Clone, Copy)]
struct Plan {
    name: &'static str,
    signal: fn(&Core) -> &Signal,
    jobs: &'static [Job],
}

const PLANS: [Plan; 3] = [
    Plan {
        name: "siltstone-flush",
        signal: |core| &core.signal,
        jobs: &[Core::flush_step, Core::reap_step, Core::roll_step],
    },
    Plan { name: "siltstone-compact", signal: |core| &core.signal, jobs: &[Core::compaction_step] },
    Plan {
        name: "siltstone-log",
        signal: |core| &core.log_signal,
        jobs: &[Core::zero_step, Core::ready_log_step, Core::reserve_step],
    },
];

impl Threads {
    /// Starts the threads of a store.
    ///
    /// # Errors
    /// `Unavailable` when the system refuses a thread.
    pub(crate) fn start(core: &Arc<Core>) -> Result<Self> {
        let mut threads = Self { core: Arc::clone(core), handles: Vec::new() };
        for plan in PLANS {
            let core = Arc::clone(core);
            let spawned =
                thread::Builder::new().name(plan.name.into()).spawn(move || work(&core, plan));
            let handle = spawned.map_err(|source| {
                let message = "the system refuses a background thread";
                Error::new(ErrorKind::Unavailable, message).caused_by(source)
            })?;
            threads.handles.push(handle);
        }
        Ok(threads)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.core.closing.store(true, Ordering::Release);
        self.core.signal.notify();
        self.core.log_signal.notify();
        for handle in self.handles.drain(..) {
            if handle.join().is_err() {
                // The panic was printed by the thread; the store is being closed anyway.
                self.core.order.fail();
            }
        }
    }
}

fn work(core: &Core, plan: Plan) {
    let signal = (plan.signal)(core);
    loop {
        let seen = signal.now();
        if core.closing.load(Ordering::Acquire) || core.poison.is_set() {
            return;
        }
        let mut busy = false;
        let mut failed = false;
        for job in plan.jobs {
            match job(core) {
                Ok(did) => busy |= did,
                Err(error) => {
                    failed = true;
                    core.note_background_failure(&error);
                }
            }
        }
        if failed {
            signal.wait_past_or(seen, RETRY);
        } else if !busy {
            signal.wait_past(seen);
        }
    }
}
