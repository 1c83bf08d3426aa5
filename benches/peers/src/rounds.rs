//! Contenders, measured in turn: A B C, A B C, ..., because the speed of a disk wanders and a ratio
//! means something only between runs that are close in time.

use std::fmt;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    machine::{Usage, drop_caches, now},
    report::Report,
};

/// What one run of a contender took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// Seconds of wall time.
    pub seconds: f64,
    /// CPU seconds of process, programs, kernel threads and interrupts.
    pub cpu_seconds: f64,
    /// Those of kernel threads and interrupts among them.
    pub kernel_cpu_seconds: f64,
    /// CPU seconds of unrelated programs meanwhile.
    pub foreign_cpu_seconds: f64,
}

/// Measures one piece of work.
///
/// # Errors
/// Those of the work.
pub fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(Sample, T)> {
    let (usage, began) = (Usage::now()?, now());
    let done = work()?;
    let seconds = now().saturating_sub(began).as_secs_f64();
    let used = Usage::now()? - usage;
    let sample = Sample {
        seconds,
        cpu_seconds: used.charged(),
        kernel_cpu_seconds: used.kernel,
        foreign_cpu_seconds: used.foreign(),
    };
    Ok((sample, done))
}

/// A step of a contender; it hears the number of the round.
type Step<'a> = Box<dyn FnMut(usize) -> Result<()> + 'a>;

/// One way of doing the work.
pub struct Contender<'a> {
    name: String,
    rounds: usize,
    run: Step<'a>,
    after: Step<'a>,
}

impl fmt::Debug for Contender<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.name, self.rounds)
    }
}

impl<'a> Contender<'a> {
    /// One that is measured in the first `rounds` rounds.
    pub fn new(
        name: impl Into<String>,
        rounds: usize,
        run: impl FnMut(usize) -> Result<()> + 'a,
    ) -> Self {
        Self { name: name.into(), rounds, run: Box::new(run), after: Box::new(|_| Ok(())) }
    }

    /// What follows each run unmeasured: to check what it made, and to remove it.
    #[must_use]
    pub fn after(mut self, after: impl FnMut(usize) -> Result<()> + 'a) -> Self {
        self.after = Box::new(after);
        self
    }
}

/// All samples of one contender.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// By round.
    pub samples: Vec<Sample>,
}

impl Measured {
    /// Median seconds.
    pub fn seconds(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.seconds))
    }

    /// Median CPU seconds.
    pub fn cpu_seconds(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.cpu_seconds))
    }

    /// Median share of one processor that unrelated programs had.
    pub fn foreign_cores(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.foreign_cpu_seconds / sample.seconds))
    }
}

/// Runs the contenders in turn, each with a cold page cache; one sample a run goes to the report.
///
/// # Errors
/// The first failure of a contender, naming it.
pub fn rounds(
    report: &mut Report<'_>,
    section: &str,
    mut contenders: Vec<Contender<'_>>,
) -> Result<Vec<Measured>> {
    let start = |contender: &Contender<'_>| Measured {
        name: contender.name.clone(),
        samples: Vec::with_capacity(contender.rounds),
    };
    let mut measured: Vec<Measured> = contenders.iter().map(start).collect();
    let most = contenders.iter().map(|contender| contender.rounds).max().unwrap_or(0);
    for round in 0..most {
        for (contender, measured) in contenders.iter_mut().zip(&mut measured) {
            if round >= contender.rounds {
                continue;
            }
            drop_caches()?;
            let doing = || format!("{section}: {} in round {}", measured.name, round + 1);
            let (sample, ()) = timed(|| (contender.run)(round)).with_context(doing)?;
            report.sample(section, &measured.name, round, &sample)?;
            (contender.after)(round).with_context(doing)?;
            measured.samples.push(sample);
        }
    }
    Ok(measured)
}

/// The middle of some numbers; of an even count, the mean of the two in the middle. 0 for none.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    quantile(numbers, 0.5)
}

/// The number below which that share of all is, from 0 to 1, between the two nearest. 0 for none.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "places in short lists"
)]
pub fn quantile(numbers: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    let Some(last) = numbers.len().checked_sub(1) else { return 0.0 };
    let place = share * last as f64;
    let (below, above) = (numbers[place as usize], numbers[(place.ceil() as usize).min(last)]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(median([3.0, 1.0, 2.0]), 2.0));
        assert!(close(median([4.0, 1.0, 2.0, 3.0]), 2.5));
        assert!(close(median([]), 0.0));
        assert!(close(quantile([1.0, 2.0, 3.0], 1.0), 3.0));
        assert!(close(quantile([1.0, 2.0, 3.0], 0.75), 2.5));
    }

    #[test]
    fn contenders_take_turns_and_are_cleared_after_each_run() {
        let log = std::cell::RefCell::new(Vec::new());
        let say = |what: &'static str| {
            let log = &log;
            move |round: usize| {
                log.borrow_mut().push((what, round));
                Ok(())
            }
        };
        let mut out = Vec::new();
        let contenders = vec![
            Contender::new("a", 2, say("a")).after(say("clear a")),
            Contender::new("b", 1, say("b")),
        ];
        let measured = rounds(&mut Report::new(&mut out), "s", contenders).unwrap();
        let turns = [("a", 0), ("clear a", 0), ("b", 0), ("a", 1), ("clear a", 1)];
        assert_eq!(*log.borrow(), turns);
        assert_eq!((measured[0].samples.len(), measured[1].samples.len()), (2, 1));
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 3);
    }
}
