//! What is found out: JSON lines as it comes, and tables for people at the end.
//!
//! A finding may have a goal. Missing one is said and fails nothing; a wrong result is an error of
//! the run and is never a finding.

use std::{fmt::Write as _, io::Write};

use anyhow::Result;
use serde::Serialize;

use crate::rounds::{Measured, Sample};

/// What a finding is to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Goal {
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn shown(self, unit: &str) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {}", quantity(least, unit)),
            Self::AtMost(most) => format!("<= {}", quantity(most, unit)),
        }
    }
}

/// One number that was found out.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The section of the ruler.
    pub section: String,
    /// What it says.
    pub what: String,
    /// The number.
    pub value: f64,
    /// Its unit; `x` for a ratio.
    pub unit: &'static str,
    /// What it is to be, if there is a goal.
    pub goal: Option<Goal>,
    /// Whether it is.
    pub met: Option<bool>,
}

/// A line of the table of times.
#[derive(Clone, Debug)]
pub struct Row {
    /// The section of the ruler.
    pub section: String,
    /// The contender.
    pub name: String,
    /// Runs it had.
    pub runs: usize,
    /// Median seconds.
    pub seconds: f64,
    /// GB (10^9 bytes) of the same rows a second.
    pub gb_per_second: f64,
    /// CPU seconds for a GiB of rows.
    pub cpu_per_gib: f64,
    /// Processors that unrelated programs used meanwhile, in the median.
    pub foreign_cores: f64,
}

/// Writes lines, and keeps what the tables need.
pub struct Report<'a> {
    out: &'a mut dyn Write,
    /// Findings so far.
    pub findings: Vec<Finding>,
    /// Times so far.
    pub rows: Vec<Row>,
}

impl std::fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Report({} findings)", self.findings.len())
    }
}

#[derive(Serialize)]
struct Line<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    content: &'a T,
}

#[derive(Serialize)]
struct SampleLine<'a> {
    section: &'a str,
    what: &'a str,
    round: usize,
    #[serde(flatten)]
    sample: &'a Sample,
}

impl<'a> Report<'a> {
    /// A report that writes its lines to `out`.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, findings: Vec::new(), rows: Vec::new() }
    }

    /// One JSON object on a line of its own, with its type.
    ///
    /// # Errors
    /// When the output is closed.
    pub fn line(&mut self, kind: &str, content: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut *self.out, &Line { kind, content })?;
        writeln!(self.out)?;
        Ok(self.out.flush()?)
    }

    /// One run of a contender.
    ///
    /// # Errors
    /// When the output is closed.
    pub fn sample(
        &mut self,
        section: &str,
        what: &str,
        round: usize,
        sample: &Sample,
    ) -> Result<()> {
        self.line("sample", &SampleLine { section, what, round: round + 1, sample })
    }

    /// The times of contenders that moved rows of `bytes` bytes each.
    #[expect(clippy::cast_precision_loss, reason = "a rate needs three digits")]
    pub fn times(&mut self, section: &str, bytes: u64, measured: &[Measured]) {
        for contender in measured {
            let seconds = contender.seconds();
            self.rows.push(Row {
                section: section.to_owned(),
                name: contender.name.clone(),
                runs: contender.samples.len(),
                seconds,
                gb_per_second: bytes as f64 / 1e9 / seconds.max(1e-9),
                cpu_per_gib: contender.cpu_seconds() / (bytes as f64 / f64::from(1 << 30)),
                foreign_cores: contender.foreign_cores(),
            });
        }
    }

    /// A number that was found out, and what it is to be.
    ///
    /// # Errors
    /// When the output is closed.
    pub fn finding(
        &mut self,
        section: &str,
        what: impl Into<String>,
        (value, unit): (f64, &'static str),
        goal: Option<Goal>,
    ) -> Result<()> {
        let met = goal.map(|goal| goal.is_met_by(value));
        let (section, what) = (section.to_owned(), what.into());
        let finding = Finding { section, what, value, unit, goal, met };
        self.line("finding", &finding)?;
        self.findings.push(finding);
        Ok(())
    }

    /// The tables, in Markdown.
    pub fn tables(&self) -> String {
        let mut text = String::new();
        if !self.rows.is_empty() {
            let times = self.rows.iter().map(|row| {
                vec![
                    row.section.clone(),
                    row.name.clone(),
                    row.runs.to_string(),
                    format!("{:.2}", row.seconds),
                    format!("{:.2}", row.gb_per_second),
                    format!("{:.2}", row.cpu_per_gib),
                    format!("{:.2}", row.foreign_cores),
                ]
            });
            let head = ["section", "what", "runs", "s", "GB/s", "CPU s/GiB", "other load"];
            table(&mut text, &head, times.collect());
            text.push('\n');
        }
        let findings = self.findings.iter().map(|finding| {
            let verdict = finding.met.map_or("", |met| if met { "met" } else { "not met" });
            vec![
                finding.section.clone(),
                finding.what.clone(),
                quantity(finding.value, finding.unit),
                finding.goal.map_or_else(String::new, |goal| goal.shown(finding.unit)),
                verdict.to_owned(),
            ]
        });
        table(&mut text, &["section", "what", "found", "goal", ""], findings.collect());
        let judged = self.findings.iter().filter_map(|finding| finding.met);
        let (met, all) = judged.fold((0, 0), |(met, all), is| (met + usize::from(is), all + 1));
        push(&mut text, format_args!("\n{met} of {all} goals met\n"));
        text
    }
}

/// A number with as many digits as say something.
fn quantity(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size if size < 0.1 => 3,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

fn table(text: &mut String, head: &[&str], rows: Vec<Vec<String>>) {
    let head: Vec<String> = head.iter().map(|&word| word.to_owned()).collect();
    let rule: Vec<String> = head.iter().map(|_| "---".to_owned()).collect();
    for row in [head, rule].into_iter().chain(rows) {
        push(text, format_args!("| {} |\n", row.join(" | ")));
    }
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_and_counted() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out);
        report.finding("s", "fast", (0.96, "x"), Some(Goal::AtLeast(0.95))).unwrap();
        report.finding("s", "small", (70.0, "MiB"), Some(Goal::AtMost(64.0))).unwrap();
        report.finding("s", "free", (1.0, "s"), None).unwrap();
        let tables = report.tables();
        assert!(tables.contains("| s | fast | 0.96 x | >= 0.95 x | met |"), "{tables}");
        assert!(tables.contains("| s | small | 70.0 MiB | <= 64.0 MiB | not met |"), "{tables}");
        assert!(tables.contains("| s | free | 1.00 s |  |  |"), "{tables}");
        assert!(tables.ends_with("1 of 2 goals met\n"), "{tables}");
        let text = String::from_utf8(out).unwrap();
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["type"], "finding");
        assert_eq!(first["goal"]["at_least"], 0.95);
        assert_eq!(first["met"], true);
    }

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!(quantity(0.0, "MiB"), "0 MiB");
        assert_eq!(quantity(0.0312, "s"), "0.031 s");
        assert_eq!(quantity(1234.5, "us"), "1234 us");
    }
}
