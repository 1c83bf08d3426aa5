//! [`Bucket`]: how much of something may be used a second. Pure: time comes in as an argument.
//!
//! What is used is charged afterwards, in steps that may be larger than what is there; then there is
//! a debt, and whoever looks waits until it is paid. What is not used is kept for a tenth of a
//! second, no longer, so no quiet time is followed by a rush.

use std::time::Duration;

/// A right to so many units a second.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u64,
    /// Unused units, or if negative a debt; in billionths, so that nothing is lost by rounding.
    balance: i128,
    /// When the balance was true.
    at: Duration,
}

/// Unused units are kept for a second divided by this.
const KEPT_PER_SECOND: i128 = 10;

const BILLIONTHS: i128 = 1_000_000_000;

impl Bucket {
    /// An empty bucket that gets `per_second` units a second, at least one.
    pub(super) fn new(per_second: u64, now: Duration) -> Self {
        Self { per_second: per_second.max(1), balance: 0, at: now }
    }

    /// Takes units, whether they are there or not.
    pub(super) fn charge(&mut self, units: u64, now: Duration) {
        self.fill(now);
        self.balance -= i128::from(units) * BILLIONTHS;
    }

    /// How long until the debt is paid, if nobody adds to it; zero without a debt.
    pub(super) fn wait(&mut self, now: Duration) -> Duration {
        self.fill(now);
        let debt = u128::try_from(-self.balance).unwrap_or(0);
        let nanos = debt.div_ceil(u128::from(self.per_second));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn fill(&mut self, now: Duration) {
        let passed = i128::try_from(now.saturating_sub(self.at).as_nanos()).unwrap_or(i128::MAX);
        let kept_max = i128::from(self.per_second) * BILLIONTHS / KEPT_PER_SECOND;
        let earned = passed.saturating_mul(i128::from(self.per_second));
        self.balance = self.balance.saturating_add(earned).min(kept_max);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_debt_takes_its_time_and_unused_units_go_after_a_tenth_of_a_second() {
        let mut bucket = Bucket::new(1000, SECOND);
        assert_eq!(bucket.wait(SECOND), Duration::ZERO);
        bucket.charge(500, SECOND);
        assert_eq!(bucket.wait(SECOND), SECOND / 2);
        assert_eq!(bucket.wait(SECOND * 3 / 2), Duration::ZERO);
        bucket.charge(1000, SECOND * 100);
        assert_eq!(bucket.wait(SECOND * 100), SECOND * 9 / 10);
    }

    #[test]
    fn time_that_goes_back_gives_and_takes_nothing() {
        let mut bucket = Bucket::new(10, SECOND);
        bucket.charge(10, SECOND);
        assert_eq!(bucket.wait(Duration::ZERO), SECOND);
        assert_eq!(bucket.wait(SECOND), SECOND);
    }

    proptest! {
        #[test]
        fn whoever_waits_uses_no_more_than_the_rate_and_one_step(
            per_second in 1_u64..1 << 40,
            steps in prop::collection::vec((0_u64..1 << 30, 0_u64..2_000_000_000), 1..50),
        ) {
            let mut bucket = Bucket::new(per_second, Duration::ZERO);
            let (mut now, mut used, mut largest) = (Duration::ZERO, 0_u128, 0_u64);
            for (units, idle_nanos) in steps {
                now += Duration::from_nanos(idle_nanos);
                now += bucket.wait(now);
                prop_assert_eq!(bucket.wait(now), Duration::ZERO);
                let earned = now.as_nanos() * u128::from(per_second) / 1_000_000_000;
                prop_assert!(used <= earned);
                bucket.charge(units, now);
                used += u128::from(units);
                largest = largest.max(units);
                prop_assert!(used <= earned + u128::from(largest));
            }
        }
    }
}
