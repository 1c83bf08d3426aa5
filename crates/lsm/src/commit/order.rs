//! [`Order`]: groups become visible in the order of their numbers.
//!
//! A group's leader calls [`Order::turn`] when its own part is done (synced, or only written); it
//! returns when all groups before it are through. Once one group fails, all groups behind it fail
//! too: nothing becomes visible above a hole.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The sequence of groups.
#[derive(Debug, Default)]
pub struct Order {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The group whose turn it is.
    next: u64,
    /// A group failed; none behind it gets a turn.
    failed: bool,
}

/// An earlier group failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// The right to publish one group. Dropping it unpublished fails the group and all behind it.
#[derive(Debug)]
pub struct TurnGuard<'a> {
    order: &'a Order,
    published: bool,
}

impl Order {
    /// Waits until all groups before `number` are published. Numbers start at 0, without gaps.
    ///
    /// # Errors
    /// [`Failed`] when one of them failed.
    pub fn turn(&self, number: u64) -> Result<TurnGuard<'_>, Failed> {
        let mut state = self.lock();
        while state.next != number && !state.failed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.failed { Err(Failed) } else { Ok(TurnGuard { order: self, published: false }) }
    }

    /// Fails all groups that have not been published.
    pub fn fail(&self) {
        self.lock().failed = true;
        self.changed.notify_all();
    }

    /// Waits until `reached` holds after some group was published.
    ///
    /// # Errors
    /// [`Failed`] when a group failed first.
    pub fn wait_for(&self, reached: impl Fn() -> bool) -> Result<(), Failed> {
        let mut state = self.lock();
        while !reached() {
            if state.failed {
                return Err(Failed);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TurnGuard<'_> {
    /// Runs `publish`, then lets the next group have its turn.
    pub fn publish(mut self, publish: impl FnOnce()) {
        publish();
        self.published = true;
        self.order.lock().next += 1;
        self.order.changed.notify_all();
    }
}

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        if !self.published {
            self.order.fail();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicU64, sync::atomic::Ordering, thread};

    use super::*;

    #[test]
    fn groups_publish_in_order_whoever_finishes_first() {
        let order = Order::default();
        let visible = AtomicU64::new(0);
        thread::scope(|scope| {
            for number in (0..8_u64).rev() {
                let (order, visible) = (&order, &visible);
                scope.spawn(move || {
                    let turn = order.turn(number).unwrap();
                    turn.publish(|| {
                        assert_eq!(visible.swap(number + 1, Ordering::SeqCst), number);
                    });
                });
            }
        });
        order.wait_for(|| visible.load(Ordering::SeqCst) == 8).unwrap();
    }

    #[test]
    fn a_failed_group_fails_all_behind_it() {
        let order = Order::default();
        order.turn(0).unwrap().publish(|| ());
        drop(order.turn(1).unwrap());
        assert_eq!(order.turn(2).map(|_| ()), Err(Failed));
        assert_eq!(order.wait_for(|| false), Err(Failed));
    }
}
