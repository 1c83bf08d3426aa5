//! Which requests go wrong, and how.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "tests name them")]
pub enum Operation {
    /// `GET` of an object or a range of it.
    Get,
    /// `HEAD` of an object.
    Head,
    /// `PUT` of a whole object.
    Put,
    /// `DELETE` of one object.
    Delete,
    /// `POST ?delete` of many.
    DeleteMany,
    /// `GET ?list-type=2`.
    List,
    /// `POST ?uploads`.
    CreateUpload,
    /// `PUT ?partNumber&uploadId`.
    PutPart,
    /// `POST ?uploadId`.
    CompleteUpload,
    /// `DELETE ?uploadId`.
    AbortUpload,
    /// `GET ?uploads`.
    ListUploads,
    /// Anything else.
    Unknown,
}

/// What happens to a request instead of what it wishes.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "tests name them")]
pub enum Act {
    /// An error of S3: status and code. Nothing is changed.
    Refuse(u16, &'static str),
    /// Status 200, and an error of S3 with this code in the body. Nothing is changed.
    RefuseInBody(&'static str),
    /// The answer comes later.
    Wait(Duration),
    /// The answer never comes, and nothing is changed.
    Silence,
    /// The connection is cut after so many bytes of the body of the request. Nothing is changed.
    CutRequest(usize),
    /// It is done, and the connection is cut after so many bytes of the answer.
    CutAnswer(u64),
    /// It is done, and the answer comes with so many bytes a second.
    Slow(u64),
    /// Of what is stored only so many bytes are kept; the answer says that all is well.
    Truncate(usize),
    /// This bit of what is stored is flipped; the answer says that all is well.
    FlipStored(usize),
    /// This bit is flipped on the way, before anything is checked.
    FlipOnTheWay(usize),
    /// A page of HTML with status 200, as from a portal between client and store.
    Page,
    /// A redirect to another address.
    Redirect(String),
}

/// One line of the script.
#[derive(Clone, Debug)]
pub struct Rule {
    operations: Vec<Operation>,
    prefix: String,
    skip: u64,
    times: u64,
    window: Option<Duration>,
    act: Act,
}

impl Rule {
    /// `act` happens to every request for one of `operations`; to every request at all, if there
    /// are none.
    pub fn new(operations: &[Operation], act: Act) -> Self {
        let (prefix, skip, times, window) = (String::new(), 0, u64::MAX, None);
        Self { operations: operations.to_vec(), prefix, skip, times, window, act }
    }

    /// Only where the object's name starts so.
    #[must_use]
    pub fn below(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Not to the first so many of them.
    #[must_use]
    pub fn after(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    /// To so many of them at most.
    #[must_use]
    pub fn times(mut self, requests: u64) -> Self {
        self.times = requests;
        self
    }

    /// For so long from the first on.
    #[must_use]
    pub fn lasting(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }
}

/// How often a rule was applied.
#[derive(Clone, Debug, Default)]
pub struct Hits(Arc<AtomicU64>);

impl Hits {
    /// So far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// All rules, with what they have seen.
#[derive(Debug, Default)]
pub(super) struct Script(Vec<Running>);

#[derive(Debug)]
struct Running {
    rule: Rule,
    hits: Hits,
    passed: u64,
    since: Option<Instant>,
}

impl Script {
    pub(super) fn add(&mut self, rule: Rule) -> Hits {
        let hits = Hits::default();
        self.0.push(Running { rule, hits: hits.clone(), passed: 0, since: None });
        hits
    }

    /// What happens to a request that comes now.
    pub(super) fn act(&mut self, operation: Operation, object: &str, now: Instant) -> Option<Act> {
        self.0.iter_mut().find_map(|running| running.act(operation, object, now))
    }
}

impl Running {
    fn act(&mut self, operation: Operation, object: &str, now: Instant) -> Option<Act> {
        let Rule { operations, prefix, skip, times, window, act } = &self.rule;
        let is_meant = operations.is_empty() || operations.contains(&operation);
        if !is_meant || !object.starts_with(prefix) {
            return None;
        }
        if self.passed < *skip {
            self.passed += 1;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        let is_over = window.is_some_and(|window| now.saturating_duration_since(since) > window);
        if is_over || self.hits.count() >= *times {
            return None;
        }
        self.hits.0.fetch_add(1, Ordering::SeqCst);
        Some(act.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_skips_then_hits_then_rests() {
        let mut script = Script::default();
        let rule = Rule::new(&[Operation::Put], Act::Silence).below("a/").after(1).times(2);
        let hits = script.add(rule);
        #[expect(clippy::disallowed_methods, reason = "rules are about real time")]
        let now = Instant::now();
        let mut hit = |operation, object| script.act(operation, object, now).is_some();
        assert!(!hit(Operation::Put, "a/1"), "the first is skipped");
        assert!(!hit(Operation::Get, "a/1") && !hit(Operation::Put, "b/1"), "not meant");
        assert!(hit(Operation::Put, "a/2") && hit(Operation::Put, "a/3"));
        assert!(!hit(Operation::Put, "a/4"), "two are all");
        assert_eq!(hits.count(), 2);
    }

    #[test]
    fn a_window_begins_with_the_first_hit() {
        let mut script = Script::default();
        script.add(Rule::new(&[], Act::Silence).lasting(Duration::from_secs(1)));
        #[expect(clippy::disallowed_methods, reason = "rules are about real time")]
        let now = Instant::now();
        let mut hit = |after| script.act(Operation::List, "", now + after).is_some();
        assert!(hit(Duration::from_hours(1)) && hit(Duration::from_secs(3601)));
        assert!(!hit(Duration::from_secs(3602)));
    }
}
