//! [`Limits`]: how long a remote backend is waited for, and how often it is asked again.

use std::time::Duration;

/// Bounds of the requests to one remote backend. Folders and memory have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Longest time for one request without a body. Default 20 s.
    pub control_timeout: Duration,
    /// Longest time for one part of a body, [`super::PART_BYTES`] at most. Default 60 s.
    pub part_timeout: Duration,
    /// Tries of one request after the first, as far as the retry budget allows. Default 5.
    pub retries_max: usize,
    /// Wait before the second try; doubles with each, and up to as much again is added at random.
    /// Default 200 ms.
    pub retry_delay_min: Duration,
    /// Bound of these waits before chance is added. Default 20 s.
    pub retry_delay_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            control_timeout: Duration::from_secs(20),
            part_timeout: Duration::from_mins(1),
            retries_max: 5,
            retry_delay_min: Duration::from_millis(200),
            retry_delay_max: Duration::from_secs(20),
        }
    }
}
