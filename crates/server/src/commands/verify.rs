//! `siltstone backup verify`: whether a backup is whole.

use anyhow::Result;
use serde_json::json;
use siltstone_backup::verify::{Level, TreeDigest, VerifyOptions, VerifyReport, verify};

use crate::{
    cli::VerifyArgs,
    commands::{backup::repository, work::with_bar},
    outcome::{Damage, Output},
    progress::show_bytes,
    units::counted,
};

/// Runs the command: exit code 3 when something is wrong.
pub(crate) fn run(args: &VerifyArgs, output: Output) -> Result<()> {
    let (id, backend) = (&args.backup.id, repository(&args.backup.repository)?);
    let mut options = VerifyOptions::default();
    options.level = args.level.into();
    options.cpu_percent = args.speed.cpu_percent;
    options.bytes_per_second_max = args.speed.bytes_per_second;
    if let Some(scratch) = &args.scratch {
        options.scratch.clone_from(scratch);
    }
    let report = with_bar("verify", |job| verify(job, &backend, id, &options))?;
    output.result(&report_text(&report), &report_json(&report))?;
    if report.is_sound() {
        return Ok(());
    }
    let problems = counted(report.problems_total, "problem");
    Err(Damage(format!("backup '{id}' is damaged: {problems}; the report lists them")).into())
}

fn number(level: Level) -> u8 {
    match level {
        Level::Objects => 1,
        Level::Hashes => 2,
        _ => 3,
    }
}

fn report_text(report: &VerifyReport) -> String {
    let read = match report.level {
        Level::Objects => String::new(),
        _ => format!(", {} read", show_bytes(report.bytes)),
    };
    let mut lines = vec![format!(
        "backup '{}' is {} at level {}: {}, {}{read}, {:.2} s",
        report.id,
        if report.is_sound() { "sound" } else { "damaged" },
        number(report.level),
        counted(report.objects, "object"),
        counted(report.segments, "segment"),
        report.elapsed.as_secs_f64(),
    )];
    for tree in &report.trees {
        let (rows, bytes) = (counted(tree.rows, "row"), show_bytes(tree.bytes));
        lines.push(format!("{}  {rows}, {bytes}, digest {:032x}", named(tree), tree.sum));
    }
    lines.extend(report.problems.iter().cloned());
    let more = report.problems_total.saturating_sub(report.problems.len() as u64);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

fn named(tree: &TreeDigest) -> String {
    let tenant = tree.tenant.as_ref().map_or(String::new(), |tenant| format!("/{tenant}"));
    format!("{}{tenant}", tree.collection)
}

/// A report as an object; a copy has one, too.
pub(crate) fn report_json(report: &VerifyReport) -> serde_json::Value {
    let tree = |tree: &TreeDigest| {
        json!({
            "collection": tree.collection, "tenant": tree.tenant, "rows": tree.rows,
            "bytes": tree.bytes, "digest": format!("{:032x}", tree.sum),
        })
    };
    json!({
        "type": "result", "kind": "verify", "id": report.id.as_str(),
        "level": number(report.level), "sound": report.is_sound(), "objects": report.objects,
        "segments": report.segments, "bytes": report.bytes,
        "trees": report.trees.iter().map(tree).collect::<Vec<_>>(),
        "problems": report.problems, "problems_total": report.problems_total,
        "seconds": report.elapsed.as_secs_f64(),
    })
}
