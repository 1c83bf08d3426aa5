//! `siltstone check`: reads everything in a store, and holds it against acknowledged commits.

use std::{
    fs::{File, OpenOptions},
    path::Path,
};

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
    outcome::{Damage, Output, message},
    progress::{Bar, show_bytes},
    units::counted,
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
    let acks = args.acks.as_deref().map(open_acks).transpose()?;
    let store = open(&args.store).map_err(damage)?;
    let metrics = store.metrics();
    let bar = Bar::bytes("check", Some(metrics.segment_bytes));
    let verified = store.verify(&mut |done, _| bar.set(done));
    bar.finish();
    let named = || format!("store {}", args.store.data.display());
    verified.with_context(named).map_err(damage)?;
    let ledger = acks.map(|acks| check_acks(&store, &acks)).transpose()?;
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
            "\nall of {} are there; {} account for {}",
            counted(ledger.acknowledged, "acknowledged commit"),
            counted(ledger.commits, "commit"),
            counted(ledger.keys, "key"),
        )
    });
    let text = format!(
        "the store is sound: {}, {} in {}, {} verified; {} replayed, {} of an unfinished tail \
         dropped{acks}",
        counted(checked.collections, "collection"),
        counted(checked.segments, "segment"),
        counted(checked.files, "file"),
        show_bytes(checked.segment_bytes),
        counted(checked.replayed_commits, "commit"),
        show_bytes(checked.dropped_tail_bytes),
    );
    output.result(&text, &checked)
}

fn open_acks(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

fn check_acks(store: &Store, acks: &File) -> Result<Verified> {
    let verify = || {
        let trees = match Trees::open(store) {
            // A process killed before it had made its collections has acknowledged nothing.
            Err(_) if acks.metadata()?.len() == 0 => return Ok(Verified::default()),
            trees => trees?,
        };
        let snapshot = store.snapshot();
        let ledger = Ledger::read(&snapshot, &trees)?;
        let acknowledged = Ledger::verify_acks(&snapshot, &trees, acks)?;
        Ok(Verified { acknowledged, ..ledger.verify_files(&snapshot, &trees)? })
    };
    verify().map_err(|error: anyhow::Error| Damage(message(&error)).into())
}

/// Corruption is what a check looks for: its finding, not its failure.
fn damage(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Error>() {
        Some(found) if found.kind() == ErrorKind::Corrupt => Damage(message(&error)).into(),
        _ => error,
    }
}
