//! [`Cancel`]: the wish that an operation stop, shared by all its threads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use siltstone_io::env::Clock;

use crate::error::{Error, ErrorKind, Result};

/// Clones share one flag, which is raised once and never lowered. One made by [`Cancel::within`]
/// also stops by itself after a while.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    raised: Arc<AtomicBool>,
    deadline: Option<Deadline>,
}

#[derive(Clone, Debug)]
struct Deadline {
    clock: Arc<dyn Clock>,
    at: Duration,
    limit: Duration,
}

impl Cancel {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same flag, for work that must also end within `limit` from now.
    #[must_use]
    pub fn within(&self, clock: &Arc<dyn Clock>, limit: Duration) -> Self {
        let at = clock.monotonic().saturating_add(limit);
        let deadline = Some(Deadline { clock: Arc::clone(clock), at, limit });
        Self { raised: Arc::clone(&self.raised), deadline }
    }

    /// Asks everything that holds a clone to stop soon.
    pub fn cancel(&self) {
        self.raised.store(true, Ordering::Release);
    }

    /// Whether the flag is raised.
    pub fn is_canceled(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Goes on, or stops with the error of a canceled operation.
    ///
    /// # Errors
    /// `Canceled` once the flag is raised; `Unavailable` once the time is over.
    pub fn check(&self) -> Result<()> {
        if self.is_canceled() {
            return Err(Error::canceled());
        }
        match &self.deadline {
            Some(Deadline { clock, at, limit }) if clock.monotonic() >= *at => {
                let message = format!("no answer within {} s", limit.as_secs());
                Err(Error::new(ErrorKind::Unavailable, message))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use siltstone_io::env::ManualClock;

    use super::*;

    #[test]
    fn a_limit_ends_work_by_itself_and_the_flag_ends_it_before() {
        let manual = Arc::new(ManualClock::default());
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&manual);
        let whole = Cancel::new();
        let hurried = whole.within(&clock, Duration::from_secs(5));
        manual.advance(Duration::from_millis(4999));
        assert!(hurried.check().is_ok());
        manual.advance(Duration::from_millis(1));
        let error = hurried.check().expect_err("the time is over");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("5 s"), "{error}");
        assert!(whole.check().is_ok());
        whole.cancel();
        assert_eq!(hurried.check().expect_err("canceled").kind(), ErrorKind::Canceled);
    }
}
