//! What the commands on finished backups share: work with a progress bar, and questions.

use std::{
    fmt,
    io::{self, BufRead, IsTerminal, Write},
    panic, thread,
    time::Duration,
};

use anyhow::{Context, Result};
use siltstone_backup::{
    cancel::Cancel,
    error::{Error, ErrorKind},
    job::Job,
    progress::Progress,
};
use siltstone_io::env::{SystemClock, SystemEntropy};

use crate::{outcome::printed, progress::Bar};

/// Time between two looks at the progress.
const POLL: Duration = Duration::from_millis(100);

/// Does work that takes a while, with a bar named `what` on a terminal.
pub(crate) fn with_bar<T: Send>(
    what: &str,
    work: impl FnOnce(Job<'_>) -> siltstone_backup::error::Result<T> + Send,
) -> Result<T> {
    let (clock, cancel, progress) = (SystemClock::default(), Cancel::new(), Progress::new());
    let bar = Bar::bytes(what, Some(0));
    let done = thread::scope(|scope| {
        let job =
            Job { clock: &clock, entropy: &SystemEntropy, cancel: &cancel, progress: &progress };
        let worker = scope.spawn(move || work(job));
        while !worker.is_finished() {
            let report = progress.report();
            bar.set_length(report.bytes_total);
            bar.set(report.bytes_done);
            thread::park_timeout(POLL);
        }
        worker.join()
    });
    bar.finish();
    Ok(done.unwrap_or_else(|bug| panic::resume_unwind(bug))?)
}

/// Goes on if the user wants it so: asks on the terminal, and fails where there is none.
pub(crate) fn ask(question: impl fmt::Display) -> Result<()> {
    if !io::stdin().is_terminal() {
        let message = format!("{question} Nobody can be asked: pass --yes");
        return Err(Error::new(ErrorKind::Invalid, message).into());
    }
    printed(write!(io::stderr(), "{question} [y/N] ").and_then(|()| io::stderr().flush()))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Canceled, "nothing was changed").into())
}
