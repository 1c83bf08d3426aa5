//! The door to jiff: moments as descriptors write them and people read them, and the calendar.

use std::time::Duration;

pub use jiff::Timestamp;
use jiff::{SignedDuration, tz::TimeZone};

/// The moment of a wall clock that shows this much time since 1970-01-01 UTC.
pub(crate) fn timestamp(wall: Duration) -> Timestamp {
    let since = SignedDuration::try_from(wall).unwrap_or(SignedDuration::ZERO);
    Timestamp::from_duration(since).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A stretch of the UTC calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Period {
    Hour,
    Day,
    /// From Monday on.
    Week,
    Month,
    Year,
}

const HOUR_SECONDS: i64 = 3600;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;

/// Days from Monday to 1970-01-01, a Thursday.
const DAYS_SINCE_MONDAY: i64 = 3;

impl Period {
    /// The number of the period that holds a moment: equal for two moments if and only if they are
    /// in the same one, and growing with time.
    pub(crate) fn number(self, at: Timestamp) -> i64 {
        let seconds = at.as_duration().as_secs() - i64::from(at.as_duration().subsec_nanos() < 0);
        match self {
            Self::Hour => seconds.div_euclid(HOUR_SECONDS),
            Self::Day => seconds.div_euclid(DAY_SECONDS),
            Self::Week => (seconds.div_euclid(DAY_SECONDS) + DAYS_SINCE_MONDAY).div_euclid(7),
            Self::Month => {
                let date = at.to_zoned(TimeZone::UTC).date();
                i64::from(date.year()) * 12 + i64::from(date.month()) - 1
            }
            Self::Year => i64::from(at.to_zoned(TimeZone::UTC).date().year()),
        }
    }
}

/// Time from one moment to a later one; zero if it is not later.
pub(crate) fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_end_where_the_calendar_says() {
        let number = |period: Period, text: &str| period.number(text.parse().unwrap());
        for (period, last, next) in [
            (Period::Hour, "2026-11-24T10:59:59.999Z", "2026-11-24T11:00:00Z"),
            (Period::Day, "2026-02-28T23:59:59Z", "2026-03-01T00:00:00Z"),
            (Period::Week, "2027-01-03T23:59:59Z", "2027-01-04T00:00:00Z"), // a Sunday, a Monday
            (Period::Month, "2024-02-29T23:59:59Z", "2024-03-01T00:00:00Z"),
            (Period::Year, "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
            (Period::Hour, "1969-12-31T23:59:59.5Z", "1970-01-01T00:00:00Z"),
            (Period::Week, "1969-12-28T23:59:59Z", "1969-12-29T00:00:00Z"),
        ] {
            assert_eq!(number(period, last) + 1, number(period, next), "{period:?} {last}");
        }
        let days =
            ["2026-12-28T00:00:00Z", "2027-01-03T23:00:00Z"].map(|d| number(Period::Week, d));
        assert_eq!(days[0], days[1], "a week goes on over the new year");
    }

    #[test]
    fn time_does_not_run_backwards() {
        let [a, b] = [5, 7].map(|second| Timestamp::from_second(second).unwrap());
        assert_eq!((since(a, b), since(b, a)), (Duration::from_secs(2), Duration::ZERO));
    }
}
