//! [`Signal`]: wakes the background threads, and the callers that wait for them.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    task::Wake,
    time::Duration,
};

/// A counter of events that threads can sleep on.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    events: Mutex<u64>,
    changed: Condvar,
}

impl Signal {
    /// Something changed.
    pub(crate) fn notify(&self) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        *events += 1;
        self.changed.notify_all();
    }

    /// The events so far: look at the world after reading it, then sleep on it.
    pub(crate) fn now(&self) -> u64 {
        *self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until there were more events than `seen`.
    pub(crate) fn wait_past(&self, seen: u64) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        while *events == seen {
            events = self.changed.wait(events).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// As [`Signal::wait_past`], but for at most `limit`.
    pub(crate) fn wait_past_or(&self, seen: u64, limit: Duration) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(events, limit, |events| *events == seen));
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.notify();
    }
}
