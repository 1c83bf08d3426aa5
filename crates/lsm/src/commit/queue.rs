//! [`Queue`]: requests wait here until a leader takes them.
//!
//! Invariants:
//!
//! 1. At most one thread leads. It is the thread whose request is at the front, or was when the
//!    lead was handed to it.
//! 2. A request is taken once and finished once; its thread returns only then.
//! 3. While requests wait, somebody leads: the lead is handed over under the same lock under which
//!    requests arrive.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::error::Result;

/// Requests in order of arrival.
#[derive(Debug)]
pub struct Queue<W, T> {
    state: Mutex<State<W, T>>,
}

#[derive(Debug)]
struct State<W, T> {
    waiting: VecDeque<Arc<Request<W, T>>>,
    led: bool,
}

/// One caller's work and the place where its outcome appears.
#[derive(Debug)]
pub struct Request<W, T> {
    /// What is to be done.
    pub work: W,
    slot: Mutex<Slot<T>>,
    changed: Condvar,
}

#[derive(Debug)]
enum Slot<T> {
    Waiting,
    Lead,
    Done(Result<T>),
    Taken,
}

/// What a waiting caller does next.
#[derive(Debug)]
#[non_exhaustive]
pub enum Turn<T> {
    /// It leads: take a group, and hand the lead over.
    Lead,
    /// Its request is finished.
    Done(Result<T>),
}

impl<W, T> Default for Queue<W, T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { waiting: VecDeque::new(), led: false }) }
    }
}

impl<W, T> Queue<W, T> {
    /// Puts work at the end of the queue.
    pub fn push(&self, work: W) -> Arc<Request<W, T>> {
        let mut state = lock(&self.state);
        let slot = if state.led { Slot::Waiting } else { Slot::Lead };
        state.led = true;
        let request = Arc::new(Request { work, slot: Mutex::new(slot), changed: Condvar::new() });
        state.waiting.push_back(Arc::clone(&request));
        request
    }

    /// Takes requests off the front while `more` wants them; `more` sees how many were taken.
    /// Only the leader calls this.
    ///
    /// # Panics
    /// When nobody leads.
    pub fn take(&self, mut more: impl FnMut(usize, &W) -> bool) -> Vec<Arc<Request<W, T>>> {
        let mut state = lock(&self.state);
        assert!(state.led, "only a leader takes requests");
        let mut group = Vec::new();
        while let Some(front) = state.waiting.front() {
            if !more(group.len(), &front.work) {
                break;
            }
            group.extend(state.waiting.pop_front());
        }
        group
    }

    /// Gives the lead to the thread at the front, if any.
    ///
    /// # Panics
    /// When nobody leads.
    pub fn hand_over(&self) {
        let mut state = lock(&self.state);
        assert!(state.led, "only a leader hands over");
        match state.waiting.front() {
            Some(next) => next.set(Slot::Lead),
            None => state.led = false,
        }
    }
}

impl<W, T> Request<W, T> {
    /// Blocks until the caller's next turn.
    pub fn wait(&self) -> Turn<T> {
        let mut slot = lock(&self.slot);
        loop {
            match std::mem::replace(&mut *slot, Slot::Taken) {
                Slot::Waiting => {
                    *slot = Slot::Waiting;
                    slot = self.changed.wait(slot).unwrap_or_else(PoisonError::into_inner);
                }
                Slot::Lead => return Turn::Lead,
                Slot::Done(outcome) => return Turn::Done(outcome),
                Slot::Taken => {
                    // The thread led and its own request is not finished yet: it is in a group
                    // that another thread finishes.
                    slot = self.changed.wait(slot).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Sets the outcome and wakes the caller.
    ///
    /// # Panics
    /// When the request is finished already.
    pub fn finish(&self, outcome: Result<T>) {
        self.set(Slot::Done(outcome));
    }

    fn set(&self, to: Slot<T>) {
        let mut slot = lock(&self.slot);
        assert!(!matches!(*slot, Slot::Done(_)), "a request is finished once");
        *slot = to;
        drop(slot);
        self.changed.notify_one();
    }
}

/// Locks; a panic elsewhere has not left these small states half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn the_first_caller_leads_and_takes_what_waits() {
        let queue: Queue<u32, u32> = Queue::default();
        let first = queue.push(1);
        let second = queue.push(2);
        assert!(matches!(first.wait(), Turn::Lead));
        let group = queue.take(|_, _| true);
        queue.hand_over();
        for request in &group {
            request.finish(Ok(request.work * 10));
        }
        assert!(matches!(first.wait(), Turn::Done(Ok(10))));
        assert!(matches!(second.wait(), Turn::Done(Ok(20))));
        assert!(matches!(queue.push(3).wait(), Turn::Lead), "nobody leads an empty queue");
    }

    #[test]
    fn the_lead_goes_to_the_front_that_was_left() {
        let queue: Queue<u32, u32> = Queue::default();
        let (first, second) = (queue.push(1), queue.push(2));
        assert!(matches!(first.wait(), Turn::Lead));
        let group = queue.take(|taken, _| taken < 1);
        assert_eq!(group.len(), 1);
        queue.hand_over();
        group[0].finish(Ok(0));
        assert!(matches!(second.wait(), Turn::Lead));
    }

    #[test]
    fn every_request_of_many_threads_is_done_once() {
        let queue: Queue<u64, u64> = Queue::default();
        let (led, sum) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (queue, led, sum) = (&queue, &led, &sum);
                scope.spawn(move || {
                    for i in 0..500 {
                        let request = queue.push(thread * 500 + i);
                        let outcome = loop {
                            match request.wait() {
                                Turn::Done(outcome) => break outcome,
                                Turn::Lead => {
                                    assert_eq!(led.fetch_add(1, Ordering::SeqCst), 0, "one leads");
                                    let group = queue.take(|taken, _| taken < 3);
                                    led.fetch_sub(1, Ordering::SeqCst);
                                    queue.hand_over();
                                    for one in &group {
                                        one.finish(Ok(one.work));
                                    }
                                }
                            }
                        };
                        sum.fetch_add(outcome.unwrap(), Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), (0..2000).sum());
    }
}
