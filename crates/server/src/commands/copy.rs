//! `siltstone backup copy`: a backup in another repository.

use anyhow::Result;
use serde_json::json;
use siltstone_backup::copy::{CopyOptions, copy};

use crate::{
    cli::CopyArgs,
    commands::{
        backup::{repository, totals_json},
        verify::report_json,
        work::with_bar,
    },
    outcome::{Damage, Output},
    progress::show_bytes,
    units::{counted, show_rate},
};

/// Runs the command: exit code 3 when the copy is not as it should be.
pub(crate) fn run(args: &CopyArgs, output: Output) -> Result<()> {
    let (from, to) = (repository(&args.backup.repository)?, repository(&args.to())?);
    let mut options = CopyOptions::default();
    options.rename.clone_from(&args.rename);
    options.cpu_percent = args.speed.cpu_percent;
    options.bytes_per_second_max = args.speed.bytes_per_second;
    let report = with_bar("copy", |job| copy(job, &from, &to, &args.backup.id, &options))?;
    let config = &report.config;
    let resumed = match report.chunks_resumed {
        0 => String::new(),
        chunks => format!(" ({} of an attempt before)", counted(chunks, "chunk")),
    };
    let text = format!(
        "copied '{}' to {} as '{}': {} in {}, {} there already{resumed}, {:.2} s, {}",
        args.backup.id,
        to.describe(),
        config.id,
        show_bytes(report.bytes_copied),
        counted(report.chunks_copied, "chunk"),
        show_bytes(report.bytes_reused),
        report.elapsed.as_secs_f64(),
        show_rate(report.bytes_copied, report.elapsed),
    );
    let json = json!({
        "type": "result", "kind": "copy", "id": config.id.as_str(),
        "attempt": config.attempt.to_string(), "totals": totals_json(config.totals),
        "chunks_copied": report.chunks_copied, "bytes_copied": report.bytes_copied,
        "chunks_reused": report.chunks_reused, "bytes_reused": report.bytes_reused,
        "chunks_resumed": report.chunks_resumed,
        "verified": report_json(&report.verified), "seconds": report.elapsed.as_secs_f64(),
    });
    output.result(&text, &json)?;
    if report.verified.is_sound() {
        return Ok(());
    }
    let problems = report.verified.problems.join("; ");
    Err(Damage(format!("the copy '{}' is damaged: {problems}", config.id)).into())
}
