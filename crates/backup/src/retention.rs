//! Which backups a policy keeps: a pure function of their moments.
//!
//! As with restic's `forget`: going from the newest backup to the oldest, each rule keeps the newest
//! backup of every period that it has not seen yet, until it has kept as many as it may. Periods are
//! those of the UTC calendar, weeks begin on Monday, and a period without a backup does not count. A
//! backup is kept if any rule keeps it.

use std::{fmt, time::Duration};

use crate::{
    moment::{Period, Timestamp, since},
    names::BackupId,
};

/// How many backups to keep. The default has no rule and keeps all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The newest so many. Whatever else is said, the newest backup of all is kept, unless this is
    /// `Some(0)`.
    pub last: Option<u32>,
    /// The newest of each of so many hours; 0 is no rule. Also below.
    pub hourly: u32,
    /// Of so many days.
    pub daily: u32,
    /// Of so many weeks, which begin on Monday.
    pub weekly: u32,
    /// Of so many months.
    pub monthly: u32,
    /// Of so many years.
    pub yearly: u32,
    /// All that are younger than this.
    pub within: Option<Duration>,
}

/// Why a backup is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// There are no rules.
    NoPolicy,
    /// It is the newest one.
    Newest,
    /// One of the last ones.
    Last,
    /// The newest of its hour.
    Hourly,
    /// The newest of its day.
    Daily,
    /// The newest of its week.
    Weekly,
    /// The newest of its month.
    Monthly,
    /// The newest of its year.
    Yearly,
    /// It is young.
    Within,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPolicy => "no policy",
            Self::Newest => "newest",
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::Within => "young",
        })
    }
}

/// What a policy says of one backup.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// The backup.
    pub id: BackupId,
    /// When it was begun.
    pub at: Timestamp,
    /// Why it is kept; empty for one to be deleted.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Whether the backup stays.
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

impl Policy {
    /// Whether it has no rule at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One rule on its way through the backups.
struct Rule {
    reason: Reason,
    /// `None` for a rule that counts backups, not periods.
    period: Option<Period>,
    left: u32,
    seen: Option<i64>,
}

impl Rule {
    /// Whether it keeps the next older backup.
    fn keeps(&mut self, at: Timestamp) -> bool {
        let number = self.period.map(|period| period.number(at));
        if self.left == 0 || (number.is_some() && number == self.seen) {
            return false;
        }
        (self.seen, self.left) = (number, self.left - 1);
        true
    }
}

/// What `policy` says of each backup, the newest first. Of two at one moment, the one with the
/// greater id counts as newer. One from the future is young.
pub fn keep(policy: &Policy, backups: &[(BackupId, Timestamp)], now: Timestamp) -> Vec<Verdict> {
    let mut newest_first = backups.to_vec();
    newest_first.sort_unstable_by(|a, b| (b.1, &b.0).cmp(&(a.1, &a.0)));
    let rule = |reason, period, left| Rule { reason, period, left, seen: None };
    let mut rules = [
        rule(Reason::Last, None, policy.last.unwrap_or(0)),
        rule(Reason::Hourly, Some(Period::Hour), policy.hourly),
        rule(Reason::Daily, Some(Period::Day), policy.daily),
        rule(Reason::Weekly, Some(Period::Week), policy.weekly),
        rule(Reason::Monthly, Some(Period::Month), policy.monthly),
        rule(Reason::Yearly, Some(Period::Year), policy.yearly),
    ];
    let mut verdicts: Vec<Verdict> = Vec::with_capacity(newest_first.len());
    for (id, at) in newest_first {
        let mut reasons = Vec::new();
        if policy.is_empty() {
            reasons.push(Reason::NoPolicy);
        }
        if verdicts.is_empty() && policy.last != Some(0) {
            reasons.push(Reason::Newest);
        }
        for rule in &mut rules {
            if rule.keeps(at) {
                reasons.push(rule.reason);
            }
        }
        if policy.within.is_some_and(|within| since(at, now) < within) {
            reasons.push(Reason::Within);
        }
        verdicts.push(Verdict { id, at, reasons });
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> BackupId {
        BackupId::new(text).unwrap()
    }

    /// The names of what is kept of backups named by their moments, the newest first.
    fn kept(policy: Policy, moments: &[&str]) -> Vec<String> {
        let backup = |text: &&str| {
            let name = text.to_lowercase().replace([':', '.'], "-");
            (id(&name), text.parse().unwrap())
        };
        let backups: Vec<_> = moments.iter().map(backup).collect();
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let verdicts = keep(&policy, &backups, now);
        assert_eq!(verdicts.len(), moments.len());
        verdicts.into_iter().filter(Verdict::is_kept).map(|v| v.at.to_string()).collect()
    }

    const MOMENTS: [&str; 9] = [
        "2025-12-31T23:00:00Z",
        "2026-09-30T04:00:00Z",
        "2026-10-31T04:00:00Z",
        "2026-11-16T04:00:00Z", // a Monday
        "2026-11-22T04:00:00Z", // the Sunday of that week
        "2026-11-23T04:00:00Z",
        "2026-11-24T04:00:00Z",
        "2026-11-24T11:10:00Z",
        "2026-11-24T11:50:00Z",
    ];

    #[test]
    fn each_rule_keeps_the_newest_of_its_periods() {
        let none = Policy::default();
        for (policy, expected) in [
            (none, &[8, 7, 6, 5, 4, 3, 2, 1, 0][..]),
            (Policy { last: Some(2), ..none }, &[8, 7]),
            (Policy { last: Some(0), ..none }, &[]),
            (Policy { hourly: 2, ..none }, &[8, 6]),
            (Policy { daily: 3, ..none }, &[8, 5, 4]),
            (Policy { weekly: 2, ..none }, &[8, 4]),
            (Policy { monthly: 3, ..none }, &[8, 2, 1]),
            (Policy { yearly: 9, ..none }, &[8, 0]),
            (Policy { daily: 1, monthly: 2, ..none }, &[8, 2]),
            (Policy { within: Some(Duration::from_hours(24)), ..none }, &[8, 7, 6]),
            (Policy { within: Some(Duration::ZERO), ..none }, &[8]),
            (Policy { last: Some(0), daily: 2, ..none }, &[8, 5]),
            (
                Policy { last: Some(u32::MAX), hourly: u32::MAX, ..none },
                &[8, 7, 6, 5, 4, 3, 2, 1, 0],
            ),
        ] {
            let expected: Vec<&str> = expected.iter().map(|index| MOMENTS[*index]).collect();
            assert_eq!(kept(policy, &MOMENTS), expected, "{policy:?}");
        }
    }

    #[test]
    fn reasons_say_which_rules_keep_a_backup() {
        let backups = [(id("a"), "2026-11-24T04:00:00Z".parse().unwrap())];
        let policy = Policy { last: Some(1), daily: 1, ..Policy::default() };
        let verdicts = keep(&policy, &backups, backups[0].1);
        assert_eq!(verdicts[0].reasons, [Reason::Newest, Reason::Last, Reason::Daily]);
        assert!(keep(&policy, &[], backups[0].1).is_empty());
    }

    fn policies() -> impl Strategy<Value = Policy> {
        let last = prop::option::of(0_u32..4);
        let within = prop::option::of((0_u64..2000).prop_map(Duration::from_hours));
        (last, 0_u32..4, 0_u32..4, 0_u32..4, 0_u32..4, 0_u32..3, within).prop_map(
            |(last, hourly, daily, weekly, monthly, yearly, within)| Policy {
                last,
                hourly,
                daily,
                weekly,
                monthly,
                yearly,
                within,
            },
        )
    }

    const NOW: i64 = 1_800_000_000;

    fn backups() -> impl Strategy<Value = Vec<(BackupId, Timestamp)>> {
        let moments = prop::collection::btree_map(0_u32..500, 0_i64..90 * 86_400, 0..40);
        moments.prop_map(|ages| {
            let backup = |(name, age): (u32, i64)| {
                (id(&format!("b{name}")), Timestamp::from_second(NOW - age).unwrap())
            };
            ages.into_iter().map(backup).collect()
        })
    }

    fn names(verdicts: &[Verdict]) -> BTreeSet<BackupId> {
        verdicts.iter().filter(|verdict| verdict.is_kept()).map(|it| it.id.clone()).collect()
    }

    proptest! {
        #[test]
        fn what_one_rule_alone_keeps_all_rules_together_keep(
            policy in policies(),
            backups in backups(),
        ) {
            let now = Timestamp::from_second(NOW).unwrap();
            let verdicts = keep(&policy, &backups, now);
            let together = names(&verdicts);
            let last = policy.last;
            let none = Policy { last: Some(0), ..Policy::default() };
            for alone in [
                Policy { last: Some(last.unwrap_or(0)), ..none },
                Policy { hourly: policy.hourly, ..none },
                Policy { daily: policy.daily, ..none },
                Policy { weekly: policy.weekly, ..none },
                Policy { monthly: policy.monthly, ..none },
                Policy { yearly: policy.yearly, ..none },
                Policy { within: policy.within, ..none },
            ] {
                let kept = names(&keep(&alone, &backups, now));
                prop_assert!(kept.is_subset(&together), "{alone:?}: {kept:?} of {together:?}");
            }
            let newest = backups.iter().max_by_key(|(id, at)| (*at, id.clone()));
            if let Some((newest, _)) = newest && last != Some(0) {
                prop_assert!(together.contains(newest));
            }
            if policy.is_empty() {
                prop_assert_eq!(together.len(), backups.len());
            }
        }

        #[test]
        fn rules_keep_as_many_periods_as_they_may_and_the_order_given_does_not_matter(
            policy in policies(),
            backups in backups(),
        ) {
            let now = Timestamp::from_second(NOW).unwrap();
            let verdicts = keep(&policy, &backups, now);
            for (reason, period, count) in [
                (Reason::Hourly, Period::Hour, policy.hourly),
                (Reason::Daily, Period::Day, policy.daily),
                (Reason::Weekly, Period::Week, policy.weekly),
                (Reason::Monthly, Period::Month, policy.monthly),
                (Reason::Yearly, Period::Year, policy.yearly),
            ] {
                let all: BTreeSet<i64> = backups.iter().map(|(_, at)| period.number(*at)).collect();
                let kept: Vec<i64> = (verdicts.iter())
                    .filter(|verdict| verdict.reasons.contains(&reason))
                    .map(|verdict| period.number(verdict.at))
                    .collect();
                let expected: Vec<i64> = all.into_iter().rev().take(count as usize).collect();
                prop_assert_eq!(kept, expected, "{:?}", reason);
            }
            let mut reversed = backups;
            reversed.reverse();
            prop_assert_eq!(keep(&policy, &reversed, now), verdicts);
        }

        #[test]
        fn a_policy_applied_again_deletes_nothing_more(
            policy in policies(),
            backups in backups(),
        ) {
            let now = Timestamp::from_second(NOW).unwrap();
            let first = keep(&policy, &backups, now);
            let left: Vec<_> = (first.iter().filter(|verdict| verdict.is_kept()))
                .map(|verdict| (verdict.id.clone(), verdict.at))
                .collect();
            prop_assert_eq!(names(&keep(&policy, &left, now)).len(), left.len());
        }
    }
}
