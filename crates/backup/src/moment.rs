//! The door to jiff: moments as descriptors write them and people read them.

use std::time::Duration;

use jiff::SignedDuration;
pub use jiff::Timestamp;

/// The moment of a wall clock that shows this much time since 1970-01-01 UTC.
pub(crate) fn timestamp(wall: Duration) -> Timestamp {
    let since = SignedDuration::try_from(wall).unwrap_or(SignedDuration::ZERO);
    Timestamp::from_duration(since).unwrap_or(Timestamp::UNIX_EPOCH)
}
