//! `siltstone check`: reads everything in a store, and holds it against acknowledged commits.

use std::{fs::OpenOptions, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;
use siltstone_lsm::{
    error::{Error, ErrorKind},
    store::Store,
};

use crate::{
    cli::CheckArgs,
    commands::open,
    ledger::{Ledger, Trees, Verified},
    outcome::{Damage, Output},
    progress::Bar,
};

/// What a check found.
#[derive(Debug, Serialize)]
struct Checked {
    #[serde(rename = "type")]
    kind: &'static str,
    collections: u64,
    segments: u64,
    files: u64,
    segment_bytes: u64,
    replayed_commits: u64,
    dropped_tail_bytes: u64,
    ledger: Option<Verified>,
}

/// Runs the command: exit code 3 when something is damaged or lost.
pub(crate) fn run(args: &CheckArgs, output: Output) -> Result<()> {
    let store = open(&args.store).map_err(damage)?;
    let metrics = store.metrics();
    let bar = Bar::bytes("check", Some(metrics.segment_bytes));
    let verified = store.verify(&mut |done, _| bar.set(done));
    bar.finish();
    verified.map_err(damage)?;
    let ledger = args.acks.as_deref().map(|acks| check_acks(&store, acks)).transpose()?;
    let report = store.recovery_report();
    let checked = Checked {
        kind: "result",
        collections: store.catalog().collections.len() as u64,
        segments: metrics.segments,
        files: metrics.files,
        segment_bytes: metrics.segment_bytes,
        replayed_commits: report.commits,
        dropped_tail_bytes: report.dropped.iter().map(|(_, bytes)| bytes).sum(),
        ledger,
    };
    let acks = checked.ledger.map_or(String::new(), |ledger| {
        format!(
            "\nall {} acknowledged commits are there; {} commits account for {} keys",
            ledger.acknowledged, ledger.commits, ledger.keys
        )
    });
    let text = format!(
        "the store is sound: {} collections, {} segments in {} files, {} bytes verified; {} \
         commits were replayed, {} bytes of an unfinished tail dropped{acks}",
        checked.collections,
        checked.segments,
        checked.files,
        checked.segment_bytes,
        checked.replayed_commits,
        checked.dropped_tail_bytes,
    );
    output.result(&text, &checked)
}

fn check_acks(store: &Store, acks: &Path) -> Result<Verified> {
    let file = OpenOptions::new().read(true).open(acks);
    let file = file.with_context(|| format!("cannot open {}", acks.display()))?;
    let verify = || {
        let trees = match Trees::open(store) {
            // A process killed before it had made its collections has acknowledged nothing.
            Err(_) if file.metadata()?.len() == 0 => return Ok(Verified::default()),
            trees => trees?,
        };
        let snapshot = store.snapshot();
        let ledger = Ledger::read(&snapshot, &trees)?;
        let acknowledged = Ledger::verify_acks(&snapshot, &trees, &file)?;
        Ok(Verified { acknowledged, ..ledger.verify_files(&snapshot, &trees)? })
    };
    verify().map_err(|error: anyhow::Error| Damage(format!("{error:#}")).into())
}

/// Corruption is what a check looks for: its finding, not its failure.
fn damage(error: Error) -> anyhow::Error {
    if error.kind() == ErrorKind::Corrupt { Damage(error.to_string()).into() } else { error.into() }
}
