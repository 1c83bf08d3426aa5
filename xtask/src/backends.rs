//! `cargo xtask test backends`: the suite of backends, and whole backups, on every server; then the
//! scenarios, one of which needs two servers at once.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    run::{program, say},
    servers::Server,
};

/// Lines that a test prints when it has counted its checks.
const COUNTED: [&str; 2] = ["conformance of ", "backup, backup, restore, prune on "];

/// Suites that need no server.
const WITHIN: [&str; 3] = ["memory_conforms", "folder_conforms", "gcs_conforms"];
const WITHIN_WHOLE: &str = "takes_two_backups";

/// What a scenario prints when it has passed, and how many there are.
const SCENARIO: &str = "scenario ";
const PASSED: &str = ": passed";
const SCENARIOS: usize = 3;

/// Where production is, and where its backups are copied to first: servers, and what they speak.
const PLACES: [Server; 2] = [Server::Moto, Server::Azurite];
const PLACES_SPEAK: &str = "s3,azure";

/// Runs everything, or one server alone.
pub(crate) fn run(only: Option<Server>) -> Result<()> {
    let mut table = Table::default();
    if only.is_none() {
        let mut command = test(&WITHIN);
        command.arg(WITHIN_WHOLE);
        table.run("within the tests", command);
    }
    servers(only, &mut table);
    if only.is_none() {
        scenarios(&mut table);
    }
    table.show()
}

/// The servers alone, for after `cargo test`. Returns those that this machine cannot install or
/// start, and why.
pub(crate) fn run_servers() -> Result<Vec<String>> {
    let mut table = Table { absent: Some(Vec::new()), ..Table::default() };
    servers(None, &mut table);
    scenarios(&mut table);
    table.show()?;
    Ok(table.absent.unwrap_or_default())
}

fn servers(only: Option<Server>, table: &mut Table) {
    for server in Server::ALL.into_iter().filter(|server| only.is_none_or(|it| it == *server)) {
        say(format_args!("\n>> {}", server.name()));
        let running = server.install().and_then(|()| server.start());
        match running {
            Ok(running) => {
                let mut command = test(&["a_server_of_the_environment"]);
                command.envs(running.variables.iter().map(|(name, value)| (name, value)));
                table.run(server.name(), command);
            }
            Err(error) => table.absent(server.name(), &format!("{error:#}")),
        }
    }
}

/// Backups that go from server to server; those that need none are played with them.
fn scenarios(table: &mut Table) {
    say(format_args!("\n>> scenarios"));
    let running = PLACES.map(|server| server.install().and_then(|()| server.start()));
    let mut command = test(&[SCENARIO.trim_end()]);
    command.env("SILTSTONE_TEST_SCENARIO", PLACES_SPEAK);
    for (server, running) in PLACES.iter().zip(&running) {
        match running {
            Ok(running) => {
                command.envs(running.variables.iter().map(|(name, value)| (name, value)));
            }
            Err(error) => {
                return table.absent("scenarios", &format!("{}: {error:#}", server.name()));
            }
        }
    }
    table.run_scenarios(command);
}

/// The tests of the backup crate that have these words in their names.
fn test(words: &[&str]) -> Command {
    let mut command =
        program("cargo", &["test", "-q", "-p", "siltstone-backup", "--lib", "--test", "it", "--"]);
    command.args(words);
    // Whatever this machine is set up for is not what is tested.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let prefixes = ["AWS_", "AZURE_", "BACKUP_", "GOOGLE_", "SILTSTONE_TEST_"];
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// What tests said, and how they ended.
struct Said {
    succeeded: bool,
    text: String,
}

#[derive(Debug, Default)]
struct Table {
    rows: BTreeMap<String, String>,
    failed: Vec<String>,
    /// Servers that are not there; `None` where that is a failure.
    absent: Option<Vec<String>>,
}

impl Table {
    /// Runs tests and keeps what they counted.
    fn run(&mut self, name: &str, command: Command) {
        let Some(said) = self.said(name, command) else { return };
        let rows = said.text.lines().filter_map(|line| {
            let start = COUNTED.iter().filter_map(|word| line.find(word)).min()?;
            line[start..].split_once(": ")
        });
        let before = self.rows.len();
        self.rows.extend(rows.map(|(what, count)| (what.to_owned(), count.to_owned())));
        let missing = (before + 2).saturating_sub(self.rows.len());
        self.judge(name, &said, missing);
    }

    /// Runs scenarios and counts those that passed.
    fn run_scenarios(&mut self, command: Command) {
        let name = "scenarios";
        let Some(said) = self.said(name, command) else { return };
        let is_passed = |line: &&str| line.contains(SCENARIO) && line.ends_with(PASSED);
        let passed: Vec<&str> = said.text.lines().filter(is_passed).collect();
        for line in &passed {
            say(&line[line.find(SCENARIO).unwrap_or(0)..]);
        }
        self.rows.insert(name.to_owned(), format!("{} of {SCENARIOS}", passed.len()));
        self.judge(name, &said, SCENARIOS.saturating_sub(passed.len()));
    }

    /// Runs tests to their end.
    fn said(&mut self, name: &str, mut command: Command) -> Option<Said> {
        let output = command.stdin(Stdio::null()).output().context("cannot run cargo");
        match output {
            Ok(output) => {
                let text = [output.stderr, output.stdout].concat();
                let text = String::from_utf8_lossy(&text).into_owned();
                Some(Said { succeeded: output.status.success(), text })
            }
            Err(error) => {
                self.fail(name, &format!("{error:#}"));
                None
            }
        }
    }

    /// Whether all is well; `missing` are those that have not told their end.
    fn judge(&mut self, name: &str, said: &Said, missing: usize) {
        if !said.succeeded {
            say(&said.text);
            self.fail(name, "a check failed; see above");
        } else if missing > 0 {
            self.fail(name, "its tests did not run");
        }
    }

    fn absent(&mut self, name: &str, why: &str) {
        match &mut self.absent {
            Some(absent) => absent.push(format!("the backends on {name}: {why}")),
            None => self.fail(name, why),
        }
    }

    fn fail(&mut self, name: &str, why: &str) {
        say(format_args!("{name}: {why}"));
        self.failed.push(format!("{name}: {why}"));
    }

    fn show(&self) -> Result<()> {
        say("");
        for (what, count) in &self.rows {
            say(format_args!("{what}: {count}"));
        }
        for failed in &self.failed {
            say(format_args!("FAILED {failed}"));
        }
        ensure!(self.failed.is_empty(), "{} of the servers failed", self.failed.len());
        Ok(())
    }
}
