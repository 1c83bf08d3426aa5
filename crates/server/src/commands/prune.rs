//! `siltstone backup delete | prune`: what removes backups and frees their space.

use anyhow::Result;
use serde_json::{Value, json};
use siltstone_backup::{
    delete::{Damaged, delete as delete_backup},
    prune::{Change, Mode, PruneReport, Tally, prune},
    retention::{Reason, Verdict},
};

use crate::{
    cli::{DeleteArgs, PruneArgs},
    commands::{
        backup::repository,
        work::{ask, with_bar},
    },
    outcome::Output,
    progress::show_bytes,
    units::counted,
};

/// Deletes one backup.
pub(crate) fn delete(args: &DeleteArgs, output: Output) -> Result<()> {
    let (id, backend) = (&args.backup.id, repository(&args.backup.repository)?);
    let place = backend.describe();
    if !args.yes {
        ask(format_args!("Delete backup '{id}' in {place}?"))?;
    }
    let damaged = if args.damaged { Damaged::Remove } else { Damaged::Refuse };
    let deleted = delete_backup(&backend, id, damaged)?;
    let bytes = deleted.config.map(|config| config.totals.chunk_bytes);
    let chunks = bytes.map_or(String::new(), |bytes| format!(" of {}", show_bytes(bytes)));
    let text = format!(
        "deleted '{id}'; its chunks{chunks} stay until `siltstone backup prune` finds that no other \
         backup needs them"
    );
    let json = json!({ "type": "result", "kind": "delete", "id": id, "chunk_bytes": bytes });
    output.result(&text, &json)
}

/// Prunes a repository.
pub(crate) fn run(args: &PruneArgs, output: Output) -> Result<()> {
    let backend = repository(&args.repository)?;
    let mut options = args.options();
    if !args.dry_run && !args.yes && !options.policy.is_empty() {
        options.mode = Mode::DryRun;
        let would = with_bar("prune", |job| prune(job, &backend, &options))?;
        options.mode = Mode::Run;
        let doomed: Vec<String> = (would.verdicts.iter())
            .filter(|verdict| !verdict.is_kept())
            .map(|verdict| format!("'{}'", verdict.id))
            .collect();
        if !doomed.is_empty() {
            let (names, place) = (doomed.join(", "), backend.describe());
            ask(format_args!("Delete {names} in {place}?"))?;
        }
    }
    if args.dry_run {
        options.mode = Mode::DryRun;
    }
    let report = with_bar("prune", |job| prune(job, &backend, &options))?;
    output.result(&report_text(&report, options.mode), &report_json(&report, options.mode))
}

fn report_text(report: &PruneReport, mode: Mode) -> String {
    let verdict = |verdict: &Verdict| {
        let (what, why) = if verdict.is_kept() { ("keep", "  ") } else { ("delete", "") };
        format!("{what} {}  {:.0}{why}{}", verdict.id, verdict.at, reasons(verdict).join(", "))
    };
    let mut lines: Vec<String> = report.verdicts.iter().map(verdict).collect();
    if mode == Mode::DryRun {
        lines.extend(report.changes.iter().filter_map(|change| match change {
            Change::RemoveObject(object) => Some(format!("remove {object}")),
            Change::RemoveChunk(chunk) => Some(format!("remove {}", chunk.object())),
            Change::CondemnChunk(chunk) => Some(format!("condemn {}", chunk.object())),
            _ => None,
        }));
    }
    let verb = if mode == Mode::DryRun { "would remove" } else { "removed" };
    lines.push(format!(
        "{verb} {}, {}; {} condemned now, {} before; {} in use",
        tally(report.removed),
        counted(leftovers(report), "other object"),
        tally(report.condemned),
        tally(report.waiting),
        tally(report.live),
    ));
    lines.join("\n")
}

fn tally(tally: Tally) -> String {
    format!("{} ({})", counted(tally.chunks, "chunk"), show_bytes(tally.bytes))
}

fn leftovers(report: &PruneReport) -> u64 {
    report.changes.iter().filter(|change| matches!(change, Change::RemoveObject(_))).count() as u64
}

fn reasons(verdict: &Verdict) -> Vec<String> {
    verdict.reasons.iter().map(Reason::to_string).collect()
}

fn report_json(report: &PruneReport, mode: Mode) -> Value {
    let verdict = |verdict: &Verdict| {
        json!({
            "id": verdict.id.as_str(), "started_at": verdict.at.to_string(),
            "keep": verdict.is_kept(), "reasons": reasons(verdict),
        })
    };
    let change = |change: &Change| match change {
        Change::DeleteBackup(id) => json!({ "delete_backup": id.as_str() }),
        Change::RemoveObject(object) => json!({ "remove": object }),
        Change::RemoveChunk(chunk) => json!({ "remove": chunk.object() }),
        Change::CondemnChunk(chunk) => json!({ "condemn": chunk.object() }),
        _ => Value::Null,
    };
    let tally = |tally: Tally| json!({ "chunks": tally.chunks, "bytes": tally.bytes });
    json!({
        "type": "result", "kind": "prune", "dry_run": mode == Mode::DryRun,
        "backups": report.verdicts.iter().map(verdict).collect::<Vec<_>>(),
        "changes": report.changes.iter().map(change).collect::<Vec<_>>(),
        "removed": tally(report.removed), "condemned": tally(report.condemned),
        "waiting": tally(report.waiting), "spared": tally(report.spared),
        "young": tally(report.young), "live": tally(report.live),
    })
}
