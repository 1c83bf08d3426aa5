//! `cargo xtask faults`: runs the fault scenarios of backups and says how each ended.
//!
//! They are ordinary tests of `siltstone-backup` whose names begin with `fault_NN_`; this command
//! runs these alone and holds their number to account: none may be missing, none twice.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    process::Stdio,
    thread,
};

use anyhow::{Context, Result, ensure};

use crate::run::{program, say};

/// How many scenarios there are: `docs/testing.md` lists them.
const SCENARIOS: u32 = 30;

/// What a test says that could not do its work.
const SKIPPED: &str = "SKIPPED fault_";

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    number: u32,
    name: String,
    /// `ok` or `FAILED`, as the test runner says it.
    end: String,
}

/// Runs them all.
pub(crate) fn run(skips: Skips) -> Result<()> {
    let arguments = ["test", "-p", "siltstone-backup", "--test", "faults", "--", "fault_"];
    let mut command = program("cargo", &arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot run cargo")?;
    let stderr = child.stderr.take().context("the output is piped")?;
    let forward = thread::spawn(move || lines(stderr, |line| say(line)));
    let stdout = child.stdout.take().context("the output is piped")?;
    let said = lines(stdout, |line| {
        if let Some(outcome) = outcome(line) {
            say(format_args!("{:>2} {} {}", outcome.number, outcome.name, outcome.end));
        }
    })?;
    let status = child.wait().context("cannot wait for cargo")?;
    let warned = forward.join().ok().context("the reader of the output panicked")??;
    let outcomes: Vec<Outcome> = said.iter().filter_map(|line| outcome(line)).collect();
    let skipped: Vec<u32> = warned.iter().filter_map(|line| skipped(line)).collect();
    if !status.success() {
        let of_tests = said.iter().filter(|line| outcome(line).is_none());
        of_tests.for_each(say); // what the failures have to say
    }
    report(&outcomes, &skipped);
    let wrong = wrong(&outcomes);
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    ensure!(status.success(), "the tests ended with {status}");
    ensure!(
        skipped.is_empty() || skips == Skips::Allowed,
        "scenarios {skipped:?} were skipped; see above what they need, or pass --allow-skips"
    );
    Ok(())
}

/// Whether scenarios that this machine cannot play are an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skips {
    /// Skips are an error.
    Refused,
    /// They are counted, and that is all.
    Allowed,
}

/// Reads to the end, and lets somebody look at each line as it comes.
fn lines(from: impl Read, mut look: impl FnMut(&str)) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for line in BufReader::new(from).lines() {
        let line = line.context("cannot read what cargo says")?;
        look(&line);
        all.push(line);
    }
    Ok(all)
}

/// What `test module::fault_07_name ... ok` says.
fn outcome(line: &str) -> Option<Outcome> {
    let (path, end) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let name = path.rsplit("::").next()?;
    let (number, name) = name.strip_prefix("fault_")?.split_once('_')?;
    Some(Outcome { number: number.parse().ok()?, name: name.to_owned(), end: end.to_owned() })
}

fn skipped(line: &str) -> Option<u32> {
    let rest = line.split_once(SKIPPED)?.1;
    rest.get(..2)?.parse().ok()
}

/// What is the matter with the scenarios as a whole.
fn wrong(outcomes: &[Outcome]) -> Vec<String> {
    let mut counts: BTreeMap<u32, u32> = (1..=SCENARIOS).map(|number| (number, 0)).collect();
    for outcome in outcomes {
        *counts.entry(outcome.number).or_default() += 1;
    }
    let unusual = counts.iter().filter(|(number, count)| **count != 1 || **number > SCENARIOS);
    let mut wrong: Vec<String> =
        unusual.map(|(number, count)| format!("scenario {number:02} ran {count} times")).collect();
    let failed = outcomes.iter().filter(|outcome| outcome.end != "ok");
    wrong.extend(failed.map(|it| format!("scenario {:02} {} {}", it.number, it.name, it.end)));
    wrong
}

fn report(outcomes: &[Outcome], skipped: &[u32]) {
    say("");
    let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
    sorted.sort_unstable_by_key(|outcome| outcome.number);
    for Outcome { number, name, end } in &sorted {
        let end = if skipped.contains(number) { "SKIPPED" } else { end };
        say(format_args!("{number:02} {name} {end}"));
    }
    let good = |it: &&&Outcome| it.end == "ok" && !skipped.contains(&it.number);
    let good = sorted.iter().filter(good).count();
    say(format_args!("{good}/{SCENARIOS}, {} skipped", skipped.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_test_runner_are_understood() {
        let line = "test remote::fault_07_a_part_that_fails ... ok";
        let found = outcome(line).unwrap();
        assert_eq!((found.number, found.name.as_str()), (7, "a_part_that_fails"));
        assert_eq!(found.end, "ok");
        assert_eq!(outcome("test remote::another_test ... ok"), None);
        assert_eq!(outcome("running 30 tests"), None);
        assert_eq!(skipped("SKIPPED fault_27: no file system"), Some(27));
        assert_eq!(skipped("nothing"), None);
    }

    #[test]
    fn a_scenario_that_is_missing_double_or_failed_is_wrong() {
        let all = |end: &str| -> Vec<Outcome> {
            let outcome = |number| Outcome { number, name: String::new(), end: end.to_owned() };
            (1..=SCENARIOS).map(outcome).collect()
        };
        assert!(wrong(&all("ok")).is_empty());
        assert_eq!(wrong(&all("FAILED")).len(), 30);
        assert_eq!(wrong(&all("ok")[1..]), ["scenario 01 ran 0 times"]);
        let mut more = all("ok");
        more.push(more[4].clone());
        more.push(Outcome { number: 31, ..more[0].clone() });
        assert_eq!(wrong(&more), ["scenario 05 ran 2 times", "scenario 31 ran 1 times"]);
    }
}
